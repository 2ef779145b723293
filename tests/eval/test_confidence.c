/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Intervals and correlations, against values from tables and by hand.
 */
#include "../check.h"

#include <math.h>

#include "eval/closed.h"

/* Two-sided 95 % and 99 % points as printed in tables of Student's t. */
static void test_student(void **state)
{
	static const struct {
		size_t freedom;
		double level, t;
	} table[] = {
		{1, 0.95, 12.7062}, {2, 0.95, 4.3027},  {3, 0.95, 3.1824},    {4, 0.95, 2.7764},  {5, 0.95, 2.5706},
		{9, 0.95, 2.2622},  {10, 0.95, 2.2281}, {29, 0.95, 2.0452},   {30, 0.95, 2.0423}, {120, 0.95, 1.9799},
		{1, 0.99, 63.6567}, {9, 0.99, 3.2498},  {1000, 0.95, 1.9623},
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		double t = aqm_student_t(table[i].level, table[i].freedom);

		if (fabs(t - table[i].t) > 1e-4 * table[i].t)
			fail_msg("t of %zu at %g is %.5f, not %.4f", table[i].freedom, table[i].level, t, table[i].t);
	}
	assert_true(isnan(aqm_student_t(0.95, 0)));
}

static void test_estimate(void **state)
{
	static const double values[] = {1, 2, 3, 4}; /* s = sqrt(5 / 3), t of 3 = 3.18245 */
	static const double with_gaps[] = {NAN, 1, 2, INFINITY, 3, 4, NAN};
	static const double one[] = {7};
	struct aqm_estimate e = aqm_estimate(values, 4);

	(void)state;
	assert_true(fabs(e.mean - 2.5) < 1e-12);
	assert_true(fabs(e.half - 3.182446 * sqrt(5.0 / 3.0) / 2) < 1e-5);
	assert_int_equal(e.count, 4);
	e = aqm_estimate(with_gaps, 7);
	assert_true(fabs(e.mean - 2.5) < 1e-12 && fabs(e.half - 2.054265) < 1e-5);
	assert_int_equal(e.count, 4);
	e = aqm_estimate(one, 1);
	assert_true(e.mean >= 7 && e.mean <= 7 && isnan(e.half));
	e = aqm_estimate(NULL, 0);
	assert_true(isnan(e.mean) && isnan(e.half) && e.count == 0);
}

static void check_correlation(double value, double expected)
{
	if (!(fabs(value - expected) < 1e-9))
		fail_msg("%.9f, not %.9f", value, expected);
}

static void test_correlation(void **state)
{
	static const double up[] = {1, 2, 3, 4}, bent[] = {1, 10, 100, 1e6}, down[] = {9, 3, 2, -5}, flat[] = {2, 2, 2, 2};
	static const double mixed[] = {2, 1, 4, 3}, tied[] = {1, 1, 2, 2}, with_gap[] = {1, NAN, 2, 3};

	(void)state;
	check_correlation(aqm_rank_correlation(up, bent, 4), 1);
	check_correlation(aqm_rank_correlation(up, down, 4), -1);
	check_correlation(aqm_rank_correlation(up, mixed, 4), 0.6);              /* 1 - 6 * 4 / (4 * 15) */
	check_correlation(aqm_rank_correlation(up, tied, 4), 4 / sqrt(5 * 4.0)); /* ranks 1.5 1.5 3.5 3.5 */
	check_correlation(aqm_rank_correlation(up, flat, 4), 0);
	assert_true(isnan(aqm_rank_correlation(up, up, 1)));
	assert_true(isnan(aqm_rank_correlation(up, with_gap, 4)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_student),
		cmocka_unit_test(test_estimate),
		cmocka_unit_test(test_correlation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
