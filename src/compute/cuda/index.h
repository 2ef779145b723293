/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the kernels work out about places and bits: where a tile begins, which element a byte holds, which word of
 * Philox an element draws. Plain functions for both sides, so that tests check them on the host.
 */
#ifndef AQM_COMPUTE_CUDA_INDEX_H
#define AQM_COMPUTE_CUDA_INDEX_H

#include <stdint.h>
#include <string.h>

#include "aqmtrain/gguf.h"

#ifdef __CUDACC__
#define AQM_BOTH static __host__ __device__ __forceinline__
#else
#define AQM_BOTH static inline
#endif

/* ---- numbers ---- */

AQM_BOTH int64_t aqm_pieces(int64_t n, int64_t piece)
{
	return (n + piece - 1) / piece;
}

AQM_BOTH float aqm_float_of(uint32_t bits)
{
#ifdef __CUDA_ARCH__
	return __uint_as_float(bits);
#else
	float x;

	memcpy(&x, &bits, sizeof x);
	return x;
#endif
}

AQM_BOTH uint32_t aqm_bits_of(float x)
{
#ifdef __CUDA_ARCH__
	return __float_as_uint(x);
#else
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	return bits;
#endif
}

/* A product, and a sum, that round once each: expansion has the same bits as on the CPU. */
AQM_BOTH float aqm_times(float a, float b)
{
#ifdef __CUDA_ARCH__
	return __fmul_rn(a, b);
#else
	return a * b;
#endif
}

AQM_BOTH float aqm_plus(float a, float b)
{
#ifdef __CUDA_ARCH__
	return __fadd_rn(a, b);
#else
	return a + b;
#endif
}

AQM_BOTH float aqm_float_of_half(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = (uint32_t)(half & 0x7fffu) << 13;
	uint32_t exponent = magnitude & 0x0f800000u;
	uint32_t normal = magnitude + ((127u - 15u) << 23) + (exponent == 0x0f800000u ? (128u - 16u) << 23 : 0);
	/* subnormal: given an implicit one at 2^-14, which is then taken away again */
	uint32_t subnormal = aqm_bits_of(aqm_float_of(magnitude + (113u << 23)) - aqm_float_of(113u << 23));

	return aqm_float_of(sign | (exponent == 0 ? subnormal : normal));
}

AQM_BOTH float aqm_float_of_bfloat(uint16_t bfloat)
{
	return aqm_float_of((uint32_t)bfloat << 16);
}

/* To nearest even. */
AQM_BOTH uint16_t aqm_bfloat_of(float x)
{
	uint32_t bits = aqm_bits_of(x);

	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(bits >> 16 | 64); /* a quiet NaN */
	return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* ---- random words ---- */

/* Philox4x32-10 (Salmon et al., 2011), as base/random.h has it. */
AQM_BOTH void aqm_philox_block(uint64_t seed, uint32_t stream, uint32_t sub, uint64_t block, uint32_t out[4])
{
	uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = stream, c3 = sub;
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

	for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
		uint64_t a = (uint64_t)c0 * 0xD2511F53u, b = (uint64_t)c2 * 0xCD9E8D57u;

		c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
		c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
		c1 = (uint32_t)b;
		c3 = (uint32_t)a;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/* Words `first` .. first + n - 1 (n <= 8) of the stream that begins at block `first_block`. */
AQM_BOTH void aqm_philox_eight(uint64_t seed, uint32_t stream, uint32_t sub, uint64_t first_block, uint64_t first,
                               int n, uint32_t out[8])
{
	uint32_t block[4] = {0, 0, 0, 0};

	for (int i = 0; i < 8; i++) {
		uint64_t word = first + (uint64_t)i;

		if (i < n && (i == 0 || word % 4 == 0))
			aqm_philox_block(seed, stream, sub, first_block + word / 4, block);
		out[i] = word % 4 == 0 ? block[0] : word % 4 == 1 ? block[1] : word % 4 == 2 ? block[2] : block[3];
	}
}

/* ---- block types (layout: gguf/blocks.h) ---- */

AQM_BOTH int aqm_block_elements(int dtype)
{
	switch (dtype) {
	case AQM_Q4_0:
	case AQM_Q4_1:
	case AQM_Q5_0:
	case AQM_Q5_1:
	case AQM_Q8_0:
		return 32;
	case AQM_Q4_K:
	case AQM_Q5_K:
	case AQM_Q6_K:
		return 256;
	default:
		return 1;
	}
}

AQM_BOTH int aqm_block_bytes(int dtype)
{
	switch (dtype) {
	case AQM_F32:
		return 4;
	case AQM_F16:
	case AQM_BF16:
		return 2;
	case AQM_Q4_0:
		return 18;
	case AQM_Q4_1:
		return 20;
	case AQM_Q5_0:
		return 22;
	case AQM_Q5_1:
		return 24;
	case AQM_Q8_0:
		return 34;
	case AQM_Q4_K:
		return 144;
	case AQM_Q5_K:
		return 176;
	case AQM_Q6_K:
		return 210;
	default:
		return 0;
	}
}

/* Bytes of a row of n elements, n a multiple of the block. */
AQM_BOTH int64_t aqm_row_bytes(int dtype, int64_t n)
{
	return n / aqm_block_elements(dtype) * aqm_block_bytes(dtype);
}

AQM_BOTH uint16_t aqm_u16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

AQM_BOTH uint32_t aqm_u32_at(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

AQM_BOTH float aqm_half_at(const uint8_t *p)
{
	return aqm_float_of_half(aqm_u16_at(p));
}

/* The 6-bit scale or minimum of sub-block s of q4_k and q5_k. */
AQM_BOTH int aqm_k_scale(const uint8_t *packed, int s)
{
	return s < 4 ? packed[s] & 63 : (packed[s + 4] & 15) | (packed[s - 4] >> 2 & 0x30);
}
AQM_BOTH int aqm_k_min(const uint8_t *packed, int s)
{
	return s < 4 ? packed[s + 4] & 63 : packed[s + 4] >> 4 | (packed[s] >> 2 & 0x30);
}

/* d q + m of eight levels; m is added only where the type has one, as on the CPU. */
AQM_BOTH void aqm_eight_scaled(float d, const int q[8], float out[8])
{
	for (int i = 0; i < 8; i++)
		out[i] = aqm_times(d, (float)q[i]);
}
AQM_BOTH void aqm_eight_affine(float d, const int q[8], float m, float out[8])
{
	for (int i = 0; i < 8; i++)
		out[i] = aqm_plus(aqm_times(d, (float)q[i]), m);
}

/* Four bits each of elements 8g .. 8g+7 of a block of 32, whose bytes hold elements j and j + 16. */
AQM_BOTH void aqm_eight_nibbles(const uint8_t *bytes, int g, int q[8])
{
	for (int i = 0; i < 8; i++)
		q[i] = bytes[8 * (g & 1) + i] >> (g & 2 ? 4 : 0) & 15;
}

AQM_BOTH void aqm_eight_fifths(const uint8_t *high, int g, int q[8])
{
	for (int i = 0; i < 8; i++)
		q[i] |= (high[g] >> i & 1) << 4;
}

/* The types of 256 a block, elements 8g .. 8g+7 of block b. */
AQM_BOTH void aqm_eight_k(int dtype, const uint8_t *b, int g, float out[8])
{
	int s = g / 4, j = 8 * (g % 4), q[8];
	const uint8_t *nibbles = b + (dtype == AQM_Q5_K ? 48 : 16) + 32 * (s / 2) + j;

	for (int i = 0; i < 8; i++) {
		q[i] = nibbles[i] >> (s % 2 ? 4 : 0) & 15;
		if (dtype == AQM_Q5_K)
			q[i] |= (b[16 + j + i] >> s & 1) << 4;
	}
	aqm_eight_affine(aqm_times(aqm_half_at(b), (float)aqm_k_scale(b + 4, s)), q,
	                 -aqm_times(aqm_half_at(b + 2), (float)aqm_k_min(b + 4, s)), out);
}

AQM_BOTH void aqm_eight_q6_k(const uint8_t *b, int g, float out[8])
{
	int half = g / 16, quarter = g / 4 % 4, j = 8 * (g % 4), q[8];
	const uint8_t *low = b + 64 * half + 32 * (quarter % 2) + j, *high = b + 128 + 32 * half + j;
	int8_t scale = (int8_t)b[192 + 8 * half + 2 * quarter + j / 16];

	for (int i = 0; i < 8; i++)
		q[i] = ((low[i] >> (quarter / 2 ? 4 : 0) & 15) | (high[i] >> 2 * quarter & 3) << 4) - 32;
	aqm_eight_scaled(aqm_times(aqm_half_at(b + 208), (float)scale), q, out);
}

/* Elements 8e .. 8e+7 of a row of any quantised type, or of f16. */
AQM_BOTH void aqm_expand_eight(int dtype, const uint8_t *row, int64_t e, float out[8])
{
	int groups = aqm_block_elements(dtype) / 8, g = groups ? (int)(e % groups) : 0, q[8];
	const uint8_t *b = groups ? row + e / groups * aqm_block_bytes(dtype) : row + 16 * e;

	switch (dtype) {
	case AQM_F16:
		for (int i = 0; i < 8; i++)
			out[i] = aqm_half_at(b + 2 * i);
		return;
	case AQM_Q8_0:
		for (int i = 0; i < 8; i++)
			q[i] = (int8_t)b[2 + 8 * g + i];
		aqm_eight_scaled(aqm_half_at(b), q, out);
		return;
	case AQM_Q4_0:
		aqm_eight_nibbles(b + 2, g, q);
		for (int i = 0; i < 8; i++)
			q[i] -= 8;
		aqm_eight_scaled(aqm_half_at(b), q, out);
		return;
	case AQM_Q4_1:
		aqm_eight_nibbles(b + 4, g, q);
		aqm_eight_affine(aqm_half_at(b), q, aqm_half_at(b + 2), out);
		return;
	case AQM_Q5_0:
		aqm_eight_nibbles(b + 6, g, q);
		aqm_eight_fifths(b + 2, g, q);
		for (int i = 0; i < 8; i++)
			q[i] -= 16;
		aqm_eight_scaled(aqm_half_at(b), q, out);
		return;
	case AQM_Q5_1:
		aqm_eight_nibbles(b + 8, g, q);
		aqm_eight_fifths(b + 4, g, q);
		aqm_eight_affine(aqm_half_at(b), q, aqm_half_at(b + 2), out);
		return;
	case AQM_Q4_K:
	case AQM_Q5_K:
		aqm_eight_k(dtype, b, g, out);
		return;
	case AQM_Q6_K:
		aqm_eight_q6_k(b, g, out);
		return;
	default:
		for (int i = 0; i < 8; i++)
			out[i] = 0.0f;
		return;
	}
}

/* ---- attention ---- */

/* Column of the bias for a key `distance` positions after the query (negative: before). */
AQM_BOTH int aqm_bias_column(int distance, int reach)
{
	return (distance < -reach ? -reach : distance > reach ? reach : distance) + reach;
}

/* Keys 0 .. n-1 are all that queries `first` .. first + rows - 1 may see, of `keys` keys, `past` of them before query
 * 0's own. */
AQM_BOTH int aqm_keys_seen(int first, int rows, int past, int keys, int causal)
{
	int end = past + first + rows;

	return causal && end < keys ? end : keys;
}

/* The first query that may see key `key`. */
AQM_BOTH int aqm_first_query(int key, int causal)
{
	return causal ? key : 0;
}

/* ---- reductions ---- */

/* Columns of a matrix are summed in pieces of rows, the pieces then in order; how many pieces: enough blocks to fill
 * the device, but at least 64 rows each. */
AQM_BOTH int64_t aqm_row_pieces(int64_t rows, int64_t column_blocks, int64_t wanted_blocks)
{
	int64_t most = aqm_pieces(rows, 64), wanted = aqm_pieces(wanted_blocks, column_blocks);

	return wanted < most ? wanted : most;
}

#endif
