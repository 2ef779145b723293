/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inner product of few.c, included once for each level of x86-64 with
 *     TILE(name)   the name for this level
 *     TARGET       function attribute that lets the compiler use it
 *     LANES        floats a register holds
 *     ROWS         rows of W taken together: ROWS * COUNT sums, ROWS weights and one x must fit into the registers
 */
typedef float TILE(vector) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* sums[r][i] += w row r * x row i over n elements, n a multiple of LANES. Meanwhile asks for ROWS rows of n elements at
 * `next`, w_ld apart: the weights come from memory in pieces too short for the hardware to see where they lead. */
TARGET AQM_INLINE void TILE(tile)(const int count, int64_t n, const float *w, int64_t w_ld, const float *x,
                                  int64_t x_ld, TILE(vector) (*sums)[MOST_ROWS], const float *next)
{
	TILE(vector) total[ROWS][COUNT];

#pragma GCC unroll 8
	for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
		for (int i = 0; i < count; i++)
			total[r][i] = sums[r][i];
	for (int64_t k = 0; k < n; k += LANES) {
		TILE(vector) weight[ROWS];

#pragma GCC unroll 8
		for (int r = 0; r < ROWS; r++) {
			weight[r] = *(const TILE(vector) *)(w + r * w_ld + k);
			__builtin_prefetch(next + r * w_ld + k);
		}
#pragma GCC unroll 8
		for (int i = 0; i < count; i++) {
			TILE(vector) input = *(const TILE(vector) *)(x + i * x_ld + k);

#pragma GCC unroll 8
			for (int r = 0; r < ROWS; r++)
				total[r][i] += weight[r] * input;
		}
	}
#pragma GCC unroll 8
	for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
		for (int i = 0; i < count; i++)
			sums[r][i] = total[r][i];
}

/* One function a count, so that the sums stay in registers. */
#define AQM_TILE_OF(c)                                                                                      \
	TARGET static void TILE(tile##c)(int64_t n, const float *w, int64_t w_ld, const float *x, int64_t x_ld, \
	                                 TILE(vector)(*sums)[MOST_ROWS], const float *next)                     \
	{                                                                                                       \
		TILE(tile)(c, n, w, w_ld, x, x_ld, sums, next);                                                     \
	}
AQM_TILE_OF(1)
AQM_TILE_OF(2)
AQM_TILE_OF(3)
AQM_TILE_OF(4)
AQM_TILE_OF(5)
AQM_TILE_OF(6)
#undef AQM_TILE_OF

/* Rows first .. first + ROWS of W (the last group may be short: then some are done twice, to the same result) times all
 * of X. */
TARGET static void TILE(group)(const struct few *f, int64_t first, float *expanded)
{
	static void (*const tiles[])(int64_t, const float *, int64_t, const float *, int64_t, TILE(vector)(*)[MOST_ROWS],
	                             const float *) = {
		TILE(tile1), TILE(tile2), TILE(tile3), TILE(tile4), TILE(tile5), TILE(tile6),
	};
	TILE(vector) sums[ROWS][MOST_ROWS];
	aqm_v4 totals[MOST_ROWS];
	int64_t passes = (f->x.rows + COUNT - 1) / COUNT, whole = f->w.cols / LANES * LANES;

	for (int r = 0; r < ROWS; r++)
		memset(sums[r], 0, (size_t)f->x.rows * sizeof sums[r][0]);
	for (int64_t k = 0; k < whole; k += f->chunk) {
		int64_t n = whole - k < f->chunk ? whole - k : f->chunk;
		int64_t ld = 0;
		const float *w = few_weights(f, first, ROWS, k, n, expanded, &ld), *next = w;

		if (w != expanded)
			next = k + n < whole ? w + n : first + 2 * ROWS <= f->w.rows ? w - k + ROWS * ld : w;

		for (int64_t pass = 0; pass < passes; pass++) {
			int64_t from = f->x.rows * pass / passes, to = f->x.rows * (pass + 1) / passes;

			tiles[to - from - 1](n, w, ld, aqm_row(f->x, from) + k, f->x.ld,
			                     (TILE(vector)(*)[MOST_ROWS]) & sums[0][from], next);
		}
	}
	for (int64_t i = 0; i < f->x.rows; i++) {
		aqm_v4 four[MOST_TILE] = {{0}};

		for (int r = 0; r < ROWS; r++) {
			const aqm_v4 *parts = (const aqm_v4 *)&sums[r][i];

			four[r] = parts[0];
			for (int part = 1; part < LANES / 4; part++)
				four[r] += parts[part];
		}
		totals[i] = few_fold(four);
	}
	few_rest(f, first, ROWS, whole, totals);
	few_write(f, first, ROWS, totals);
}

#undef TILE
#undef TARGET
#undef LANES
#undef ROWS
