/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Ops that only move or add. Copying converts: float32 and bfloat16 on either side.
 */
#include "compute/cuda/kernel.cuh"

static __global__ void zero_kernel(int64_t rows, int64_t cols, struct view y)
{
	struct place p = place_of(rows, cols);
	const float zeros[8] = {0, 0, 0, 0, 0, 0, 0, 0};

	if (p.n > 0)
		store_eight(y, p.row, p.col, p.n, zeros);
}

void aqm_cuda_zero(aqm_device *device, struct aqm_mat y)
{
	launch(device, "zero", places(y.rows, y.cols), AQM_THREADS, 0, zero_kernel, y.rows, y.cols, view_of(y));
}

static __global__ void copy_kernel(int64_t rows, int64_t cols, struct view x, struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8];

	if (p.n <= 0)
		return;
	load_eight(x, p.row, p.col, p.n, a);
	store_eight(y, p.row, p.col, p.n, a);
}

void aqm_cuda_copy(aqm_device *device, struct aqm_mat x, struct aqm_mat y)
{
	launch(device, "copy", places(y.rows, y.cols), AQM_THREADS, 0, copy_kernel, y.rows, y.cols, view_of(x), view_of(y));
}

/* y = beta y + alpha x; x absent: 0 */
static __global__ void add_kernel(int64_t rows, int64_t cols, float alpha, struct view x, float beta, struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8] = {0, 0, 0, 0, 0, 0, 0, 0}, b[8];

	if (p.n <= 0)
		return;
	if (x.data)
		load_eight(x, p.row, p.col, p.n, a);
	load_eight(y, p.row, p.col, p.n, b);
#pragma unroll
	for (int i = 0; i < 8; i++)
		b[i] = beta * b[i] + alpha * a[i];
	store_eight(y, p.row, p.col, p.n, b);
}

void aqm_cuda_axpy(aqm_device *device, float alpha, struct aqm_mat x, struct aqm_mat y)
{
	launch(device, "axpy", places(y.rows, y.cols), AQM_THREADS, 0, add_kernel, y.rows, y.cols, alpha, view_of(x), 1.0f,
	       view_of(y));
}

void aqm_cuda_scale(aqm_device *device, float alpha, struct aqm_mat y)
{
	launch(device, "scale", places(y.rows, y.cols), AQM_THREADS, 0, add_kernel, y.rows, y.cols, 0.0f,
	       view_of(aqm_mat_absent()), alpha, view_of(y));
}

static __global__ void positions_kernel(int64_t rows, int64_t cols, int64_t tokens, const struct aqm_place *at,
                                        struct view table, struct view x)
{
	struct place p = place_of(rows, cols);
	float a[8], b[8];

	if (p.n <= 0)
		return;
	int64_t window = quotient(p.row, tokens), position = p.row - window * tokens + (at ? at[window].past : 0);

	load_eight(table, position, p.col, p.n, a);
	load_eight(x, p.row, p.col, p.n, b);
#pragma unroll
	for (int i = 0; i < 8; i++)
		b[i] += a[i];
	store_eight(x, p.row, p.col, p.n, b);
}

void aqm_cuda_add_positions(aqm_device *device, struct aqm_mat table, int64_t tokens, const struct aqm_place *at,
                            struct aqm_mat x)
{
	launch(device, "add_positions", places(x.rows, x.cols), AQM_THREADS, 0, positions_kernel, x.rows, x.cols, tokens, at,
	       view_of(table), view_of(x));
}

static __global__ void append_kernel(int64_t rows, int64_t cols, int64_t tokens, const struct aqm_place *at,
                                     struct view x, struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8];

	if (p.n <= 0)
		return;
	int64_t window = quotient(p.row, tokens), row = p.row - window * tokens + at[window].row + at[window].past;

	load_eight(x, p.row, p.col, p.n, a);
	store_eight(y, row, p.col, p.n, a);
}

void aqm_cuda_append(aqm_device *device, struct aqm_mat x, int64_t tokens, const struct aqm_place *at,
                     struct aqm_mat y)
{
	launch(device, "append", places(x.rows, x.cols), AQM_THREADS, 0, append_kernel, x.rows, x.cols, tokens, at, view_of(x),
	       view_of(y));
}

static __global__ void gather_kernel(int64_t rows, int64_t cols, struct view table, const int32_t *index, bool add,
                                     struct view y)
{
	struct place p = place_of(rows, cols);
	float a[8], b[8];

	if (p.n <= 0)
		return;
	load_eight(table, index[p.row], p.col, p.n, a);
	if (add) {
		load_eight(y, p.row, p.col, p.n, b);
#pragma unroll
		for (int i = 0; i < 8; i++)
			a[i] += b[i];
	}
	store_eight(y, p.row, p.col, p.n, a);
}

void aqm_cuda_gather(aqm_device *device, struct aqm_mat table, const int32_t *index, bool add, struct aqm_mat y)
{
	launch(device, "gather", places(y.rows, y.cols), AQM_THREADS, 0, gather_kernel, y.rows, y.cols, view_of(table),
	       index, add, view_of(y));
}

/* A thread has eight columns of one row of the table, and looks for the rows of dy that go there: tables are small. */
static __global__ void scatter_kernel(int64_t table_rows, int64_t cols, int64_t rows, struct view dy,
                                      const int32_t *index, struct view dtable)
{
	struct place p = place_of(table_rows, cols);
	float sum[8], a[8];
	bool any = false;

	if (p.n <= 0)
		return;
	load_eight(dtable, p.row, p.col, p.n, sum);
	for (int64_t r = 0; r < rows; r++) {
		if (index[r] != p.row)
			continue;
		any = true;
		load_eight(dy, r, p.col, p.n, a);
#pragma unroll
		for (int i = 0; i < 8; i++)
			sum[i] += a[i];
	}
	if (any)
		store_eight(dtable, p.row, p.col, p.n, sum);
}

void aqm_cuda_scatter_add(aqm_device *device, struct aqm_mat dy, const int32_t *index, struct aqm_mat dtable)
{
	if (dy.rows > 0)
		launch(device, "scatter_add", places(dtable.rows, dtable.cols), AQM_THREADS, 0, scatter_kernel, dtable.rows,
		       dtable.cols, dy.rows, view_of(dy), index, view_of(dtable));
}
