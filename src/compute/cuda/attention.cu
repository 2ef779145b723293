/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attention of any types and sizes, in float32: a warp has one query (or, for the gradients of keys and values, one
 * key), its lanes 32 keys (queries) at a time, then the columns of the head. See cpu/attention.c for the formulas.
 *
 *     forward         o = sum of p v_j                    p = exp(s_j - largest so far), rescaled as it grows
 *     dq              dq = sum of ds_j k_j                p = exp(s_j - lse), ds = scale p (dO v_j - rowsum(dO O))
 *     dk, dv          dk = sum of ds_i q_i, dv = sum of p_i dO_i, over the heads of the group
 *     dbias           sums of ds / scale by distance, a warp a distance, head and window; then the windows in order
 */
#include "compute/cuda/attention.cuh"

enum { MOST_HEAD = 256, SLICES = MOST_HEAD / AQM_WARP }; /* columns that a lane has */

/* One head of a row in shared memory, zeros up to a multiple of eight. */
__device__ __forceinline__ void keep_row(struct view x, int64_t row, int64_t first, int n, float *to)
{
	for (int c = (int)threadIdx.x % AQM_WARP; c < (n + 7) / 8 * 8; c += AQM_WARP)
		to[c] = c < n ? load_one(x, row, first + c) : 0.0f;
}

__device__ __forceinline__ float dot(const float *x, struct view y, int64_t row, int64_t first, int n)
{
	float a[8], sum = 0.0f;

	for (int c = 0; c < n; c += 8) {
		load_eight(y, row, first + c, n - c < 8 ? n - c : 8, a);
#pragma unroll
		for (int i = 0; i < 8; i++)
			sum += x[c + i] * a[i];
	}
	return sum;
}

/* sums += p of each lane times its row, rows first .. first + count - 1. */
__device__ __forceinline__ void mix(float p, int count, struct view x, int64_t first, int64_t col, int n,
                                    float sums[SLICES])
{
	int lane = (int)threadIdx.x % AQM_WARP;

	for (int j = 0; j < count; j++) {
		float factor = __shfl_sync(0xffffffffu, p, j);

#pragma unroll
		for (int i = 0; i < SLICES; i++)
			if (lane + i * AQM_WARP < n)
				sums[i] += factor * load_one(x, first + j, col + lane + i * AQM_WARP);
	}
}

__device__ __forceinline__ void clear(float sums[SLICES])
{
#pragma unroll
	for (int i = 0; i < SLICES; i++)
		sums[i] = 0.0f;
}

__device__ __forceinline__ void put_row(struct view y, int64_t row, int64_t first, int n, float factor,
                                        const float sums[SLICES])
{
	int lane = (int)threadIdx.x % AQM_WARP;

#pragma unroll
	for (int i = 0; i < SLICES; i++)
		if (lane + i * AQM_WARP < n)
			store_one(y, row, first + lane + i * AQM_WARP, sums[i] * factor);
}

/* Shared memory of this warp: `rows` rows of a head. */
__device__ __forceinline__ float *own_rows(int head_dim, int rows)
{
	AQM_DYNAMIC_SHARED unsigned char dynamic_shared[];

	return (float *)dynamic_shared + threadIdx.x / AQM_WARP * rows * ((head_dim + 7) / 8 * 8);
}

/* Which query or key, head and window this warp has; false: none. */
struct job {
	int item, head, window;
};
__device__ __forceinline__ bool take_job(int items, struct job *j)
{
	j->item = (int)blockIdx.x * AQM_WARPS + (int)threadIdx.x / AQM_WARP;
	j->head = (int)blockIdx.y;
	j->window = (int)blockIdx.z;
	return j->item < items;
}

static __global__ void __launch_bounds__(AQM_THREADS) forward_kernel(struct attention a)
{
	struct job job;

	if (!take_job(a.queries, &job))
		return;
	int64_t first_key = find_keys(a, job.window);
	int lane = (int)threadIdx.x % AQM_WARP, n = a.head_dim, seen = keys_of(a, job.item);
	int64_t row = (int64_t)job.window * a.queries + job.item;
	int64_t col = (int64_t)job.head * n, kv_col = (int64_t)(job.head / (a.heads / a.kv_heads)) * n;
	float *q = own_rows(n, 1), largest = -INFINITY, total = 0.0f, sums[SLICES];

	keep_row(a.q, row, col, n, q);
	clear(sums);
	__syncwarp();
	for (int base = 0; base < seen; base += AQM_WARP) {
		int key = base + lane, count = seen - base < AQM_WARP ? seen - base : (int)AQM_WARP;
		float score = -INFINITY;

		if (key < seen)
			score = a.scale * dot(q, a.k, first_key + key, kv_col, n) + bias_of(a, job.head, job.item, key);
		float higher = fmaxf(largest, warp_largest(score)), factor = expf(largest - higher), p = expf(score - higher);

		total = total * factor + warp_sum(p);
		largest = higher;
#pragma unroll
		for (int i = 0; i < SLICES; i++)
			sums[i] *= factor;
		mix(p, count, a.v, first_key + base, kv_col, n, sums);
	}
	put_row(a.o, row, col, n, 1.0f / total, sums);
	if (lane == 0 && a.lse)
		a.lse[job.head * a.rows + row] = largest + logf(total);
}

static __global__ void __launch_bounds__(AQM_THREADS) along_kernel(struct attention a)
{
	struct job job;

	if (!take_job(a.queries, &job))
		return;
	int64_t row = (int64_t)job.window * a.queries + job.item, col = (int64_t)job.head * a.head_dim;
	float sum = 0.0f;

	for (int c = (int)threadIdx.x % AQM_WARP; c < a.head_dim; c += AQM_WARP)
		sum += load_one(a.o, row, col + c) * load_one(a.dout, row, col + c);
	sum = warp_sum(sum);
	if (threadIdx.x % AQM_WARP == 0)
		a.along[job.head * a.rows + row] = sum;
}

static __global__ void __launch_bounds__(AQM_THREADS) dq_kernel(struct attention a)
{
	struct job job;

	if (!take_job(a.queries, &job))
		return;
	int lane = (int)threadIdx.x % AQM_WARP, n = a.head_dim, seen = keys_of(a, job.item);
	int64_t row = (int64_t)job.window * a.queries + job.item, first_key = (int64_t)job.window * a.keys;
	int64_t col = (int64_t)job.head * n, kv_col = (int64_t)(job.head / (a.heads / a.kv_heads)) * n;
	float *q = own_rows(n, 2), *dout = q + (n + 7) / 8 * 8, sums[SLICES];
	float lse = a.lse[job.head * a.rows + row], along = a.along[job.head * a.rows + row];

	keep_row(a.q, row, col, n, q);
	keep_row(a.dout, row, col, n, dout);
	clear(sums);
	__syncwarp();
	for (int base = 0; base < seen; base += AQM_WARP) {
		int key = base + lane, count = seen - base < AQM_WARP ? seen - base : (int)AQM_WARP;
		float slope = 0.0f;

		if (key < seen) {
			float score = a.scale * dot(q, a.k, first_key + key, kv_col, n) + bias_of(a, job.head, job.item, key);

			slope = a.scale * expf(score - lse) * (dot(dout, a.v, first_key + key, kv_col, n) - along);
		}
		mix(slope, count, a.k, first_key + base, kv_col, n, sums);
	}
	put_row(a.dq, row, col, n, 1.0f, sums);
}

static __global__ void __launch_bounds__(AQM_THREADS) dkv_kernel(struct attention a)
{
	struct job job;

	if (!take_job(a.keys, &job))
		return;
	int lane = (int)threadIdx.x % AQM_WARP, n = a.head_dim, group = a.heads / a.kv_heads;
	int first = aqm_first_query(job.item, a.causal);
	int64_t key_row = (int64_t)job.window * a.keys + job.item, first_query = (int64_t)job.window * a.queries;
	int64_t kv_col = (int64_t)job.head * n;
	float *k = own_rows(n, 2), *v = k + (n + 7) / 8 * 8, k_sums[SLICES], v_sums[SLICES];

	keep_row(a.k, key_row, kv_col, n, k);
	keep_row(a.v, key_row, kv_col, n, v);
	clear(k_sums);
	clear(v_sums);
	__syncwarp();
	for (int head = job.head * group; head < (job.head + 1) * group; head++)
		for (int base = first; base < a.queries; base += AQM_WARP) {
			int query = base + lane, count = a.queries - base < AQM_WARP ? a.queries - base : (int)AQM_WARP;
			int64_t row = first_query + query, col = (int64_t)head * n;
			float p = 0.0f, slope = 0.0f;

			if (query < a.queries) {
				float score = a.scale * dot(k, a.q, row, col, n) + bias_of(a, head, query, job.item);

				p = expf(score - a.lse[head * a.rows + row]);
				slope = a.scale * p * (dot(v, a.dout, row, col, n) - a.along[head * a.rows + row]);
			}
			mix(slope, count, a.q, first_query + base, col, n, k_sums);
			mix(p, count, a.dout, first_query + base, col, n, v_sums);
		}
	put_row(a.dk, key_row, kv_col, n, 1.0f, k_sums);
	put_row(a.dv, key_row, kv_col, n, 1.0f, v_sums);
}

/* ---- the bias's gradient ---- */

/* Item i is the distance i - (queries - 1); sums (windows, heads, 2 queries - 1). */
static __global__ void __launch_bounds__(AQM_THREADS) dbias_kernel(struct attention a, float *sums)
{
	struct job job;

	if (!take_job(2 * a.queries - 1, &job))
		return;
	int distance = job.item - (a.queries - 1), n = a.head_dim;
	int64_t first = (int64_t)job.window * a.queries, col = (int64_t)job.head * n;
	int64_t kv_col = (int64_t)(job.head / (a.heads / a.kv_heads)) * n;
	int begin = distance < 0 ? -distance : 0, end = distance > 0 ? a.queries - distance : a.queries;
	float sum = 0.0f;

	for (int query = begin + (int)threadIdx.x % AQM_WARP; query < end && !(a.causal && distance > 0);
	     query += AQM_WARP) {
		int64_t row = first + query, key_row = row + distance;
		float score = 0.0f, slope = 0.0f, x[8], y[8];

		for (int c = 0; c < n; c += 8) {
			int count = n - c < 8 ? n - c : 8;

			load_eight(a.q, row, col + c, count, x);
			load_eight(a.k, key_row, kv_col + c, count, y);
#pragma unroll
			for (int i = 0; i < 8; i++)
				score += x[i] * y[i];
			load_eight(a.dout, row, col + c, count, x);
			load_eight(a.v, key_row, kv_col + c, count, y);
#pragma unroll
			for (int i = 0; i < 8; i++)
				slope += x[i] * y[i];
		}
		score = a.scale * score + bias_of(a, job.head, query, query + distance);
		sum += expf(score - a.lse[job.head * a.rows + row]) * (slope - a.along[job.head * a.rows + row]);
	}
	sum = warp_sum(sum);
	if (threadIdx.x % AQM_WARP == 0)
		sums[((int64_t)job.window * a.heads + job.head) * (2 * a.queries - 1) + job.item] = sum;
}

/* A thread has one distance of one head; the ends have all that are farther. */
static __global__ void fold_bias_kernel(struct attention a, int windows, const float *sums, struct view dbias)
{
	int column = (int)(blockIdx.x * blockDim.x + threadIdx.x), head = (int)blockIdx.y, distances = 2 * a.queries - 1;
	float sum = 0.0f;

	if (column > 2 * a.reach)
		return;
	for (int i = 0; i < distances; i++)
		if (aqm_bias_column(i - (a.queries - 1), a.reach) == column)
			for (int w = 0; w < windows; w++)
				sum += sums[((int64_t)w * a.heads + head) * distances + i];
	store_one(dbias, head, column, load_one(dbias, head, column) + sum);
}

static void bias_backward(aqm_device *device, const struct attention &a, int windows, float *sums, struct aqm_mat dbias)
{
	launch(device, "attention_backward",
	       dim3((unsigned)aqm_pieces(2 * a.queries - 1, AQM_WARPS), (unsigned)a.heads, (unsigned)windows), AQM_THREADS,
	       0, dbias_kernel, a, sums);
	launch(device, "attention_backward", dim3((unsigned)aqm_pieces(2 * a.reach + 1, AQM_THREADS), (unsigned)a.heads),
	       AQM_THREADS, 0, fold_bias_kernel, a, windows, (const float *)sums, view_of(dbias));
}

/* ---- ops ---- */

/* A view whose heads begin at multiples of eight columns, where they do. */
static struct view heads_of(struct aqm_mat m, int64_t head_dim)
{
	struct view v = view_of(m);

	v.wide = v.wide && head_dim % 8 == 0;
	return v;
}

static struct attention describe(struct aqm_attention s, const struct aqm_place *places, struct aqm_mat q,
                                 struct aqm_mat k, struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse)
{
	struct attention a = {};

	a.q = heads_of(q, s.head_dim);
	a.k = heads_of(k, s.head_dim);
	a.v = heads_of(v, s.head_dim);
	a.o = heads_of(o, s.head_dim);
	a.lse = (float *)lse.data;
	a.bias = (const float *)s.bias.data;
	a.bias_ld = s.bias.ld;
	a.rows = s.windows * s.tokens;
	a.queries = (int)s.tokens;
	a.keys = (int)s.tokens;
	a.places = places;
	a.heads = (int)s.heads;
	a.kv_heads = (int)s.kv_heads;
	a.head_dim = (int)s.head_dim;
	a.reach = (int)(s.bias.cols / 2);
	a.causal = s.causal;
	a.scale = s.scale;
	return a;
}

/* lse is read with its rows dense, as it is made. */
static bool takes(aqm_device *device, struct aqm_attention s)
{
	if (s.head_dim > MOST_HEAD)
		aqm_cuda_fail(device, "attention", "heads of more than 256 are not supported");
	return s.tokens > 0 && s.windows > 0 && s.head_dim <= MOST_HEAD;
}

static size_t shared_rows(const struct attention &a, int rows)
{
	return (size_t)(AQM_WARPS * rows * ((a.head_dim + 7) / 8 * 8)) * sizeof(float);
}

static void forward(aqm_device *device, const struct attention &a, int windows)
{
	if (!aqm_attention_tensor_forward(device, a, windows))
		launch(device, "attention",
		       dim3((unsigned)aqm_pieces(a.queries, AQM_WARPS), (unsigned)a.heads, (unsigned)windows), AQM_THREADS,
		       shared_rows(a, 1), forward_kernel, a);
}

void aqm_cuda_attention_forward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                                struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse)
{
	if (takes(device, shape))
		forward(device, describe(shape, NULL, q, k, v, o, lse), (int)shape.windows);
}

void aqm_cuda_attention_cached(aqm_device *device, struct aqm_attention shape, const struct aqm_place *places,
                               struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat o)
{
	shape.causal = true;
	if (takes(device, shape))
		forward(device, describe(shape, places, q, k, v, o, aqm_mat_absent()), (int)shape.windows);
}

void aqm_cuda_attention_backward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                                 struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse, struct aqm_mat dout,
                                 struct aqm_mat dq, struct aqm_mat dk, struct aqm_mat dv, struct aqm_mat dbias)
{
	if (!takes(device, shape))
		return;
	struct attention a = describe(shape, NULL, q, k, v, o, lse);
	int windows = (int)shape.windows;
	size_t along = (size_t)(a.heads * a.rows),
		   sums = dbias.data ? (size_t)(windows * a.heads) * (size_t)(2 * a.queries - 1) : 0;

	a.along = (float *)aqm_cuda_scratch(device, AQM_SCRATCH_SUMS, (along + sums) * sizeof(float));
	if (!a.along)
		return;
	a.dout = heads_of(dout, shape.head_dim);
	a.dq = heads_of(dq, shape.head_dim);
	a.dk = heads_of(dk, shape.head_dim);
	a.dv = heads_of(dv, shape.head_dim);
	dim3 by_query((unsigned)aqm_pieces(a.queries, AQM_WARPS), (unsigned)a.heads, (unsigned)windows);
	dim3 by_key((unsigned)aqm_pieces(a.keys, AQM_WARPS), (unsigned)a.kv_heads, (unsigned)windows);

	launch(device, "attention_backward", by_query, AQM_THREADS, 0, along_kernel, a);
	if (!aqm_attention_tensor_backward(device, a, windows)) {
		launch(device, "attention_backward", by_query, AQM_THREADS, shared_rows(a, 2), dq_kernel, a);
		launch(device, "attention_backward", by_key, AQM_THREADS, shared_rows(a, 2), dkv_kernel, a);
	}
	if (dbias.data)
		bias_backward(device, a, windows, a.along + along, dbias);
}
