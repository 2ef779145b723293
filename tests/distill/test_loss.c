/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Losses against their formulas, and their gradients against finite differences.
 */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "base/random.h"
#include "distill/loss.h"

enum { ROWS = 7, N = 3 * ROWS };

static float student[N], teacher[N], weights[ROWS], gradient[N], room[3 * N];
static uint8_t labels[ROWS];

static int fill(void **state)
{
	struct aqm_rng rng;

	(void)state;
	aqm_rng_init(&rng, 4, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < N; i++) {
		student[i] = 2 * aqm_rng_normal(&rng);
		teacher[i] = 2 * aqm_rng_normal(&rng);
	}
	for (size_t i = 0; i < ROWS; i++) {
		weights[i] = 0.5f + aqm_rng_uniform(&rng);
		labels[i] = (uint8_t)aqm_rng_below(&rng, 3);
	}
	memset(gradient, 0, sizeof gradient);
	return 0;
}

enum which { DIVERGENCE, LABELS, CORRELATION, SQUARE };

static double loss(enum which which, float *out)
{
	switch (which) {
	case DIVERGENCE:
		return aqm_loss_divergence(ROWS, student, teacher, weights, 3, 0.25, out);
	case LABELS:
		return aqm_loss_labels(ROWS, student, labels, weights, 0.25, out);
	case CORRELATION:
		return aqm_loss_correlation(ROWS, student, teacher, 5, out, room);
	default:
		return aqm_loss_square(N, student, teacher, 0.25, out);
	}
}

static void check_gradient(enum which which)
{
	static const float h = 1.0f / 128;
	double with = loss(which, gradient), without = loss(which, NULL), largest = 0;

	assert_true(with == without);
	for (size_t i = 0; i < N; i++) {
		float kept = student[i];

		student[i] = kept + h;
		double above = loss(which, NULL);
		student[i] = kept - h;
		double below = loss(which, NULL);
		student[i] = kept;
		double expected = (above - below) / (2 * (double)h);

		largest = fmax(largest, fabs(expected));
		if (fabs((double)gradient[i] - expected) > 2e-3 * fmax(fabs(expected), 0.1))
			fail_msg("loss %d, number %zu: %g, not %g", (int)which, i, (double)gradient[i], expected);
	}
	assert_true(largest > 0.01);
	loss(which, gradient); /* += */
	for (size_t i = 0; i < N; i++)
		gradient[i] /= 2;
	float once[N];
	memcpy(once, gradient, sizeof once);
	memset(gradient, 0, sizeof gradient);
	loss(which, gradient);
	for (size_t i = 0; i < N; i++)
		assert_true(fabsf(once[i] - gradient[i]) < 1e-5f);
}

static void test_divergence(void **state)
{
	(void)state;
	double value = loss(DIVERGENCE, NULL), expected = 0;

	for (size_t i = 0; i < ROWS; i++) {
		double s = 0, t = 0;

		for (int c = 0; c < 3; c++) {
			s += exp((double)student[3 * i + (size_t)c] / 3);
			t += exp((double)teacher[3 * i + (size_t)c] / 3);
		}
		for (int c = 0; c < 3; c++) {
			double p = exp((double)teacher[3 * i + (size_t)c] / 3) / t, q = exp((double)student[3 * i + (size_t)c] / 3) / s;

			expected += 0.25 * 9 * (double)weights[i] * p * log(p / q);
		}
	}
	assert_true(fabs(value - expected) < 1e-5);
	check_gradient(DIVERGENCE);
	memcpy(student, teacher, sizeof student); /* nothing to learn */
	memset(gradient, 0, sizeof gradient);
	assert_true(fabs(loss(DIVERGENCE, gradient)) < 1e-6);
	for (size_t i = 0; i < N; i++)
		assert_true(fabsf(gradient[i]) < 1e-6f);
}

static void test_labels(void **state)
{
	(void)state;
	check_gradient(LABELS);
}

static double correlation(const float *x, size_t i, size_t j)
{
	double mi = 0, mj = 0, ii = 0, jj = 0, ij = 0;

	for (size_t c = 0; c < 3; c++) {
		mi += (double)x[3 * i + c] / 3;
		mj += (double)x[3 * j + c] / 3;
	}
	for (size_t c = 0; c < 3; c++) {
		double a = (double)x[3 * i + c] - mi, b = (double)x[3 * j + c] - mj;

		ii += a * a;
		jj += b * b;
		ij += a * b;
	}
	return ij / sqrt(ii * jj);
}

static void test_correlation(void **state)
{
	double expected = 0;

	(void)state;
	for (size_t i = 0; i < ROWS; i++)
		for (size_t j = 0; j < ROWS; j++)
			expected += 5.0 / (ROWS * ROWS) * pow(correlation(student, i, j) - correlation(teacher, i, j), 2);
	assert_true(fabs(loss(CORRELATION, NULL) - expected) < 1e-4);
	check_gradient(CORRELATION);
	student[0] = student[1] = student[2] = 1; /* a row that says nothing is like no other, and no reason to divide by 0 */
	memset(gradient, 0, sizeof gradient);
	assert_true(isfinite(loss(CORRELATION, gradient)));
	for (size_t i = 0; i < N; i++)
		assert_true(isfinite(gradient[i]));
}

static void test_square(void **state)
{
	(void)state;
	check_gradient(SQUARE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_divergence, fill),
		cmocka_unit_test_setup(test_labels, fill),
		cmocka_unit_test_setup(test_correlation, fill),
		cmocka_unit_test_setup(test_square, fill),
	};

	return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}
