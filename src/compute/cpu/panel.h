/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Small matrix products inside one thread.
 */
#ifndef AQM_COMPUTE_CPU_PANEL_H
#define AQM_COMPUTE_CPU_PANEL_H

#include <stdbool.h>
#include <stdint.h>

/* C (rows, cols) = or += alpha A B. Element (r, k) of A lies at a[r * a_row + k * a_inner], so A may lie transposed. */
struct aqm_panel {
	int64_t rows, cols, inner;
	float alpha;
	const float *a;
	int64_t a_row, a_inner;
	const float *b; /* (inner, cols) */
	int64_t ldb;
	bool add;
	float *c;
	int64_t ldc;
};
void aqm_panel_product(const struct aqm_panel *p);

#endif
