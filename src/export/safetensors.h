/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Writer of safetensors files, float32 only:
 *
 *     u64 little-endian   length of the header, a multiple of 8
 *     JSON                {name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...,
 *                          "__metadata__": {key: text}}, padded by spaces
 *     data                the tensors, dense, in the order of their offsets
 *
 * Declare metadata and tensors, then write the tensors' numbers in the order declared.
 */
#ifndef AQM_EXPORT_SAFETENSORS_H
#define AQM_EXPORT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/error.h"

typedef struct aqm_safetensors aqm_safetensors;

int aqm_safetensors_new(aqm_safetensors **out, const char *path);
int aqm_safetensors_set(aqm_safetensors *file, const char *key, const char *text);
/* A matrix (rows, cols); rows 0: a vector of cols numbers. */
int aqm_safetensors_add(aqm_safetensors *file, const char *name, int64_t rows, int64_t cols);
/* n numbers of the next tensor, or part of it. */
int aqm_safetensors_write(aqm_safetensors *file, const float *values, size_t n);
/* Checks that all is written; commits atomically. */
int aqm_safetensors_finish(aqm_safetensors *file);
/* Without finish() first, nothing appears at the path. */
void aqm_safetensors_free(aqm_safetensors *file);

#endif
