/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Losses: weighted cross-entropy, squared error. Rows are few and classes fewer, so it is plain, serial and in double.
 */
#include <math.h>

#include "compute/cpu/cpu.h"

/* log(sum of e^x). */
static double log_sum_exp(const float *x, int64_t n)
{
	double highest = x[0], sum = 0.0;

	for (int64_t i = 1; i < n; i++)
		if (x[i] > highest)
			highest = x[i];
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i] - highest);
	return highest + log(sum);
}

double aqm_cpu_cross_entropy(aqm_device *device, struct aqm_mat logits, const int32_t *label, const float *weight,
                             struct aqm_mat dlogits)
{
	double total = 0.0, loss = 0.0;

	(void)device;
	for (int64_t r = 0; r < logits.rows; r++)
		if (label[r] >= 0)
			total += weight[label[r]];
	for (int64_t r = 0; r < logits.rows; r++) {
		bool counted = label[r] >= 0 && total > 0.0;
		const float *row = aqm_row(logits, r);
		double share = counted ? weight[label[r]] / total : 0.0;
		double lse = counted ? log_sum_exp(row, logits.cols) : 0.0;

		if (counted)
			loss += share * (lse - row[label[r]]);
		for (int64_t c = 0; dlogits.data && c < logits.cols; c++)
			aqm_row(dlogits, r)[c] = counted ? (float)(share * (exp(row[c] - lse) - (c == label[r]))) : 0.0f;
	}
	return loss;
}

double aqm_cpu_squared_error(aqm_device *device, struct aqm_mat outputs, const int32_t *counts, const float *target,
                             struct aqm_mat doutputs)
{
	double counted = 0.0, sum = 0.0;

	(void)device;
	for (int64_t r = 0; r < outputs.rows; r++)
		counted += counts[r] >= 0;
	for (int64_t r = 0; r < outputs.rows; r++) {
		double difference = counts[r] >= 0 ? (double)*aqm_row(outputs, r) - (double)target[r] : 0.0;

		sum += difference * difference;
		if (doutputs.data)
			*aqm_row(doutputs, r) = counts[r] >= 0 ? (float)(2.0 * difference / counted) : 0.0f;
	}
	return counted > 0.0 ? sum / counted : 0.0;
}
