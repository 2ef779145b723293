/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include "compute/cuda/index.h"

static const float canary = -12352.0f; /* both types have it */

aqm_device *cpu, *gpu;
struct aqm_rng rng;

struct layout layout_of(int i)
{
	return (struct layout){.dtype = i < 2 ? AQM_F32 : AQM_BF16, .pad = i % 2 ? 3 : 0};
}

double tolerance_of(enum aqm_dtype dtype, double bfloat)
{
	return dtype == AQM_F32 ? exact : bfloat;
}

bool takes_large(void)
{
#ifdef AQM_EMULATED
	return false;
#else
	return getenv("AQM_TEST_SMALL") == NULL;
#endif
}

int64_t size_up_to(int64_t n)
{
	return 1 + (int64_t)aqm_rng_below(&rng, (uint64_t)n);
}

static size_t unit(enum aqm_dtype dtype)
{
	return dtype == AQM_BF16 ? 2 : 4;
}

static void set(void *data, enum aqm_dtype dtype, int64_t i, float x)
{
	if (dtype == AQM_BF16)
		((uint16_t *)data)[i] = aqm_bfloat_of(x);
	else
		((float *)data)[i] = x;
}

static float get(const void *data, enum aqm_dtype dtype, int64_t i)
{
	return dtype == AQM_BF16 ? aqm_float_of_bfloat(((const uint16_t *)data)[i]) : ((const float *)data)[i];
}

/* A matrix of the GPU's: (rows, ld) elements made of cpu's numbers, canaries behind each row. */
static struct aqm_mat uploaded(struct aqm_mat host, struct layout layout)
{
	struct aqm_mat m = {.dtype = layout.dtype, .rows = host.rows, .cols = host.cols, .ld = host.cols + layout.pad};
	size_t bytes = (size_t)(m.rows * m.ld) * unit(m.dtype);
	void *data = malloc(bytes + 1);

	assert_non_null(data);
	for (int64_t r = 0; r < m.rows; r++)
		for (int64_t c = 0; c < m.ld; c++)
			set(data, m.dtype, r * m.ld + c, c < m.cols ? ((float *)host.data)[r * host.ld + c] : canary);
	CHECK_OK(gpu->ops->allocate(gpu, bytes, &m.data));
	gpu->ops->upload(gpu, m.data, data, bytes);
	free(data);
	return m;
}

static struct aqm_mat host_mat(int64_t rows, int64_t cols)
{
	struct aqm_mat m = aqm_mat_f32(malloc((size_t)(rows * cols + 1) * sizeof(float)), rows, cols);

	assert_non_null(m.data);
	return m;
}

struct twin random_twin(int64_t rows, int64_t cols, struct layout layout, double scale)
{
	struct twin t = {.cpu = host_mat(rows, cols)};

	for (int64_t i = 0; i < rows * cols; i++)
		((float *)t.cpu.data)[i] = aqm_float_of_bfloat(aqm_bfloat_of((float)(scale * (double)aqm_rng_normal(&rng))));
	t.gpu = uploaded(t.cpu, layout);
	return t;
}

struct twin random_f32(int64_t rows, int64_t cols, double scale)
{
	return random_twin(rows, cols, (struct layout){AQM_F32, 0}, scale);
}

struct twin poisoned_twin(int64_t rows, int64_t cols, struct layout layout)
{
	struct twin t = {.cpu = host_mat(rows, cols)};

	for (int64_t i = 0; i < rows * cols; i++)
		((float *)t.cpu.data)[i] = NAN;
	t.gpu = uploaded(t.cpu, layout);
	return t;
}

/* Clears what makes a half large: the highest and the lowest bit of its exponent. */
static void tame(unsigned char *half)
{
	half[1] &= 0xbb;
}

struct twin random_weight(enum aqm_dtype dtype, int64_t rows, int64_t cols)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtype);
	size_t blocks = (size_t)(rows * cols) / traits->block, bytes = blocks * traits->block_bytes;
	unsigned char *data = malloc(bytes + 1);
	struct twin t = {.cpu = {.data = data, .dtype = dtype, .rows = rows, .cols = cols, .ld = cols}};

	assert_non_null(data);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (unsigned char)aqm_rng_u32(&rng);
	for (size_t i = 0; i < blocks; i++) {
		unsigned char *block = data + i * traits->block_bytes;

		if (dtype == AQM_F32 || dtype == AQM_BF16) {
			set(block, dtype, 0, (float)aqm_rng_normal(&rng));
		} else if (dtype == AQM_Q6_K) {
			tame(block + 208);
		} else {
			tame(block);
			if (dtype == AQM_Q4_1 || dtype == AQM_Q5_1 || dtype == AQM_Q4_K || dtype == AQM_Q5_K)
				tame(block + 2);
		}
	}
	t.gpu = t.cpu;
	CHECK_OK(gpu->ops->allocate(gpu, bytes, &t.gpu.data));
	gpu->ops->upload(gpu, t.gpu.data, data, bytes);
	return t;
}

struct shared shared_of(const void *host, size_t bytes)
{
	struct shared s = {.cpu = host};

	CHECK_OK(gpu->ops->allocate(gpu, bytes, &s.gpu));
	gpu->ops->upload(gpu, s.gpu, host, bytes);
	return s;
}

void free_shared(struct shared s)
{
	gpu->ops->release(gpu, s.gpu);
}

void draw_places(struct aqm_place *places, int64_t windows, int64_t capacity, int64_t past)
{
	for (int64_t w = 0; w < windows; w++)
		places[w] = (struct aqm_place){.row = (int32_t)((windows - 1 - w) * capacity),
		                               .past = (int32_t)(size_up_to(past + 1) - 1)};
}

struct twin absent_twin(void)
{
	return (struct twin){.cpu = aqm_mat_absent(), .gpu = aqm_mat_absent()};
}

struct twin cols_of(struct twin t, int64_t first, int64_t count)
{
	return (struct twin){aqm_mat_cols(t.cpu, first, count), aqm_mat_cols(t.gpu, first, count)};
}

struct twin rows_of(struct twin t, int64_t first, int64_t count)
{
	return (struct twin){aqm_mat_rows(t.cpu, first, count), aqm_mat_rows(t.gpu, first, count)};
}

void free_twin(struct twin t)
{
	free(t.cpu.data);
	if (t.gpu.data)
		gpu->ops->release(gpu, t.gpu.data);
}

/* All (rows, ld) elements but what lies behind the last row. */
static void *raw(struct aqm_mat m)
{
	size_t bytes = (size_t)((m.rows - 1) * m.ld + m.cols) * unit(m.dtype);
	void *data = malloc(bytes + 1);

	assert_non_null(data);
	gpu->ops->download(gpu, data, m.data, bytes);
	CHECK_OK(aqm_device_check(gpu));
	return data;
}

float *downloaded(struct aqm_mat m)
{
	void *data = raw(m);
	float *dense = malloc((size_t)(m.rows * m.cols + 1) * sizeof *dense);

	assert_non_null(dense);
	for (int64_t r = 0; r < m.rows; r++)
		for (int64_t c = 0; c < m.cols; c++)
			dense[r * m.cols + c] = get(data, m.dtype, r * m.ld + c);
	free(data);
	return dense;
}

/* Between the columns of a part of a fused matrix lie other columns; a matrix with a pad of its own has canaries
 * there. */
static void check_gaps(const char *what, struct aqm_mat m)
{
	if (m.ld - m.cols != layout_of(1).pad)
		return;
	void *data = raw(m);

	for (int64_t r = 0; r + 1 < m.rows; r++)
		for (int64_t c = m.cols; c < m.ld; c++)
			if (get(data, m.dtype, r * m.ld + c) != canary)
				fail_msg("%s: wrote behind row %d", what, (int)r);
	free(data);
}

void check_twin(const char *what, struct twin t, double tolerance)
{
	float *got = downloaded(t.gpu);
	double error = 0.0, size = 0.0;

	for (int64_t r = 0; r < t.cpu.rows; r++)
		for (int64_t c = 0; c < t.cpu.cols; c++) {
			double want = (double)((float *)t.cpu.data)[r * t.cpu.ld + c], have = (double)got[r * t.cpu.cols + c];

			if (!isfinite(have) || !isfinite(want))
				fail_msg("%s: (%d, %d) of (%d, %d) is %g, on the CPU %g", what, (int)r, (int)c, (int)t.cpu.rows,
				         (int)t.cpu.cols, have, want);
			error += (have - want) * (have - want);
			size += want * want;
		}
	free(got);
	if (!(sqrt(error) <= tolerance * sqrt(size)))
		fail_msg("%s (%d, %d), %s: error %.3g of the norm, at most %.3g allowed", what, (int)t.cpu.rows,
		         (int)t.cpu.cols, aqm_dtype_name(t.gpu.dtype), sqrt(error / size), tolerance);
	check_gaps(what, t.gpu);
}
