/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Building GGUF files in memory, right and wrong ones.
 */
#ifndef TEST_GGUF_HELPER_H
#define TEST_GGUF_HELPER_H

#include "../check.h"

#include "gguf/internal.h"

enum { FILE_BYTES = 1 << 16 };

struct built {
	_Alignas(32) uint8_t data[FILE_BYTES];
	size_t bytes;
};

void put(struct built *b, const void *data, size_t n);
void put_u8(struct built *b, uint8_t v);
void put_u32(struct built *b, uint32_t v);
void put_u64(struct built *b, uint64_t v);
void put_string(struct built *b, const char *s);
/* Magic, version, counts. */
void put_header(struct built *b, uint32_t version, uint64_t tensors, uint64_t pairs);
/* Key and type; the value is to follow. */
void put_key(struct built *b, const char *key, uint32_t type);
/* One tensor of two dimensions. */
void put_tensor(struct built *b, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset);
/* Zeros up to a multiple of the alignment, then n bytes of data. */
void put_data(struct built *b, size_t alignment, size_t n);

#endif
