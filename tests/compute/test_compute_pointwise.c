/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"
#include "compute/cpu/vector.h"

/* Distance in units of the last place of the float nearest to `want`. */
static double ulps(float got, double want)
{
	float nearest = (float)want;
	double unit = (double)nextafterf(fabsf(nearest), INFINITY) - (double)fabsf(nearest);

	return fabs((double)got - want) / unit;
}

static void test_exp(void **state)
{
	double worst = 0.0;

	(void)state;
	for (float x = -87.3f; x < 88.7f; x += 0.00731f)
		worst = fmax(worst, ulps(aqm_exp(x), exp((double)x)));
	for (float x = 1e-30f; x < 1.0f; x *= 1.01f)
		worst = fmax(worst, fmax(ulps(aqm_exp(x), exp((double)x)), ulps(aqm_exp(-x), exp(-(double)x))));
	if (!(worst < 2.0))
		fail_msg("%g units in the last place", worst);
	assert_true(aqm_exp(0.0f) == 1.0f);
	assert_true(isinf(aqm_exp(INFINITY)) && isinf(aqm_exp(89.0f)) && isinf(aqm_exp(1e30f)));
	assert_true(aqm_exp(-INFINITY) == 0.0f && aqm_exp(-1e30f) == 0.0f);
	assert_true(aqm_exp(-100.0f) > 0.0f && aqm_exp(-100.0f) < 1e-43f); /* a subnormal */
	assert_true(isnan(aqm_exp(NAN)) && isnan(aqm_exp(-NAN)));
}

static double gelu_tanh(double x)
{
	return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}
static double gelu_erf(double x)
{
	return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
}
static double relu(double x)
{
	return x > 0.0 ? x : 0.0;
}
static double leaky_relu(double x)
{
	return x > 0.0 ? x : (double)0.01f * x;
}

static const struct {
	enum aqm_activation kind;
	double (*f)(double);
} activations[] = {
	{AQM_GELU_TANH, gelu_tanh}, {AQM_GELU_ERF, gelu_erf}, {AQM_RELU, relu}, {AQM_LEAKY_RELU, leaky_relu}};

static void test_activations(void **state)
{
	static const int64_t shapes[][2] = {{1, 1}, {5, 33}, {70, 301}, {0, 3}};

	(void)state;
	for (size_t k = 0; k < sizeof activations / sizeof *activations; k++)
		for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
			int64_t rows = shapes[s][0], cols = shapes[s][1];
			struct aqm_mat x = random_mat(rows, cols, 2, 3), y = poisoned_mat(rows, cols, 3),
						   dy = random_mat(rows, cols, 1, 1), dx = poisoned_mat(rows, cols, 4);
			double *in = doubles(x), *out = new_doubles((size_t)(rows * cols)), *slope = doubles(dy);
			const double h = 1e-6;

			for (int64_t i = 0; i < rows * cols; i++) {
				out[i] = activations[k].f(in[i]);
				slope[i] *= (activations[k].f(in[i] + h) - activations[k].f(in[i] - h)) / (2.0 * h);
			}
			ops->activation_forward(device, activations[k].kind, 0.01f, x, y);
			check_close(y, out, 1e-6);
			ops->activation_backward(device, activations[k].kind, 0.01f, dy, x, dx);
			check_close(dx, slope, 3e-6);
			ops->activation_backward(device, activations[k].kind, 0.01f, dy, x, dy); /* in place */
			check_same_bits(dy, dx);
			ops->activation_forward(device, activations[k].kind, 0.01f, x, x);
			check_same_bits(x, y);
			free(in);
			free(out);
			free(slope);
			free_mat(x);
			free_mat(y);
			free_mat(dy);
			free_mat(dx);
		}
}

/* Far tails go to 0 or x and slopes to 0 or 1; a NaN stays one. */
static void test_activation_tails(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		float in[] = {-1e4f, -50.0f, -12.0f, 12.0f, 50.0f, 1e4f, NAN, 0.0f}, out[8], one[] = {1, 1, 1, 1, 1, 1, 1, 1},
			  slope[8];
		struct aqm_mat x = aqm_mat_f32(in, 1, 8);

		ops->activation_forward(device, activations[k].kind, 0.0f, x, aqm_mat_f32(out, 1, 8));
		ops->activation_backward(device, activations[k].kind, 0.0f, aqm_mat_f32(one, 1, 8), x,
		                         aqm_mat_f32(slope, 1, 8));
		for (int i = 0; i < 6; i++) {
			assert_true(fabsf(out[i] - (in[i] < 0 ? 0.0f : in[i])) <= 1e-6f);
			assert_true(fabsf(slope[i] - (in[i] < 0 ? 0.0f : 1.0f)) <= 1e-6f);
		}
		assert_true(isnan(out[6]) && isnan(slope[6]) && out[7] == 0.0f && slope[7] == 0.5f);
	}
	for (size_t k = 2; k < 4; k++) {
		float in = NAN, out = 0.0f;

		ops->activation_forward(device, activations[k].kind, 0.01f, aqm_mat_f32(&in, 1, 1), aqm_mat_f32(&out, 1, 1));
		assert_true(isnan(out));
	}
}

static double silu(double x)
{
	return x / (1.0 + exp(-x));
}

static void check_glu(enum aqm_glu kind, double (*f)(double))
{
	static const int64_t shapes[][2] = {{1, 1}, {7, 45}, {64, 300}};

	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		int64_t rows = shapes[s][0], cols = shapes[s][1];
		struct aqm_mat gate = random_mat(rows, cols, 1, 3), up = random_mat(rows, cols, 2, 1),
					   y = poisoned_mat(rows, cols, 3), dy = random_mat(rows, cols, 4, 1),
					   dgate = poisoned_mat(rows, cols, 5), dup = poisoned_mat(rows, cols, 6);
		double *g = doubles(gate), *u = doubles(up), *upstream = doubles(dy), *out = new_doubles((size_t)(rows * cols));
		const double h = 1e-6;

		for (int64_t i = 0; i < rows * cols; i++)
			out[i] = f(g[i]) * u[i];
		ops->glu_forward(device, kind, gate, up, y);
		check_close(y, out, 1e-6);
		ops->glu_backward(device, kind, dy, gate, up, dgate, dup);
		for (int64_t i = 0; i < rows * cols; i++)
			out[i] = upstream[i] * u[i] * (f(g[i] + h) - f(g[i] - h)) / (2.0 * h);
		check_close(dgate, out, 3e-6);
		for (int64_t i = 0; i < rows * cols; i++)
			out[i] = upstream[i] * f(g[i]);
		check_close(dup, out, 1e-6);
		/* in place: forward over gate; backward over both */
		struct aqm_mat over = copy_mat(gate);

		ops->glu_forward(device, kind, over, up, over);
		check_same_bits(over, y);
		ops->glu_backward(device, kind, dy, gate, up, gate, up);
		check_same_bits(gate, dgate);
		check_same_bits(up, dup);
		free(g);
		free(u);
		free(upstream);
		free(out);

		struct aqm_mat all[] = {gate, up, y, dy, dgate, dup, over};

		for (size_t i = 0; i < sizeof all / sizeof *all; i++)
			free_mat(all[i]);
	}
}

static void test_glu(void **state)
{
	(void)state;
	check_glu(AQM_SWIGLU, silu);
	check_glu(AQM_GEGLU, gelu_tanh);
}

static void test_dropout(void **state)
{
	static const int64_t shapes[][2] = {{1, 1}, {3, 5}, {50, 131}, {40, 768}};
	const uint64_t seed = 0x123456789abcdefULL;
	const float p = 0.25f;

	(void)state;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		int64_t rows = shapes[s][0], cols = shapes[s][1], kept = 0;
		struct aqm_mat x = random_mat(rows, cols, 1, 1), y = poisoned_mat(rows, cols, 2);

		ops->dropout(device, p, seed, 7, 3, 0, x, y);
		check_padding(y);
		for (int64_t i = 0; i < rows * cols; i++) {
			uint32_t block[4];
			float *in = at(x, i / cols, i % cols);

			aqm_philox(seed, AQM_STREAM_DROPOUT, 7, 3ULL << 32 | (uint64_t)i / 4, block);
			bool keep = block[i % 4] >= 0x40000000u;

			kept += keep;
			assert_true(*at(y, i / cols, i % cols) == (keep ? *in * (1.0f / 0.75f) : 0.0f));
		}
		if (rows * cols > 10000)
			assert_true(fabs((double)kept / (double)(rows * cols) - 0.75) < 0.02);
		if (rows > 1) { /* the last rows alone draw what they drew among all */
			struct aqm_mat last = poisoned_mat(rows - 1, cols, 3);

			ops->dropout(device, p, seed, 7, 3, 1, aqm_mat_rows(x, 1, rows - 1), last);
			check_same_bits(last, aqm_mat_rows(y, 1, rows - 1));
			free_mat(last);
		}
		ops->dropout(device, p, seed, 7, 3, 0, x, x);
		check_same_bits(x, y);
		ops->dropout(device, 0.0f, seed, 7, 3, 0, x, y);
		check_same_bits(x, y);
		free_mat(x);
		free_mat(y);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exp), cmocka_unit_test(test_activations), cmocka_unit_test(test_activation_tails),
		cmocka_unit_test(test_glu), cmocka_unit_test(test_dropout),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
