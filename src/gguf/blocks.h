/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Layout of the block types, as ggml stores them. Every multi-byte number is little-endian, and a block may lie at any
 * address: fields are bytes or halves fetched by load_u16 and load_u32.
 *
 *   q4_0, q5_0:  x = d q           q4_1, q5_1:  x = d q + m          q8_0:  x = d q
 *   q4_k, q5_k:  x = (d scale) q - (dmin min)    eight sub-blocks of 32, scale and min 6 bits each
 *   q6_k:        x = (d scale) q                 sixteen sub-blocks of 16, scale 8 bits
 */
#ifndef AQM_GGUF_BLOCKS_H
#define AQM_GGUF_BLOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 32, SUPER_BLOCK = 256 };

/* clang-format off */
struct block_q4_0 { uint8_t d[2], q[16]; };
struct block_q4_1 { uint8_t d[2], m[2], q[16]; };
struct block_q5_0 { uint8_t d[2], high[4], q[16]; };
struct block_q5_1 { uint8_t d[2], m[2], high[4], q[16]; };
struct block_q8_0 { uint8_t d[2]; int8_t q[32]; };
struct block_q4_k { uint8_t d[2], dmin[2], scales[12], q[128]; };
struct block_q5_k { uint8_t d[2], dmin[2], scales[12], high[32], q[128]; };
struct block_q6_k { uint8_t low[128], high[64]; int8_t scales[16]; uint8_t d[2]; };
/* clang-format on */

static inline uint16_t load_u16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t load_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline float bits_to_float(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline uint32_t float_to_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	return bits;
}

/* IEEE half to single, exact, without a branch so that loops of it become vector code. */
static inline float half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
	uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
	uint32_t exponent = magnitude & 0x0f800000u;
	/* Re-bias 15 -> 127; infinities and NaNs need the rest of the way up to 255. */
	uint32_t normal = magnitude + ((127u - 15u) << 23) + (exponent == 0x0f800000u ? (128u - 16u) << 23 : 0);
	/* Subnormal: give it an implicit one at 2^-14, then take that one away again. */
	uint32_t subnormal = float_to_bits(bits_to_float(magnitude + (113u << 23)) - bits_to_float(113u << 23));

	return bits_to_float(sign | (exponent == 0 ? subnormal : normal));
}

static inline float load_half(const uint8_t *p)
{
	return half_to_float(load_u16(p));
}

/* Single to half, to nearest even; too large becomes infinity, NaN stays NaN. */
static inline uint16_t float_to_half(float value)
{
	uint32_t bits = float_to_bits(value);
	uint32_t sign = (bits >> 16) & 0x8000u;
	uint32_t magnitude = bits & 0x7fffffffu;
	uint32_t half;

	if (magnitude > 0x7f800000u) {
		half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
	} else if (magnitude >= (127u + 16u) << 23) {
		half = 0x7c00u;
	} else if (magnitude < (127u - 14u) << 23) {
		/* Adding 1/2 makes the float unit round where a subnormal half ends: 2^-24. */
		half = float_to_bits(bits_to_float(magnitude) + 0.5f) - float_to_bits(0.5f);
	} else {
		uint32_t odd = (magnitude >> 13) & 1;

		half = (magnitude - ((127u - 15u) << 23) + 0xfffu + odd) >> 13;
	}
	return (uint16_t)(sign | half);
}

static inline uint16_t float_to_bfloat(float value)
{
	uint32_t bits = float_to_bits(value);

	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(bits >> 16 | 64); /* a quiet NaN */
	return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

#endif
