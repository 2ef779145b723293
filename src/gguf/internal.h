/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An open file, as read.c leaves it for metadata.c, info.c and writer.c: every count, length and offset in it is checked.
 */
#ifndef AQM_GGUF_INTERNAL_H
#define AQM_GGUF_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aqmtrain/gguf.h"
#include "base/file.h"

#define AQM_GGUF_MAGIC "GGUF"

enum {
	AQM_GGUF_VERSION = 3,
	AQM_GGUF_ALIGNMENT = 32, /* where general.alignment does not say otherwise */
	AQM_GGUF_DIMENSIONS = 4,
	AQM_GGUF_NAME_BYTES = 65535, /* longest key or tensor name that is read */
	AQM_GGUF_WRITTEN_NAME = 63,  /* longest tensor name that is written: ggml keeps 64 bytes, a NUL included */
	AQM_GGUF_ARRAY_DEPTH = 4,    /* arrays of arrays */
};

/* Types of metadata values, numbered as in files. */
enum aqm_value_type {
	AQM_VALUE_U8,
	AQM_VALUE_I8,
	AQM_VALUE_U16,
	AQM_VALUE_I16,
	AQM_VALUE_U32,
	AQM_VALUE_I32,
	AQM_VALUE_F32,
	AQM_VALUE_BOOL,
	AQM_VALUE_STRING,
	AQM_VALUE_ARRAY,
	AQM_VALUE_U64,
	AQM_VALUE_I64,
	AQM_VALUE_F64,
	AQM_VALUE_TYPES,
};

/* One metadata pair. `data` is the value as the file holds it: for a string its length (u64) and bytes, for an array its
 * element type (u32), count (u64) and elements. */
struct aqm_gguf_pair {
	char *key;
	uint32_t type;
	const uint8_t *data;
	size_t bytes;
	char *string; /* NUL-terminated copy, of strings only */
};

/* Names to indices: open addressing over a table at least twice as long as the list, hashed with a seed of its own so that
 * no file can be made to collide. */
struct aqm_gguf_index {
	const char **names; /* by index; the strings belong to the pairs and tensors */
	uint32_t *slots;    /* index + 1; 0 = free */
	size_t mask;
	uint64_t seed;
};

struct aqm_gguf {
	char *path;
	struct aqm_mapping mapping; /* empty over the caller's memory */
	const uint8_t *data;
	size_t bytes;
	uint32_t version;
	size_t alignment;
	size_t data_start; /* of the tensors, from the start of the file */
	struct aqm_gguf_pair *pairs;
	size_t pair_count;
	struct aqm_gguf_index pair_index;
	struct aqm_gguf_tensor *tensors;
	size_t tensor_count;
	struct aqm_gguf_index tensor_index;
	char digest[65]; /* "" until asked for */
};

/* Bytes of one value of a type of fixed size; 0 for strings, arrays and unknown types. */
size_t aqm_value_size(uint32_t type);
/* "u32", "string", ... ; "unknown" for numbers that are no type. */
const char *aqm_value_name(uint32_t type);
/* Numbers in files lie at any address, little-endian. */
uint32_t aqm_value_u32(const uint8_t *p);
uint64_t aqm_value_u64(const uint8_t *p);

/* The pair with this key, or NULL. */
const struct aqm_gguf_pair *aqm_gguf_pair(const aqm_gguf *gguf, const char *key);

/* One scalar of fixed size. */
struct aqm_number {
	enum { AQM_NUMBER_SIGNED, AQM_NUMBER_UNSIGNED, AQM_NUMBER_REAL, AQM_NUMBER_BOOL } kind;
	int64_t i;
	uint64_t u;
	double real;
};
struct aqm_number aqm_value_number(uint32_t type, const uint8_t *p);

#endif
