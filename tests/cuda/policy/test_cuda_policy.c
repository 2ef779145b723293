/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whole policies on a GPU: a training step against the CPU's, in float32 and bfloat16, with adapters and in full;
 * decisions, recorded and together, against the logits of training; a resumed run against an undisturbed one. Without a
 * GPU: one line, exit status 77. Built a second time over the emulated GPU, which needs none.
 */
#include "../../helper_policy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/train.h"
#include "base/log.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"
#include "model/synth.h"
#include "train/optimizer.h"

enum { WINDOWS = 3, PRESETS = 4, SETTINGS = 8 };
static const char *const presets[PRESETS] = {"tiny-llama", "tiny-gpt2", "tiny-opt", "tiny-t5"};

static const char base[] = "./base.gguf";

static bool slow; /* emulated, or under a sanitizer (AQM_TEST_SMALL): some of it is enough */

/* Settings, NULL at the end. */
struct settings {
	const char *items[SETTINGS + 1];
};

static struct settings with(const char *a, const char *b, const char *c)
{
	return (struct settings){{"lora.targets=[q, k, v, o, gate, up, down]", a, b, c}};
}

/* ---- a step ---- */

/* What a step leaves, on the host. */
struct outcome {
	double loss, next_loss;
	size_t logits_count, floats;
	float *logits, *gradients;
};

static float *fetched(aqm_device *device, const void *from, size_t count)
{
	float *host = aqm_malloc_array(count, sizeof *host);

	assert_non_null(host);
	device->ops->download(device, host, from, count * sizeof *host);
	return host;
}

static double forward_loss(struct fixture *f, struct aqm_mat dlogits, uint32_t step, struct aqm_mat *logits)
{
	static const float weight[AQM_ACTIONS] = {1, 2, 3};
	static const struct aqm_window windows[WINDOWS] = {{3, 6, 3}, {40, 6, 3}, {20, 4, 20}};

	aqm_policy_fill(f->policy, &f->rows, windows, NULL, WINDOWS);
	*logits = aqm_policy_forward(f->policy, true, step);
	return aqm_policy_loss(f->policy, *logits, weight, dlogits);
}

static struct outcome step_of(const struct settings *settings)
{
	struct outcome o = {0};
	struct aqm_optimizer optimizer;
	struct aqm_mat logits;
	struct fixture f;
	void *memory;

	fixture_init(&f, base, settings->items, WINDOWS, true);
	struct aqm_params *params = aqm_policy_params(f.policy);
	aqm_device *device = aqm_policy_device(f.policy);

	CHECK_OK(aqm_optimizer_init(&optimizer, params));
	int64_t rows = WINDOWS * f.config.policy.window;
	CHECK_OK(device->ops->allocate(device, (size_t)(rows * AQM_ACTIONS) * sizeof(float), &memory));
	struct aqm_mat dlogits = aqm_mat_f32(memory, rows, AQM_ACTIONS);

	device->ops->zero(device, aqm_mat_f32(params->gradients, 1, (int64_t)params->floats));
	o.loss = forward_loss(&f, dlogits, 7, &logits);
	o.logits_count = (size_t)(logits.rows * logits.cols);
	o.floats = params->floats;
	o.logits = fetched(device, logits.data, o.logits_count);
	aqm_policy_backward(f.policy, dlogits, 7);
	o.gradients = fetched(device, params->gradients, params->floats);
	aqm_optimizer_step(&optimizer, &f.config, 0, 0.01f, 1.0f);
	o.next_loss = forward_loss(&f, aqm_mat_absent(), 8, &logits);
	CHECK_OK(aqm_device_check(device));
	device->ops->release(device, memory);
	aqm_optimizer_release(&optimizer);
	fixture_release(&f);
	return o;
}

static double distance(const float *a, const float *b, size_t n)
{
	double off = 0, all = 0;

	for (size_t i = 0; i < n; i++) {
		off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
		all += (double)a[i] * (double)a[i];
	}
	return sqrt(off / all); /* NAN is no distance */
}

static void check_step(const char *preset, const struct outcome *want, struct settings settings, const char *dtype,
                       double tolerance)
{
	size_t last = 0;

	while (settings.items[last])
		last++;
	settings.items[last] = "device=cuda";
	settings.items[last + 1] = dtype;
	struct outcome got = step_of(&settings);
	double logits = distance(want->logits, got.logits, want->logits_count),
		   gradients = distance(want->gradients, got.gradients, want->floats);
	double loss = fabs(got.loss / want->loss - 1), next = fabs(got.next_loss / want->next_loss - 1);

	assert_int_equal(got.floats, want->floats);
	print_message("%-10s %-10s logits %.1e, loss %.1e, gradient %.1e, next loss %.1e off\n", preset, dtype, logits, loss,
	              gradients, next);
	if (!(logits < tolerance && gradients < 2 * tolerance && loss < tolerance && next < 4 * tolerance))
		fail_msg("%s, %s: the GPU's step is not the CPU's", preset, dtype);
	free(got.logits);
	free(got.gradients);
}

static void test_step(void **state)
{
	(void)state;
	for (size_t p = 0; p < PRESETS; p++)
		for (int variant = 0; variant < 3; variant++) {
			if (slow && variant != (int)p % 3)
				continue;
			/* adapters over a quantised base, with dropout; the same with checkpoints; everything trained */
			const struct settings settings = variant == 0   ? with("lora.dropout=0.1", NULL, NULL)
			                                 : variant == 1 ? with("train.checkpoint_activations=true", NULL, NULL)
			                                                : with("lora.rank=0", NULL, NULL);

			CHECK_OK(aqm_model_synth(presets[p], variant < 2 ? AQM_Q4_0 : AQM_F32, 3, base));
			struct outcome want = step_of(&settings);

			check_step(presets[p], &want, settings, "dtype=f32", 2e-4);
			check_step(presets[p], &want, settings, "dtype=bf16", 4e-2);
			free(want.logits);
			free(want.gradients);
		}
}

/* ---- decisions ---- */

/* A stream over an episode, its steps recorded after the first two, beside windows with the same target. */
static void check_decisions(struct fixture *f, double tolerance)
{
	static float scored[ROWS * AQM_ACTIONS];
	double target = f->fit.return_quantiles[80], features[4], off = 0, all = 0;
	aqm_decider *decider;

	CHECK_OK(aqm_policy_score(f->policy, &f->rows, target, scored));
	CHECK_OK(aqm_decider_new(&decider, f->policy, target));
	for (size_t i = 0; i < (slow ? 14 : (size_t)SECOND_EPISODE); i++) { /* two windows and a half */
		enum aqm_action action;
		float logits[AQM_ACTIONS];

		features_of(f->pool, i, features);
		CHECK_OK(aqm_decider_decide(decider, features, &action, logits));
		CHECK_OK(aqm_decider_observe(decider, (enum aqm_action)f->rows.actions[i], raw_reward(f, i)));
		for (size_t a = 0; a < AQM_ACTIONS; a++) {
			double expected = (double)scored[i * AQM_ACTIONS + a];

			off += (logits[a] - expected) * (logits[a] - expected);
			all += expected * expected;
		}
	}
	aqm_decider_free(decider);
	assert_true(all > 0);
	print_message("decisions %.1e off\n", sqrt(off / all));
	assert_true(sqrt(off / all) < tolerance);
}

static void test_decisions(void **state)
{
	static const enum aqm_dtype types[PRESETS] = {AQM_Q4_0, AQM_Q8_0, AQM_BF16, AQM_F32};

	(void)state;
	for (size_t p = 0; p < PRESETS; p++)
		for (int bfloat = 0; bfloat < 2; bfloat++) {
			const struct settings settings = with("device=cuda", bfloat ? "dtype=bf16" : "dtype=f32", NULL);
			struct fixture f;

			if (slow && bfloat != (p % 2 == 0))
				continue;
			CHECK_OK(aqm_model_synth(presets[p], types[p], 3, base));
			fixture_init(&f, base, settings.items, WINDOWS, false);
			check_decisions(&f, bfloat ? 3e-2 : 1e-4);
			if (!slow || p == 0)
				check_streams(&f, slow ? 3 : 24, bfloat ? 0.1 : 1e-3);
			fixture_release(&f);
		}
}

/* ---- a run ---- */

static void raise_at_start(void *context, enum aqm_log_level level, const char *line)
{
	(void)level;
	if (*(bool *)context && strncmp(line, "memory:", 7) == 0)
		aqm_interrupt_raise(true);
}

static int train(const char *run, const char *dtype, bool resume)
{
	struct settings settings = with("device=cuda", dtype, "train.epochs=2");
	static const char *const more[] = {"train.windows=4",    "train.windows_per_epoch=8", "pool.train=train.h5",
	                                   "pool.eval=eval.h5",  "model.path=./base.gguf",    "lora.dropout=0.1",
	                                   "reward.horizon=10", NULL};
	struct aqm_config config;

	small_policy_config(&config, settings.items);
	for (size_t i = 0; more[i]; i++)
		CHECK_OK(aqm_config_set(&config, more[i]));
	int code = aqm_train(&config, run, &(struct aqm_train_options){.resume = resume});

	aqm_interrupt_raise(false);
	aqm_config_release(&config);
	return code;
}

static void save_pool(const char *path, uint32_t which)
{
	aqm_pool *pool = make_pool(90, 50, which);

	CHECK_OK(aqm_pool_save(pool, path));
	aqm_pool_free(pool);
}

static void test_resume(void **state)
{
	static const char *const types[] = {"dtype=f32", "dtype=bf16"};
	bool comes = false;

	(void)state;
	CHECK_OK(aqm_model_synth(slow ? "micro-llama" : "tiny-llama", slow ? AQM_BF16 : AQM_Q4_0, 3, base));
	save_pool("train.h5", 0);
	save_pool("eval.h5", 1);
	aqm_log_set_sink(raise_at_start, &comes);
	for (int i = slow; i < 2; i++) {
		char whole[32], cut[32], a[64], b[64];

		snprintf(whole, sizeof whole, "whole-%d", i);
		snprintf(cut, sizeof cut, "cut-%d", i);
		CHECK_OK(train(whole, types[i], false));
		comes = true;
		assert_int_equal(train(cut, types[i], false), AQM_EINTERRUPTED);
		assert_int_equal(train(cut, types[i], true), AQM_EINTERRUPTED);
		comes = false;
		CHECK_OK(train(cut, types[i], true));
		snprintf(a, sizeof a, "%s/policy.h5", whole);
		snprintf(b, sizeof b, "%s/policy.h5", cut);
		assert_true(same_files(a, b));
	}
	aqm_log_set_sink(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_step, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_decisions, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_resume, scratch_enter, scratch_leave),
	};
	aqm_device *device;

	slow = getenv("AQM_TEST_SMALL") != NULL;
#ifdef AQM_EMULATED
	slow = true;
	setenv("AQM_EMULATE_PRODUCTS", "direct", 1); /* test_cuda_ops has the other ones */
#endif
	if (aqm_device_open(&device, AQM_DEVICE_CUDA) != AQM_OK) {
		printf("skipped: %s\n", aqm_error_message());
		return 77;
	}
	aqm_device_close(device);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
