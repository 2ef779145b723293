/* SPDX-License-Identifier: BSD-2-Clause
 *
 * RMSNorm (Zhang & Sennrich, 2019) and LayerNorm (Ba, Kiros & Hinton, 2016): a block a row, which stays in the caches
 * while it is read again. Statistics are those of the row as it is stored, rounded to its type.
 */
#include "compute/cuda/kernel.cuh"

enum { STRIDE = 8 * AQM_THREADS }; /* columns that a block takes at once */

/* For the thread's groups of eight columns of a row of `cols`: col, n. */
#define EACH_GROUP \
	for (int64_t col = 8 * (int64_t)threadIdx.x, n; col < cols && (n = cols - col < 8 ? cols - col : 8); col += STRIDE)

/* x += residual where there is one; the row's sum and sum of squares of what this thread has. */
__device__ __forceinline__ void take_row(int64_t cols, struct view x, struct view residual, int64_t row, float *sum,
                                         float *squares)
{
	float a[8], b[8];

	*sum = *squares = 0.0f;
	EACH_GROUP
	{
		load_eight(x, row, col, (int)n, a);
		if (residual.data) {
			load_eight(residual, row, col, (int)n, b);
#pragma unroll
			for (int i = 0; i < 8; i++)
				a[i] = rounded(x, a[i] + b[i]);
			store_eight(x, row, col, (int)n, a);
		}
#pragma unroll
		for (int i = 0; i < 8; i++) {
			*sum += a[i];
			*squares += a[i] * a[i];
		}
	}
}

static __global__ void __launch_bounds__(AQM_THREADS)
	rmsnorm_kernel(int64_t cols, struct view x, struct view residual, struct view weight, float epsilon, struct view y,
                   float *rstds)
{
	__shared__ float room[AQM_WARPS];
	int64_t row = blockIdx.x;
	float sum, squares, a[8], w[8];

	take_row(cols, x, residual, row, &sum, &squares);
	float rstd = 1.0f / sqrtf(block_sum(squares, room) / (float)cols + epsilon);

	if (threadIdx.x == 0)
		rstds[row] = rstd;
	EACH_GROUP
	{
		load_eight(x, row, col, (int)n, a);
		load_eight(weight, 0, col, (int)n, w);
#pragma unroll
		for (int i = 0; i < 8; i++)
			a[i] = a[i] * rstd * w[i];
		store_eight(y, row, col, (int)n, a);
	}
}

void aqm_cuda_rmsnorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                              float epsilon, struct aqm_mat y, struct aqm_mat rstd)
{
	launch(device, "rmsnorm_forward", dim3((unsigned)x.rows), AQM_THREADS, 0, rmsnorm_kernel, x.cols, view_of(x),
	       view_of(residual), view_of(weight), epsilon, view_of(y), (float *)rstd.data);
}

static __global__ void __launch_bounds__(AQM_THREADS)
	layernorm_kernel(int64_t cols, struct view x, struct view residual, struct view weight, struct view bias,
                     float epsilon, struct view y, float *means, float *rstds)
{
	__shared__ float room[AQM_WARPS];
	int64_t row = blockIdx.x;
	float sum, squares, a[8], w[8], b[8];

	take_row(cols, x, residual, row, &sum, &squares);
	float mean = block_sum(sum, room) / (float)cols;

	squares = 0.0f;
	EACH_GROUP
	{
		load_eight(x, row, col, (int)n, a);
#pragma unroll
		for (int i = 0; i < 8; i++)
			squares += i < n ? (a[i] - mean) * (a[i] - mean) : 0.0f;
	}
	float rstd = 1.0f / sqrtf(block_sum(squares, room) / (float)cols + epsilon);

	if (threadIdx.x == 0) {
		means[row] = mean;
		rstds[row] = rstd;
	}
	EACH_GROUP
	{
		load_eight(x, row, col, (int)n, a);
		load_eight(weight, 0, col, (int)n, w);
		load_eight(bias, 0, col, (int)n, b);
#pragma unroll
		for (int i = 0; i < 8; i++)
			a[i] = (a[i] - mean) * rstd * w[i] + b[i];
		store_eight(y, row, col, (int)n, a);
	}
}

void aqm_cuda_layernorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                                struct aqm_mat bias, float epsilon, struct aqm_mat y, struct aqm_mat mean,
                                struct aqm_mat rstd)
{
	launch(device, "layernorm_forward", dim3((unsigned)x.rows), AQM_THREADS, 0, layernorm_kernel, x.cols, view_of(x),
	       view_of(residual), view_of(weight), view_of(bias), epsilon, view_of(y), (float *)mean.data,
	       (float *)rstd.data);
}

/* With h = (x - mean) rstd and g = dy w: dx += rstd (g - mean(g) - h mean(g h)); without means, of RMSNorm, h = x rstd
 * and mean(g) is left out. */
static __global__ void __launch_bounds__(AQM_THREADS)
	backward_kernel(int64_t cols, struct view dy, struct view x, struct view weight, const float *means,
                    const float *rstds, struct view dx)
{
	__shared__ float room[AQM_WARPS];
	int64_t row = blockIdx.x;
	float mean = means ? means[row] : 0.0f, rstd = rstds[row], plain = 0.0f, along = 0.0f, g[8], a[8], w[8];

	EACH_GROUP
	{
		load_eight(dy, row, col, (int)n, g);
		load_eight(weight, 0, col, (int)n, w); /* zeros behind the last column */
		load_eight(x, row, col, (int)n, a);
#pragma unroll
		for (int i = 0; i < 8; i++) {
			plain += g[i] * w[i];
			along += g[i] * w[i] * (a[i] - mean);
		}
	}
	plain = means ? block_sum(plain, room) / (float)cols : 0.0f;
	along = block_sum(along, room) * rstd * rstd / (float)cols;
	EACH_GROUP
	{
		float d[8];

		load_eight(dy, row, col, (int)n, g);
		load_eight(weight, 0, col, (int)n, w);
		load_eight(x, row, col, (int)n, a);
		load_eight(dx, row, col, (int)n, d);
#pragma unroll
		for (int i = 0; i < 8; i++)
			d[i] += rstd * (g[i] * w[i] - plain - (a[i] - mean) * along);
		store_eight(dx, row, col, (int)n, d);
	}
}

/* ---- column sums ---- */

/* A warp's lanes are columns, its block's warps take turns at the rows of a piece; sums (pieces, 2, cols). */
static __global__ void __launch_bounds__(AQM_THREADS)
	column_sums_kernel(int64_t rows, int64_t cols, int64_t piece, struct view dy, struct view x, const float *means,
                       const float *rstds, float *sums)
{
	__shared__ float weights[AQM_WARPS][AQM_WARP], biases[AQM_WARPS][AQM_WARP];
	int lane = (int)threadIdx.x % AQM_WARP, warp = (int)threadIdx.x / AQM_WARP;
	int64_t col = (int64_t)blockIdx.x * AQM_WARP + lane, first = (int64_t)blockIdx.y * piece;
	int64_t last = first + piece < rows ? first + piece : rows;
	float weight = 0.0f, bias = 0.0f;

	for (int64_t row = first + warp; row < last && col < cols; row += AQM_WARPS) {
		float d = load_one(dy, row, col);

		bias += d;
		if (x.data)
			weight += d * ((load_one(x, row, col) - (means ? means[row] : 0.0f)) * rstds[row]);
	}
	weights[warp][lane] = weight;
	biases[warp][lane] = bias;
	__syncthreads();
	if (warp != 0 || col >= cols)
		return;
	for (int i = 1; i < AQM_WARPS; i++) {
		weight += weights[i][lane];
		bias += biases[i][lane];
	}
	sums[(2 * (int64_t)blockIdx.y) * cols + col] = weight;
	sums[(2 * (int64_t)blockIdx.y + 1) * cols + col] = bias;
}

static __global__ void fold_kernel(int64_t cols, int64_t pieces, const float *sums, float *dweight, float *dbias)
{
	int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	float weight = 0.0f, bias = 0.0f;

	if (col >= cols)
		return;
	for (int64_t i = 0; i < pieces; i++) {
		weight += sums[2 * i * cols + col];
		bias += sums[(2 * i + 1) * cols + col];
	}
	if (dweight)
		dweight[col] += weight;
	if (dbias)
		dbias[col] += bias;
}

void aqm_cuda_column_sums(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat mean,
                          struct aqm_mat rstd, struct aqm_mat dweight, struct aqm_mat dbias)
{
	int64_t blocks = aqm_pieces(dy.cols, AQM_WARP);

	if (dy.rows == 0 || dy.cols == 0)
		return;
	int64_t piece = aqm_pieces(dy.rows, aqm_row_pieces(dy.rows, blocks, 4 * aqm_cuda_of(device)->processors));
	int64_t pieces = aqm_pieces(dy.rows, piece);
	float *sums = (float *)aqm_cuda_scratch(device, AQM_SCRATCH_SUMS, (size_t)(2 * pieces * dy.cols) * sizeof(float));

	if (!sums)
		return;
	launch(device, "column_sums", dim3((unsigned)blocks, (unsigned)pieces), AQM_THREADS, 0, column_sums_kernel, dy.rows,
	       dy.cols, piece, view_of(dy), view_of(x), (const float *)mean.data, (const float *)rstd.data, sums);
	launch(device, "column_sums", dim3((unsigned)aqm_pieces(dy.cols, AQM_THREADS)), AQM_THREADS, 0, fold_kernel,
	       dy.cols, pieces, (const float *)sums, (float *)dweight.data, (float *)dbias.data);
}

void aqm_cuda_rmsnorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                               struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight)
{
	launch(device, "rmsnorm_backward", dim3((unsigned)x.rows), AQM_THREADS, 0, backward_kernel, x.cols, view_of(dy),
	       view_of(x), view_of(weight), (const float *)NULL, (const float *)rstd.data, view_of(dx));
	if (dweight.data)
		aqm_cuda_column_sums(device, dy, x, aqm_mat_absent(), rstd, dweight, aqm_mat_absent());
}

void aqm_cuda_layernorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                                 struct aqm_mat mean, struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight,
                                 struct aqm_mat dbias)
{
	launch(device, "layernorm_backward", dim3((unsigned)x.rows), AQM_THREADS, 0, backward_kernel, x.cols, view_of(dy),
	       view_of(x), view_of(weight), (const float *)mean.data, (const float *)rstd.data, view_of(dx));
	if (dweight.data)
		aqm_cuda_column_sums(device, dy, x, mean, rstd, dweight, dbias);
}
