/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>

#include "aqmtrain/pool.h"

/* Value v of a feature before it is standardised. */
static double transform(enum aqm_normaliser_kind kind, size_t v, double x)
{
	bool logarithm = kind == AQM_NORMALISER_LOG_STANDARD || (kind == AQM_NORMALISER_BOTH && v == 1);

	return logarithm ? copysign(log1p(fabs(x)), x) : x;
}

size_t aqm_normaliser_values(enum aqm_normaliser_kind kind)
{
	return kind == AQM_NORMALISER_BOTH ? 2 : 1;
}

/* Two passes: differences from the mean lose nothing where the mean is large. */
static void fit_value(struct aqm_normaliser *n, size_t v, size_t place, size_t rows, const double *column)
{
	double sum = 0, squares = 0;

	for (size_t i = 0; i < rows; i++)
		sum += transform(n->kind, v, column[i]);
	n->mean[place] = sum / (double)rows;
	for (size_t i = 0; i < rows; i++) {
		double d = transform(n->kind, v, column[i]) - n->mean[place];

		squares += d * d;
	}
	double deviation = sqrt(squares / (double)rows);
	if (deviation > 1e-12 * fmax(1, fabs(n->mean[place]))) /* below that it is rounding: a constant */
		n->scale[place] = deviation;
}

void aqm_normaliser_fit(struct aqm_normaliser *n, enum aqm_normaliser_kind kind, size_t features, size_t rows,
                        const double *const *columns)
{
	size_t values = aqm_normaliser_values(kind);

	*n = (struct aqm_normaliser){.kind = kind, .count = features};
	for (size_t place = 0; place < features * values; place++) {
		n->scale[place] = 1;
		if (kind != AQM_NORMALISER_NONE && rows > 0)
			fit_value(n, place % values, place, rows, columns[place / values]);
	}
}

void aqm_normaliser_apply(const struct aqm_normaliser *n, size_t feature, double value, float *out)
{
	size_t values = aqm_normaliser_values(n->kind);

	for (size_t v = 0; v < values; v++) {
		size_t place = feature * values + v;

		out[v] = (float)((transform(n->kind, v, value) - n->mean[place]) / n->scale[place]);
	}
}
