/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attention in bfloat16 on the tensor cores (after Dao, FlashAttention-2, 2023), for heads of 64, 80, 96 or 128. A
 * warp has 16 rows: of queries, or, for the gradients of keys and values, of keys; the other side comes through
 * shared memory in tiles. Scores and their gradients stay in registers: what a product leaves in a lane (mma.cuh) is
 * what the next one wants there. Scores are in powers of two: log2(e) goes into the scale.
 *
 *     forward    block: 64 queries   S = Q K^T, P, O += P V                                  for tiles of 64 keys
 *     few        block: 16 queries   the same; each of 8 warps has its own 16 of 128 keys, and they are joined in order
 *     dq         block: 64 queries   S, dP = dO V^T, dS, dQ += dS K                          for tiles of 32 keys
 *     dk, dv     block: 64 keys      S^T = K Q^T, dP^T = V dO^T, dV += P^T dO, dK += dS^T Q  for tiles of 32 queries
 */
#include "compute/cuda/attention.cuh"
#include "compute/cuda/mma.cuh"

enum {
	ROWS = 16,
	FEW = 16,
	PAD = 8 /* between rows of a tile: eight rows then lie in eight different groups of banks */
};

#define LOG2E 1.44269504f

/* ---- tiles ---- */

/* Rows 0 .. rows - 1 of a head into a tile; zeros from row `valid` on. */
template <int D>
__device__ __forceinline__ void load_tile(uint16_t *tile, int rows, const uint16_t *from, int64_t ld, int valid)
{
	for (int i = (int)threadIdx.x; i < rows * (D / 8); i += (int)blockDim.x) {
		int row = i / (D / 8), col = i % (D / 8) * 8;

		*(uint4 *)(tile + row * (D + PAD) + col) =
			row < valid ? *(const uint4 *)(from + row * ld + col) : make_uint4(0, 0, 0, 0);
	}
}

/* A of 16 rows of a tile and columns k .. k+15. */
template <int D> __device__ __forceinline__ void rows_fragment(uint32_t a[4], const uint16_t *tile, int row, int k)
{
	int lane = (int)threadIdx.x % AQM_WARP, matrix = lane / 8;

	load_matrices(a, tile + (row + lane % 8 + matrix % 2 * 8) * (D + PAD) + k + matrix / 2 * 8);
}

/* B of two neighbours: rows n .. n+7 (b[0], b[1]) and n+8 .. n+15 (b[2], b[3]) of a tile are columns, its columns k
 * .. k+15 rows. */
template <int D> __device__ __forceinline__ void transposed_fragments(uint32_t b[4], const uint16_t *tile, int n, int k)
{
	int lane = (int)threadIdx.x % AQM_WARP, matrix = lane / 8;

	load_matrices(b, tile + (n + lane % 8 + matrix / 2 * 8) * (D + PAD) + k + matrix % 2 * 8);
}

/* B of two neighbours: rows k .. k+15 of a tile, its columns n .. n+7 (b[0], b[1]) and n+8 .. n+15 (b[2], b[3]). */
template <int D> __device__ __forceinline__ void straight_fragments(uint32_t b[4], const uint16_t *tile, int k, int n)
{
	int lane = (int)threadIdx.x % AQM_WARP, matrix = lane / 8;

	load_matrices_transposed(b, tile + (k + lane % 8 + matrix % 2 * 8) * (D + PAD) + n + matrix / 2 * 8);
}

template <int N> __device__ __forceinline__ void clear(float d[N][4])
{
#pragma unroll
	for (int i = 0; i < N; i++)
		d[i][0] = d[i][1] = d[i][2] = d[i][3] = 0.0f;
}

/* scores (16, 8 N) = 16 rows of x times the transpose of 8 N rows of y. */
template <int D, int N>
__device__ __forceinline__ void score(float scores[N][4], const uint16_t *x, int x_row, const uint16_t *y, int y_row)
{
	uint32_t a[4], b[4];

	clear<N>(scores);
#pragma unroll
	for (int k = 0; k < D; k += 16) {
		rows_fragment<D>(a, x, x_row, k);
#pragma unroll
		for (int i = 0; i < N; i += 2) {
			transposed_fragments<D>(b, y, y_row + 8 * i, k);
			mma(scores[i], a, b[0], b[1]);
			mma(scores[i + 1], a, b[2], b[3]);
		}
	}
}

/* sums (16, D) += p (16, 8 N) times 8 N rows of y; p is rounded to bfloat16. */
template <int D, int N>
__device__ __forceinline__ void mix(float sums[D / 8][4], const float p[N][4], const uint16_t *y, int y_row)
{
	uint32_t b[4];

#pragma unroll
	for (int i = 0; i < N; i += 2) {
		const uint32_t a[4] = {bfloats_of(p[i][0], p[i][1]), bfloats_of(p[i][2], p[i][3]),
		                       bfloats_of(p[i + 1][0], p[i + 1][1]), bfloats_of(p[i + 1][2], p[i + 1][3])};

#pragma unroll
		for (int n = 0; n < D / 8; n += 2) {
			straight_fragments<D>(b, y, y_row + 8 * i, 8 * n);
			mma(sums[n], a, b[0], b[1]);
			mma(sums[n + 1], a, b[2], b[3]);
		}
	}
}

/* Sum, and largest, over the four lanes that share a row. */
__device__ __forceinline__ float row_sum(float x)
{
	x += __shfl_xor_sync(0xffffffffu, x, 1);
	return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
__device__ __forceinline__ float row_largest(float x)
{
	x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
	return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* A lane's element e of an (16, 8 N) product lies in row g + 8 (e / 2), column 8 n + 2t + e % 2. */
__device__ __forceinline__ int row_of(int e)
{
	return (int)threadIdx.x % AQM_WARP / 4 + e / 2 * 8;
}
__device__ __forceinline__ int col_of(int n, int e)
{
	return 8 * n + (int)threadIdx.x % 4 * 2 + e % 2;
}

/* Rows of a product to memory, those below `valid`. */
template <int D>
__device__ __forceinline__ void store_rows(uint16_t *to, int64_t ld, int valid, const float sums[D / 8][4],
                                           const float factor[2])
{
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int row = row_of(2 * half);

		if (row >= valid)
			continue;
#pragma unroll
		for (int n = 0; n < D / 8; n++)
			*(uint32_t *)(to + row * ld + col_of(n, 0)) =
				bfloats_of(sums[n][2 * half] * factor[half], sums[n][2 * half + 1] * factor[half]);
	}
}

/* A head's columns of a row. */
__device__ __forceinline__ uint16_t *head_at(struct view v, int64_t row, int64_t col)
{
	return (uint16_t *)v.data + row * v.ld + col;
}

/* ---- forward ---- */

/* What a warp knows of its 16 rows: for rows g and g + 8, the largest score, and this lane's part of the sum. */
template <int D> struct running {
	float largest[2], total[2], sums[D / 8][4];
};

/* Take 8 N keys from `first_key` on (rows y_row on of the tiles k, v) into account for queries from `query` on. */
template <int D, int N>
__device__ __forceinline__ void take_keys(struct running<D> &r, const struct attention &a, int head, int query,
                                          const uint16_t *q, int q_row, const uint16_t *k, const uint16_t *v, int y_row,
                                          int first_key)
{
	float p[N][4], factor[2], base[2];

	score<D, N>(p, q, q_row, k, y_row);
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int row = query + row_of(2 * half), seen = keys_of(a, row);
		float largest = -INFINITY;

#pragma unroll
		for (int n = 0; n < N; n++)
#pragma unroll
			for (int e = 2 * half; e < 2 * half + 2; e++) {
				int key = first_key + col_of(n, e);

				p[n][e] = key < seen ? LOG2E * (a.scale * p[n][e] + bias_of(a, head, row, key)) : -INFINITY;
				largest = fmaxf(largest, p[n][e]);
			}
		largest = fmaxf(r.largest[half], row_largest(largest));
		base[half] = largest == -INFINITY ? 0.0f : largest; /* nothing seen yet */
		factor[half] = exp2f(r.largest[half] - base[half]);
		r.largest[half] = largest;
		r.total[half] *= factor[half];
	}
#pragma unroll
	for (int n = 0; n < N; n++)
#pragma unroll
		for (int e = 0; e < 4; e++) {
			p[n][e] = exp2f(p[n][e] - base[e / 2]);
			r.total[e / 2] += p[n][e];
		}
#pragma unroll
	for (int n = 0; n < D / 8; n++)
#pragma unroll
		for (int e = 0; e < 4; e++)
			r.sums[n][e] *= factor[e / 2];
	mix<D, N>(r.sums, p, v, y_row);
}

template <int D> __device__ __forceinline__ void begin(struct running<D> &r)
{
	r.largest[0] = r.largest[1] = -INFINITY;
	r.total[0] = r.total[1] = 0.0f;
	clear<D / 8>(r.sums);
}

enum { FORWARD_WARPS = 4, FORWARD_QUERIES = ROWS * FORWARD_WARPS, FORWARD_KEYS = 64 };

template <int D> static __global__ void __launch_bounds__(FORWARD_WARPS *AQM_WARP) forward_kernel(struct attention a)
{
	AQM_DYNAMIC_SHARED unsigned char dynamic_shared[];
	uint16_t *q = (uint16_t *)dynamic_shared, *k = q + FORWARD_QUERIES * (D + PAD), *v = k + FORWARD_KEYS * (D + PAD);
	/* the last queries see the most keys: their blocks begin first */
	int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * FORWARD_QUERIES, head = (int)blockIdx.y;
	int64_t row = (int64_t)blockIdx.z * a.queries + first, key_row = find_keys(a, (int)blockIdx.z);
	int own = (int)threadIdx.x / AQM_WARP * ROWS,
		seen = aqm_keys_seen(first, FORWARD_QUERIES, a.past, a.keys, a.causal);
	int64_t col = (int64_t)head * D, kv_col = (int64_t)(head / (a.heads / a.kv_heads)) * D;
	struct running<D> r;
	float factor[2];

	begin<D>(r);
	load_tile<D>(q, FORWARD_QUERIES, head_at(a.q, row, col), a.q.ld, a.queries - first);
	for (int key = 0; key < seen; key += FORWARD_KEYS) {
		__syncthreads();
		load_tile<D>(k, FORWARD_KEYS, head_at(a.k, key_row + key, kv_col), a.k.ld, a.keys - key);
		load_tile<D>(v, FORWARD_KEYS, head_at(a.v, key_row + key, kv_col), a.v.ld, a.keys - key);
		__syncthreads();
		take_keys<D, FORWARD_KEYS / 8>(r, a, head, first + own, q, own, k, v, 0, key);
	}
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float total = row_sum(r.total[half]);
		int query = first + own + row_of(2 * half);

		factor[half] = 1.0f / total;
		if (a.lse && threadIdx.x % 4 == 0 && query < a.queries)
			a.lse[head * a.rows + row + own + row_of(2 * half)] = r.largest[half] / LOG2E + logf(total);
	}
	store_rows<D>(head_at(a.o, row + own, col), a.o.ld, a.queries - first - own, r.sums, factor);
}

enum { FEW_WARPS = 8, FEW_KEYS = ROWS * FEW_WARPS };

/* At most 16 queries: a block a head. */
template <int D> static __global__ void __launch_bounds__(FEW_WARPS *AQM_WARP) few_kernel(struct attention a)
{
	AQM_DYNAMIC_SHARED unsigned char dynamic_shared[];
	uint16_t *q = (uint16_t *)dynamic_shared, *k = q + FEW * (D + PAD), *v = k + FEW_KEYS * (D + PAD);
	float *sums = (float *)(q + FEW * (D + PAD)); /* (FEW_WARPS, FEW, D), when k and v have been used */
	__shared__ float largest[FEW_WARPS][FEW], total[FEW_WARPS][FEW];
	int head = (int)blockIdx.y, warp = (int)threadIdx.x / AQM_WARP;
	int64_t row = (int64_t)blockIdx.z * a.queries, key_row = find_keys(a, (int)blockIdx.z);
	int64_t col = (int64_t)head * D, kv_col = (int64_t)(head / (a.heads / a.kv_heads)) * D;
	struct running<D> r;

	begin<D>(r);
	load_tile<D>(q, FEW, head_at(a.q, row, col), a.q.ld, a.queries);
	for (int key = 0; key < a.keys; key += FEW_KEYS) {
		__syncthreads();
		load_tile<D>(k, FEW_KEYS, head_at(a.k, key_row + key, kv_col), a.k.ld, a.keys - key);
		load_tile<D>(v, FEW_KEYS, head_at(a.v, key_row + key, kv_col), a.v.ld, a.keys - key);
		__syncthreads();
		take_keys<D, ROWS / 8>(r, a, head, 0, q, 0, k, v, warp * ROWS, key + warp * ROWS);
	}
	__syncthreads();
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float sum = row_sum(r.total[half]);

		if (threadIdx.x % 4 == 0) {
			largest[warp][row_of(2 * half)] = r.largest[half];
			total[warp][row_of(2 * half)] = sum;
		}
	}
#pragma unroll
	for (int n = 0; n < D / 8; n++)
#pragma unroll
		for (int e = 0; e < 4; e++)
			sums[(warp * FEW + row_of(e)) * D + col_of(n, e)] = r.sums[n][e];
	__syncthreads();
	for (int i = (int)threadIdx.x; i < a.queries * D; i += FEW_WARPS * AQM_WARP) {
		int query = i / D, c = i % D;
		float highest = -INFINITY, all = 0.0f, sum = 0.0f;

		for (int w = 0; w < FEW_WARPS; w++)
			highest = fmaxf(highest, largest[w][query]);
		for (int w = 0; w < FEW_WARPS; w++) {
			float factor = exp2f(largest[w][query] - highest);

			all += factor * total[w][query];
			sum += factor * sums[(w * FEW + query) * D + c];
		}
		*head_at(a.o, row + query, col + c) = bfloat_of(sum / all);
		if (a.lse && c == 0)
			a.lse[head * a.rows + row + query] = highest / LOG2E + logf(all);
	}
}

/* ---- backward ---- */

enum { BACKWARD_WARPS = 4, BACKWARD_ROWS = ROWS * BACKWARD_WARPS, BACKWARD_TILE = 32, BACKWARD_N = BACKWARD_TILE / 8 };

/* p = exp(score - lse), and in place of dp its slope: scale p (dp - along). */
__device__ __forceinline__ void slope_of(const struct attention &a, bool seen, float bias, float lse, float along,
                                         float *p, float *dp)
{
	*p = seen ? exp2f(LOG2E * (a.scale * *p + bias - lse)) : 0.0f;
	*dp = seen ? a.scale * *p * (*dp - along) : 0.0f;
}

template <int D> static __global__ void __launch_bounds__(BACKWARD_WARPS *AQM_WARP) dq_kernel(struct attention a)
{
	AQM_DYNAMIC_SHARED unsigned char dynamic_shared[];
	uint16_t *q = (uint16_t *)dynamic_shared, *dout = q + BACKWARD_ROWS * (D + PAD);
	uint16_t *k = dout + BACKWARD_ROWS * (D + PAD), *v = k + BACKWARD_TILE * (D + PAD);
	int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * BACKWARD_ROWS, head = (int)blockIdx.y;
	int own = (int)threadIdx.x / AQM_WARP * ROWS, seen = aqm_keys_seen(first, BACKWARD_ROWS, a.past, a.keys, a.causal);
	int64_t row = (int64_t)blockIdx.z * a.queries + first, key_row = (int64_t)blockIdx.z * a.keys;
	int64_t col = (int64_t)head * D, kv_col = (int64_t)(head / (a.heads / a.kv_heads)) * D;
	const float ones[2] = {1.0f, 1.0f};
	float lse[2], along[2], sums[D / 8][4], p[BACKWARD_N][4], dp[BACKWARD_N][4];

	load_tile<D>(q, BACKWARD_ROWS, head_at(a.q, row, col), a.q.ld, a.queries - first);
	load_tile<D>(dout, BACKWARD_ROWS, head_at(a.dout, row, col), a.dout.ld, a.queries - first);
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int query = own + row_of(2 * half);
		bool valid = first + query < a.queries;

		lse[half] = valid ? a.lse[head * a.rows + row + query] : 0.0f;
		along[half] = valid ? a.along[head * a.rows + row + query] : 0.0f;
	}
	clear<D / 8>(sums);
	for (int key = 0; key < seen; key += BACKWARD_TILE) {
		__syncthreads();
		load_tile<D>(k, BACKWARD_TILE, head_at(a.k, key_row + key, kv_col), a.k.ld, a.keys - key);
		load_tile<D>(v, BACKWARD_TILE, head_at(a.v, key_row + key, kv_col), a.v.ld, a.keys - key);
		__syncthreads();
		score<D, BACKWARD_N>(p, q, own, k, 0);
		score<D, BACKWARD_N>(dp, dout, own, v, 0);
#pragma unroll
		for (int n = 0; n < BACKWARD_N; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				int query = first + own + row_of(e), other = key + col_of(n, e);

				slope_of(a, query < a.queries && other < keys_of(a, query), bias_of(a, head, query, other), lse[e / 2],
				         along[e / 2], &p[n][e], &dp[n][e]);
			}
		mix<D, BACKWARD_N>(sums, dp, k, 0);
	}
	store_rows<D>(head_at(a.dq, row + own, col), a.dq.ld, a.queries - first - own, sums, ones);
}

template <int D> static __global__ void __launch_bounds__(BACKWARD_WARPS *AQM_WARP) dkv_kernel(struct attention a)
{
	AQM_DYNAMIC_SHARED unsigned char dynamic_shared[];
	uint16_t *k = (uint16_t *)dynamic_shared, *v = k + BACKWARD_ROWS * (D + PAD);
	uint16_t *q = v + BACKWARD_ROWS * (D + PAD), *dout = q + BACKWARD_TILE * (D + PAD);
	__shared__ float lse[BACKWARD_TILE], along[BACKWARD_TILE];
	int first = (int)blockIdx.x * BACKWARD_ROWS, own = (int)threadIdx.x / AQM_WARP * ROWS, group = a.heads / a.kv_heads;
	int begin = aqm_first_query(first, a.causal) / BACKWARD_TILE * BACKWARD_TILE;
	int64_t row = (int64_t)blockIdx.z * a.queries, key_row = (int64_t)blockIdx.z * a.keys + first;
	int64_t kv_col = (int64_t)blockIdx.y * D;
	const float ones[2] = {1.0f, 1.0f};
	float k_sums[D / 8][4], v_sums[D / 8][4], p[BACKWARD_N][4], dp[BACKWARD_N][4];

	load_tile<D>(k, BACKWARD_ROWS, head_at(a.k, key_row, kv_col), a.k.ld, a.keys - first);
	load_tile<D>(v, BACKWARD_ROWS, head_at(a.v, key_row, kv_col), a.v.ld, a.keys - first);
	clear<D / 8>(k_sums);
	clear<D / 8>(v_sums);
	for (int head = (int)blockIdx.y * group; head < ((int)blockIdx.y + 1) * group; head++)
		for (int query = begin; query < a.queries; query += BACKWARD_TILE) {
			int64_t col = (int64_t)head * D;

			__syncthreads();
			load_tile<D>(q, BACKWARD_TILE, head_at(a.q, row + query, col), a.q.ld, a.queries - query);
			load_tile<D>(dout, BACKWARD_TILE, head_at(a.dout, row + query, col), a.dout.ld, a.queries - query);
			if (threadIdx.x < BACKWARD_TILE) {
				bool valid = query + (int)threadIdx.x < a.queries;

				lse[threadIdx.x] = valid ? a.lse[head * a.rows + row + query + threadIdx.x] : 0.0f;
				along[threadIdx.x] = valid ? a.along[head * a.rows + row + query + threadIdx.x] : 0.0f;
			}
			__syncthreads();
			score<D, BACKWARD_N>(p, k, own, q, 0);
			score<D, BACKWARD_N>(dp, v, own, dout, 0);
#pragma unroll
			for (int n = 0; n < BACKWARD_N; n++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					int key = first + own + row_of(e), in_tile = col_of(n, e), other = query + in_tile;

					slope_of(a, other < a.queries && key < keys_of(a, other), bias_of(a, head, other, key),
					         lse[in_tile], along[in_tile], &p[n][e], &dp[n][e]);
				}
			mix<D, BACKWARD_N>(v_sums, p, dout, 0);
			mix<D, BACKWARD_N>(k_sums, dp, q, 0);
		}
	store_rows<D>(head_at(a.dk, key_row + own, kv_col), a.dk.ld, a.keys - first - own, k_sums, ones);
	store_rows<D>(head_at(a.dv, key_row + own, kv_col), a.dv.ld, a.keys - first - own, v_sums, ones);
}

/* ---- launching ---- */

static bool fits(struct view v)
{
	return v.bfloat && v.wide && v.ld % 8 == 0;
}

static size_t tiles_bytes(int head_dim, int rows)
{
	return (size_t)(rows * (head_dim + PAD)) * sizeof(uint16_t);
}

/* Kernels ask for more shared memory than is had without asking. */
static void launch_large(aqm_device *device, const char *name, dim3 grid, unsigned threads, size_t shared,
                         void (*kernel)(struct attention), const struct attention &a)
{
	cudaError_t code = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);

	if (code != cudaSuccess) {
		cudaGetLastError();
		aqm_cuda_fail(device, name, cudaGetErrorString(code));
		return;
	}
	launch(device, name, grid, threads, shared, kernel, a);
}

template <int D> static void forward(aqm_device *device, const struct attention &a, int windows)
{
	if (a.queries <= FEW)
		launch_large(device, "attention", dim3(1, (unsigned)a.heads, (unsigned)windows), FEW_WARPS * AQM_WARP,
		             tiles_bytes(D, FEW + 2 * FEW_KEYS), few_kernel<D>, a);
	else
		launch_large(device, "attention",
		             dim3((unsigned)aqm_pieces(a.queries, FORWARD_QUERIES), (unsigned)a.heads, (unsigned)windows),
		             FORWARD_WARPS * AQM_WARP, tiles_bytes(D, FORWARD_QUERIES + 2 * FORWARD_KEYS), forward_kernel<D>,
		             a);
}

template <int D> static void backward(aqm_device *device, const struct attention &a, int windows)
{
	size_t shared = tiles_bytes(D, 2 * BACKWARD_ROWS + 2 * BACKWARD_TILE);

	launch_large(device, "attention_backward",
	             dim3((unsigned)aqm_pieces(a.queries, BACKWARD_ROWS), (unsigned)a.heads, (unsigned)windows),
	             BACKWARD_WARPS * AQM_WARP, shared, dq_kernel<D>, a);
	launch_large(device, "attention_backward",
	             dim3((unsigned)aqm_pieces(a.keys, BACKWARD_ROWS), (unsigned)a.kv_heads, (unsigned)windows),
	             BACKWARD_WARPS * AQM_WARP, shared, dkv_kernel<D>, a);
}

bool aqm_attention_tensor_forward(aqm_device *device, const struct attention &a, int windows)
{
	if (!fits(a.q) || !fits(a.k) || !fits(a.v) || !fits(a.o))
		return false;
	switch (a.head_dim) {
	case 64:
		forward<64>(device, a, windows);
		return true;
	case 80:
		forward<80>(device, a, windows);
		return true;
	case 96:
		forward<96>(device, a, windows);
		return true;
	case 128:
		forward<128>(device, a, windows);
		return true;
	default:
		return false;
	}
}

bool aqm_attention_tensor_backward(aqm_device *device, const struct attention &a, int windows)
{
	if (!fits(a.q) || !fits(a.k) || !fits(a.v) || !fits(a.dout) || !fits(a.dq) || !fits(a.dk) || !fits(a.dv))
		return false;
	switch (a.head_dim) {
	case 64:
		backward<64>(device, a, windows);
		return true;
	case 80:
		backward<80>(device, a, windows);
		return true;
	case 96:
		backward<96>(device, a, windows);
		return true;
	case 128:
		backward<128>(device, a, windows);
		return true;
	default:
		return false;
	}
}
