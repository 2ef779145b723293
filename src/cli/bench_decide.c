/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench decide: the ten new tokens of one decision on eight features, against a cache that holds the window so
 * far. The limit is reading the weights once at the memory bandwidth of this process.
 */
#include "base/progress.h"
#include "base/random.h"
#include "cli/bench_model.h"
#include "model/model.h"

enum { NEW_TOKENS = 10, PAST_TOKENS = 150, CACHE_TOKENS = 200 };

struct decision {
	aqm_device *device;
	aqm_model *model;
	aqm_cache *cache;
	struct aqm_mat embeddings, x;
	int code, runs;
};

static void decide(void *context)
{
	struct decision *d = context;

	d->runs++;
	aqm_cache_truncate(d->cache, PAST_TOKENS);
	d->device->ops->copy(d->device, d->embeddings, d->x);
	if (d->code == AQM_OK)
		d->code = aqm_model_extend(d->model, d->cache, d->x);
}

static int fill_cache(struct decision *d, float *host, int64_t width)
{
	struct aqm_rng rng;

	aqm_rng_init(&rng, 2, AQM_STREAM_TEST, 0);
	for (int64_t i = 0; i < NEW_TOKENS * width; i++)
		host[i] = aqm_rng_normal(&rng);
	while (d->code == AQM_OK && aqm_cache_length(d->cache) < PAST_TOKENS) {
		d->device->ops->copy(d->device, d->embeddings, d->x);
		d->code = aqm_model_extend(d->model, d->cache, d->x);
	}
	return d->code;
}

/* The time against reading the weights; and the rate of the arithmetic, which for ten tokens is the nearer limit where
 * weights are small. */
static int time_decisions(struct aqm_bench *bench, struct decision *d, const char *name)
{
	const double flops = aqm_model_flops(d->model, 1, NEW_TOKENS, false);
	char rate_name[64];
	double read, peak;
	int code = aqm_bench_peak_read(bench, &read);

	if (code == AQM_OK)
		code = aqm_bench_peak_gemm(bench, d->device, &peak);
	if (code != AQM_OK)
		return code;
	if (bench->profile)
		aqm_bench_profile_start(d->device);
	d->runs = 0;
	double start = aqm_clock_seconds(), shortest = aqm_bench_shortest(bench, bench->quick ? 1 : 20, decide, d);

	if (bench->profile)
		aqm_bench_profile_end(d->device, aqm_clock_seconds() - start, d->runs);
	if (d->code != AQM_OK)
		return d->code;
	code = aqm_bench_add(bench, name, shortest * 1e3, "ms", (double)aqm_model_weight_bytes(d->model) / read * 1e3,
	                     "reading the weights once");
	snprintf(rate_name, sizeof rate_name, "%.56s/rate", name);
	return code == AQM_OK
	           ? aqm_bench_add(bench, rate_name, flops / shortest / 1e9, "GFLOP/s", peak / 1e9, "sgemm in this process")
	           : code;
}

static int measure_base(struct aqm_bench *bench, const char *path, bool int8, const char *name)
{
	const struct aqm_model_options options = {.frozen = true, .int8 = int8};
	struct decision d = {0};
	struct aqm_params params;
	struct aqm_arena arena;
	aqm_gguf *gguf = NULL;
	void *memory = NULL, *buffers = NULL;
	int code = aqm_device_open(&d.device, AQM_DEVICE_CPU);

	if (code != AQM_OK)
		return code;
	aqm_params_init(&params, d.device);
	code = aqm_gguf_open(&gguf, path);
	if (code == AQM_OK)
		code = aqm_model_open(&d.model, d.device, gguf, &options, &params);
	if (code == AQM_OK)
		code = aqm_params_allocate(&params, false, 1);
	if (code == AQM_OK)
		code = aqm_model_bind(d.model, true);
	aqm_arena_plan(&arena);
	if (code == AQM_OK)
		code = aqm_model_carve(d.model, &arena, 1, NEW_TOKENS, false);
	if (code == AQM_OK)
		code = d.device->ops->allocate(d.device, arena.used, &buffers);
	if (code == AQM_OK) {
		arena = (struct aqm_arena){.base = buffers, .capacity = arena.used};
		code = aqm_model_carve(d.model, &arena, 1, NEW_TOKENS, false);
	}
	if (code == AQM_OK)
		code = aqm_cache_new(&d.cache, d.model, CACHE_TOKENS);
	if (code == AQM_OK) {
		int64_t width = aqm_model_shape(d.model)->width;

		code = d.device->ops->allocate(d.device, (size_t)(2 * NEW_TOKENS * width) * sizeof(float), &memory);
		d.embeddings = aqm_mat_f32(memory, NEW_TOKENS, width);
		d.x = aqm_mat_f32((float *)memory + NEW_TOKENS * width, NEW_TOKENS, width);
		if (code == AQM_OK)
			code = fill_cache(&d, memory, width);
	}
	if (code == AQM_OK)
		code = time_decisions(bench, &d, name);
	d.device->ops->release(d.device, memory);
	aqm_cache_free(d.cache);
	aqm_model_free(d.model);
	d.device->ops->release(d.device, buffers);
	aqm_params_release(&params);
	aqm_gguf_free(gguf);
	aqm_device_close(d.device);
	return code;
}

static int measure(struct aqm_bench *bench, const char *preset, enum aqm_dtype type)
{
	struct aqm_bench_base base;
	char name[64];
	int code = aqm_bench_base(&base, bench, preset, type);

	if (code != AQM_OK)
		return code;
	/* Both arithmetics of decide.arithmetic, where they differ. */
	for (int int8 = 0; code == AQM_OK && int8 <= (bench->model || aqm_dtype_traits(type)->block > 1); int8++) {
		const char *arithmetic = int8 ? "/int8" : "";

		if (bench->model)
			snprintf(name, sizeof name, "decide/model/cpu%s", arithmetic);
		else
			snprintf(name, sizeof name, "decide/%s/%s/cpu%s", preset, aqm_dtype_traits(type)->name, arithmetic);
		code = measure_base(bench, base.path, int8, name);
	}
	aqm_bench_base_release(&base);
	return code;
}

int aqm_bench_decide(struct aqm_bench *bench)
{
	static const enum aqm_dtype types[] = {AQM_F32, AQM_F16, AQM_Q8_0, AQM_Q4_0};
	int code = AQM_OK;

	if (bench->model)
		return measure(bench, "model", AQM_F32);
	for (size_t i = 0; i < sizeof types / sizeof *types && code == AQM_OK; i++)
		code = measure(bench, bench->quick ? "tiny-llama" : "smollm2-135m", types[i]);
	return code;
}
