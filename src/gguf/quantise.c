/* SPDX-License-Identifier: BSD-2-Clause */
/* Quantisation, bit for bit as the gguf Python package does it (compiled without contraction). */
#include <math.h>

#include "gguf/blocks.h"
#include "gguf/types.h"

static void store_u16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

void aqm_quantise_f32(const float *in, void *blocks, size_t n)
{
	memcpy(blocks, in, n * sizeof *in);
}

void aqm_quantise_f16(const float *in, void *blocks, size_t n)
{
	uint8_t *out = blocks;

	for (size_t i = 0; i < n; i++)
		store_u16(out + 2 * i, float_to_half(in[i]));
}

void aqm_quantise_bf16(const float *in, void *blocks, size_t n)
{
	uint8_t *out = blocks;

	for (size_t i = 0; i < n; i++)
		store_u16(out + 2 * i, float_to_bfloat(in[i]));
}

/* 1/d; an all-zero block (d = 0) quantises to zeros. */
static float inverse(float d)
{
	return d == 0.0f ? 0.0f : 1.0f / d;
}

/* The integer part of x within 0..top; NaN counts as 0. */
static uint8_t clip(float x, float top)
{
	if (!(x > 0.0f))
		return 0;
	return (uint8_t)(x < top ? x : top);
}

/* The element of largest magnitude, with its sign; the first of several. */
static float extreme(const float *x)
{
	float best = x[0];

	for (int j = 1; j < BLOCK; j++)
		if (fabsf(x[j]) > fabsf(best))
			best = x[j];
	return best;
}

static void range(const float *x, float *min, float *max)
{
	*min = *max = x[0];
	for (int j = 1; j < BLOCK; j++) {
		if (x[j] < *min)
			*min = x[j];
		if (x[j] > *max)
			*max = x[j];
	}
}

/* Low nibbles: elements 0..15 in the low half of byte j, 16..31 in the high half. */
static void pack_nibbles(const uint8_t *level, uint8_t *q)
{
	for (int j = 0; j < BLOCK / 2; j++)
		q[j] = (uint8_t)((level[j] & 15) | level[j + BLOCK / 2] << 4);
}

/* Fifth bits, element j in bit j. */
static void pack_high_bits(const uint8_t *level, uint8_t *high)
{
	uint32_t bits = 0;

	for (int j = 0; j < BLOCK; j++)
		bits |= (uint32_t)(level[j] >> 4) << j;
	memcpy(high, &bits, sizeof bits);
}

void aqm_quantise_q8_0(const float *in, void *blocks, size_t n)
{
	struct block_q8_0 *b = blocks;

	for (size_t i = 0; i < n / BLOCK; i++, in += BLOCK) {
		float d = fabsf(extreme(in)) / 127.0f, id = inverse(d);

		store_u16(b[i].d, float_to_half(d));
		for (int j = 0; j < BLOCK; j++) {
			float level = in[j] * id;
			/* Nearest, halves away from zero; -O3 makes vector code of this, not of roundf. */
			float magnitude = fabsf(level), whole = floorf(magnitude);
			float rounded = whole + floorf(2.0f * (magnitude - whole));

			rounded = rounded < 127.0f ? rounded : 127.0f;
			b[i].q[j] = (int8_t)copysignf(rounded, level);
		}
	}
}

/* q4_0 and q5_0: the extreme element maps to -half (8 or 16) exactly. */
static void levels_signed(const float *x, float half, float *d, uint8_t level[BLOCK])
{
	*d = extreme(x) / -half;
	float id = inverse(*d);

	for (int j = 0; j < BLOCK; j++)
		level[j] = clip(x[j] * id + (half + 0.5f), 2.0f * half - 1.0f);
}

/* q4_1 and q5_1: minimum to 0, maximum to top (15 or 31). */
static void levels_affine(const float *x, float top, float *d, float *min, uint8_t level[BLOCK])
{
	float max;

	range(x, min, &max);
	*d = (max - *min) / top;
	float id = inverse(*d);

	for (int j = 0; j < BLOCK; j++)
		level[j] = clip((x[j] - *min) * id + 0.5f, top);
}

void aqm_quantise_q4_0(const float *in, void *blocks, size_t n)
{
	struct block_q4_0 *b = blocks;
	uint8_t level[BLOCK];
	float d;

	for (size_t i = 0; i < n / BLOCK; i++, in += BLOCK) {
		levels_signed(in, 8.0f, &d, level);
		store_u16(b[i].d, float_to_half(d));
		pack_nibbles(level, b[i].q);
	}
}

void aqm_quantise_q5_0(const float *in, void *blocks, size_t n)
{
	struct block_q5_0 *b = blocks;
	uint8_t level[BLOCK];
	float d;

	for (size_t i = 0; i < n / BLOCK; i++, in += BLOCK) {
		levels_signed(in, 16.0f, &d, level);
		store_u16(b[i].d, float_to_half(d));
		pack_high_bits(level, b[i].high);
		pack_nibbles(level, b[i].q);
	}
}

void aqm_quantise_q4_1(const float *in, void *blocks, size_t n)
{
	struct block_q4_1 *b = blocks;
	uint8_t level[BLOCK];
	float d, min;

	for (size_t i = 0; i < n / BLOCK; i++, in += BLOCK) {
		levels_affine(in, 15.0f, &d, &min, level);
		store_u16(b[i].d, float_to_half(d));
		store_u16(b[i].m, float_to_half(min));
		pack_nibbles(level, b[i].q);
	}
}

void aqm_quantise_q5_1(const float *in, void *blocks, size_t n)
{
	struct block_q5_1 *b = blocks;
	uint8_t level[BLOCK];
	float d, min;

	for (size_t i = 0; i < n / BLOCK; i++, in += BLOCK) {
		levels_affine(in, 31.0f, &d, &min, level);
		store_u16(b[i].d, float_to_half(d));
		store_u16(b[i].m, float_to_half(min));
		pack_high_bits(level, b[i].high);
		pack_nibbles(level, b[i].q);
	}
}
