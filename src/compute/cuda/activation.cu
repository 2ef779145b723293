/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Activation functions, gated linear units, dropout: eight elements a thread, so outputs may lie over inputs.
 */
#include "compute/cuda/kernel.cuh"

extern "C" {
#include "base/random.h"
}

__device__ __forceinline__ float sigmoid(float x)
{
	return 1.0f / (1.0f + expf(-x));
}

/* A function's value, and its slope. */
struct slope {
	float value, slope;
};

__device__ __forceinline__ struct slope silu(float x)
{
	float s = sigmoid(x);
	struct slope f = {x * s, s * (1.0f + x * (1.0f - s))};

	return f;
}

/* GELU by tanh (Hendrycks & Gimpel, 2016): x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
__device__ __forceinline__ struct slope gelu_tanh(float x)
{
	const float linear = 1.59576912161f, cubic = 0.044715f; /* 2 sqrt(2/pi) */
	float square = x * x, s = sigmoid(linear * x * (1.0f + cubic * square));
	struct slope f = {x * s, s + x * s * (1.0f - s) * linear * (1.0f + 3.0f * cubic * square)};

	return f;
}

__device__ __forceinline__ struct slope gelu_erf(float x)
{
	float phi = 0.5f * erfcf(-0.70710678f * x);
	struct slope f = {x * phi, phi + x * 0.39894228f * expf(-0.5f * x * x)};

	return f;
}

/* ReLU is a leaky one of slope 0; written so that NaN stays NaN. */
__device__ __forceinline__ struct slope leaky(float x, float slope)
{
	struct slope f = {x < 0.0f ? slope * x : x, x > 0.0f ? 1.0f : slope};

	return f;
}

__device__ __forceinline__ struct slope glu(enum aqm_glu kind, float x)
{
	return kind == AQM_SWIGLU ? silu(x) : gelu_tanh(x);
}

__device__ __forceinline__ struct slope activation(enum aqm_activation kind, float slope, float x)
{
	switch (kind) {
	case AQM_GELU_TANH:
		return gelu_tanh(x);
	case AQM_GELU_ERF:
		return gelu_erf(x);
	default:
		return leaky(x, slope);
	}
}

static __global__ void glu_kernel(int64_t rows, int64_t cols, enum aqm_glu kind, struct view gate, struct view up,
                                  struct view y)
{
	struct place p = place_of(rows, cols);
	float g[8], u[8];

	if (p.n <= 0)
		return;
	load_eight(gate, p.row, p.col, p.n, g);
	load_eight(up, p.row, p.col, p.n, u);
#pragma unroll
	for (int i = 0; i < 8; i++)
		u[i] *= glu(kind, g[i]).value;
	store_eight(y, p.row, p.col, p.n, u);
}

void aqm_cuda_glu_forward(aqm_device *device, enum aqm_glu kind, struct aqm_mat gate, struct aqm_mat up,
                          struct aqm_mat y)
{
	launch(device, "glu_forward", places(y.rows, y.cols), AQM_THREADS, 0, glu_kernel, y.rows, y.cols, kind,
	       view_of(gate), view_of(up), view_of(y));
}

static __global__ void glu_backward_kernel(int64_t rows, int64_t cols, enum aqm_glu kind, struct view dy,
                                           struct view gate, struct view up, struct view dgate, struct view dup)
{
	struct place p = place_of(rows, cols);
	float d[8], g[8], u[8];

	if (p.n <= 0)
		return;
	load_eight(dy, p.row, p.col, p.n, d);
	load_eight(gate, p.row, p.col, p.n, g);
	load_eight(up, p.row, p.col, p.n, u);
#pragma unroll
	for (int i = 0; i < 8; i++) {
		struct slope f = glu(kind, g[i]);

		g[i] = d[i] * u[i] * f.slope;
		u[i] = d[i] * f.value;
	}
	store_eight(dgate, p.row, p.col, p.n, g);
	store_eight(dup, p.row, p.col, p.n, u);
}

void aqm_cuda_glu_backward(aqm_device *device, enum aqm_glu kind, struct aqm_mat dy, struct aqm_mat gate,
                           struct aqm_mat up, struct aqm_mat dgate, struct aqm_mat dup)
{
	launch(device, "glu_backward", places(dy.rows, dy.cols), AQM_THREADS, 0, glu_backward_kernel, dy.rows, dy.cols,
	       kind, view_of(dy), view_of(gate), view_of(up), view_of(dgate), view_of(dup));
}

static __global__ void activation_kernel(int64_t rows, int64_t cols, enum aqm_activation kind, float slope,
                                         struct view x, struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8];

	if (p.n <= 0)
		return;
	load_eight(x, p.row, p.col, p.n, a);
#pragma unroll
	for (int i = 0; i < 8; i++)
		a[i] = activation(kind, slope, a[i]).value;
	store_eight(y, p.row, p.col, p.n, a);
}

void aqm_cuda_activation_forward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat x,
                                 struct aqm_mat y)
{
	launch(device, "activation_forward", places(y.rows, y.cols), AQM_THREADS, 0, activation_kernel, y.rows, y.cols,
	       kind, kind == AQM_RELU ? 0.0f : slope, view_of(x), view_of(y));
}

static __global__ void activation_backward_kernel(int64_t rows, int64_t cols, enum aqm_activation kind, float slope,
                                                  struct view dy, struct view x, struct view dx)
{
	struct place p = place_of(rows, cols);
	float d[8], a[8];

	if (p.n <= 0)
		return;
	load_eight(dy, p.row, p.col, p.n, d);
	load_eight(x, p.row, p.col, p.n, a);
#pragma unroll
	for (int i = 0; i < 8; i++)
		d[i] *= activation(kind, slope, a[i]).slope;
	store_eight(dx, p.row, p.col, p.n, d);
}

void aqm_cuda_activation_backward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat dy,
                                  struct aqm_mat x, struct aqm_mat dx)
{
	launch(device, "activation_backward", places(dx.rows, dx.cols), AQM_THREADS, 0, activation_backward_kernel, dx.rows,
	       dx.cols, kind, kind == AQM_RELU ? 0.0f : slope, view_of(dy), view_of(x), view_of(dx));
}

static __global__ void dropout_kernel(int64_t rows, int64_t cols, uint32_t threshold, float scale, uint64_t seed,
                                      uint32_t step, uint64_t first_block, uint64_t first_word, struct view x,
                                      struct view y)
{
	struct place p = place_of(rows, cols);
	uint32_t words[8];
	float a[8];

	if (p.n <= 0)
		return;
	load_eight(x, p.row, p.col, p.n, a);
	aqm_philox_eight(seed, AQM_STREAM_DROPOUT, step, first_block, first_word + (uint64_t)(p.row * cols + p.col), p.n,
	                  words);
#pragma unroll
	for (int i = 0; i < 8; i++)
		a[i] = words[i] >= threshold ? a[i] * scale : 0.0f;
	store_eight(y, p.row, p.col, p.n, a);
}

void aqm_cuda_dropout(aqm_device *device, float p, uint64_t seed, uint32_t step, uint32_t ordinal, int64_t first_row,
                      struct aqm_mat x, struct aqm_mat y)
{
	launch(device, "dropout", places(y.rows, y.cols), AQM_THREADS, 0, dropout_kernel, y.rows, y.cols,
	       (uint32_t)((double)p * 4294967296.0), 1.0f / (1.0f - p), seed, step, (uint64_t)ordinal << 32,
	       (uint64_t)(first_row * y.cols), view_of(x), view_of(y));
}
