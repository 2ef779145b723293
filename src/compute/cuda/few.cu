/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows, as decisions need it: the time should be that of reading the weights once.
 *
 * With X in bfloat16 the tensor cores do it, 16 rows of W a block, whose warps take turns at the chunks of 32
 * columns. A sum does not mind in which order its terms come, so a lane may hold any columns as long as W and X
 * agree: eight neighbours of a row, which are one load, stand for the pairs that mma.cuh shows, first 0 .. 3, then 4
 * .. 7.
 *
 *     lane (g, t)   W rows g, g+8      columns 32 chunk + 8t .. + 7       X rows g (, g+8), the same columns
 *
 * Q8_0 and Q4_0 are multiplied as the integers they hold, exact in bfloat16, and each chunk's sums by the block's
 * scale; Q4_0 has columns 4t .. 4t+3 and 16+4t .. 16+4t+3 instead, as its bytes do. Other types are expanded and
 * rounded. With X in float32 a warp takes a row of W, and all is float32.
 */
#include "compute/cuda/kernel.cuh"
#include "compute/cuda/mma.cuh"

enum { MOST_ROWS = 16, CHUNK = 32, ROWS = 16 };

/* ---- float32 ---- */

/* n weights (zeros behind them) of row `row` from column col on. */
template <int type>
__device__ __forceinline__ void load_weights(struct view w, const uint8_t *blocks, int64_t row_bytes, int64_t row,
                                             int64_t col, int n, float out[8])
{
	if (type == AQM_F32 || type == AQM_BF16) {
		load_eight(w, row, col, n, out);
	} else if (type == AQM_F16) {
#pragma unroll
		for (int i = 0; i < 8; i++)
			out[i] = i < n ? aqm_half_at(blocks + row * row_bytes + 2 * (col + i)) : 0.0f;
	} else {
		aqm_expand_eight(type, blocks + row * row_bytes, col / 8, out);
	}
}

template <int type>
static __global__ void __launch_bounds__(AQM_THREADS)
	few_kernel(int64_t out, int64_t in, int n, struct view x, struct view w, const uint8_t *blocks, int64_t row_bytes,
               float beta, struct view y)
{
	int64_t row = (int64_t)blockIdx.x * AQM_WARPS + threadIdx.x / AQM_WARP;
	int lane = (int)threadIdx.x % AQM_WARP;
	float sums[MOST_ROWS], a[8], b[8];

	if (row >= out)
		return;
#pragma unroll
	for (int r = 0; r < MOST_ROWS; r++)
		sums[r] = 0.0f;
	for (int64_t col = 8 * lane; col < in; col += 8 * AQM_WARP) {
		int count = in - col < 8 ? (int)(in - col) : 8;

		load_weights<type>(w, blocks, row_bytes, row, col, count, a);
#pragma unroll
		for (int r = 0; r < MOST_ROWS; r++) {
			if (r >= n)
				continue;
			load_eight(x, r, col, count, b);
#pragma unroll
			for (int i = 0; i < 8; i++)
				sums[r] += a[i] * b[i];
		}
	}
#pragma unroll
	for (int r = 0; r < MOST_ROWS; r++) {
		if (r >= n)
			continue;
		float sum = warp_sum(sums[r]);

		if (lane == 0)
			store_one(y, r, row, sum + (beta == 0.0f ? 0.0f : beta * load_one(y, r, row)));
	}
}

/* ---- bfloat16 ---- */

/* A lane's share of one row in a chunk: eight values as four pairs, and what their products are to be multiplied by. */
struct share {
	uint32_t pair[4];
	float scale;
};

template <int type> __device__ __forceinline__ struct share load_share(const uint8_t *row, int64_t chunk, int t)
{
	struct share s;

	s.scale = 1.0f;
	if (type == AQM_BF16) {
		uint4 words = *(const uint4 *)(row + 2 * (CHUNK * chunk + 8 * t));

		s.pair[0] = words.x, s.pair[1] = words.y, s.pair[2] = words.z, s.pair[3] = words.w;
	} else if (type == AQM_Q8_0) {
		const uint16_t *block = (const uint16_t *)(row + 34 * chunk);

		s.scale = aqm_float_of_half(block[0]);
#pragma unroll
		for (int i = 0; i < 4; i++) {
			uint16_t two = block[1 + 4 * t + i];

			s.pair[i] = bfloats_of((float)(int8_t)(two & 0xff), (float)(int8_t)(two >> 8));
		}
	} else if (type == AQM_Q4_0) {
		const uint16_t *block = (const uint16_t *)(row + 18 * chunk);
		uint32_t word = block[1 + 2 * t] | (uint32_t)block[2 + 2 * t] << 16;

		s.scale = aqm_float_of_half(block[0]);
		/* 128 + q of a nibble q is these bits in bfloat16; 136 less is q - 8 */
#pragma unroll
		for (int i = 0; i < 4; i++)
			s.pair[i] = subtract_pairs((word >> (i % 2 * 8 + i / 2 * 4) & 0x000f000fu) | 0x43004300u, 0x43084308u);
	} else {
		float a[8];

		if (type == AQM_F32) {
			float4 low = ((const float4 *)row)[8 * chunk + 2 * t], high = ((const float4 *)row)[8 * chunk + 2 * t + 1];

			a[0] = low.x, a[1] = low.y, a[2] = low.z, a[3] = low.w;
			a[4] = high.x, a[5] = high.y, a[6] = high.z, a[7] = high.w;
		} else {
			aqm_expand_eight(type, row, 4 * chunk + t, a);
		}
#pragma unroll
		for (int i = 0; i < 4; i++)
			s.pair[i] = bfloats_of(a[2 * i], a[2 * i + 1]);
	}
	return s;
}

/* The same columns of a row of X. */
template <int type>
__device__ __forceinline__ void load_inputs(const uint16_t *row, int64_t chunk, int t, uint32_t pair[4])
{
	if (type == AQM_Q4_0) {
		uint2 low = *(const uint2 *)(row + CHUNK * chunk + 4 * t),
			  high = *(const uint2 *)(row + CHUNK * chunk + 16 + 4 * t);

		pair[0] = low_halves(low.x, low.y);
		pair[1] = high_halves(low.x, low.y);
		pair[2] = low_halves(high.x, high.y);
		pair[3] = high_halves(high.x, high.y);
	} else {
		uint4 words = *(const uint4 *)(row + CHUNK * chunk + 8 * t);

		pair[0] = words.x, pair[1] = words.y, pair[2] = words.z, pair[3] = words.w;
	}
}

/* tiles: of eight rows of X, 1 or 2 */
template <int type, int tiles>
static __global__ void __launch_bounds__(AQM_THREADS)
	few_tensor_kernel(int64_t out, int64_t in, int n, const uint16_t *x, int64_t x_ld, const uint8_t *w,
                      int64_t row_bytes, float beta, struct view y)
{
	__shared__ float room[AQM_WARPS][ROWS][MOST_ROWS + 1];
	const bool scaled = type == AQM_Q8_0 || type == AQM_Q4_0;
	int lane = (int)threadIdx.x % AQM_WARP, warp = (int)threadIdx.x / AQM_WARP, g = lane / 4, t = lane % 4;
	int64_t first = (int64_t)blockIdx.x * ROWS, low = first + g, high = first + g + 8;
	/* rows beyond the last repeat it, and are not written */
	const uint8_t *w_low = w + (low < out ? low : out - 1) * row_bytes,
				  *w_high = w + (high < out ? high : out - 1) * row_bytes;
	float sums[tiles][4];

#pragma unroll
	for (int i = 0; i < tiles; i++)
		sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0.0f;
#pragma unroll 4
	for (int64_t chunk = warp; chunk < in / CHUNK; chunk += AQM_WARPS) {
		struct share l = load_share<type>(w_low, chunk, t), h = load_share<type>(w_high, chunk, t);
		uint32_t a[2][4] = {{l.pair[0], h.pair[0], l.pair[1], h.pair[1]}, {l.pair[2], h.pair[2], l.pair[3], h.pair[3]}};

#pragma unroll
		for (int i = 0; i < tiles; i++) {
			uint32_t b[4] = {0, 0, 0, 0};
			float own[4] = {0.0f, 0.0f, 0.0f, 0.0f}, *d = scaled ? own : sums[i];

			if (8 * i + g < n)
				load_inputs<type>(x + (8 * i + g) * x_ld, chunk, t, b);
			mma(d, a[0], b[0], b[1]);
			mma(d, a[1], b[2], b[3]);
			if (scaled) {
				sums[i][0] += l.scale * own[0];
				sums[i][1] += l.scale * own[1];
				sums[i][2] += h.scale * own[2];
				sums[i][3] += h.scale * own[3];
			}
		}
	}
#pragma unroll
	for (int i = 0; i < tiles; i++)
#pragma unroll
		for (int j = 0; j < 4; j++)
			room[warp][g + j / 2 * 8][8 * i + 2 * t + j % 2] = sums[i][j];
	__syncthreads();
	int r = (int)threadIdx.x % ROWS, c = (int)threadIdx.x / ROWS; /* row of W, row of X */

	if (first + r >= out || c >= n)
		return;
	float sum = 0.0f;

	for (int i = 0; i < AQM_WARPS; i++)
		sum += room[i][r][c];
	store_one(y, c, first + r, sum + (beta == 0.0f ? 0.0f : beta * load_one(y, c, first + r)));
}

/* ---- either ---- */

template <int type>
static void few(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const uint8_t *blocks = (const uint8_t *)w.data;
	int64_t row_bytes = aqm_row_bytes(type, w.cols);
	bool plain = type == AQM_F32 || type == AQM_BF16; /* whose loads are of 16 bytes */
	bool tensor = x.dtype == AQM_BF16 && w.cols % CHUNK == 0 && view_of(x).wide && type != AQM_F16 &&
	              (uintptr_t)w.data % (plain ? 16 : 2) == 0;

	if (tensor)
		launch(device, "linear_few", dim3((unsigned)aqm_pieces(w.rows, ROWS)), AQM_THREADS, 0,
		       x.rows > 8 ? few_tensor_kernel<type, 2> : few_tensor_kernel<type, 1>, w.rows, w.cols, (int)x.rows,
		       (const uint16_t *)x.data, x.ld, blocks, row_bytes, beta, view_of(y));
	else
		launch(device, "linear_few", dim3((unsigned)aqm_pieces(w.rows, AQM_WARPS)), AQM_THREADS, 0, few_kernel<type>,
		       w.rows, w.cols, (int)x.rows, view_of(x), view_of(w), blocks, row_bytes, beta, view_of(y));
}

void aqm_cuda_linear_few(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	if (x.rows == 0)
		return;
	switch (w.dtype) {
#define CASE(type)                        \
	case type:                            \
		few<type>(device, x, w, beta, y); \
		break;
		CASE(AQM_F32)
		CASE(AQM_F16)
		CASE(AQM_BF16)
		CASE(AQM_Q8_0)
		CASE(AQM_Q4_0)
		CASE(AQM_Q4_1)
		CASE(AQM_Q5_0)
		CASE(AQM_Q5_1)
		CASE(AQM_Q4_K)
		CASE(AQM_Q5_K)
		CASE(AQM_Q6_K)
#undef CASE
	}
}
