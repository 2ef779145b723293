/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Metrics against scikit-learn's (tools/golden/tree_and_metrics.py), and at their edges.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "aqmtrain/train.h"

enum { ROWS_MAX = 100 };

static void assert_close(double found, double expected)
{
	if (!(fabs(found - expected) <= 1e-12 * fmax(1, fabs(expected))))
		fail_msg("found %.17g, expected %.17g", found, expected);
}

static double read_double(FILE *file)
{
	double value;

	assert_int_equal(fscanf(file, "%lf", &value), 1);
	return value;
}

static int read_int(FILE *file)
{
	int value;

	assert_int_equal(fscanf(file, "%d", &value), 1);
	return value;
}

static void check_case(FILE *file)
{
	uint8_t labels[ROWS_MAX];
	float logits[ROWS_MAX][AQM_ACTIONS];
	struct aqm_metrics m;
	int rows = read_int(file);

	assert_in_range(rows, 1, ROWS_MAX);
	for (int i = 0; i < rows; i++) {
		labels[i] = (uint8_t)read_int(file);
		for (int c = 0; c < AQM_ACTIONS; c++)
			logits[i][c] = (float)read_double(file);
	}
	aqm_metrics_compute(&m, (size_t)rows, labels, logits[0], NULL);
	assert_int_equal(m.rows, rows);
	assert_close(m.loss, read_double(file));
	assert_close(m.accuracy, read_double(file));
	assert_close(m.macro_f1, read_double(file));
	assert_close(m.balanced_accuracy, read_double(file));
	for (int c = 0; c < AQM_ACTIONS; c++) {
		assert_close(m.precision[c], read_double(file));
		assert_close(m.recall[c], read_double(file));
		assert_close(m.f1[c], read_double(file));
		assert_int_equal(m.support[c], read_int(file));
	}
}

static void test_golden(void **state)
{
	(void)state;
	FILE *file = fopen(AQM_SOURCE_DIR "/tests/golden/metrics.txt", "r");

	assert_non_null(file);
	int cases = read_int(file);
	assert_true(cases >= 5);
	for (int i = 0; i < cases; i++)
		check_case(file);
	fclose(file);
}

static void test_confusion_is_by_label_and_prediction(void **state)
{
	(void)state;
	static const uint8_t labels[] = {AQM_DROP, AQM_DROP, AQM_MARK, AQM_ENQUEUE},
						 predictions[] = {AQM_DROP, AQM_MARK, AQM_ENQUEUE, AQM_ENQUEUE};
	struct aqm_metrics m;

	aqm_metrics_compute(&m, 4, labels, NULL, predictions);
	assert_int_equal(m.confusion[AQM_DROP][AQM_DROP], 1);
	assert_int_equal(m.confusion[AQM_DROP][AQM_MARK], 1);
	assert_int_equal(m.confusion[AQM_MARK][AQM_ENQUEUE], 1);
	assert_int_equal(m.confusion[AQM_ENQUEUE][AQM_ENQUEUE], 1);
	assert_true(isnan(m.loss));
}

static void test_loss_of_extreme_logits_is_finite(void **state)
{
	(void)state;
	static const uint8_t labels[] = {AQM_ENQUEUE, AQM_MARK};
	static const float logits[2][AQM_ACTIONS] = {{-3e38f, 3e38f, 0}, {1e30f, 0, 1e30f}};
	struct aqm_metrics m;

	aqm_metrics_compute(&m, 2, labels, logits[0], NULL);
	assert_true(isfinite(m.loss));
	assert_close(m.loss, (double)3e38f);                     /* (6e38 + log 2) / 2 */
	assert_int_equal(m.confusion[AQM_MARK][AQM_ENQUEUE], 1); /* of equal logits the first */
}

static void test_no_rows(void **state)
{
	(void)state;
	struct aqm_metrics m;

	aqm_metrics_compute(&m, 0, NULL, NULL, NULL);
	assert_int_equal(m.rows, 0);
	assert_true(m.accuracy == 0 && m.macro_f1 == 0 && m.balanced_accuracy == 0 && isnan(m.loss));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_confusion_is_by_label_and_prediction),
		cmocka_unit_test(test_loss_of_extreme_logits_is_finite),
		cmocka_unit_test(test_no_rows),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
