/* SPDX-License-Identifier: BSD-2-Clause
 *
 * safetensors: the file format in which published weights and PEFT adapters come.
 *
 *     u64 little-endian   length of the header
 *     JSON                {name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...,
 *                          "__metadata__": {key: text}}
 *     data                the tensors, dense, row-major
 *
 * A reader over a read-only mapping: the header's length, every shape and every pair of offsets is checked against what
 * is left of the file; overlaps, holes and repeated names are refused, as the format demands.
 */
#ifndef AQM_GGUF_SAFETENSORS_H
#define AQM_GGUF_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/gguf.h"

typedef struct aqm_safetensors_reader aqm_safetensors_reader;

struct aqm_safetensors_tensor {
	const char *name;
	const char *type;     /* as in the file: "BF16"; also of types that we do not read ("I64") */
	enum aqm_dtype dtype; /* AQM_F32, AQM_F16 or AQM_BF16; valid only when `readable` */
	bool readable;
	unsigned dimensions;
	int64_t shape[8]; /* as in the file: the last one is contiguous */
	int64_t elements;
	const void *data; /* in the mapping; not necessarily aligned */
	size_t bytes;
};

/* AQM_EDATA with file, place and expectation. */
int aqm_safetensors_open(aqm_safetensors_reader **out, const char *path);
/* Over the caller's memory, which must outlive it; `name` is used in messages. */
int aqm_safetensors_open_memory(aqm_safetensors_reader **out, const void *data, size_t bytes, const char *name);
void aqm_safetensors_close(aqm_safetensors_reader *reader);
const char *aqm_safetensors_path(const aqm_safetensors_reader *reader);
size_t aqm_safetensors_tensors(const aqm_safetensors_reader *reader);
/* In the order of their data; NULL past the last one. */
const struct aqm_safetensors_tensor *aqm_safetensors_tensor(const aqm_safetensors_reader *reader, size_t index);
/* NULL when absent. */
const struct aqm_safetensors_tensor *aqm_safetensors_find(const aqm_safetensors_reader *reader, const char *name);
/* NULL when the file has no such metadata. */
const char *aqm_safetensors_metadata(const aqm_safetensors_reader *reader, const char *key);
/* Elements [first, first + n) as float32, from any readable type. */
void aqm_safetensors_read(const struct aqm_safetensors_tensor *tensor, int64_t first, size_t n, float *out);
/* Give the pages of n bytes of a tensor back to the system; reading them again reads the file again. */
void aqm_safetensors_forget(const aqm_safetensors_reader *reader, const struct aqm_safetensors_tensor *tensor,
                            size_t first, size_t n);

#endif
