/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

static const float canary = -12345.0f;

aqm_device *device;
const struct aqm_ops *ops;
struct aqm_rng rng;

int open_device(void **state)
{
	(void)state;
	aqm_threads_set(2);
	aqm_rng_init(&rng, 20, AQM_STREAM_TEST, 0);
	if (aqm_device_open(&device, AQM_DEVICE_CPU) != AQM_OK)
		return -1;
	ops = device->ops;
	return 0;
}

int close_device(void **state)
{
	(void)state;
	int code = aqm_device_check(device);

	aqm_device_close(device);
	return code;
}

float *at(struct aqm_mat m, int64_t row, int64_t col)
{
	return (float *)m.data + row * m.ld + col;
}

struct aqm_mat new_mat(int64_t rows, int64_t cols, int64_t pad)
{
	struct aqm_mat m = {.dtype = AQM_F32, .rows = rows, .cols = cols, .ld = cols + pad};

	m.data = malloc((size_t)(rows * m.ld + 1) * sizeof(float));
	assert_non_null(m.data);
	for (int64_t i = 0; i < rows * m.ld; i++)
		((float *)m.data)[i] = canary;
	return m;
}

struct aqm_mat random_mat(int64_t rows, int64_t cols, int64_t pad, double scale)
{
	struct aqm_mat m = new_mat(rows, cols, pad);

	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			*at(m, r, c) = (float)(scale * (double)aqm_rng_normal(&rng));
	return m;
}

struct aqm_mat poisoned_mat(int64_t rows, int64_t cols, int64_t pad)
{
	struct aqm_mat m = new_mat(rows, cols, pad);

	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			*at(m, r, c) = NAN;
	return m;
}

struct aqm_mat copy_mat(struct aqm_mat m)
{
	struct aqm_mat copy = new_mat(m.rows, m.cols, m.ld - m.cols);

	memcpy(copy.data, m.data, (size_t)(m.rows * m.ld) * sizeof(float));
	return copy;
}

void free_mat(struct aqm_mat m)
{
	free(m.data);
}

void check_padding(struct aqm_mat m)
{
	for (int64_t r = 0; r < m.rows; r++)
		for (int64_t c = m.cols; c < m.ld; c++)
			if (*at(m, r, c) != canary)
				fail_msg("padding (%d, %d) was overwritten with %g", (int)r, (int)c, (double)*at(m, r, c));
}

double *new_doubles(size_t n)
{
	double *x = calloc(n + 1, sizeof *x);

	assert_non_null(x);
	return x;
}

double *doubles(struct aqm_mat m)
{
	double *x = new_doubles((size_t)(m.rows * m.cols));

	for (int64_t r = 0; r < m.rows; r++)
		for (int64_t c = 0; c < m.cols; c++)
			x[r * m.cols + c] = (double)*at(m, r, c);
	return x;
}

void check_close(struct aqm_mat m, const double *expected, double tolerance)
{
	for (int64_t r = 0; r < m.rows; r++)
		for (int64_t c = 0; c < m.cols; c++) {
			double want = expected[r * m.cols + c], got = (double)*at(m, r, c);

			if (!(fabs(got - want) <= tolerance * (1.0 + fabs(want))))
				fail_msg("(%d, %d) of (%d, %d): %.9g, expected %.9g", (int)r, (int)c, (int)m.rows, (int)m.cols, got,
				         want);
		}
	check_padding(m);
}

void check_same_bits(struct aqm_mat a, struct aqm_mat b)
{
	for (int64_t r = 0; r < a.rows; r++)
		assert_memory_equal(at(a, r, 0), at(b, r, 0), (size_t)a.cols * sizeof(float));
}

static double weighted(differentiable *f, const void *context, const double *in, size_t n_out, const double *weight,
                       double *out)
{
	double sum = 0.0;

	f(context, in, out);
	for (size_t j = 0; j < n_out; j++)
		sum += weight[j] * out[j];
	return sum;
}

void finite_differences(differentiable *f, const void *context, size_t n_in, double *in, size_t n_out,
                        const double *weight, double *gradient)
{
	const double step = 1e-5;
	double *out = new_doubles(n_out);

	for (size_t i = 0; i < n_in; i++) {
		double x = in[i];

		in[i] = x + step;
		double above = weighted(f, context, in, n_out, weight, out);
		in[i] = x - step;
		double below = weighted(f, context, in, n_out, weight, out);
		in[i] = x;
		gradient[i] = (above - below) / (2.0 * step);
	}
	free(out);
}
