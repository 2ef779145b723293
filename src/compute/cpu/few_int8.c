/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows on quantised weights in integers: X is rounded to int8 in blocks of 32 columns, each with
 * a scale of its own, as the weights are, and blocks are multiplied as bytes (AVX-512 VNNI). That is four times the rate
 * of float32 multiplication, without which weights of 4 or 8 bits would be read far faster than they could be used.
 *
 *     w = d (q - z) + m,  x = e p:      sum of w x over a block = d e (sum of q p - z sum of p) + m e sum of p
 *
 * with bytes q >= 0 and z of the type, d and m of the block of W, and e and the sum of p of the block of X. Two groups
 * of sixteen rows of W are taken together: some blocks of them are unpacked into a tile that stays in the first cache
 * (few_unpack.c), where a register holds four columns of sixteen rows. So a register is the sums of sixteen rows too,
 * and d, m and e scale sixteen at once:
 *
 *     tile    32 rows  |block|block|...      2 registers for each four columns
 *     X        n rows  |block|block|...      four bytes at a time, the same for all rows of W
 *
 * Fewer than sixteen rows of W, and processors without these instructions, multiply the same rounded numbers in float32
 * (few.c).
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/few_unpack.h"

enum { MOST_ROWS = 16, COUNT = 6 /* rows of X taken together at most */ };

/* z of a type and the columns of its parts; 0: it is not multiplied in integers. */
struct type {
	int32_t zero;
	int part;
};

static struct type type_of(enum aqm_dtype w)
{
#define TYPE(name, dtype, bytes, zero, part, least) \
	case dtype:                                     \
		return (struct type){zero, part};
	switch (w) {
		TYPE_MAP(TYPE)
	default:
		return (struct type){0};
	}
#undef TYPE
}

/* ---- X in bytes ---- */

struct rounded {
	int8_t *bytes;         /* (rows, cols) */
	float *scale, *offset; /* (rows, parts): e, and e times the sum of p */
	int32_t *correction;   /* (rows, parts): -z times the sum of p */
	int64_t cols, parts;   /* a part: columns of W that share d, a block or half of one */
};

/* Round a row, parts being blocks: the largest of each becomes 127. A block that is not finite gets a scale that is not.
 */
static void round_row(const struct rounded *r, const float *x, int64_t row, int32_t zero)
{
	for (int64_t b = 0; b < r->cols / BLOCK; b++) {
		int8_t *bytes = r->bytes + row * r->cols + b * BLOCK;
		const float *block = x + b * BLOCK;
		int64_t at = row * r->parts + b;
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
TARGET static void round_blocks(const struct rounded *r, const float *x, int64_t row, int64_t first, int32_t zero)
{
	const __m512i size = _mm512_set1_epi32(0x7fffffff);
	int64_t blocks = r->cols / BLOCK, left = blocks - first < GROUP ? blocks - first : GROUP;
	int64_t at = row * r->parts + first;
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
		int8_t *bytes = r->bytes + row * r->cols + (first + b) * BLOCK;
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

/* From parts that are blocks to parts that are half of one, the last first; of what belongs to parts, offset excepted. */
static void halve_parts(const struct rounded *r, int64_t row, int32_t zero)
{
	float *scale = r->scale + row * r->parts;

	for (int64_t part = r->parts - 1; part >= 0; part--) {
		const int8_t *bytes = r->bytes + row * r->cols + part * BLOCK / 2;
		int32_t sum = 0;

		for (int k = 0; k < BLOCK / 2; k++)
			sum += bytes[k];
		r->correction[row * r->parts + part] = -zero * sum;
		scale[part] = scale[part / 2];
	}
}

/* ---- the product ---- */

/* Rows of W to ask for, in even steps. */
struct ahead {
	const uint8_t *next;
	size_t lines; /* cache lines a step */
};

AQM_INLINE void fetch(struct ahead *ahead)
{
	for (size_t i = 0; i < ahead->lines; i++)
		__builtin_prefetch(ahead->next + 64 * i);
	ahead->next += 64 * ahead->lines;
}

/* Part `part` of the tile times part `at` of each of `count` rows of X, which begin at row `row`. */
TARGET AQM_INLINE void multiply_part(const int count, const int fours, const bool least, const struct tile *tile,
                                     int64_t part, const struct rounded *x, int64_t row, int64_t at,
                                     __m512 total[COUNT][UNITS])
{
	const int8_t *bytes = x->bytes + row * x->cols + at * 4 * fours;
	__m512i dot[COUNT][UNITS];

	at += row * x->parts;
#pragma GCC unroll 8
	for (int i = 0; i < count; i++)
		dot[i][0] = dot[i][1] = _mm512_set1_epi32(x->correction[at + i * x->parts]);
#pragma GCC unroll 8
	for (int j = 0; j < fours; j++) {
		const uint8_t(*q)[4 * GROUP] = tile->fours[part * fours + j];
		__m512i first_rows = _mm512_load_si512(q[0]), other_rows = _mm512_load_si512(q[1]);

#pragma GCC unroll 8
		for (int i = 0; i < count; i++) {
			int32_t four;

			memcpy(&four, bytes + i * x->cols + 4 * j, sizeof four);
			dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], first_rows, _mm512_set1_epi32(four));
			dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], other_rows, _mm512_set1_epi32(four));
		}
	}
#pragma GCC unroll 2
	for (int u = 0; u < UNITS; u++) {
		__m512 d = _mm512_load_ps(tile->d[part][u]);

#pragma GCC unroll 8
		for (int i = 0; i < count; i++) {
			__m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(x->scale[at + i * x->parts]));

			total[i][u] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][u]), scale, total[i][u]);
			if (least)
				total[i][u] = _mm512_fmadd_ps(_mm512_load_ps(tile->m[part][u]),
				                              _mm512_set1_ps(x->offset[at + i * x->parts]), total[i][u]);
		}
	}
}

/* sums[i] += n blocks of the tile times blocks first .. first + n of row `row` + i of X, for `count` rows. With `unpacks`
 * the tile is made on the way out of the rows at w: the processor does both at once. */
TARGET AQM_INLINE void multiply_tile(const bool unpacks, const enum aqm_dtype dtype, const size_t bytes, const int part,
                                     const bool least, const int count, struct tile *tile, int64_t n,
                                     const struct rounded *x, int64_t row, int64_t first, struct rows *w,
                                     struct ahead *ahead, __m512 (*sums)[UNITS])
{
	const int parts = BLOCK / part;
	__m512 total[COUNT][UNITS];

#pragma GCC unroll 8
	for (int i = 0; i < count; i++)
#pragma GCC unroll 2
		for (int u = 0; u < UNITS; u++)
			total[i][u] = sums[i][u];
	for (int64_t b = 0; b < n; b++) {
		fetch(ahead);
		if (unpacks) {
			unpack(dtype, bytes, &w[0], b, 0, tile);
			unpack(dtype, bytes, &w[1], b, 1, tile);
		}
#pragma GCC unroll 2
		for (int p = 0; p < parts; p++)
			multiply_part(count, part / 4, least, tile, b * parts + p, x, row, (first + b) * parts + p, total);
	}
#pragma GCC unroll 8
	for (int i = 0; i < count; i++)
#pragma GCC unroll 2
		for (int u = 0; u < UNITS; u++)
			sums[i][u] = total[i][u];
}

typedef void tile_function(struct tile *tile, int64_t n, const struct rounded *x, int64_t row, int64_t first,
                           struct rows *w, struct ahead *ahead, __m512 (*sums)[UNITS]);

/* One function a type and a count, so that the sums stay in registers; and without unpacking. */
#define COUNTED(XX, name, dtype, bytes, part, least)                                                \
	XX(name, dtype, bytes, part, least, 1)                                                          \
	XX(name, dtype, bytes, part, least, 2)                                                          \
	XX(name, dtype, bytes, part, least, 3)                                                          \
	XX(name, dtype, bytes, part, least, 4)                                                          \
	XX(name, dtype, bytes, part, least, 5)                                                          \
	XX(name, dtype, bytes, part, least, 6)
#define TILE(name, dtype, bytes, part, least, count)                                                              \
	TARGET static void name##_##count(struct tile *tile, int64_t n, const struct rounded *x, int64_t row,         \
	                                  int64_t first, struct rows *w, struct ahead *ahead, __m512(*sums)[UNITS])   \
	{                                                                                                             \
		multiply_tile((bytes) > 0, dtype, bytes, part, least, count, tile, n, x, row, first, w, ahead, sums);      \
	}
#define NAME(name, dtype, bytes, part, least, count) name##_##count,
#define TILES(name, dtype, bytes, zero, part, least)    \
	COUNTED(TILE, name, dtype, bytes, part, least)      \
	static tile_function *const name##_tiles[COUNT] = { \
		COUNTED(NAME, name, dtype, bytes, part, least)};
TYPE_MAP(TILES)
TILES(plain, AQM_F32, 0, 0, 32, false)
TILES(least, AQM_F32, 0, 0, 32, true)
TILES(halved, AQM_F32, 0, 0, 16, false)

struct product {
	const struct rounded *x;
	struct aqm_mat w, y;
	float beta;
	size_t row_bytes;
	tile_function *const *unpacking, *const *others; /* by count less one */
};

static void choose_tiles(struct product *p)
{
#define CHOOSE(name, dtype, bytes, zero, part, has_least)                           \
	case dtype:                                                                     \
		p->unpacking = name##_tiles;                                                \
		p->others = has_least ? least_tiles : part < BLOCK ? halved_tiles : plain_tiles; \
		break;
	switch (p->w.dtype) {
		TYPE_MAP(CHOOSE)
	default:
		break;
	}
#undef CHOOSE
}

/* Rows first .. first + 31 of W, or as many as there are (sixteen at least), times the `count` rows of X. */
TARGET static void multiply_rows(const struct product *p, int64_t count, int64_t first, struct tile *tile)
{
	int64_t passes = (count + COUNT - 1) / COUNT, blocks = p->x->cols / BLOCK, last = p->w.rows - GROUP;
	int64_t chunks = (blocks + CHUNK - 1) / CHUNK, chunk = ((blocks + chunks - 1) / chunks + SUBS - 1) / SUBS * SUBS;
	int64_t start[UNITS];
	struct rows w[UNITS];
	__m512 sums[MOST_ROWS][UNITS];
	size_t bytes = UNITS * GROUP * p->row_bytes, steps = (size_t)(blocks * passes);
	struct ahead ahead = {.lines = (bytes / 64 + steps) / steps};

	for (int u = 0; u < UNITS; u++) { /* a short last group starts earlier; rows that are done are not written again */
		start[u] = first + u * GROUP < last ? first + u * GROUP : last;
		w[u] = rows_at((const uint8_t *)p->w.data + (size_t)start[u] * p->row_bytes, p->row_bytes);
	}
	ahead.next = w[0].of[0] + bytes;
	if (first + 2 * UNITS * GROUP > p->w.rows)
		ahead.lines = 0;
	for (int64_t i = 0; i < count; i++)
		for (int u = 0; u < UNITS; u++)
			sums[i][u] = _mm512_setzero_ps();
	for (int64_t b = 0; b < blocks; b += chunk) {
		int64_t n = blocks - b < chunk ? blocks - b : chunk;

		for (int64_t pass = 0; pass < passes; pass++) {
			int64_t from = count * pass / passes, to = count * (pass + 1) / passes;
			tile_function *const *tiles = pass == 0 ? p->unpacking : p->others;

			tiles[to - from - 1](tile, n, p->x, from, b, w, &ahead, sums + from);
		}
	}
	for (int u = 0; u < UNITS; u++) {
		int64_t done = first + u * GROUP - start[u];
		__mmask16 mask = (__mmask16)(done < GROUP ? 0xffff << done : 0);

		for (int64_t i = 0; i < count; i++) {
			float *out = aqm_row(p->y, i) + start[u];

			if (p->beta != 0.0f)
				sums[i][u] = _mm512_fmadd_ps(_mm512_set1_ps(p->beta), _mm512_maskz_loadu_ps(mask, out), sums[i][u]);
			_mm512_mask_storeu_ps(out, mask, sums[i][u]);
		}
	}
}

static bool takes_bytes(struct aqm_mat w)
{
	return w.rows >= GROUP && aqm_cpu_level() == AQM_LEVEL_V4 && __builtin_cpu_supports("avx512vnni");
}

static void multiply(const struct rounded *r, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(w.dtype);
	const struct type type = type_of(w.dtype);
	struct product p = {
		.x = r,
		.w = w,
		.y = y,
		.beta = beta,
		.row_bytes = (size_t)w.cols / traits->block * traits->block_bytes,
	};

	choose_tiles(&p);
	for (int64_t i = 0; i < x.rows; i++) {
		for (int64_t first = 0; first < x.cols / BLOCK; first += GROUP)
			round_blocks(r, aqm_row(x, i), i, first, type.zero);
		if (type.part < BLOCK)
			halve_parts(r, i, type.zero);
	}
#pragma omp parallel if (aqm_cpu_large(w))
	{
		struct tile tile;

		/* Guided: a thread that has lost its core for a while holds up the others less. */
#pragma omp for schedule(guided, 1)
		for (int64_t first = 0; first < w.rows; first += UNITS * GROUP)
			multiply_rows(&p, x.rows, first, &tile);
	}
}
#else
static bool takes_bytes(struct aqm_mat w)
{
	(void)w;
	return false;
}

static void multiply(const struct rounded *r, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	(void)r, (void)x, (void)w, (void)beta, (void)y;
}
#endif

/* The rounded numbers as floats; parts are blocks. */
static void restore_rows(const struct rounded *r, struct aqm_mat x)
{
	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t k = 0; k < x.cols; k++)
			aqm_row(x, i)[k] = (float)r->bytes[i * x.cols + k] * r->scale[i * r->parts + k / BLOCK];
}

void aqm_cpu_linear_few_int8(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct type type = type_of(w.dtype);
	bool bytes = takes_bytes(w);

	if (type.part == 0) {
		(w.dtype == AQM_BF16 ? aqm_cpu_linear_few_bf16 : aqm_cpu_linear_few)(device, x, w, beta, y);
		return;
	}
	int64_t parts = x.cols / (bytes ? type.part : BLOCK), each = x.rows * parts, numbers = x.rows * x.cols;
	int64_t floats = 3 * each + (numbers + 3) / 4 + numbers, stride;
	float *memory;

	if (x.rows == 0 || !aqm_cpu_scratch(device, 1, floats, &memory, &stride))
		return;
	struct rounded r = {
		.scale = memory,
		.offset = memory + each,
		.correction = (int32_t *)(memory + 2 * each),
		.bytes = (int8_t *)(memory + 3 * each + numbers),
		.cols = x.cols,
		.parts = parts,
	};
	struct aqm_mat restored = aqm_mat_f32(memory + 3 * each, x.rows, x.cols);

	if (bytes) {
		multiply(&r, x, w, beta, y);
		return;
	}
	for (int64_t i = 0; i < x.rows; i++)
		round_row(&r, aqm_row(x, i), i, type.zero);
	restore_rows(&r, restored);
	aqm_cpu_linear_few_buffered(restored, w, beta, y);
}
