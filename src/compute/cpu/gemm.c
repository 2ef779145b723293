/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Matrix products, by OpenBLAS, and biases.
 */
#include <cblas.h>

#include "compute/cpu/cpu.h"

void aqm_cpu_gemm(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                  bool transpose_b, float beta, struct aqm_mat c)
{
	int64_t inner = transpose_a ? a.rows : a.cols;

	(void)device;
	if (c.rows == 0 || c.cols == 0)
		return;
	cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
	            (int)c.rows, (int)c.cols, (int)inner, alpha, a.data, (int)a.ld, b.data, (int)b.ld, beta, c.data,
	            (int)c.ld);
}

AQM_CLONES static void add_row(int64_t n, const float *restrict x, float *restrict y)
{
	for (int64_t i = 0; i < n; i++)
		y[i] += x[i];
}

void aqm_cpu_bias_forward(aqm_device *device, struct aqm_mat bias, struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++)
		add_row(y.cols, bias.data, aqm_row(y, r));
}

void aqm_cpu_gemm_bias(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                       bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias)
{
	aqm_cpu_gemm(device, alpha, a, transpose_a, b, transpose_b, beta, c);
	aqm_cpu_bias_forward(device, bias, c);
}

enum { COLUMNS = 128, GROUP = 64 };

/* sums += column sums of `rows` rows, first summed among themselves: a long sum of floats stays exact enough in two
 * levels. */
AQM_CLONES static void add_columns(int64_t rows, int64_t columns, const float *restrict x, int64_t ld,
                                   float *restrict sums)
{
	for (int64_t first = 0; first < rows; first += GROUP) {
		int64_t last = rows - first < GROUP ? rows : first + GROUP;
		float group[COLUMNS] = {0};

		for (int64_t r = first; r < last; r++)
			for (int64_t c = 0; c < columns; c++)
				group[c] += x[r * ld + c];
		for (int64_t c = 0; c < columns; c++)
			sums[c] += group[c];
	}
}

void aqm_cpu_bias_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat dbias)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(dy))
	for (int64_t first = 0; first < dy.cols; first += COLUMNS) {
		int64_t columns = dy.cols - first < COLUMNS ? dy.cols - first : COLUMNS;

		add_columns(dy.rows, columns, (const float *)dy.data + first, dy.ld, (float *)dbias.data + first);
	}
}
