/* SPDX-License-Identifier: BSD-2-Clause
 *
 * GGUF: the file format of base models. A reader for v2 and v3 over a read-only mapping, in which every count and length
 * is checked against what is left of the file, and a streaming writer (v3).
 */
#ifndef AQMTRAIN_GGUF_H
#define AQMTRAIN_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/error.h"

/* Element types, numbered as in GGUF files. */
enum aqm_dtype {
	AQM_F32 = 0, AQM_F16 = 1, AQM_Q4_0 = 2, AQM_Q4_1 = 3, AQM_Q5_0 = 6, AQM_Q5_1 = 7, AQM_Q8_0 = 8,
	AQM_Q4_K = 12, AQM_Q5_K = 13, AQM_Q6_K = 14, AQM_BF16 = 30,
};

struct aqm_dtype_traits {
	enum aqm_dtype dtype;
	const char *name;    /* "q4_0" */
	size_t block;        /* elements a block */
	size_t block_bytes;
	/* Expand n elements (a multiple of block). Bit-exact with the gguf Python package. Thread-safe. */
	void (*expand)(const void *blocks, float *out, size_t n);
	/* Quantise n elements; NULL where we only read the type. */
	void (*quantise)(const float *in, void *blocks, size_t n);
};
/* NULL for a type we do not know. */
const struct aqm_dtype_traits *aqm_dtype_traits(enum aqm_dtype dtype);
const struct aqm_dtype_traits *aqm_dtype_find(const char *name);
/* "q4_0"; also of types that we do not read ("iq2_xs"); "unknown" for numbers that are no type. */
const char *aqm_dtype_name(enum aqm_dtype dtype);

/* ---- reader ---- */

typedef struct aqm_gguf aqm_gguf;

/* A file may hold tensors of types that we do not read (aqm_dtype_traits gives NULL): `model info` lists them, and only who
 * needs such a tensor fails (aqm_gguf_require). Where even the size of the type is unknown, `bytes` is 0. */
struct aqm_gguf_tensor {
	const char *name;
	enum aqm_dtype dtype;
	unsigned dimensions;
	int64_t ne[4];       /* ne[0] is contiguous ("in features"); unused ones are 1 */
	const void *data;    /* in the mapping */
	size_t bytes;
};

int aqm_gguf_open(aqm_gguf **out, const char *path);
/* Over the caller's memory, aligned to 8 bytes, which must outlive it; `name` is used in messages. */
int aqm_gguf_open_memory(aqm_gguf **out, const void *data, size_t bytes, const char *name);
void aqm_gguf_free(aqm_gguf *gguf);
const char *aqm_gguf_path(const aqm_gguf *gguf);
size_t aqm_gguf_tensors(const aqm_gguf *gguf);
const struct aqm_gguf_tensor *aqm_gguf_tensor(const aqm_gguf *gguf, size_t index);
/* NULL when absent. Constant-time. */
const struct aqm_gguf_tensor *aqm_gguf_find(const aqm_gguf *gguf, const char *name);
/* The same, with a message: AQM_ENOTFOUND when absent, AQM_EDATA when its type cannot be expanded. */
int aqm_gguf_require(const aqm_gguf *gguf, const char *name, const struct aqm_gguf_tensor **out);

/* Metadata by key: 0, AQM_ENOTFOUND (with a message), or AQM_EDATA if it has another type or does not fit. Any integer width is taken. */
int aqm_gguf_get_int(const aqm_gguf *gguf, const char *key, int64_t *out);
int aqm_gguf_get_float(const aqm_gguf *gguf, const char *key, double *out);
int aqm_gguf_get_bool(const aqm_gguf *gguf, const char *key, bool *out);
/* The string lives as long as the file; it is NUL-terminated. */
int aqm_gguf_get_string(const aqm_gguf *gguf, const char *key, const char **out);
/* SHA-256 of the whole file's contents, 64 hex digits: the fingerprint of a base model. Computed on first use; AQM_EINTERRUPTED. */
int aqm_gguf_digest(aqm_gguf *gguf, char hex[65]);
/* `model info`: readable text or JSON; owned by the caller. */
int aqm_gguf_info(const aqm_gguf *gguf, bool json, char **text);

/* ---- writer ---- */

/* Declare metadata and tensors, then write the tensors' data in the order declared; finish() renames the file into place. */
typedef struct aqm_gguf_writer aqm_gguf_writer;

int aqm_gguf_writer_new(aqm_gguf_writer **out, const char *path);
int aqm_gguf_writer_set_u32(aqm_gguf_writer *writer, const char *key, uint32_t value);
int aqm_gguf_writer_set_f32(aqm_gguf_writer *writer, const char *key, float value);
int aqm_gguf_writer_set_bool(aqm_gguf_writer *writer, const char *key, bool value);
int aqm_gguf_writer_set_string(aqm_gguf_writer *writer, const char *key, const char *value);
int aqm_gguf_writer_set_strings(aqm_gguf_writer *writer, const char *key, const char *const *values, size_t count);
int aqm_gguf_writer_set_i32s(aqm_gguf_writer *writer, const char *key, const int32_t *values, size_t count);
int aqm_gguf_writer_set_f32s(aqm_gguf_writer *writer, const char *key, const float *values, size_t count);
/* Every metadata pair of `from`, except those already set and general.alignment (tensors are aligned to 32 bytes). */
int aqm_gguf_writer_copy_metadata(aqm_gguf_writer *writer, const aqm_gguf *from);
int aqm_gguf_writer_add_tensor(aqm_gguf_writer *writer, const char *name, enum aqm_dtype dtype, unsigned dimensions, const int64_t *ne);
/* Raw bytes of the next tensor, in its own type; or part of it: call until all its bytes are in. */
int aqm_gguf_writer_write(aqm_gguf_writer *writer, const void *data, size_t bytes);
/* n floats of the next tensor, converted to its type (n a multiple of its block). */
int aqm_gguf_writer_write_floats(aqm_gguf_writer *writer, const float *values, size_t n);
/* Checks that all is written, commits atomically. */
int aqm_gguf_writer_finish(aqm_gguf_writer *writer);
/* Without finish() first, nothing appears at the path. */
void aqm_gguf_writer_free(aqm_gguf_writer *writer);

#endif
