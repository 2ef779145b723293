/* SPDX-License-Identifier: BSD-2-Clause */
#include "export/safetensors.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian; writing them here needs byte swaps"
#endif

enum { HEADER_ALIGNMENT = 8 };

struct aqm_safetensors {
	struct aqm_atomic_file file;
	json_t *header, *metadata;
	uint64_t bytes; /* of all tensors declared */
	uint64_t left;  /* of them, not yet written */
	bool header_written;
};

int aqm_safetensors_new(aqm_safetensors **out, const char *path)
{
	aqm_safetensors *file = aqm_calloc_array(1, sizeof *file);

	*out = NULL;
	if (!file)
		return AQM_ERUN;
	file->header = json_object();
	file->metadata = json_object();
	int code = file->header && file->metadata ? AQM_OK : aqm_error_set(AQM_ERUN, "no memory to write '%s'", path);
	if (code == AQM_OK)
		code = aqm_atomic_open(&file->file, path);
	if (code != AQM_OK) {
		aqm_safetensors_free(file);
		return code;
	}
	*out = file;
	return AQM_OK;
}

int aqm_safetensors_set(aqm_safetensors *file, const char *key, const char *text)
{
	if (json_object_set_new(file->metadata, key, json_string(text)) != 0)
		return aqm_error_set(AQM_ERUN, "cannot write '%s': '%s' is not text in UTF-8", file->file.path, key);
	return AQM_OK;
}

int aqm_safetensors_add(aqm_safetensors *file, const char *name, int64_t rows, int64_t cols)
{
	const uint64_t begin = file->bytes, end = begin + (uint64_t)((rows ? rows : 1) * cols) * sizeof(float);
	json_t *shape = rows ? json_pack("[I, I]", (json_int_t)rows, (json_int_t)cols) : json_pack("[I]", (json_int_t)cols);
	json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", (json_int_t)begin,
	                          (json_int_t)end);

	if (json_object_get(file->header, name)) {
		json_decref(entry);
		return aqm_error_set(AQM_ERUN, "cannot write '%s': two tensors are named '%s'", file->file.path, name);
	}
	if (json_object_set_new(file->header, name, entry) != 0)
		return aqm_error_set(AQM_ERUN, "no memory to write '%s'", file->file.path);
	file->bytes = end;
	return AQM_OK;
}

static int write_header(aqm_safetensors *file)
{
	static const char padding[HEADER_ALIGNMENT] = "       ";

	if (json_object_size(file->metadata) > 0)
		json_object_set(file->header, "__metadata__", file->metadata);
	char *text = json_dumps(file->header, JSON_COMPACT);
	if (!text)
		return aqm_error_set(AQM_ERUN, "no memory to write '%s'", file->file.path);
	const size_t bytes = strlen(text);
	const uint64_t padded = aqm_size_align(bytes, HEADER_ALIGNMENT);
	int code = aqm_atomic_write(&file->file, &padded, sizeof padded);
	if (code == AQM_OK)
		code = aqm_atomic_write(&file->file, text, bytes);
	if (code == AQM_OK)
		code = aqm_atomic_write(&file->file, padding, (size_t)padded - bytes);
	free(text);
	file->left = file->bytes;
	file->header_written = true;
	return code;
}

int aqm_safetensors_write(aqm_safetensors *file, const float *values, size_t n)
{
	int code = file->header_written ? AQM_OK : write_header(file);

	if (code == AQM_OK && n > file->left / sizeof *values)
		code = aqm_error_set(AQM_ERUN, "cannot write '%s': more numbers than its tensors hold", file->file.path);
	if (code == AQM_OK)
		code = aqm_atomic_write(&file->file, values, n * sizeof *values);
	if (code == AQM_OK)
		file->left -= n * sizeof *values;
	return code;
}

int aqm_safetensors_finish(aqm_safetensors *file)
{
	int code = file->header_written ? AQM_OK : write_header(file);

	if (code == AQM_OK && file->left > 0)
		code = aqm_error_set(AQM_ERUN, "cannot write '%s': %llu bytes of its tensors are missing", file->file.path,
		                     (unsigned long long)file->left);
	return code == AQM_OK ? aqm_atomic_commit(&file->file) : code;
}

void aqm_safetensors_free(aqm_safetensors *file)
{
	if (!file)
		return;
	aqm_atomic_abort(&file->file);
	json_decref(file->header);
	json_decref(file->metadata);
	free(file);
}
