/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the two kinds of attention kernels share: attention.cu (any types and sizes, float32 inside) and
 * attention_tensor.cu (bfloat16, heads of 64, 80, 96 or 128, on the tensor cores).
 */
#ifndef AQM_COMPUTE_CUDA_ATTENTION_CUH
#define AQM_COMPUTE_CUDA_ATTENTION_CUH

#include "compute/cuda/kernel.cuh"

/* One attention, forward or backward. Query i of a window sees keys 0 .. past + i when causal, else all. */
struct attention {
	struct view q, k, v, o, dout, dq, dk, dv;
	float *lse;            /* (heads, rows); NULL: not wanted */
	const float *bias;     /* (heads, bias_ld), of 2 reach + 1 distances; NULL: none */
	float *along;          /* (heads, rows): rowsum(dO O) */
	const struct aqm_place *places; /* of the windows' keys; NULL: one window's behind the other's, nothing past */
	int64_t bias_ld, rows; /* rows = windows * queries */
	int queries, keys, past, heads, kv_heads, head_dim, reach, causal;
	float scale;
};

/* Of this block's window: the first of its keys, and, where it has a place, how many there are. */
__device__ __forceinline__ int64_t find_keys(struct attention &a, int window)
{
	if (!a.places)
		return (int64_t)window * a.keys;
	a.past = a.places[window].past;
	a.keys = a.past + a.queries;
	return a.places[window].row;
}

/* How many keys a query sees. */
__device__ __forceinline__ int keys_of(const struct attention &a, int query)
{
	return aqm_keys_seen(query, 1, a.past, a.keys, a.causal);
}

/* What is added to the score of a key. */
__device__ __forceinline__ float bias_of(const struct attention &a, int head, int query, int key)
{
	return a.bias ? a.bias[head * a.bias_ld + aqm_bias_column(key - a.past - query, a.reach)] : 0.0f;
}

/* False: these shapes, types or places are not for the tensor cores. */
bool aqm_attention_tensor_forward(aqm_device *device, const struct attention &a, int windows);
bool aqm_attention_tensor_backward(aqm_device *device, const struct attention &a, int windows);

#endif
