/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What all kernels share. A kernel sees a matrix as a view, whose elements are float32 or bfloat16, and takes eight
 * of a row at a time, as 16 or 32 bytes where they lie so: one branch for eight elements costs nothing beside memory,
 * and any mixture of types works.
 */
#ifndef AQM_COMPUTE_CUDA_KERNEL_CUH
#define AQM_COMPUTE_CUDA_KERNEL_CUH

#include <cuda_runtime.h>

#include "compute/cuda/cuda.h"
#include "compute/cuda/index.h"

/* As much shared memory as a launch asks for: AQM_DYNAMIC_SHARED unsigned char dynamic_shared[]. */
#ifndef AQM_DYNAMIC_SHARED
#define AQM_DYNAMIC_SHARED extern __shared__ __align__(128)
#endif

enum { AQM_WARP = 32, AQM_THREADS = 256, AQM_WARPS = AQM_THREADS / AQM_WARP };

/* The context of a CUDA device. */
struct aqm_cuda {
	cudaStream_t stream;
	int processors;
	struct aqm_lt *lt; /* NULL: only plain products (tests without cublasLt) */
	struct {
		void *memory;
		size_t bytes;
	} scratch[AQM_SCRATCH_KINDS];
	int recordings; /* that are not forgotten: what they borrowed stays where it is */
	void **retired; /* scratch that was too small, and may be theirs */
	int retired_count;
	char *staging, *staged; /* pinned host memory and its twin on the device */
	size_t staging_bytes, staging_used;
	int failed;
	char message[256];
};

static inline struct aqm_cuda *aqm_cuda_of(aqm_device *device)
{
	return (struct aqm_cuda *)device->context;
}

/* Queue a kernel; a grid without blocks is no work. */
template <typename... Parameters, typename... Arguments>
static inline void launch(aqm_device *device, const char *name, dim3 grid, unsigned threads, size_t shared,
                          void (*kernel)(Parameters...), Arguments... arguments)
{
	cudaLaunchConfig_t config = {};

	if (grid.x == 0 || grid.y == 0 || grid.z == 0)
		return;
	config.gridDim = grid;
	config.blockDim = dim3(threads);
	config.dynamicSmemBytes = shared;
	config.stream = aqm_cuda_of(device)->stream;
	cudaError_t code = cudaLaunchKernelEx(&config, kernel, arguments...);

	if (code != cudaSuccess) {
		cudaGetLastError();
		aqm_cuda_fail(device, name, cudaGetErrorString(code));
	}
}

/* ---- views ---- */

struct view {
	void *data; /* NULL: absent */
	int64_t ld;
	int32_t bfloat; /* bfloat16, not float32 */
	int32_t wide;   /* eight elements from a column 8e on may be moved as 16-byte words */
};

static inline struct view view_of(struct aqm_mat m)
{
	struct view v;
	int64_t unit = m.dtype == AQM_BF16 ? 8 : 4;

	v.data = m.data;
	v.ld = m.ld;
	v.bfloat = m.dtype == AQM_BF16;
	v.wide = (uintptr_t)m.data % 16 == 0 && (m.rows <= 1 || m.ld % unit == 0);
	return v;
}

__device__ __forceinline__ uint16_t bfloat_of(float x)
{
#ifdef __CUDA_ARCH__
	uint16_t bits;

	asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
	return bits;
#else
	return aqm_bfloat_of(x);
#endif
}

/* Two bfloat16 in one word, `low` in the low half. */
__device__ __forceinline__ uint32_t bfloats_of(float low, float high)
{
	return (uint32_t)bfloat_of(high) << 16 | bfloat_of(low);
}

/* What is left of x in the view's type. */
__device__ __forceinline__ float rounded(struct view v, float x)
{
	return v.bfloat ? aqm_float_of_bfloat(bfloat_of(x)) : x;
}

__device__ __forceinline__ float load_one(struct view v, int64_t row, int64_t col)
{
	int64_t i = row * v.ld + col;

	return v.bfloat ? aqm_float_of_bfloat(((const uint16_t *)v.data)[i]) : ((const float *)v.data)[i];
}

__device__ __forceinline__ void store_one(struct view v, int64_t row, int64_t col, float x)
{
	int64_t i = row * v.ld + col;

	if (v.bfloat)
		((uint16_t *)v.data)[i] = bfloat_of(x);
	else
		((float *)v.data)[i] = x;
}

/* Columns col .. col + n - 1 of a row (col a multiple of 8, n <= 8); zeros behind them. */
__device__ __forceinline__ void load_eight(struct view v, int64_t row, int64_t col, int n, float x[8])
{
	int64_t i = row * v.ld + col;

	if (!v.wide || n < 8) {
#pragma unroll
		for (int j = 0; j < 8; j++)
			x[j] = j < n ? load_one(v, row, col + j) : 0.0f;
	} else if (v.bfloat) {
		uint4 words = *(const uint4 *)((const uint16_t *)v.data + i);
		uint32_t word[4] = {words.x, words.y, words.z, words.w};

#pragma unroll
		for (int j = 0; j < 4; j++) {
			x[2 * j] = aqm_float_of(word[j] << 16);
			x[2 * j + 1] = aqm_float_of(word[j] & 0xffff0000u);
		}
	} else {
		float4 low = *(const float4 *)((const float *)v.data + i),
			   high = *(const float4 *)((const float *)v.data + i + 4);

		x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
		x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
	}
}

__device__ __forceinline__ void store_eight(struct view v, int64_t row, int64_t col, int n, const float x[8])
{
	int64_t i = row * v.ld + col;

	if (!v.wide || n < 8) {
#pragma unroll
		for (int j = 0; j < 8; j++)
			if (j < n)
				store_one(v, row, col + j, x[j]);
	} else if (v.bfloat) {
		*(uint4 *)((uint16_t *)v.data + i) =
			make_uint4(bfloats_of(x[0], x[1]), bfloats_of(x[2], x[3]), bfloats_of(x[4], x[5]), bfloats_of(x[6], x[7]));
	} else {
		*(float4 *)((float *)v.data + i) = make_float4(x[0], x[1], x[2], x[3]);
		*(float4 *)((float *)v.data + i + 4) = make_float4(x[4], x[5], x[6], x[7]);
	}
}

/* a / b of numbers >= 0; a division of 64 bits takes some hundred instructions. */
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b)
{
	return (a | b) >> 32 == 0 ? (int64_t)((uint32_t)a / (uint32_t)b) : a / b;
}

/* ---- eight elements a thread ---- */

/* Where thread i of a pointwise kernel works: `n` columns from `col` on; n <= 0: nowhere. */
struct place {
	int64_t row, col;
	int n;
};

__device__ __forceinline__ struct place place_of(int64_t rows, int64_t cols)
{
	int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, groups = aqm_pieces(cols, 8);
	struct place p;

	p.row = rows > 1 ? quotient(i, groups) : 0;
	p.col = (i - p.row * groups) * 8;
	p.n = p.row >= rows || p.col >= cols ? 0 : cols - p.col < 8 ? (int)(cols - p.col) : 8;
	return p;
}

static inline dim3 places(int64_t rows, int64_t cols)
{
	return dim3((unsigned)aqm_pieces(rows * aqm_pieces(cols, 8), AQM_THREADS));
}

/* ---- sums ---- */

__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
	for (int step = 16; step > 0; step /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, step);
	return x;
}

__device__ __forceinline__ float warp_largest(float x)
{
#pragma unroll
	for (int step = 16; step > 0; step /= 2)
		x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
	return x;
}

/* Sum over AQM_THREADS threads, for all of them; `room` is AQM_WARPS elements of shared memory that no one else uses
 * until the next call's first barrier. */
template <typename T> __device__ __forceinline__ T block_sum(T x, T *room)
{
	T total = 0;

#pragma unroll
	for (int step = 16; step > 0; step /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, step);
	__syncthreads(); /* the last call's sums have been read */
	if (threadIdx.x % AQM_WARP == 0)
		room[threadIdx.x / AQM_WARP] = x;
	__syncthreads();
	for (int i = 0; i < AQM_WARPS; i++)
		total += room[i];
	return total;
}

#endif
