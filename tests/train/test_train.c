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
#include "train/optimizer.h"

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

/* The same, but notes warnings. */
static char warned[8192];

static void note_warnings(void *context, enum aqm_log_level level, const char *line)
{
	size_t length = strlen(warned);

	if (level == AQM_LOG_WARNING && length < sizeof warned)
		snprintf(warned + length, sizeof warned - length, "%s\n", line);
	raise_at_start(context, level, line);
}

static int train_with(const char *run, const char *const *settings, bool resume)
{
	struct aqm_config config;

	small_config(&config, settings);
	int code = aqm_train(&config, run, &(struct aqm_train_options){.resume = resume});
	aqm_interrupt_raise(false);
	aqm_config_release(&config);
	return code;
}

/* The same with a signal at its start: one step is done. */
static void interrupt_with(const char *run, const char *const *settings)
{
	signal_comes = true;
	assert_int_equal(train_with(run, settings, false), AQM_EINTERRUPTED);
	signal_comes = false;
}

static void interrupt(const char *run)
{
	interrupt_with(run, NULL);
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

/* ---- the paper's switches ---- */

static const char *const one_by_one[] = {"train.clip_each=true", "train.clip=0.05", "lora.dropout=0", "train.epochs=1",
                                         NULL};

/* One epoch with the gradient of each window taken by itself and summed up in double, as the paper's trainer does:
 * g <- clip(g + g_i / B). The policy is the caller's. */
static aqm_policy *train_by_hand(void)
{
	static const float ones[] = {1, 1, 1};
	struct aqm_config config;
	struct aqm_fit fit;
	struct aqm_rows rows;
	struct aqm_optimizer optimizer;
	aqm_sampler *sampler;
	aqm_policy *policy;
	aqm_pool *pool;
	size_t clipped = 0;

	small_config(&config, one_by_one);
	CHECK_OK(aqm_pool_open(&pool, "train.h5"));
	CHECK_OK(aqm_fit_rows(&fit, &config, pool));
	CHECK_OK(aqm_rows_init(&rows, pool, &config, &fit));
	CHECK_OK(aqm_sampler_new(&sampler, config.train.sampler, pool, rows.actions, 6, 0, config.seed));
	CHECK_OK(aqm_policy_new(&policy, &config, &fit, config.model.path, true));
	CHECK_OK(aqm_policy_allocate(policy, 1));
	struct aqm_params *params = aqm_policy_params(policy);
	CHECK_OK(aqm_optimizer_init(&optimizer, params));
	size_t windows = aqm_sampler_windows(sampler), batch = (size_t)config.train.windows,
		   steps = (windows + batch - 1) / batch;
	double *sum = test_malloc(params->floats * sizeof *sum);
	float dlogits[6 * AQM_ACTIONS];
	struct aqm_mat gradient = aqm_mat_f32(dlogits, 6, AQM_ACTIONS);

	for (size_t i = 0; i < windows; i++) {
		struct aqm_window window = aqm_sampler_window(sampler, i);
		double squares = 0;

		if (i % batch == 0)
			memset(sum, 0, params->floats * sizeof *sum);
		memset(params->gradients, 0, params->floats * sizeof(float));
		aqm_policy_fill(policy, &rows, &window, NULL, 1);
		aqm_policy_loss(policy, aqm_policy_forward(policy, true, (uint32_t)i), ones, gradient);
		aqm_policy_backward(policy, gradient, (uint32_t)i);
		for (size_t k = 0; k < params->floats; k++) {
			sum[k] += (double)params->gradients[k] / (double)batch;
			squares += sum[k] * sum[k];
		}
		double factor = fmin(1, 0.05 / sqrt(squares));
		clipped += factor < 1;
		for (size_t k = 0; k < params->floats; k++)
			sum[k] *= factor;
		if (i % batch + 1 < batch && i + 1 < windows)
			continue;
		for (size_t k = 0; k < params->floats; k++)
			params->gradients[k] = (float)sum[k];
		aqm_optimizer_step(&optimizer, &config, i / batch, (float)aqm_learning_rate(&config, i / batch, steps), 1);
	}
	assert_true(clipped > windows / 2);
	test_free(sum);
	aqm_optimizer_release(&optimizer);
	aqm_sampler_free(sampler);
	aqm_rows_release(&rows);
	aqm_pool_free(pool);
	aqm_config_release(&config);
	return policy;
}

/* The largest difference of any parameter between a policy and what a run wrote. */
static double distance(aqm_policy *policy, const char *run)
{
	const struct aqm_params *a = aqm_policy_params(policy);
	aqm_policy *other;
	double worst = 0;

	CHECK_OK(aqm_policy_load(&other, run, NULL, AQM_DEVICE_CPU));
	const struct aqm_params *b = aqm_policy_params(other);
	assert_int_equal(a->floats, b->floats);
	for (size_t i = 0; i < a->floats; i++)
		worst = fmax(worst, fabs((double)a->values[i] - (double)b->values[i]));
	aqm_policy_free(other);
	return worst;
}

static void test_clip_each(void **state)
{
	static const char *const once[] = {"train.clip=0.05", "lora.dropout=0", "train.epochs=1", NULL};

	(void)state;
	CHECK_OK(train_with("each", one_by_one, false));
	CHECK_OK(train_with("once", once, false));
	aqm_policy *by_hand = train_by_hand();
	assert_true(distance(by_hand, "each/policy.h5") < 2e-5); /* of steps of 0.003 */
	assert_true(distance(by_hand, "once/policy.h5") > 1e-3);
	aqm_policy_free(by_hand);
}

/* One window a step: both are the same, to the bit. */
static void test_clip_each_of_one_window(void **state)
{
	static const char *const once[] = {"train.windows=1", "train.epochs=1", NULL};
	static const char *const each[] = {"train.windows=1", "train.epochs=1", "train.clip_each=true", NULL};
	aqm_policy *policy;

	(void)state;
	CHECK_OK(train_with("once", once, false));
	CHECK_OK(train_with("each", each, false));
	CHECK_OK(aqm_policy_load(&policy, "once/policy.h5", NULL, AQM_DEVICE_CPU));
	assert_true(distance(policy, "each/policy.h5") == 0);
	aqm_policy_free(policy);
}

static const char *const published[] = {"reward.gamma=1",
                                        "reward.horizon=0",
                                        "reward.normalise=min-max",
                                        "reward.scale=1000",
                                        "policy.normaliser=none",
                                        "policy.sequences=[]",
                                        "policy.action_embedding=linear",
                                        "policy.time_embedding=episode",
                                        "policy.residual=false",
                                        "train.sampler=tiles",
                                        "train.clip_each=true",
                                        "train.warmup=2000",
                                        "train.schedule=constant",
                                        "train.best=last",
                                        NULL};

/* Each is warned of once, and none of ours. */
static void test_warnings(void **state)
{
	static const char *const expected[] = {"'policy.normaliser: none'",   "'reward.gamma: 1'",
	                                       "'reward.normalise: min-max'", "'policy.time_embedding: episode'",
	                                       "'train.sampler: tiles'",      "'train.clip_each'",
	                                       "'train.warmup' is 2000",      "'policy.action_embedding: linear'",
	                                       "'train.best: last'"};

	(void)state;
	*warned = '\0';
	CHECK_OK(train_with("ours", NULL, false));
	assert_string_equal(warned, "");
	CHECK_OK(train_with("paper", published, false));
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		const char *found = strstr(warned, expected[i]);

		if (!found || strstr(found + 1, expected[i]))
			fail_msg("not once: %s", expected[i]);
	}
}

/* Held-out rows that are no such thing. */
static void test_shared_rows_are_warned_of(void **state)
{
	static const char *const same[] = {"pool.eval=train.h5", "train.epochs=1", NULL};
	static const char *const part[] = {"pool.train=whole.h5", "pool.eval=late.h5", "train.epochs=1", NULL};
	static const char *const intervals[] = {"pool.train=whole.h5", "pool.eval=late.h5", "control=update", "train.epochs=1",
	                                        NULL};
	static const char *const apart[] = {"pool.train=early.h5", "pool.eval=late.h5", "train.epochs=1", NULL};
	aqm_pool *pool = make_pool(200, 100, 3);

	(void)state;
	CHECK_OK(aqm_pool_save(pool, "whole.h5"));
	aqm_pool_free(pool);
	CHECK_OK(aqm_pool_split("whole.h5", "early.h5", "late.h5", AQM_SPLIT_ORDER, 0.5));
	*warned = '\0';
	CHECK_OK(train_with("apart", apart, false));
	assert_null(strstr(warned, "share rows"));
	CHECK_OK(train_with("part", part, false));
	assert_non_null(strstr(warned, "share rows"));
	*warned = '\0';
	CHECK_OK(train_with("same", same, false));
	assert_non_null(strstr(warned, "share rows"));
	*warned = '\0';
	CHECK_OK(train_with("intervals", intervals, false));
	assert_non_null(strstr(warned, "share rows"));
}

/* A row without a value of a feature is an error that names it, not a loss that is no number. */
static void test_missing_values(void **state)
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	static const char *const holes[] = {"pool.train=holes.h5", NULL};
	double values[4][50];
	const double *const columns[] = {values[0], values[1], values[2], values[3]};
	uint8_t actions[50] = {0};
	aqm_pool *pool;

	(void)state;
	for (size_t f = 0; f < 4; f++)
		for (size_t i = 0; i < 50; i++)
			values[f][i] = (double)(i + 1);
	values[2][17] = (double)NAN;
	CHECK_OK(aqm_pool_from_columns(&pool, 50, 4, names, columns, actions, NULL, 0, NULL));
	CHECK_OK(aqm_pool_save(pool, "holes.h5"));
	aqm_pool_free(pool);
	assert_int_equal(train_with("holes", holes, false), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "'len_bytes' is nan in row 17 of 'holes.h5'"));

	values[2][17] = 1;
	values[3][18] = 1e300; /* its reward is no float */
	CHECK_OK(aqm_pool_from_columns(&pool, 50, 4, names, columns, actions, NULL, 0, NULL));
	CHECK_OK(aqm_pool_save(pool, "holes.h5"));
	aqm_pool_free(pool);
	assert_int_equal(train_with("holes", holes, false), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "reward of row 18 of 'holes.h5' is not finite"));
}

/* A base whose weights are no numbers is named, and a training that has not begun is not said to have diverged. */
static void test_broken_base(void **state)
{
	static const char *const settings[] = {"model.path=broken.gguf", NULL};
	const float nan = NAN;
	char *data;
	size_t bytes;

	(void)state;
	CHECK_OK(aqm_file_read(golden_path("llama.gguf"), 1 << 26, &data, &bytes));
	memcpy(data + bytes - sizeof nan, &nan, sizeof nan); /* of the last norm */
	CHECK_OK(aqm_file_write("broken.gguf", data, bytes));
	free(data);
	assert_int_equal(train_with("broken", settings, false), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "before the first step the loss is not finite (nan)"));
	assert_non_null(strstr(aqm_error_message(), "'broken.gguf'"));
}

/* A step of more windows than there are takes memory for those that there are. */
static void test_step_beyond_an_epoch(void **state)
{
	static const char *const settings[] = {"train.windows=65536", "train.epochs=1", NULL};

	(void)state;
	CHECK_OK(train_with("beyond", settings, false));
	json_t *record = json_load_file("beyond/run.json", 0, NULL);
	assert_true(json_integer_value(json_object_get(record, "memory_planned_bytes")) < 1000 * 1000 * 1000);
	json_decref(record);
}

/* A run may lie among other things: only what a killed training leaves is removed. */
static void test_what_else_lies_there(void **state)
{
	static const char *const one[] = {"train.epochs=1", NULL};

	(void)state;
	CHECK_OK(aqm_make_folders("shared/mine.tmp-1"));
	CHECK_OK(aqm_file_write("shared/notes.tmp-old", "x", 1));
	CHECK_OK(aqm_file_write("shared/policy.h5.tmp-12-3", "x", 1));
	CHECK_OK(aqm_make_folders("shared/checkpoints/step-4.tmp-12"));
	CHECK_OK(train_with("shared", one, false));
	assert_true(aqm_path_exists("shared/mine.tmp-1"));
	assert_true(aqm_path_exists("shared/notes.tmp-old"));
	assert_false(aqm_path_exists("shared/policy.h5.tmp-12-3"));
	assert_false(aqm_path_exists("shared/checkpoints/step-4.tmp-12"));
}

/* A pool whose log knows of phantom drops: learned as drops only with a warning. */
static void test_phantoms_are_warned_of(void **state)
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	static const char *const logged[] = {"pool.train=phantoms.h5", "pool.labels=logged", "train.epochs=1", NULL};
	static const char *const effective[] = {"pool.train=phantoms.h5", "train.epochs=1", NULL};
	enum { N = 60 };
	static double column[N];
	const double *const columns[] = {column, column, column, column};
	uint8_t actions[N], logs[N];
	aqm_pool *pool;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		column[i] = (double)(i * i % 37);
		logs[i] = i % 3 == 0 ? AQM_DROP : AQM_ENQUEUE;
		actions[i] = i % 6 == 0 ? AQM_DROP : AQM_ENQUEUE;
	}
	CHECK_OK(aqm_pool_from_columns(&pool, N, 4, names, columns, actions, logs, 0, NULL));
	CHECK_OK(aqm_pool_save(pool, "phantoms.h5"));
	aqm_pool_free(pool);
	*warned = '\0';
	CHECK_OK(train_with("effective", effective, false));
	assert_string_equal(warned, "");
	CHECK_OK(train_with("logged", logged, false));
	assert_non_null(strstr(warned, "'pool.labels: logged': 10 of 20 logged drops"));
}

/* An encoder-decoder and a decoder with an offset, with adapters and in full: they learn, and resume to the same bits. */
static void test_opt_and_t5(void **state)
{
	static const char *const bases[] = {"opt-lora", "t5-lora", "opt-full", "t5-full"};

	(void)state;
	for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
		char path[1024], whole[32], cut[32];
		const char *const settings[] = {path, i < 2 ? "lora.targets=[q, k, v, o, up, down]" : "lora.rank=0",
		                                "train.epochs=6", NULL};

		snprintf(path, sizeof path, "model.path=%s/tests/golden/model/%s.gguf", AQM_SOURCE_DIR, bases[i]);
		snprintf(whole, sizeof whole, "whole-%s", bases[i]);
		snprintf(cut, sizeof cut, "cut-%s", bases[i]);
		CHECK_OK(train_with(whole, settings, false));
		interrupt_with(cut, settings);
		CHECK_OK(train_with(cut, settings, true));

		char metrics[64], policies[2][64];
		snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", whole);
		snprintf(policies[0], sizeof *policies, "%s/policy.h5", whole);
		snprintf(policies[1], sizeof *policies, "%s/policy.h5", cut);
		struct lines lines = read_lines(metrics);
		assert_true(lines.last_loss < 0.9 * lines.first_loss);
		assert_true(same_files(policies[0], policies[1]));
	}
}

/* The last epoch replaces the best one, and the whole set-up resumes to the same bits. */
static void test_published_set_up_resumes(void **state)
{
	(void)state;
	CHECK_OK(train_with("whole", published, false));
	assert_true(same_files("whole/policy.h5", "whole/best/policy.h5"));
	interrupt_with("cut", published);
	CHECK_OK(train_with("cut", published, true));
	assert_true(same_files("whole/policy.h5", "cut/policy.h5"));
	struct lines lines = read_lines("whole/metrics.jsonl");
	assert_true(lines.steps > 0 && lines.steps % 3 == 0);
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

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_enter_pools, scratch_leave)

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
		IN_SCRATCH(test_clip_each),
		IN_SCRATCH(test_clip_each_of_one_window),
		IN_SCRATCH(test_warnings),
		IN_SCRATCH(test_shared_rows_are_warned_of),
		IN_SCRATCH(test_missing_values),
		IN_SCRATCH(test_broken_base),
		IN_SCRATCH(test_step_beyond_an_epoch),
		IN_SCRATCH(test_what_else_lies_there),
		IN_SCRATCH(test_phantoms_are_warned_of),
		IN_SCRATCH(test_opt_and_t5),
		IN_SCRATCH(test_published_set_up_resumes),
		IN_SCRATCH(test_divergence),
		IN_SCRATCH(test_full_disk),
	};

	aqm_log_set_sink(note_warnings, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
