/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper_model.h"

#include <math.h>
#include <string.h>

#include "base/random.h"

bool fixture_own_memory;

void fixture_open(struct fixture *f, const char *path, const struct aqm_model_options *options, int64_t windows,
                  int64_t tokens)
{
	struct aqm_arena plan;

	*f = (struct fixture){.windows = windows, .tokens = tokens};
	CHECK_OK(aqm_device_open(&f->device, AQM_DEVICE_CPU));
	f->device->own_memory = fixture_own_memory;
	CHECK_OK(aqm_gguf_open(&f->gguf, path));
	aqm_params_init(&f->params, f->device);
	CHECK_OK(aqm_model_open(&f->model, f->device, f->gguf, options, &f->params));
	CHECK_OK(aqm_params_allocate(&f->params, !options->frozen, 5));
	CHECK_OK(aqm_model_bind(f->model, true));
	aqm_arena_plan(&plan);
	CHECK_OK(aqm_model_carve(f->model, &plan, windows, tokens, !options->frozen));
	CHECK_OK(aqm_arena_init(&f->arena, plan.used));
	CHECK_OK(aqm_model_carve(f->model, &f->arena, windows, tokens, !options->frozen));
	assert_false(f->arena.overflowed);
	assert_int_equal(f->arena.used, plan.used);
	f->width = aqm_model_shape(f->model)->width;
}

void fixture_close(struct fixture *f)
{
	aqm_model_free(f->model);
	aqm_arena_release(&f->arena);
	aqm_params_release(&f->params);
	aqm_gguf_free(f->gguf);
	aqm_device_close(f->device);
}

void fixture_forward(struct fixture *f, float *x, bool training, uint32_t step)
{
	aqm_model_forward(f->model, f->windows, f->tokens, aqm_mat_f32(x, f->windows * f->tokens, f->width), training,
	                  step);
	CHECK_OK(aqm_device_check(f->device));
}

void fixture_noise(float *x, size_t count, uint64_t seed)
{
	struct aqm_rng rng;

	aqm_rng_init(&rng, seed, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < count; i++)
		x[i] = 2.0f * aqm_rng_uniform(&rng) - 1.0f;
}

void fixture_randomise(struct fixture *f, float size)
{
	for (size_t i = 0; i < f->params.count; i++) {
		struct aqm_mat value = aqm_params_value(&f->params, (int64_t)i);
		float *x = value.data;
		size_t n = (size_t)(value.rows * value.cols);

		fixture_noise(x, n, 100 + i);
		for (size_t j = 0; j < n; j++)
			x[j] *= size;
	}
}

double difference(const float *a, const float *b, size_t count)
{
	double worst = 0, largest = 1e-30;

	for (size_t i = 0; i < count; i++) {
		if (!isfinite(a[i]))
			return INFINITY;
		worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
		largest = fmax(largest, fabs((double)b[i]));
	}
	return worst / largest;
}
