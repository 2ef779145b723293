/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Gradient norm and AdamW over one long vector.
 */
#include "compute/cuda/kernel.cuh"

enum { PIECES = 1024, SHORTEST = 4096 };

static __global__ void __launch_bounds__(AQM_THREADS)
	squares_kernel(size_t n, size_t length, const float *x, double *sums)
{
	__shared__ double room[AQM_WARPS];
	size_t first = blockIdx.x * length, last = n - first < length ? n : first + length;
	double sum = 0.0;

	for (size_t i = first + threadIdx.x; i < last; i += AQM_THREADS)
		sum += (double)x[i] * (double)x[i];
	sum = block_sum(sum, room);
	if (threadIdx.x == 0)
		sums[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(AQM_THREADS) fold_kernel(int pieces, const double *sums, double *total)
{
	__shared__ double room[AQM_WARPS];
	double sum = 0.0;

	for (int i = (int)threadIdx.x; i < pieces; i += AQM_THREADS)
		sum += sums[i];
	sum = block_sum(sum, room);
	if (threadIdx.x == 0)
		*total = sum;
}

/* Pieces by the length alone, each summed by a block, their sums by another. */
double aqm_cuda_sum_squares(aqm_device *device, const float *x, size_t n)
{
	double *sums = (double *)aqm_cuda_scratch(device, AQM_SCRATCH_SUMS, (PIECES + 1) * sizeof *sums), total = 0.0;
	size_t length = (n + PIECES - 1) / PIECES;

	if (n == 0 || !sums)
		return 0.0;
	if (length < SHORTEST)
		length = SHORTEST;
	int pieces = (int)((n + length - 1) / length);

	launch(device, "sum_squares", dim3((unsigned)pieces), AQM_THREADS, 0, squares_kernel, n, length, x, sums);
	launch(device, "sum_squares", dim3(1), AQM_THREADS, 0, fold_kernel, pieces, (const double *)sums, sums + PIECES);
	aqm_cuda_download(device, &total, sums + PIECES, sizeof total);
	return total;
}

struct adamw {
	float gradient_scale, beta1, beta2, epsilon;
	float keep;               /* 1 - lr weight_decay */
	float rate;               /* lr / correction1 */
	float inverse_correction; /* 1 / sqrt(correction2) */
};

static __global__ void adamw_kernel(int64_t n, struct adamw a, struct view x, struct view g, struct view m,
                                    struct view v)
{
	struct place p = place_of(1, n);
	float values[8], gradients[8], first[8], second[8];

	if (p.n <= 0)
		return;
	load_eight(x, 0, p.col, p.n, values);
	load_eight(g, 0, p.col, p.n, gradients);
	load_eight(m, 0, p.col, p.n, first);
	load_eight(v, 0, p.col, p.n, second);
#pragma unroll
	for (int i = 0; i < 8; i++) {
		float gradient = a.gradient_scale * gradients[i];

		first[i] = a.beta1 * first[i] + (1.0f - a.beta1) * gradient;
		second[i] = a.beta2 * second[i] + (1.0f - a.beta2) * gradient * gradient;
		values[i] = a.keep * values[i] - a.rate * first[i] / (sqrtf(second[i]) * a.inverse_correction + a.epsilon);
	}
	store_eight(x, 0, p.col, p.n, values);
	store_eight(m, 0, p.col, p.n, first);
	store_eight(v, 0, p.col, p.n, second);
}

void aqm_cuda_adamw(aqm_device *device, size_t n, float *x, const float *g, float *m, float *v, float gradient_scale,
                    float lr, float beta1, float beta2, float epsilon, float weight_decay, float correction1,
                    float correction2)
{
	const struct adamw a = {
		.gradient_scale = gradient_scale,
		.beta1 = beta1,
		.beta2 = beta2,
		.epsilon = epsilon,
		.keep = (float)(1.0 - (double)lr * (double)weight_decay),
		.rate = (float)((double)lr / (double)correction1),
		.inverse_correction = (float)(1.0 / sqrt((double)correction2)),
	};
	int64_t count = (int64_t)n;

	launch(device, "adamw", places(1, count), AQM_THREADS, 0, adamw_kernel, count, a, view_of(aqm_mat_f32(x, 1, count)),
	       view_of(aqm_mat_f32((float *)g, 1, count)), view_of(aqm_mat_f32(m, 1, count)),
	       view_of(aqm_mat_f32(v, 1, count)));
}
