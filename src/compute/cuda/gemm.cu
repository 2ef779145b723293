/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Matrix products and biases. Operands of other types are brought to the product's first, in memory that all products
 * share: bfloat16 if any of A, B and C is, else float32; a quantised weight is expanded just before it is used.
 */
#include "compute/cuda/kernel.cuh"

enum { TILE = 32, PER_THREAD = TILE * TILE / AQM_THREADS };

/* A tile of C a block, through shared memory; a thread has every eighth row of one column. */
static __global__ void gemm_kernel(int64_t rows, int64_t cols, int64_t inner, float alpha, struct view a,
                                   bool transpose_a, struct view b, bool transpose_b, float beta, struct view c)
{
	__shared__ float tile_a[TILE][TILE + 1], tile_b[TILE][TILE + 1];
	int64_t first_row = (int64_t)blockIdx.x * TILE, first_col = (int64_t)blockIdx.y * TILE;
	int x = (int)threadIdx.x % TILE, y = (int)threadIdx.x / TILE;
	float sums[PER_THREAD] = {0, 0, 0, 0};

	for (int64_t k = 0; k < inner; k += TILE) {
		/* x runs along what is contiguous */
		for (int i = y; i < TILE; i += AQM_THREADS / TILE) {
			int64_t row = first_row + (transpose_a ? x : i), ka = k + (transpose_a ? i : x);
			int64_t col = first_col + (transpose_b ? i : x), kb = k + (transpose_b ? x : i);
			float va = 0.0f, vb = 0.0f;

			if (row < rows && ka < inner)
				va = transpose_a ? load_one(a, ka, row) : load_one(a, row, ka);
			if (col < cols && kb < inner)
				vb = transpose_b ? load_one(b, col, kb) : load_one(b, kb, col);
			tile_a[transpose_a ? x : i][transpose_a ? i : x] = va;
			tile_b[transpose_b ? x : i][transpose_b ? i : x] = vb;
		}
		__syncthreads();
		for (int j = 0; j < TILE; j++)
#pragma unroll
			for (int i = 0; i < PER_THREAD; i++)
				sums[i] += tile_a[y + i * (AQM_THREADS / TILE)][j] * tile_b[j][x];
		__syncthreads();
	}
	for (int i = 0; i < PER_THREAD; i++) {
		int64_t row = first_row + y + i * (AQM_THREADS / TILE), col = first_col + x;

		if (row < rows && col < cols)
			store_one(c, row, col, alpha * sums[i] + (beta == 0.0f ? 0.0f : beta * load_one(c, row, col)));
	}
}

void aqm_cuda_plain_gemm(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                         bool transpose_b, float beta, struct aqm_mat c)
{
	launch(device, "gemm", dim3((unsigned)aqm_pieces(c.rows, TILE), (unsigned)aqm_pieces(c.cols, TILE)), AQM_THREADS, 0,
	       gemm_kernel, c.rows, c.cols, transpose_a ? a.rows : a.cols, alpha, view_of(a), transpose_a, view_of(b),
	       transpose_b, beta, view_of(c));
}

/* m as it is, or in `dtype` in borrowed memory. data NULL: there was none. */
static struct aqm_mat operand(aqm_device *device, struct aqm_mat m, enum aqm_dtype dtype, enum aqm_cuda_scratch kind)
{
	if (m.dtype == dtype)
		return m;
	struct aqm_mat other = m;

	other.dtype = dtype;
	other.ld = aqm_pieces(m.cols, 8) * 8;
	other.data = aqm_cuda_scratch(device, kind, (size_t)(m.rows * other.ld) * (dtype == AQM_BF16 ? 2 : 4));
	if (other.data)
		aqm_cuda_expand(device, m, other);
	return other;
}

/* C = alpha op(A) op(B) + beta C, and the bias, which may be absent. */
static void multiply(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                     bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias)
{
	bool bfloat = a.dtype == AQM_BF16 || b.dtype == AQM_BF16 || c.dtype == AQM_BF16;
	enum aqm_dtype dtype = bfloat ? AQM_BF16 : AQM_F32;
	struct aqm_mat own = bias;

	a = operand(device, a, dtype, AQM_SCRATCH_A);
	b = operand(device, b, dtype, AQM_SCRATCH_B);
	if (bias.data)
		own = operand(device, bias, c.dtype, AQM_SCRATCH_BIAS);
	if (!a.data || !b.data || (bias.data && !own.data) ||
	    aqm_lt_gemm(device, aqm_cuda_of(device)->lt, alpha, a, transpose_a, b, transpose_b, beta, c, own))
		return;
	aqm_cuda_plain_gemm(device, alpha, a, transpose_a, b, transpose_b, beta, c);
	if (bias.data)
		aqm_cuda_bias_forward(device, bias, c);
}

/* beta C, where there is nothing to multiply. */
static void keep(aqm_device *device, float beta, struct aqm_mat c)
{
	if (beta == 0.0f)
		aqm_cuda_zero(device, c);
	else
		aqm_cuda_scale(device, beta, c);
}

void aqm_cuda_gemm(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                   bool transpose_b, float beta, struct aqm_mat c)
{
	if (a.rows == 0 || a.cols == 0)
		keep(device, beta, c);
	else if (c.rows > 0 && c.cols > 0)
		multiply(device, alpha, a, transpose_a, b, transpose_b, beta, c, aqm_mat_absent());
}

void aqm_cuda_gemm_bias(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                        bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias)
{
	if (a.rows > 0 && a.cols > 0 && c.cols > 0) {
		multiply(device, alpha, a, transpose_a, b, transpose_b, beta, c, bias);
		return;
	}
	keep(device, beta, c);
	aqm_cuda_bias_forward(device, bias, c);
}

static __global__ void bias_kernel(int64_t rows, int64_t cols, struct view bias, struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8], b[8];

	if (p.n <= 0)
		return;
	load_eight(bias, 0, p.col, p.n, a);
	load_eight(y, p.row, p.col, p.n, b);
#pragma unroll
	for (int i = 0; i < 8; i++)
		b[i] += a[i];
	store_eight(y, p.row, p.col, p.n, b);
}

void aqm_cuda_bias_forward(aqm_device *device, struct aqm_mat bias, struct aqm_mat y)
{
	launch(device, "bias_forward", places(y.rows, y.cols), AQM_THREADS, 0, bias_kernel, y.rows, y.cols, view_of(bias),
	       view_of(y));
}

void aqm_cuda_bias_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat dbias)
{
	aqm_cuda_column_sums(device, dy, aqm_mat_absent(), aqm_mat_absent(), aqm_mat_absent(), aqm_mat_absent(), dbias);
}
