/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing a GGUF file (v3, little-endian). Metadata is encoded as it is set, tensors are noted as they are declared; the
 * first byte of tensor data, or finish(), writes all that to the temporary file, and data then streams behind it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "gguf/internal.h"

/* A growing run of bytes. */
struct bytes {
	uint8_t *data;
	size_t used, capacity;
};

struct declared {
	char *name;
	enum aqm_dtype dtype;
	unsigned dimensions;
	int64_t ne[AQM_GGUF_DIMENSIONS];
	size_t offset, bytes;
};

struct aqm_gguf_writer {
	struct aqm_atomic_file file;
	char **keys; /* of the pairs set */
	size_t key_count;
	struct bytes pairs; /* encoded */
	struct declared *tensors;
	size_t tensor_count;
	size_t data_bytes;       /* of all tensors declared, padding included */
	bool started;            /* the header is written; nothing more may be declared */
	size_t current, written; /* the tensor being written and its bytes so far */
	uint8_t *chunk;          /* of converted blocks */
};

enum { CHUNK_ELEMENTS = 8192 }; /* a multiple of every block */

/* ---- encoding ---- */

static int append(struct bytes *b, const void *data, size_t n)
{
	size_t needed;

	if (aqm_size_add_overflows(b->used, n, &needed))
		return aqm_error_set(AQM_ERUN, "metadata is too large");
	if (needed > b->capacity) {
		size_t capacity = needed + needed / 2 + 256;
		uint8_t *grown = aqm_realloc_array(b->data, capacity, 1);

		if (!grown)
			return AQM_ERUN;
		b->data = grown;
		b->capacity = capacity;
	}
	if (n)
		memcpy(b->data + b->used, data, n);
	b->used = needed;
	return AQM_OK;
}

static int append_u32(struct bytes *b, uint32_t v)
{
	return append(b, &v, sizeof v);
}

static int append_u64(struct bytes *b, uint64_t v)
{
	return append(b, &v, sizeof v);
}

static int append_string(struct bytes *b, const char *s)
{
	size_t n = strlen(s);
	int code = append_u64(b, n);

	return code == AQM_OK ? append(b, s, n) : code;
}

/* ---- metadata ---- */

static int wrong_call(const aqm_gguf_writer *writer, const char *format, const char *name)
{
	char text[256];

	snprintf(text, sizeof text, format, name);
	return aqm_error_set(AQM_ERUN, "cannot write '%s': %s", writer->file.path, text);
}

static bool has_key(const aqm_gguf_writer *writer, const char *key)
{
	for (size_t i = 0; i < writer->key_count; i++)
		if (strcmp(writer->keys[i], key) == 0)
			return true;
	return false;
}

/* Key and type of a pair; the caller appends its value. */
static int begin_pair(aqm_gguf_writer *writer, const char *key, uint32_t type)
{
	if (writer->started)
		return wrong_call(writer, "metadata '%s' set after tensor data", key);
	if (has_key(writer, key))
		return wrong_call(writer, "metadata '%s' set twice", key);
	char **keys = aqm_realloc_array(writer->keys, writer->key_count + 1, sizeof *keys);

	if (!keys)
		return AQM_ERUN;
	writer->keys = keys;
	keys[writer->key_count] = aqm_strdup(key);
	if (!keys[writer->key_count])
		return AQM_ERUN;
	writer->key_count++;
	int code = append_string(&writer->pairs, key);

	return code == AQM_OK ? append_u32(&writer->pairs, type) : code;
}

static int set_pair(aqm_gguf_writer *writer, const char *key, uint32_t type, const void *value, size_t bytes)
{
	int code = begin_pair(writer, key, type);

	return code == AQM_OK ? append(&writer->pairs, value, bytes) : code;
}

int aqm_gguf_writer_set_u32(aqm_gguf_writer *writer, const char *key, uint32_t value)
{
	return set_pair(writer, key, AQM_VALUE_U32, &value, sizeof value);
}

int aqm_gguf_writer_set_f32(aqm_gguf_writer *writer, const char *key, float value)
{
	return set_pair(writer, key, AQM_VALUE_F32, &value, sizeof value);
}

int aqm_gguf_writer_set_bool(aqm_gguf_writer *writer, const char *key, bool value)
{
	uint8_t byte = value;

	return set_pair(writer, key, AQM_VALUE_BOOL, &byte, sizeof byte);
}

int aqm_gguf_writer_set_string(aqm_gguf_writer *writer, const char *key, const char *value)
{
	int code = begin_pair(writer, key, AQM_VALUE_STRING);

	return code == AQM_OK ? append_string(&writer->pairs, value) : code;
}

static int begin_array(aqm_gguf_writer *writer, const char *key, uint32_t type, size_t count)
{
	int code = begin_pair(writer, key, AQM_VALUE_ARRAY);

	if (code == AQM_OK)
		code = append_u32(&writer->pairs, type);
	return code == AQM_OK ? append_u64(&writer->pairs, count) : code;
}

int aqm_gguf_writer_set_strings(aqm_gguf_writer *writer, const char *key, const char *const *values, size_t count)
{
	int code = begin_array(writer, key, AQM_VALUE_STRING, count);

	for (size_t i = 0; code == AQM_OK && i < count; i++)
		code = append_string(&writer->pairs, values[i]);
	return code;
}

int aqm_gguf_writer_set_i32s(aqm_gguf_writer *writer, const char *key, const int32_t *values, size_t count)
{
	int code = begin_array(writer, key, AQM_VALUE_I32, count);

	return code == AQM_OK ? append(&writer->pairs, values, count * sizeof *values) : code;
}

int aqm_gguf_writer_set_f32s(aqm_gguf_writer *writer, const char *key, const float *values, size_t count)
{
	int code = begin_array(writer, key, AQM_VALUE_F32, count);

	return code == AQM_OK ? append(&writer->pairs, values, count * sizeof *values) : code;
}

int aqm_gguf_writer_copy_metadata(aqm_gguf_writer *writer, const aqm_gguf *from)
{
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < from->pair_count; i++) {
		const struct aqm_gguf_pair *pair = &from->pairs[i];

		/* Tensors lie where this file's own alignment puts them. */
		if (strcmp(pair->key, "general.alignment") == 0 || has_key(writer, pair->key))
			continue;
		code = set_pair(writer, pair->key, pair->type, pair->data, pair->bytes);
	}
	return code;
}

/* ---- tensors ---- */

int aqm_gguf_writer_add_tensor(aqm_gguf_writer *writer, const char *name, enum aqm_dtype dtype, unsigned dimensions,
                               const int64_t *ne)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtype);
	struct declared tensor = {.dtype = dtype, .dimensions = dimensions, .offset = writer->data_bytes};
	size_t elements = 1;

	if (writer->started)
		return wrong_call(writer, "tensor '%s' declared after tensor data", name);
	if (!traits)
		return wrong_call(writer, "tensor '%s' is of a type that cannot be written", name);
	if (strlen(name) > AQM_GGUF_WRITTEN_NAME || !*name)
		return wrong_call(writer, "tensor name '%s' is empty or longer than 63 bytes", name);
	if (dimensions < 1 || dimensions > AQM_GGUF_DIMENSIONS)
		return wrong_call(writer, "tensor '%s' has not 1 to 4 dimensions", name);
	for (size_t i = 0; i < writer->tensor_count; i++)
		if (strcmp(writer->tensors[i].name, name) == 0)
			return wrong_call(writer, "tensor '%s' declared twice", name);
	for (unsigned i = 0; i < dimensions; i++) {
		tensor.ne[i] = ne[i];
		if (ne[i] <= 0 || aqm_size_mul_overflows(elements, (size_t)ne[i], &elements))
			return wrong_call(writer, "tensor '%s' has an impossible dimension", name);
	}
	if ((size_t)ne[0] % traits->block)
		return wrong_call(writer, "the rows of tensor '%s' are no multiple of its type's block", name);

	size_t end;

	if (aqm_size_mul_overflows(elements / traits->block, traits->block_bytes, &tensor.bytes) ||
	    aqm_size_add_overflows(writer->data_bytes, tensor.bytes, &end) || end > SIZE_MAX / 2)
		return wrong_call(writer, "tensor '%s' is too large", name);
	struct declared *tensors = aqm_realloc_array(writer->tensors, writer->tensor_count + 1, sizeof *tensors);

	if (!tensors)
		return AQM_ERUN;
	writer->tensors = tensors;
	tensor.name = aqm_strdup(name);
	if (!tensor.name)
		return AQM_ERUN;
	tensors[writer->tensor_count++] = tensor;
	writer->data_bytes = aqm_size_align(end, AQM_GGUF_ALIGNMENT);
	return AQM_OK;
}

/* Header, pairs and tensor infos, up to the first byte of data. */
static int start(aqm_gguf_writer *writer)
{
	static const uint8_t zeros[AQM_GGUF_ALIGNMENT];
	struct bytes b = {0};
	int code = append(&b, AQM_GGUF_MAGIC, 4);

	writer->started = true;
	if (code == AQM_OK)
		code = append_u32(&b, AQM_GGUF_VERSION);
	if (code == AQM_OK)
		code = append_u64(&b, writer->tensor_count);
	if (code == AQM_OK)
		code = append_u64(&b, writer->key_count);
	if (code == AQM_OK && writer->pairs.used)
		code = append(&b, writer->pairs.data, writer->pairs.used);
	for (size_t i = 0; code == AQM_OK && i < writer->tensor_count; i++) {
		const struct declared *tensor = &writer->tensors[i];

		code = append_string(&b, tensor->name);
		if (code == AQM_OK)
			code = append_u32(&b, tensor->dimensions);
		for (unsigned j = 0; code == AQM_OK && j < tensor->dimensions; j++)
			code = append_u64(&b, (uint64_t)tensor->ne[j]);
		if (code == AQM_OK)
			code = append_u32(&b, (uint32_t)tensor->dtype);
		if (code == AQM_OK)
			code = append_u64(&b, tensor->offset);
	}
	if (code == AQM_OK)
		code = append(&b, zeros, aqm_size_align(b.used, AQM_GGUF_ALIGNMENT) - b.used);
	if (code == AQM_OK)
		code = aqm_atomic_write(&writer->file, b.data, b.used);
	free(b.data);
	return code;
}

int aqm_gguf_writer_write(aqm_gguf_writer *writer, const void *data, size_t bytes)
{
	static const uint8_t zeros[AQM_GGUF_ALIGNMENT];
	int code = writer->started ? AQM_OK : start(writer);

	if (code != AQM_OK)
		return code;
	if (writer->current >= writer->tensor_count)
		return wrong_call(writer, "%s", "more data than tensors declared");
	const struct declared *tensor = &writer->tensors[writer->current];

	if (bytes > tensor->bytes - writer->written)
		return wrong_call(writer, "more data than tensor '%s' holds", tensor->name);
	code = aqm_atomic_write(&writer->file, data, bytes);
	if (code != AQM_OK)
		return code;
	writer->written += bytes;
	if (writer->written == tensor->bytes) {
		code =
			aqm_atomic_write(&writer->file, zeros, aqm_size_align(tensor->bytes, AQM_GGUF_ALIGNMENT) - tensor->bytes);
		writer->current++;
		writer->written = 0;
	}
	return code;
}

int aqm_gguf_writer_write_floats(aqm_gguf_writer *writer, const float *values, size_t n)
{
	if (writer->current >= writer->tensor_count)
		return wrong_call(writer, "%s", "more data than tensors declared");
	const struct declared *tensor = &writer->tensors[writer->current];
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(tensor->dtype);
	int code = AQM_OK;

	if (!traits->quantise)
		return wrong_call(writer, "numbers cannot be converted to the type of tensor '%s'", tensor->name);
	if (n % traits->block)
		return wrong_call(writer, "part of a block of tensor '%s'", tensor->name);
	if (!writer->chunk)
		writer->chunk = aqm_malloc_array(CHUNK_ELEMENTS, sizeof(float));
	if (!writer->chunk)
		return AQM_ERUN;
	while (code == AQM_OK && n) {
		size_t part = n < CHUNK_ELEMENTS ? n : CHUNK_ELEMENTS;

		traits->quantise(values, writer->chunk, part);
		code = aqm_gguf_writer_write(writer, writer->chunk, part / traits->block * traits->block_bytes);
		values += part;
		n -= part;
	}
	return code;
}

/* ---- life ---- */

int aqm_gguf_writer_new(aqm_gguf_writer **out, const char *path)
{
	aqm_gguf_writer *writer = aqm_calloc_array(1, sizeof *writer);
	int code = writer ? aqm_atomic_open(&writer->file, path) : AQM_ERUN;

	*out = NULL;
	if (code == AQM_OK)
		*out = writer;
	else
		free(writer);
	return code;
}

int aqm_gguf_writer_finish(aqm_gguf_writer *writer)
{
	int code = writer->started ? AQM_OK : start(writer);

	if (code != AQM_OK)
		return code;
	if (writer->current < writer->tensor_count)
		return wrong_call(writer, "tensor '%s' is not written in full", writer->tensors[writer->current].name);
	return aqm_atomic_commit(&writer->file);
}

void aqm_gguf_writer_free(aqm_gguf_writer *writer)
{
	if (!writer)
		return;
	aqm_atomic_abort(&writer->file);
	for (size_t i = 0; i < writer->key_count; i++)
		free(writer->keys[i]);
	for (size_t i = 0; i < writer->tensor_count; i++)
		free(writer->tensors[i].name);
	free(writer->keys);
	free(writer->tensors);
	free(writer->pairs.data);
	free(writer->chunk);
	free(writer);
}
