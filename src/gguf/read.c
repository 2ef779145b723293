/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a GGUF file. Nothing in it is believed: before a length or count is used it is held against the bytes that are
 * left, so memory taken is at most a small multiple of the file, and every fault becomes a message with its place.
 *
 *   "GGUF" version tensor_count pair_count | pairs | tensor infos | padding to the alignment | tensor data
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/size.h"
#include "base/thread.h"
#include "gguf/internal.h"
#include "gguf/types.h"

/* What is not yet read. `gguf` is there for messages. */
struct cursor {
	const aqm_gguf *gguf;
	const uint8_t *next;
	size_t left;
};

AQM_PRINTF(2, 3) static int fault(const aqm_gguf *gguf, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	return aqm_error_set(AQM_EDATA, "cannot read '%s': %s", gguf->path, text);
}

/* ---- numbers, strings ---- */

uint32_t aqm_value_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

uint64_t aqm_value_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

/* Step over n bytes, which `what` needs. */
static int take(struct cursor *c, uint64_t n, const char *what, const uint8_t **start)
{
	*start = c->next;
	if (n > c->left)
		return fault(c->gguf, "%s needs %" PRIu64 " bytes at offset %zu, the file has %zu left", what, n,
		             (size_t)(c->next - c->gguf->data), c->left);
	c->next += n;
	c->left -= (size_t)n;
	return AQM_OK;
}

static int take_u32(struct cursor *c, const char *what, uint32_t *out)
{
	const uint8_t *p;
	int code = take(c, sizeof *out, what, &p);

	if (code == AQM_OK)
		*out = aqm_value_u32(p);
	return code;
}

static int take_u64(struct cursor *c, const char *what, uint64_t *out)
{
	const uint8_t *p;
	int code = take(c, sizeof *out, what, &p);

	if (code == AQM_OK)
		*out = aqm_value_u64(p);
	return code;
}

static int copy_string(const uint8_t *bytes, size_t n, char **out)
{
	*out = aqm_malloc_array(n + 1, 1);
	if (!*out)
		return AQM_ERUN;
	memcpy(*out, bytes, n);
	(*out)[n] = '\0';
	return AQM_OK;
}

/* A key or tensor name, as a fresh string. */
static int take_name(struct cursor *c, const char *what, char **out)
{
	const uint8_t *bytes;
	uint64_t n;
	int code = take_u64(c, what, &n);

	if (code != AQM_OK)
		return code;
	if (n == 0 || n > AQM_GGUF_NAME_BYTES)
		return fault(c->gguf, "%s is %" PRIu64 " bytes long, 1 to %d are allowed", what, n, AQM_GGUF_NAME_BYTES);
	code = take(c, n, what, &bytes);
	if (code == AQM_OK && memchr(bytes, 0, (size_t)n))
		code = fault(c->gguf, "%s contains a NUL byte", what);
	if (code == AQM_OK)
		code = copy_string(bytes, (size_t)n, out);
	return code;
}

/* ---- index of names ---- */

static int index_init(struct aqm_gguf_index *index, size_t count)
{
	size_t slots = 4;

	while (slots < 2 * count)
		slots *= 2;
	index->names = aqm_calloc_array(count, sizeof *index->names);
	index->slots = aqm_calloc_array(slots, sizeof *index->slots);
	index->mask = slots - 1;
	if (getrandom(&index->seed, sizeof index->seed, GRND_NONBLOCK) < 0)
		index->seed = 0; /* slower with hostile files, never wrong */
	return index->names && index->slots ? AQM_OK : AQM_ERUN;
}

static void index_release(struct aqm_gguf_index *index)
{
	free(index->names);
	free(index->slots);
}

/* The slot that holds a name, or the free one where it belongs. FNV-1a, folded. */
static uint32_t *index_slot(const struct aqm_gguf_index *index, const char *name)
{
	uint64_t h = 0xcbf29ce484222325u ^ index->seed;

	for (const char *p = name; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3u;
	size_t slot = (size_t)(h ^ h >> 32) & index->mask;

	while (index->slots[slot] && strcmp(index->names[index->slots[slot] - 1], name) != 0)
		slot = (slot + 1) & index->mask;
	return &index->slots[slot];
}

/* False when the name is there already. */
static bool index_add(struct aqm_gguf_index *index, const char *name, size_t i)
{
	uint32_t *slot = index_slot(index, name);

	if (*slot)
		return false;
	index->names[i] = name;
	*slot = (uint32_t)i + 1;
	return true;
}

const struct aqm_gguf_pair *aqm_gguf_pair(const aqm_gguf *gguf, const char *key)
{
	uint32_t found = *index_slot(&gguf->pair_index, key);

	return found ? &gguf->pairs[found - 1] : NULL;
}

const struct aqm_gguf_tensor *aqm_gguf_find(const aqm_gguf *gguf, const char *name)
{
	uint32_t found = *index_slot(&gguf->tensor_index, name);

	return found ? &gguf->tensors[found - 1] : NULL;
}

/* ---- metadata ---- */

/* Step over one value of a type. `depth` counts arrays around it. */
static int skip_value(struct cursor *c, uint32_t type, const char *key, int depth)
{
	char what[160];
	const uint8_t *p;
	uint32_t element;
	uint64_t count;

	snprintf(what, sizeof what, "metadata '%.100s'", key);
	if (type >= AQM_VALUE_TYPES)
		return fault(c->gguf, "%s has type %" PRIu32 ", which does not exist", what, type);
	if (type == AQM_VALUE_STRING) {
		int code = take_u64(c, what, &count);

		return code == AQM_OK ? take(c, count, what, &p) : code;
	}
	if (type != AQM_VALUE_ARRAY)
		return take(c, aqm_value_size(type), what, &p);

	if (depth >= AQM_GGUF_ARRAY_DEPTH)
		return fault(c->gguf, "%s nests arrays more than %d deep", what, AQM_GGUF_ARRAY_DEPTH);
	int code = take_u32(c, what, &element);

	if (code == AQM_OK)
		code = take_u64(c, what, &count);
	if (code != AQM_OK)
		return code;
	if (element >= AQM_VALUE_TYPES)
		return fault(c->gguf, "%s is an array of type %" PRIu32 ", which does not exist", what, element);
	/* Strings take 8 bytes at least, arrays 12: so `count` bounds the loop below by the size of the file. */
	size_t least = element == AQM_VALUE_STRING ? 8 : element == AQM_VALUE_ARRAY ? 12 : aqm_value_size(element);

	if (count > c->left / least)
		return fault(c->gguf, "%s has %" PRIu64 " elements, but the file has only %zu bytes left", what, count,
		             c->left);
	if (element != AQM_VALUE_STRING && element != AQM_VALUE_ARRAY)
		return take(c, count * least, what, &p);
	for (uint64_t i = 0; code == AQM_OK && i < count; i++)
		code = skip_value(c, element, key, depth + 1);
	return code;
}

static int read_pair(struct cursor *c, aqm_gguf *gguf)
{
	struct aqm_gguf_pair *pair = &gguf->pairs[gguf->pair_count];
	char what[64];

	snprintf(what, sizeof what, "the key of metadata pair %zu", gguf->pair_count);
	int code = take_name(c, what, &pair->key);

	if (code != AQM_OK)
		return code;
	gguf->pair_count++; /* its key is now freed with the file */
	if (!index_add(&gguf->pair_index, pair->key, gguf->pair_count - 1))
		return fault(gguf, "metadata '%.100s' appears twice", pair->key);
	code = take_u32(c, what, &pair->type);
	pair->data = c->next;
	if (code == AQM_OK)
		code = skip_value(c, pair->type, pair->key, 0);
	pair->bytes = (size_t)(c->next - pair->data);
	if (code == AQM_OK && pair->type == AQM_VALUE_BOOL && *pair->data > 1)
		code = fault(gguf, "metadata '%.100s' is a bool of value %d", pair->key, *pair->data);
	if (code == AQM_OK && pair->type == AQM_VALUE_STRING)
		code = copy_string(pair->data + 8, pair->bytes - 8, &pair->string);
	return code;
}

static int read_alignment(aqm_gguf *gguf)
{
	const struct aqm_gguf_pair *pair = aqm_gguf_pair(gguf, "general.alignment");

	gguf->alignment = AQM_GGUF_ALIGNMENT;
	if (!pair)
		return AQM_OK;
	if (pair->type != AQM_VALUE_U32)
		return fault(gguf, "metadata 'general.alignment' is %s, expected u32", aqm_value_name(pair->type));
	gguf->alignment = aqm_value_u32(pair->data);
	if (gguf->alignment < 8 || (gguf->alignment & (gguf->alignment - 1)))
		return fault(gguf, "metadata 'general.alignment' is %zu, expected a power of two from 8", gguf->alignment);
	return AQM_OK;
}

/* ---- tensors ---- */

/* Dimensions, type and offset of one tensor; `data` holds its offset from the start of the tensor data until the place of
 * that is known. */
static int read_tensor(struct cursor *c, aqm_gguf *gguf)
{
	struct aqm_gguf_tensor *tensor = &gguf->tensors[gguf->tensor_count];
	char what[160], *name = NULL;
	uint64_t dimension, offset = 0;
	uint32_t dimensions, type = 0;
	size_t elements = 1;

	snprintf(what, sizeof what, "the name of tensor %zu", gguf->tensor_count);
	int code = take_name(c, what, &name);

	if (code != AQM_OK)
		return code;
	tensor->name = name;
	gguf->tensor_count++;
	if (!index_add(&gguf->tensor_index, name, gguf->tensor_count - 1))
		return fault(gguf, "tensor '%.100s' appears twice", name);
	snprintf(what, sizeof what, "tensor '%.100s'", name);
	code = take_u32(c, what, &dimensions);
	if (code == AQM_OK && dimensions > AQM_GGUF_DIMENSIONS)
		code =
			fault(gguf, "%s has %" PRIu32 " dimensions, at most %d are allowed", what, dimensions, AQM_GGUF_DIMENSIONS);
	if (code != AQM_OK)
		return code;
	tensor->dimensions = dimensions;
	for (unsigned i = 0; i < AQM_GGUF_DIMENSIONS; i++)
		tensor->ne[i] = 1;
	for (unsigned i = 0; i < dimensions; i++) {
		code = take_u64(c, what, &dimension);
		if (code != AQM_OK)
			return code;
		if (dimension == 0 || dimension > INT64_MAX || aqm_size_mul_overflows(elements, (size_t)dimension, &elements))
			return fault(gguf, "%s has an impossible dimension %u: %" PRIu64, what, i, dimension);
		tensor->ne[i] = (int64_t)dimension;
	}
	code = take_u32(c, what, &type);
	if (code == AQM_OK)
		code = take_u64(c, what, &offset);
	if (code != AQM_OK)
		return code;
	tensor->dtype = (enum aqm_dtype)type;

	const struct aqm_type_layout *layout = aqm_type_layout(type);

	if (layout) {
		if (tensor->ne[0] % layout->block)
			return fault(gguf, "%s has rows of %" PRId64 " elements, expected a multiple of %d for type %s", what,
			             tensor->ne[0], layout->block, layout->name);
		if (aqm_size_mul_overflows(elements / layout->block, layout->block_bytes, &tensor->bytes))
			return fault(gguf, "%s has more bytes than can be counted", what);
	}
	if (offset % gguf->alignment)
		return fault(gguf, "%s begins at offset %" PRIu64 ", expected a multiple of the alignment %zu", what, offset,
		             gguf->alignment);
	if (offset > SIZE_MAX / 2)
		return fault(gguf, "%s begins at offset %" PRIu64 ", past the end of the file", what, offset);
	tensor->data = (const void *)(uintptr_t)offset;
	return AQM_OK;
}

struct place {
	const uint8_t *start;
	size_t bytes;
	const char *name;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* No two tensors may share bytes: what one would be changed into, the other would become. */
static int check_overlaps(const aqm_gguf *gguf)
{
	struct place *places = aqm_malloc_array(gguf->tensor_count, sizeof *places);
	int code = AQM_OK;

	if (!places)
		return AQM_ERUN;
	for (size_t i = 0; i < gguf->tensor_count; i++)
		places[i] = (struct place){gguf->tensors[i].data, gguf->tensors[i].bytes, gguf->tensors[i].name};
	qsort(places, gguf->tensor_count, sizeof *places, compare_places);
	for (size_t i = 1; code == AQM_OK && i < gguf->tensor_count; i++)
		if (places[i].start < places[i - 1].start + places[i - 1].bytes)
			code = fault(gguf, "tensors '%.100s' and '%.100s' overlap", places[i - 1].name, places[i].name);
	free(places);
	return code;
}

/* Offsets become addresses, inside the file. */
static int place_tensors(aqm_gguf *gguf, size_t infos_end)
{
	size_t padding = aqm_size_align(infos_end, gguf->alignment) - infos_end;

	/* A file without tensors may end without the padding. */
	gguf->data_start = padding > gguf->bytes - infos_end ? gguf->bytes : infos_end + padding;
	size_t room = gguf->bytes - gguf->data_start;

	for (size_t i = 0; i < gguf->tensor_count; i++) {
		struct aqm_gguf_tensor *tensor = &gguf->tensors[i];
		size_t offset = (size_t)(uintptr_t)tensor->data, end;

		if (aqm_size_add_overflows(offset, tensor->bytes, &end))
			return fault(gguf, "tensor '%.100s' is larger than any file", tensor->name);
		if (end > room)
			return fault(gguf, "tensor '%.100s' ends %zu bytes past the end of the file", tensor->name, end - room);
		tensor->data = gguf->data + gguf->data_start + offset;
	}
	return check_overlaps(gguf);
}

/* ---- the file ---- */

static int read_header(struct cursor *c, aqm_gguf *gguf, uint64_t *tensors, uint64_t *pairs)
{
	const uint8_t *magic;

	if (c->left < 4 || memcmp(c->next, AQM_GGUF_MAGIC, 4) != 0)
		return fault(gguf, "it is not a GGUF file (it does not begin with 'GGUF')");
	int code = take(c, 4, "the magic number", &magic);

	if (code == AQM_OK)
		code = take_u32(c, "the version", &gguf->version);
	if (code != AQM_OK)
		return code;
	if (gguf->version != 0 && (gguf->version & 0xffff) == 0)
		return fault(gguf, "it is big-endian; only little-endian GGUF files are read");
	if (gguf->version != 2 && gguf->version != AQM_GGUF_VERSION)
		return fault(gguf, "it is GGUF version %" PRIu32 ", expected 2 or 3", gguf->version);
	code = take_u64(c, "the number of tensors", tensors);
	if (code == AQM_OK)
		code = take_u64(c, "the number of metadata pairs", pairs);
	if (code != AQM_OK)
		return code;
	/* The least that each takes: a name of one byte; key, type and one byte of value, or dimensions, type and offset. */
	if (*pairs > c->left / (8 + 1 + 4 + 1))
		return fault(gguf, "it announces %" PRIu64 " metadata pairs in %zu bytes", *pairs, c->left);
	if (*tensors > c->left / (8 + 1 + 4 + 4 + 8))
		return fault(gguf, "it announces %" PRIu64 " tensors in %zu bytes", *tensors, c->left);
	if (*pairs > UINT32_MAX / 2 || *tensors > UINT32_MAX / 2)
		return fault(gguf, "it announces more metadata pairs or tensors than are supported");
	return AQM_OK;
}

static int read_file(aqm_gguf *gguf)
{
	struct cursor c = {.gguf = gguf, .next = gguf->data, .left = gguf->bytes};
	uint64_t tensors = 0, pairs = 0;
	int code = read_header(&c, gguf, &tensors, &pairs);

	if (code != AQM_OK)
		return code;
	gguf->pairs = aqm_calloc_array((size_t)pairs, sizeof *gguf->pairs);
	gguf->tensors = aqm_calloc_array((size_t)tensors, sizeof *gguf->tensors);
	if (!gguf->pairs || !gguf->tensors)
		return AQM_ERUN;
	code = index_init(&gguf->pair_index, (size_t)pairs);
	if (code == AQM_OK)
		code = index_init(&gguf->tensor_index, (size_t)tensors);
	while (code == AQM_OK && gguf->pair_count < pairs)
		code = read_pair(&c, gguf);
	if (code == AQM_OK)
		code = read_alignment(gguf);
	while (code == AQM_OK && gguf->tensor_count < tensors)
		code = read_tensor(&c, gguf);
	if (code == AQM_OK)
		code = place_tensors(gguf, (size_t)(c.next - gguf->data));
	return code;
}

static int open_over(aqm_gguf **out, struct aqm_mapping mapping, const void *data, size_t bytes, const char *name)
{
	aqm_gguf *gguf = aqm_calloc_array(1, sizeof *gguf);
	int code = AQM_ERUN;

	*out = NULL;
	if (!gguf) {
		aqm_unmap(&mapping);
		return code;
	}
	gguf->mapping = mapping;
	gguf->data = data;
	gguf->bytes = bytes;
	gguf->path = aqm_strdup(name);
	if (gguf->path)
		code = read_file(gguf);
	if (code == AQM_OK)
		*out = gguf;
	else
		aqm_gguf_free(gguf);
	return code;
}

int aqm_gguf_open(aqm_gguf **out, const char *path)
{
	struct aqm_mapping mapping;
	int code = aqm_map_file(&mapping, path);

	*out = NULL;
	return code == AQM_OK ? open_over(out, mapping, mapping.data, mapping.bytes, path) : code;
}

int aqm_gguf_open_memory(aqm_gguf **out, const void *data, size_t bytes, const char *name)
{
	return open_over(out, (struct aqm_mapping){0}, data, bytes, name);
}

void aqm_gguf_free(aqm_gguf *gguf)
{
	if (!gguf)
		return;
	for (size_t i = 0; i < gguf->pair_count; i++) {
		free(gguf->pairs[i].key);
		free(gguf->pairs[i].string);
	}
	for (size_t i = 0; i < gguf->tensor_count; i++)
		free((char *)(uintptr_t)gguf->tensors[i].name);
	index_release(&gguf->pair_index);
	index_release(&gguf->tensor_index);
	free(gguf->pairs);
	free(gguf->tensors);
	free(gguf->path);
	aqm_unmap(&gguf->mapping);
	free(gguf);
}

const char *aqm_gguf_path(const aqm_gguf *gguf)
{
	return gguf->path;
}

size_t aqm_gguf_tensors(const aqm_gguf *gguf)
{
	return gguf->tensor_count;
}

const struct aqm_gguf_tensor *aqm_gguf_tensor(const aqm_gguf *gguf, size_t index)
{
	return index < gguf->tensor_count ? &gguf->tensors[index] : NULL;
}

int aqm_gguf_require(const aqm_gguf *gguf, const char *name, const struct aqm_gguf_tensor **out)
{
	*out = aqm_gguf_find(gguf, name);
	if (!*out)
		return aqm_error_set(AQM_ENOTFOUND, "'%s' has no tensor '%s'", gguf->path, name);
	if (!aqm_dtype_traits((*out)->dtype))
		return aqm_error_set(AQM_EDATA, "cannot use '%s': tensor '%s' is of type %s (%u), which is not supported",
		                     gguf->path, name, aqm_dtype_name((*out)->dtype), (unsigned)(*out)->dtype);
	return AQM_OK;
}

/* In pieces: a base of tens of gigabytes takes as many seconds, in which somebody may change his mind. */
static int compute_digest(aqm_gguf *gguf, char hex[65])
{
	enum { PIECE = 1 << 26 };
	aqm_sha256 *sha = NULL;
	size_t done = 0;
	int code = aqm_sha256_new(&sha);

	if (code != AQM_OK)
		return code;
	while (done < gguf->bytes && !aqm_interrupted()) {
		size_t n = gguf->bytes - done < PIECE ? gguf->bytes - done : PIECE;

		aqm_sha256_update(sha, gguf->data + done, n);
		done += n;
	}
	aqm_sha256_finish(sha, hex);
	return done == gguf->bytes ? AQM_OK
	                           : aqm_error_set(AQM_EINTERRUPTED, "interrupted while reading '%s'", gguf->path);
}

int aqm_gguf_digest(aqm_gguf *gguf, char hex[65])
{
	int code = gguf->digest[0] ? AQM_OK : compute_digest(gguf, hex);

	if (code != AQM_OK)
		return code;
	if (!gguf->digest[0])
		memcpy(gguf->digest, hex, sizeof gguf->digest);
	memcpy(hex, gguf->digest, sizeof gguf->digest);
	return AQM_OK;
}
