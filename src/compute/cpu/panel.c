/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Small matrix products for attention.
 */
#include "compute/cpu/panel.h"

#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { ROWS = 6 };

/* Columns from `col` on, too few for a register. */
static void panel_rest(const struct aqm_panel *p, int64_t col)
{
	for (int64_t r = 0; r < p->rows; r++)
		for (int64_t c = col; c < p->cols; c++) {
			float sum = 0.0f, *out = p->c + r * p->ldc + c;

			for (int64_t k = 0; k < p->inner; k++)
				sum += p->a[r * p->a_row + k * p->a_inner] * p->b[k * p->ldb + c];
			*out = p->add ? *out + p->alpha * sum : p->alpha * sum;
		}
}

#if defined(__x86_64__)
#define PANEL(name) name##_v4
#define TARGET __attribute__((target("arch=x86-64-v4")))
#define LANES 16
#define WIDTH 4
#include "compute/cpu/panel_tile.h"

#define PANEL(name) name##_v3
#define TARGET __attribute__((target("arch=x86-64-v3")))
#define LANES 8
#define WIDTH 2
#include "compute/cpu/panel_tile.h"
#endif

#define PANEL(name) name##_any
#define TARGET
#define LANES 4
#define WIDTH 2
#include "compute/cpu/panel_tile.h"

void aqm_panel_product(const struct aqm_panel *p)
{
	switch (aqm_cpu_level()) {
#if defined(__x86_64__)
	case AQM_LEVEL_V4:
		product_v4(p);
		return;
	case AQM_LEVEL_V3:
		product_v3(p);
		return;
#endif
	default:
		product_any(p);
	}
}
