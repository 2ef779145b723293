/* SPDX-License-Identifier: BSD-2-Clause */
#include "distill/loss.h"

#include <math.h>
#include <string.h>

enum { C = AQM_LOSS_CLASSES };

/* log softmax of x / temperature */
static void log_softmax(const float *x, double temperature, double out[C])
{
	double highest = -INFINITY, sum = 0;

	for (int c = 0; c < C; c++)
		highest = fmax(highest, (double)x[c] / temperature);
	for (int c = 0; c < C; c++)
		sum += exp((double)x[c] / temperature - highest);
	for (int c = 0; c < C; c++)
		out[c] = (double)x[c] / temperature - highest - log(sum);
}

double aqm_loss_divergence(size_t rows, const float *student, const float *teacher, const float *weights, double temperature,
                           double scale, float *gradient)
{
	double total = 0;

	for (size_t i = 0; i < rows; i++) {
		double s[C], t[C], w = scale * temperature * temperature * (weights ? (double)weights[i] : 1);

		log_softmax(student + C * i, temperature, s);
		log_softmax(teacher + C * i, temperature, t);
		for (int c = 0; c < C; c++) {
			total += w * exp(t[c]) * (t[c] - s[c]);
			if (gradient)
				gradient[C * i + (size_t)c] += (float)(w * (exp(s[c]) - exp(t[c])) / temperature);
		}
	}
	return total;
}

double aqm_loss_labels(size_t rows, const float *student, const uint8_t *labels, const float *weights, double scale, float *gradient)
{
	double total = 0;

	for (size_t i = 0; i < rows; i++) {
		double s[C], w = scale * (weights ? (double)weights[i] : 1);

		log_softmax(student + C * i, 1, s);
		total -= w * s[labels[i]];
		for (int c = 0; gradient && c < C; c++)
			gradient[C * i + (size_t)c] += (float)(w * (exp(s[c]) - (c == labels[i])));
	}
	return total;
}

/* Logits less their mean, of length 1; returns the length before. All equal ones become zeros. */
static float standardise(const float *x, float *out)
{
	float mean = (x[0] + x[1] + x[2]) / C, squares = 0;

	for (int c = 0; c < C; c++) {
		out[c] = x[c] - mean;
		squares += out[c] * out[c];
	}
	float length = sqrtf(squares);
	for (int c = 0; c < C; c++)
		out[c] = length > 1e-6f ? out[c] / length : 0;
	return length;
}

static float product(const float *a, const float *b)
{
	return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

double aqm_loss_correlation(size_t rows, const float *student, const float *teacher, double scale, float *gradient, float *room)
{
	float *s = room, *t = s + C * rows, *length = t + C * rows;
	double total = 0, each = scale / ((double)rows * (double)rows);

	for (size_t i = 0; i < rows; i++) {
		length[i] = standardise(student + C * i, s + C * i);
		standardise(teacher + C * i, t + C * i);
	}
	for (size_t i = 0; i < rows; i++) {
		const float *mine = s + C * i;
		float d[C] = {0}; /* of the standardised row: r_ij and r_ji both count */

		for (size_t j = 0; j < rows; j++) {
			float miss = product(mine, s + C * j) - product(t + C * i, t + C * j);

			total += each * (double)(miss * miss);
			for (int c = 0; c < C; c++)
				d[c] += miss * s[C * j + (size_t)c];
		}
		if (!gradient || length[i] <= 1e-6f)
			continue;
		/* Through the length and the mean: d(x / |x|) leaves out what lies along x, and the mean what all share. */
		float along = product(d, mine), mean = (d[0] + d[1] + d[2] - along * (mine[0] + mine[1] + mine[2])) / C;

		for (int c = 0; c < C; c++)
			gradient[C * i + (size_t)c] += (float)(4 * each) * (d[c] - along * mine[c] - mean) / length[i];
	}
	return total;
}

double aqm_loss_square(size_t rows, const float *student, const float *teacher, double scale, float *gradient)
{
	double total = 0;

	for (size_t i = 0; i < rows; i++) {
		double miss = (double)student[i] - (double)teacher[i];

		total += scale * miss * miss;
		if (gradient)
			gradient[i] += (float)(2 * scale * miss);
	}
	return total;
}
