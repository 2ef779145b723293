/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows with AVX-512, without a buffer between: weights become float32 on the way into a register,
 * which is exact for float16 and bfloat16 and otherwise what gguf/ expands them to. Or, where X may be rounded to
 * bfloat16, pairs of bfloat16 are multiplied as they lie in memory (AVX-512 BF16), at twice the rate. Sums are float32.
 *
 *              steps of 32 columns                       x, laid out anew so that a step is one piece of memory:
 *     W  rows  |####|####|####|...  2 or 4 at a time         |row 0|row 1|...|row n-1|  |row 0|row 1|...
 *
 * For each step all rows of X are multiplied with a register of each row of W, so W is read once, and a chunk of steps
 * of X stays in the first cache for all rows of W. Other types, fewer rows of W than are taken together, and processors
 * without these instructions: few.c.
 */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { STEP = 32 };

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

enum {
	ROWS_OF_MANY = 2, /* of W, taken together with 6 .. COUNT rows of X */
	ROWS_OF_FEW = 4,  /* with fewer */
	MOST_OF_FEW = 5,
	COUNT = 12,        /* rows of X taken together at most */
	CACHED = 32 << 10, /* bytes of X that may stay in the first cache */
	AHEAD = 8 << 10,   /* bytes of W to ask for before they are needed, or a little more */
};

/* Types with a kernel here; the last is of bfloat16 with X in bfloat16 too. */
#define KIND_MAP(XX)   \
	XX(AQM_F32, f32)   \
	XX(AQM_F16, f16)   \
	XX(AQM_BF16, bf16) \
	XX(AQM_Q8_0, q8_0) \
	XX(AQM_Q4_0, q4_0) \
	XX(AQM_Q4_1, q4_1)

struct product {
	const void *x; /* (steps, rows, STEP) floats or bfloat16, zeros behind the last column */
	struct aqm_mat w, y;
	float beta;
	int64_t count;    /* rows of X */
	int64_t x_bytes;  /* of an element of it */
	int64_t steps;    /* the last may be short: */
	uint32_t last;    /* mask of its columns */
	int64_t chunk;    /* steps whose X stays in the first cache */
	size_t row_bytes; /* of W */
};

/* ---- weights into registers ---- */

/* A float16 in all lanes. */
TARGET AQM_INLINE __m512 half_everywhere(const uint8_t *place)
{
	uint16_t half;

	memcpy(&half, place, sizeof half);
	return _mm512_cvtph_ps(_mm256_set1_epi16((short)half));
}

/* Columns 0 .. 15 or 16 .. 31 (`part` 0, 1) of a step of a row; those outside the mask are 0 (types with blocks have
 * none). */
TARGET AQM_INLINE __m512 weights(const enum aqm_dtype dtype, const uint8_t *step, const int part, uint32_t mask)
{
	const __m512 steps = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	__mmask16 own = (__mmask16)(mask >> 16 * part);
	__m512i bytes;

	switch (dtype) {
	case AQM_F16:
		return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(own, step + 32 * part));
	case AQM_BF16:
		return _mm512_castsi512_ps(
			_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(own, step + 32 * part)), 16));
	case AQM_Q8_0: /* scale, then 32 signed bytes */
		bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(step + 2 + 16 * part)));
		return _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), half_everywhere(step));
	case AQM_Q4_0: /* scale, then nibbles q for scale (q - 8): the look-up itself ignores the higher bits */
		bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(step + 2)));
		return _mm512_permutexvar_ps(part ? _mm512_srli_epi32(bytes, 4) : bytes,
		                             _mm512_mul_ps(half_everywhere(step), _mm512_sub_ps(steps, _mm512_set1_ps(8))));
	case AQM_Q4_1: /* scale, least, then nibbles q for scale q + least */
		bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(step + 4)));
		return _mm512_permutexvar_ps(part ? _mm512_srli_epi32(bytes, 4) : bytes,
		                             _mm512_fmadd_ps(half_everywhere(step), steps, half_everywhere(step + 2)));
	default:
		return _mm512_maskz_loadu_ps(own, step + 64 * part);
	}
}

/* Ask for a step's bytes, in all its cache lines. */
AQM_INLINE void fetch(const uint8_t *step, const size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(step + i);
}

/* ---- sums ---- */

/* The sums of four registers side by side. */
TARGET AQM_INLINE __m128 fold(__m512 a, __m512 b, __m512 c, __m512 d)
{
	__m512 low = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
	__m512 high = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
	__m512 four = _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
	__m256 half = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1));

	return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* y row i (columns 0 .. rows - 1, the first `skip` excepted) = beta times that, and the sums of total[i]. */
TARGET AQM_INLINE void write_sums(const int count, const int rows, const __m512 total[COUNT][ROWS_OF_FEW], float beta,
                                  float *y, int64_t ld, int64_t skip)
{
	/* As many tokens as fill four lanes. */
	const int together = 4 / rows;
	const __mmask8 mask = (__mmask8)((1 << rows) - (1 << skip));
	const __m128 scale = _mm_set1_ps(beta);

#pragma GCC unroll 12
	for (int i = 0; i < count; i += together) {
		int next = i + together > count ? i : i + together - 1;
		__m128 sums = fold(total[i][0], total[i][1], total[next][rows - 2], total[next][rows - 1]);

		for (int j = i; j <= next; j++, sums = _mm_movehl_ps(sums, sums)) {
			float *out = y + j * ld;
			__m128 value = sums;

			if (beta != 0.0f)
				value = _mm_fmadd_ps(scale, _mm_maskz_loadu_ps(mask, out), value);
			_mm_mask_storeu_ps(out, mask, value);
		}
	}
}

/* ---- tiles ---- */

/* Steps first .. end of `rows` rows of W, row_bytes apart, times rows from .. from + count of X, into y (its columns 0 ..
 * rows - 1). Meanwhile asks for what lies `ahead` bytes on. */
typedef void tile_function(const struct product *p, const uint8_t *w, int64_t first, int64_t end, int64_t from,
                           size_t ahead, float beta, float *y, int64_t skip);

TARGET AQM_INLINE void one_step(const enum aqm_dtype dtype, const int count, const int rows, const uint8_t *w,
                                size_t row_bytes, uint32_t mask, const float *x, __m512 total[COUNT][ROWS_OF_FEW])
{
#pragma GCC unroll 2
	for (int part = 0; part < 2; part++) {
		__m512 weight[ROWS_OF_FEW];

#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
			weight[r] = weights(dtype, w + (size_t)r * row_bytes, part, mask);
#pragma GCC unroll 12
		for (int i = 0; i < count; i++) {
			__m512 input = _mm512_loadu_ps(x + STEP * i + 16 * part);

			/* Once into a register: a load as part of each multiplication would be one each. */
			__asm__("" : "+v"(input));
#pragma GCC unroll 4
			for (int r = 0; r < rows; r++)
				total[i][r] = _mm512_fmadd_ps(weight[r], input, total[i][r]);
		}
	}
}

TARGET AQM_INLINE void tile(const enum aqm_dtype dtype, const size_t step_bytes, const int count, const int rows,
                            const struct product *p, const uint8_t *w, int64_t first, int64_t end, int64_t from,
                            size_t ahead, float beta, float *y, int64_t skip)
{
	const float *x = (const float *)p->x + (first * p->count + from) * STEP;
	int64_t whole = end == p->steps && p->last != UINT32_MAX ? end - 1 : end, x_step = p->count * STEP;
	__m512 total[COUNT][ROWS_OF_FEW];

#pragma GCC unroll 12
	for (int i = 0; i < count; i++)
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
			total[i][r] = _mm512_setzero_ps();
	w += (size_t)first * step_bytes;
	for (int64_t k = first; k < whole; k++, w += step_bytes, x += x_step) {
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
			fetch(w + (size_t)r * p->row_bytes + ahead, step_bytes);
		one_step(dtype, count, rows, w, p->row_bytes, UINT32_MAX, x, total);
	}
	if (whole < end)
		one_step(dtype, count, rows, w, p->row_bytes, p->last, x, total);
	write_sums(count, rows, total, beta, y, p->y.ld, skip);
}

TARGET_PAIRS AQM_INLINE void one_step_of_pairs(const int count, const int rows, const uint8_t *w, size_t row_bytes,
                                               uint32_t mask, const uint16_t *x, __m512 total[COUNT][ROWS_OF_FEW])
{
	__m512bh weight[ROWS_OF_FEW];

#pragma GCC unroll 4
	for (int r = 0; r < rows; r++)
		weight[r] = (__m512bh)_mm512_maskz_loadu_epi16(mask, w + (size_t)r * row_bytes);
#pragma GCC unroll 12
	for (int i = 0; i < count; i++) {
		__m512i input = _mm512_loadu_si512(x + STEP * i);

		__asm__("" : "+v"(input));
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
			total[i][r] = _mm512_dpbf16_ps(total[i][r], weight[r], (__m512bh)input);
	}
}

TARGET_PAIRS AQM_INLINE void tile_of_pairs(const int count, const int rows, const struct product *p, const uint8_t *w,
                                           int64_t first, int64_t end, int64_t from, size_t ahead, float beta, float *y,
                                           int64_t skip)
{
	const uint16_t *x = (const uint16_t *)p->x + (first * p->count + from) * STEP;
	int64_t whole = end == p->steps && p->last != UINT32_MAX ? end - 1 : end, x_step = p->count * STEP;
	__m512 total[COUNT][ROWS_OF_FEW];

#pragma GCC unroll 12
	for (int i = 0; i < count; i++)
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
			total[i][r] = _mm512_setzero_ps();
	w += (size_t)first * 2 * STEP;
	for (int64_t k = first; k < whole; k++, w += 2 * STEP, x += x_step) {
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
			__builtin_prefetch(w + (size_t)r * p->row_bytes + ahead);
		one_step_of_pairs(count, rows, w, p->row_bytes, UINT32_MAX, x, total);
	}
	if (whole < end)
		one_step_of_pairs(count, rows, w, p->row_bytes, p->last, x, total);
	write_sums(count, rows, total, beta, y, p->y.ld, skip);
}

/* A function a kind and a count, so that the sums stay in registers. */
#define PARAMETERS                                                                                                 \
	const struct product *p, const uint8_t *w, int64_t first, int64_t end, int64_t from, size_t ahead, float beta, \
		float *y, int64_t skip
#define ROWS_OF(count) ((count) <= MOST_OF_FEW ? ROWS_OF_FEW : ROWS_OF_MANY)
#define TILE(dtype, name, step_bytes, count)                                                          \
	TARGET static void name##_##count(PARAMETERS)                                                     \
	{                                                                                                 \
		tile(dtype, step_bytes, count, ROWS_OF(count), p, w, first, end, from, ahead, beta, y, skip); \
	}
#define TILE_OF_PAIRS(dtype, name, step_bytes, count)                                       \
	TARGET_PAIRS static void name##_##count(PARAMETERS)                                     \
	{                                                                                       \
		tile_of_pairs(count, ROWS_OF(count), p, w, first, end, from, ahead, beta, y, skip); \
	}
#define NAME(dtype, name, step_bytes, count) name##_##count,
#define COUNTED(XX, dtype, name, step_bytes)                                                               \
	XX(dtype, name, step_bytes, 1)                                                                         \
	XX(dtype, name, step_bytes, 2)                                                                         \
	XX(dtype, name, step_bytes, 3) XX(dtype, name, step_bytes, 4) XX(dtype, name, step_bytes, 5)           \
		XX(dtype, name, step_bytes, 6) XX(dtype, name, step_bytes, 7) XX(dtype, name, step_bytes, 8)       \
			XX(dtype, name, step_bytes, 9) XX(dtype, name, step_bytes, 10) XX(dtype, name, step_bytes, 11) \
				XX(dtype, name, step_bytes, 12)
#define TILES(XX, dtype, name, step_bytes) \
	COUNTED(XX, dtype, name, step_bytes)   \
	static tile_function *const name##_tiles[COUNT] = {COUNTED(NAME, dtype, name, step_bytes)};
TILES(TILE, AQM_F32, f32, 128)
TILES(TILE, AQM_F16, f16, 64)
TILES(TILE, AQM_BF16, bf16, 64)
TILES(TILE, AQM_Q8_0, q8_0, 34)
TILES(TILE, AQM_Q4_0, q4_0, 18)
TILES(TILE, AQM_Q4_1, q4_1, 20)
TILES(TILE_OF_PAIRS, AQM_BF16, pairs, 64)

static tile_function *const *tiles_of(enum aqm_dtype dtype)
{
	switch (dtype) {
#define CHOOSE(dtype, name) \
	case dtype:             \
		return name##_tiles;
		KIND_MAP(CHOOSE)
#undef CHOOSE
	default:
		return NULL;
	}
}

/* ---- the product ---- */

/* Rows of W taken together. */
static int64_t group_of(int64_t count)
{
	return (count + COUNT - 1) / COUNT > 1 ? ROWS_OF_MANY : ROWS_OF(count);
}

/* Rows first .. last of W times X, a chunk of columns after the other. */
static void multiply_rows(const struct product *p, tile_function *const *tiles, int64_t first, int64_t last)
{
	int64_t passes = (p->count + COUNT - 1) / COUNT, rows = group_of(p->count);
	size_t group_bytes = (size_t)rows * p->row_bytes, ahead = (AHEAD + group_bytes - 1) / group_bytes * group_bytes;

	for (int64_t k = 0; k < p->steps; k += p->chunk) {
		int64_t end = p->steps - k < p->chunk ? p->steps : k + p->chunk;

		for (int64_t row = first; row < last; row += rows) {
			/* A short last group starts earlier; rows that are done are not written again. */
			int64_t start = row + rows <= p->w.rows ? row : p->w.rows - rows;
			const uint8_t *w = (const uint8_t *)p->w.data + (size_t)start * p->row_bytes;

			for (int64_t pass = 0; pass < passes; pass++) {
				int64_t from = p->count * pass / passes, to = p->count * (pass + 1) / passes;

				tiles[to - from - 1](p, w, k, end, from, ahead, k > 0 ? 1.0f : p->beta, aqm_row(p->y, from) + start,
				                     row - start);
			}
		}
	}
}

static void multiply(struct product p, const struct aqm_cpu_few *few, tile_function *const *tiles)
{
	enum { PIECE = 48 /* rows of W */ };
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(few->w->dtype);
	int64_t most = CACHED / (p.x_bytes * STEP * p.count), cols = few->w->cols, chunks;

	p.beta = few->beta;
	p.steps = (cols + STEP - 1) / STEP;
	p.last = cols % STEP ? ((uint32_t)1 << cols % STEP) - 1 : UINT32_MAX;
	p.row_bytes = (size_t)cols / traits->block * traits->block_bytes;
	chunks = (p.steps + most - 1) / most;
	p.chunk = (p.steps + chunks - 1) / chunks;
	/* Guided: a thread that has lost its core for a while holds up the others less. */
#pragma omp parallel for schedule(guided) if (aqm_cpu_few_large(few))
	for (int64_t piece = 0; piece < aqm_cpu_few_pieces(few, PIECE); piece++) {
		struct product own = p;
		int64_t first;
		int layer = aqm_cpu_few_piece(few, PIECE, piece, &first);

		own.w = few->w[layer];
		own.y = few->y[layer];
		multiply_rows(&own, tiles, first, own.w.rows - first < PIECE ? own.w.rows : first + PIECE);
	}
}

/* x as struct product has it. */
TARGET static void lay_out(struct aqm_mat x, float *out)
{
	for (int64_t k = 0; k < x.cols; k += 16)
		for (int64_t i = 0; i < x.rows; i++) {
			__mmask16 mask = (__mmask16)(x.cols - k < 16 ? (1 << (x.cols - k)) - 1 : 0xffff);

			_mm512_storeu_ps(out + (k / STEP * x.rows + i) * STEP + k % STEP,
			                 _mm512_maskz_loadu_ps(mask, aqm_row(x, i) + k));
		}
	for (int64_t i = 0; i < x.rows && (x.cols - 1) % STEP < 16; i++)
		_mm512_storeu_ps(out + (x.cols / STEP * x.rows + i) * STEP + 16, _mm512_setzero_ps());
}

/* The same rounded as rounded() does, but for numbers below 2^-126, which the multiplication takes for zero anyway. */
TARGET_PAIRS static void lay_out_rounded(struct aqm_mat x, uint16_t *out)
{
	for (int64_t k = 0; k < x.cols; k += STEP)
		for (int64_t i = 0; i < x.rows; i++) {
			const float *in = aqm_row(x, i) + k;
			uint32_t mask = x.cols - k < STEP ? ((uint32_t)1 << (x.cols - k)) - 1 : UINT32_MAX;
			__m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, in);
			__m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), in + 16);

			_mm512_storeu_si512(out + (k / STEP * x.rows + i) * STEP, (__m512i)_mm512_cvtne2ps_pbh(high, low));
		}
}

static int64_t laid_out(struct aqm_mat x)
{
	return x.rows * ((x.cols + STEP - 1) / STEP * STEP);
}

/* Whether each layer has rows enough to be taken together. */
static bool takes(struct aqm_mat x, const struct aqm_cpu_few *few)
{
	bool enough = few->w->cols > 0 && aqm_cpu_level() == AQM_LEVEL_V4;

	for (int i = 0; i < few->count; i++)
		enough = enough && few->w[i].rows >= group_of(x.rows);
	return enough;
}

bool aqm_cpu_few_direct(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few)
{
	tile_function *const *tiles = tiles_of(few->w->dtype);
	int64_t stride;
	float *memory;

	if (!tiles || !takes(x, few))
		return false;
	if (aqm_cpu_scratch(device, 1, laid_out(x), &memory, &stride)) {
		lay_out(x, memory);
		multiply((struct product){.x = memory, .count = x.rows, .x_bytes = sizeof(float)}, few, tiles);
	}
	return true;
}

bool aqm_cpu_few_pairs(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few)
{
	int64_t stride;
	float *memory;

	if (!takes(x, few) || !__builtin_cpu_supports("avx512bf16"))
		return false;
	if (aqm_cpu_scratch(device, 1, laid_out(x), &memory, &stride)) {
		lay_out_rounded(x, (uint16_t *)memory);
		multiply((struct product){.x = memory, .count = x.rows, .x_bytes = sizeof(uint16_t)}, few, pairs_tiles);
	}
	return true;
}
#else
bool aqm_cpu_few_direct(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few)
{
	(void)device, (void)x, (void)few;
	return false;
}

bool aqm_cpu_few_pairs(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few)
{
	(void)device, (void)x, (void)few;
	return false;
}
#endif

void aqm_cpu_few_rounded(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	int64_t stride;
	float *memory;

	if (!aqm_cpu_scratch(device, 1, x.rows * x.cols, &memory, &stride))
		return;
	struct aqm_mat restored = aqm_mat_f32(memory, x.rows, x.cols);

	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t k = 0; k < x.cols; k++)
			aqm_row(restored, i)[k] = aqm_bits_to_float((uint32_t)rounded(aqm_row(x, i)[k]) << 16);
	aqm_cpu_few_buffered(restored, w, beta, y);
}
