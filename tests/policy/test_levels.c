/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control: update: levels of p', bins, windows, gradients, decisions and the policy's file.
 */
#include "../helper_policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/internal.h"

enum { UPDATES = ROWS - 2, SECOND = SECOND_EPISODE - 1, BINS = 5 };

static const char *const squared[] = {"control=update", NULL};
static const char *const bins[] = {"control=update", "policy.bins=5", NULL};
static const char *const *const variants[] = {squared, bins};

/* ---- fitting ---- */

static void test_bins(void **state)
{
	/* changes: -2, 0 (four times), 1, 3, 8 */
	const float level[8] = {0, 0, 0, 0, 0, 0, 0, 0}, next[8] = {3, 0, 0, -2, 0, 8, 1, 0};
	struct aqm_level_fit fit;

	(void)state;
	CHECK_OK(aqm_levels_fit(&fit, 8, level, next, 4));
	assert_true(fit.bins >= 2 && fit.bins <= 4);
	for (size_t b = 0; b + 1 < fit.bins; b++)
		assert_true(b == 0 || fit.edge[b] > fit.edge[b - 1]);
	assert_int_equal(aqm_level_bin(&fit, -100), 0);
	assert_int_equal(aqm_level_bin(&fit, 100), fit.bins - 1);
	for (size_t b = 0; b + 1 < fit.bins; b++) {
		assert_int_equal(aqm_level_bin(&fit, fit.edge[b]), b);
		assert_int_equal(aqm_level_bin(&fit, fit.edge[b] + 1e-6), b + 1);
	}
	for (size_t b = 0; b < fit.bins; b++) /* a bin's value lies in it */
		assert_int_equal(aqm_level_bin(&fit, fit.value[b]), b);
	assert_true(fabs(fit.change_scale - sqrt((9.0 + 4 + 64 + 1) / 8)) < 1e-12);

	CHECK_OK(aqm_levels_fit(&fit, 8, level, level, 4)); /* nothing ever changes */
	assert_int_equal(fit.bins, 1);
	assert_true(fit.change_scale == 1 && fit.value[0] == 0);
}

static void test_change_is_the_median_bin(void **state)
{
	const struct aqm_level_fit fit = {.bins = 3, .edge = {0, 1}, .value = {-1, 0.5, 2}, .change_scale = 4},
							   single = {.change_scale = 4};

	(void)state;
	assert_true(aqm_level_change(&fit, (float[]){3, 0, 0}) == -1);
	assert_true(aqm_level_change(&fit, (float[]){0, -0.1f, 0}) == 0.5); /* the likeliest are the outer two */
	assert_true(aqm_level_change(&fit, (float[]){0, 0, 900}) == 2);
	assert_true(aqm_level_change(&single, (float[]){0.5f}) == 2);
}

/* ---- windows ---- */

static void test_fill(void **state)
{
	struct fixture f;
	double now[ROWS], next[ROWS];

	(void)state;
	fixture_init(&f, "llama.gguf", squared, 1, false);
	assert_int_equal(aqm_policy_outputs(f.policy), 1);
	assert_int_equal(aqm_pool_rows(f.pool), UPDATES);
	CHECK_OK(aqm_pool_column(f.pool, "drop_prob", now));
	CHECK_OK(aqm_pool_column(f.pool, "next_drop_prob", next));
	const struct aqm_window window = {SECOND, 5, 0}; /* one step of padding */
	aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
	const struct aqm_batch *batch = aqm_policy_batch(f.policy);
	for (size_t t = 0; t < 5; t++) {
		double change = log(next[SECOND + t] / now[SECOND + t]);

		assert_true(batch->labels[t] >= 0);
		assert_true(fabs((double)batch->targets[t] * f.fit.levels.change_scale - change) < 1e-5);
		double level = (double)batch->action_values[t] * f.fit.levels.scale + f.fit.levels.mean;
		assert_true(fabs(level - log(next[SECOND + t] / 0x1p31)) < 1e-5);
	}
	assert_int_equal(batch->labels[5], -1);
	fixture_release(&f);
}

/* No logits up to step t change with the p' set at t or anything later. */
static void test_no_future(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct fixture f;

		fixture_init(&f, "gpt2.gguf", variants[v], 1, false);
		size_t w = (size_t)f.config.policy.window, outputs = (size_t)aqm_policy_outputs(f.policy);
		for (size_t t = 0; t < w; t++) {
			const struct aqm_window window = {3, w, 3};
			float before[6 * BINS];

			aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
			memcpy(before, aqm_policy_forward(f.policy, false, 0).data, w * outputs * sizeof(float));
			for (size_t i = t; i < w; i++)
				aqm_policy_batch(f.policy)->action_values[i] += 1;
			const float *after = aqm_policy_forward(f.policy, false, 0).data;
			assert_memory_equal(before, after, (t + 1) * outputs * sizeof(float));
			if (t + 1 < w) /* and the change does arrive */
				assert_memory_not_equal(before + (t + 1) * outputs, after + (t + 1) * outputs, outputs * sizeof(float));
		}
		fixture_release(&f);
	}
}

/* ---- gradients ---- */

static double loss_of(aqm_policy *policy, struct aqm_mat dlogits)
{
	return aqm_policy_loss(policy, aqm_policy_forward(policy, true, 3), NULL, dlogits);
}

static void check_difference(struct fixture *f, const char *name, int64_t k)
{
	const float step = 4e-3f;
	struct aqm_params *params = aqm_policy_params(f->policy);
	int64_t index = aqm_params_find(params, name);

	assert_true(index >= 0);
	float *x = (float *)aqm_params_value(params, index).data + k, kept = *x;
	double found = (double)((float *)aqm_params_gradient(params, index).data)[k];

	*x = kept + step;
	double up = loss_of(f->policy, aqm_mat_absent());
	*x = kept - step;
	double down = loss_of(f->policy, aqm_mat_absent());
	*x = kept;
	double expected = (up - down) / (2.0 * (double)step);
	if (fabs(found - expected) > 0.03 * fabs(expected) + 5e-4)
		fail_msg("%s[%lld]: gradient %g, difference %g", name, (long long)k, found, expected);
}

static void test_finite_differences(void **state)
{
	const struct aqm_window windows[] = {{2, 6, 2}, {SECOND + 4, 5, 4}};

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct fixture f;
		float memory[2 * 6 * BINS];

		fixture_init(&f, "llama.gguf", variants[v], 2, true);
		aqm_policy_fill(f.policy, &f.rows, windows, NULL, 2);
		struct aqm_mat dlogits = aqm_mat_f32(memory, 12, aqm_policy_outputs(f.policy));
		assert_true(loss_of(f.policy, dlogits) > 0);
		aqm_policy_backward(f.policy, dlogits, 3);
		for (int64_t k = 0; k < 8; k++) {
			check_difference(&f, "policy.head.weight", k);
			check_difference(&f, "policy.action.weight", k);
			check_difference(&f, "policy.action.bias", k);
			check_difference(&f, "blk.0.attn_q.lora_a", k);
			check_difference(&f, "blk.0.attn_v.lora_b", k);
		}
		fixture_release(&f);
	}
}

/* ---- decisions ---- */

static void interval_features(const aqm_pool *pool, size_t row, double features[4])
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	double column[ROWS];

	for (int i = 0; i < 4; i++) {
		CHECK_OK(aqm_pool_column(pool, names[i], column));
		features[i] = column[row];
	}
}

/* A stream of decisions over an episode gives the p' that evaluation windows with the same target give. */
static void test_stream(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct fixture f;
		float scored[UPDATES * BINS], decided[UPDATES * BINS];
		double target, features[4], next;
		aqm_decider *decider;
		enum aqm_action action;

		fixture_init(&f, "llama.gguf", variants[v], 3, false);
		size_t outputs = (size_t)aqm_policy_outputs(f.policy);
		target = f.fit.return_quantiles[80];
		CHECK_OK(aqm_decider_new(&decider, f.policy, target));
		CHECK_OK(aqm_policy_score(f.policy, &f.rows, target, scored));
		CHECK_OK(aqm_policy_decide_rows(f.policy, &f.rows, target, decided));
		for (size_t i = 0; i < UPDATES * outputs; i++)
			assert_true(fabs((double)decided[i] - (double)scored[i]) < 1e-4 * fmax(1, fabs((double)scored[i])));
		for (size_t i = SECOND; i < UPDATES; i++) {
			double now = exp((double)f.rows.level[i]), then = exp((double)f.rows.next_level[i]);

			interval_features(f.pool, i, features);
			CHECK_OK(aqm_decider_update(decider, features, now, &next));
			double change = aqm_level_change(&f.fit.levels, scored + i * outputs);
			double expected = fmin(now * exp(change), 1);
			if (!(fabs(next - expected) < 1e-3 * expected))
				fail_msg("interval %zu: %g decided, %g scored", i, next, expected);
			CHECK_OK(aqm_decider_observe_update(decider, fmin(then, 1), (double)f.rows.rewards[i]));
		}
		assert_int_equal(aqm_decider_decide(decider, features, &action, NULL), AQM_EUSAGE);
		assert_int_equal(aqm_decider_update(decider, features, 1.5, &next), AQM_EUSAGE);
		assert_int_equal(aqm_decider_observe_update(decider, 0.5, 1), AQM_EUSAGE);
		aqm_decider_free(decider);
		fixture_release(&f);
	}
}

/* The pool with what rules would have set: `share` of the p' in force. */
static aqm_pool *with_rules(const aqm_pool *pool, double share)
{
	static const char *const names[] = {"current_qdelay", "drop_prob",      "len_bytes",     "pkt_len",
	                                    "arrived_bytes",  "next_drop_prob", "rule_drop_prob"};
	enum { COLUMNS = sizeof names / sizeof *names };
	static double values[COLUMNS][ROWS];
	const double *columns[COLUMNS];
	size_t starts[2] = {0, SECOND};
	aqm_pool *made;

	for (size_t c = 0; c < COLUMNS; c++) {
		CHECK_OK(aqm_pool_column(pool, c + 1 < COLUMNS ? names[c] : "drop_prob", values[c]));
		columns[c] = values[c];
	}
	for (size_t i = 0; i < UPDATES; i++)
		values[COLUMNS - 1][i] *= share;
	CHECK_OK(aqm_pool_from_columns(&made, UPDATES, COLUMNS, names, columns, NULL, NULL, 2, starts));
	return made;
}

/* On the linear scale, from the p' in force and from that of the rules: labels are differences of probabilities, and a
 * decision adds the head's number to what it is given. */
static void test_linear(void **state)
{
	static const char *const from_now[] = {"control=update", "policy.level=linear", NULL};
	static const char *const from_rule[] = {"control=update", "policy.level=linear", "policy.change_from=rule", NULL};

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct fixture f, plain;
		double now[ROWS], next[ROWS], features[4], set, share = v ? 0.75 : 1;
		float scored[UPDATES];
		aqm_decider *decider;

		fixture_init(&plain, "llama.gguf", squared, 1, false);
		f = (struct fixture){.pool = with_rules(plain.pool, 0.75)};
		small_policy_config(&f.config, v ? from_rule : from_now);
		CHECK_OK(aqm_fit_rows(&f.fit, &f.config, f.pool));
		CHECK_OK(aqm_rows_init(&f.rows, f.pool, &f.config, &f.fit));
		CHECK_OK(aqm_policy_new(&f.policy, &f.config, &f.fit, golden_path("llama.gguf"), false));
		CHECK_OK(aqm_policy_allocate(f.policy, 2));
		shake(f.policy, 0.1f);
		CHECK_OK(aqm_pool_column(f.pool, "drop_prob", now));
		CHECK_OK(aqm_pool_column(f.pool, "next_drop_prob", next));
		const struct aqm_window window = {SECOND, 5, 0};
		aqm_policy_fill(f.policy, &f.rows, &window, NULL, 1);
		for (size_t t = 0; t < 5; t++) {
			double change = (next[SECOND + t] - share * now[SECOND + t]) / 0x1p31;

			assert_true(fabs((double)aqm_policy_batch(f.policy)->targets[t] * f.fit.levels.change_scale - change) <
			            1e-6);
		}

		double target = f.fit.return_quantiles[80];
		CHECK_OK(aqm_decider_new(&decider, f.policy, target));
		CHECK_OK(aqm_policy_score(f.policy, &f.rows, target, scored));
		for (size_t i = SECOND; i < UPDATES; i++) {
			double from = share * now[i] / 0x1p31;
			double expected = fmin(fmax(from + (double)scored[i] * f.fit.levels.change_scale, 0), 1);

			interval_features(f.pool, i, features);
			CHECK_OK(aqm_decider_update(decider, features, from, &set));
			if (!(fabs(set - expected) < 1e-6))
				fail_msg("interval %zu: %g decided, %g scored", i, set, expected);
			CHECK_OK(aqm_decider_observe_update(decider, next[i] / 0x1p31, raw_reward(&f, i)));
		}
		aqm_decider_free(decider);
		fixture_release(&f);
		fixture_release(&plain);
	}
}

/* Pools made out of packets do not know what rules would have set. */
static void test_no_rules(void **state)
{
	static const char *const from_rule[] = {"control=update", "policy.change_from=rule", NULL};
	struct fixture f;
	struct aqm_config config;
	struct aqm_fit fit;

	(void)state;
	fixture_init(&f, "llama.gguf", squared, 1, false);
	small_policy_config(&config, from_rule);
	assert_int_equal(aqm_fit_rows(&fit, &config, f.pool), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "rule_drop_prob"));
	aqm_config_release(&config);
	fixture_release(&f);
}

static void test_file(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		char path[] = "test_levels_XXXXXX.h5";
		float before[UPDATES * BINS], after[UPDATES * BINS];
		struct fixture f;
		aqm_policy *loaded;

		fixture_init(&f, "llama.gguf", variants[v], 2, false);
		size_t bytes = UPDATES * (size_t)aqm_policy_outputs(f.policy) * sizeof(float);
		CHECK_OK(aqm_policy_score(f.policy, &f.rows, 50, before));
		int fd = mkstemps(path, 3);
		assert_true(fd >= 0);
		close(fd);
		CHECK_OK(aqm_policy_save(f.policy, path));
		CHECK_OK(aqm_policy_load(&loaded, path, NULL, AQM_DEVICE_CPU));
		assert_memory_equal(aqm_policy_fit(loaded), &f.fit, sizeof f.fit);
		CHECK_OK(aqm_policy_allocate(loaded, 2));
		CHECK_OK(aqm_policy_score(loaded, &f.rows, 50, after));
		assert_memory_equal(before, after, bytes);
		aqm_policy_free(loaded);
		unlink(path);
		fixture_release(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bins),
		cmocka_unit_test(test_change_is_the_median_bin),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_no_future),
		cmocka_unit_test(test_finite_differences),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_linear),
		cmocka_unit_test(test_no_rules),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
