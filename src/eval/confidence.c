/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a few seeds say about all of them.
 */
#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "eval/closed.h"

/* P(|T| <= t): the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4, in theta = atan(t / sqrt(n)). */
static double within(double t, size_t freedom)
{
	double theta = atan(t / sqrt((double)freedom)), sine = sin(theta), cosine = cos(theta);
	size_t from = freedom % 2;
	double term = from ? cosine : 1, sum = freedom > 1 ? term : 0;

	for (size_t k = from + 2; k < freedom; k += 2) {
		term *= cosine * cosine * (double)(k - 1) / (double)k;
		sum += term;
	}
	return from ? 2 / M_PI * (theta + sine * sum) : sine * sum;
}

double aqm_student_t(double level, size_t freedom)
{
	double low = 0, high = 1;

	if (freedom == 0)
		return (double)NAN;
	while (within(high, freedom) < level && high < 1e9)
		high *= 2;
	for (int i = 0; i < 200 && high - low > 1e-12 * high; i++) {
		double middle = (low + high) / 2;

		if (within(middle, freedom) < level)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

struct aqm_estimate aqm_estimate(const double *values, size_t count)
{
	struct aqm_estimate e = {.half = (double)NAN};
	double squares = 0;

	for (size_t i = 0; i < count; i++)
		if (isfinite(values[i])) {
			e.mean += values[i];
			e.count++;
		}
	e.mean = e.count ? e.mean / (double)e.count : (double)NAN;
	for (size_t i = 0; i < count; i++)
		if (isfinite(values[i]))
			squares += (values[i] - e.mean) * (values[i] - e.mean);
	if (e.count > 1)
		e.half = aqm_student_t(0.95, e.count - 1) * sqrt(squares / (double)(e.count - 1) / (double)e.count);
	return e;
}

/* The rank of values[i]: 1 for the least; equal ones share the mean of theirs. */
static double rank_of(const double *values, size_t count, size_t i)
{
	size_t less = 0, same = 0;

	for (size_t j = 0; j < count; j++) {
		less += values[j] < values[i];
		same += values[j] == values[i];
	}
	return (double)less + ((double)same + 1) / 2;
}

double aqm_rank_correlation(const double *a, const double *b, size_t count)
{
	double middle = ((double)count + 1) / 2, aa = 0, bb = 0, ab = 0;

	if (count < 2)
		return (double)NAN;
	for (size_t i = 0; i < count; i++)
		if (isnan(a[i]) || isnan(b[i]))
			return (double)NAN;
	for (size_t i = 0; i < count; i++) {
		double x = rank_of(a, count, i) - middle, y = rank_of(b, count, i) - middle;

		aa += x * x;
		bb += y * y;
		ab += x * y;
	}
	return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}
