/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows on quantised weights in integers: X is rounded to int8 in blocks of 32 columns, each with
 * a scale of its own, as the weights are, and blocks are multiplied as bytes (AVX-512 VNNI). That is four times the rate
 * of float32 multiplication, without which weights of 4 or 8 bits would be read far faster than they could be used.
 *
 *     w = d (q - z) + m,  x = e p:      sum of w x over a block = d e (sum of q p - z sum of p) + m e sum of p
 *
 * with bytes q >= 0 and z of the type, d and m of the block of W, and e and the sum of p of the block of X. Sixteen rows
 * of W are taken together: a block of them is unpacked into registers that hold four columns of each row (few_unpack.h),
 * so a register is the sums of sixteen rows too, one for each row of X, and d, m and e scale sixteen at once:
 *
 *     W   16 rows  |block|block|...      8 registers of four columns
 *     X    n rows  |block|block|...      four bytes at a time, the same for all rows of W
 *
 * Fewer than sixteen rows of W, and processors without these instructions, multiply the same rounded numbers in float32
 * (few.c).
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/few_unpack.h"

enum {
	COUNT = 10,  /* rows of X taken together at most */
	SHUFFLED = 2 /* of them spread by shuffles */
};

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
	int8_t *bytes;             /* (blocks, rows, BLOCK) */
	float *scale, *offset;     /* (parts, rows): e, and e times the sum of p */
	int32_t *correction;       /* (parts, rows): -z times the sum of p */
	int64_t rows, cols, parts; /* a part: columns of W that share d, a block or half of one; rows: with zeros behind */
};

/* Round a row, parts being blocks: the largest of each becomes 127. A block that is not finite gets a scale that is not.
 */
static void round_row(const struct rounded *r, const float *x, int64_t row, int32_t zero)
{
	for (int64_t b = 0; b < r->cols / BLOCK; b++) {
		int64_t at = b * r->rows + row;
		int8_t *bytes = r->bytes + at * BLOCK;
		const float *block = x + b * BLOCK;
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
	__m512i v[GROUP];
	float inverses[GROUP] __attribute__((aligned(64))), scales[GROUP] __attribute__((aligned(64)));
	int32_t all_sums[GROUP] __attribute__((aligned(64)));

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
		int8_t *bytes = r->bytes + ((first + b) * r->rows + row) * BLOCK;
		__m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + b * BLOCK), inverse));
		__m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + b * BLOCK + 16), inverse));

		_mm_storeu_si128((__m128i *)(void *)bytes, _mm512_cvtepi32_epi8(low));
		_mm_storeu_si128((__m128i *)(void *)(bytes + 16), _mm512_cvtepi32_epi8(high));
		v[b] = _mm512_add_epi32(low, high);
	}
	for (int64_t b = left; b < GROUP; b++)
		v[b] = _mm512_setzero_si512();
	_mm512_store_ps(scales, scale);
	_mm512_store_si512(all_sums, fold_sums(v));
	for (int64_t b = 0; b < left; b++) {
		int64_t at = (first + b) * r->rows + row;

		r->scale[at] = scales[b];
		r->offset[at] = scales[b] * (float)all_sums[b];
		r->correction[at] = (int32_t)(0u - (uint32_t)zero * (uint32_t)all_sums[b]); /* wraps where X is not finite */
	}
}

/* From parts that are blocks to parts that are half of one, the last first; all that belongs to parts but offset. */
static void halve_parts(const struct rounded *r, int64_t row, int32_t zero)
{
	for (int64_t part = r->parts - 1; part >= 0; part--) {
		const int8_t *bytes = r->bytes + (part / 2 * r->rows + row) * BLOCK + part % 2 * BLOCK / 2;
		int32_t sum = 0;

		for (int k = 0; k < BLOCK / 2; k++)
			sum += bytes[k];
		r->correction[part * r->rows + row] = -zero * sum;
		r->scale[part * r->rows + row] = r->scale[part / 2 * r->rows + row];
	}
}

/* ---- the product ---- */

/* sum += four bytes of W times four of X in each lane; X from a register, or its four bytes at x. Not the intrinsic: with
 * it gcc moves sums about. */
TARGET AQM_INLINE void add_products(__m512i *sum, __m512i w, __m512i x)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(x));
}

TARGET AQM_INLINE void add_products_at(__m512i *sum, __m512i w, const int8_t *x)
{
	__asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*(const int32_t(*)[1])(const void *)x));
}

/* Four bytes k of 16, everywhere. */
TARGET AQM_INLINE __m512i four_of(__m512i all, const int k)
{
	switch (k) {
	case 0:
		return _mm512_shuffle_epi32(all, (_MM_PERM_ENUM)0x00);
	case 1:
		return _mm512_shuffle_epi32(all, (_MM_PERM_ENUM)0x55);
	case 2:
		return _mm512_shuffle_epi32(all, (_MM_PERM_ENUM)0xaa);
	default:
		return _mm512_shuffle_epi32(all, (_MM_PERM_ENUM)0xff);
	}
}

/* dot[i] += some fours q of a block times those of row i of X, at bytes + i * BLOCK, for `count` rows. Products of one
 * sum are far apart, so that none waits for the one before. Most of X is spread by loads and some by shuffles, so that
 * neither holds up the other. */
TARGET AQM_INLINE void multiply_fours(const int count, const int fours, const __m512i *q, const int8_t *bytes,
                                      __m512i dot[COUNT])
{
	__m512i all[SHUFFLED];

#pragma GCC unroll 8
	for (int j = 0; j < fours; j++)
#pragma GCC unroll 10
		for (int i = 0; i < count; i++) {
			const int8_t *at = bytes + i * BLOCK + 4 * j;

			if (i >= SHUFFLED) {
				add_products_at(&dot[i], q[j], at);
				continue;
			}
			if (j % 4 == 0)
				all[i] = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)at));
			add_products(&dot[i], q[j], four_of(all[i], j % 4));
		}
}

/* total[i] += block b, of which q are the fours, times that of row `row` + i of X, for `count` rows. */
TARGET AQM_INLINE void multiply_block(const bool is_long, const int part, const bool least, const int count,
                                      const __m512i q[8], const struct scales *scales, int64_t b,
                                      const struct rounded *x, int64_t row, __m512 total[COUNT])
{
	const int parts = BLOCK / part, fours = 8 / parts;
	const int8_t *bytes = x->bytes + (b * x->rows + row) * BLOCK;

#pragma GCC unroll 2
	for (int p = 0; p < parts; p++) {
		int64_t own = b * parts + p, at = own * x->rows + row;
		int scale_at = is_long ? (int)(own % (parts * SUBS)) : 0;
		__m512i dot[COUNT];

#pragma GCC unroll 10
		for (int i = 0; i < count; i++)
			dot[i] = _mm512_set1_epi32(x->correction[at + i]);
		multiply_fours(count, fours, q + p * fours, bytes + 4 * p * fours, dot);
		__m512 d = scales->d[scale_at];

#pragma GCC unroll 10
		for (int i = 0; i < count; i++) {
			__m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(x->scale[at + i]));

			total[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i]), scale, total[i]);
			if (least)
				total[i] = _mm512_fmadd_ps(scales->m[scale_at], _mm512_set1_ps(x->offset[at + i]), total[i]);
		}
	}
}

/* out[i] = the sixteen rows of W at w times row `row` + i of X, for `count` rows. Meanwhile asks for what is at next. */
TARGET AQM_INLINE void multiply_group(const enum aqm_dtype dtype, const size_t bytes, const int part, const bool least,
                                      const int count, const struct rounded *x, int64_t row, struct rows w,
                                      const uint8_t *next, float (*out)[GROUP])
{
	const size_t lines = ((is_long_type(dtype) ? bytes / SUBS : bytes) * GROUP + 63) / 64;
	const int64_t blocks = x->cols / BLOCK;
	struct scales scales;
	__m512 total[COUNT];

#pragma GCC unroll 10
	for (int i = 0; i < count; i++)
		total[i] = _mm512_setzero_ps();
	for (int64_t b = 0; b < blocks; b++, next += 64 * lines) {
		__m512i q[8];

#pragma GCC unroll 16
		for (size_t i = 0; i < lines; i++)
			__builtin_prefetch(next + 64 * i);
		unpack(dtype, bytes, &w, b, q, &scales);
		multiply_block(is_long_type(dtype), part, least, count, q, &scales, b, x, row, total);
	}
#pragma GCC unroll 10
	for (int i = 0; i < count; i++)
		_mm512_store_ps(out[i], total[i]);
}

typedef void group_function(const struct rounded *x, int64_t row, struct rows w, const uint8_t *next,
                            float (*out)[GROUP]);

/* One function a type and an even count, so that the sums stay in registers. */
#define GROUP_OF(name, dtype, bytes, part, least, count)                                                        \
	TARGET static void name##_##count(const struct rounded *x, int64_t row, struct rows w, const uint8_t *next, \
	                                  float(*out)[GROUP])                                                       \
	{                                                                                                           \
		multiply_group(dtype, bytes, part, least, count, x, row, w, next, out);                                 \
	}
#define NAME(name, dtype, bytes, part, least, count) name##_##count,
#define COUNTED(XX, name, dtype, bytes, part, least) \
	XX(name, dtype, bytes, part, least, 2)           \
	XX(name, dtype, bytes, part, least, 4)           \
	XX(name, dtype, bytes, part, least, 6)           \
	XX(name, dtype, bytes, part, least, 8)           \
	XX(name, dtype, bytes, part, least, 10)
#define GROUPS(name, dtype, bytes, zero, part, least)  \
	COUNTED(GROUP_OF, name, dtype, bytes, part, least) \
	static group_function *const name##_groups[COUNT / 2] = {COUNTED(NAME, name, dtype, bytes, part, least)};
TYPE_MAP(GROUPS)

static group_function *group_of(enum aqm_dtype w, int64_t count)
{
	switch (w) {
#define CHOOSE(name, dtype, bytes, zero, part, least) \
	case dtype:                                       \
		return name##_groups[count / 2 - 1];
		TYPE_MAP(CHOOSE)
#undef CHOOSE
	default:
		return NULL;
	}
}

struct product {
	const struct rounded *x;
	struct aqm_mat w, y;
	float beta;
	size_t row_bytes;
	int64_t together; /* rows of X */
	group_function *multiply;
};

/* Rows first .. first + 15 of W, or as many as there are, times X. */
TARGET static void multiply_rows(const struct product *p, int64_t first)
{
	/* A short last group starts earlier; rows that are done are not written again. */
	int64_t start = first + GROUP <= p->w.rows ? first : p->w.rows - GROUP;
	const uint8_t *data = (const uint8_t *)p->w.data + (size_t)start * p->row_bytes;
	__mmask16 mask = (__mmask16)(0xffff << (first - start));

	for (int64_t row = 0; row < p->y.rows; row += p->together) {
		float total[COUNT][GROUP] __attribute__((aligned(64)));

		p->multiply(p->x, row, rows_at(data, p->row_bytes), data + GROUP * p->row_bytes, total);
		for (int64_t i = 0; i < p->together && row + i < p->y.rows; i++) {
			float *out = aqm_row(p->y, row + i) + start;
			__m512 sum = _mm512_load_ps(total[i]);

			if (p->beta != 0.0f)
				sum = _mm512_fmadd_ps(_mm512_set1_ps(p->beta), _mm512_maskz_loadu_ps(mask, out), sum);
			_mm512_mask_storeu_ps(out, mask, sum);
		}
	}
}

/* Whether each layer has rows enough to be taken together. */
static bool takes_bytes(const struct aqm_cpu_few *few)
{
	bool enough = aqm_cpu_level() == AQM_LEVEL_V4 && __builtin_cpu_supports("avx512vnni");

	for (int i = 0; i < few->count; i++)
		enough = enough && few->w[i].rows >= GROUP;
	return enough;
}

static void multiply(const struct rounded *r, int64_t together, const struct aqm_cpu_few *few)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(few->w->dtype);
	const struct product p = {
		.x = r,
		.beta = few->beta,
		.row_bytes = (size_t)r->cols / traits->block * traits->block_bytes,
		.together = together,
		.multiply = group_of(few->w->dtype, together),
	};

	/* Guided: a thread that has lost its core for a while holds up the others less. */
#pragma omp parallel for schedule(guided) if (aqm_cpu_few_large(few))
	for (int64_t piece = 0; piece < aqm_cpu_few_pieces(few, GROUP); piece++) {
		struct product own = p;
		int64_t first;
		int layer = aqm_cpu_few_piece(few, GROUP, piece, &first);

		own.w = few->w[layer];
		own.y = few->y[layer];
		multiply_rows(&own, first);
	}
}

static void round_rows(const struct rounded *r, struct aqm_mat x, struct type type)
{
	for (int64_t i = 0; i < x.rows; i++) {
		for (int64_t first = 0; first < x.cols / BLOCK; first += GROUP)
			round_blocks(r, aqm_row(x, i), i, first, type.zero);
		if (type.part < BLOCK)
			halve_parts(r, i, type.zero);
	}
	for (int64_t i = x.rows; i < r->rows; i++) {
		for (int64_t b = 0; b < r->cols / BLOCK; b++)
			memset(r->bytes + (b * r->rows + i) * BLOCK, 0, BLOCK);
		for (int64_t at = i; at < r->parts * r->rows; at += r->rows) {
			r->scale[at] = r->offset[at] = 0.0f;
			r->correction[at] = 0;
		}
	}
}
#else
static bool takes_bytes(const struct aqm_cpu_few *few)
{
	(void)few;
	return false;
}

static void multiply(const struct rounded *r, int64_t together, const struct aqm_cpu_few *few)
{
	(void)r, (void)together, (void)few;
}

static void round_rows(const struct rounded *r, struct aqm_mat x, struct type type)
{
	(void)r, (void)x, (void)type;
}
#endif

/* The rounded numbers as floats; parts are blocks. */
static void restore_rows(const struct rounded *r, struct aqm_mat x)
{
	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t k = 0; k < x.cols; k++)
			aqm_row(x, i)[k] =
				(float)r->bytes[(k / BLOCK * r->rows + i) * BLOCK + k % BLOCK] * r->scale[k / BLOCK * r->rows + i];
}

/* Where X goes: `rows` of it, in parts of `part` columns; and `more` floats behind it. False: no memory. */
static bool reserve(aqm_device *device, struct rounded *r, int64_t rows, int64_t cols, int part, int64_t more,
                    float **behind)
{
	int64_t parts = cols / part, each = rows * parts, stride;
	float *memory;

	if (!aqm_cpu_scratch(device, 1, 3 * each + rows * cols / 4 + more, &memory, &stride))
		return false;
	*r = (struct rounded){
		.scale = memory,
		.offset = memory + each,
		.correction = (int32_t *)(memory + 2 * each),
		.bytes = (int8_t *)(memory + 3 * each),
		.rows = rows,
		.cols = cols,
		.parts = parts,
	};
	*behind = memory + 3 * each + rows * cols / 4;
	return true;
}

bool aqm_cpu_few_int8(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few)
{
	const struct type type = type_of(few->w->dtype);
	/* In as few passes as can be, of the same even number of rows of X. */
	int64_t passes = (x.rows + COUNT - 1) / COUNT, together = ((x.rows + passes - 1) / passes + 1) / 2 * 2;
	struct rounded r;
	float *behind;

	if (type.part == 0)
		return (few->w->dtype == AQM_BF16 ? aqm_cpu_few_pairs : aqm_cpu_few_direct)(device, x, few);
	if (!takes_bytes(few))
		return false;
	if (reserve(device, &r, passes * together, x.cols, type.part, 0, &behind)) {
		round_rows(&r, x, type);
		multiply(&r, together, few);
	}
	return true;
}

void aqm_cpu_linear_few_int8(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct aqm_cpu_few few = {.count = 1, .w = &w, .y = &y, .beta = beta};
	const struct type type = type_of(w.dtype);
	struct rounded r;
	float *behind;

	if (x.rows == 0 || aqm_cpu_few_int8(device, x, &few))
		return;
	if (w.dtype == AQM_BF16) {
		aqm_cpu_few_rounded(device, x, w, beta, y);
	} else if (type.part == 0) {
		aqm_cpu_few_buffered(x, w, beta, y);
	} else if (reserve(device, &r, x.rows, x.cols, BLOCK, x.rows * x.cols, &behind)) {
		struct aqm_mat restored = aqm_mat_f32(behind, x.rows, x.cols);

		for (int64_t i = 0; i < x.rows; i++)
			round_row(&r, aqm_row(x, i), i, type.zero);
		restore_rows(&r, restored);
		aqm_cpu_few_buffered(restored, w, beta, y);
	}
}
