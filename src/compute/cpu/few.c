/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows: the time is that of reading the weights, so each is read once, used for all rows of X while it is
 * in a register, and never written anywhere but to a small buffer in the first cache.
 */
#include <omp.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { MOST_ROWS = 16 };

/* y[i] = dot(w, row i of x) for the rows of X. */
AQM_CLONES static void dots(int64_t rows, int64_t n, const float *w, const float *x, int64_t ld, float *y)
{
	for (int64_t i = 0; i < rows; i++)
		y[i] = aqm_dot(w, x + i * ld, n);
}

void aqm_cpu_linear_few(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct aqm_dtype_traits *traits = w.dtype == AQM_F32 ? NULL : aqm_dtype_traits(w.dtype);
	size_t bytes = traits ? (size_t)w.cols / traits->block * traits->block_bytes : (size_t)w.cols * sizeof(float);
	float *base;
	int64_t stride;

	if (!aqm_cpu_scratch(device, omp_get_max_threads(), w.cols, &base, &stride))
		return;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(w))
	for (int64_t r = 0; r < w.rows; r++) {
		const void *blocks = (const uint8_t *)w.data + (size_t)r * bytes;
		float *expanded = base + omp_get_thread_num() * stride, sums[MOST_ROWS];

		if (traits)
			traits->expand(blocks, expanded, (size_t)w.cols);
		dots(x.rows, w.cols, traits ? expanded : blocks, x.data, x.ld, sums);
		for (int64_t i = 0; i < x.rows; i++) {
			float *out = aqm_row(y, i) + r;

			*out = beta == 0.0f ? sums[i] : sums[i] + beta * *out;
		}
	}
}
