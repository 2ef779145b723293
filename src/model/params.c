/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"

enum { FLOATS_ALIGNMENT = 16 };

void aqm_params_init(struct aqm_params *params, aqm_device *device)
{
	*params = (struct aqm_params){.device = device};
}

void aqm_params_release(struct aqm_params *params)
{
	if (params->values)
		params->device->ops->release(params->device, params->values);
	if (params->gradients)
		params->device->ops->release(params->device, params->gradients);
	if (params->copies)
		params->device->ops->release(params->device, params->copies);
	free(params->items);
	*params = (struct aqm_params){.device = params->device};
}

int64_t aqm_params_add(struct aqm_params *params, const char *name, int64_t rows, int64_t cols, enum aqm_init init,
                       float scale, bool decay)
{
	size_t floats, end;

	if (params->count == params->capacity) {
		size_t capacity = params->capacity ? 2 * params->capacity : 64;
		struct aqm_param *items = aqm_realloc_array(params->items, capacity, sizeof *items);

		if (!items)
			return AQM_ERUN;
		params->items = items;
		params->capacity = capacity;
	}
	if (rows <= 0 || cols <= 0 || aqm_size_mul_overflows((size_t)rows, (size_t)cols, &floats) ||
	    aqm_size_add_overflows(params->floats, floats + FLOATS_ALIGNMENT, &end))
		return aqm_error_set(AQM_ERUN, "parameter '%s' has an impossible shape, %lld x %lld", name, (long long)rows,
		                     (long long)cols);
	struct aqm_param *param = &params->items[params->count];
	*param = (struct aqm_param){
		.rows = rows, .cols = cols, .offset = params->floats, .init = init, .scale = scale, .decay = decay};
	snprintf(param->name, sizeof param->name, "%s", name);
	params->floats = aqm_size_align(params->floats + floats, FLOATS_ALIGNMENT);
	return (int64_t)params->count++;
}

/* Values of one parameter on the host. */
static void draw(const struct aqm_param *param, uint64_t seed, uint32_t index, float *values)
{
	size_t n = (size_t)(param->rows * param->cols);
	struct aqm_rng rng;

	aqm_rng_init(&rng, seed, AQM_STREAM_INIT, index);
	for (size_t i = 0; i < n; i++) {
		switch (param->init) {
		case AQM_INIT_ONE:
			values[i] = 1.0f;
			break;
		case AQM_INIT_NORMAL:
			values[i] = param->scale * aqm_rng_normal(&rng);
			break;
		case AQM_INIT_KAIMING_UNIFORM:
			values[i] = (2.0f * aqm_rng_uniform(&rng) - 1.0f) / sqrtf(param->scale);
			break;
		case AQM_INIT_ZERO:
		case AQM_INIT_GIVEN:
			values[i] = 0.0f;
			break;
		}
	}
}

int aqm_params_allocate(struct aqm_params *params, bool training, uint64_t seed)
{
	aqm_device *device = params->device;
	size_t largest = 0, bytes = params->floats * sizeof(float);
	int code = device->ops->allocate(device, bytes, (void **)&params->values);

	if (code == AQM_OK && training)
		code = device->ops->allocate(device, bytes, (void **)&params->gradients);
	if (code == AQM_OK && device->dtype != AQM_F32)
		code = device->ops->allocate(device, params->floats * (size_t)aqm_element_bytes(device->dtype), &params->copies);
	if (code != AQM_OK)
		return code;
	for (size_t i = 0; i < params->count; i++) {
		size_t n = (size_t)(params->items[i].rows * params->items[i].cols);
		largest = n > largest ? n : largest;
	}
	float *host = aqm_malloc_array(largest, sizeof *host);
	if (!host)
		return AQM_ERUN;
	for (size_t i = 0; i < params->count; i++) {
		const struct aqm_param *param = &params->items[i];

		draw(param, seed, (uint32_t)i, host);
		device->ops->upload(device, params->values + param->offset, host,
		                    (size_t)(param->rows * param->cols) * sizeof *host);
	}
	free(host);
	aqm_params_touch(params);
	return AQM_OK;
}

size_t aqm_params_bytes(const struct aqm_params *params, bool training)
{
	size_t each = sizeof(float) * (training ? 2 : 1);

	if (params->device->dtype != AQM_F32)
		each += (size_t)aqm_element_bytes(params->device->dtype);
	return params->floats * each;
}

void aqm_params_touch(struct aqm_params *params)
{
	params->stale = params->copies != NULL;
}

void aqm_params_refresh(struct aqm_params *params)
{
	int64_t floats = (int64_t)params->floats;

	if (params->stale)
		params->device->ops->copy(params->device, aqm_mat_f32(params->values, 1, floats),
		                          aqm_mat_of(params->device->dtype, params->copies, 1, floats));
	params->stale = false;
}

struct aqm_mat aqm_params_operand(const struct aqm_params *params, int64_t index)
{
	const struct aqm_param *param = &params->items[index];
	enum aqm_dtype dtype = params->device->dtype;

	if (!params->copies)
		return aqm_params_value(params, index);
	return aqm_mat_of(dtype, (char *)params->copies + param->offset * (size_t)aqm_element_bytes(dtype), param->rows,
	                  param->cols);
}

static struct aqm_mat block_mat(const struct aqm_params *params, float *block, int64_t index)
{
	const struct aqm_param *param = &params->items[index];

	return block ? aqm_mat_f32(block + param->offset, param->rows, param->cols) : aqm_mat_absent();
}

struct aqm_mat aqm_params_value(const struct aqm_params *params, int64_t index)
{
	return block_mat(params, params->values, index);
}

struct aqm_mat aqm_params_gradient(const struct aqm_params *params, int64_t index)
{
	return block_mat(params, params->gradients, index);
}

int64_t aqm_params_find(const struct aqm_params *params, const char *name)
{
	for (size_t i = 0; i < params->count; i++)
		if (strcmp(params->items[i].name, name) == 0)
			return (int64_t)i;
	return -1;
}

size_t aqm_params_trainable(const struct aqm_params *params)
{
	size_t n = 0;

	for (size_t i = 0; i < params->count; i++)
		n += (size_t)(params->items[i].rows * params->items[i].cols);
	return n;
}
