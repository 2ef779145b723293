/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/convert_internal.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/size.h"

enum { INDEX_BYTES = 64 << 20, SHARDS = 4096 };

static const char single[] = "model.safetensors", sharded[] = "model.safetensors.index.json";

/* ---- the index of shards ---- */

/* A file of the same folder, no path that leads elsewhere. */
static bool is_plain_name(const char *name)
{
	return *name && *name != '.' && !strchr(name, '/');
}

static int compare_texts(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static int read_index(struct aqm_hf_index *index, const char *name)
{
	json_t *map = json_object_get(index->json, "weight_map"), *shard;
	const char *tensor;
	size_t count = 0;

	if (!json_is_object(map) || json_object_size(map) == 0)
		return aqm_error_set(AQM_EDATA, "'%s' has no 'weight_map'", name);
	index->shards = aqm_calloc_array(json_object_size(map), sizeof *index->shards);
	if (!index->shards)
		return AQM_ERUN;
	json_object_foreach(map, tensor, shard) {
		const char *file = json_string_value(shard);

		if (!file || !is_plain_name(file))
			return aqm_error_set(AQM_EDATA,
			                     "'%s': tensor '%.100s' is in '%.100s', which is no name of a file beside it", name,
			                     tensor, file ? file : "");
		index->shards[count++] = (char *)(uintptr_t)file;
	}
	qsort(index->shards, count, sizeof *index->shards, compare_texts);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || strcmp(index->shards[i], index->shards[index->shard_count - 1]) != 0)
			index->shards[index->shard_count++] = index->shards[i];
	if (index->shard_count > SHARDS)
		return aqm_error_set(AQM_EDATA, "'%s' names %zu files; at most %d are read", name, index->shard_count, SHARDS);
	return AQM_OK;
}

int aqm_hf_index_parse(struct aqm_hf_index *index, const char *text, size_t bytes, const char *name)
{
	json_error_t error;

	*index = (struct aqm_hf_index){.json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error)};
	if (!index->json)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': line %d, column %d: %s", name, error.line, error.column,
		                     error.text);
	int code = read_index(index, name);

	if (code != AQM_OK)
		aqm_hf_index_release(index);
	return code;
}

const char *aqm_hf_index_find(const struct aqm_hf_index *index, const char *tensor)
{
	return json_string_value(json_object_get(json_object_get(index->json, "weight_map"), tensor));
}

void aqm_hf_index_release(struct aqm_hf_index *index)
{
	json_decref(index->json);
	free(index->shards);
	*index = (struct aqm_hf_index){0};
}

/* ---- files ---- */

static int open_file(struct aqm_hf_weights *weights, const char *folder, const char *name)
{
	char *path = aqm_path_join(folder, name);
	int code = path ? aqm_safetensors_open(&weights->files[weights->file_count], path) : AQM_ERUN;

	if (code == AQM_OK)
		weights->file_count++;
	free(path);
	return code;
}

static int compare_sources(const void *a, const void *b)
{
	const struct aqm_hf_source *x = a, *y = b;

	return strcmp(x->tensor->name, y->tensor->name);
}

static int list_sources(struct aqm_hf_weights *weights)
{
	size_t count = 0;

	for (size_t i = 0; i < weights->file_count; i++)
		count += aqm_safetensors_tensors(weights->files[i]);
	weights->sources = aqm_calloc_array(count, sizeof *weights->sources);
	if (!weights->sources)
		return AQM_ERUN;
	for (size_t i = 0; i < weights->file_count; i++)
		for (size_t j = 0; j < aqm_safetensors_tensors(weights->files[i]); j++)
			weights->sources[weights->count++] = (struct aqm_hf_source){
				.tensor = aqm_safetensors_tensor(weights->files[i], j), .file = weights->files[i]};
	qsort(weights->sources, weights->count, sizeof *weights->sources, compare_sources);
	return AQM_OK;
}

/* Every tensor is where the index says, and nowhere else. */
static int check_index(const struct aqm_hf_weights *weights, const struct aqm_hf_index *index, const char *path)
{
	const char *tensor;
	json_t *shard;

	json_object_foreach(json_object_get(index->json, "weight_map"), tensor, shard) {
		(void)shard;
		if (!aqm_hf_weights_find(weights, tensor))
			return aqm_error_set(AQM_EDATA, "'%s' names tensor '%.100s', which is in no file", path, tensor);
	}
	for (size_t i = 0; i < weights->count; i++) {
		const struct aqm_hf_source *source = &weights->sources[i];
		const char *file = aqm_safetensors_path(source->file), *slash = strrchr(file, '/');
		const char *expected = aqm_hf_index_find(index, source->tensor->name);

		if (!expected || strcmp(expected, slash ? slash + 1 : file) != 0)
			return aqm_error_set(AQM_EDATA, "tensor '%.100s' is in '%s', but according to '%s' it is in '%s'",
			                     source->tensor->name, file, path, expected ? expected : "no file");
	}
	return AQM_OK;
}

static int open_shards(struct aqm_hf_weights *weights, const char *folder, const char *path)
{
	struct aqm_hf_index index = {0};
	char *text = NULL;
	size_t bytes;
	int code = aqm_file_read(path, INDEX_BYTES, &text, &bytes);

	if (code == AQM_OK)
		code = aqm_hf_index_parse(&index, text, bytes, path);
	if (code != AQM_OK)
		goto done;
	weights->files = aqm_calloc_array(index.shard_count, sizeof(void *));
	if (!weights->files)
		code = AQM_ERUN;
	for (size_t i = 0; code == AQM_OK && i < index.shard_count; i++)
		code = open_file(weights, folder, index.shards[i]);
	if (code == AQM_OK)
		code = list_sources(weights);
	if (code == AQM_OK)
		code = check_index(weights, &index, path);
done:
	if (index.json)
		aqm_hf_index_release(&index);
	free(text);
	return code;
}

static int open_single(struct aqm_hf_weights *weights, const char *folder)
{
	weights->files = aqm_calloc_array(1, sizeof(void *));
	int code = weights->files ? open_file(weights, folder, single) : AQM_ERUN;

	return code == AQM_OK ? list_sources(weights) : code;
}

/* Neither file is there. Older models have only pickles, which we do not read: they can run programs. */
static int explain_absence(const char *folder)
{
	static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};

	for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++) {
		char *path = aqm_path_join(folder, pickles[i]);
		bool there = path && aqm_path_exists(path);

		free(path);
		if (there)
			return aqm_error_set(AQM_EDATA,
			                     "'%s' has only %s, which is not read; save it as safetensors first, in Python: "
			                     "AutoModel.from_pretrained(folder).save_pretrained(new, safe_serialization=True)",
			                     folder, pickles[i]);
	}
	return aqm_error_set(AQM_EDATA, "'%s' has neither %s nor %s", folder, single, sharded);
}

int aqm_hf_weights_open(struct aqm_hf_weights *weights, const char *folder)
{
	char *one = aqm_path_join(folder, single), *many = aqm_path_join(folder, sharded);
	int code = AQM_ERUN;

	*weights = (struct aqm_hf_weights){0};
	if (one && many)
		code = aqm_path_exists(one)    ? open_single(weights, folder)
		       : aqm_path_exists(many) ? open_shards(weights, folder, many)
		                               : explain_absence(folder);
	if (code != AQM_OK)
		aqm_hf_weights_release(weights);
	free(one);
	free(many);
	return code;
}

void aqm_hf_weights_release(struct aqm_hf_weights *weights)
{
	for (size_t i = 0; i < weights->file_count; i++)
		aqm_safetensors_close(weights->files[i]);
	free(weights->files);
	free(weights->sources);
	*weights = (struct aqm_hf_weights){0};
}

struct aqm_hf_source *aqm_hf_weights_find(const struct aqm_hf_weights *weights, const char *name)
{
	const struct aqm_safetensors_tensor wanted = {.name = name};
	const struct aqm_hf_source key = {.tensor = &wanted};

	return bsearch(&key, weights->sources, weights->count, sizeof key, compare_sources);
}
