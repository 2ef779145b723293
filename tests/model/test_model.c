/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What must hold of any base: no position sees the future, windows do not see each other, the cache gives what a full
 * forward gives, a base in any type is its expanded self, dropout's gradient is that of what forward did, planning
 * disturbs nothing, and what cannot be used is refused by name.
 */
#include "helper_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/synth.h"

enum { WINDOWS = 2, TOKENS = 13 };

static const int64_t only_stream = 0;
static const unsigned all_targets = (1u << AQM_TARGETS) - 1;
enum { PRESETS = 4 };
static const char *const presets[PRESETS] = {"tiny-llama", "tiny-gpt2", "tiny-opt", "tiny-t5"};

/* A synthetic base in the current folder; removed by the caller. */
static const char *synthesise(const char *preset, enum aqm_dtype dtype)
{
	static char path[128];

	snprintf(path, sizeof path, "test-model-%d-%s.gguf", (int)getpid(), preset);
	CHECK_OK(aqm_model_synth(preset, dtype, 3, path));
	return path;
}

static float *noise(const struct fixture *f, uint64_t seed)
{
	size_t n = (size_t)(f->windows * f->tokens * f->width);
	float *x = malloc(n * sizeof *x);

	assert_non_null(x);
	fixture_noise(x, n, seed);
	return x;
}

static float *copy_of(const float *x, size_t count)
{
	float *y = malloc(count * sizeof *y);

	assert_non_null(y);
	memcpy(y, x, count * sizeof *y);
	return y;
}

/* Change everything behind `seen` tokens of each window: whether what came before stays the same to the bit. */
static bool sees_future(const char *preset, bool bidirectional)
{
	struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets, .bidirectional = bidirectional};
	const char *path = synthesise(preset, AQM_F32);
	struct fixture f;
	bool sees = false;

	fixture_open(&f, path, &options, WINDOWS, TOKENS);
	fixture_randomise(&f, 0.1f);
	size_t row = (size_t)f.width, n = WINDOWS * TOKENS * row, seen = 6;
	float *x = noise(&f, 1), *changed = copy_of(x, n), *other = noise(&f, 2);
	for (size_t w = 0; w < WINDOWS; w++)
		memcpy(changed + (w * TOKENS + seen) * row, other + (w * TOKENS + seen) * row,
		       (TOKENS - seen) * row * sizeof *x);
	fixture_forward(&f, x, false, 0);
	fixture_forward(&f, changed, false, 0);
	for (size_t w = 0; w < WINDOWS; w++) {
		sees = sees || memcmp(x + w * TOKENS * row, changed + w * TOKENS * row, seen * row * sizeof *x) != 0;
		assert_memory_not_equal(x + (w * TOKENS + seen) * row, changed + (w * TOKENS + seen) * row, row * sizeof *x);
	}
	free(x);
	free(changed);
	free(other);
	fixture_close(&f);
	unlink(path);
	return sees;
}

static void test_no_future(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++)
		assert_false(sees_future(presets[p], false));
	assert_true(sees_future("tiny-t5", true)); /* as published */
}

/* A base that was copied to the device computes the same bits as one that is read from its mapping. */
static void test_device_with_own_memory(void **state)
{
	static const enum aqm_dtype types[] = {AQM_F32, AQM_F16, AQM_Q4_0};
	(void)state;

	for (size_t p = 0; p < PRESETS; p++)
		for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
			struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets};
			const char *path = synthesise(presets[p], types[t]);
			struct fixture mapped, copied;

			fixture_open(&mapped, path, &options, WINDOWS, TOKENS);
			fixture_own_memory = true;
			fixture_open(&copied, path, &options, WINDOWS, TOKENS);
			fixture_own_memory = false;
			size_t n = (size_t)(WINDOWS * TOKENS * mapped.width);
			float *a = noise(&mapped, 1), *b = copy_of(a, n);
			fixture_forward(&mapped, a, false, 0);
			fixture_forward(&copied, b, false, 0);
			assert_memory_equal(a, b, n * sizeof *a);
			free(a);
			free(b);
			fixture_close(&mapped);
			fixture_close(&copied);
			unlink(path);
		}
}

/* With checkpoints: less memory, the same gradients to the last bit, dropout and all. */
static void test_checkpoints(void **state)
{
	static const unsigned targets[] = {(1u << AQM_TARGETS) - 1, 1u << AQM_TARGET_Q | 1u << AQM_TARGET_V, 0};
	(void)state;

	for (size_t p = 0; p < PRESETS; p++)
		for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
			struct aqm_model_options options = {
				.rank = targets[t] ? 4 : 0, .alpha = 8, .targets = targets[t], .dropout = targets[t] ? 0.1 : 0};
			const char *path = synthesise(presets[p], AQM_Q8_0);
			struct fixture plain, checkpoints;

			fixture_open(&plain, path, &options, WINDOWS, TOKENS);
			options.checkpoints = true;
			fixture_open(&checkpoints, path, &options, WINDOWS, TOKENS);
			fixture_randomise(&plain, 0.1f);
			fixture_randomise(&checkpoints, 0.1f);
			assert_true(checkpoints.arena.used < plain.arena.used);
			size_t n = (size_t)(WINDOWS * TOKENS * plain.width), floats = plain.params.floats;
			float *a = noise(&plain, 1), *b = copy_of(a, n);
			for (uint32_t step = 3; step < 5; step++) {
				fixture_forward(&plain, a, true, step);
				fixture_forward(&checkpoints, b, true, step);
				assert_memory_equal(a, b, n * sizeof *a);
				aqm_model_backward(plain.model, WINDOWS, TOKENS, aqm_mat_f32(a, WINDOWS * TOKENS, plain.width), step);
				aqm_model_backward(checkpoints.model, WINDOWS, TOKENS, aqm_mat_f32(b, WINDOWS * TOKENS, plain.width),
				                   step);
				assert_memory_equal(a, b, n * sizeof *a);
				assert_memory_equal(plain.params.gradients, checkpoints.params.gradients, floats * sizeof *a);
			}
			fixture_forward(&plain, a, false, 0); /* an evaluation in between */
			fixture_forward(&checkpoints, b, false, 0);
			assert_memory_equal(a, b, n * sizeof *a);
			free(a);
			free(b);
			fixture_close(&plain);
			fixture_close(&checkpoints);
			unlink(path);
		}
}

static void test_windows_are_apart(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++) {
		struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets};
		const char *path = synthesise(presets[p], AQM_F32);
		struct fixture both, one;

		fixture_open(&both, path, &options, 2, TOKENS);
		fixture_open(&one, path, &options, 1, TOKENS);
		fixture_randomise(&both, 0.1f);
		fixture_randomise(&one, 0.1f);
		size_t half = (size_t)(TOKENS * both.width);
		float *x = noise(&both, 1), *second = copy_of(x + half, half);
		fixture_forward(&both, x, false, 0);
		fixture_forward(&one, second, false, 0);
		assert_true(difference(x + half, second, half) < 1e-5);
		free(x);
		free(second);
		fixture_close(&both);
		fixture_close(&one);
		unlink(path);
	}
}

/* Tokens one by one, in threes, and more than a few at once; then back to the fifth token and on again. */
static void test_cache(void **state)
{
	static const int64_t chunks[] = {1, 3, 1, 20, 2, 5};
	(void)state;

	for (size_t p = 0; p < PRESETS; p++) {
		struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets, .dropout = 0.1};
		const char *path = synthesise(presets[p], AQM_Q8_0);
		struct fixture f;
		aqm_cache *cache;

		fixture_open(&f, path, &options, 1, 32);
		fixture_randomise(&f, 0.1f);
		size_t row = (size_t)f.width, n = 32 * row;
		float *full = noise(&f, 1), *start = copy_of(full, n), *stream = copy_of(full, n);
		fixture_forward(&f, full, false, 0);
		CHECK_OK(aqm_cache_new(&cache, f.model, 1, 32));
		int64_t at = 0;
		for (size_t c = 0; c < 6; at += chunks[c++])
			CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream + (size_t)at * row, chunks[c], f.width)));
		assert_int_equal(at, 32);
		assert_int_equal(aqm_cache_length(cache, 0), 32);
		assert_true(difference(stream, full, n) < 1e-5);
		assert_int_equal(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(start, 1, f.width)), AQM_EUSAGE);

		aqm_cache_truncate(cache, 0, 5);
		assert_int_equal(aqm_cache_length(cache, 0), 5);
		float *again = copy_of(start, n);
		CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(again + 5 * row, 4, f.width)));
		assert_true(difference(again + 5 * row, full + 5 * row, 4 * row) < 1e-5);
		aqm_cache_free(cache);
		free(full);
		free(start);
		free(stream);
		free(again);
		fixture_close(&f);
		unlink(path);
	}
}

/* Streams that are extended together, at different places and in any order, are each as if alone. */
static void test_cache_of_streams(void **state)
{
	enum { STREAMS = 3, CAPACITY = 24, NEW = 6 };
	static const int64_t together[STREAMS] = {2, 0, 1}, some[] = {1, 2};

	(void)state;
	for (size_t p = 0; p < PRESETS; p++) {
		struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets};
		const char *path = synthesise(presets[p], AQM_Q8_0);
		struct fixture f;
		aqm_cache *cache;

		fixture_open(&f, path, &options, STREAMS, CAPACITY);
		fixture_randomise(&f, 0.1f);
		size_t row = (size_t)f.width, own = CAPACITY * row;
		float *full = noise(&f, 1), *start = copy_of(full, STREAMS * own), *x = copy_of(full, STREAMS * own);
		fixture_forward(&f, full, false, 0);
		CHECK_OK(aqm_cache_new(&cache, f.model, STREAMS, CAPACITY));
		for (int64_t s = 0; s < STREAMS; s++) { /* 0, 5 or 10 tokens each alone */
			memcpy(x, start + (size_t)s * own, own * sizeof *x);
			if (s > 0)
				CHECK_OK(aqm_model_extend(f.model, cache, &s, 1, aqm_mat_f32(x, 5 * s, f.width)));
		}
		assert_true(aqm_cache_takes(cache, STREAMS, NEW));
		assert_false(aqm_cache_takes(cache, STREAMS, CAPACITY + 1));
		for (int i = 0; i < STREAMS; i++)
			memcpy(x + (size_t)i * NEW * row, start + (size_t)together[i] * own + (size_t)(5 * together[i]) * row,
			       NEW * row * sizeof *x);
		CHECK_OK(aqm_model_extend(f.model, cache, together, STREAMS, aqm_mat_f32(x, STREAMS * NEW, f.width)));
		for (int i = 0; i < STREAMS; i++)
			assert_true(difference(x + (size_t)i * NEW * row, full + (size_t)together[i] * own + (size_t)(5 * together[i]) * row,
			                       NEW * row) < 1e-5);
		for (int i = 0; i < 2; i++)
			memcpy(x + (size_t)i * NEW * row, start + (size_t)some[i] * own + (size_t)(5 * some[i] + NEW) * row,
			       NEW * row * sizeof *x);
		CHECK_OK(aqm_model_extend(f.model, cache, some, 2, aqm_mat_f32(x, 2 * NEW, f.width)));
		for (int i = 0; i < 2; i++)
			assert_true(difference(x + (size_t)i * NEW * row, full + (size_t)some[i] * own + (size_t)(5 * some[i] + NEW) * row,
			                       NEW * row) < 1e-5);
		assert_int_equal(aqm_cache_length(cache, 0), NEW);
		assert_int_equal(aqm_cache_length(cache, 2), 10 + 2 * NEW);
		assert_int_equal(aqm_model_extend(f.model, cache, together, STREAMS, aqm_mat_f32(x, STREAMS * NEW, f.width)),
		                 AQM_EUSAGE); /* stream 2 is nearly full */
		assert_int_equal(aqm_cache_length(cache, 0), NEW);
		aqm_cache_free(cache);
		free(full);
		free(start);
		free(x);
		fixture_close(&f);
		unlink(path);
	}
}

/* A stream in 8 bits is near the exact one, and is not it: 8 bits tell. */
static void test_cache_in_integers(void **state)
{
	static const enum aqm_dtype types[] = {AQM_Q8_0, AQM_Q4_0, AQM_BF16};

	(void)state;
	for (size_t p = 0; p < PRESETS; p++)
		for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
			struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets, .int8 = true};
			const char *path = synthesise(presets[p], types[t]);
			struct fixture f;
			aqm_cache *cache;

			fixture_open(&f, path, &options, 1, 32);
			fixture_randomise(&f, 0.1f);
			size_t row = (size_t)f.width, n = 32 * row;
			float *full = noise(&f, 1), *stream = copy_of(full, n);
			fixture_forward(&f, full, false, 0);
			CHECK_OK(aqm_cache_new(&cache, f.model, 1, 32));
			for (int64_t at = 0; at < 32; at += 8)
				CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream + (size_t)at * row, 8, f.width)));
			double off = difference(stream, full, n);
			assert_true(off > 1e-4 && off < 0.03);
			aqm_cache_free(cache);
			free(full);
			free(stream);
			fixture_close(&f);
			unlink(path);
		}
}

/* Write every tensor of `path` in another type. */
static void convert_file(const char *path, const char *out, enum aqm_dtype dtype)
{
	aqm_gguf *from;
	aqm_gguf_writer *writer;

	CHECK_OK(aqm_gguf_open(&from, path));
	CHECK_OK(aqm_gguf_writer_new(&writer, out));
	CHECK_OK(aqm_gguf_writer_copy_metadata(writer, from));
	for (size_t i = 0; i < aqm_gguf_tensors(from); i++) {
		const struct aqm_gguf_tensor *t = aqm_gguf_tensor(from, i);

		CHECK_OK(aqm_gguf_writer_add_tensor(writer, t->name, dtype, t->dimensions, t->ne));
	}
	for (size_t i = 0; i < aqm_gguf_tensors(from); i++) {
		const struct aqm_gguf_tensor *t = aqm_gguf_tensor(from, i);
		size_t n = (size_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
		float *values = malloc(n * sizeof *values);

		assert_non_null(values);
		aqm_dtype_traits(t->dtype)->expand(t->data, values, n);
		CHECK_OK(aqm_gguf_writer_write_floats(writer, values, n));
		free(values);
	}
	CHECK_OK(aqm_gguf_writer_finish(writer));
	aqm_gguf_writer_free(writer);
	aqm_gguf_free(from);
}

/* Forward and backward on both give the same bits. */
static void compare_bases(const char *path, const char *expanded, const struct aqm_model_options *options)
{
	struct fixture quantised, plain;

	fixture_open(&quantised, path, options, WINDOWS, TOKENS);
	fixture_open(&plain, expanded, options, WINDOWS, TOKENS);
	if (options->rank > 0) {
		fixture_randomise(&quantised, 0.1f);
		fixture_randomise(&plain, 0.1f);
	}
	size_t n = (size_t)(WINDOWS * TOKENS * plain.width);
	float *a = noise(&plain, 1), *b = copy_of(a, n);

	fixture_forward(&quantised, a, true, 0);
	fixture_forward(&plain, b, true, 0);
	assert_memory_equal(a, b, n * sizeof *a);
	aqm_model_backward(quantised.model, WINDOWS, TOKENS, aqm_mat_f32(a, WINDOWS * TOKENS, plain.width), 0);
	aqm_model_backward(plain.model, WINDOWS, TOKENS, aqm_mat_f32(b, WINDOWS * TOKENS, plain.width), 0);
	assert_memory_equal(a, b, n * sizeof *a);
	assert_memory_equal(quantised.params.gradients, plain.params.gradients, plain.params.floats * sizeof(float));
	free(a);
	free(b);
	fixture_close(&quantised);
	fixture_close(&plain);
}

static void test_quantised_bases(void **state)
{
	static const enum aqm_dtype dtypes[] = {AQM_F16, AQM_BF16, AQM_Q8_0, AQM_Q4_0};
	(void)state;

	for (size_t i = 0; i < 4 * PRESETS; i++) {
		struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets};
		const char *path = synthesise(presets[i % PRESETS], dtypes[i / PRESETS]);
		char expanded[160];

		snprintf(expanded, sizeof expanded, "%s.f32", path);
		convert_file(path, expanded, AQM_F32);
		compare_bases(path, expanded, &options);
		options.rank = 0;
		compare_bases(path, expanded, &options);
		unlink(path);
		unlink(expanded);
	}
}

/* Norms, biases and positions too may have another type than float32. */
static void test_vectors_of_any_type(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++) {
		struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets};
		const char *path = synthesise(presets[p], AQM_F32);
		char half[160], expanded[160];

		snprintf(half, sizeof half, "%s.f16", path);
		snprintf(expanded, sizeof expanded, "%s.f32", path);
		convert_file(path, half, AQM_F16);
		convert_file(half, expanded, AQM_F32);
		compare_bases(half, expanded, &options);
		unlink(path);
		unlink(half);
		unlink(expanded);
	}
}

/* sum(hidden * g) at the present parameters. */
static double objective(struct fixture *f, const float *x, const float *g, size_t n)
{
	float *y = copy_of(x, n);
	double sum = 0;

	fixture_forward(f, y, true, 9);
	for (size_t i = 0; i < n; i++)
		sum += (double)y[i] * (double)g[i];
	free(y);
	return sum;
}

/* With dropout on, along a random direction in all parameters; also of so few tokens as decisions have. */
static void check_dropout(const char *preset, int64_t windows, int64_t tokens)
{
	struct aqm_model_options options = {.rank = 4, .alpha = 4, .targets = all_targets, .dropout = 0.3, .seed = 17};
	const char *path = synthesise(preset, AQM_F32);
	const float step = 2e-3f;
	const double tolerance = strcmp(preset, "tiny-opt") == 0 ? 0.06 : 0.02; /* ReLU has kinks on the way */
	struct fixture f;

	fixture_open(&f, path, &options, windows, tokens);
	fixture_randomise(&f, 0.1f);
	size_t n = (size_t)(windows * tokens * f.width), m = f.params.floats;
	float *x = noise(&f, 1), *g = noise(&f, 2), *dx = copy_of(g, n), *saved = copy_of(f.params.values, m);
	float *direction = malloc(m * sizeof *direction), *y = copy_of(x, n);
	double slope = 0, ends[2];

	assert_non_null(direction);
	fixture_noise(direction, m, 77);
	fixture_forward(&f, y, true, 9);
	aqm_model_backward(f.model, windows, tokens, aqm_mat_f32(dx, windows * tokens, f.width), 9);
	for (size_t i = 0; i < m; i++)
		slope += (double)f.params.gradients[i] * (double)direction[i];
	for (int end = 0; end < 2; end++) {
		for (size_t i = 0; i < m; i++)
			f.params.values[i] = saved[i] + (end ? step : -step) * direction[i];
		ends[end] = objective(&f, x, g, n);
	}
	double measured = (ends[1] - ends[0]) / (2.0 * (double)step);
	if (!(fabs(measured - slope) < tolerance * fabs(slope) + 1e-2))
		fail_msg("%s, %d x %d: the slope is %g by differences, %g by backward", preset, (int)windows, (int)tokens,
		         measured, slope);
	free(x);
	free(g);
	free(dx);
	free(saved);
	free(direction);
	free(y);
	fixture_close(&f);
	unlink(path);
}

static void test_dropout_gradient(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++) {
		check_dropout(presets[p], WINDOWS, TOKENS);
		check_dropout(presets[p], 1, 3);
	}
}

/* Planning a larger batch, and extending a cache, leave the buffers of a pass alone; a smaller batch fits into them. */
static void test_buffers(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++) {
		struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets};
		const char *path = synthesise(presets[p], AQM_Q8_0);
		struct aqm_arena plan;
		struct fixture f;
		aqm_cache *cache;

		fixture_open(&f, path, &options, WINDOWS, TOKENS);
		fixture_randomise(&f, 0.1f);
		size_t n = (size_t)(WINDOWS * TOKENS * f.width), m = f.params.floats;
		float *x = noise(&f, 1), *y = copy_of(x, n), *other = noise(&f, 2), *g = noise(&f, 3), *dx = copy_of(g, n);
		fixture_forward(&f, x, true, 0);
		aqm_model_backward(f.model, WINDOWS, TOKENS, aqm_mat_f32(dx, WINDOWS * TOKENS, f.width), 0);
		float *gradients = copy_of(f.params.gradients, m);

		memset(f.params.gradients, 0, m * sizeof *gradients);
		fixture_forward(&f, y, true, 0);
		aqm_arena_plan(&plan);
		CHECK_OK(aqm_model_carve(f.model, &plan, 10 * WINDOWS, TOKENS, true));
		CHECK_OK(aqm_cache_new(&cache, f.model, 1, TOKENS));
		CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(other, TOKENS, f.width)));
		aqm_cache_free(cache);
		aqm_model_backward(f.model, WINDOWS, TOKENS, aqm_mat_f32(g, WINDOWS * TOKENS, f.width), 0);
		assert_memory_equal(dx, g, n * sizeof *g);
		assert_memory_equal(gradients, f.params.gradients, m * sizeof *gradients);

		float *small = noise(&f, 1);
		aqm_model_forward(f.model, 1, TOKENS - 2, aqm_mat_f32(small, TOKENS - 2, f.width), true, 0);
		assert_true(difference(small, x, (size_t)((TOKENS - 2) * f.width)) < 1e-5);
		free(x);
		free(y);
		free(other);
		free(g);
		free(dx);
		free(gradients);
		free(small);
		fixture_close(&f);
		unlink(path);
	}
}

/* More tokens at once than a cache has buffers for. */
static void test_long_cache(void **state)
{
	enum { MANY = 1100 };
	struct aqm_model_options options = {.frozen = true};
	const char *path = synthesise("tiny-llama", AQM_F32);
	struct fixture f;
	aqm_cache *cache;

	(void)state;
	fixture_open(&f, path, &options, 1, MANY);
	size_t n = (size_t)(MANY * f.width);
	float *full = noise(&f, 1), *stream = copy_of(full, n);
	fixture_forward(&f, full, false, 0);
	CHECK_OK(aqm_cache_new(&cache, f.model, 1, MANY));
	CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream, 7, f.width)));
	CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream + 7 * f.width, MANY - 7, f.width)));
	assert_true(difference(stream, full, n) < 1e-5);
	aqm_cache_free(cache);
	free(full);
	free(stream);
	fixture_close(&f);
	unlink(path);
}

/* Where tokens see the future, extending gives what a forward of the window so far gives, also back from a cut. */
static void test_bidirectional_cache(void **state)
{
	struct aqm_model_options options = {.frozen = true, .bidirectional = true};
	const char *path = synthesise("tiny-t5", AQM_Q8_0);
	struct fixture f;
	aqm_cache *cache;

	(void)state;
	fixture_open(&f, path, &options, 1, 9);
	size_t row = (size_t)f.width;
	float *start = noise(&f, 1), *full = copy_of(start, 9 * row), *stream = copy_of(start, 9 * row);
	fixture_forward(&f, full, false, 0);
	CHECK_OK(aqm_cache_new(&cache, f.model, 1, 9));
	CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream, 5, f.width)));
	assert_true(difference(stream, full, 5 * row) > 1e-3); /* it did not know the rest */
	CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream + 5 * row, 4, f.width)));
	assert_true(difference(stream + 5 * row, full + 5 * row, 4 * row) < 1e-5);
	assert_int_equal(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream, 1, f.width)), AQM_EUSAGE);

	aqm_cache_truncate(cache, 0, 3);
	memcpy(stream + 3 * row, start + 3 * row, 6 * row * sizeof *stream);
	CHECK_OK(aqm_model_extend(f.model, cache, &only_stream, 1, aqm_mat_f32(stream + 3 * row, 6, f.width)));
	assert_true(difference(stream + 3 * row, full + 3 * row, 6 * row) < 1e-5);
	aqm_cache_free(cache);
	free(start);
	free(full);
	free(stream);
	fixture_close(&f);
	unlink(path);
}

/* Only a t5 has an encoder that could see the future. */
static void test_bidirectional_refused(void **state)
{
	struct aqm_model_options options = {.frozen = true, .bidirectional = true};
	aqm_device *device;

	(void)state;
	CHECK_OK(aqm_device_open(&device, AQM_DEVICE_CPU));
	for (size_t p = 0; p < PRESETS; p++) {
		const char *path = synthesise(presets[p], AQM_F32);
		bool t5 = strcmp(presets[p], "tiny-t5") == 0;
		struct aqm_params params;
		aqm_model *model;
		aqm_gguf *gguf;

		CHECK_OK(aqm_gguf_open(&gguf, path));
		aqm_params_init(&params, device);
		assert_int_equal(aqm_model_open(&model, device, gguf, &options, &params), t5 ? AQM_OK : AQM_EUSAGE);
		if (!t5)
			assert_non_null(strstr(aqm_error_message(), "model.causal"));
		aqm_model_free(model);
		aqm_params_release(&params);
		aqm_gguf_free(gguf);
		unlink(path);
	}
	aqm_device_close(device);
}

/* Every adapter is named after a tensor of the file, no two parameters alike; cross-attention has its own. */
static void test_t5_adapters(void **state)
{
	struct aqm_model_options options = {.rank = 2, .alpha = 2, .targets = all_targets, .stop_layer = 1};
	const char *path = synthesise("tiny-t5", AQM_F32);
	struct fixture f;
	bool crossed = false;

	(void)state;
	fixture_open(&f, path, &options, 1, 1);
	assert_int_equal(aqm_model_shape(f.model)->used_layers, 1);
	assert_int_equal(aqm_model_shape(f.model)->used_decoder_layers, 1);
	assert_int_equal(aqm_model_shape(f.model)->decoder_layers, 2);
	assert_int_equal(aqm_model_adapters(f.model), AQM_TARGETS + AQM_TARGETS + 4);
	for (size_t i = 0; i < aqm_model_adapters(f.model); i++) {
		const struct aqm_adapter *adapter = aqm_model_adapter(f.model, i);

		assert_non_null(aqm_gguf_find(f.gguf, adapter->gguf_name));
		crossed = crossed || strcmp(adapter->gguf_name, "dec.blk.0.cross_attn_v.weight") == 0;
	}
	for (size_t i = 0; i < f.params.count; i++)
		assert_int_equal(aqm_params_find(&f.params, f.params.items[i].name), i);
	assert_true(crossed);
	fixture_close(&f);
	unlink(path);
}

/* What is added up is every weight that a decision reads: all tensors of the file but the tables of tokens. */
static void test_weight_bytes(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++) {
		struct aqm_model_options options = {.frozen = true};
		const char *path = synthesise(presets[p], AQM_Q8_0);
		struct fixture f;
		size_t bytes = 0;

		fixture_open(&f, path, &options, 1, 1);
		for (size_t i = 0; i < aqm_gguf_tensors(f.gguf); i++) {
			const struct aqm_gguf_tensor *t = aqm_gguf_tensor(f.gguf, i);

			if (!strstr(t->name, "_embd") && strcmp(t->name, "output.weight") != 0)
				bytes += t->bytes;
		}
		assert_int_equal(aqm_model_weight_bytes(f.model), bytes);
		fixture_close(&f);
		unlink(path);
	}
}

static void test_stop_layer(void **state)
{
	const char *path = synthesise("tiny-llama", AQM_F32);
	struct aqm_model_options options = {.rank = 4, .alpha = 8, .targets = all_targets, .stop_layer = 1};
	struct fixture f;
	aqm_model *model;

	(void)state;
	fixture_open(&f, path, &options, 1, TOKENS);
	assert_int_equal(aqm_model_shape(f.model)->used_layers, 1);
	assert_int_equal(aqm_model_adapters(f.model), AQM_TARGETS);
	options.stop_layer = 1000;
	assert_int_equal(aqm_model_open(&model, f.device, f.gguf, &options, &f.params), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "model.stop_layer"));
	fixture_close(&f);
	unlink(path);
}

/* A copy of a base without one tensor, or with another kind of position scaling. Either may be NULL. */
static void write_altered(const char *path, const char *out, const char *missing, const char *scaling)
{
	aqm_gguf *from;
	aqm_gguf_writer *writer;

	CHECK_OK(aqm_gguf_open(&from, path));
	CHECK_OK(aqm_gguf_writer_new(&writer, out));
	if (scaling)
		CHECK_OK(aqm_gguf_writer_set_string(writer, "llama.rope.scaling.type", scaling));
	CHECK_OK(aqm_gguf_writer_copy_metadata(writer, from));
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < aqm_gguf_tensors(from); i++) {
			const struct aqm_gguf_tensor *t = aqm_gguf_tensor(from, i);

			if (missing && strcmp(t->name, missing) == 0)
				continue;
			if (pass == 0)
				CHECK_OK(aqm_gguf_writer_add_tensor(writer, t->name, t->dtype, t->dimensions, t->ne));
			else
				CHECK_OK(aqm_gguf_writer_write(writer, t->data, t->bytes));
		}
	CHECK_OK(aqm_gguf_writer_finish(writer));
	aqm_gguf_writer_free(writer);
	aqm_gguf_free(from);
}

static void test_missing_tensors(void **state)
{
	static const char *const needed[PRESETS][3] = {
		{"blk.1.attn_k.weight", "output_norm.weight", "blk.0.ffn_gate.weight"},
		{"position_embd.weight", "blk.0.attn_qkv.bias", "blk.1.ffn_norm.bias"},
		{"position_embd.weight", "blk.0.attn_q.bias", "output_norm.bias"},
		{"dec.blk.1.cross_attn_k.weight", "enc.output_norm.weight", "dec.blk.0.attn_rel_b.weight"}};
	struct aqm_model_options options = {.frozen = true};
	aqm_device *device;

	(void)state;
	CHECK_OK(aqm_device_open(&device, AQM_DEVICE_CPU));
	for (size_t i = 0; i < 3 * PRESETS; i++) {
		const char *path = synthesise(presets[i / 3], AQM_F32);
		struct aqm_params params;
		aqm_gguf *gguf;
		aqm_model *model;
		char out[160];

		snprintf(out, sizeof out, "%s.part", path);
		write_altered(path, out, needed[i / 3][i % 3], NULL);
		CHECK_OK(aqm_gguf_open(&gguf, out));
		aqm_params_init(&params, device);
		assert_int_equal(aqm_model_open(&model, device, gguf, &options, &params), AQM_EDATA);
		assert_non_null(strstr(aqm_error_message(), needed[i / 3][i % 3]));
		assert_null(model);
		aqm_params_release(&params);
		aqm_gguf_free(gguf);
		unlink(path);
		unlink(out);
	}
	aqm_device_close(device);
}

/* Positions turned by a rule that we do not know would give a model that looks right and is not. */
static void test_unknown_scaling(void **state)
{
	static const char *const kinds[] = {"none", "linear", "yarn", "longrope"};
	struct aqm_model_options options = {.frozen = true};
	const char *path = synthesise("tiny-llama", AQM_F32);
	aqm_device *device;

	(void)state;
	CHECK_OK(aqm_device_open(&device, AQM_DEVICE_CPU));
	for (size_t i = 0; i < 4; i++) {
		struct aqm_params params;
		aqm_gguf *gguf;
		aqm_model *model;
		char out[160];

		snprintf(out, sizeof out, "%s.scaled", path);
		write_altered(path, out, NULL, kinds[i]);
		CHECK_OK(aqm_gguf_open(&gguf, out));
		aqm_params_init(&params, device);
		assert_int_equal(aqm_model_open(&model, device, gguf, &options, &params), i < 2 ? AQM_OK : AQM_EDATA);
		if (i >= 2)
			assert_non_null(strstr(aqm_error_message(), kinds[i]));
		aqm_model_free(model);
		aqm_params_release(&params);
		aqm_gguf_free(gguf);
		unlink(out);
	}
	aqm_device_close(device);
	unlink(path);
}

/* An architecture that nobody described: the message names those that are. */
static void test_unknown_architecture(void **state)
{
	static const char *const known[] = {"llama", "qwen2", "gpt2", "opt", "or t5"};
	const char *path = "test-model-unknown.gguf";
	struct aqm_model_options options = {.frozen = true};
	struct aqm_params params;
	aqm_gguf_writer *writer;
	aqm_device *device;
	aqm_gguf *gguf;
	aqm_model *model;

	(void)state;
	CHECK_OK(aqm_gguf_writer_new(&writer, path));
	CHECK_OK(aqm_gguf_writer_set_string(writer, "general.architecture", "bert"));
	CHECK_OK(aqm_gguf_writer_finish(writer));
	aqm_gguf_writer_free(writer);
	CHECK_OK(aqm_device_open(&device, AQM_DEVICE_CPU));
	CHECK_OK(aqm_gguf_open(&gguf, path));
	aqm_params_init(&params, device);
	assert_int_equal(aqm_model_open(&model, device, gguf, &options, &params), AQM_EDATA);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		assert_non_null(strstr(aqm_error_message(), known[i]));
	aqm_gguf_free(gguf);
	aqm_device_close(device);
	unlink(path);
}

/* Windows longer than the positions reach, and targets that the architecture lacks. */
static void test_refused(void **state)
{
	struct aqm_model_options options = {.rank = 4, .targets = 1u << AQM_TARGET_GATE};
	const char *path = synthesise("tiny-opt", AQM_F32);
	struct aqm_arena plan;
	aqm_model *model;
	aqm_cache *cache;
	struct fixture f;

	(void)state;
	fixture_open(&f, path, &(struct aqm_model_options){.frozen = true}, 1, 1);
	int64_t context = aqm_model_shape(f.model)->context;
	assert_int_equal(context, 1024); /* two more rows belong to no token */
	aqm_arena_plan(&plan);
	CHECK_OK(aqm_model_carve(f.model, &plan, 1, context, false));
	assert_int_equal(aqm_model_carve(f.model, &plan, 1, context + 1, false), AQM_EUSAGE);
	assert_int_equal(aqm_cache_new(&cache, f.model, 1, context + 1), AQM_EUSAGE);
	assert_null(cache);
	assert_int_equal(aqm_model_carve(f.model, &plan, INT64_MAX / 2, 3, false), AQM_EUSAGE);
	assert_int_equal(aqm_model_open(&model, f.device, f.gguf, &options, &f.params), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "lora.targets"));
	fixture_close(&f);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_future),
		cmocka_unit_test(test_device_with_own_memory),
		cmocka_unit_test(test_checkpoints),
		cmocka_unit_test(test_windows_are_apart),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cache_of_streams),
		cmocka_unit_test(test_cache_in_integers),
		cmocka_unit_test(test_long_cache),
		cmocka_unit_test(test_quantised_bases),
		cmocka_unit_test(test_vectors_of_any_type),
		cmocka_unit_test(test_dropout_gradient),
		cmocka_unit_test(test_buffers),
		cmocka_unit_test(test_bidirectional_cache),
		cmocka_unit_test(test_bidirectional_refused),
		cmocka_unit_test(test_t5_adapters),
		cmocka_unit_test(test_weight_bytes),
		cmocka_unit_test(test_stop_layer),
		cmocka_unit_test(test_missing_tensors),
		cmocka_unit_test(test_unknown_scaling),
		cmocka_unit_test(test_unknown_architecture),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
