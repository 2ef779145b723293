/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What an evaluation says: the keys of the JSON, the verdicts of the table.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>

#include "aqmtrain/eval.h"

enum { ROWS = 10 };

static const uint8_t labels[ROWS] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 2};

static struct aqm_metrics metrics_of(const char *predictions)
{
	struct aqm_metrics metrics;
	uint8_t numbers[ROWS];

	for (size_t i = 0; i < ROWS; i++)
		numbers[i] = (uint8_t)(predictions[i] - '0');
	aqm_metrics_compute(&metrics, ROWS, labels, NULL, numbers);
	return metrics;
}

static struct aqm_eval_result result_of(const char *policy, const char *tree)
{
	struct aqm_eval_result result = {
		.policy = metrics_of(policy), .majority = metrics_of("0000000000"), .target_return = (double)NAN};

	if (tree) {
		result.tree = metrics_of(tree);
		result.tree_available = true;
	} else {
		strcpy(result.note, "no decision tree: cannot open 'train.h5'");
	}
	return result;
}

static char *format(const struct aqm_eval_result *result, bool json)
{
	char *text;

	assert_int_equal(aqm_eval_format(result, json, &text), AQM_OK);
	return text;
}

static json_t *parse(const struct aqm_eval_result *result)
{
	json_error_t error;
	char *text = format(result, true);
	json_t *json = json_loads(text, 0, &error);

	assert_non_null(json);
	free(text);
	return json;
}

static void test_json_keys(void **state)
{
	(void)state;
	struct aqm_eval_result result = result_of("0000000012", "0000000112");
	json_t *json = parse(&result), *drop, *majority, *tree;
	double accuracy, macro_f1, balanced;
	json_int_t rows, confusion;

	assert_int_equal(json_unpack(json, "{s:I, s:f, s:f, s:f}", "rows", &rows, "accuracy", &accuracy, "macro_f1",
	                             &macro_f1, "balanced_accuracy", &balanced),
	                 0);
	assert_int_equal(rows, ROWS);
	assert_true(fabs(accuracy - 0.9) < 1e-8 && fabs(macro_f1 - (14.0 / 15 + 2.0 / 3 + 1) / 3) < 1e-8);
	assert_true(fabs(balanced - (1 + 0.5 + 1) / 3) < 1e-8);
	assert_true(json_is_null(json_object_get(json, "loss"))); /* there were no logits */
	drop = json_object_get(json_object_get(json, "per_class"), "drop");
	assert_true(json_real_value(json_object_get(drop, "precision")) == 1);
	assert_true(json_real_value(json_object_get(drop, "recall")) == 0.5);
	assert_int_equal(json_integer_value(json_object_get(drop, "support")), 2);
	confusion =
		json_integer_value(json_array_get(json_array_get(json_object_get(json, "confusion"), AQM_DROP), AQM_ENQUEUE));
	assert_int_equal(confusion, 1);
	majority = json_object_get(json_object_get(json, "baselines"), "majority");
	tree = json_object_get(json_object_get(json, "baselines"), "tree");
	assert_true(fabs(json_real_value(json_object_get(majority, "accuracy")) - 0.7) < 1e-8);
	assert_true(json_real_value(json_object_get(tree, "macro_f1")) == 1);
	assert_true(json_is_true(json_object_get(json_object_get(json, "beats"), "majority")));
	assert_true(json_is_false(json_object_get(json_object_get(json, "beats"), "tree")));
	json_decref(json);
}

static void test_json_without_tree(void **state)
{
	(void)state;
	struct aqm_eval_result result = result_of("0000000000", NULL);
	json_t *json = parse(&result);

	assert_true(json_is_null(json_object_get(json_object_get(json, "baselines"), "tree")));
	assert_non_null(strstr(json_string_value(json_object_get(json, "note")), "train.h5"));
	assert_true(json_is_false(json_object_get(json_object_get(json, "beats"), "majority")));
	json_decref(json);
}

static void assert_says(const struct aqm_eval_result *result, const char *expected)
{
	char *text = format(result, false);

	if (!strstr(text, expected))
		fail_msg("no '%s' in:\n%s", expected, text);
	free(text);
}

static void test_verdicts(void **state)
{
	(void)state;
	struct aqm_eval_result same = result_of("0000000000", "0000000112"), better = result_of("0000000112", "0000000012");
	struct aqm_eval_result trade = result_of("0001112112", "0000000000"), blind = result_of("0000000112", NULL);

	assert_says(&same, "The policy is no better than the majority class (enqueue): macro-F1 0.2745 against 0.2745.");
	assert_says(&same, "The policy is no better than the decision tree: macro-F1 0.2745 against 1.0000.");
	assert_says(&better, "The policy beats the decision tree by macro-F1 and is no less accurate.");
	assert_says(&trade, "The policy beats the majority class (enqueue) by macro-F1, but not by accuracy.");
	assert_says(&blind, "Note: no decision tree: cannot open 'train.h5'.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_keys),
		cmocka_unit_test(test_json_without_tree),
		cmocka_unit_test(test_verdicts),
	};

	return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
