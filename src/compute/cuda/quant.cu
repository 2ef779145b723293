/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Expansion of weights of any type, to float32 (the bits of the CPU's) or rounded to bfloat16.
 */
#include "compute/cuda/kernel.cuh"

/* Rows are whole blocks, so eight elements never end beyond them. */
template <int type>
static __global__ void expand_kernel(int64_t rows, int64_t cols, const uint8_t *w, int64_t row_bytes, struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8];

	if (p.n <= 0)
		return;
	aqm_expand_eight(type, w + p.row * row_bytes, p.col / 8, a);
	store_eight(y, p.row, p.col, p.n, a);
}

static __global__ void expand_half_kernel(int64_t rows, int64_t cols, const uint8_t *w, int64_t row_bytes,
                                          struct view y)
{
	struct place p = place_of(rows, cols);
	const uint8_t *row = w + p.row * row_bytes;

	for (int i = 0; i < p.n; i++)
		store_one(y, p.row, p.col + i, aqm_half_at(row + 2 * (p.col + i)));
}

void aqm_cuda_expand(aqm_device *device, struct aqm_mat w, struct aqm_mat y)
{
	const uint8_t *blocks = (const uint8_t *)w.data;
	dim3 grid = places(w.rows, w.cols);
	int64_t row_bytes = aqm_row_bytes(w.dtype, w.cols);

	switch (w.dtype) {
#define CASE(type, kernel)                                                                                     \
	case type:                                                                                                 \
		launch(device, "expand", grid, AQM_THREADS, 0, kernel, w.rows, w.cols, blocks, row_bytes, view_of(y)); \
		break;
	case AQM_F32:
	case AQM_BF16:
		aqm_cuda_copy(device, w, y);
		break;
		CASE(AQM_F16, expand_half_kernel)
		CASE(AQM_Q8_0, expand_kernel<AQM_Q8_0>)
		CASE(AQM_Q4_0, expand_kernel<AQM_Q4_0>)
		CASE(AQM_Q4_1, expand_kernel<AQM_Q4_1>)
		CASE(AQM_Q5_0, expand_kernel<AQM_Q5_0>)
		CASE(AQM_Q5_1, expand_kernel<AQM_Q5_1>)
		CASE(AQM_Q4_K, expand_kernel<AQM_Q4_K>)
		CASE(AQM_Q5_K, expand_kernel<AQM_Q5_K>)
		CASE(AQM_Q6_K, expand_kernel<AQM_Q6_K>)
#undef CASE
	}
}
