/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench step: whole training steps, as `train` makes them, on synthetic bases: 16 windows of 20 steps of 8
 * features (3200 tokens), LoRA of rank 128 on q and v. The limit is the sgemm rate of this process.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/progress.h"
#include "base/random.h"
#include "base/thread.h"
#include "cli/bench_steps.h"

/* A batch like those of training, its numbers drawn at random. */
static void fill_batch(struct aqm_batch *batch, int64_t windows, const struct aqm_config *config)
{
	int64_t features = (int64_t)config->policy.features.count, sequences = (int64_t)config->policy.sequences.count;
	struct aqm_rng rng;

	aqm_rng_init(&rng, 1, AQM_STREAM_TEST, 0);
	batch->windows = windows;
	batch->steps = config->policy.window;
	int64_t n = windows * batch->steps;

	for (int64_t i = 0; i < n; i++) {
		batch->returns[i] = aqm_rng_normal(&rng);
		batch->actions[i] = batch->labels[i] = (int32_t)aqm_rng_below(&rng, AQM_ACTIONS);
		batch->times[i] = (int32_t)(i % batch->steps);
	}
	for (int64_t i = 0; i < n * features; i++)
		batch->states[i] = aqm_rng_normal(&rng);
	for (int64_t i = 0; i < n * sequences * config->policy.kernel; i++)
		batch->sequences[i] = aqm_rng_normal(&rng);
}

int aqm_bench_steps_once(struct aqm_bench_steps *s)
{
	static const float weight[AQM_ACTIONS] = {1, 1, 1};
	struct aqm_params *params = aqm_policy_params(s->policy);
	const struct aqm_ops *ops = s->device->ops;
	struct aqm_mat logits = aqm_policy_forward(s->policy, true, s->number);

	s->loss = ops->cross_entropy(s->device, logits, aqm_policy_batch(s->policy)->labels, weight, s->dlogits);
	ops->zero(s->device, aqm_mat_f32(params->gradients, 1, (int64_t)params->floats));
	if (s->reduction)
		aqm_reduction_begin(s->reduction);
	aqm_policy_backward(s->policy, s->dlogits, s->number);
	int code = s->reduction ? aqm_reduction_finish(s->reduction) : AQM_OK;
	double norm = sqrt(ops->sum_squares(s->device, params->gradients, params->floats));

	aqm_optimizer_step(&s->optimizer, &s->config, s->number, 1e-4f, (float)(norm > 0.25 ? 0.25 / norm : 1.0));
	s->number++;
	return code;
}

void aqm_bench_steps_take(struct aqm_bench_steps *s, int64_t windows)
{
	aqm_policy_batch(s->policy)->windows = windows;
	s->dlogits.rows = windows * s->config.policy.window;
}

int aqm_bench_steps_open(struct aqm_bench_steps *s, const struct aqm_bench *bench, const char *path)
{
	struct aqm_fit fit;
	struct aqm_memory_plan plan;
	size_t before = aqm_memory_now(), opened = 0;
	void *memory;
	int code = aqm_bench_configure(bench, &s->config);

	if (code != AQM_OK)
		return code;
	int64_t windows = s->config.train.windows;
	aqm_bench_fit(&fit, &s->config);
	code = aqm_policy_new(&s->policy, &s->config, &fit, path, true);
	opened = aqm_memory_now() - before;
	if (code == AQM_OK)
		code = aqm_policy_plan(s->policy, windows, &plan);
	if (code == AQM_OK)
		code = aqm_policy_allocate(s->policy, windows);
	if (code == AQM_OK)
		code = aqm_optimizer_init(&s->optimizer, aqm_policy_params(s->policy));
	if (code != AQM_OK)
		return code;
	/* Taking the base's fingerprint has brought all of its file into memory, even what no step touches. */
	s->gpu_planned = aqm_plan_total(&plan);
	s->planned = before + (opened > plan.weights ? opened : plan.weights) + plan.trainables + plan.optimizer +
	             plan.activations + plan.workspace + plan.host;
	s->device = aqm_policy_device(s->policy);
	int64_t rows = windows * s->config.policy.window;

	code = s->device->ops->allocate(s->device, (size_t)(rows * AQM_ACTIONS) * sizeof(float), &memory);
	s->dlogits = aqm_mat_f32(memory, rows, AQM_ACTIONS);
	if (code == AQM_OK)
		fill_batch(aqm_policy_batch(s->policy), windows, &s->config);
	return code;
}

void aqm_bench_steps_close(struct aqm_bench_steps *s)
{
	if (s->device)
		s->device->ops->release(s->device, s->dlogits.data);
	aqm_optimizer_release(&s->optimizer);
	aqm_policy_free(s->policy);
	aqm_config_release(&s->config);
}

/* Time `runs` steps, the first excepted; the shortest counts. */
static int time_steps(struct aqm_bench_steps *s, const struct aqm_bench *bench, int runs, double *shortest)
{
	double all = 0;

	(void)aqm_bench_steps_once(s); /* alone: no sums that could fail */
	if (bench->profile)
		aqm_bench_profile_start(s->device);
	*shortest = INFINITY;
	for (int i = 0; i < runs; i++) {
		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted after %d of %d steps", i, runs);
		double start = aqm_clock_seconds();

		(void)aqm_bench_steps_once(s);
		if (s->device->own_memory)
			(void)aqm_device_check(s->device); /* waits */
		double taken = aqm_clock_seconds() - start;

		all += taken;
		if (taken < *shortest)
			*shortest = taken;
	}
	if (bench->profile)
		aqm_bench_profile_end(s->device, all, runs);
	if (!isfinite(s->loss))
		return aqm_error_set(AQM_ERUN, "the loss of step %u is not finite", s->number);
	return aqm_device_check(s->device);
}

/* How tools/peer_torch.py is run for the same step. */
static void print_peer(const struct aqm_bench *bench, const struct aqm_bench_steps *s)
{
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(s->policy));
	const struct aqm_config *c = &s->config;
	FILE *stream = bench->json ? stderr : stdout;

	if (strcmp(shape->architecture, "t5") == 0 || strcmp(shape->architecture, "qwen2") == 0) {
		fprintf(stream, "no peer for a base of architecture %s\n", shape->architecture);
		return;
	}
	fprintf(stream,
	        "python3 tools/peer_torch.py --arch %s --layers %" PRId64 " --width %" PRId64 " --heads %" PRId64
	        " --kv-heads %" PRId64 " --ffn %" PRId64 " --windows %" PRId64 " --window %" PRId64
	        " --features %zu --sequences %zu --kernel %" PRId64 " --encoder %" PRId64 " --rank %" PRId64
	        " --alpha %g --dropout %g --dtype %s --device %s%s\n",
	        shape->architecture, shape->used_layers, shape->width, shape->heads, shape->kv_heads, shape->ffn,
	        c->train.windows, c->policy.window, c->policy.features.count, c->policy.sequences.count, c->policy.kernel,
	        c->policy.encoder_width, c->lora.rank, c->lora.alpha, c->lora.dropout,
	        s->device->dtype == AQM_BF16 ? "bf16" : "f32", s->device->ops->name,
	        c->train.checkpoint_activations ? " --checkpoint" : "");
}

/* Bytes free on a GPU before anything is put there; 0 elsewhere. */
static size_t free_at_first(const struct aqm_bench *bench)
{
	struct aqm_config config;
	aqm_device *device = NULL;
	size_t bytes = 0;

	if (aqm_bench_configure(bench, &config) == AQM_OK && aqm_device_open(&device, config.device) == AQM_OK &&
	    device->own_memory)
		bytes = aqm_device_available(device);
	aqm_device_close(device);
	aqm_config_release(&config);
	return bytes;
}

static int measure(struct aqm_bench *bench, const char *preset)
{
	struct aqm_bench_base base;
	struct aqm_bench_steps s = {0};
	char name[64];
	double peak = 0, shortest = 0;
	size_t available = free_at_first(bench);
	int code = aqm_bench_base(&base, bench, preset, AQM_F32);

	if (code != AQM_OK)
		return code;
	code = aqm_bench_steps_open(&s, bench, base.path);
	int64_t windows = s.config.train.windows;
	const char *device = code == AQM_OK ? s.device->ops->name : "";
	if (code == AQM_OK)
		code = aqm_bench_sustained_gemm(bench, s.device, &peak);
	if (code == AQM_OK)
		code = time_steps(&s, bench, bench->quick ? 1 : 4, &shortest);
	if (code == AQM_OK) {
		snprintf(name, sizeof name, "step/%s/%s", preset, device);
		code = aqm_bench_add(bench, name, aqm_policy_flops(s.policy, windows, true) / shortest / 1e9, "GFLOP/s",
		                     peak / 1e9,
		                     s.device->own_memory ? "plain products in this process" : "sgemm in this process");
	}
	if (code == AQM_OK) {
		snprintf(name, sizeof name, "step/%s/%s/time", preset, device);
		code = aqm_bench_add(bench, name, shortest * 1e3, "ms", 0, NULL);
	}
	if (code == AQM_OK && !s.device->own_memory) {
		snprintf(name, sizeof name, "step/%s/%s/memory", preset, device);
		code = aqm_bench_add(bench, name, (double)aqm_memory_now() / 1e6, "MB", (double)s.planned / 1e6,
		                     "planned before the first step");
	}
	if (code == AQM_OK && s.device->own_memory) {
		snprintf(name, sizeof name, "step/%s/%s/memory", preset, device);
		code = aqm_bench_add(bench, name, (double)(available - aqm_device_available(s.device)) / 1e6, "MB",
		                     (double)s.gpu_planned / 1e6, "planned before the first step");
	}
	if (code == AQM_OK && bench->peer)
		print_peer(bench, &s);
	aqm_bench_steps_close(&s);
	aqm_bench_base_release(&base);
	return code;
}

int aqm_bench_step(struct aqm_bench *bench)
{
	if (bench->model)
		return measure(bench, "model");
	if (bench->quick)
		return measure(bench, "tiny-llama");
	int code = measure(bench, "gpt2");

	return code == AQM_OK ? measure(bench, "smollm2-135m") : code;
}
