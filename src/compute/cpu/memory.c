/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Memory of the CPU device, and the ops that only move or add.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"
#include "compute/cpu/cpu.h"

enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20 };

int aqm_cpu_allocate(aqm_device *device, size_t bytes, void **out)
{
	bool huge = bytes >= 2 * (size_t)HUGE_PAGE;
	size_t alignment = huge ? HUGE_PAGE : CACHE_LINE;
	void *memory = NULL;

	(void)device;
	*out = NULL;
	if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, alignment, bytes ? bytes : 1) != 0)
		return aqm_error_set(AQM_ERUN, "not enough memory for %zu bytes", bytes);
#ifdef MADV_HUGEPAGE
	if (huge) /* only whole pages: a rounded-up tail would be memory that no plan shows */
		madvise(memory, bytes & ~((size_t)HUGE_PAGE - 1), MADV_HUGEPAGE);
#endif
	memset(memory, 0, bytes);
	*out = memory;
	return AQM_OK;
}

void aqm_cpu_release(aqm_device *device, void *memory)
{
	(void)device;
	free(memory);
}

void aqm_cpu_upload(aqm_device *device, void *to, const void *from_host, size_t bytes)
{
	(void)device;
	if (bytes)
		memcpy(to, from_host, bytes);
}

void aqm_cpu_download(aqm_device *device, void *to_host, const void *from, size_t bytes)
{
	(void)device;
	if (bytes)
		memcpy(to_host, from, bytes);
}

static size_t row_bytes(struct aqm_mat m)
{
	return (size_t)m.cols * sizeof(float);
}

void aqm_cpu_zero(aqm_device *device, struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++)
		memset(aqm_row(y, r), 0, row_bytes(y));
}

void aqm_cpu_copy(aqm_device *device, struct aqm_mat x, struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++)
		memcpy(aqm_row(y, r), aqm_row(x, r), row_bytes(y));
}

AQM_CLONES static void axpy_row(int64_t n, float alpha, const float *restrict x, float *restrict y)
{
	for (int64_t i = 0; i < n; i++)
		y[i] += alpha * x[i];
}

void aqm_cpu_axpy(aqm_device *device, float alpha, struct aqm_mat x, struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++)
		axpy_row(y.cols, alpha, aqm_row(x, r), aqm_row(y, r));
}

AQM_CLONES static void scale_row(int64_t n, float alpha, float *y)
{
	for (int64_t i = 0; i < n; i++)
		y[i] *= alpha;
}

void aqm_cpu_scale(aqm_device *device, float alpha, struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++)
		scale_row(y.cols, alpha, aqm_row(y, r));
}

void aqm_cpu_expand(aqm_device *device, struct aqm_mat w, struct aqm_mat y)
{
	if (w.dtype == AQM_F32) {
		aqm_cpu_copy(device, w, y);
		return;
	}
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(w.dtype);
	size_t bytes = (size_t)w.cols / traits->block * traits->block_bytes;

#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < w.rows; r++)
		traits->expand((const uint8_t *)w.data + (size_t)r * bytes, aqm_row(y, r), (size_t)w.cols);
}

void aqm_cpu_add_positions(aqm_device *device, struct aqm_mat table, int64_t tokens, const struct aqm_place *places,
                           struct aqm_mat x)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t r = 0; r < x.rows; r++)
		axpy_row(x.cols, 1.0f, aqm_row(table, (places ? places[r / tokens].past : 0) + r % tokens), aqm_row(x, r));
}

void aqm_cpu_append(aqm_device *device, struct aqm_mat x, int64_t tokens, const struct aqm_place *places,
                    struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t r = 0; r < x.rows; r++) {
		const struct aqm_place *place = &places[r / tokens];

		memcpy(aqm_row(y, place->row + place->past + r % tokens), aqm_row(x, r), row_bytes(x));
	}
}

void aqm_cpu_gather(aqm_device *device, struct aqm_mat table, const int32_t *index, bool add, struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++) {
		if (add)
			axpy_row(y.cols, 1.0f, aqm_row(table, index[r]), aqm_row(y, r));
		else
			memcpy(aqm_row(y, r), aqm_row(table, index[r]), row_bytes(y));
	}
}

/* Threads share out columns, not rows: two rows may go to the same place. */
void aqm_cpu_scatter_add(aqm_device *device, struct aqm_mat dy, const int32_t *index, struct aqm_mat dtable)
{
	enum { COLUMNS = 128 };

	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(dy))
	for (int64_t first = 0; first < dy.cols; first += COLUMNS) {
		int64_t count = dy.cols - first < COLUMNS ? dy.cols - first : COLUMNS;

		for (int64_t r = 0; r < dy.rows; r++)
			axpy_row(count, 1.0f, aqm_row(dy, r) + first, aqm_row(dtable, index[r]) + first);
	}
}
