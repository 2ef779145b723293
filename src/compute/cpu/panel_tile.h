/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A small matrix product inside one thread, for operands that lie in the caches: no packing, no set-up. Included by
 * panel.c once for each level of x86-64 with PANEL(name)  the name for this level TARGET       function attribute that
 * lets the compiler use it LANES        floats a register holds WIDTH        registers across: ROWS * WIDTH sums, WIDTH
 * of B and one of A must fit into the registers
 *
 *               B  inner x (WIDTH * LANES)
 *     A  ROWS   C  ROWS x (WIDTH * LANES), held in registers while inner runs; elements of A are spread over a register
 */
typedef float PANEL(vector) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

TARGET AQM_INLINE void PANEL(tile)(const int rows, const int width, const struct aqm_panel *p, int64_t row, int64_t col)
{
	PANEL(vector) sums[ROWS][WIDTH];
	const float *a = p->a + row * p->a_row, *b = p->b + col;
	float *c = p->c + row * p->ldc + col;

#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int w = 0; w < width; w++)
			sums[r][w] = (PANEL(vector)){0};
	for (int64_t k = 0; k < p->inner; k++, a += p->a_inner, b += p->ldb) {
		PANEL(vector) across[WIDTH];

#pragma GCC unroll 8
		for (int w = 0; w < width; w++)
			across[w] = *(const PANEL(vector) *)(b + w * LANES);
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
			for (int w = 0; w < width; w++)
				sums[r][w] += a[r * p->a_row] * across[w];
	}
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int w = 0; w < width; w++) {
			PANEL(vector) *out = (PANEL(vector) *)(c + r * p->ldc + w * LANES);

			*out = p->add ? *out + p->alpha * sums[r][w] : p->alpha * sums[r][w];
		}
}

/* One function a shape, so that the sums stay in registers. */
#define AQM_PANEL_OF(rows, width)                                                                        \
	TARGET static void PANEL(tile_##rows##_##width)(const struct aqm_panel *p, int64_t row, int64_t col) \
	{                                                                                                    \
		PANEL(tile)(rows, width, p, row, col);                                                           \
	}
#define AQM_PANELS_OF(width) \
	AQM_PANEL_OF(1, width)   \
	AQM_PANEL_OF(2, width) AQM_PANEL_OF(3, width) AQM_PANEL_OF(4, width) AQM_PANEL_OF(5, width) AQM_PANEL_OF(6, width)
#define AQM_PANEL_ROW(width)                                                                        \
	{                                                                                               \
		PANEL(tile_1_##width), PANEL(tile_2_##width), PANEL(tile_3_##width), PANEL(tile_4_##width), \
			PANEL(tile_5_##width), PANEL(tile_6_##width),                                           \
	}
AQM_PANELS_OF(1)
AQM_PANELS_OF(2)
#if WIDTH == 4
AQM_PANELS_OF(3)
AQM_PANELS_OF(4)
#endif

TARGET static void PANEL(product)(const struct aqm_panel *p)
{
	static void (*const tiles[WIDTH][ROWS])(const struct aqm_panel *, int64_t, int64_t) = {
		AQM_PANEL_ROW(1),
		AQM_PANEL_ROW(2),
#if WIDTH == 4
		AQM_PANEL_ROW(3),
		AQM_PANEL_ROW(4),
#endif
	};
	int64_t whole = p->cols / LANES * LANES;

	for (int64_t col = 0; col < whole; col += WIDTH * LANES) {
		int64_t width = (whole - col) / LANES < WIDTH ? (whole - col) / LANES : WIDTH;

		for (int64_t row = 0; row < p->rows; row += ROWS)
			tiles[width - 1][(p->rows - row < ROWS ? p->rows - row : ROWS) - 1](p, row, col);
	}
	if (whole < p->cols)
		panel_rest(p, whole);
}

#undef AQM_PANEL_OF
#undef AQM_PANELS_OF
#undef AQM_PANEL_ROW
#undef PANEL
#undef TARGET
#undef LANES
#undef WIDTH
