/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The decision tree: scikit-learn's predictions on data without ties (tools/golden/tree_and_metrics.py), and its own
 * rules where there are ties.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "aqmtrain/eval.h"
#include "base/random.h"

enum { FEATURES = 4 };

static aqm_tree *grow(size_t features, size_t rows, const double *const *columns, const uint8_t *labels, unsigned depth)
{
	aqm_tree *tree;

	assert_int_equal(aqm_tree_fit(&tree, features, rows, columns, labels, depth), AQM_OK);
	return tree;
}

static void test_golden(void **state)
{
	(void)state;
	FILE *file = fopen(AQM_SOURCE_DIR "/tests/golden/tree.txt", "r");
	int rows, fresh, features, depth, nodes;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d %d %d %d %d", &rows, &fresh, &features, &depth, &nodes), 5);
	assert_int_equal(features, FEATURES);
	size_t total = (size_t)(rows + fresh);
	double *values = calloc(total * FEATURES, sizeof *values);
	uint8_t *labels = calloc(total, 1), *expected = calloc(total, 1);
	const double *columns[FEATURES];

	for (size_t i = 0; i < total; i++) {
		int label, guess;

		for (size_t f = 0; f < FEATURES; f++)
			assert_int_equal(fscanf(file, "%lf", &values[f * total + i]), 1);
		assert_int_equal(fscanf(file, "%d %d", &label, &guess), 2);
		labels[i] = (uint8_t)label;
		expected[i] = (uint8_t)guess;
	}
	fclose(file);
	for (size_t f = 0; f < FEATURES; f++)
		columns[f] = values + f * total;
	aqm_tree *tree = grow(FEATURES, (size_t)rows, columns, labels, (unsigned)depth);
	assert_int_equal(aqm_tree_nodes(tree), nodes);
	for (size_t i = 0; i < total; i++) {
		double row[FEATURES];

		for (size_t f = 0; f < FEATURES; f++)
			row[f] = columns[f][i];
		assert_int_equal(aqm_tree_predict(tree, row), expected[i]);
	}
	aqm_tree_free(tree);
	free(values);
	free(labels);
	free(expected);
}

static void test_equal_splits_take_the_first_feature(void **state)
{
	(void)state;
	static const double x[] = {1, 2, 3, 4}, *const columns[] = {x, x};
	static const uint8_t labels[] = {0, 0, 2, 2};
	aqm_tree *tree = grow(2, 4, columns, labels, 8);

	assert_int_equal(aqm_tree_nodes(tree), 3);
	assert_int_equal(aqm_tree_predict(tree, (const double[]){2.5, 100}), 0); /* the threshold itself goes left */
	assert_int_equal(aqm_tree_predict(tree, (const double[]){2.6, -100}), 2);
	aqm_tree_free(tree);
}

static void test_equal_splits_take_the_lowest_threshold(void **state)
{
	(void)state;
	static const double x[] = {1, 2, 3}, *const columns[] = {x};
	static const uint8_t labels[] = {1, 0, 1}; /* 1.5 and 2.5 are equally good */
	aqm_tree *tree = grow(1, 3, columns, labels, 1);

	assert_int_equal(aqm_tree_predict(tree, (const double[]){1.4}), 1);
	assert_int_equal(aqm_tree_predict(tree, (const double[]){1.6}), 0); /* 0 and 1 once each: the first class */
	assert_int_equal(aqm_tree_predict(tree, (const double[]){2.6}), 0);
	aqm_tree_free(tree);
}

static void test_exclusive_or_needs_a_split_without_gain(void **state)
{
	(void)state;
	static const double x[] = {0, 0, 1, 1}, y[] = {0, 1, 0, 1}, *const columns[] = {x, y};
	static const uint8_t labels[] = {0, 1, 1, 0};
	aqm_tree *tree = grow(2, 4, columns, labels, 2);

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(aqm_tree_predict(tree, (const double[]){x[i], y[i]}), labels[i]);
	aqm_tree_free(tree);
}

static void test_nothing_to_split(void **state)
{
	(void)state;
	static const double same[] = {7, 7, 7}, rising[] = {1, 2, 3}, *const constant[] = {same}, *const pure[] = {rising};
	static const uint8_t mixed[] = {0, 2, 2}, one[] = {1, 1, 1};
	aqm_tree *tree = grow(1, 3, constant, mixed, 8);

	assert_int_equal(aqm_tree_nodes(tree), 1);
	assert_int_equal(aqm_tree_predict(tree, (const double[]){7}), 2);
	aqm_tree_free(tree);
	tree = grow(1, 3, pure, one, 8);
	assert_int_equal(aqm_tree_nodes(tree), 1);
	aqm_tree_free(tree);
	tree = grow(1, 3, pure, mixed, 0);
	assert_int_equal(aqm_tree_nodes(tree), 1);
	aqm_tree_free(tree);
}

/* Halfway between neighbouring doubles lies one of the two, which must still go its own way; and a sum of large ones
 * overflows. */
static void test_thresholds_between_extreme_values(void **state)
{
	(void)state;
	const double close[] = {1, nextafter(1, 2)}, large[] = {1.7e308, 1.75e308}, *const pairs[] = {close, large};
	static const uint8_t labels[] = {0, 1};

	for (size_t k = 0; k < 2; k++) {
		aqm_tree *tree = grow(1, 2, &pairs[k], labels, 1);

		assert_int_equal(aqm_tree_predict(tree, &pairs[k][0]), 0);
		assert_int_equal(aqm_tree_predict(tree, &pairs[k][1]), 1);
		aqm_tree_free(tree);
	}
}

static void test_refuses_what_it_cannot_sort(void **state)
{
	(void)state;
	const double x[] = {1, (double)NAN}, *const columns[] = {x};
	static const uint8_t labels[] = {0, 1};
	aqm_tree *tree;

	assert_int_equal(aqm_tree_fit(&tree, 1, 2, columns, labels, 8), AQM_EDATA);
	assert_null(tree);
	assert_int_equal(aqm_tree_fit(&tree, 1, 0, columns, labels, 8), AQM_EDATA);
	assert_null(tree);
}

/* A tree as deep as it likes fits distinct rows exactly. */
static void test_deep_tree_fits_its_rows(void **state)
{
	(void)state;
	enum { ROWS = 2000 };
	static double x[ROWS], y[ROWS];
	static uint8_t labels[ROWS];
	const double *const columns[] = {x, y};
	struct aqm_rng rng;

	aqm_rng_init(&rng, 3, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < ROWS; i++) {
		x[i] = (double)aqm_rng_normal(&rng);
		y[i] = (double)i;
		labels[i] = (uint8_t)aqm_rng_below(&rng, AQM_ACTIONS);
	}
	aqm_tree *tree = grow(2, ROWS, columns, labels, 100);
	for (size_t i = 0; i < ROWS; i++)
		assert_int_equal(aqm_tree_predict(tree, (const double[]){x[i], y[i]}), labels[i]);
	aqm_tree_free(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_equal_splits_take_the_first_feature),
		cmocka_unit_test(test_equal_splits_take_the_lowest_threshold),
		cmocka_unit_test(test_exclusive_or_needs_a_split_without_gain),
		cmocka_unit_test(test_nothing_to_split),
		cmocka_unit_test(test_thresholds_between_extreme_values),
		cmocka_unit_test(test_refuses_what_it_cannot_sort),
		cmocka_unit_test(test_deep_tree_fits_its_rows),
	};

	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
