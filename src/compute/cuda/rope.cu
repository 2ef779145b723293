/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rotary position embedding (Su et al., 2021): a thread turns one pair of a row in several heads, which share its
 * angle.
 */
#include "compute/cuda/kernel.cuh"

enum { HEADS_APART = 8 };

static __global__ void rope_kernel(int64_t rows, int64_t count, int64_t heads, int64_t head_dim, int64_t tokens,
                                   const struct aqm_place *places, const float *inverse_frequency, bool halves,
                                   bool backward, struct view x)
{
	int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, row = quotient(i, count), pair = i - row * count;
	float sine, cosine;

	if (row >= rows)
		return;
	int64_t window = quotient(row, tokens), position = row - window * tokens + (places ? places[window].past : 0);

	sincosf((float)position * inverse_frequency[pair], &sine, &cosine);
	if (backward)
		sine = -sine;
	for (int64_t head = blockIdx.y; head < heads; head += gridDim.y) {
		int64_t low = head * head_dim + (halves ? pair : 2 * pair), high = halves ? low + count : low + 1;
		float a = load_one(x, row, low), b = load_one(x, row, high);

		store_one(x, row, low, a * cosine - b * sine);
		store_one(x, row, high, a * sine + b * cosine);
	}
}

void aqm_cuda_rope(aqm_device *device, struct aqm_mat x, int64_t tokens, int64_t head_dim,
                   const struct aqm_place *places, struct aqm_mat inverse_frequency, enum aqm_rope_pairs pairs,
                   bool backward)
{
	int64_t count = inverse_frequency.cols, heads = x.cols / head_dim;

	if (x.rows == 0 || count == 0)
		return;
	launch(device, "rope",
	       dim3((unsigned)aqm_pieces(x.rows * count, AQM_THREADS),
	            (unsigned)(heads < HEADS_APART ? heads : (int64_t)HEADS_APART)),
	       AQM_THREADS, 0, rope_kernel, x.rows, count, heads, head_dim, tokens, places,
	       (const float *)inverse_frequency.data, pairs == AQM_ROPE_HALVES, backward, view_of(x));
}
