/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The closed loop without a policy: what it says of good and of bad disciplines, that nothing but the seeds decides it,
 * and that what is done stays done. Policies: tests/cli/closed_loop.sh.
 */
#include "../check.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/file.h"
#include "base/thread.h"
#include "eval/closed.h"

static const char scenario[] = "name: short\nseconds: 3\nwarmup: 1\nlink: {rate: 10}\n"
							   "flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]\n";
static const char with_target[] =
	"name: short\nseconds: 3\nwarmup: 1\nlink: {rate: 10}\naqm: {kind: dualpi2, target: 5}\n"
	"flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]\n";
static const char grid[] =
	"name: two\nbase: {seconds: 2, warmup: 0.5, flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]}\n"
	"axes: {link.rate: [5, 10]}\nseeds: 7\n";
static const char *const all[] = {"dualpi2", "random:0.5", "codel", "enqueue", "fifo"};
static const uint64_t seeds[] = {1, 2, 3, 4, 5};

static int set_up(void **state)
{
	(void)state;
	if (aqm_remove_tree("closed") != AQM_OK || aqm_make_folders("closed") != AQM_OK)
		return -1;
	return aqm_file_write("closed/short.yaml", scenario, strlen(scenario)) ||
	       aqm_file_write("closed/target.yaml", with_target, strlen(with_target)) ||
	       aqm_file_write("closed/two.yaml", grid, strlen(grid));
}

static struct aqm_closed_options options_into(const char *folder)
{
	return (struct aqm_closed_options){
		.scenario_path = "closed/short.yaml",
		.seeds = seeds,
		.seed_count = 3,
		.aqms = all,
		.aqm_count = sizeof all / sizeof *all,
		.folder = folder,
		.threads = 1,
		.json = true,
	};
}

static char *evaluate(const struct aqm_closed_options *o)
{
	char *text = NULL;

	CHECK_OK(aqm_closed_loop(o, &text));
	assert_non_null(text);
	return text;
}

static json_t *parse(char *text)
{
	json_t *root = json_loads(text, 0, NULL);

	free(text);
	assert_non_null(root);
	return root;
}

static size_t lines_of(const char *path)
{
	char *data;
	size_t bytes, lines = 0;

	CHECK_OK(aqm_file_read(path, 1 << 24, &data, &bytes));
	for (size_t i = 0; i < bytes; i++)
		lines += data[i] == '\n';
	free(data);
	return lines;
}

/* "a.b.c" of an object. */
static double at(const json_t *object, const char *path)
{
	char copy[128], *rest = copy, *key;

	snprintf(copy, sizeof copy, "%s", path);
	while ((key = strsep(&rest, ".")))
		object = json_object_get(object, key);
	if (!json_is_number(object))
		fail_msg("no number at '%s'", path);
	return json_number_value(object);
}

static const json_t *arm_of(const json_t *aqms, const char *label)
{
	size_t i;
	json_t *arm;

	json_array_foreach(aqms, i,
	                   arm) if (strcmp(json_string_value(json_object_get(arm, "label")), label) == 0) return arm;
	fail_msg("no '%s'", label);
	return NULL;
}

static const json_t *first_cell(const json_t *root)
{
	return json_object_get(json_array_get(json_object_get(root, "cells"), 0), "aqms");
}

/* Always enqueueing and dropping at random come out as badly as they should. */
static void test_sanity(void **state)
{
	struct aqm_closed_options o = options_into("closed/sanity");
	json_t *root = parse(evaluate(&o));
	const json_t *aqms = first_cell(root), *good = arm_of(aqms, "dualpi2"), *bad = arm_of(aqms, "enqueue"),
				 *wild = arm_of(aqms, "random:0.5");

	(void)state;
	assert_true(at(bad, "delay_ms.C.p99.mean") > 20 * at(good, "delay_ms.C.p99.mean"));
	assert_true(at(bad, "delay_ms.L.p99.mean") > 20 * at(good, "delay_ms.L.p99.mean"));
	assert_true(at(bad, "difference.utility.high") < 0);
	assert_true(at(bad, "mark_probability.L.mean") <= 0);
	assert_true(at(wild, "utilisation.mean") < 0.3 && at(good, "utilisation.mean") > 0.9);
	assert_true(at(wild, "difference.utility.high") < 0);
	assert_true(fabs(at(wild, "drop_probability.C.mean") - 0.5) < 0.1);
	assert_true(at(arm_of(aqms, "fifo"), "difference.utility.high") < 0);

	/* Trivial ones stand first. */
	const char *const order[] = {"random:0.5", "enqueue", "fifo", "dualpi2", "codel"};
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(json_string_value(json_object_get(json_array_get(aqms, i), "name")), order[i]);
	assert_true(json_is_true(json_object_get(json_array_get(aqms, 2), "trivial")));
	assert_false(json_is_true(json_object_get(json_array_get(aqms, 3), "trivial")));
	assert_string_equal(json_string_value(json_object_get(root, "baseline")), "dualpi2");
	assert_int_equal(json_array_size(json_object_get(json_object_get(good, "cdf"), "L")), AQM_CDF_POINTS);
	assert_true(json_array_size(json_object_get(json_object_get(good, "series"), "t")) > 10);
	json_decref(root);
}

/* Means and paired differences, from the lines again. */
static void test_figures(void **state)
{
	struct aqm_closed_options o = options_into("closed/sanity");
	json_t *root = parse(evaluate(&o));
	const json_t *codel = arm_of(first_cell(root), "codel");
	struct aqm_closed_results results;
	double values[2][3] = {{0}}, difference[3];

	(void)state;
	CHECK_OK(aqm_closed_loop_load("closed/sanity", "balanced", &results));
	assert_int_equal(results.count, 15);
	for (size_t i = 0; i < results.count; i++) {
		const struct aqm_closed_run *run = &results.runs[i];

		assert_string_equal(run->cell, "short");
		assert_true(run->seed >= 1 && run->seed <= 3);
		assert_true((run->points > 0) == (run->seed == 1));
		assert_true(run->cdf[1][49] >= run->cdf[1][9]);
		if (strcmp(run->aqm, "codel") == 0)
			values[0][run->seed - 1] = run->figures[AQM_FIGURE_L_P99];
		if (strcmp(run->aqm, "dualpi2") == 0)
			values[1][run->seed - 1] = run->figures[AQM_FIGURE_L_P99];
	}
	for (size_t i = 0; i < 3; i++)
		difference[i] = values[0][i] - values[1][i];
	struct aqm_estimate mean = aqm_estimate(values[0], 3), paired = aqm_estimate(difference, 3);
	assert_true(fabs(at(codel, "delay_ms.L.p99.mean") - mean.mean) < 1e-6);
	assert_true(fabs(at(codel, "delay_ms.L.p99.high") - mean.mean - mean.half) < 1e-6);
	assert_true(fabs(at(codel, "difference.delay_ms.L.p99.low") - paired.mean + paired.half) < 1e-6);
	aqm_closed_results_release(&results);
	json_decref(root);
}

static void same_text(char *a, char *b)
{
	assert_string_equal(a, b);
	free(a);
	free(b);
}

/* Neither threads nor what was found decides the outcome; more seeds only add. */
static void test_continue(void **state)
{
	struct aqm_closed_options one = options_into("closed/one"), two = options_into("closed/two");
	char *first = evaluate(&one), *again;

	(void)state;
	two.threads = 2;
	again = evaluate(&two);
	assert_string_equal(first, again);
	free(again);
	assert_int_equal(lines_of("closed/two/results.jsonl"), 15);
	again = evaluate(&two);
	assert_string_equal(first, again);
	free(again);
	assert_int_equal(lines_of("closed/two/results.jsonl"), 15);

	/* A crash in the middle of a line. */
	char *data;
	size_t bytes;
	CHECK_OK(aqm_file_read("closed/two/results.jsonl", 1 << 24, &data, &bytes));
	CHECK_OK(aqm_file_write("closed/two/results.jsonl", data, bytes - 100));
	same_text(evaluate(&two), first);
	assert_int_equal(lines_of("closed/two/results.jsonl"), 15);
	free(data);

	two.seed_count = 5;
	free(evaluate(&two));
	assert_int_equal(lines_of("closed/two/results.jsonl"), 25);
	two.seeds = seeds + 1; /* the series then comes from another seed: once more for each */
	two.seed_count = 4;
	free(evaluate(&two));
	assert_int_equal(lines_of("closed/two/results.jsonl"), 30);
}

static void test_interrupt(void **state)
{
	struct aqm_closed_options whole = options_into("closed/one"), cut = options_into("closed/cut");
	char *text = NULL;

	(void)state;
	aqm_interrupt_raise(true);
	assert_int_equal(aqm_closed_loop(&cut, &text), AQM_EINTERRUPTED);
	aqm_interrupt_raise(false);
	assert_null(text);
	assert_non_null(strstr(aqm_error_message(), "goes on from there"));
	assert_false(aqm_path_exists("closed/cut/short.json"));
	same_text(evaluate(&cut), evaluate(&whole));
	assert_true(aqm_path_exists("closed/cut/short.json"));
}

/* What a scenario sets of its own discipline is not meant for others. */
static void test_settings(void **state)
{
	struct aqm_closed_options plain = options_into("closed/one"), set = options_into("closed/target");
	json_t *a = parse(evaluate(&plain)), *b;

	(void)state;
	set.scenario_path = "closed/target.yaml";
	b = parse(evaluate(&set));
	static const char *const figures[] = {"delay_ms", "cdf", "series", "mark_probability", "utility"};
	for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
		assert_true(json_equal(json_object_get(arm_of(first_cell(a), "codel"), figures[i]),
		                       json_object_get(arm_of(first_cell(b), "codel"), figures[i])));
	assert_true(at(arm_of(first_cell(b), "dualpi2"), "delay_ms.C.mean.mean") <
	            0.7 * at(arm_of(first_cell(a), "dualpi2"), "delay_ms.C.mean.mean"));
	json_decref(a);
	json_decref(b);
}

static void test_grid(void **state)
{
	struct aqm_closed_options o = options_into("closed/grid");
	static const char *const trained[] = {"link.rate=5"}, *const unknown[] = {"link.rate=7"};
	char *text;

	(void)state;
	o.scenario_path = NULL;
	o.grid_path = "closed/two.yaml";
	json_t *root = parse(evaluate(&o)), *cells = json_object_get(root, "cells");
	assert_string_equal(json_string_value(json_object_get(root, "name")), "two");
	assert_int_equal(json_array_size(cells), 2);
	assert_int_equal(lines_of("closed/grid/results.jsonl"), 30);
	assert_string_equal(json_string_value(json_object_get(json_array_get(cells, 1), "name")), "link.rate=10");
	assert_true(json_is_null(json_object_get(json_array_get(cells, 1), "trained")));
	const json_t *one = arm_of(json_object_get(json_array_get(cells, 0), "aqms"), "codel"),
				 *other = arm_of(json_object_get(json_array_get(cells, 1), "aqms"), "codel"),
				 *both = arm_of(json_object_get(json_object_get(root, "overall"), "aqms"), "codel");
	assert_true(fabs((at(one, "utilisation.mean") + at(other, "utilisation.mean")) / 2 - at(both, "utilisation.mean")) <
	            1e-6);
	json_decref(root);

	o.trained = trained;
	o.trained_count = 1;
	root = parse(evaluate(&o));
	cells = json_object_get(root, "cells");
	assert_true(json_is_true(json_object_get(json_array_get(cells, 0), "trained")));
	assert_true(json_is_false(json_object_get(json_array_get(cells, 1), "trained")));
	json_decref(root);
	o.trained = unknown;
	assert_int_equal(aqm_closed_loop(&o, &text), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "link.rate=7"));
}

static int take_all(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	(void)context;
	(void)decision;
	*action = AQM_ENQUEUE;
	return AQM_OK;
}

static int open_guest(void *context, struct aqm_sim_hook *hook, void **instance)
{
	__atomic_add_fetch((int *)context, 1, __ATOMIC_SEQ_CST);
	*instance = context;
	*hook = (struct aqm_sim_hook){.context = context, .decide = take_all};
	return AQM_OK;
}

static void close_guest(void *instance)
{
	__atomic_add_fetch((int *)instance, 1000, __ATOMIC_SEQ_CST);
}

/* Who is brought in sits where policies sit; one that takes every packet does as badly as that. */
static void test_guest(void **state)
{
	static const char *const names[] = {"student:x", "dualpi2", "enqueue"};
	int calls = 0;
	const struct aqm_closed_guest guest = {"student:x", "0123", NULL, &calls, open_guest, close_guest};
	struct aqm_closed_options o = options_into("closed/guest");

	(void)state;
	o.aqms = names;
	o.aqm_count = 3;
	o.guests = &guest;
	o.guest_count = 1;
	o.threads = 2;
	json_t *root = parse(evaluate(&o));
	const json_t *aqms = first_cell(root), *student = arm_of(aqms, "student:x");
	assert_int_equal(calls, 3003);
	assert_ptr_equal(student, json_array_get(aqms, 2));
	assert_true(json_is_true(json_object_get(student, "policy")));
	assert_true(json_equal(json_object_get(student, "delay_ms"), json_object_get(arm_of(aqms, "enqueue"), "delay_ms")));
	json_decref(root);
}

static void refuse(struct aqm_closed_options o, int code, const char *why)
{
	char *text = NULL;

	assert_int_equal(aqm_closed_loop(&o, &text), code);
	assert_null(text);
	if (!strstr(aqm_error_message(), why))
		fail_msg("'%s' does not say '%s'", aqm_error_message(), why);
}

static void test_refused(void **state)
{
	static const char *const no_such[] = {"dualpi3"}, *const never[] = {"random:0"}, *const policy[] = {"policy"};
	static const char line[] = "{\"key\":\"0123456789abcdef0123456789abcdef\",\"kind\":\"simulation\"}\n",
					  late[] = "{\"kind\":\"of another version\"}\n";
	struct aqm_closed_options o = options_into("closed/refused");

	(void)state;
	o.aqm_count = 1;
	o.aqms = no_such;
	refuse(o, AQM_EUSAGE, "dualpi3");
	o.aqms = never;
	refuse(o, AQM_EUSAGE, "random:0");
	o.aqms = policy;
	refuse(o, AQM_EUSAGE, "-r RUN");
	o = options_into("closed/refused");
	o.utility = "happiness";
	refuse(o, AQM_EUSAGE, "happiness");
	o.utility = NULL;
	o.baseline = "pie";
	refuse(o, AQM_EUSAGE, "pie");
	o.baseline = NULL;
	o.host = "fifo";
	refuse(o, AQM_EUSAGE, "fifo");
	o.host = NULL;
	o.scenario_path = "closed/none.yaml";
	refuse(o, AQM_EUSAGE, "none.yaml");
	o = options_into(NULL);
	refuse(o, AQM_EUSAGE, "-o");

	o = options_into("closed/damaged");
	CHECK_OK(aqm_make_folders("closed/damaged"));
	CHECK_OK(aqm_file_write("closed/damaged/results.jsonl", late, strlen(late)));
	o.aqm_count = 1;
	free(evaluate(&o)); /* lines of kinds that are not known are passed over */
	CHECK_OK(aqm_file_write("closed/damaged/results.jsonl", line, strlen(line)));
	refuse(o, AQM_EDATA, "line 1");
	CHECK_OK(aqm_file_write("closed/damaged/results.jsonl", "[1]\n", 4));
	refuse(o, AQM_EDATA, "line 1");

	FILE *other = fopen("closed/damaged/results.jsonl", "w");
	assert_non_null(other);
	assert_int_equal(flock(fileno(other), LOCK_EX), 0);
	refuse(o, AQM_EUSAGE, "another evaluation");
	fclose(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sanity),    cmocka_unit_test(test_figures),  cmocka_unit_test(test_continue),
		cmocka_unit_test(test_interrupt), cmocka_unit_test(test_settings), cmocka_unit_test(test_grid),
		cmocka_unit_test(test_guest),     cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
