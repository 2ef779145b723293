/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/size.h"
#include "gguf/safetensors.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian; reading them here needs byte swaps"
#endif

enum {
	LENGTH_BYTES = 8,
	HEADER_BYTES = 100000000, /* the format's own limit */
	DIMENSIONS = sizeof((struct aqm_safetensors_tensor *)0)->shape / sizeof(int64_t),
};

struct aqm_safetensors_reader {
	char *path;
	struct aqm_mapping mapping;             /* empty over the caller's memory */
	const uint8_t *data;                    /* of the tensors */
	size_t bytes;                           /* of their data */
	json_t *header;                         /* owns every name and text */
	struct aqm_safetensors_tensor *tensors; /* in the order of their data */
	const struct aqm_safetensors_tensor **by_name;
	size_t count;
};

/* Every type that the format has, those that we read with their number. */
static const struct type {
	const char *name;
	unsigned bits;
	bool readable;
	enum aqm_dtype dtype;
} types[] = {
	{"F32", 32, true, AQM_F32},     {"F16", 16, true, AQM_F16},     {"BF16", 16, true, AQM_BF16},
	{.name = "BOOL", .bits = 8},    {.name = "U8", .bits = 8},      {.name = "I8", .bits = 8},
	{.name = "F4", .bits = 4},      {.name = "F6_E2M3", .bits = 6}, {.name = "F6_E3M2", .bits = 6},
	{.name = "F8_E5M2", .bits = 8}, {.name = "F8_E4M3", .bits = 8}, {.name = "F8_E8M0", .bits = 8},
	{.name = "I16", .bits = 16},    {.name = "U16", .bits = 16},    {.name = "I32", .bits = 32},
	{.name = "U32", .bits = 32},    {.name = "I64", .bits = 64},    {.name = "U64", .bits = 64},
	{.name = "F64", .bits = 64},    {.name = "C64", .bits = 64},
};

AQM_PRINTF(2, 3) static int fault(const aqm_safetensors_reader *reader, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	return aqm_error_set(AQM_EDATA, "cannot read '%s': %s", reader->path, text);
}

/* ---- the header ---- */

static const struct type *find_type(const char *name)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

/* An integer from 0 that is a count of bytes or of elements. */
static bool count_of(const json_t *value, int64_t *out)
{
	*out = json_integer_value(value);
	return json_is_integer(value) && *out >= 0;
}

static int read_shape(const aqm_safetensors_reader *reader, const json_t *shape, struct aqm_safetensors_tensor *tensor)
{
	size_t dimensions = json_array_size(shape), elements = 1;
	bool empty = false;

	if (!json_is_array(shape) || dimensions > DIMENSIONS)
		return fault(reader, "the shape of tensor '%.100s' is no list of at most %d numbers", tensor->name, DIMENSIONS);
	tensor->dimensions = (unsigned)dimensions;
	for (size_t i = 0; i < dimensions; i++) {
		int64_t n;

		if (!count_of(json_array_get(shape, i), &n))
			return fault(reader, "dimension %zu of tensor '%.100s' is no number from 0", i, tensor->name);
		tensor->shape[i] = n;
		empty = empty || n == 0;
		if (n > 0 && (aqm_size_mul_overflows(elements, (size_t)n, &elements) || elements > INT64_MAX))
			return fault(reader, "tensor '%.100s' has more elements than can be counted", tensor->name);
	}
	tensor->elements = empty ? 0 : (int64_t)elements;
	return AQM_OK;
}

/* Where the data lies, and that the shape and the type need exactly so much. */
static int read_place(const aqm_safetensors_reader *reader, const json_t *offsets, const struct type *type,
                      struct aqm_safetensors_tensor *tensor)
{
	int64_t begin, end;
	size_t bits;

	if (json_array_size(offsets) != 2 || !count_of(json_array_get(offsets, 0), &begin) ||
	    !count_of(json_array_get(offsets, 1), &end) || begin > end)
		return fault(reader, "data_offsets of tensor '%.100s' are not [begin, end]", tensor->name);
	if ((uint64_t)end > reader->bytes)
		return fault(reader, "tensor '%.100s' ends %" PRIu64 " bytes past the end of the file", tensor->name,
		             (uint64_t)end - reader->bytes);
	tensor->bytes = (size_t)(end - begin);
	tensor->data = reader->data + begin;
	if (aqm_size_mul_overflows((size_t)tensor->elements, type->bits, &bits) || bits % 8 || bits / 8 != tensor->bytes)
		return fault(reader, "tensor '%.100s' has %zu bytes; its shape and type %s need %" PRIi64 " times %u bits",
		             tensor->name, tensor->bytes, type->name, tensor->elements, type->bits);
	return AQM_OK;
}

static int read_tensor(const aqm_safetensors_reader *reader, const char *name, const json_t *entry,
                       struct aqm_safetensors_tensor *tensor)
{
	const char *type_name = json_string_value(json_object_get(entry, "dtype"));
	const struct type *type = type_name ? find_type(type_name) : NULL;

	tensor->name = name;
	if (!*name)
		return fault(reader, "a tensor has no name");
	if (!type)
		return fault(reader, "the dtype of tensor '%.100s' is '%.20s', which safetensors does not have", name,
		             type_name ? type_name : "");
	tensor->type = type->name;
	tensor->dtype = type->dtype;
	tensor->readable = type->readable;
	int code = read_shape(reader, json_object_get(entry, "shape"), tensor);

	return code == AQM_OK ? read_place(reader, json_object_get(entry, "data_offsets"), type, tensor) : code;
}

static int read_metadata(const aqm_safetensors_reader *reader, json_t *metadata)
{
	const char *key;
	json_t *value;

	if (!json_is_object(metadata))
		return fault(reader, "'__metadata__' is no object");
	json_object_foreach(metadata, key, value)
		if (!json_is_string(value))
			return fault(reader, "'__metadata__' has '%.100s', which is no text", key);
	return AQM_OK;
}

static int compare_places(const void *a, const void *b)
{
	const struct aqm_safetensors_tensor *x = a, *y = b;

	if (x->data != y->data)
		return x->data < y->data ? -1 : 1;
	return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors fill the data without overlap and without holes, in which anything could be hidden. */
static int check_places(const aqm_safetensors_reader *reader)
{
	const uint8_t *next = reader->data;

	for (size_t i = 0; i < reader->count; i++) {
		const struct aqm_safetensors_tensor *tensor = &reader->tensors[i];

		if ((const uint8_t *)tensor->data < next)
			return fault(reader, "tensor '%.100s' overlaps another", tensor->name);
		if ((const uint8_t *)tensor->data > next)
			return fault(reader, "there is a hole before tensor '%.100s'", tensor->name);
		next += tensor->bytes;
	}
	size_t left = reader->bytes - (size_t)(next - reader->data);
	return left ? fault(reader, "%zu bytes at its end belong to no tensor", left) : AQM_OK;
}

static int compare_names(const void *a, const void *b)
{
	const struct aqm_safetensors_tensor *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int parse_header(aqm_safetensors_reader *reader, const char *text, size_t bytes)
{
	json_error_t error;

	if (bytes == 0 || *text != '{')
		return fault(reader, "its header is not JSON: it does not begin with '{'");
	reader->header = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
	return reader->header
	           ? AQM_OK
	           : fault(reader, "its header is not JSON: line %d, column %d: %s", error.line, error.column, error.text);
}

static int read_header(aqm_safetensors_reader *reader)
{
	const size_t entries = json_object_size(reader->header);
	const char *name;
	json_t *entry;
	int code = AQM_OK;

	reader->tensors = aqm_calloc_array(entries, sizeof *reader->tensors);
	reader->by_name = aqm_calloc_array(entries, sizeof(void *));
	if (!reader->tensors || !reader->by_name)
		return AQM_ERUN;
	json_object_foreach(reader->header, name, entry) {
		if (strcmp(name, "__metadata__") == 0)
			code = read_metadata(reader, entry);
		else
			code = read_tensor(reader, name, entry, &reader->tensors[reader->count++]);
		if (code != AQM_OK)
			return code;
	}
	qsort(reader->tensors, reader->count, sizeof *reader->tensors, compare_places);
	for (size_t i = 0; i < reader->count; i++)
		reader->by_name[i] = &reader->tensors[i];
	qsort(reader->by_name, reader->count, sizeof(void *), compare_names);
	return check_places(reader);
}

static int read_file(aqm_safetensors_reader *reader, const uint8_t *data, size_t bytes)
{
	uint64_t header;

	if (bytes < LENGTH_BYTES)
		return fault(reader, "it is not a safetensors file: %zu bytes", bytes);
	memcpy(&header, data, sizeof header);
	if (header > HEADER_BYTES)
		return fault(reader, "it is not a safetensors file: a header of %" PRIu64 " bytes, at most %d are allowed",
		             header, HEADER_BYTES);
	if (header > bytes - LENGTH_BYTES)
		return fault(reader, "its header ends %" PRIu64 " bytes past the end of the file",
		             header - (bytes - LENGTH_BYTES));
	reader->data = data + LENGTH_BYTES + header;
	reader->bytes = bytes - LENGTH_BYTES - (size_t)header;
	int code = parse_header(reader, (const char *)data + LENGTH_BYTES, (size_t)header);

	return code == AQM_OK ? read_header(reader) : code;
}

/* ---- life ---- */

static int open_over(aqm_safetensors_reader **out, struct aqm_mapping mapping, const void *data, size_t bytes,
                     const char *name)
{
	aqm_safetensors_reader *reader = aqm_calloc_array(1, sizeof *reader);
	int code = AQM_ERUN;

	*out = NULL;
	if (!reader) {
		aqm_unmap(&mapping);
		return code;
	}
	reader->mapping = mapping;
	reader->path = aqm_strdup(name);
	if (reader->path)
		code = read_file(reader, data, bytes);
	if (code == AQM_OK)
		*out = reader;
	else
		aqm_safetensors_close(reader);
	return code;
}

int aqm_safetensors_open(aqm_safetensors_reader **out, const char *path)
{
	struct aqm_mapping mapping;
	int code = aqm_map_file(&mapping, path);

	*out = NULL;
	return code == AQM_OK ? open_over(out, mapping, mapping.data, mapping.bytes, path) : code;
}

int aqm_safetensors_open_memory(aqm_safetensors_reader **out, const void *data, size_t bytes, const char *name)
{
	return open_over(out, (struct aqm_mapping){0}, data, bytes, name);
}

void aqm_safetensors_close(aqm_safetensors_reader *reader)
{
	if (!reader)
		return;
	json_decref(reader->header);
	free(reader->tensors);
	free(reader->by_name);
	free(reader->path);
	aqm_unmap(&reader->mapping);
	free(reader);
}

/* ---- contents ---- */

const char *aqm_safetensors_path(const aqm_safetensors_reader *reader)
{
	return reader->path;
}

size_t aqm_safetensors_tensors(const aqm_safetensors_reader *reader)
{
	return reader->count;
}

const struct aqm_safetensors_tensor *aqm_safetensors_tensor(const aqm_safetensors_reader *reader, size_t index)
{
	return index < reader->count ? &reader->tensors[index] : NULL;
}

const struct aqm_safetensors_tensor *aqm_safetensors_find(const aqm_safetensors_reader *reader, const char *name)
{
	const struct aqm_safetensors_tensor wanted = {.name = name}, *key = &wanted;
	const struct aqm_safetensors_tensor **found =
		bsearch(&key, reader->by_name, reader->count, sizeof(void *), compare_names);

	return found ? *found : NULL;
}

const char *aqm_safetensors_metadata(const aqm_safetensors_reader *reader, const char *key)
{
	return json_string_value(json_object_get(json_object_get(reader->header, "__metadata__"), key));
}

void aqm_safetensors_read(const struct aqm_safetensors_tensor *tensor, int64_t first, size_t n, float *out)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(tensor->dtype);

	traits->expand((const uint8_t *)tensor->data + (size_t)first * traits->block_bytes, out, n);
}

void aqm_safetensors_forget(const aqm_safetensors_reader *reader, const struct aqm_safetensors_tensor *tensor,
                            size_t first, size_t n)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)tensor->data + first;
	const uintptr_t whole = start & ~(page - 1); /* neighbours on the same pages are read again, too */

	/* Only a mapping can be read again. */
	if (reader->mapping.bytes && n)
		(void)madvise((void *)whole, start + n - whole, MADV_DONTNEED);
}
