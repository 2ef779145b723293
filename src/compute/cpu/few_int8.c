/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows on quantised weights in integers: X is rounded to int8 in blocks of 32 columns, each with
 * a scale of its own, as the weights are, and blocks are multiplied as bytes (AVX-512 VNNI). That is four times the rate of
 * float32 multiplication, without which weights of 4 or 8 bits would be read far faster than they could be used.
 *
 *     w = d (q - z) + m,  x = e p:      sum of w x over a block = d e (sum of q p - z sum of p) + m e sum of p
 *
 * with bytes q >= 0 and z of the type, d and m of the block of W, and e and the sum of p of the block of X. Sixteen rows of W
 * are taken together, so that one register holds a sum for each, and d, m and e scale sixteen sums at once:
 *
 *     W   16 rows |block|block|...     transposed in fours of bytes:   8 registers a block, byte 4j .. 4j+3 of every row
 *     X   n rows  |block|block|...     four bytes at a time, the same for all sixteen
 *
 * A processor without these instructions multiplies the same rounded numbers in float32 (few.c).
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { MOST_ROWS = 16, BLOCK = 32 };

/* ---- X in bytes ---- */

struct rounded {
	int8_t *bytes;         /* (rows, cols) */
	float *scale, *offset; /* (rows, blocks): e, and e times the sum of p */
	int32_t *correction;   /* (rows, blocks): -z times the sum of p */
	int64_t blocks;
};

static bool has_blocks(enum aqm_dtype dtype)
{
	return dtype == AQM_Q8_0 || dtype == AQM_Q4_0 || dtype == AQM_Q4_1 || dtype == AQM_Q5_0 || dtype == AQM_Q5_1;
}

/* z: what is taken off a byte of W so that 0 stands for zero. */
static int32_t zero_of(enum aqm_dtype dtype)
{
	return dtype == AQM_Q8_0 ? 128 : dtype == AQM_Q4_0 ? 8 : dtype == AQM_Q5_0 ? 16 : 0;
}

/* Round a row: the largest of each block becomes 127. A block that is not finite gets a scale that is not. */
static void round_row(const struct rounded *r, const float *x, int64_t row, int64_t cols, int32_t zero)
{
	for (int64_t b = 0; b < r->blocks; b++) {
		int8_t *bytes = r->bytes + row * cols + b * BLOCK;
		const float *block = x + b * BLOCK;
		int64_t at = row * r->blocks + b;
		float largest = 0, not_finite = 0;
		int32_t sum = 0;

		for (int k = 0; k < BLOCK; k++) {
			largest = fmaxf(largest, fabsf(block[k]));
			not_finite += block[k] * 0.0f;
		}
		float inverse = largest > 0 ? 127.0f / largest : 0.0f;
		for (int k = 0; k < BLOCK; k++) {
			int32_t nearest = (int32_t)lrintf(block[k] * inverse);

			bytes[k] = (int8_t)nearest;
			sum += nearest;
		}
		r->scale[at] = largest / 127.0f + not_finite;
		r->correction[at] = -zero * sum;
		r->offset[at] = r->scale[at] * (float)sum;
	}
}

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("arch=x86-64-v4,avx512vnni")))

enum { GROUP = 16, REGISTERS = BLOCK / 4, CHUNK = 64 /* blocks whose scales are collected at a time */ };

struct product {
	const struct rounded *x;
	struct aqm_mat w, y;
	float beta;
	size_t row_bytes;
};

/* ---- X in bytes, sixteen blocks at a time ---- */

/* Lane i of the result = all lanes of v[i], folded by `fold`. */
#define FOLD(name, fold)                                                                                               \
	TARGET static inline __m512i name(__m512i v[GROUP])                                                                \
	{                                                                                                                  \
		for (int i = 0; i < 8; i++)                                                                                    \
			v[i] = fold(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1])); \
		for (int i = 0; i < 4; i++)                                                                                    \
			v[i] = fold(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1])); \
		for (int n = 2; n > 0; n /= 2)                                                                                 \
			for (int i = 0; i < n; i++)                                                                                \
				v[i] = fold(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88),                                        \
				            _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xdd));                                       \
		return v[0];                                                                                                   \
	}
FOLD(fold_sums, _mm512_add_epi32)
FOLD(fold_largest, _mm512_max_epu32)

/* As round_row, for up to sixteen blocks from `first` on. Sizes are compared as integers: for floats without their sign
 * that is the same order, and what is not finite is the largest. */
TARGET static void round_blocks(const struct rounded *r, const float *x, int64_t row, int64_t cols, int64_t first,
                                int32_t zero)
{
	const __m512i size = _mm512_set1_epi32(0x7fffffff);
	int64_t left = r->blocks - first < GROUP ? r->blocks - first : GROUP, at = row * r->blocks + first;
	__mmask16 mask = (__mmask16)((1u << left) - 1);
	__m512i v[GROUP];
	float inverses[GROUP] __attribute__((aligned(64)));

	x += first * BLOCK;
	for (int64_t b = 0; b < GROUP; b++) {
		const float *block = x + (b < left ? b : 0) * BLOCK;

		v[b] = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(block)), size),
		                        _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(block + 16)), size));
	}
	__m512 largest = _mm512_castsi512_ps(fold_largest(v));
	__mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_GT_OQ);
	__m512 scale = _mm512_div_ps(largest, _mm512_set1_ps(127.0f));
	_mm512_store_ps(inverses, _mm512_maskz_div_ps(some, _mm512_set1_ps(127.0f), largest));
	for (int64_t b = 0; b < left; b++) {
		__m512 inverse = _mm512_set1_ps(inverses[b]);
		int8_t *bytes = r->bytes + row * cols + (first + b) * BLOCK;
		__m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + b * BLOCK), inverse));
		__m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + b * BLOCK + 16), inverse));

		_mm_storeu_si128((__m128i *)(void *)bytes, _mm512_cvtepi32_epi8(low));
		_mm_storeu_si128((__m128i *)(void *)(bytes + 16), _mm512_cvtepi32_epi8(high));
		v[b] = _mm512_add_epi32(low, high);
	}
	for (int64_t b = left; b < GROUP; b++)
		v[b] = _mm512_setzero_si512();
	__m512i sums = fold_sums(v);
	_mm512_mask_storeu_ps(r->scale + at, mask, scale);
	_mm512_mask_storeu_ps(r->offset + at, mask, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums)));
	_mm512_mask_storeu_epi32(r->correction + at, mask, _mm512_mullo_epi32(_mm512_set1_epi32(-zero), sums));
}

/* ---- W in bytes ---- */

/* The type has an m. */
AQM_INLINE bool has_least(enum aqm_dtype dtype)
{
	return dtype == AQM_Q4_1 || dtype == AQM_Q5_1;
}

AQM_INLINE size_t bytes_of(enum aqm_dtype dtype)
{
	return dtype == AQM_Q8_0 ? 34 : dtype == AQM_Q4_0 ? 18 : dtype == AQM_Q4_1 ? 20 : dtype == AQM_Q5_0 ? 22 : 24;
}

/* 16 bytes of each of rows j, j + 4, j + 8, j + 12. */
TARGET AQM_INLINE __m512i four_rows(const uint8_t *const *rows, int j, size_t at)
{
	__m512i z = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(rows[j] + at)));

	z = _mm512_inserti32x4(z, _mm_loadu_si128((const void *)(rows[j + 4] + at)), 1);
	z = _mm512_inserti32x4(z, _mm_loadu_si128((const void *)(rows[j + 8] + at)), 2);
	return _mm512_inserti32x4(z, _mm_loadu_si128((const void *)(rows[j + 12] + at)), 3);
}

/* Columns 0 .. 15 and 16 .. 31 of the same rows as bytes q. `at`: where the block begins in its row. */
TARGET AQM_INLINE void unpack(const enum aqm_dtype dtype, const uint8_t *const *rows, int j, size_t at, __m512i *low,
                              __m512i *high)
{
	const __m512i nibble = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16);

	if (dtype == AQM_Q8_0) {
		*low = _mm512_xor_si512(four_rows(rows, j, at + 2), _mm512_set1_epi8(-128));
		*high = _mm512_xor_si512(four_rows(rows, j, at + 18), _mm512_set1_epi8(-128));
		return;
	}
	size_t header = dtype == AQM_Q4_0 ? 2 : dtype == AQM_Q4_1 ? 4 : dtype == AQM_Q5_0 ? 6 : 8;
	__m512i both = four_rows(rows, j, at + header);

	*low = _mm512_and_si512(both, nibble);
	*high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
	if (dtype == AQM_Q5_0 || dtype == AQM_Q5_1) {
		uint64_t low_bits = 0, high_bits = 0;

		for (int r = 0; r < 4; r++) {
			uint32_t bits;

			memcpy(&bits, rows[j + 4 * r] + at + header - 4, sizeof bits);
			low_bits |= (uint64_t)(bits & 0xffff) << 16 * r;
			high_bits |= (uint64_t)(bits >> 16) << 16 * r;
		}
		*low = _mm512_mask_add_epi8(*low, low_bits, *low, fifth);
		*high = _mm512_mask_add_epi8(*high, high_bits, *high, fifth);
	}
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

TARGET AQM_INLINE void load_block(const enum aqm_dtype dtype, const uint8_t *const *rows, size_t at,
                                  __m512i weights[REGISTERS])
{
	__m512i low[4], high[4];

	for (int j = 0; j < 4; j++)
		unpack(dtype, rows, j, at, &low[j], &high[j]);
	transpose(low, weights);
	transpose(high, weights + 4);
}

/* d of sixteen rows (and m, two bytes further), for `n` blocks from `at` on. */
TARGET AQM_INLINE void collect_scales(const enum aqm_dtype dtype, const uint8_t *const *rows, size_t at, int64_t n,
                                      uint16_t (*scales)[2][GROUP])
{
	for (int64_t b = 0; b < n; b++)
		for (int r = 0; r < GROUP; r++) {
			const uint8_t *block = rows[r] + at + (size_t)b * bytes_of(dtype);

			memcpy(&scales[b][0][r], block, sizeof scales[b][0][r]);
			if (has_least(dtype))
				memcpy(&scales[b][1][r], block + 2, sizeof scales[b][1][r]);
		}
}

/* ---- the product ---- */

/* Rows first .. first + 15 of W times `count` rows of X. Meanwhile asks for the group after it, which lies behind. */
TARGET AQM_INLINE void group(const enum aqm_dtype dtype, const int count, const struct product *p, int64_t first)
{
	const bool least = has_least(dtype);
	const size_t block_bytes = bytes_of(dtype);
	const struct rounded *x = p->x;
	const uint8_t *rows[GROUP], *ahead;
	uint16_t scales[CHUNK][2][GROUP] __attribute__((aligned(64)));
	__m512 sums[MOST_ROWS];
	size_t step = GROUP * block_bytes;

	for (int r = 0; r < GROUP; r++) /* a short last group repeats the last row */
		rows[r] =
			(const uint8_t *)p->w.data + (size_t)(first + r < p->w.rows ? first + r : p->w.rows - 1) * p->row_bytes;
	ahead = first + 2 * GROUP <= p->w.rows ? rows[0] + GROUP * p->row_bytes : NULL;
#pragma GCC unroll 16
	for (int i = 0; i < count; i++)
		sums[i] = _mm512_setzero_ps();
	for (int64_t b = 0; b < x->blocks; b++) {
		size_t at = (size_t)b * block_bytes;
		__m512i weights[REGISTERS];

		if (b % CHUNK == 0)
			collect_scales(dtype, rows, at, x->blocks - b < CHUNK ? x->blocks - b : CHUNK, scales);
		for (size_t line = 0; ahead && line < step; line += 64)
			__builtin_prefetch(ahead + (size_t)b * step + line);
		load_block(dtype, rows, at, weights);
		__m512 d = _mm512_cvtph_ps(_mm256_load_si256((const void *)scales[b % CHUNK][0]));
		__m512 m = least ? _mm512_cvtph_ps(_mm256_load_si256((const void *)scales[b % CHUNK][1])) : _mm512_setzero_ps();
#pragma GCC unroll 16
		for (int i = 0; i < count; i++) {
			const int8_t *bytes = x->bytes + i * p->w.cols + b * BLOCK;
			__m512i dot = _mm512_set1_epi32(x->correction[i * x->blocks + b]);

#pragma GCC unroll 8
			for (int j = 0; j < REGISTERS; j++) {
				int32_t four;

				memcpy(&four, bytes + 4 * j, sizeof four);
				dot = _mm512_dpbusd_epi32(dot, weights[j], _mm512_set1_epi32(four));
			}
			sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot),
			                          _mm512_mul_ps(d, _mm512_set1_ps(x->scale[i * x->blocks + b])), sums[i]);
			if (least)
				sums[i] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->offset[i * x->blocks + b]), sums[i]);
		}
	}
	__mmask16 mask = (__mmask16)(p->w.rows - first < GROUP ? (1u << (p->w.rows - first)) - 1 : 0xffff);
#pragma GCC unroll 16
	for (int i = 0; i < count; i++) {
		float *out = aqm_row(p->y, i) + first;

		if (p->beta != 0.0f)
			sums[i] = _mm512_fmadd_ps(_mm512_set1_ps(p->beta), _mm512_maskz_loadu_ps(mask, out), sums[i]);
		_mm512_mask_storeu_ps(out, mask, sums[i]);
	}
}

/* One function a type and a count, so that the sums stay in registers. */
#define COUNTS(XX, type)                                                                                         \
	XX(type, 1)                                                                                                  \
	XX(type, 2) XX(type, 3) XX(type, 4) XX(type, 5) XX(type, 6) XX(type, 7) XX(type, 8) XX(type, 9) XX(type, 10) \
		XX(type, 11) XX(type, 12) XX(type, 13) XX(type, 14) XX(type, 15) XX(type, 16)
#define DEFINE(type, count)                                                           \
	TARGET static void group_##type##_##count(const struct product *p, int64_t first) \
	{                                                                                 \
		group(AQM_##type, count, p, first);                                           \
	}
#define NAME(type, count) group_##type##_##count,

COUNTS(DEFINE, Q8_0)
COUNTS(DEFINE, Q4_0)
COUNTS(DEFINE, Q4_1)
COUNTS(DEFINE, Q5_0)
COUNTS(DEFINE, Q5_1)

typedef void group_function(const struct product *p, int64_t first);

static group_function *function_of(enum aqm_dtype dtype, int64_t count)
{
	static group_function *const q8_0[] = {COUNTS(NAME, Q8_0)}, *const q4_0[] = {COUNTS(NAME, Q4_0)},
								 *const q4_1[] = {COUNTS(NAME, Q4_1)}, *const q5_0[] = {COUNTS(NAME, Q5_0)},
								 *const q5_1[] = {COUNTS(NAME, Q5_1)};

	switch (dtype) {
	case AQM_Q8_0:
		return q8_0[count - 1];
	case AQM_Q4_0:
		return q4_0[count - 1];
	case AQM_Q4_1:
		return q4_1[count - 1];
	case AQM_Q5_0:
		return q5_0[count - 1];
	default:
		return q5_1[count - 1];
	}
}

static bool has_instructions(void)
{
	return aqm_cpu_level() == AQM_LEVEL_V4 && __builtin_cpu_supports("avx512vnni");
}

static void multiply(const struct rounded *r, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(w.dtype);
	const struct product p = {
		.x = r,
		.w = w,
		.y = y,
		.beta = beta,
		.row_bytes = (size_t)w.cols / traits->block * traits->block_bytes,
	};
	group_function *function = function_of(w.dtype, x.rows);

	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t first = 0; first < r->blocks; first += GROUP)
			round_blocks(r, aqm_row(x, i), i, x.cols, first, zero_of(w.dtype));

			/* Guided: a thread that has lost its core for a while holds up the others less. */
#pragma omp parallel for schedule(guided, 2) if (aqm_cpu_large(w))
	for (int64_t first = 0; first < w.rows; first += GROUP)
		function(&p, first);
}
#else
static bool has_instructions(void)
{
	return false;
}

static void multiply(const struct rounded *r, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	(void)r, (void)x, (void)w, (void)beta, (void)y;
}
#endif

/* The rounded numbers as floats. */
static void restore_rows(const struct rounded *r, struct aqm_mat x)
{
	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t k = 0; k < x.cols; k++)
			aqm_row(x, i)[k] = (float)r->bytes[i * x.cols + k] * r->scale[i * r->blocks + k / BLOCK];
}

void aqm_cpu_linear_few_int8(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	int64_t blocks = x.cols / BLOCK, each = x.rows * blocks, numbers = x.rows * x.cols;
	int64_t floats = 3 * each + (numbers + 3) / 4 + numbers, stride;
	float *memory;

	if (!has_blocks(w.dtype)) {
		aqm_cpu_linear_few(device, x, w, beta, y);
		return;
	}
	if (x.rows == 0 || !aqm_cpu_scratch(device, 1, floats, &memory, &stride))
		return;
	struct rounded r = {
		.scale = memory,
		.offset = memory + each,
		.correction = (int32_t *)(memory + 2 * each),
		.bytes = (int8_t *)(memory + 3 * each + numbers),
		.blocks = blocks,
	};
	struct aqm_mat restored = aqm_mat_f32(memory + 3 * each, x.rows, x.cols);

	if (has_instructions()) {
		multiply(&r, x, w, beta, y);
		return;
	}
	for (int64_t i = 0; i < x.rows; i++)
		round_row(&r, aqm_row(x, i), i, x.cols, zero_of(w.dtype));
	restore_rows(&r, restored);
	aqm_cpu_linear_few(device, restored, w, beta, y);
}
