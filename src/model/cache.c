/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Streaming: keys and values of the tokens so far. A cache has its own buffers, so that it can be extended whatever
 * else the model is used for. Where tokens see the future, a new one changes all that came before: then the cache holds the
 * embeddings, and the whole window runs again.
 */
#include <stdlib.h>

#include "base/size.h"
#include "model/internal.h"

/* More tokens than this are done in several passes. */
enum { MOST_ROWS = 512 };

struct aqm_cache {
	aqm_model *model;
	int64_t capacity, length;
	void *rows;    /* as struct aqm_pass has them; of a bidirectional model: embeddings (capacity, d), float32 */
	float *window; /* a bidirectional model's copy to run, (capacity, d) */
	void *memory;  /* of the buffers */
	struct aqm_kept kept;
	struct aqm_buffers buffers;
};

static int allocate(aqm_cache *cache, size_t bytes)
{
	aqm_model *model = cache->model;
	bool whole = model->options.bidirectional;
	int64_t rows = whole || cache->capacity < MOST_ROWS ? cache->capacity : MOST_ROWS;
	struct aqm_arena arena;
	int code = model->device->ops->allocate(model->device, bytes, &cache->rows);

	aqm_arena_plan(&arena);
	aqm_buffers_carve(model, &cache->buffers, NULL, &arena, rows, false);
	if (code == AQM_OK)
		code = model->device->ops->allocate(model->device, arena.used, &cache->memory);
	if (code == AQM_OK && whole)
		code = model->device->ops->allocate(model->device, bytes, (void **)&cache->window);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = cache->memory, .capacity = arena.used};
	aqm_buffers_carve(model, &cache->buffers, &cache->kept, &arena, rows, false);
	cache->buffers.linears.int8 = model->options.int8;
	return AQM_OK;
}

int aqm_cache_new(aqm_cache **out, aqm_model *model, int64_t tokens)
{
	const struct aqm_model_shape *shape = &model->shape;
	int64_t wide = 2 * model->attentions * shape->kv_heads * shape->head_dim;
	size_t floats, bytes;

	*out = NULL;
	if (tokens <= 0 || tokens > shape->context)
		return aqm_error_set(AQM_EUSAGE, "a cache of %lld tokens; '%s' can take up to %lld", (long long)tokens,
		                     aqm_gguf_path(model->gguf), (long long)shape->context);
	if (aqm_size_mul_overflows((size_t)(model->options.bidirectional ? shape->width : wide), (size_t)tokens, &floats) ||
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
	cache->model->device->ops->release(cache->model->device, cache->window);
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

/* x: embeddings of the next tokens in, hidden states out; the window so far runs with them. */
static void run_window(aqm_model *model, aqm_cache *cache, struct aqm_mat x)
{
	const struct aqm_ops *ops = model->device->ops;
	int64_t seen = cache->length + x.rows;
	struct aqm_pass pass = {.windows = 1, .tokens = seen};
	struct aqm_mat embeddings = aqm_mat_f32(cache->rows, seen, x.cols),
				   window = aqm_mat_f32(cache->window, seen, x.cols);

	ops->copy(model->device, x, aqm_mat_rows(embeddings, cache->length, x.rows));
	ops->copy(model->device, embeddings, window);
	aqm_pass_forward(model, &cache->buffers, &pass, window);
	ops->copy(model->device, aqm_mat_rows(window, cache->length, x.rows), x);
	cache->length = seen;
}

int aqm_model_extend(aqm_model *model, aqm_cache *cache, struct aqm_mat x)
{
	if (x.rows > cache->capacity - cache->length)
		return aqm_error_set(AQM_EUSAGE, "%lld tokens more do not fit into a cache of %lld that holds %lld",
		                     (long long)x.rows, (long long)cache->capacity, (long long)cache->length);
	if (model->options.bidirectional && x.rows > 0) {
		run_window(model, cache, x);
		return AQM_OK;
	}
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
