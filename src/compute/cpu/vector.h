/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Small functions that compilers turn into vector code: inlined into the AQM_CLONES functions that use them.
 */
#ifndef AQM_COMPUTE_CPU_VECTOR_H
#define AQM_COMPUTE_CPU_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define AQM_INLINE static inline __attribute__((always_inline))

/* Before a loop whose output may lie over an input: exactly over it, never shifted, so iterations are independent. */
#if defined(__clang__)
#define AQM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define AQM_INDEPENDENT _Pragma("GCC ivdep")
#endif

AQM_INLINE float aqm_bits_to_float(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof x);
	return x;
}

AQM_INLINE uint32_t aqm_float_to_bits(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	return bits;
}

/* e^x within 2 units in the last place; 0 below -104, infinity above 88.73, NaN of NaN. x = n ln 2 + r with |r| <= ln 2
 * / 2; e^r by a polynomial (Remez fit, relative error 3e-9). */
AQM_INLINE float aqm_exp(float x)
{
	const float round = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
	const float given = x;

	/* Clamp to -104 .. 89 by the order of the bits: as an unsigned number the more negative is larger, as a signed one
	 * the more positive. (With comparisons of floats gcc works out the two constant results on paths of their own, at
	 * the cost of every other.) */
	uint32_t low = aqm_float_to_bits(x);
	low = low < 0xc2d00000u ? low : 0xc2d00000u;
	int32_t high = (int32_t)low;
	high = high < 0x42b20000 ? high : 0x42b20000;
	x = aqm_bits_to_float((uint32_t)high);

	float shifted = x * 1.44269504089f + round;
	float n = shifted - round;
	float r = x - n * 0.693359375f;

	r = r + n * 2.12194440e-4f;
	float p = 1.38131448e-3f;
	p = p * r + 8.36941879e-3f;
	p = p * r + 4.1668456e-2f;
	p = p * r + 1.66665152e-1f;
	p = p * r + 0.49999994f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	/* 2^n in two factors, since 2^128 and 2^-150 are no normal numbers */
	int32_t whole = (int32_t)(aqm_float_to_bits(shifted) - aqm_float_to_bits(round));
	int32_t half = whole >> 1;
	float first = aqm_bits_to_float((uint32_t)(half + 127) << 23);
	float second = aqm_bits_to_float((uint32_t)(whole - half + 127) << 23);

	x = p * first * second;
	return given != given ? given : x;
}

AQM_INLINE float aqm_sigmoid(float x)
{
	return 1.0f / (1.0f + aqm_exp(-x));
}

/* Sums run in 32 lanes that are folded at the end: one order, whatever the width of the registers. */
enum { AQM_LANES = 32 };

/* Four floats: a register everywhere. */
typedef float aqm_v4 __attribute__((vector_size(16), aligned(4), may_alias));

AQM_INLINE float aqm_fold(const float lanes[AQM_LANES])
{
	const aqm_v4 *part = (const aqm_v4 *)lanes;
	aqm_v4 four = ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));

	return (four[0] + four[2]) + (four[1] + four[3]);
}

AQM_INLINE float aqm_larger(float a, float b)
{
	return a > b ? a : b;
}

AQM_INLINE float aqm_fold_largest(float lanes[AQM_LANES])
{
	for (int l = 0; l < 16; l++)
		lanes[l] = aqm_larger(lanes[l], lanes[l + 16]);
	for (int l = 0; l < 8; l++)
		lanes[l] = aqm_larger(lanes[l], lanes[l + 8]);
	for (int l = 0; l < 4; l++)
		lanes[l] = aqm_larger(lanes[l], lanes[l + 4]);
	return aqm_larger(aqm_larger(lanes[0], lanes[2]), aqm_larger(lanes[1], lanes[3]));
}

#if defined(__clang__)
#define AQM_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t aqm_indices __attribute__((vector_size(16)));
#define AQM_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (aqm_indices){i, j, k, l})
#endif

AQM_INLINE float aqm_sum(const float *x, int64_t n)
{
	float lanes[AQM_LANES] = {0};
	int64_t i = 0;

	for (; i + AQM_LANES <= n; i += AQM_LANES)
		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] += x[i + l];
	for (int l = 0; i < n; i++, l++)
		lanes[l] += x[i];
	return aqm_fold(lanes);
}

AQM_INLINE float aqm_dot(const float *x, const float *y, int64_t n)
{
	float lanes[AQM_LANES] = {0};
	int64_t i = 0;

	for (; i + AQM_LANES <= n; i += AQM_LANES)
		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] += x[i + l] * y[i + l];
	for (int l = 0; i < n; i++, l++)
		lanes[l] += x[i] * y[i];
	return aqm_fold(lanes);
}

#endif
