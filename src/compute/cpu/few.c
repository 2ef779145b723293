/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer for few rows, as decisions need it: the time should be that of reading the weights. A tile of some
 * rows of W and a chunk of columns is expanded (if it is not float32 already) into a small buffer in the first cache,
 * and used for all rows of X there:
 *
 *                   chunk of columns
 *     W   ROWS   |################|----->            X  n rows   |################|----->
 *
 * The tile's sums stay in registers; few_tile.h is that inner product, for each level of x86-64. With AVX-512 weights of
 * common types need no buffer (few_direct.c).
 */
#include <omp.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum {
	MOST_ROWS = 16,      /* of X */
	COUNT = 6,           /* rows of X taken together at most */
	LONG = 1024,         /* columns taken together at most, so that they and those of X stay in the first cache; */
	LONG_EXPANDED = 640, /* fewer when a buffer lies there too */
	BLOCK = 256,         /* the longest of all types */
	MOST_TILE = 4,       /* rows of W taken together at most */
};

struct few {
	struct aqm_mat x, w, y;
	float beta;
	int64_t chunk;                                            /* columns taken together */
	size_t row_bytes, block, block_bytes;                     /* of W */
	void (*expand)(const void *blocks, float *out, size_t n); /* NULL: W is float32 */
};

/* ---- what every level shares ---- */

/* Row `row` of W, but the last one for rows beyond: a short last group repeats it. */
static const uint8_t *few_row(const struct few *f, int64_t row)
{
	return (const uint8_t *)f->w.data + (size_t)(row < f->w.rows ? row : f->w.rows - 1) * f->row_bytes;
}

/* Ask for what will be expanded next. */
AQM_INLINE void fetch(const uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(data + i);
}

/* Columns k .. k+n of `rows` rows of W as floats, *ld apart. */
static const float *few_weights(const struct few *f, int64_t first, int64_t rows, int64_t k, int64_t n, float *expanded,
                                int64_t *ld)
{
	bool whole = first + rows <= f->w.rows;

	if (!f->expand && whole) {
		*ld = f->w.cols;
		return (const float *)f->w.data + first * f->w.cols + k;
	}
	*ld = f->chunk;
	for (int64_t r = 0; r < rows; r++) {
		size_t begin = (size_t)k / f->block * f->block_bytes, bytes = (size_t)n / f->block * f->block_bytes;
		const uint8_t *row = few_row(f, first + r) + begin;

		fetch(few_row(f, first + r + rows) + begin, bytes);
		if (f->expand)
			f->expand(row, expanded + r * f->chunk, (size_t)n);
		else
			memcpy(expanded + r * f->chunk, row, bytes);
	}
	return expanded;
}

/* The sums of four vectors of four, as every level ends its sums. */
AQM_INLINE aqm_v4 few_fold(const aqm_v4 *four)
{
	aqm_v4 low = AQM_SHUFFLE(four[0], four[1], 0, 4, 1, 5) + AQM_SHUFFLE(four[0], four[1], 2, 6, 3, 7);
	aqm_v4 high = AQM_SHUFFLE(four[2], four[3], 0, 4, 1, 5) + AQM_SHUFFLE(four[2], four[3], 2, 6, 3, 7);

	return AQM_SHUFFLE(low, high, 0, 1, 4, 5) + AQM_SHUFFLE(low, high, 2, 3, 6, 7);
}

/* Add the columns from `first_column` on, which are too few for a register (types with blocks have none). totals: of
 * each row of X, a tile's rows of W. */
static void few_rest(const struct few *f, int64_t first, int64_t rows, int64_t first_column, aqm_v4 *totals)
{
	for (int64_t k = first_column; k < f->w.cols; k++)
		for (int64_t r = 0; r < rows; r++) {
			const uint8_t *element = few_row(f, first + r) + (size_t)k / f->block * f->block_bytes;
			float weight;

			if (f->expand)
				f->expand(element, &weight, 1);
			else
				memcpy(&weight, element, sizeof weight);
			for (int64_t i = 0; i < f->x.rows; i++)
				totals[i][r] += weight * aqm_row(f->x, i)[k];
		}
}

static void few_write(const struct few *f, int64_t first, int64_t rows, const aqm_v4 *totals)
{
	for (int64_t i = 0; i < f->x.rows; i++) {
		float *out = aqm_row(f->y, i) + first;

		if (rows == MOST_TILE && first + rows <= f->w.rows) {
			aqm_v4 four = totals[i];

			if (f->beta != 0.0f)
				four += f->beta * *(const aqm_v4 *)out;
			*(aqm_v4 *)out = four;
			continue;
		}
		for (int64_t r = 0; r < rows && first + r < f->w.rows; r++)
			out[r] = f->beta == 0.0f ? totals[i][r] : totals[i][r] + f->beta * out[r];
	}
}

/* Columns taken together: rows of W in equal parts. */
static int64_t chunk_of(struct aqm_mat w, size_t block)
{
	int64_t most = w.dtype == AQM_F32 ? LONG : LONG_EXPANDED, unit = block > 32 ? BLOCK : 32;
	int64_t parts = (w.cols + most - 1) / most, chunk = (w.cols + parts - 1) / parts;

	chunk = (chunk + unit - 1) / unit * unit;
	return chunk > most ? most / unit * unit : chunk;
}

#if defined(__x86_64__)
#define TILE(name) name##_v4
#define TARGET __attribute__((target("arch=x86-64-v4")))
#define LANES 16
#define ROWS 4
#include "compute/cpu/few_tile.h"

#define TILE(name) name##_v3
#define TARGET __attribute__((target("arch=x86-64-v3")))
#define LANES 8
#define ROWS 2
#include "compute/cpu/few_tile.h"
#endif

#define TILE(name) name##_any
#define TARGET
#define LANES 4
#define ROWS 2
#include "compute/cpu/few_tile.h"

struct level {
	void (*group)(const struct few *f, int64_t first, float *expanded);
	int64_t rows;
};

static struct level best_level(void)
{
	switch (aqm_cpu_level()) {
#if defined(__x86_64__)
	case AQM_LEVEL_V4:
		return (struct level){group_v4, 4};
	case AQM_LEVEL_V3:
		return (struct level){group_v3, 2};
#endif
	default:
		return (struct level){group_any, 2};
	}
}

void aqm_cpu_few_buffered(struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(w.dtype);
	const struct level level = best_level();
	const struct few f = {
		.x = x,
		.w = w,
		.y = y,
		.beta = beta,
		.chunk = chunk_of(w, traits->block),
		.row_bytes = (size_t)w.cols / traits->block * traits->block_bytes,
		.block = traits->block,
		.block_bytes = traits->block_bytes,
		.expand = w.dtype == AQM_F32 ? NULL : traits->expand,
	};

#pragma omp parallel if (aqm_cpu_large(w))
	{
		float expanded[MOST_TILE * LONG] __attribute__((aligned(64)));

		/* Guided: a thread that has lost its core for a while holds up the others less. */
#pragma omp for schedule(guided, 8)
		for (int64_t first = 0; first < w.rows; first += level.rows)
			level.group(&f, first, expanded);
	}
}

/* ---- layers ---- */

bool aqm_cpu_few_large(const struct aqm_cpu_few *few)
{
	int64_t rows = 0;

	for (int i = 0; i < few->count; i++)
		rows += few->w[i].rows;
	return rows * few->w[0].cols > AQM_CPU_SERIAL;
}

int64_t aqm_cpu_few_pieces(const struct aqm_cpu_few *few, int64_t rows)
{
	int64_t pieces = 0;

	for (int i = 0; i < few->count; i++)
		pieces += (few->w[i].rows + rows - 1) / rows;
	return pieces;
}

int aqm_cpu_few_piece(const struct aqm_cpu_few *few, int64_t rows, int64_t piece, int64_t *first)
{
	int layer = 0;

	for (int64_t own; layer < few->count - 1; layer++, piece -= own) {
		own = (few->w[layer].rows + rows - 1) / rows;
		if (piece < own)
			break;
	}
	*first = piece * rows;
	return layer;
}

void aqm_cpu_linear_few(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y)
{
	const struct aqm_cpu_few few = {.count = 1, .w = &w, .y = &y, .beta = beta};

	if (x.rows > 0 && !aqm_cpu_few_direct(device, x, &few))
		aqm_cpu_few_buffered(x, w, beta, y);
}

void aqm_cpu_linears_few(aqm_device *device, struct aqm_mat x, bool int8, int count, const struct aqm_mat *w,
                         const struct aqm_mat *y)
{
	const struct aqm_cpu_few few = {.count = count, .w = w, .y = y};
	bool alike = x.rows > 0;

	for (int i = 1; i < count; i++)
		alike = alike && w[i].dtype == w[0].dtype;
	if (alike && (int8 ? aqm_cpu_few_int8 : aqm_cpu_few_direct)(device, x, &few))
		return;
	for (int i = 0; i < count; i++)
		(int8 ? aqm_cpu_linear_few_int8 : aqm_cpu_linear_few)(device, x, w[i], 0.0f, y[i]);
}
