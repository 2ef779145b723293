/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench decide: decisions on eight features, against caches that hold the windows so far. First the base alone,
 * ten new tokens a stream; then whole decisions as a queue takes them, with embedding, LoRA and head. The limit is reading
 * the weights once, however many streams there are; or the arithmetic, where that takes longer.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/random.h"
#include "base/size.h"
#include "cli/bench_model.h"
#include "compute/cpu/peak.h"
#include "model/model.h"
#include "policy/policy.h"

enum { NEW_TOKENS = 10, PAST_TOKENS = 150, CACHE_TOKENS = 200 };

/* ---- the base alone ---- */

struct decision {
	aqm_device *device;
	struct aqm_params params;
	aqm_gguf *gguf;
	aqm_model *model;
	aqm_cache *cache;
	void *memory;
	struct aqm_mat embeddings, x; /* (streams NEW_TOKENS, d) */
	int64_t count, *streams;
	void *recording; /* of extending; NULL: none */
	int code, runs;
};

static void decide(void *context)
{
	struct decision *d = context;
	bool at_once = aqm_cache_takes(d->cache, d->count, NEW_TOKENS);

	d->runs++;
	for (int64_t i = 0; i < d->count; i++)
		aqm_cache_truncate(d->cache, i, PAST_TOKENS);
	d->device->ops->copy(d->device, d->embeddings, d->x);
	if (d->code == AQM_OK && !at_once) {
		d->code = aqm_model_extend(d->model, d->cache, d->streams, d->count, d->x);
	} else if (d->code == AQM_OK) {
		d->code = aqm_cache_aim(d->cache, d->streams, d->count, NEW_TOKENS);
		if (d->recording)
			d->device->ops->replay(d->device, d->recording);
		else
			aqm_cache_run(d->cache, d->count, d->x);
		aqm_cache_advance(d->cache, d->streams, d->count, NEW_TOKENS);
	}
	if (d->code == AQM_OK)
		d->code = aqm_device_check(d->device); /* waits */
}

static int fill_cache(struct decision *d)
{
	size_t numbers = (size_t)(d->x.rows * d->x.cols);
	float *host = aqm_malloc_array(numbers, sizeof *host);
	struct aqm_rng rng;

	if (!host)
		return AQM_ERUN;
	aqm_rng_init(&rng, 2, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < numbers; i++)
		host[i] = aqm_rng_normal(&rng);
	d->device->ops->upload(d->device, d->embeddings.data, host, numbers * sizeof *host);
	free(host);
	while (d->code == AQM_OK && aqm_cache_length(d->cache, 0) < PAST_TOKENS) {
		d->device->ops->copy(d->device, d->embeddings, d->x);
		d->code = aqm_model_extend(d->model, d->cache, d->streams, d->count, d->x);
	}
	return d->code;
}

/* What a device keeps of extending once that has run. */
static int record(struct decision *d)
{
	decide(d);
	if (d->code != AQM_OK || !d->device->ops->record || !aqm_cache_takes(d->cache, d->count, NEW_TOKENS))
		return d->code;
	int code = d->device->ops->record(d->device);

	if (code != AQM_OK)
		return code;
	aqm_cache_run(d->cache, d->count, d->x);
	return d->device->ops->recorded(d->device, &d->recording);
}

static int open_base(struct decision *d, const struct aqm_config *config, const char *path, bool int8)
{
	const struct aqm_model_options options = {.frozen = true, .int8 = int8};
	int code = aqm_device_open(&d->device, config->device);

	if (code == AQM_OK)
		code = aqm_device_choose(d->device, config->dtype);
	if (code != AQM_OK)
		return code;
	aqm_params_init(&d->params, d->device);
	code = aqm_gguf_open(&d->gguf, path);
	if (code == AQM_OK)
		code = aqm_model_open(&d->model, d->device, d->gguf, &options, &d->params);
	if (code == AQM_OK)
		code = aqm_params_allocate(&d->params, false, 1);
	if (code == AQM_OK)
		code = aqm_model_bind(d->model, true);
	if (code == AQM_OK)
		code = aqm_cache_new(&d->cache, d->model, d->count, CACHE_TOKENS);
	if (code != AQM_OK)
		return code;
	int64_t width = aqm_model_shape(d->model)->width, rows = d->count * NEW_TOKENS;

	code = d->device->ops->allocate(d->device, (size_t)(2 * rows * width) * sizeof(float), &d->memory);
	d->embeddings = aqm_mat_f32(d->memory, rows, width);
	d->x = aqm_mat_f32((float *)d->memory + rows * width, rows, width);
	return code;
}

static void close_base(struct decision *d)
{
	if (d->device) {
		if (d->recording)
			d->device->ops->forget(d->device, d->recording);
		if (d->memory)
			d->device->ops->release(d->device, d->memory);
		aqm_cache_free(d->cache);
		aqm_model_free(d->model);
		aqm_params_release(&d->params);
	}
	aqm_gguf_free(d->gguf);
	aqm_device_close(d->device);
}

/* Operations a second that the device could do of this arithmetic. */
static int peak_of(struct aqm_bench *bench, const struct decision *d, enum aqm_cpu_arithmetic arithmetic, double *peak,
                   const char **what)
{
	if (d->device->own_memory) {
		*what = "plain products in this process";
		return aqm_bench_peak_gemm(bench, d->device, peak);
	}
	*peak = aqm_cpu_peak(arithmetic, what);
	return AQM_OK;
}

/* The time against each of its limits: reading the weights, and the arithmetic, which for ten tokens is the nearer one
 * where weights are small. */
static int time_base(struct aqm_bench *bench, struct decision *d, enum aqm_cpu_arithmetic arithmetic, const char *name)
{
	const double flops = aqm_model_flops(d->model, d->count, NEW_TOKENS, false);
	const char *read_is, *peak_is;
	char full[64];
	double read, peak;
	int code = aqm_bench_bandwidth(bench, d->device, &read, &read_is);

	if (code == AQM_OK)
		code = peak_of(bench, d, arithmetic, &peak, &peak_is);
	if (code == AQM_OK)
		code = record(d);
	if (code != AQM_OK)
		return code;
	if (bench->profile)
		aqm_bench_profile_start(d->device);
	d->runs = 0;
	double start = aqm_clock_seconds(), shortest = aqm_bench_shortest(bench, bench->quick ? 1 : 60, decide, d);

	if (bench->profile)
		aqm_bench_profile_end(d->device, aqm_clock_seconds() - start, d->runs);
	if (d->code != AQM_OK)
		return d->code;
	double reading = (double)aqm_model_weight_bytes(d->model) / read;

	code = aqm_bench_add(bench, name, shortest * 1e3, "ms", reading * 1e3, read_is);
	snprintf(full, sizeof full, "%.52s/arithmetic", name);
	return code == AQM_OK ? aqm_bench_add(bench, full, shortest * 1e3, "ms", flops / peak * 1e3, peak_is) : code;
}

static int measure_base(struct aqm_bench *bench, const struct aqm_config *config, int64_t *streams, const char *path,
                        enum aqm_dtype type, bool int8, const char *name)
{
	enum aqm_cpu_arithmetic arithmetic = !int8 ? AQM_CPU_FLOAT32 : type == AQM_BF16 ? AQM_CPU_BFLOAT16 : AQM_CPU_INT8;
	struct decision d = {.count = bench->batch, .streams = streams};
	int code = open_base(&d, config, path, int8);

	if (code == AQM_OK)
		code = fill_cache(&d);
	if (code == AQM_OK)
		code = time_base(bench, &d, arithmetic, name);
	close_base(&d);
	return code;
}

/* ---- whole decisions ---- */

struct queue {
	aqm_decider *decider;
	int64_t count, *streams;
	double *features;
	enum aqm_action *actions;
};

/* Seconds of deciding, and of what a decider does when it is told what came of it. */
struct taken {
	double deciding, after;
};

/* All streams decide once. */
static int step(struct queue *q, struct taken *taken)
{
	double start = aqm_clock_seconds(), decided;
	int code = aqm_decider_decide_streams(q->decider, q->count, q->streams, q->features, q->actions, NULL);

	decided = aqm_clock_seconds();
	for (int64_t i = 0; code == AQM_OK && i < q->count; i++)
		code = aqm_decider_observe_stream(q->decider, i, q->actions[i], 1.0);
	*taken = (struct taken){decided - start, aqm_clock_seconds() - decided};
	return code;
}

struct times {
	double shortest, mean, slowest, after; /* after: mean */
};

/* Steps of full windows are alike every `period` of them, when one window gives way to the next: a time each, the
 * shortest that was seen. */
static int time_steps(const struct aqm_bench *bench, struct queue *q, int64_t window, int64_t period,
                      struct times *times)
{
	int64_t periods = bench->quick ? 1 : 12;
	struct taken *at = aqm_malloc_array((size_t)period, sizeof *at), now;
	int code = at ? AQM_OK : AQM_ERUN;

	for (int64_t i = -window; code == AQM_OK && i < periods * period; i++) {
		code = step(q, &now);
		if (i >= period)
			now = (struct taken){fmin(now.deciding, at[i % period].deciding), fmin(now.after, at[i % period].after)};
		if (i >= 0)
			at[i % period] = now;
	}
	*times = (struct times){.shortest = INFINITY};
	for (int64_t i = 0; code == AQM_OK && i < period; i++) {
		times->shortest = fmin(times->shortest, at[i].deciding);
		times->slowest = fmax(times->slowest, at[i].deciding);
		times->mean += at[i].deciding / (double)period;
		times->after += at[i].after / (double)period;
	}
	free(at);
	return code;
}

static int time_policy(struct aqm_bench *bench, aqm_policy *policy, struct queue *q, const char *name)
{
	const char *read_is;
	char full[64];
	double read;
	struct times times = {0};
	int code = aqm_bench_bandwidth(bench, aqm_policy_device(policy), &read, &read_is);

	if (code == AQM_OK)
		code = aqm_decider_new_streams(&q->decider, policy, 1.0, q->count);
	if (code == AQM_OK)
		code = time_steps(bench, q, aqm_policy_config(policy)->policy.window, aqm_policy_advance(policy), &times);
	if (code != AQM_OK)
		return code;
	const double limit = (double)aqm_model_weight_bytes(aqm_policy_model(policy)) / read * 1e3;
	const struct {
		const char *what;
		double seconds;
	} rows[] = {{"whole", times.shortest}, {"mean", times.mean}, {"slowest", times.slowest}, {"after", times.after}};

	for (size_t i = 0; code == AQM_OK && i < sizeof rows / sizeof *rows; i++) {
		snprintf(full, sizeof full, "%.54s/%s", name, rows[i].what);
		code = aqm_bench_add(bench, full, rows[i].seconds * 1e3, "ms", limit, read_is);
	}
	snprintf(full, sizeof full, "%.54s/streams", name);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, full, (double)q->count / (times.mean + times.after), "1/s", 0, NULL);
	return code;
}

static int measure_policy(struct aqm_bench *bench, const struct aqm_config *config, int64_t *streams, const char *path,
                          const char *name)
{
	struct queue q = {.count = bench->batch, .streams = streams};
	size_t features = config->policy.features.count;
	struct aqm_fit fit;
	aqm_policy *policy = NULL;

	aqm_bench_fit(&fit, config);
	int code = aqm_policy_new(&policy, config, &fit, path, false);

	if (code == AQM_OK)
		code = aqm_policy_allocate(policy, 1);
	q.features = aqm_calloc_array((size_t)q.count * features, sizeof *q.features);
	q.actions = aqm_calloc_array((size_t)q.count, sizeof *q.actions);
	if (code == AQM_OK && (!q.features || !q.actions))
		code = AQM_ERUN;
	for (size_t i = 0; code == AQM_OK && i < (size_t)q.count * features; i++)
		q.features[i] = (double)(i % 7) - 3.0;
	if (code == AQM_OK)
		code = time_policy(bench, policy, &q, name);
	aqm_decider_free(q.decider);
	aqm_policy_free(policy);
	free(q.features);
	free(q.actions);
	return code;
}

/* ---- all ---- */

static int measure(struct aqm_bench *bench, const struct aqm_config *config, int64_t *streams, const char *device,
                   const char *preset, enum aqm_dtype type)
{
	struct aqm_bench_base base;
	char name[64], batch[24] = "";
	int code = aqm_bench_base(&base, bench, preset, type);

	if (code != AQM_OK)
		return code;
	if (bench->batch > 1)
		snprintf(batch, sizeof batch, "/batch%d", bench->batch);
	/* Both arithmetics of decide.arithmetic, where they differ. */
	bool both = (bench->model || type == AQM_BF16 || aqm_dtype_traits(type)->block > 1) && strcmp(device, "cpu") == 0 &&
	            bench->batch == 1;

	for (int int8 = 0; code == AQM_OK && int8 <= both; int8++) {
		const char *arithmetic = int8 ? "/int8" : "";
		struct aqm_config own = *config;

		own.decide.arithmetic = int8 ? AQM_ARITHMETIC_INT8 : AQM_ARITHMETIC_FLOAT32;
		if (bench->model)
			snprintf(name, sizeof name, "decide/model/%s%s%s", device, batch, arithmetic);
		else
			snprintf(name, sizeof name, "decide/%s/%s/%s%s%s", preset, aqm_dtype_traits(type)->name, device, batch,
			         arithmetic);
		code = measure_base(bench, config, streams, base.path, type, int8, name);
		if (code == AQM_OK)
			code = measure_policy(bench, &own, streams, base.path, name);
	}
	aqm_bench_base_release(&base);
	return code;
}

static int measure_all(struct aqm_bench *bench, const struct aqm_config *config, int64_t *streams, const char *device)
{
	static const enum aqm_dtype cpu_types[] = {AQM_F32, AQM_F16, AQM_BF16, AQM_Q8_0, AQM_Q4_0},
								gpu_types[] = {AQM_BF16, AQM_Q8_0, AQM_Q4_0};
	bool gpu = strcmp(device, "cpu") != 0;
	size_t count = gpu ? sizeof gpu_types / sizeof *gpu_types : sizeof cpu_types / sizeof *cpu_types;
	int code = AQM_OK;

	if (bench->model)
		return measure(bench, config, streams, device, "model", AQM_F32);
	for (size_t i = 0; i < count && code == AQM_OK; i++)
		code = measure(bench, config, streams, device, bench->quick ? "tiny-llama" : "smollm2-135m",
		               gpu ? gpu_types[i] : cpu_types[i]);
	return code;
}

int aqm_bench_decide(struct aqm_bench *bench)
{
	struct aqm_config config;
	aqm_device *device = NULL;
	int code = aqm_bench_configure(bench, &config);

	if (bench->batch == 0)
		bench->batch = 1;
	int64_t *streams = aqm_malloc_array((size_t)bench->batch, sizeof *streams);

	for (int i = 0; streams && i < bench->batch; i++)
		streams[i] = i;
	if (code == AQM_OK)
		code = streams ? aqm_device_open(&device, config.device) : AQM_ERUN; /* what "auto" is */
	if (code == AQM_OK) {
		const char *name = device->ops->name;

		aqm_device_close(device);
		code = measure_all(bench, &config, streams, name);
	}
	free(streams);
	aqm_config_release(&config);
	return code;
}
