/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Streaming: keys and values of the tokens so far. A cache has its own buffers, so that it can be extended whatever
 * else the model is used for.
 */
#include <stdlib.h>

#include "base/size.h"
#include "model/internal.h"

/* More tokens than this are done in several passes. */
enum { MOST_ROWS = 512 };

struct aqm_cache {
	aqm_model *model;
	int64_t capacity, length;
	float *rows;  /* as struct aqm_pass has them */
	void *memory; /* of the buffers */
	struct aqm_kept kept;
	struct aqm_buffers buffers;
};

static int allocate(aqm_cache *cache, size_t bytes)
{
	aqm_model *model = cache->model;
	int64_t rows = cache->capacity < MOST_ROWS ? cache->capacity : MOST_ROWS;
	struct aqm_arena arena;
	int code = model->device->ops->allocate(model->device, bytes, (void **)&cache->rows);

	aqm_arena_plan(&arena);
	aqm_buffers_carve(model, &cache->buffers, NULL, &arena, rows, false);
	if (code == AQM_OK)
		code = model->device->ops->allocate(model->device, arena.used, &cache->memory);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = cache->memory, .capacity = arena.used};
	aqm_buffers_carve(model, &cache->buffers, &cache->kept, &arena, rows, false);
	return AQM_OK;
}

int aqm_cache_new(aqm_cache **out, aqm_model *model, int64_t tokens)
{
	const struct aqm_model_shape *shape = &model->shape;
	size_t floats, bytes;

	*out = NULL;
	if (tokens <= 0 || tokens > shape->context)
		return aqm_error_set(AQM_EUSAGE, "a cache of %lld tokens; '%s' can take up to %lld", (long long)tokens,
		                     aqm_gguf_path(model->gguf), (long long)shape->context);
	if (aqm_size_mul_overflows((size_t)(2 * shape->used_layers * shape->kv_heads * shape->head_dim), (size_t)tokens,
	                           &floats) ||
	    aqm_size_mul_overflows(floats, sizeof(float), &bytes))
		return aqm_error_set(AQM_ERUN, "a cache of %lld tokens does not fit into the address space", (long long)tokens);
	aqm_cache *cache = aqm_calloc_array(1, sizeof *cache);
	if (!cache)
		return AQM_ERUN;
	cache->model = model;
	cache->capacity = tokens;
	int code = allocate(cache, bytes);
	if (code != AQM_OK) {
		aqm_cache_free(cache);
		return code;
	}
	*out = cache;
	return AQM_OK;
}

void aqm_cache_free(aqm_cache *cache)
{
	if (!cache)
		return;
	cache->model->device->ops->release(cache->model->device, cache->rows);
	cache->model->device->ops->release(cache->model->device, cache->memory);
	free(cache);
}

int64_t aqm_cache_length(const aqm_cache *cache)
{
	return cache->length;
}

void aqm_cache_truncate(aqm_cache *cache, int64_t tokens)
{
	if (tokens < cache->length)
		cache->length = tokens < 0 ? 0 : tokens;
}

int aqm_model_extend(aqm_model *model, aqm_cache *cache, struct aqm_mat x)
{
	if (x.rows > cache->capacity - cache->length)
		return aqm_error_set(AQM_EUSAGE, "%lld tokens more do not fit into a cache of %lld that holds %lld",
		                     (long long)x.rows, (long long)cache->capacity, (long long)cache->length);
	for (int64_t done = 0; done < x.rows;) {
		int64_t n = x.rows - done < cache->buffers.rows ? x.rows - done : cache->buffers.rows;
		struct aqm_pass pass = {
			.windows = 1, .tokens = n, .past = cache->length, .cache = cache->rows, .capacity = cache->capacity};

		aqm_pass_forward(model, &cache->buffers, &pass, aqm_mat_rows(x, done, n));
		cache->length += n;
		done += n;
	}
	return AQM_OK;
}
