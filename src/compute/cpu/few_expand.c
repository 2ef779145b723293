/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Expanding the common quantised types with AVX-512, for layers of few rows: there it takes a good part of the time, while
 * before a large product (aqm_cpu_expand) the expansion of gguf/ is as fast as memory.
 */
#include "compute/cpu/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("arch=x86-64-v4")))

enum { BLOCK = 32 };

/* A float16 in all lanes. */
TARGET static inline __m512 half_everywhere(const uint8_t *place)
{
	uint16_t half;

	memcpy(&half, place, sizeof half);
	return _mm512_cvtph_ps(_mm256_set1_epi16((short)half));
}

/* Scale, then 32 signed bytes. */
TARGET static void expand_q8_0(const void *blocks, float *out, size_t n)
{
	const uint8_t *in = blocks;

	for (; n >= BLOCK; n -= BLOCK, in += 2 + BLOCK, out += BLOCK) {
		__m512 scale = half_everywhere(in);
		__m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(in + 2))));
		__m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(in + 18))));

		_mm512_storeu_ps(out, _mm512_mul_ps(low, scale));
		_mm512_storeu_ps(out + 16, _mm512_mul_ps(high, scale));
	}
}

/* A block's sixteen values, looked up by 16 bytes of two nibbles each: first all the low ones, then the high ones. */
TARGET static inline void look_up(__m512 values, const uint8_t *nibbles, float *out)
{
	__m512i low =
		_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)nibbles)); /* the look-up itself ignores the higher bits */

	_mm512_storeu_ps(out, _mm512_permutexvar_ps(low, values));
	_mm512_storeu_ps(out + 16, _mm512_permutexvar_ps(_mm512_srli_epi32(low, 4), values));
}

/* Scale, then nibbles q for scale (q - 8). */
TARGET static void expand_q4_0(const void *blocks, float *out, size_t n)
{
	const __m512 steps = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
	const uint8_t *in = blocks;

	for (; n >= BLOCK; n -= BLOCK, in += 2 + BLOCK / 2, out += BLOCK)
		look_up(_mm512_mul_ps(half_everywhere(in), steps), in + 2, out);
}

/* Scale, least, then nibbles q for scale q + least. */
TARGET static void expand_q4_1(const void *blocks, float *out, size_t n)
{
	const __m512 steps = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	const uint8_t *in = blocks;

	for (; n >= BLOCK; n -= BLOCK, in += 4 + BLOCK / 2, out += BLOCK)
		look_up(_mm512_fmadd_ps(half_everywhere(in), steps, half_everywhere(in + 2)), in + 4, out);
}

aqm_cpu_expander *aqm_cpu_expand_avx512(enum aqm_dtype dtype)
{
	switch (dtype) {
	case AQM_Q8_0:
		return expand_q8_0;
	case AQM_Q4_0:
		return expand_q4_0;
	case AQM_Q4_1:
		return expand_q4_1;
	default:
		return NULL;
	}
}
#endif
