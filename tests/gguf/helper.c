/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <string.h>

void put(struct built *b, const void *data, size_t n)
{
	assert_true(n <= FILE_BYTES - b->bytes);
	memcpy(b->data + b->bytes, data, n);
	b->bytes += n;
}

void put_u8(struct built *b, uint8_t v)
{
	put(b, &v, sizeof v);
}

void put_u32(struct built *b, uint32_t v)
{
	put(b, &v, sizeof v);
}

void put_u64(struct built *b, uint64_t v)
{
	put(b, &v, sizeof v);
}

void put_string(struct built *b, const char *s)
{
	put_u64(b, strlen(s));
	put(b, s, strlen(s));
}

void put_header(struct built *b, uint32_t version, uint64_t tensors, uint64_t pairs)
{
	put(b, AQM_GGUF_MAGIC, 4);
	put_u32(b, version);
	put_u64(b, tensors);
	put_u64(b, pairs);
}

void put_key(struct built *b, const char *key, uint32_t type)
{
	put_string(b, key);
	put_u32(b, type);
}

void put_tensor(struct built *b, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset)
{
	put_string(b, name);
	put_u32(b, 2);
	put_u64(b, ne0);
	put_u64(b, ne1);
	put_u32(b, type);
	put_u64(b, offset);
}

void put_data(struct built *b, size_t alignment, size_t n)
{
	while (b->bytes % alignment)
		put_u8(b, 0);
	for (size_t i = 0; i < n; i++)
		put_u8(b, (uint8_t)i);
}
