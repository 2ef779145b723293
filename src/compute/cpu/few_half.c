/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows on weights of two bytes, without a buffer between: float16 and bfloat16 become float32 on
 * the way into a register, which is exact; or, where X may be rounded to bfloat16 as well, pairs of bfloat16 are
 * multiplied as they lie in memory (AVX-512 BF16), at twice the rate. Sums are float32.
 *
 *     W   ROWS rows   |register|register|...            X   n rows   |register|register|...
 *
 * Fewer than ROWS rows of W, and processors without these instructions: few.c, with the same rounding.
 */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { MOST_ROWS = 16 };

/* To bfloat16: to nearest, ties to even; what is not a number stays none. */
static uint16_t rounded(float x)
{
	uint32_t bits = aqm_float_to_bits(x);

	if (x != x)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("arch=x86-64-v4")))
#define TARGET_PAIRS __attribute__((target("arch=x86-64-v4,avx512bf16")))

enum { ROWS = 4 /* of W */, COUNT = 6 /* of X, taken together at most */ };

struct product {
	const void *x; /* floats; or bfloat16, zero from the last column to ld */
	int64_t ld;
	struct aqm_mat w, y;
	float beta;
};

/* A mask of the first n lanes. */
AQM_INLINE uint32_t lanes(int64_t n)
{
	return n >= 32 ? 0xffffffff : ((uint32_t)1 << n) - 1;
}

/* total[i] += up to a register of columns of rows 0 to 3 of W times those of row i of X. The first two: 16 columns. */
TARGET AQM_INLINE void step_f16(const int count, uint32_t mask, const uint16_t *w, int64_t cols, const void *x,
                                int64_t ld, __m512 total[COUNT][ROWS])
{
	__m512 weight[ROWS];

#pragma GCC unroll 4
	for (int r = 0; r < ROWS; r++)
		weight[r] = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)mask, w + r * cols));
#pragma GCC unroll 8
	for (int i = 0; i < count; i++) {
		__m512 input = _mm512_maskz_loadu_ps((__mmask16)mask, (const float *)x + i * ld);

#pragma GCC unroll 4
		for (int r = 0; r < ROWS; r++)
			total[i][r] = _mm512_fmadd_ps(weight[r], input, total[i][r]);
	}
}

TARGET AQM_INLINE void step_bf16(const int count, uint32_t mask, const uint16_t *w, int64_t cols, const void *x,
                                 int64_t ld, __m512 total[COUNT][ROWS])
{
	__m512 weight[ROWS];

#pragma GCC unroll 4
	for (int r = 0; r < ROWS; r++) {
		__m256i half = _mm256_maskz_loadu_epi16((__mmask16)mask, w + r * cols);

		weight[r] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
	}
#pragma GCC unroll 8
	for (int i = 0; i < count; i++) {
		__m512 input = _mm512_maskz_loadu_ps((__mmask16)mask, (const float *)x + i * ld);

#pragma GCC unroll 4
		for (int r = 0; r < ROWS; r++)
			total[i][r] = _mm512_fmadd_ps(weight[r], input, total[i][r]);
	}
}

/* Both in bfloat16: 32 columns. */
TARGET_PAIRS AQM_INLINE void step_pairs(const int count, uint32_t mask, const uint16_t *w, int64_t cols,
                                        const void *x, int64_t ld, __m512 total[COUNT][ROWS])
{
	__m512bh weight[ROWS];

#pragma GCC unroll 4
	for (int r = 0; r < ROWS; r++)
		weight[r] = (__m512bh)_mm512_maskz_loadu_epi16(mask, w + r * cols);
#pragma GCC unroll 8
	for (int i = 0; i < count; i++) {
		__m512bh input = (__m512bh)_mm512_loadu_si512((const uint16_t *)x + i * ld);

#pragma GCC unroll 4
		for (int r = 0; r < ROWS; r++)
			total[i][r] = _mm512_dpbf16_ps(total[i][r], weight[r], input);
	}
}

/* The sums of four registers side by side. */
TARGET AQM_INLINE __m128 fold(const __m512 t[ROWS])
{
	__m512 low = _mm512_add_ps(_mm512_unpacklo_ps(t[0], t[1]), _mm512_unpackhi_ps(t[0], t[1]));
	__m512 high = _mm512_add_ps(_mm512_unpacklo_ps(t[2], t[3]), _mm512_unpackhi_ps(t[2], t[3]));
	__m512 four = _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
	__m256 half = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1));

	return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

typedef void tile_function(const uint16_t *w, int64_t cols, const void *x, int64_t ld, const uint16_t *next,
                           __m128 *out);

/* out[i] = rows 0 to 3 of W times row i of X, for `count` rows of `bytes` an element; `columns` a step. Meanwhile asks
 * for as many rows of W at `next`. A function a kind and a count, so that the sums stay in registers. */
#define TILE(kind, target, columns, bytes, count)                                                               \
	target static void kind##_tile##count(const uint16_t *w, int64_t cols, const void *x, int64_t ld,           \
	                                      const uint16_t *next, __m128 *out)                                    \
	{                                                                                                           \
		__m512 total[COUNT][ROWS];                                                                              \
		int64_t k = 0;                                                                                          \
                                                                                                                \
		_Pragma("GCC unroll 8") for (int i = 0; i < (count); i++)                                               \
			_Pragma("GCC unroll 4") for (int r = 0; r < ROWS; r++) total[i][r] = _mm512_setzero_ps();           \
		for (; k + (columns) <= cols; k += (columns)) {                                                         \
			_Pragma("GCC unroll 4") for (int r = 0; r < ROWS; r++) __builtin_prefetch(next + r * cols + k);     \
			step_##kind(count, 0xffffffff, w + k, cols, (const char *)x + (bytes) * k, ld, total);              \
		}                                                                                                       \
		if (k < cols)                                                                                           \
			step_##kind(count, lanes(cols - k), w + k, cols, (const char *)x + (bytes) * k, ld, total);         \
		_Pragma("GCC unroll 8") for (int i = 0; i < (count); i++) out[i] = fold(total[i]);                      \
	}
#define TILES(kind, target, columns, bytes)                                                                     \
	TILE(kind, target, columns, bytes, 1)                                                                       \
	TILE(kind, target, columns, bytes, 2)                                                                       \
	TILE(kind, target, columns, bytes, 3)                                                                       \
	TILE(kind, target, columns, bytes, 4)                                                                       \
	TILE(kind, target, columns, bytes, 5)                                                                       \
	TILE(kind, target, columns, bytes, 6)                                                                       \
	static tile_function *const kind##_tiles[COUNT] = {kind##_tile1, kind##_tile2, kind##_tile3,                \
	                                                   kind##_tile4, kind##_tile5, kind##_tile6};
TILES(f16, TARGET, 16, 4)
TILES(bf16, TARGET, 16, 4)
TILES(pairs, TARGET_PAIRS, 32, 2)

/* Rows first .. first + 3 of W, or as many as there are (four at least in all), times the `count` rows of X, of `bytes`
 * an element. */
TARGET static void multiply_rows(const struct product *p, tile_function *const *tiles, int64_t bytes, int64_t count,
                                 int64_t first)
{
	int64_t passes = (count + COUNT - 1) / COUNT, cols = p->w.cols, last = p->w.rows - ROWS;
	int64_t start = first < last ? first : last; /* a short last group starts earlier; done rows are not written again */
	const uint16_t *w = (const uint16_t *)p->w.data + start * cols, *next = start + ROWS <= last ? w + ROWS * cols : w;
	__mmask8 mask = (__mmask8)(0xf << (first - start) & 0xf);
	__m128 sums[MOST_ROWS];

	for (int64_t pass = 0; pass < passes; pass++) {
		int64_t from = count * pass / passes, to = count * (pass + 1) / passes;

		tiles[to - from - 1](w, cols, (const char *)p->x + bytes * from * p->ld, p->ld, next, sums + from);
	}
	for (int64_t i = 0; i < count; i++) {
		float *out = aqm_row(p->y, i) + start;

		if (p->beta != 0.0f)
			sums[i] = _mm_fmadd_ps(_mm_set1_ps(p->beta), _mm_maskz_loadu_ps(mask, out), sums[i]);
		_mm_mask_storeu_ps(out, mask, sums[i]);
	}
}

static void multiply(const struct product *p, tile_function *const *tiles, int64_t bytes, int64_t count)
{
	/* Guided: a thread that has lost its core for a while holds up the others less. */
#pragma omp parallel for schedule(guided, 8) if (aqm_cpu_large(p->w))
	for (int64_t first = 0; first < p->w.rows; first += ROWS)
		multiply_rows(p, tiles, bytes, count, first);
}

/* As rounded(), but for the numbers below 2^-126, which the multiplication takes for zero anyway. */
TARGET_PAIRS static void round_row(const float *x, int64_t cols, uint16_t *out, int64_t ld)
{
	for (int64_t k = 0; k < ld; k += 16) {
		__mmask16 mask = (__mmask16)(cols > k ? lanes(cols - k) : 0);
		__m256bh pairs = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + k));

		_mm256_storeu_si256((__m256i *)(void *)(out + k), (__m256i)pairs);
	}
}

bool aqm_cpu_linear_few_half(struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct product p = {.x = x.data, .ld = x.ld, .w = w, .y = y, .beta = beta};

	if ((w.dtype != AQM_F16 && w.dtype != AQM_BF16) || w.rows < ROWS || aqm_cpu_level() != AQM_LEVEL_V4)
		return false;
	multiply(&p, w.dtype == AQM_F16 ? f16_tiles : bf16_tiles, sizeof(float), x.rows);
	return true;
}

/* X rounded to bfloat16 into `memory`; false: nothing done, by want of rows or instructions. */
static bool multiply_pairs(uint16_t *memory, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct product p = {.x = memory, .ld = (x.cols + 31) / 32 * 32, .w = w, .y = y, .beta = beta};

	if (w.rows < ROWS || aqm_cpu_level() != AQM_LEVEL_V4 || !__builtin_cpu_supports("avx512bf16"))
		return false;
	for (int64_t i = 0; i < x.rows; i++)
		round_row(aqm_row(x, i), x.cols, memory + i * p.ld, p.ld);
	multiply(&p, pairs_tiles, sizeof(uint16_t), x.rows);
	return true;
}
#else
bool aqm_cpu_linear_few_half(struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	(void)x, (void)w, (void)beta, (void)y;
	return false;
}

static bool multiply_pairs(uint16_t *memory, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	(void)memory, (void)x, (void)w, (void)beta, (void)y;
	return false;
}
#endif

void aqm_cpu_linear_few_bf16(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	int64_t stride;
	float *memory;

	if (x.rows == 0 || !aqm_cpu_scratch(device, 1, x.rows * (x.cols + 32), &memory, &stride) ||
	    multiply_pairs((uint16_t *)memory, x, w, beta, y))
		return;
	struct aqm_mat restored = aqm_mat_f32(memory, x.rows, x.cols);

	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t k = 0; k < x.cols; k++)
			aqm_row(restored, i)[k] = aqm_bits_to_float((uint32_t)rounded(aqm_row(x, i)[k]) << 16);
	aqm_cpu_linear_few(device, restored, w, beta, y);
}
