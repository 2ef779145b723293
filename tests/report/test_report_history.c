/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "report/run.h"

static void parse(struct aqm_history *h, const char *text)
{
	CHECK_OK(aqm_history_parse(h, text, strlen(text)));
}

static void epochs_and_steps_are_read(void **state)
{
	struct aqm_history h;

	(void)state;
	parse(&h,
	      "{\"step\":1,\"epoch\":1,\"loss\":0.9,\"lr\":1e-4,\"grad_norm\":2.5,\"tokens_per_s\":10,\"elapsed_s\":1.5}\n"
	      "{\"step\":2,\"epoch\":1,\"loss\":null,\"lr\":1e-4,\"grad_norm\":2,\"elapsed_s\":3}\n"
	      "{\"rows\":9,\"loss\":0.8,\"accuracy\":0.5,\"split\":\"train\",\"step\":2,\"epoch\":1,\"elapsed_s\":3}\n"
	      "{\"loss\":0.7,\"accuracy\":0.6,\"macro_f1\":0.4,\"split\":\"eval\",\"step\":2,\"epoch\":1,\"elapsed_s\":4,"
	      "\"baselines\":{\"majority\":{\"accuracy\":0.55,\"macro_f1\":0.3}}}\n"
	      "{\"rows\":9,\"loss\":0.6,\"accuracy\":0.9,\"split\":\"train\",\"step\":4,\"epoch\":2,\"elapsed_s\":6}\n"
	      "{\"loss\":0.5,\"accuracy\":0.7,\"macro_f1\":0.35,\"split\":\"eval\",\"step\":4,\"epoch\":2,\"elapsed_s\":7}"
	      "\n");
	assert_int_equal(h.lines, 6);
	assert_int_equal(h.damaged, 0);
	assert_int_equal(h.step_count, 2);
	assert_float_equal(h.steps[0].norm, 2.5, 0);
	assert_true(isnan(h.steps[1].loss));
	assert_int_equal(h.epoch_count, 2);
	assert_float_equal(h.epochs[0].train_loss, 0.8, 0);
	assert_float_equal(h.epochs[0].train_share, 0.5, 0);
	assert_float_equal(h.epochs[0].macro_f1, 0.4, 0);
	assert_float_equal(h.epochs[0].trivial_accuracy, 0.55, 0);
	assert_true(isnan(h.epochs[1].trivial_accuracy));
	assert_float_equal(aqm_json_at(h.best, "epoch"), 1, 0); /* by macro-F1, not by the loss */
	assert_float_equal(aqm_json_at(h.last, "epoch"), 2, 0);
	aqm_history_release(&h);
}

static void update_control_is_read(void **state)
{
	struct aqm_history h;

	(void)state;
	parse(&h, "{\"loss\":0.8,\"within_10_percent\":0.2,\"split\":\"train\",\"step\":2,\"epoch\":1}\n"
	          "{\"loss\":0.7,\"log_rmse\":0.42,\"log_mae\":0.3,\"within_10_percent\":0.21,\"split\":\"eval\",\"step\":"
	          "2,\"epoch\":1,"
	          "\"baselines\":{\"persistence\":{\"log_rmse\":0.5,\"within_10_percent\":0.2}}}\n"
	          "{\"loss\":0.6,\"log_rmse\":0.4,\"split\":\"eval\",\"step\":4,\"epoch\":2}\n");
	assert_float_equal(h.epochs[0].train_share, 0.2, 0);
	assert_float_equal(h.epochs[0].log_rmse, 0.42, 0);
	assert_float_equal(h.epochs[0].trivial_log_rmse, 0.5, 0);
	assert_float_equal(aqm_json_at(h.best, "epoch"), 2, 0);
	aqm_history_release(&h);
}

static void damaged_lines_are_counted(void **state)
{
	struct aqm_history h;
	const char nul[] = "{\"step\":1,\"loss\":1}\n\0\0\n{\"step\":2,\"loss\":1}\n";

	(void)state;
	parse(&h, "{\"step\":1,\"epoch\":1,\"loss\":0.9}\n\n[1]\nnonsense\n{\"epoch\":1}\n{\"step\":\"x\"}\n{\"step\":2,"
	          "\"epoch\":1,\"lo");
	assert_int_equal(h.step_count, 1);
	assert_int_equal(h.lines, 6);
	assert_int_equal(h.damaged, 5);
	aqm_history_release(&h);
	parse(&h, "");
	assert_int_equal(h.lines, 0);
	aqm_history_release(&h);
	CHECK_OK(aqm_history_parse(&h, nul, sizeof nul - 1));
	assert_int_equal(h.step_count, 2);
	assert_int_equal(h.damaged, 1);
	aqm_history_release(&h);
}

static void numbers_are_found_by_path(void **state)
{
	json_t *json = json_loads("{\"a\":{\"b\":[1,{\"c\":2.5}]},\"t\":\"text\"}", 0, NULL);

	(void)state;
	assert_float_equal(aqm_json_at(json, "a/b/0"), 1, 0);
	assert_float_equal(aqm_json_at(json, "a/b/1/c"), 2.5, 0);
	assert_true(isnan(aqm_json_at(json, "a/b/2")));
	assert_true(isnan(aqm_json_at(json, "a/b/x")));
	assert_true(isnan(aqm_json_at(json, "t")));
	assert_true(isnan(aqm_json_at(NULL, "t")));
	assert_string_equal(aqm_json_text(json, "t"), "text");
	assert_string_equal(aqm_json_text(json, "a"), "");
	json_decref(json);
}

static void runs_get_short_names_that_differ(void **state)
{
	struct aqm_report_run runs[3] = {{.path = "x/a/run"}, {.path = "x/b/run/"}, {.path = "/"}};

	(void)state;
	CHECK_OK(aqm_report_name_runs(runs, 3));
	assert_string_equal(runs[0].label, "a/run");
	assert_string_equal(runs[1].label, "b/run");
	assert_string_equal(runs[2].label, "/");
	for (int i = 0; i < 3; i++)
		free(runs[i].label);
	struct aqm_report_run one = {.path = "some/where/run7"};
	CHECK_OK(aqm_report_name_runs(&one, 1));
	assert_string_equal(one.label, "run7");
	free(one.label);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(epochs_and_steps_are_read),        cmocka_unit_test(update_control_is_read),
		cmocka_unit_test(damaged_lines_are_counted),        cmocka_unit_test(numbers_are_found_by_path),
		cmocka_unit_test(runs_get_short_names_that_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
