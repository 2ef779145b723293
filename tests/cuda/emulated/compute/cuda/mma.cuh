/* SPDX-License-Identifier: BSD-2-Clause
 *
 * src/compute/cuda/mma.cuh in plain C++: what the instructions' documentation says each lane has.
 */
#ifndef AQM_COMPUTE_CUDA_MMA_CUH
#define AQM_COMPUTE_CUDA_MMA_CUH

#include <stdint.h>

#include "compute/cuda/index.h"

struct emulated_mma {
	float *d;
	const uint32_t *a;
	uint32_t b[2];
};

static inline float emulated_half_of(uint32_t word, int high)
{
	return aqm_float_of_bfloat((uint16_t)(high ? word >> 16 : word));
}

static inline void emulated_multiply(void **lanes)
{
	float a[16][16], b[16][8], sums[16][8];

	for (int l = 0; l < 32; l++) {
		const emulated_mma *m = (const emulated_mma *)lanes[l];
		int g = l / 4, t = l % 4;

		for (int i = 0; i < 4; i++)
			for (int high = 0; high < 2; high++)
				a[g + i % 2 * 8][2 * t + i / 2 * 8 + high] = emulated_half_of(m->a[i], high);
		for (int i = 0; i < 2; i++)
			for (int high = 0; high < 2; high++)
				b[2 * t + 8 * i + high][g] = emulated_half_of(m->b[i], high);
	}
	for (int r = 0; r < 16; r++)
		for (int c = 0; c < 8; c++) {
			sums[r][c] = 0.0f;
			for (int k = 0; k < 16; k++)
				sums[r][c] += a[r][k] * b[k][c];
		}
	for (int l = 0; l < 32; l++)
		for (int i = 0; i < 4; i++)
			((const emulated_mma *)lanes[l])->d[i] += sums[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
}

static inline void mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	emulated_mma mine = {d, a, {b0, b1}};

	emulated_meet("mma", &mine, emulated_multiply);
}

struct emulated_load {
	uint32_t *r;
	const uint16_t *row;
};

template <bool transposed> static void emulated_load_all(void **lanes)
{
	for (int l = 0; l < 32; l++)
		for (int i = 0; i < 4; i++) {
			uint32_t word = 0;

			for (int high = 0; high < 2; high++) {
				int row = transposed ? 2 * (l % 4) + high : l / 4, col = transposed ? l / 4 : 2 * (l % 4) + high;
				const uint16_t *from = ((const emulated_load *)lanes[8 * i + row])->row;

				if ((uintptr_t)from % 16 != 0)
					abort();
				word |= (uint32_t)from[col] << 16 * high;
			}
			((const emulated_load *)lanes[l])->r[i] = word;
		}
}

static inline void load_matrices(uint32_t r[4], const uint16_t *row)
{
	emulated_load mine = {r, row};

	emulated_meet("load", &mine, emulated_load_all<false>);
}

static inline void load_matrices_transposed(uint32_t r[4], const uint16_t *row)
{
	emulated_load mine = {r, row};

	emulated_meet("load transposed", &mine, emulated_load_all<true>);
}

static inline uint32_t subtract_pairs(uint32_t x, uint32_t y)
{
	return (uint32_t)aqm_bfloat_of(emulated_half_of(x, 1) - emulated_half_of(y, 1)) << 16 |
	       aqm_bfloat_of(emulated_half_of(x, 0) - emulated_half_of(y, 0));
}

static inline uint32_t low_halves(uint32_t x, uint32_t y)
{
	return (x & 0xffffu) | y << 16;
}
static inline uint32_t high_halves(uint32_t x, uint32_t y)
{
	return x >> 16 | (y & 0xffff0000u);
}

#endif
