/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tensor cores, as far as we use them: D (16, 8) += A (16, 16) B (16, 8) of bfloat16 with float32 sums, by a warp.
 * Lane l has, with g = l / 4 and t = l % 4:
 *
 *     A  a[0] row g,   columns 2t, 2t+1      B  b0 column g, rows 2t, 2t+1      D  d[0], d[1] row g,   columns 2t, 2t+1
 *        a[1] row g+8, columns 2t, 2t+1         b1 column g, rows 2t+8, 2t+9       d[2], d[3] row g+8, columns 2t, 2t+1
 *        a[2] row g,   columns 2t+8, 2t+9
 *        a[3] row g+8, columns 2t+8, 2t+9
 *
 * tests/cuda/emulated/ has the same file in plain C++.
 */
#ifndef AQM_COMPUTE_CUDA_MMA_CUH
#define AQM_COMPUTE_CUDA_MMA_CUH

#include <stdint.h>

__device__ __forceinline__ void mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	asm volatile(
		"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four 8 x 8 matrices of bfloat16 in shared memory: lane l says where row l % 8 of matrix l / 8 begins (a multiple of
 * 16 bytes), and gets in r[i] row g, columns 2t, 2t+1 of matrix i. */
__device__ __forceinline__ void load_matrices(uint32_t r[4], const uint16_t *row)
{
	uint32_t address = (uint32_t)__cvta_generic_to_shared(row);

	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(address)
	             : "memory");
}

/* The same, but rows 2t, 2t+1 of column g. */
__device__ __forceinline__ void load_matrices_transposed(uint32_t r[4], const uint16_t *row)
{
	uint32_t address = (uint32_t)__cvta_generic_to_shared(row);

	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(address)
	             : "memory");
}

/* x - y of two bfloat16 in a word each. */
__device__ __forceinline__ uint32_t subtract_pairs(uint32_t x, uint32_t y)
{
	uint32_t d;

	asm("sub.bf16x2 %0, %1, %2;" : "=r"(d) : "r"(x), "r"(y));
	return d;
}

/* The low, or the high, halves of x and y: x's in the low half. */
__device__ __forceinline__ uint32_t low_halves(uint32_t x, uint32_t y)
{
	return __byte_perm(x, y, 0x5410);
}
__device__ __forceinline__ uint32_t high_halves(uint32_t x, uint32_t y)
{
	return __byte_perm(x, y, 0x7632);
}

#endif
