/* SPDX-License-Identifier: BSD-2-Clause */
/* `model info`: what a file holds, for people and for programs. Text from the file may be anything: it is made valid,
 * printable UTF-8 first. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "gguf/internal.h"
#include "gguf/types.h"

enum {
	SHOWN_ELEMENTS = 8,    /* of a long array */
	SHORT_ARRAY = 16,      /* shown whole */
	SHOWN_CHARACTERS = 72, /* of a string, in text */
	TYPE_NUMBERS = 64,     /* above every type that has a name; the others are counted together */
};

/* ---- strings ---- */

/* Length of the well-formed UTF-8 sequence at p (of n bytes); 0 if there is none. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
	size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (length == 0 || length > n)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, past U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return length;
}

/* A fresh copy in which bytes that are not UTF-8 are U+FFFD, and with `printable` control characters (also those of
 * U+0080..U+009F, which terminals obey) are '?'. */
static char *clean(const uint8_t *p, size_t n, bool printable)
{
	char *out = aqm_malloc_array(3 * n + 1, 1), *end = out;

	if (!out)
		return NULL;
	while (n) {
		size_t length = utf8_length(p, n);

		if (length == 0) {
			memcpy(end, "\xef\xbf\xbd", 3);
			end += 3;
			length = 1;
		} else if (printable && (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))) {
			*end++ = '?';
		} else {
			memcpy(end, p, length);
			end += length;
		}
		p += length;
		n -= length;
	}
	*end = '\0';
	return out;
}

/* ---- JSON ---- */

static json_t *json_text(const uint8_t *p, size_t n)
{
	char *text = clean(p, n, false);
	json_t *json = text ? json_stringn(text, strlen(text)) : NULL;

	free(text);
	return json;
}

static json_t *json_number(uint32_t type, const uint8_t *p)
{
	struct aqm_number number = aqm_value_number(type, p);

	switch (number.kind) {
	case AQM_NUMBER_BOOL:
		return json_boolean(number.u);
	case AQM_NUMBER_SIGNED:
		return json_integer(number.i);
	case AQM_NUMBER_UNSIGNED:
		return number.u <= INT64_MAX ? json_integer((json_int_t)number.u) : json_real(number.real);
	default:
		return isfinite(number.real) ? json_real(number.real) : json_null();
	}
}

/* Bytes of the array element at p. Only for types of fixed size and strings. */
static size_t element_bytes(uint32_t type, const uint8_t *p)
{
	return type == AQM_VALUE_STRING ? 8 + (size_t)aqm_value_u64(p) : aqm_value_size(type);
}

static json_t *json_elements(uint32_t type, const uint8_t *p, uint64_t count)
{
	json_t *list = json_array();

	for (uint64_t i = 0; i < count; i++) {
		json_array_append_new(list, type == AQM_VALUE_STRING ? json_text(p + 8, (size_t)aqm_value_u64(p))
		                                                     : json_number(type, p));
		p += element_bytes(type, p);
	}
	return list;
}

/* Short arrays whole; of long ones, and of arrays of arrays, {"type", "count", "first"}. */
static json_t *json_value(const struct aqm_gguf_pair *pair)
{
	if (pair->type == AQM_VALUE_STRING)
		return json_text(pair->data + 8, pair->bytes - 8);
	if (pair->type != AQM_VALUE_ARRAY)
		return json_number(pair->type, pair->data);

	uint32_t type = aqm_value_u32(pair->data);
	uint64_t count = aqm_value_u64(pair->data + 4);

	if (type != AQM_VALUE_ARRAY && count <= SHORT_ARRAY)
		return json_elements(type, pair->data + 12, count);
	json_t *json = json_pack("{s:s, s:I}", "type", aqm_value_name(type), "count", (json_int_t)count);

	if (type != AQM_VALUE_ARRAY)
		json_object_set_new(json, "first", json_elements(type, pair->data + 12, SHOWN_ELEMENTS));
	return json;
}

/* ---- what both forms show ---- */

/* Tensors, elements and bytes of one type. */
struct share {
	uint64_t tensors, parameters, bytes;
};

struct summary {
	const char *architecture, *name;
	struct share types[TYPE_NUMBERS + 1], all;
};

static void add(uint64_t *sum, uint64_t n)
{
	if (__builtin_add_overflow(*sum, n, sum))
		*sum = INT64_MAX;
}

static uint64_t elements_of(const struct aqm_gguf_tensor *t)
{
	return (uint64_t)t->ne[0] * (uint64_t)t->ne[1] * (uint64_t)t->ne[2] *
	       (uint64_t)t->ne[3]; /* read.c checked the product */
}

static void count(struct share *share, const struct aqm_gguf_tensor *t)
{
	share->tensors++;
	add(&share->parameters, elements_of(t));
	add(&share->bytes, t->bytes);
}

static void summarise(const aqm_gguf *gguf, struct summary *s)
{
	*s = (struct summary){0};
	if (aqm_gguf_get_string(gguf, "general.architecture", &s->architecture) != AQM_OK)
		s->architecture = NULL;
	if (aqm_gguf_get_string(gguf, "general.name", &s->name) != AQM_OK)
		s->name = NULL;
	for (size_t i = 0; i < gguf->tensor_count; i++) {
		const struct aqm_gguf_tensor *t = &gguf->tensors[i];

		count(&s->types[aqm_type_layout((uint32_t)t->dtype) ? (size_t)t->dtype : TYPE_NUMBERS], t);
		count(&s->all, t);
	}
}

/* The key without "<architecture>."; NULL when it does not begin so. */
static const char *hyperparameter(const struct summary *s, const struct aqm_gguf_pair *pair)
{
	size_t n = s->architecture ? strlen(s->architecture) : 0;

	return n && strncmp(pair->key, s->architecture, n) == 0 && pair->key[n] == '.' ? pair->key + n + 1 : NULL;
}

/* ---- the two forms ---- */

static json_t *json_share(const struct share *share)
{
	return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)share->tensors, "parameters",
	                 (json_int_t)share->parameters, "bytes", (json_int_t)share->bytes);
}

static json_t *json_tensor(const struct aqm_gguf_tensor *t)
{
	json_t *shape = json_array();

	for (unsigned i = 0; i < t->dimensions; i++)
		json_array_append_new(shape, json_integer(t->ne[i]));
	json_t *json = json_object();

	json_object_set_new(json, "name", json_text((const uint8_t *)t->name, strlen(t->name)));
	json_object_set_new(json, "type", json_string(aqm_dtype_name(t->dtype)));
	json_object_set_new(json, "shape", shape);
	json_object_set_new(json, "bytes", json_integer((json_int_t)t->bytes));
	if (!aqm_dtype_traits(t->dtype)) {
		json_object_set_new(json, "type_number", json_integer((json_int_t)t->dtype));
		json_object_set_new(json, "supported", json_false());
	}
	return json;
}

/* With a key that need not be UTF-8. */
static void set_text_key(json_t *object, const char *key, json_t *value)
{
	char *text = clean((const uint8_t *)key, strlen(key), false);

	if (text)
		json_object_set_new(object, text, value);
	else
		json_decref(value);
	free(text);
}

static json_t *json_or_null(const char *s)
{
	return s ? json_text((const uint8_t *)s, strlen(s)) : json_null();
}

static int info_json(const aqm_gguf *gguf, const struct summary *s, char **text)
{
	json_t *root = json_object(), *types = json_object(), *hyper = json_object(), *metadata = json_object(),
		   *tensors = json_array();

	for (size_t i = 0; i <= TYPE_NUMBERS; i++)
		if (s->types[i].tensors)
			json_object_set_new(types, aqm_dtype_name((enum aqm_dtype)i), json_share(&s->types[i]));
	for (size_t i = 0; i < gguf->pair_count; i++) {
		const struct aqm_gguf_pair *pair = &gguf->pairs[i];
		const char *key = hyperparameter(s, pair);

		if (key)
			set_text_key(hyper, key, json_value(pair));
		set_text_key(metadata, pair->key, json_value(pair));
	}
	for (size_t i = 0; i < gguf->tensor_count; i++)
		json_array_append_new(tensors, json_tensor(&gguf->tensors[i]));
	json_object_set_new(root, "path", json_or_null(gguf->path));
	json_object_set_new(root, "version", json_integer((json_int_t)gguf->version));
	json_object_set_new(root, "bytes", json_integer((json_int_t)gguf->bytes));
	json_object_set_new(root, "architecture", json_or_null(s->architecture));
	json_object_set_new(root, "name", json_or_null(s->name));
	json_object_set_new(root, "parameters", json_integer((json_int_t)s->all.parameters));
	json_object_set_new(root, "types", types);
	json_object_set_new(root, "hyperparameters", hyper);
	json_object_set_new(root, "metadata", metadata);
	json_object_set_new(root, "tensors", tensors);
	char *dumped = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));

	json_decref(root);
	if (!dumped)
		return aqm_error_set(AQM_ERUN, "cannot describe '%s': not enough memory", gguf->path);
	*text = aqm_strprintf("%s\n", dumped);
	free(dumped);
	return *text ? AQM_OK : AQM_ERUN;
}

static void print_size(FILE *out, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	size_t unit = 0;

	for (; bytes >= 1000 && unit < 4; unit++)
		bytes /= 1000;
	fprintf(out, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

/* A string for the terminal, cut if it is long. */
static void print_text(FILE *out, const uint8_t *p, size_t n)
{
	size_t shown = n < SHOWN_CHARACTERS ? n : SHOWN_CHARACTERS;

	while (shown < n && shown && (p[shown] & 0xc0) == 0x80)
		shown--; /* not through a character */
	char *text = clean(p, shown, true);

	fprintf(out, "%s%s", text ? text : "?", shown < n ? "..." : "");
	free(text);
}

static void print_element(FILE *out, uint32_t type, const uint8_t *p)
{
	if (type == AQM_VALUE_STRING) {
		fputc('"', out);
		print_text(out, p + 8, (size_t)aqm_value_u64(p));
		fputc('"', out);
		return;
	}
	struct aqm_number number = aqm_value_number(type, p);

	switch (number.kind) {
	case AQM_NUMBER_BOOL:
		fputs(number.u ? "true" : "false", out);
		break;
	case AQM_NUMBER_SIGNED:
		fprintf(out, "%" PRId64, number.i);
		break;
	case AQM_NUMBER_UNSIGNED:
		fprintf(out, "%" PRIu64, number.u);
		break;
	default:
		fprintf(out, "%.7g", number.real);
	}
}

static void print_value(FILE *out, const struct aqm_gguf_pair *pair)
{
	const uint8_t *p = pair->data;

	if (pair->type != AQM_VALUE_ARRAY) {
		print_element(out, pair->type, p);
		return;
	}
	uint32_t type = aqm_value_u32(p);
	uint64_t elements = aqm_value_u64(p + 4), shown = elements <= SHORT_ARRAY ? elements : SHOWN_ELEMENTS;

	fprintf(out, "%" PRIu64 " x %s", elements, aqm_value_name(type));
	if (type == AQM_VALUE_ARRAY)
		return;
	fputs(" [", out);
	p += 12;
	for (uint64_t i = 0; i < shown; i++, p += element_bytes(type, p)) {
		fputs(i ? ", " : "", out);
		print_element(out, type, p);
	}
	fputs(shown < elements ? ", ...]" : "]", out);
}

static void print_tensor(FILE *out, const struct aqm_gguf_tensor *t)
{
	char shape[96] = "scalar";
	int used = 0;

	for (unsigned i = 0; i < t->dimensions; i++)
		used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%" PRId64, i ? " x " : "", t->ne[i]);
	char *name = clean((const uint8_t *)t->name, strlen(t->name), true);

	fprintf(out, "  %-36s %-8s %-20s ", name ? name : "?", aqm_dtype_name(t->dtype), shape);
	print_size(out, (double)t->bytes);
	fputs(aqm_dtype_traits(t->dtype) ? "\n" : "  (type not supported)\n", out);
	free(name);
}

static void print_pairs(FILE *out, const aqm_gguf *gguf, const struct summary *s, bool hyper)
{
	for (size_t i = 0; i < gguf->pair_count; i++) {
		const struct aqm_gguf_pair *pair = &gguf->pairs[i];
		const char *key = hyperparameter(s, pair);

		if (hyper != (key != NULL))
			continue;
		char *shown = clean((const uint8_t *)(hyper ? key : pair->key), strlen(hyper ? key : pair->key), true);

		fprintf(out, "  %-36s ", shown ? shown : "?");
		print_value(out, pair);
		fputc('\n', out);
		free(shown);
	}
}

static void print_line(FILE *out, const char *label, const char *value)
{
	fprintf(out, "%-14s ", label);
	print_text(out, (const uint8_t *)value, strlen(value));
	fputc('\n', out);
}

static int info_text(const aqm_gguf *gguf, const struct summary *s, char **text)
{
	size_t length = 0;
	FILE *out = open_memstream(text, &length);

	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot describe '%s'", gguf->path);
	fprintf(out, "%-14s %s\n", "file", gguf->path);
	fprintf(out, "%-14s GGUF version %" PRIu32 ", ", "format", gguf->version);
	print_size(out, (double)gguf->bytes);
	fprintf(out, ", %zu tensors, %zu metadata pairs\n", gguf->tensor_count, gguf->pair_count);
	print_line(out, "architecture", s->architecture ? s->architecture : "not stated");
	print_line(out, "name", s->name ? s->name : "not stated");
	fprintf(out, "%-14s %" PRIu64 "\n", "parameters", s->all.parameters);
	for (size_t i = 0; i <= TYPE_NUMBERS; i++) {
		const struct share *share = &s->types[i];

		if (!share->tensors)
			continue;
		fprintf(out, "  %-12s %" PRIu64 " in %" PRIu64 " tensors, ", aqm_dtype_name((enum aqm_dtype)i),
		        share->parameters, share->tensors);
		print_size(out, (double)share->bytes);
		fputc('\n', out);
	}
	fputs("\nhyperparameters\n", out);
	print_pairs(out, gguf, s, true);
	fputs("\nmetadata\n", out);
	print_pairs(out, gguf, s, false);
	fputs("\ntensors (first dimension contiguous)\n", out);
	for (size_t i = 0; i < gguf->tensor_count; i++)
		print_tensor(out, &gguf->tensors[i]);
	if (fclose(out) == 0)
		return AQM_OK;
	free(*text);
	*text = NULL;
	return aqm_error_set(AQM_ERUN, "cannot describe '%s': not enough memory", gguf->path);
}

int aqm_gguf_info(const aqm_gguf *gguf, bool json, char **text)
{
	struct summary s;

	*text = NULL;
	summarise(gguf, &s);
	return json ? info_json(gguf, &s, text) : info_text(gguf, &s, text);
}
