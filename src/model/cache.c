/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Streaming: keys and values of the tokens so far.
 */
#include <stdlib.h>

#include "base/size.h"
#include "model/internal.h"

struct aqm_cache {
	aqm_model *model;
	int64_t capacity, length;
	float *memory; /* per layer: keys (capacity, kv), values (capacity, kv) */
};

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
	int code = model->device->ops->allocate(model->device, bytes, (void **)&cache->memory);
	if (code != AQM_OK) {
		free(cache);
		return code;
	}
	*out = cache;
	return AQM_OK;
}

void aqm_cache_free(aqm_cache *cache)
{
	if (!cache)
		return;
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
	int64_t kv = model->shape.kv_heads * model->shape.head_dim, past = cache->length;

	if (x.rows > cache->capacity - past)
		return aqm_error_set(AQM_EUSAGE, "%lld tokens more do not fit into a cache of %lld that holds %lld",
		                     (long long)x.rows, (long long)cache->capacity, (long long)past);
	model->linears.training = false;
	if (model->positions.tensor) {
		for (int64_t i = 0; i < x.rows; i++)
			model->position_index[i] = (int32_t)(past + i);
		model->device->ops->gather(model->device, aqm_weight_f32(&model->linears, &model->positions),
		                           model->position_index, true, x);
	}
	for (int64_t i = 0; i < model->shape.used_layers; i++) {
		float *keys = cache->memory + 2 * i * cache->capacity * kv;

		aqm_layer_extend(model, &model->layers[i], past, x, aqm_mat_f32(keys, cache->capacity, kv),
		                 aqm_mat_f32(keys + cache->capacity * kv, cache->capacity, kv));
	}
	struct aqm_mat y = model->h;
	y.rows = x.rows;
	aqm_output_norm_forward(model, x, y);
	model->device->ops->copy(model->device, y, x);
	cache->length = past + x.rows;
	return AQM_OK;
}
