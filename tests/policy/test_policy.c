/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Windows, causality, gradients, decisions and the file of a policy.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "../helper_policy.h"
#include "policy/decider.h"
#include "policy/file.h"

static const char *const plain[] = {NULL};
static const char *const linear[] = {
	"policy.action_embedding=linear", "policy.residual=false", "policy.time_embedding=episode",
	"policy.normaliser=standard",     "policy.window=5",       NULL};

static const char *const both[] = {"policy.normaliser=both", "policy.time_embedding=episode", NULL};

/* The paper's: a return of the whole episode out of rewards between 0 and 1, divided by a thousand; raw features, all of
 * them scalars. */
static const char *const published[] = {"reward.gamma=1",
                                        "reward.horizon=0",
                                        "reward.normalise=min-max",
                                        "reward.scale=1000",
                                        "policy.normaliser=none",
                                        "policy.sequences=[]",
                                        "policy.action_embedding=linear",
                                        "policy.time_embedding=episode",
                                        "policy.residual=false",
                                        NULL};

#define OPT "../model/opt-full.gguf"
#define T5_1_0 "../model/t5-full.gguf"
#define T5_1_1 "../model/t5-lora.gguf"

static const struct variant {
	const char *base;
	const char *const *settings;
} variants[] = {{"llama.gguf", plain}, {"gpt2.gguf", plain}, {"llama.gguf", linear},
                {"gpt2.gguf", linear}, {"llama.gguf", both}, {"gpt2.gguf", published},
                {OPT, plain},          {T5_1_0, plain},      {T5_1_1, linear}};

enum { VARIANTS = sizeof variants / sizeof *variants };

/* ---- rows and batches ---- */

static void test_fit(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 1, false);
	double sum = 0, share = 0;
	for (size_t i = 0; i < f.rows.rows; i++)
		sum += ((double)f.rows.returns[i] - f.fit.return_mean) / f.fit.return_scale;
	assert_true(fabs(sum) < 1e-3);
	for (int q = 1; q <= 100; q++)
		assert_true(f.fit.return_quantiles[q] >= f.fit.return_quantiles[q - 1]);
	for (int a = 0; a < AQM_ACTIONS; a++)
		share += f.fit.class_share[a];
	assert_true(fabs(share - 1) < 1e-12);
	fixture_release(&f);
}

/* min-max: rewards between 0 and 1 on the rows that they were fitted on, returns divided by reward.scale. */
static void test_min_max(void **state)
{
	struct fixture f;
	double low = INFINITY, high = -INFINITY, sum = 0;

	(void)state;
	fixture_init(&f, "gpt2.gguf", published, 1, false);
	for (size_t i = ROWS; i-- > 0;) {
		low = fmin(low, (double)f.rows.rewards[i]);
		high = fmax(high, (double)f.rows.rewards[i]);
		sum = (i == SECOND_EPISODE - 1 ? 0 : sum) + (double)f.rows.rewards[i];
		assert_true(fabs((double)f.rows.returns[i] - sum) < 1e-5 * sum);
	}
	assert_true(fabs(low) < 1e-6 && fabs(high - 1) < 1e-6);
	assert_true(f.fit.rewards.low > 0 && f.fit.rewards.width > 1); /* bytes a millisecond */
	const struct aqm_window window = {0, 6, 0};
	aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
	for (size_t t = 0; t < 6; t++)
		assert_true(aqm_policy_batch(f.policy)->returns[t] == (float)((double)f.rows.returns[t] / 1000));
	fixture_release(&f);
}

/* By episode: a vector for each row of the longest episode of training; rows behind it in a longer one take the last. */
static void test_time_by_episode(void **state)
{
	static const char *const by_episode[] = {"policy.time_embedding=episode", NULL};
	const struct aqm_window windows[] = {{SECOND_EPISODE + 4, 6, 4}, {SECOND_EPISODE - 3, 3, SECOND_EPISODE - 3}};
	struct fixture f;

	(void)state;
	fixture_init(&f, "llama.gguf", by_episode, 2, false);
	const struct aqm_params *params = aqm_policy_params(f.policy);
	assert_int_equal(f.fit.longest_episode, SECOND_EPISODE);
	assert_int_equal(params->items[aqm_params_find(params, "policy.time.table")].rows, SECOND_EPISODE);
	aqm_policy_fill(f.policy, &f.rows, windows, NULL, 2);
	const int32_t *times = aqm_policy_batch(f.policy)->times;
	for (int t = 0; t < 6; t++) {
		assert_int_equal(times[t], 4 + t);
		assert_int_equal(times[6 + t], t < 3 ? SECOND_EPISODE - 3 + t : SECOND_EPISODE - 1);
	}
	fixture_release(&f);
}

/* Sequences look back k values, not beyond the episode; padding does not count. */
static void test_fill(void **state)
{
	const struct aqm_window windows[] = {{SECOND_EPISODE, 6, 0}, {4, 3, 4}};
	const size_t score_from[] = {2, 0};
	struct fixture f;

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 2, false);
	aqm_policy_fill(f.policy, &f.rows, windows, score_from, 2);
	const struct aqm_batch *batch = aqm_policy_batch(f.policy);
	const size_t w = 6, k = 3, sequences = 2, features = 4;
	/* current_qdelay is feature 0 and sequence 0, len_bytes feature 2 and sequence 1 */
	const float *first = f.rows.states + SECOND_EPISODE * features;
	for (size_t i = 0; i < k; i++) {
		assert_true(batch->sequences[i] == first[0]);
		assert_true(batch->sequences[k + i] == first[2]);
	}
	const float *third = batch->sequences + 2 * sequences * k;
	for (size_t i = 0; i < k; i++)
		assert_true(third[k + i] == first[i * features + 2]);
	for (size_t t = 0; t < w; t++) {
		assert_int_equal(batch->labels[t], t < 2 ? -1 : f.rows.actions[SECOND_EPISODE + t]);
		assert_int_equal(batch->actions[t], f.rows.actions[SECOND_EPISODE + t]);
		assert_int_equal(batch->labels[w + t], t < 3 ? f.rows.actions[4 + t] : -1);
		assert_int_equal(batch->times[w + t], t);
	}
	fixture_release(&f);
}

static void test_window_that_does_not_fit(void **state)
{
	struct fixture f;
	aqm_policy *policy;

	(void)state;
	fixture_init(&f, "gpt2.gguf", NULL, 1, false);
	CHECK_OK(aqm_config_set(&f.config, "policy.window=11")); /* 66 tokens, 64 positions */
	assert_int_equal(aqm_policy_new(&policy, &f.config, &f.fit, golden_path("gpt2.gguf"), false), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "at most 10"));
	fixture_release(&f);
}

/* ---- causality ---- */

static float *copy_logits(struct aqm_mat logits)
{
	size_t bytes = (size_t)(logits.rows * logits.cols) * sizeof(float);
	float *copy = test_malloc(bytes);

	memcpy(copy, logits.data, bytes);
	return copy;
}

/* Change everything after the state of step t, a_t included. `states` and `sequences`: values a step. */
static void change_future(struct aqm_batch *batch, size_t t, size_t states, size_t sequences)
{
	for (size_t i = t; i < (size_t)batch->steps; i++) {
		batch->actions[i] = (batch->actions[i] + 1) % 3;
		batch->action_values[i] += 0.5f;
		if (i == t)
			continue;
		batch->returns[i] += 3;
		for (size_t s = 0; s < states; s++)
			batch->states[i * states + s] -= 2;
		for (size_t s = 0; s < sequences; s++)
			batch->sequences[i * sequences + s] += 1;
	}
}

static void test_no_future(void **state)
{
	(void)state;
	for (size_t v = 0; v < VARIANTS; v++) {
		struct fixture f;

		fixture_init(&f, variants[v].base, variants[v].settings, 1, false);
		size_t w = (size_t)f.config.policy.window, values = aqm_normaliser_values(f.config.policy.normaliser);
		for (size_t t = 0; t < w; t++) {
			const struct aqm_window window = {3, w, 3};

			aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
			float *before = copy_logits(aqm_policy_forward(f.policy, false, 0));
			change_future(aqm_policy_batch(f.policy), t, 4 * values, 3 * values * f.config.policy.sequences.count);
			const float *after = aqm_policy_forward(f.policy, false, 0).data;
			assert_memory_equal(before, after, (t + 1) * AQM_ACTIONS * sizeof(float));
			if (t + 1 < w) /* and the change does arrive */
				assert_memory_not_equal(before + (t + 1) * AQM_ACTIONS, after + (t + 1) * AQM_ACTIONS,
				                        AQM_ACTIONS * sizeof(float));
			test_free(before);
		}
		fixture_release(&f);
	}
}

/* The published t5 shows every step its label; nothing less does what the test above is for. */
static void test_future_of_bidirectional_t5(void **state)
{
	static const char *const leaking[] = {"model.causal=false", NULL};
	const struct aqm_window window = {3, 6, 3};
	struct fixture f;

	(void)state;
	fixture_init(&f, T5_1_1, leaking, 1, false);
	for (size_t t = 0; t < 6; t++) {
		aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
		float *before = copy_logits(aqm_policy_forward(f.policy, false, 0));
		struct aqm_batch *batch = aqm_policy_batch(f.policy);
		batch->actions[t] = (batch->actions[t] + 1) % 3;
		const float *after = aqm_policy_forward(f.policy, false, 0).data;
		assert_memory_not_equal(before + t * AQM_ACTIONS, after + t * AQM_ACTIONS, AQM_ACTIONS * sizeof(float));
		test_free(before);
	}
	fixture_release(&f);
}

/* ---- gradients ---- */

static double loss_of(aqm_policy *policy, struct aqm_mat dlogits)
{
	static const float weights[] = {1.0f, 2.0f, 0.5f};
	aqm_device *device = aqm_policy_device(policy);

	return device->ops->cross_entropy(device, aqm_policy_forward(policy, true, 3), aqm_policy_batch(policy)->labels,
	                                  weights, dlogits);
}

/* Central differences in a few elements of every parameter. */
static void check_differences(struct fixture *f)
{
	enum { PROBES = 4 };
	const float step = 4e-3f;
	struct aqm_params *params = aqm_policy_params(f->policy);

	for (size_t i = 0; i < params->count; i++) {
		struct aqm_mat value = aqm_params_value(params, (int64_t)i), gradient = aqm_params_gradient(params, (int64_t)i);
		int64_t count = value.rows * value.cols;
		double scale = 0;

		for (int64_t k = 0; k < count; k++)
			scale = fmax(scale, fabs((double)((float *)gradient.data)[k]));
		for (int64_t probe = 0; probe < PROBES && probe < count; probe++) {
			int64_t k = probe * (count - 1) / (PROBES - 1 < count - 1 ? PROBES - 1 : count > 1 ? count - 1 : 1);
			float *x = (float *)value.data + k, kept = *x;

			*x = kept + step;
			double up = loss_of(f->policy, aqm_mat_absent());
			*x = kept - step;
			double down = loss_of(f->policy, aqm_mat_absent());
			*x = kept;
			double expected = (up - down) / (2.0 * (double)step), found = (double)((float *)gradient.data)[k];
			if (fabs(found - expected) > 0.03 * fmax(fabs(expected), 0.1 * scale) + 5e-4)
				fail_msg("%s[%lld]: gradient %g, difference %g", params->items[i].name, (long long)k, found, expected);
		}
	}
}

static void test_finite_differences(void **state)
{
	static const char *const dropout[] = {"lora.dropout=0.2", "policy.encoder_width=3", "policy.window=4",
	                                      "policy.normaliser=both", NULL};
	static const char *const shorter[] = {"policy.encoder_width=3", "policy.window=4", "policy.action_embedding=linear",
	                                      "policy.residual=false", NULL};
	const struct aqm_window windows[] = {{2, 4, 2}, {40, 3, 3}};
	const struct variant cases[] = {{"llama.gguf", dropout}, {"gpt2.gguf", shorter}, {T5_1_1, dropout}};

	(void)state;
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		struct fixture f;
		float dlogits[2 * 4 * AQM_ACTIONS];

		fixture_init(&f, cases[c].base, cases[c].settings, 2, true);
		aqm_policy_fill(f.policy, &f.rows, windows, NULL, 2);
		struct aqm_mat gradient = aqm_mat_f32(dlogits, 8, AQM_ACTIONS);
		loss_of(f.policy, gradient);
		aqm_policy_backward(f.policy, gradient, 3);
		check_differences(&f);
		fixture_release(&f);
	}
}

/* Two equal windows in a batch give the gradient of one: gradients add up over the batch and a window does not see
 * its neighbour. */
static void test_batch(void **state)
{
	const struct aqm_window windows[] = {{8, 6, 8}, {8, 6, 8}};
	struct fixture f;

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 2, true);
	struct aqm_params *params = aqm_policy_params(f.policy);
	float dlogits[2 * 6 * AQM_ACTIONS], *gradients[2];
	for (int64_t b = 1; b <= 2; b++) {
		struct aqm_mat d = aqm_mat_f32(dlogits, b * 6, AQM_ACTIONS);

		memset(params->gradients, 0, params->floats * sizeof(float));
		aqm_policy_fill(f.policy, &f.rows, windows, NULL, b);
		loss_of(f.policy, d);
		aqm_policy_backward(f.policy, d, 3);
		gradients[b - 1] = test_malloc(params->floats * sizeof(float));
		memcpy(gradients[b - 1], params->gradients, params->floats * sizeof(float));
	}
	double worst = 0, largest = 0;
	for (size_t i = 0; i < params->floats; i++) {
		worst = fmax(worst, fabs((double)gradients[0][i] - (double)gradients[1][i]));
		largest = fmax(largest, fabs((double)gradients[0][i]));
	}
	assert_true(largest > 0 && worst < 1e-5 * largest);
	test_free(gradients[0]);
	test_free(gradients[1]);
	fixture_release(&f);
}

/* ---- decisions ---- */

/* A stream of decisions over an episode sees what evaluation windows with the same target see. */
static void check_stream(struct fixture *f, double target, size_t first, size_t end, aqm_decider *decider)
{
	static float scored[ROWS * AQM_ACTIONS];
	double features[4];
	float logits[AQM_ACTIONS];
	enum aqm_action action;

	CHECK_OK(aqm_policy_score(f->policy, &f->rows, target, scored));
	aqm_decider_reset(decider);
	for (size_t i = first; i < end; i++) {
		features_of(f->pool, i, features);
		CHECK_OK(aqm_decider_decide(decider, features, &action, logits));
		int best = 0;
		for (int a = 0; a < AQM_ACTIONS; a++) {
			double expected = (double)scored[i * AQM_ACTIONS + (size_t)a];

			if (!(fabs((double)logits[a] - expected) < 1e-4 * fmax(1, fabs(expected))))
				fail_msg("row %zu, action %d: %g decided, %g scored", i, a, (double)logits[a], expected);
			best = logits[a] > logits[best] ? a : best;
		}
		assert_int_equal(action, best);
		CHECK_OK(aqm_decider_observe(decider, (enum aqm_action)f->rows.actions[i], raw_reward(f, i)));
	}
}

/* A pool decided row after row: the same logits. */
static void check_rows(struct fixture *f, double target)
{
	static float scored[ROWS * AQM_ACTIONS], decided[ROWS * AQM_ACTIONS];

	CHECK_OK(aqm_policy_score(f->policy, &f->rows, target, scored));
	CHECK_OK(aqm_policy_decide_rows(f->policy, &f->rows, target, decided));
	for (size_t i = 0; i < ROWS * AQM_ACTIONS; i++)
		if (!(fabs((double)decided[i] - (double)scored[i]) < 1e-4 * fmax(1, fabs((double)scored[i]))))
			fail_msg("logit %zu: %g decided, %g scored", i, (double)decided[i], (double)scored[i]);
}

static void test_decisions(void **state)
{
	(void)state;
	for (size_t v = 0; v < VARIANTS; v++) {
		struct fixture f;
		aqm_decider *decider;

		fixture_init(&f, variants[v].base, variants[v].settings, 3, false);
		double target = f.fit.return_quantiles[80];
		CHECK_OK(aqm_decider_new(&decider, f.policy, target));
		check_stream(&f, target, 0, SECOND_EPISODE, decider);
		check_stream(&f, target, SECOND_EPISODE, ROWS, decider);
		aqm_decider_free(decider);
		check_rows(&f, target);
		fixture_release(&f);
	}
}

/* Once a window is full the next one is there, all but the action of its last step: no decision waits for it. */
static void test_next_window(void **state)
{
	static const char *const windows[] = {"policy.window=6", "policy.window=5", "policy.window=2", NULL};

	(void)state;
	for (const char *const *w = windows; *w; w++) {
		const char *const settings[] = {*w, NULL};
		double features[4];
		enum aqm_action action;
		struct fixture f;
		aqm_decider *decider;
		int full = 0;

		fixture_init(&f, "llama.gguf", settings, 1, false);
		CHECK_OK(aqm_decider_new(&decider, f.policy, 100));
		int64_t kept = f.policy->encoder.window - aqm_policy_advance(f.policy),
				tokens = aqm_encoder_tokens(&f.policy->encoder);
		for (size_t i = 0; i < 20; i++) {
			if (decider->streams->steps == f.policy->encoder.window) {
				full++;
				assert_int_equal(aqm_cache_length(decider->cache, aqm_decider_cache(decider, 0, true)), kept * tokens - 1);
			}
			features_of(f.pool, i, features);
			CHECK_OK(aqm_decider_decide(decider, features, &action, NULL));
			CHECK_OK(aqm_decider_observe(decider, action, 1));
		}
		assert_true(full > 1);
		aqm_decider_free(decider);
		fixture_release(&f);
	}
}

/* Streams that decide together, wherever each of them stands, are each what it would be alone. */
static void test_streams(void **state)
{
	(void)state;
	for (size_t v = 0; v < VARIANTS; v++) {
		struct fixture f;

		fixture_init(&f, variants[v].base, variants[v].settings, 3, false);
		check_streams(&f, 24, 1e-4);
		fixture_release(&f);
	}
}

static void test_order_of_streams(void **state)
{
	static const int64_t twice[] = {1, 1}, none[] = {0, 2}, pair[] = {0, 1};
	double features[8] = {1000, 5, 20000, 1500, 1000, 5, 20000, 60};
	struct fixture f;
	aqm_decider *decider;
	enum aqm_action actions[2];

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 1, false);
	assert_int_equal(aqm_decider_new_streams(&decider, f.policy, 1, 0), AQM_EUSAGE);
	CHECK_OK(aqm_decider_new_streams(&decider, f.policy, (double)NAN, 2));
	assert_int_equal(aqm_decider_decide_streams(decider, 2, twice, features, actions, NULL), AQM_EUSAGE);
	assert_int_equal(aqm_decider_decide_streams(decider, 2, none, features, actions, NULL), AQM_EUSAGE);
	assert_int_equal(aqm_decider_observe_stream(decider, 1, AQM_DROP, 1), AQM_EUSAGE);
	CHECK_OK(aqm_decider_decide_streams(decider, 2, pair, features, actions, NULL));
	assert_int_equal(aqm_decider_decide_streams(decider, 1, twice, features, actions, NULL), AQM_EUSAGE);
	assert_int_equal(aqm_decider_observe_stream(decider, 2, AQM_DROP, 1), AQM_EUSAGE);
	CHECK_OK(aqm_decider_observe_stream(decider, 1, actions[1], 1));
	aqm_decider_free(decider);
	fixture_release(&f);
}

static void test_decisions_of_one_step_windows(void **state)
{
	static const char *const one[] = {"policy.window=1", NULL};
	struct fixture f;
	aqm_decider *decider;

	(void)state;
	fixture_init(&f, "llama.gguf", one, 3, false);
	CHECK_OK(aqm_decider_new(&decider, f.policy, 100));
	check_stream(&f, 100, 0, SECOND_EPISODE, decider);
	aqm_decider_free(decider);
	fixture_release(&f);
}

/* Scored with logged returns, a row's logits are those of a training forward over the same window. */
static void test_score(void **state)
{
	struct fixture f;
	static float scored[ROWS * AQM_ACTIONS];

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 2, true);
	CHECK_OK(aqm_policy_score(f.policy, &f.rows, (double)NAN, scored));
	const struct aqm_window window = {3, 6, 3}; /* scores rows 6 to 8 */
	aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
	const float *logits = aqm_policy_forward(f.policy, true, 0).data;
	for (size_t t = 3; t < 6; t++)
		for (size_t a = 0; a < AQM_ACTIONS; a++)
			assert_true(fabsf(logits[t * AQM_ACTIONS + a] - scored[(3 + t) * AQM_ACTIONS + a]) < 1e-4f);
	fixture_release(&f);
}

static void test_order_of_calls(void **state)
{
	const double features[4] = {1000, 5, 20000, 1500};
	struct fixture f;
	aqm_decider *decider;
	enum aqm_action action;

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 1, false);
	CHECK_OK(aqm_decider_new(&decider, f.policy, (double)NAN));
	assert_int_equal(aqm_decider_observe(decider, AQM_DROP, 1), AQM_EUSAGE);
	CHECK_OK(aqm_decider_decide(decider, features, &action, NULL));
	assert_int_equal(aqm_decider_decide(decider, features, &action, NULL), AQM_EUSAGE);
	assert_int_equal(aqm_decider_observe(decider, (enum aqm_action)3, 1), AQM_EUSAGE);
	CHECK_OK(aqm_decider_observe(decider, action, 1));
	aqm_decider_free(decider);
	fixture_release(&f);
}

/* Sampled actions follow the logits' distribution. */
static void test_sampling(void **state)
{
	enum { DRAWS = 3000 };
	static const char *const sample[] = {"decide.sample=true", NULL};
	const double features[4] = {1000, 5, 20000, 1500};
	struct fixture f;
	aqm_decider *decider;
	float logits[AQM_ACTIONS];
	double counts[AQM_ACTIONS] = {0}, sum = 0;

	(void)state;
	fixture_init(&f, "llama.gguf", sample, 1, false);
	CHECK_OK(aqm_decider_new(&decider, f.policy, (double)NAN));
	for (int i = 0; i < DRAWS; i++) {
		enum aqm_action action;

		aqm_decider_reset(decider);
		CHECK_OK(aqm_decider_decide(decider, features, &action, logits));
		counts[action]++;
	}
	for (int a = 0; a < AQM_ACTIONS; a++)
		sum += exp((double)logits[a]);
	for (int a = 0; a < AQM_ACTIONS; a++)
		assert_true(fabs(counts[a] / DRAWS - exp((double)logits[a]) / sum) < 0.04);
	aqm_decider_free(decider);
	fixture_release(&f);
}

/* ---- the file ---- */

static char file_path[] = "test_policy_XXXXXX.h5";

static void save_to_scratch(aqm_policy *policy)
{
	int fd = mkstemps(strcpy(file_path, "test_policy_XXXXXX.h5"), 3);

	assert_true(fd >= 0);
	close(fd);
	CHECK_OK(aqm_policy_save(policy, file_path));
}

static void test_file(void **state)
{
	static float before[ROWS * AQM_ACTIONS], after[ROWS * AQM_ACTIONS];

	(void)state;
	for (size_t v = 0; v < VARIANTS; v++) {
		struct fixture f;
		aqm_policy *loaded;

		fixture_init(&f, variants[v].base, variants[v].settings, 2, false);
		CHECK_OK(aqm_policy_score(f.policy, &f.rows, 50, before));
		save_to_scratch(f.policy);
		CHECK_OK(aqm_policy_load(&loaded, file_path, NULL, AQM_DEVICE_CPU));
		assert_memory_equal(aqm_policy_fit(loaded), &f.fit, sizeof f.fit);
		CHECK_OK(aqm_policy_allocate(loaded, 2));
		CHECK_OK(aqm_policy_score(loaded, &f.rows, 50, after));
		assert_memory_equal(before, after, sizeof before);
		aqm_policy_free(loaded);
		unlink(file_path);
		fixture_release(&f);
	}
}

static void test_other_base(void **state)
{
	struct fixture f;
	aqm_policy *loaded;

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 1, false);
	save_to_scratch(f.policy);
	assert_int_equal(aqm_policy_load(&loaded, file_path, golden_path("gpt2.gguf"), AQM_DEVICE_CPU), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "another base model"));
	assert_null(loaded);
	unlink(file_path);
	fixture_release(&f);
}

/* One bit that fell over, anywhere, and the file is refused. */
static void test_damage(void **state)
{
	struct fixture f;
	aqm_policy *loaded;
	char *data;
	size_t bytes;

	(void)state;
	fixture_init(&f, "llama.gguf", NULL, 1, false);
	save_to_scratch(f.policy);
	CHECK_OK(aqm_file_read(file_path, 1 << 24, &data, &bytes));
	CHECK_OK(aqm_policy_file_check("x", (const uint8_t *)data, bytes));
	for (size_t i = 0; i < bytes; i += bytes / 61) {
		data[i] = (char)(data[i] ^ 4);
		assert_int_equal(aqm_policy_file_check("x", (const uint8_t *)data, bytes), AQM_EDATA);
		data[i] = (char)(data[i] ^ 4);
	}
	assert_int_equal(aqm_policy_file_check("x", (const uint8_t *)data, bytes - 1), AQM_EDATA);
	CHECK_OK(aqm_file_write(file_path, data, bytes - 100));
	assert_int_equal(aqm_policy_load(&loaded, file_path, NULL, AQM_DEVICE_CPU), AQM_EDATA);
	free(data);
	unlink(file_path);
	fixture_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fit),
		cmocka_unit_test(test_min_max),
		cmocka_unit_test(test_time_by_episode),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_window_that_does_not_fit),
		cmocka_unit_test(test_no_future),
		cmocka_unit_test(test_future_of_bidirectional_t5),
		cmocka_unit_test(test_finite_differences),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_decisions),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_order_of_streams),
		cmocka_unit_test(test_decisions_of_one_step_windows),
		cmocka_unit_test(test_next_window),
		cmocka_unit_test(test_score),
		cmocka_unit_test(test_order_of_calls),
		cmocka_unit_test(test_sampling),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_other_base),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
