/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>

#include "aqmtrain/pool.h"

static double transform(enum aqm_normaliser_kind kind, double x)
{
	return kind == AQM_NORMALISER_LOG_STANDARD ? copysign(log1p(fabs(x)), x) : x;
}

/* Two passes: differences from the mean lose nothing where the mean is large. */
void aqm_normaliser_fit(struct aqm_normaliser *n, enum aqm_normaliser_kind kind, size_t features, size_t rows, const double *const *columns)
{
	*n = (struct aqm_normaliser){.kind = kind, .count = features};
	for (size_t f = 0; f < features; f++) {
		double sum = 0, squares = 0;

		n->scale[f] = 1;
		if (kind == AQM_NORMALISER_NONE || rows == 0)
			continue;
		for (size_t i = 0; i < rows; i++)
			sum += transform(kind, columns[f][i]);
		n->mean[f] = sum / (double)rows;
		for (size_t i = 0; i < rows; i++) {
			double d = transform(kind, columns[f][i]) - n->mean[f];

			squares += d * d;
		}
		double deviation = sqrt(squares / (double)rows);
		if (deviation > 1e-12 * fmax(1, fabs(n->mean[f]))) /* below that it is rounding: a constant */
			n->scale[f] = deviation;
	}
}

float aqm_normaliser_apply(const struct aqm_normaliser *n, size_t feature, double value)
{
	return (float)((transform(n->kind, value) - n->mean[feature]) / n->scale[feature]);
}
