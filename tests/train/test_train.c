/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whole trainings: what a run directory holds, and that no interruption changes the outcome.
 */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "helper.h"
#include "policy/policy.h"
#include "train/checkpoint.h"

enum { STEPS = 12 }; /* 90 rows, windows of 6: 15 windows or a few more, 4 a step, 3 epochs */

static bool signal_comes;

/* A signal when everything is set up and the first step is about to begin. */
static void raise_at_start(void *context, enum aqm_log_level level, const char *line)
{
	(void)context;
	(void)level;
	if (signal_comes && strncmp(line, "memory:", 7) == 0)
		aqm_interrupt_raise(true);
}

static int train_with(const char *run, const char *const *settings, bool resume)
{
	struct aqm_config config;

	small_config(&config, settings);
	int code = aqm_train(&config, run, resume);
	aqm_interrupt_raise(false);
	aqm_config_release(&config);
	return code;
}

/* The same with a signal at its start: one step is done. */
static void interrupt(const char *run)
{
	signal_comes = true;
	assert_int_equal(train_with(run, NULL, false), AQM_EINTERRUPTED);
	signal_comes = false;
}

/* ---- metrics.jsonl ---- */

struct lines {
	size_t steps, train, eval;
	double first_loss, last_loss, best_f1;
};

static double number(json_t *line, const char *key)
{
	json_t *value = json_object_get(line, key);

	assert_true(json_is_number(value));
	return json_number_value(value);
}

static struct lines read_lines(const char *path)
{
	struct lines lines = {0};
	char text[4096];
	FILE *stream = fopen(path, "r");

	assert_non_null(stream);
	while (fgets(text, sizeof text, stream)) {
		json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		const char *split;

		assert_non_null(line);
		split = json_string_value(json_object_get(line, "split"));
		if (!split) {
			lines.last_loss = number(line, "loss");
			if (lines.steps++ == 0)
				lines.first_loss = lines.last_loss;
			assert_int_equal((size_t)number(line, "step"), lines.steps);
			assert_true(number(line, "lr") > 0 && number(line, "grad_norm") > 0 && number(line, "tokens_per_s") > 0);
			assert_true(number(line, "elapsed_s") >= 0 && number(line, "epoch") >= 1);
		} else if (strcmp(split, "train") == 0) {
			lines.train++;
		} else {
			assert_string_equal(split, "eval");
			lines.eval++;
			lines.best_f1 = fmax(lines.best_f1, number(line, "macro_f1"));
			json_t *majority = json_object_get(json_object_get(line, "baselines"), "majority");
			assert_true(number(majority, "accuracy") > 0);
			assert_int_equal(number(line, "rows"), 90);
			assert_int_equal(json_array_size(json_object_get(line, "confusion")), 3);
			assert_true(json_is_object(json_object_get(json_object_get(line, "per_class"), "drop")));
		}
		json_decref(line);
	}
	fclose(stream);
	return lines;
}

/* ---- runs ---- */

static void test_run_directory(void **state)
{
	aqm_policy *policy;

	(void)state;
	CHECK_OK(train_with("run", NULL, false));
	struct lines lines = read_lines("run/metrics.jsonl");
	assert_true(lines.steps >= STEPS && lines.steps % 3 == 0);
	assert_int_equal(lines.train, 3);
	assert_int_equal(lines.eval, 3);
	assert_true(aqm_path_exists("run/config.yaml"));
	assert_true(aqm_path_exists("run/checkpoints/latest"));
	CHECK_OK(aqm_policy_load(&policy, "run", NULL, AQM_DEVICE_CPU));
	aqm_policy_free(policy);
	CHECK_OK(aqm_policy_load(&policy, "run/policy.h5", NULL, AQM_DEVICE_CPU));
	aqm_policy_free(policy);
}

/* Forty epochs are enough to learn a threshold on one feature. */
static void test_learns(void **state)
{
	static const char *const longer[] = {"train.epochs=40", "train.clip=1", "lora.dropout=0", NULL};

	(void)state;
	CHECK_OK(train_with("run", longer, false));
	struct lines lines = read_lines("run/metrics.jsonl");
	assert_true(lines.last_loss < 0.6 * lines.first_loss);
	assert_true(lines.best_f1 > 0.75);
}

static void test_same_again(void **state)
{
	(void)state;
	aqm_threads_set(2);
	CHECK_OK(train_with("a", NULL, false));
	CHECK_OK(train_with("b", NULL, false));
	assert_true(same_files("a/policy.h5", "b/policy.h5"));
	assert_true(same_files("a/best/policy.h5", "b/best/policy.h5"));
}

static void test_existing_run_is_kept(void **state)
{
	(void)state;
	CHECK_OK(train_with("run", NULL, false));
	assert_int_equal(train_with("run", NULL, false), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "--resume"));
	CHECK_OK(train_with("run", NULL, true)); /* finished: nothing left to do */
	assert_true(aqm_path_exists("run/policy.h5"));
}

/* Interrupted after every single step and, where one comes, at its evaluation; resumed each time. */
static void test_interruptions(void **state)
{
	static const char *const every_step[] = {"train.checkpoint_every=1", "train.keep_checkpoints=1", NULL};
	size_t interruptions = 0, evaluations = 0;

	(void)state;
	CHECK_OK(train_with("whole", NULL, false));
	signal_comes = true;
	while (train_with("cut", interruptions % 2 ? every_step : NULL, interruptions > 0) == AQM_EINTERRUPTED) {
		static char last[64];
		char *latest;
		size_t bytes;

		assert_false(aqm_path_exists("cut/policy.h5"));
		CHECK_OK(aqm_file_read("cut/checkpoints/latest", 63, &latest, &bytes));
		/* No step further: an evaluation was cut off before it began. */
		bool stuck = strcmp(latest, last) == 0;
		evaluations += stuck;
		strcpy(last, latest);
		free(latest);
		assert_true(++interruptions < 100);
		if (stuck)
			break;
	}
	assert_int_equal(evaluations, 1);
	signal_comes = false;
	CHECK_OK(train_with("cut", NULL, true));
	assert_true(interruptions > 3);
	struct lines a = read_lines("whole/metrics.jsonl"), b = read_lines("cut/metrics.jsonl");
	assert_int_equal(a.steps, b.steps);
	assert_int_equal(a.train, b.train);
	assert_int_equal(a.eval, b.eval);
	assert_true(a.last_loss == b.last_loss);
	assert_true(same_files("whole/policy.h5", "cut/policy.h5"));
	assert_true(same_files("whole/best/policy.h5", "cut/best/policy.h5"));
}

static void test_other_configuration_is_refused(void **state)
{
	static const char *const rate[] = {"train.lr=0.004", NULL}, *const threads[] = {"train.keep_checkpoints=1", NULL};

	(void)state;
	interrupt("run");
	assert_int_equal(train_with("run", rate, true), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "train.lr"));
	CHECK_OK(train_with("run", threads, true));
}

static void test_other_pool_is_refused(void **state)
{
	static const char *const other[] = {"pool.train=eval.h5", NULL};

	(void)state;
	interrupt("run");
	assert_int_equal(train_with("run", other, true), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "pool.train"));
}

static void test_missing_inputs(void **state)
{
	static const char *const no_model[] = {"model.path=nothing.gguf", NULL}, *const no_pool[] = {
																				 "pool.train=nothing.h5", NULL};

	(void)state;
	assert_int_equal(train_with("run", no_model, false), AQM_EDATA);
	assert_int_equal(train_with("run", no_pool, false), AQM_EDATA);
	CHECK_OK(train_with("run", NULL, false)); /* neither left a run behind that is in the way */
}

/* ---- things that go wrong ---- */

/* A parameter so large that the next loss is not finite: training stops with the step named, and the checkpoint
 * stays. */
static void test_divergence(void **state)
{
	struct aqm_config config;
	struct aqm_fit fit;
	struct aqm_optimizer optimizer;
	struct aqm_train_state train_state;
	aqm_policy *policy;
	aqm_pool *pool;
	bool found;

	(void)state;
	interrupt("run");

	small_config(&config, NULL);
	CHECK_OK(aqm_pool_open(&pool, "train.h5"));
	CHECK_OK(aqm_fit_rows(&fit, &config, pool));
	CHECK_OK(aqm_policy_new(&policy, &config, &fit, config.model.path, true));
	CHECK_OK(aqm_policy_allocate(policy, 1));
	struct aqm_params *params = aqm_policy_params(policy);
	CHECK_OK(aqm_optimizer_init(&optimizer, params));
	CHECK_OK(aqm_checkpoint_read("run", &train_state, &optimizer, &found));
	assert_true(found && train_state.step == 1);
	float *weights = aqm_params_value(params, aqm_params_find(params, "policy.head.weight")).data;
	for (int i = 0; i < 32; i++)
		weights[i] = (i % 2 ? -1 : 1) * 3e38f;
	CHECK_OK(aqm_checkpoint_write("run", &train_state, &optimizer, 2));
	aqm_optimizer_release(&optimizer);
	aqm_policy_free(policy);
	aqm_pool_free(pool);
	aqm_config_release(&config);

	char before[65], after[65];
	CHECK_OK(aqm_sha256_file("run/checkpoints/step-1/state", before));
	assert_int_equal(train_with("run", NULL, true), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "step 1: "));
	assert_non_null(strstr(aqm_error_message(), "not finite"));
	CHECK_OK(aqm_sha256_file("run/checkpoints/step-1/state", after));
	assert_string_equal(before, after);
	assert_false(aqm_path_exists("run/checkpoints/step-2"));
}

/* A disk that is full, at several fillings: an error, and nothing lost. */
static void test_full_disk(void **state)
{
	static const rlim_t limits[] = {100, 3000, 20000, 60000};
	struct rlimit before, small;

	(void)state;
	CHECK_OK(train_with("whole", NULL, false));
	interrupt("run");
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		small.rlim_cur = limits[i];
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		int code = train_with("run", NULL, true);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
		assert_int_equal(code, AQM_ERUN);
	}
	CHECK_OK(train_with("run", NULL, true));
	assert_true(same_files("whole/policy.h5", "run/policy.h5"));
	assert_true(same_files("whole/best/policy.h5", "run/best/policy.h5"));
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_enter, scratch_leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_run_directory),
		IN_SCRATCH(test_learns),
		IN_SCRATCH(test_same_again),
		IN_SCRATCH(test_existing_run_is_kept),
		IN_SCRATCH(test_interruptions),
		IN_SCRATCH(test_other_configuration_is_refused),
		IN_SCRATCH(test_other_pool_is_refused),
		IN_SCRATCH(test_missing_inputs),
		IN_SCRATCH(test_divergence),
		IN_SCRATCH(test_full_disk),
	};

	aqm_log_set_sink(raise_at_start, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
