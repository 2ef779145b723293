/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Expansion of every type to float. Compiled more than once, for different instruction sets: the including file defines
 * EXPANSION, the name of the table, and LANES, the floats in a vector register. Every product and sum rounds once, in the
 * order of the gguf Python package (these files are compiled without contraction), so all builds give the same bits.
 *
 * Quantised blocks go LANES levels at a time through vector types of the compiler: plain loops over packed bits become
 * good code with one compiler and bad code with the next.
 */
#if LANES == 8
#include <immintrin.h>
#endif

#include "gguf/blocks.h"
#include "gguf/types.h"

typedef uint8_t bytes __attribute__((vector_size(LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef float floats __attribute__((vector_size(4 * LANES)));

/* The bit of each lane within a byte of packed bits, for the first and (LANES = 4) the second half of the byte. */
#if LANES == 8
static const ints lane_bit[1] = {{1, 2, 4, 8, 16, 32, 64, 128}};
#else
static const ints lane_bit[2] = {{1, 2, 4, 8}, {16, 32, 64, 128}};
#endif

static inline ints load_bytes(const uint8_t *p)
{
#if LANES == 8 /* AVX2; gcc 12 has no good code for the conversion */
	return (ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i_u *)p));
#else
	bytes b;

	memcpy(&b, p, sizeof b);
	return __builtin_convertvector(b, ints);
#endif
}

/* out[0..LANES) = d q */
static inline void store_scaled(float *out, float d, ints q)
{
	floats x = d * __builtin_convertvector(q, floats);

	memcpy(out, &x, sizeof x);
}

/* out[0..LANES) = d q + m */
static inline void store_affine(float *out, float d, ints q, float m)
{
	floats x = d * __builtin_convertvector(q, floats) + m;

	memcpy(out, &x, sizeof x);
}

/* 16 in the lanes of elements j, j + 1, ... whose bit is set: the fifth bits of a block of 32. */
static inline ints fifth_bits(const uint8_t high[4], int j)
{
	return ((high[j / 8] & lane_bit[j % 8 / LANES]) != 0) & 16;
}

static void expand_f32(const void *blocks, float *out, size_t n)
{
	memcpy(out, blocks, n * sizeof *out);
}

static void expand_f16(const void *blocks, float *restrict out, size_t n)
{
	const uint8_t *restrict in = blocks;

	for (size_t i = 0; i < n; i++)
		out[i] = half_to_float(load_u16(in + 2 * i));
}

static void expand_bf16(const void *blocks, float *restrict out, size_t n)
{
	const uint8_t *restrict in = blocks;

	for (size_t i = 0; i < n; i++)
		out[i] = bits_to_float((uint32_t)load_u16(in + 2 * i) << 16);
}

static void expand_q8_0(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q8_0 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d);

		for (int j = 0; j < BLOCK; j++)
			out[j] = (float)b[i].q[j] * d;
	}
}

static void expand_q4_0(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q4_0 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d);

		for (int j = 0; j < 16; j += LANES) {
			ints q = load_bytes(b[i].q + j);

			store_scaled(out + j, d, (q & 15) - 8);
			store_scaled(out + j + 16, d, (q >> 4) - 8);
		}
	}
}

static void expand_q4_1(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q4_1 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d), m = load_half(b[i].m);

		for (int j = 0; j < 16; j += LANES) {
			ints q = load_bytes(b[i].q + j);

			store_affine(out + j, d, q & 15, m);
			store_affine(out + j + 16, d, q >> 4, m);
		}
	}
}

static void expand_q5_0(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q5_0 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d);

		for (int j = 0; j < 16; j += LANES) {
			ints q = load_bytes(b[i].q + j);

			store_scaled(out + j, d, ((q & 15) | fifth_bits(b[i].high, j)) - 16);
			store_scaled(out + j + 16, d, (q >> 4 | fifth_bits(b[i].high, j + 16)) - 16);
		}
	}
}

static void expand_q5_1(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q5_1 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d), m = load_half(b[i].m);

		for (int j = 0; j < 16; j += LANES) {
			ints q = load_bytes(b[i].q + j);

			store_affine(out + j, d, (q & 15) | fifth_bits(b[i].high, j), m);
			store_affine(out + j + 16, d, q >> 4 | fifth_bits(b[i].high, j + 16), m);
		}
	}
}

/* The eight 6-bit scales and mins of a q4_k or q5_k block: bytes 0-3 and 4-7 hold 0-3 in their low six bits and the top
 * two bits of 4-7; bytes 8-11 hold the low four bits of scales and mins 4-7. */
static void unpack_scales(const uint8_t packed[12], uint8_t scale[8], uint8_t min[8])
{
	for (int j = 0; j < 4; j++) {
		scale[j] = packed[j] & 63;
		min[j] = packed[j + 4] & 63;
		scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 2 & 0x30));
		min[j + 4] = (uint8_t)(packed[j + 8] >> 4 | (packed[j + 4] >> 2 & 0x30));
	}
}

static void expand_q4_k(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q4_k *restrict b = blocks;

	for (size_t i = 0; i < n / SUPER_BLOCK; i++) {
		float d = load_half(b[i].d), dmin = load_half(b[i].dmin);
		const uint8_t *q = b[i].q;
		uint8_t scale[8], min[8];

		unpack_scales(b[i].scales, scale, min);
		for (int k = 0; k < 8; k += 2, q += 32, out += 64) {
			float d0 = d * (float)scale[k], m0 = dmin * (float)min[k];
			float d1 = d * (float)scale[k + 1], m1 = dmin * (float)min[k + 1];

			for (int j = 0; j < 32; j += LANES) {
				ints v = load_bytes(q + j);

				store_affine(out + j, d0, v & 15, -m0);
				store_affine(out + j + 32, d1, v >> 4, -m1);
			}
		}
	}
}

static void expand_q5_k(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q5_k *restrict b = blocks;

	for (size_t i = 0; i < n / SUPER_BLOCK; i++) {
		float d = load_half(b[i].d), dmin = load_half(b[i].dmin);
		const uint8_t *q = b[i].q, *high = b[i].high;
		uint8_t scale[8], min[8];

		unpack_scales(b[i].scales, scale, min);
		for (int k = 0; k < 8; k += 2, q += 32, out += 64) {
			float d0 = d * (float)scale[k], m0 = dmin * (float)min[k];
			float d1 = d * (float)scale[k + 1], m1 = dmin * (float)min[k + 1];

			for (int j = 0; j < 32; j += LANES) {
				ints v = load_bytes(q + j), h = load_bytes(high + j) >> k;

				store_affine(out + j, d0, (v & 15) | (h & 1) << 4, -m0);
				store_affine(out + j + 32, d1, v >> 4 | (h & 2) << 3, -m1);
			}
		}
	}
}

/* Two halves of 128: four rows of 32, their low four bits in two rows of bytes, the two high bits of all four in one. */
static void expand_q6_k(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q6_k *restrict b = blocks;

	for (size_t i = 0; i < n / SUPER_BLOCK; i++) {
		float d = load_half(b[i].d), scale[16];
		const uint8_t *low = b[i].low, *high = b[i].high;

		for (int k = 0; k < 16; k++)
			scale[k] = d * (float)b[i].scales[k];
		for (int half = 0; half < 2; half++, low += 64, high += 32, out += 128)
			for (int j = 0; j < 32; j += LANES) {
				const float *s = scale + 8 * half + j / 16;
				ints v = load_bytes(low + j), w = load_bytes(low + j + 32), h = load_bytes(high + j);

				store_scaled(out + j, s[0], ((v & 15) | (h & 3) << 4) - 32);
				store_scaled(out + j + 32, s[2], ((w & 15) | (h & 12) << 2) - 32);
				store_scaled(out + j + 64, s[4], (v >> 4 | (h & 48)) - 32);
				store_scaled(out + j + 96, s[6], (w >> 4 | (h & 192) >> 2) - 32);
			}
	}
}

const aqm_expand EXPANSION[AQM_TYPE_ROWS] = {
	expand_f32,  expand_f16,  expand_bf16, expand_q8_0, expand_q4_0, expand_q4_1,
	expand_q5_0, expand_q5_1, expand_q4_k, expand_q5_k, expand_q6_k,
};
