/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Expansion of every type to float. Compiled more than once, for different instruction sets: the including file defines
 * EXPANSION, the name of the table. The loops are written for the compiler's vectoriser; every product and sum rounds
 * once, in the order of the gguf Python package (these files are compiled without contraction), so all builds of them
 * give the same bits.
 */
#include "gguf/blocks.h"
#include "gguf/types.h"

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

		for (int j = 0; j < BLOCK / 2; j++) {
			out[j] = d * (float)((b[i].q[j] & 15) - 8);
			out[j + BLOCK / 2] = d * (float)((b[i].q[j] >> 4) - 8);
		}
	}
}

static void expand_q4_1(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q4_1 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d), m = load_half(b[i].m);

		for (int j = 0; j < BLOCK / 2; j++) {
			out[j] = d * (float)(b[i].q[j] & 15) + m;
			out[j + BLOCK / 2] = d * (float)(b[i].q[j] >> 4) + m;
		}
	}
}

static void expand_q5_0(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q5_0 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d);
		uint32_t high = load_u32(b[i].high);

		for (int j = 0; j < BLOCK / 2; j++) {
			out[j] = d * (float)((int)((b[i].q[j] & 15) | (high >> j & 1) << 4) - 16);
			out[j + BLOCK / 2] = d * (float)((int)((uint32_t)(b[i].q[j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
		}
	}
}

static void expand_q5_1(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q5_1 *restrict b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, out += BLOCK) {
		float d = load_half(b[i].d), m = load_half(b[i].m);
		uint32_t high = load_u32(b[i].high);

		for (int j = 0; j < BLOCK / 2; j++) {
			out[j] = d * (float)(int)((b[i].q[j] & 15) | (high >> j & 1) << 4) + m;
			out[j + BLOCK / 2] = d * (float)(int)((uint32_t)(b[i].q[j] >> 4) | (high >> (j + 16) & 1) << 4) + m;
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

			for (int j = 0; j < 32; j++)
				out[j] = d0 * (float)(q[j] & 15) - m0;
			for (int j = 0; j < 32; j++)
				out[j + 32] = d1 * (float)(q[j] >> 4) - m1;
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

			for (int j = 0; j < 32; j++)
				out[j] = d0 * (float)((q[j] & 15) | (high[j] >> k & 1) << 4) - m0;
			for (int j = 0; j < 32; j++)
				out[j + 32] = d1 * (float)(q[j] >> 4 | (high[j] >> (k + 1) & 1) << 4) - m1;
		}
	}
}

static void expand_q6_k(const void *blocks, float *restrict out, size_t n)
{
	const struct block_q6_k *restrict b = blocks;

	for (size_t i = 0; i < n / SUPER_BLOCK; i++) {
		float d = load_half(b[i].d);
		float scale[16];

		for (int k = 0; k < 16; k++)
			scale[k] = d * (float)b[i].scales[k];
		/* Two halves of 128: four rows of 32, their low four bits in two rows of bytes, two high bits each in one. */
		for (int half = 0; half < 2; half++, out += 128) {
			const uint8_t *low = b[i].low + 64 * half, *high = b[i].high + 32 * half;

			for (int sub = 0; sub < 2; sub++) {
				const float *s = scale + 8 * half + sub;

				for (int j = 16 * sub; j < 16 * sub + 16; j++) {
					out[j] = s[0] * (float)(((low[j] & 15) | (high[j] & 3) << 4) - 32);
					out[j + 32] = s[2] * (float)(((low[j + 32] & 15) | (high[j] >> 2 & 3) << 4) - 32);
					out[j + 64] = s[4] * (float)((low[j] >> 4 | (high[j] >> 4 & 3) << 4) - 32);
					out[j + 96] = s[6] * (float)((low[j + 32] >> 4 | (high[j] >> 6) << 4) - 32);
				}
			}
		}
	}
}

const aqm_expand EXPANSION[AQM_TYPE_ROWS] = {
	expand_f32,  expand_f16,  expand_bf16, expand_q8_0, expand_q4_0, expand_q4_1,
	expand_q5_0, expand_q5_1, expand_q4_k, expand_q5_k, expand_q6_k,
};
