/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sixteen rows of a quantised W in the one form that few_int8.c multiplies: bytes, scales and least values, transposed
 * so that a register holds the same four columns (or the same scale) of every row.
 *
 *     rows j, j + 4, j + 8, j + 12 in the four 128-bit lanes of register j, 16 columns of each;
 *     four such registers make four that hold four columns of all sixteen rows
 *
 * Included by few_int8.c alone, with AVX-512.
 */
#include <immintrin.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

#define TARGET __attribute__((target("arch=x86-64-v4,avx512vnni")))

enum {
	BLOCK = 32, /* columns that share a scale of X */
	LONG = 256, /* block of the K types: eight of ours */
	SUBS = LONG / BLOCK,
	GROUP = 16, /* rows of W: lanes of a register */
};

/* Scales of a group's rows, w = d (q - z) + m, of the parts of a block, or of a long block. A part is a block, or half of
 * one in types that have a scale for every 16 columns. */
struct scales {
	__m512 d[2 * SUBS], m[SUBS]; /* m: only in types that have it */
};

/* The types that are multiplied in integers: name, dtype, bytes of a block, z, columns of a part, whether it has m. */
#define TYPE_MAP(XX)                       \
	XX(q8_0, AQM_Q8_0, 34, 128, 32, false) \
	XX(q4_0, AQM_Q4_0, 18, 8, 32, false)   \
	XX(q4_1, AQM_Q4_1, 20, 0, 32, true)    \
	XX(q5_0, AQM_Q5_0, 22, 16, 32, false)  \
	XX(q5_1, AQM_Q5_1, 24, 0, 32, true)    \
	XX(q4_k, AQM_Q4_K, 144, 0, 32, true)   \
	XX(q5_k, AQM_Q5_K, 176, 0, 32, true)   \
	XX(q6_k, AQM_Q6_K, 210, 32, 16, false)

AQM_INLINE bool is_long_type(enum aqm_dtype dtype)
{
	return dtype == AQM_Q4_K || dtype == AQM_Q5_K || dtype == AQM_Q6_K;
}

/* In each 128 bits: from four rows of four fours of bytes, to four fours of bytes of four rows. */
TARGET AQM_INLINE void transpose(const __m512i rows[4], __m512i *columns)
{
	__m512i a = _mm512_unpacklo_epi32(rows[0], rows[1]), b = _mm512_unpackhi_epi32(rows[0], rows[1]);
	__m512i c = _mm512_unpacklo_epi32(rows[2], rows[3]), d = _mm512_unpackhi_epi32(rows[2], rows[3]);

	columns[0] = _mm512_unpacklo_epi64(a, c);
	columns[1] = _mm512_unpackhi_epi64(a, c);
	columns[2] = _mm512_unpacklo_epi64(b, d);
	columns[3] = _mm512_unpackhi_epi64(b, d);
}

/* A place in sixteen rows that lie one behind the other: in rows 0 to 3, and what to add for every fourth row. */
struct rows {
	const uint8_t *of[4];
	size_t four;
};

/* Keeps the compiler from deriving a number from others, or from putting it into a vector. */
#define ALONE(number) __asm__("" : "+r"(number))

AQM_INLINE struct rows rows_at(const uint8_t *base, size_t row_bytes)
{
	struct rows w = {.four = 4 * row_bytes};

	for (size_t j = 0; j < 4; j++)
		w.of[j] = base + j * row_bytes;
	return w;
}

AQM_INLINE struct rows moved(struct rows w, size_t bytes)
{
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++) {
		w.of[j] += bytes;
		ALONE(w.of[j]);
	}
	return w;
}

AQM_INLINE const uint8_t *place(struct rows w, int row, size_t at)
{
	return w.of[row % 4] + at + (size_t)(row / 4) * w.four;
}

/* 16 bytes of each of rows j, j + 4, j + 8, j + 12. */
TARGET AQM_INLINE __m512i sixteen(struct rows w, int j, size_t at)
{
	__m512i z = _mm512_castsi128_si512(_mm_loadu_si128((const void *)place(w, j, at)));

	z = _mm512_inserti32x4(z, _mm_loadu_si128((const void *)place(w, j + 4, at)), 1);
	z = _mm512_inserti32x4(z, _mm_loadu_si128((const void *)place(w, j + 8, at)), 2);
	return _mm512_inserti32x4(z, _mm_loadu_si128((const void *)place(w, j + 12, at)), 3);
}

/* 32 bytes of each of the same rows: the first 16, the others. */
TARGET AQM_INLINE void thirty_two(struct rows w, int j, size_t at, __m512i *low, __m512i *high)
{
	__m512i a = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)place(w, j, at)));
	__m512i b = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)place(w, j + 8, at)));

	a = _mm512_inserti64x4(a, _mm256_loadu_si256((const void *)place(w, j + 4, at)), 1);
	b = _mm512_inserti64x4(b, _mm256_loadu_si256((const void *)place(w, j + 12, at)), 1);
	*low = _mm512_shuffle_i32x4(a, b, 0x88);
	*high = _mm512_shuffle_i32x4(a, b, 0xdd);
}

/* The float16 at one place of each row. Put together in words, for sixteen small stores would hold up the load. */
TARGET AQM_INLINE __m512 halves(struct rows w, size_t at)
{
	uint64_t words[4];

#pragma GCC unroll 4
	for (int k = 0; k < 4; k++) {
		uint64_t word = 0;

#pragma GCC unroll 4
		for (int r = 3; r >= 0; r--) {
			uint16_t half;

			memcpy(&half, place(w, 4 * k + r, at), sizeof half);
			word = word << 16 | half;
		}
		ALONE(word);
		words[k] = word;
	}
	return _mm512_cvtph_ps(
		_mm256_set_epi64x((long long)words[3], (long long)words[2], (long long)words[1], (long long)words[0]));
}

/* Four bytes at one place of each of rows j, j + 4, j + 8, j + 12: a bit for each of 16 columns, and of 16 others. */
AQM_INLINE void fifth_bits(struct rows w, int j, size_t at, uint64_t *low, uint64_t *high)
{
	*low = *high = 0;
#pragma GCC unroll 4
	for (int r = 0; r < 4; r++) {
		uint32_t bits;

		memcpy(&bits, place(w, j + 4 * r, at), sizeof bits);
		*low |= (uint64_t)(bits & 0xffff) << 16 * r;
		*high |= (uint64_t)(bits >> 16) << 16 * r;
	}
}

/* ---- types with blocks of 32 ---- */

/* Columns 0 .. 15 and 16 .. 31 of rows j, j + 4, j + 8, j + 12 as bytes q. `at`: where the numbers begin in a row. */
TARGET AQM_INLINE void short_block(const enum aqm_dtype dtype, struct rows w, int j, size_t at, __m512i *low,
                                   __m512i *high)
{
	const __m512i nibble = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16), sign = _mm512_set1_epi8(-128);

	if (dtype == AQM_Q8_0) {
		thirty_two(w, j, at, low, high);
		*low = _mm512_xor_si512(*low, sign);
		*high = _mm512_xor_si512(*high, sign);
		return;
	}
	__m512i both = sixteen(w, j, at);

	*low = _mm512_and_si512(both, nibble);
	*high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
	if (dtype == AQM_Q5_0 || dtype == AQM_Q5_1) {
		uint64_t low_bits, high_bits;

		fifth_bits(w, j, at - 4, &low_bits, &high_bits);
		*low = _mm512_mask_add_epi8(*low, low_bits, *low, fifth);
		*high = _mm512_mask_add_epi8(*high, high_bits, *high, fifth);
	}
}

/* ---- types with blocks of 256: eight of ours ---- */

/* Each 16 bits shifted by a number that is not known to the compiler. */
TARGET AQM_INLINE __m512i down(__m512i v, int bits)
{
	return _mm512_srl_epi16(v, _mm_cvtsi32_si128(bits));
}
TARGET AQM_INLINE __m512i up(__m512i v, int bits)
{
	return _mm512_sll_epi16(v, _mm_cvtsi32_si128(bits));
}

/* Byte i of each four. */
TARGET AQM_INLINE __m512i byte_of(__m512i fours, int i)
{
	return _mm512_and_si512(_mm512_srl_epi32(fours, _mm_cvtsi32_si128(8 * i)), _mm512_set1_epi32(0xff));
}

/* Eight scales and least values of Q4_K and Q5_K, six bits each in 12 bytes behind two float16:
 *
 *     byte      0 .. 3          4 .. 7          8 .. 11
 *     bits 0-5  scale 0 .. 3    least 0 .. 3    scale 4 .. 7 in bits 0-3, least 4 .. 7 in bits 4-7,
 *     bits 6-7  of scale 4 .. 7 of least 4 .. 7 the high two                                          */
TARGET AQM_INLINE void long_scales(struct rows w, size_t at, struct scales *out)
{
	const __m512i four = _mm512_set1_epi32(0x0f0f0f0f), two = _mm512_set1_epi32(0x30303030),
				  six = _mm512_set1_epi32(0x3f3f3f3f);
	__m512i in[4], head[4];

#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		in[j] = sixteen(w, j, at);
	transpose(in, head);
	__m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(head[0]));
	__m512 m = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(head[0], 16)));
	__m512i scales[2] = {
		_mm512_and_si512(head[1], six),
		_mm512_or_si512(_mm512_and_si512(head[3], four), _mm512_and_si512(_mm512_srli_epi32(head[1], 2), two))};
	__m512i leasts[2] = {_mm512_and_si512(head[2], six),
	                     _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(head[3], 4), four),
	                                     _mm512_and_si512(_mm512_srli_epi32(head[2], 2), two))};

	m = _mm512_sub_ps(_mm512_setzero_ps(), m);
	for (int s = 0; s < SUBS; s++) {
		__m512 scale = _mm512_cvtepi32_ps(byte_of(scales[s / 4], s % 4));
		__m512 least = _mm512_cvtepi32_ps(byte_of(leasts[s / 4], s % 4));

		out->d[s] = _mm512_mul_ps(d, scale);
		out->m[s] = _mm512_mul_ps(m, least);
	}
}

/* Sixteen scales of Q6_K, signed bytes before a float16. */
TARGET AQM_INLINE void half_scales(struct rows w, size_t at, struct scales *out)
{
	__m512i in[4], scales[4];
	__m512 d = halves(w, at + 16);

#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		in[j] = sixteen(w, j, at);
	transpose(in, scales);
	for (int s = 0; s < 16; s++) {
		__m512i scale = _mm512_srai_epi32(_mm512_slli_epi32(byte_of(scales[s / 4], s % 4), 24), 24);

		out->d[s] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale));
	}
}

/* As short_block, of block `sub` of the eight of a long block that begins at w. Q4_K and Q5_K: nibbles of blocks 2i
 * and 2i + 1 share bytes, and fifth bits of all eight; Q6_K: in each half of the long block nibbles of blocks i and
 * i + 2, and upper two bits of all four. */
TARGET AQM_INLINE void long_block(const enum aqm_dtype dtype, struct rows w, int j, int sub, __m512i *low,
                                  __m512i *high)
{
	const __m512i nibble = _mm512_set1_epi8(15);
	size_t numbers = dtype == AQM_Q6_K   ? (size_t)(sub / 4 * 64 + sub % 2 * 32)
	                 : dtype == AQM_Q5_K ? (size_t)(48 + sub / 2 * 32)
	                                     : (size_t)(16 + sub / 2 * 32);
	int nibble_at = dtype == AQM_Q6_K ? sub % 4 / 2 * 4 : sub % 2 * 4;

	thirty_two(w, j, numbers, low, high);
	*low = _mm512_and_si512(down(*low, nibble_at), nibble);
	*high = _mm512_and_si512(down(*high, nibble_at), nibble);
	if (dtype != AQM_Q4_K) {
		const __m512i above = _mm512_set1_epi8(dtype == AQM_Q6_K ? 0x30 : 0x10);
		size_t above_at = dtype == AQM_Q6_K ? (size_t)(128 + sub / 4 * 32) : 16;
		int bit = dtype == AQM_Q6_K ? sub % 4 * 2 : sub;
		__m512i low_bits, high_bits;

		/* to bit 4; what comes along from the neighbour is masked off */
		thirty_two(w, j, above_at, &low_bits, &high_bits);
		low_bits = bit < 4 ? up(low_bits, 4 - bit) : down(low_bits, bit - 4);
		high_bits = bit < 4 ? up(high_bits, 4 - bit) : down(high_bits, bit - 4);
		*low = _mm512_or_si512(*low, _mm512_and_si512(low_bits, above));
		*high = _mm512_or_si512(*high, _mm512_and_si512(high_bits, above));
	}
}

/* ---- */

/* Block b from the sixteen rows at w, which moves on: q of eight times four columns, and scales. */
TARGET AQM_INLINE void unpack(const enum aqm_dtype dtype, const size_t bytes, struct rows *w, int64_t b,
                              __m512i fours[8], struct scales *scales)
{
	const bool is_long = is_long_type(dtype);
	int sub = is_long ? (int)(b % SUBS) : 0;
	__m512i low[4], high[4];

	if (!is_long) {
		scales->d[0] = halves(*w, 0);
		if (dtype == AQM_Q4_1 || dtype == AQM_Q5_1)
			scales->m[0] = halves(*w, 2);
	} else if (sub == 0) {
		if (dtype == AQM_Q6_K)
			half_scales(*w, 192, scales);
		else
			long_scales(*w, 0, scales);
	}
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		if (is_long)
			long_block(dtype, *w, j, sub, &low[j], &high[j]);
		else
			short_block(dtype, *w, j, bytes - (dtype == AQM_Q8_0 ? 32 : 16), &low[j], &high[j]);
	if (!is_long || sub == SUBS - 1)
		*w = moved(*w, bytes);
	transpose(low, fours);
	transpose(high, fours + 4);
}
