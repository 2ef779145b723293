/* SPDX-License-Identifier: BSD-2-Clause */
/* Metadata values by key. */
#include <inttypes.h>
#include <string.h>

#include "gguf/internal.h"

/* In the order of enum aqm_value_type. */
static const struct {
	const char *name;
	size_t bytes;
} value_types[AQM_VALUE_TYPES] = {
	{"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
	{"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

size_t aqm_value_size(uint32_t type)
{
	return type < AQM_VALUE_TYPES ? value_types[type].bytes : 0;
}

const char *aqm_value_name(uint32_t type)
{
	return type < AQM_VALUE_TYPES ? value_types[type].name : "unknown";
}

/* Sign-extend the low `bits` of v. */
static int64_t sign_extend(uint64_t v, unsigned bits)
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

struct aqm_number aqm_value_number(uint32_t type, const uint8_t *p)
{
	uint64_t v = 0;
	float f;
	double d;

	memcpy(&v, p, aqm_value_size(type));
	switch (type) {
	case AQM_VALUE_I8:
	case AQM_VALUE_I16:
	case AQM_VALUE_I32:
	case AQM_VALUE_I64: {
		int64_t i = sign_extend(v, 8 * (unsigned)aqm_value_size(type));

		return (struct aqm_number){.kind = AQM_NUMBER_SIGNED, .i = i, .real = (double)i};
	}
	case AQM_VALUE_F32:
		memcpy(&f, p, sizeof f);
		return (struct aqm_number){.kind = AQM_NUMBER_REAL, .real = (double)f};
	case AQM_VALUE_F64:
		memcpy(&d, p, sizeof d);
		return (struct aqm_number){.kind = AQM_NUMBER_REAL, .real = d};
	case AQM_VALUE_BOOL:
		return (struct aqm_number){.kind = AQM_NUMBER_BOOL, .u = v};
	default:
		return (struct aqm_number){.kind = AQM_NUMBER_UNSIGNED, .u = v, .real = (double)v};
	}
}

static int find_pair(const aqm_gguf *gguf, const char *key, const struct aqm_gguf_pair **out)
{
	*out = aqm_gguf_pair(gguf, key);
	if (!*out)
		return aqm_error_set(AQM_ENOTFOUND, "'%s' has no metadata '%s'", gguf->path, key);
	return AQM_OK;
}

static int wrong_type(const aqm_gguf *gguf, const struct aqm_gguf_pair *pair, const char *expected)
{
	return aqm_error_set(AQM_EDATA, "cannot use '%s': metadata '%s' is of type %s, expected %s", gguf->path, pair->key,
	                     aqm_value_name(pair->type), expected);
}

int aqm_gguf_get_int(const aqm_gguf *gguf, const char *key, int64_t *out)
{
	const struct aqm_gguf_pair *pair;
	int code = find_pair(gguf, key, &pair);

	if (code != AQM_OK)
		return code;
	if (aqm_value_size(pair->type) == 0)
		return wrong_type(gguf, pair, "an integer");
	struct aqm_number number = aqm_value_number(pair->type, pair->data);

	if (number.kind == AQM_NUMBER_SIGNED) {
		*out = number.i;
		return AQM_OK;
	}
	if (number.kind != AQM_NUMBER_UNSIGNED)
		return wrong_type(gguf, pair, "an integer");
	if (number.u > INT64_MAX)
		return aqm_error_set(AQM_EDATA, "cannot use '%s': metadata '%s' is %" PRIu64 ", expected at most %" PRId64,
		                     gguf->path, key, number.u, INT64_MAX);
	*out = (int64_t)number.u;
	return AQM_OK;
}

int aqm_gguf_get_float(const aqm_gguf *gguf, const char *key, double *out)
{
	const struct aqm_gguf_pair *pair;
	int code = find_pair(gguf, key, &pair);

	if (code != AQM_OK)
		return code;
	if (aqm_value_size(pair->type) == 0 || pair->type == AQM_VALUE_BOOL)
		return wrong_type(gguf, pair, "a number");
	*out = aqm_value_number(pair->type, pair->data).real;
	return AQM_OK;
}

int aqm_gguf_get_bool(const aqm_gguf *gguf, const char *key, bool *out)
{
	const struct aqm_gguf_pair *pair;
	int code = find_pair(gguf, key, &pair);

	if (code != AQM_OK)
		return code;
	if (pair->type != AQM_VALUE_BOOL)
		return wrong_type(gguf, pair, "bool");
	*out = *pair->data != 0;
	return AQM_OK;
}

int aqm_gguf_get_string(const aqm_gguf *gguf, const char *key, const char **out)
{
	const struct aqm_gguf_pair *pair;
	int code = find_pair(gguf, key, &pair);

	if (code != AQM_OK)
		return code;
	if (pair->type != AQM_VALUE_STRING)
		return wrong_type(gguf, pair, "string");
	if (strlen(pair->string) != pair->bytes - 8)
		return aqm_error_set(AQM_EDATA, "cannot use '%s': metadata '%s' contains a NUL byte", gguf->path, key);
	*out = pair->string;
	return AQM_OK;
}
