/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Values of options: text to field, field to text.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "config/option.h"

enum { LIST_MAX = 32, CLASSES = 3 };

static void *field_of(const struct aqm_option *option, struct aqm_config *config)
{
	return (char *)config + option->offset;
}

static const void *value_of(const struct aqm_option *option, const struct aqm_config *config)
{
	return (const char *)config + option->offset;
}

/* ---- text to value ---- */

static int wants(const struct aqm_option *option, const struct aqm_option_value *value)
{
	char type[256] = "";
	FILE *stream = fmemopen(type, sizeof type, "w");

	if (stream) {
		aqm_option_print_type(option, stream);
		fclose(stream);
	}
	if (value->is_list)
		return aqm_error_set(AQM_EUSAGE, "'%s' wants %s, not a list of %zu", option->name, type, value->count);
	return aqm_error_set(AQM_EUSAGE, "'%s' wants %s, not '%.80s'%s", option->name, type, value->items[0],
	                     value->quoted ? " in quotes" : "");
}

/* Only digits and what belongs to a decimal number: no "nan", "inf", "0x10" or spaces, which strtod would take. */
static bool read_number(const char *text, double low, double high, double *out)
{
	char *end;

	if (!*text || text[strspn(text, "+-.0123456789eE")])
		return false;
	*out = strtod(text, &end);
	return end != text && !*end && isfinite(*out) && *out >= low && *out <= high;
}

static bool read_int(const char *text, double low, double high, int64_t *out)
{
	char *end;

	if (!*text || text[strspn(text, "+-0123456789")])
		return false;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	*out = number;
	return end != text && !*end && !errno && (double)number >= low && (double)number <= high;
}

static bool read_seed(const char *text, uint64_t *out)
{
	errno = 0;
	if (!*text || text[strspn(text, "0123456789")])
		return false;
	*out = strtoull(text, NULL, 10);
	return !errno;
}

static bool read_bool(const char *text, bool *out)
{
	*out = strcmp(text, "true") == 0;
	return *out || strcmp(text, "false") == 0;
}

static bool read_word(const char *const *words, const char *text, int *out)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0) {
			*out = i;
			return true;
		}
	return false;
}

/* Control characters and line ends have no business in a path or a name, and would not survive being written as YAML
 * again. The text is valid UTF-8: U+0080..9F, U+2028, U+2029, U+FEFF, U+FFFE and U+FFFF are told by their bytes. */
static bool is_one_line(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	for (; *p; p++) {
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return false;
		if (*p == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
			return false;
		if (*p == 0xef && ((p[1] == 0xbb && p[2] == 0xbf) || (p[1] == 0xbf && p[2] >= 0xbe)))
			return false;
	}
	return true;
}

static void release_strings(struct aqm_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct aqm_strings){0};
}

static int check_list(const struct aqm_option *option, const struct aqm_option_value *value)
{
	int ignored;

	if (value->count > LIST_MAX)
		return aqm_error_set(AQM_EUSAGE, "'%s' takes at most %d items, not %zu", option->name, LIST_MAX, value->count);
	for (size_t i = 0; i < value->count; i++) {
		const char *item = value->items[i];

		if (!*item || !is_one_line(item) || (option->words && !read_word(option->words, item, &ignored))) {
			const struct aqm_option_value one = {.items = &item, .count = 1};

			return wants(option, &one);
		}
		for (size_t j = 0; j < i; j++)
			if (strcmp(item, value->items[j]) == 0)
				return aqm_error_set(AQM_EUSAGE, "'%s' names '%.80s' twice", option->name, item);
	}
	return AQM_OK;
}

static int set_strings(const struct aqm_option *option, struct aqm_strings *field, const struct aqm_option_value *value)
{
	struct aqm_strings strings = {0};
	int code = check_list(option, value);

	if (code != AQM_OK)
		return code;
	strings.items = aqm_calloc_array(value->count, sizeof *strings.items);
	if (!strings.items)
		return AQM_ERUN;
	for (; strings.count < value->count; strings.count++) {
		strings.items[strings.count] = aqm_strdup(value->items[strings.count]);
		if (!strings.items[strings.count]) {
			release_strings(&strings);
			return AQM_ERUN;
		}
	}
	release_strings(field);
	*field = strings;
	return AQM_OK;
}

static int set_string(const struct aqm_option *option, char **field, const struct aqm_option_value *value)
{
	const char *text = value->items[0];
	bool null = !value->quoted && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0);

	if (!is_one_line(text))
		return aqm_error_set(AQM_EUSAGE, "'%s' wants a string without control characters", option->name);
	char *copy = aqm_strdup(null ? "" : text);
	if (!copy)
		return AQM_ERUN;
	free(*field);
	*field = copy;
	return AQM_OK;
}

static int set_weights(const struct aqm_option *option, struct aqm_config *config, const struct aqm_option_value *value)
{
	double weights[CLASSES], sum = 0;

	if (value->count != CLASSES)
		return wants(option, value);
	for (int i = 0; i < CLASSES; i++) {
		if (!read_number(value->items[i], option->low, option->high, &weights[i]))
			return wants(option, &(struct aqm_option_value){.items = &value->items[i], .count = 1});
		sum += weights[i];
	}
	if (sum <= 0)
		return aqm_error_set(AQM_EUSAGE, "'%s' wants a weight above 0", option->name);
	config->train.class_weights = AQM_WEIGHTS_GIVEN;
	memcpy(config->train.class_weight, weights, sizeof weights);
	return AQM_OK;
}

/* Enums of the config are all read and written as this; enum types without negative values are unsigned. */
static void set_word(void *field, int word)
{
	unsigned value = (unsigned)word;

	static_assert(sizeof(enum aqm_labels) == sizeof value, "enums have the size of int");
	memcpy(field, &value, sizeof value);
}

static int get_word(const void *field)
{
	unsigned value;

	memcpy(&value, field, sizeof value);
	return (int)value;
}

int aqm_option_set(const struct aqm_option *option, struct aqm_config *config, const struct aqm_option_value *value)
{
	void *field = field_of(option, config);
	bool good = false;
	int word = 0;

	if (value->is_list) {
		if (option->kind == AQM_OPTION_STRINGS)
			return set_strings(option, field, value);
		return option->kind == AQM_OPTION_WEIGHTS ? set_weights(option, config, value) : wants(option, value);
	}
	const char *text = value->items[0];
	if (option->kind == AQM_OPTION_STRING)
		return set_string(option, field, value);
	if (value->quoted && option->kind != AQM_OPTION_WORD)
		return wants(option, value);
	switch (option->kind) {
	case AQM_OPTION_BOOL: {
		bool truth;

		if ((good = read_bool(text, &truth)))
			*(bool *)field = truth;
		break;
	}
	case AQM_OPTION_INT: {
		int64_t number;

		if ((good = read_int(text, option->low, option->high, &number)))
			*(int64_t *)field = number;
		break;
	}
	case AQM_OPTION_SEED: {
		uint64_t number;

		if ((good = read_seed(text, &number)))
			*(uint64_t *)field = number;
		break;
	}
	case AQM_OPTION_NUMBER: {
		double number;

		if ((good = read_number(text, option->low, option->high, &number)))
			*(double *)field = number;
		break;
	}
	case AQM_OPTION_WORD:
	case AQM_OPTION_WEIGHTS:
		if ((good = read_word(option->words, text, &word) || (option->once && read_word(option->once, text, &word))))
			set_word(field, word);
		break;
	case AQM_OPTION_STRING:
	case AQM_OPTION_STRINGS:
		break;
	}
	return good ? AQM_OK : wants(option, value);
}

void aqm_option_release(const struct aqm_option *option, struct aqm_config *config)
{
	if (option->kind == AQM_OPTION_STRING) {
		char **text = field_of(option, config);

		free(*text);
		*text = NULL;
	} else if (option->kind == AQM_OPTION_STRINGS) {
		release_strings(field_of(option, config));
	}
}

/* ---- value to text ---- */

/* The shortest digits that read back to the same double, in a form that every YAML reader takes for a number: some want
 * a point before an exponent. */
static void print_number(double number, FILE *stream)
{
	char text[40];
	int precision = 15;

	do
		snprintf(text, sizeof text, "%.*g", precision, number);
	while (strtod(text, NULL) != number && ++precision <= 17);
	const char *exponent = strchr(text, 'e');
	size_t mantissa = exponent ? (size_t)(exponent - text) : strlen(text);
	fprintf(stream, "%.*s%s%s", (int)mantissa, text, memchr(text, '.', mantissa) ? "" : ".0", exponent ? exponent : "");
}

/* Without quotes only what no YAML reader could take for anything but a string. */
static void print_string(const char *text, FILE *stream)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
	static const char *const special[] = {"true", "false", "null", "yes", "no", "on", "off"};
	bool plain = *text == '/' || (*text && strchr(letters, *text) && text[1]); /* "y" and "n" may be booleans */

	plain = plain && !text[strspn(text, others)];
	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		plain = plain && strcasecmp(text, special[i]) != 0;
	if (plain) {
		fputs(text, stream);
		return;
	}
	fputc('\'', stream);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', stream);
		fputc(*text, stream);
	}
	fputc('\'', stream);
}

static void print_strings(const struct aqm_option *option, const struct aqm_strings *strings, FILE *stream)
{
	fputc('[', stream);
	for (size_t i = 0; i < strings->count; i++) {
		fputs(i ? ", " : "", stream);
		if (option->words)
			fputs(strings->items[i], stream);
		else
			print_string(strings->items[i], stream);
	}
	fputc(']', stream);
}

static void print_weights(const double *weights, FILE *stream)
{
	for (int i = 0; i < CLASSES; i++) {
		fputs(i ? ", " : "[", stream);
		print_number(weights[i], stream);
	}
	fputc(']', stream);
}

void aqm_option_print(const struct aqm_option *option, const struct aqm_config *config, FILE *stream)
{
	const void *field = value_of(option, config);

	switch (option->kind) {
	case AQM_OPTION_BOOL:
		fputs(*(const bool *)field ? "true" : "false", stream);
		break;
	case AQM_OPTION_INT:
		fprintf(stream, "%" PRId64, *(const int64_t *)field);
		break;
	case AQM_OPTION_SEED:
		fprintf(stream, "%" PRIu64, *(const uint64_t *)field);
		break;
	case AQM_OPTION_NUMBER:
		print_number(*(const double *)field, stream);
		break;
	case AQM_OPTION_STRING:
		print_string(*(char *const *)field ? *(char *const *)field : "", stream);
		break;
	case AQM_OPTION_STRINGS:
		print_strings(option, field, stream);
		break;
	case AQM_OPTION_WORD:
		fputs(option->words[get_word(field)], stream);
		break;
	case AQM_OPTION_WEIGHTS:
		if (config->train.class_weights == AQM_WEIGHTS_GIVEN)
			print_weights(config->train.class_weight, stream);
		else
			fputs(option->words[get_word(field)], stream);
		break;
	}
}

static void print_words(const struct aqm_option *option, FILE *stream)
{
	for (int i = 0; option->words[i]; i++)
		fprintf(stream, "%s%s", i ? " | " : "", option->words[i]);
}

void aqm_option_print_type(const struct aqm_option *option, FILE *stream)
{
	switch (option->kind) {
	case AQM_OPTION_BOOL:
		fputs("true | false", stream);
		break;
	case AQM_OPTION_INT:
		fprintf(stream, "a whole number from %.0f to %.0f", option->low, option->high);
		break;
	case AQM_OPTION_SEED:
		fprintf(stream, "a whole number from 0 to %" PRIu64, UINT64_MAX);
		break;
	case AQM_OPTION_NUMBER:
		fprintf(stream, "a number from %g to %g", option->low, option->high);
		break;
	case AQM_OPTION_STRING:
		fputs("a string", stream);
		break;
	case AQM_OPTION_STRINGS:
		fputs("a list of ", stream);
		if (option->words)
			print_words(option, stream);
		else
			fputs("names", stream);
		break;
	case AQM_OPTION_WORD:
		print_words(option, stream);
		break;
	case AQM_OPTION_WEIGHTS:
		print_words(option, stream);
		fputs(" | [enqueue, drop, mark]", stream);
		break;
	}
}
