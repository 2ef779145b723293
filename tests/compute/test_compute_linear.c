/* SPDX-License-Identifier: BSD-2-Clause */
#include "compute/cpu/cpu.h"
#include "helper.h"

/* out = alpha op(A) op(B) + beta C in double. */
static double *product(double alpha, struct aqm_mat a, bool ta, struct aqm_mat b, bool tb, double beta,
                       struct aqm_mat c)
{
	double *out = new_doubles((size_t)(c.rows * c.cols));
	int64_t inner = ta ? a.rows : a.cols;

	for (int64_t i = 0; i < c.rows; i++)
		for (int64_t j = 0; j < c.cols; j++) {
			double sum = 0.0;

			for (int64_t k = 0; k < inner; k++)
				sum += (double)(ta ? *at(a, k, i) : *at(a, i, k)) * (double)(tb ? *at(b, j, k) : *at(b, k, j));
			out[i * c.cols + j] = alpha * sum + (beta != 0.0 ? beta * (double)*at(c, i, j) : 0.0);
		}
	return out;
}

static void test_gemm(void **state)
{
	static const int64_t shapes[][3] = {{1, 1, 1},      {3, 5, 7}, {17, 1, 33}, {1, 40, 9}, {65, 70, 129},
	                                    {200, 130, 64}, {0, 4, 3}, {4, 0, 3},   {4, 5, 0}};

	(void)state;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
		for (int flags = 0; flags < 8; flags++) {
			int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
			bool ta = flags & 1, tb = flags & 2;
			float alpha = 0.75f, beta = flags & 4 ? -1.5f : 0.0f;
			struct aqm_mat a = ta ? random_mat(k, m, 3, 1) : random_mat(m, k, 3, 1),
						   b = tb ? random_mat(n, k, 5, 1) : random_mat(k, n, 5, 1);
			struct aqm_mat c = flags & 4 ? random_mat(m, n, 2, 1) : poisoned_mat(m, n, 2);
			double *want = product((double)alpha, a, ta, b, tb, (double)beta, c);

			ops->gemm(device, alpha, a, ta, b, tb, beta, c);
			check_close(c, want, 1e-5);
			struct aqm_mat bias = random_mat(1, n, 0, 1);

			for (int64_t i = 0; i < m * n; i++)
				want[i] += (double)*at(bias, 0, i % n);
			if (!(flags & 4)) {
				ops->gemm_bias(device, alpha, a, ta, b, tb, 0.0f, c, bias);
				check_close(c, want, 1e-5);
			}
			free_mat(bias);
			free(want);
			free_mat(a);
			free_mat(b);
			free_mat(c);
		}
}

/* Fill a matrix of any type with what its own quantiser makes of random numbers. */
static struct aqm_mat weights(enum aqm_dtype dtype, int64_t rows, int64_t cols)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtype);
	size_t bytes = (size_t)cols / traits->block * traits->block_bytes;
	struct aqm_mat dense = random_mat(rows, cols, 0, 0.5), m = {.dtype = dtype, .rows = rows, .cols = cols, .ld = cols};

	m.data = malloc((size_t)rows * bytes);
	assert_non_null(m.data);
	for (int64_t r = 0; r < rows; r++) {
		uint8_t *blocks = (uint8_t *)m.data + (size_t)r * bytes;

		if (traits->quantise)
			traits->quantise(at(dense, r, 0), blocks, (size_t)cols);
		else /* a type that is only read: quants at random, and scales (f16 in the first or last bytes) that are small
		      */
			for (size_t i = 0; i < bytes; i++) {
				size_t place = i % traits->block_bytes;
				bool scale = dtype == AQM_Q6_K ? place >= 208 : place < 4;

				blocks[i] = (uint8_t)aqm_rng_u32(&rng);
				if (scale && place % 2 == 1)
					blocks[i] = (uint8_t)(0x10 + blocks[i] % 8);
			}
	}
	free_mat(dense);
	return m;
}

static const enum aqm_dtype dtypes[] = {AQM_F32,  AQM_F16,  AQM_BF16, AQM_Q8_0, AQM_Q4_0, AQM_Q4_1,
                                        AQM_Q5_0, AQM_Q5_1, AQM_Q4_K, AQM_Q5_K, AQM_Q6_K};

/* w, and the same expanded. */
static void check_few(struct aqm_mat w, struct aqm_mat dense, int64_t count, float beta)
{
	struct aqm_mat x = random_mat(count, w.cols, 5, 1);
	struct aqm_mat y = beta == 0.0f ? poisoned_mat(count, w.rows, 4) : random_mat(count, w.rows, 4, 1);
	double *want = product(1.0, x, false, dense, true, (double)beta, y);

	ops->linear_few(device, x, w, beta, y);
	check_close(y, want, 4e-5);
	check_padding(y);
	free(want);
	free_mat(x);
	free_mat(y);
}

static void check_expand_and_few(void)
{
	static const int64_t rows[] = {1, 7, 66}, counts[] = {1, 2, 5, 10, 13, 16};

	for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
			int64_t block = (int64_t)aqm_dtype_traits(dtypes[d])->block, in = block * (block == 256  ? 3
			                                                                           : block == 32 ? 9
			                                                                                         : 77);
			struct aqm_mat w = weights(dtypes[d], rows[i], in), dense = poisoned_mat(rows[i], in, 3);

			ops->expand(device, w, dense);
			for (int64_t r = 0; r < rows[i]; r++) {
				const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtypes[d]);
				float *row = malloc((size_t)in * sizeof *row);

				traits->expand((uint8_t *)w.data + (size_t)(r * in) / traits->block * traits->block_bytes, row,
				               (size_t)in);
				assert_memory_equal(row, at(dense, r, 0), (size_t)in * sizeof *row);
				free(row);
			}
			check_padding(dense);
			for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
				check_few(w, dense, counts[k], k % 2 ? 1.0f : 0.0f);
			free_mat(w);
			free_mat(dense);
		}
}

static void test_expand_and_few(void **state)
{
	(void)state;
	for (enum aqm_level level = AQM_LEVEL_ANY; level <= AQM_LEVEL_V4; level++) {
		aqm_cpu_level_limit(level);
		check_expand_and_few();
	}
}

/* Rows so long that X is taken a chunk of columns at a time, for every count of its rows. */
static void test_few_long(void **state)
{
	static const struct {
		enum aqm_dtype dtype;
		int64_t in;
	} cases[] = {{AQM_F32, 1605},  {AQM_F16, 1624},  {AQM_BF16, 1600}, {AQM_Q8_0, 1664},
	             {AQM_Q4_0, 1632}, {AQM_Q4_1, 1600}, {AQM_Q4_K, 1536}};

	(void)state;
	for (enum aqm_level level = AQM_LEVEL_ANY; level <= AQM_LEVEL_V4; level++) {
		aqm_cpu_level_limit(level);
		for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
			struct aqm_mat w = weights(cases[c].dtype, 35, cases[c].in), dense = poisoned_mat(35, cases[c].in, 0);

			ops->expand(device, w, dense);
			for (int64_t count = 1; count <= 16; count++)
				check_few(w, dense, count, count % 2 ? 0.0f : 0.5f);
			free_mat(w);
			free_mat(dense);
		}
	}
}

/* x rounded by the rule of linear_few_int8: multiples of 1/127 of the largest of its block, ties to even. */
static struct aqm_mat rounded(struct aqm_mat x)
{
	struct aqm_mat y = copy_mat(x);

	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t b = 0; b < x.cols; b += 32) {
			float largest = 0;

			for (int64_t k = b; k < b + 32; k++)
				largest = fmaxf(largest, fabsf(*at(x, i, k)));
			for (int64_t k = b; k < b + 32; k++)
				*at(y, i, k) = largest > 0 ? rintf(*at(x, i, k) * (127.0f / largest)) * (largest / 127.0f) : 0.0f;
		}
	return y;
}

/* x rounded to bfloat16, ties to even. */
static struct aqm_mat rounded_bf16(struct aqm_mat x)
{
	struct aqm_mat y = copy_mat(x);

	for (int64_t i = 0; i < x.rows; i++)
		for (int64_t k = 0; k < x.cols; k++) {
			int exponent;
			float fraction = frexpf(*at(x, i, k), &exponent);

			*at(y, i, k) = ldexpf(rintf(fraction * 256.0f), exponent - 8);
		}
	return y;
}

/* Exactly the product of the rounded numbers, as far as float32 carries it; near the product of those that were not. */
static void check_few_int8(enum aqm_dtype dtype, int64_t rows, int64_t count)
{
	int64_t block = (int64_t)aqm_dtype_traits(dtype)->block, in = block == 1 ? 107 : block == 32 ? 32 * 21 : 256 * 3;
	struct aqm_mat w = weights(dtype, rows, in), dense = poisoned_mat(rows, in, 0), x = random_mat(count, in, 5, 1);
	struct aqm_mat near = block > 1 ? rounded(x) : dtype == AQM_BF16 ? rounded_bf16(x) : copy_mat(x);
	float beta = count % 2 ? 0.0f : 1.0f;
	struct aqm_mat y = beta == 0.0f ? poisoned_mat(count, rows, 3) : random_mat(count, rows, 3, 1);

	ops->expand(device, w, dense);
	double *want = product(1.0, near, false, dense, true, (double)beta, y);
	double *exact = product(1.0, x, false, dense, true, (double)beta, y);
	ops->linear_few_int8(device, x, w, beta, y);
	check_close(y, want, 1e-4);
	double error = 0, size = 0;
	for (int64_t i = 0; i < count; i++)
		for (int64_t r = 0; r < rows; r++) {
			double difference = (double)*at(y, i, r) - exact[i * rows + r];

			error += difference * difference;
			size += exact[i * rows + r] * exact[i * rows + r];
		}
	if (rows * count > 100) /* fewer may cancel */
		assert_true(sqrt(error) <= 0.01 * sqrt(size));
	free(want);
	free(exact);
	free_mat(w);
	free_mat(dense);
	free_mat(x);
	free_mat(near);
	free_mat(y);
}

static void test_few_int8(void **state)
{
	static const int64_t rows[] = {1, 16, 37, 300};

	(void)state;
	for (enum aqm_level level = AQM_LEVEL_ANY; level <= AQM_LEVEL_V4; level++) {
		aqm_cpu_level_limit(level);
		for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
			for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
				for (int64_t count = 1; count <= 16; count += rows[i] == 37 ? 1 : 5)
					check_few_int8(dtypes[d], rows[i], count);
	}
}

/* Layers of one X at once are as each is alone, bit for bit: of one type or not, with rows enough or not. */
static void test_linears_few(void **state)
{
	static const struct {
		enum aqm_dtype dtypes[3];
		int64_t rows[3];
	} cases[] = {
		{{AQM_F32, AQM_F32, AQM_F32}, {190, 1, 61}},      {{AQM_F16, AQM_F16, AQM_F16}, {100, 7, 50}},
		{{AQM_BF16, AQM_BF16, AQM_BF16}, {48, 49, 96}},   {{AQM_Q8_0, AQM_Q8_0, AQM_Q8_0}, {300, 37, 17}},
		{{AQM_Q4_1, AQM_Q8_0, AQM_Q4_1}, {64, 37, 17}},   {{AQM_Q4_K, AQM_Q4_K, AQM_Q4_K}, {33, 16, 5}},
		{{AQM_Q6_K, AQM_Q6_K, AQM_Q6_K}, {160, 32, 100}},
	};

	(void)state;
	for (enum aqm_level level = AQM_LEVEL_ANY; level <= AQM_LEVEL_V4; level++) {
		aqm_cpu_level_limit(level);
		for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
			for (int64_t count = 1; count <= 16; count += 5)
				for (int int8 = 0; int8 <= 1; int8++) {
					struct aqm_mat x = random_mat(count, 512, 3, 1), w[3], y[3];

					for (int i = 0; i < 3; i++) {
						w[i] = weights(cases[c].dtypes[i], cases[c].rows[i], 512);
						y[i] = poisoned_mat(count, cases[c].rows[i], 2);
					}
					ops->linears_few(device, x, int8, 3, w, y);
					for (int i = 0; i < 3; i++) {
						struct aqm_mat alone = poisoned_mat(count, w[i].rows, 0);

						(int8 ? ops->linear_few_int8 : ops->linear_few)(device, x, w[i], 0.0f, alone);
						check_same_bits(y[i], alone);
						check_padding(y[i]);
						free_mat(alone);
						free_mat(w[i]);
						free_mat(y[i]);
					}
					free_mat(x);
				}
	}
}

/* A number that is not finite shows in the result. */
static void test_few_int8_keeps_what_is_not_finite(void **state)
{
	struct aqm_mat w = weights(AQM_Q8_0, 20, 64);

	(void)state;
	for (int level = 0; level <= AQM_LEVEL_V4; level++)
		for (int i = 0; i < 2; i++) {
			struct aqm_mat x = random_mat(2, 64, 0, 1), y = poisoned_mat(2, 20, 0);

			aqm_cpu_level_limit((enum aqm_level)level);
			*at(x, 1, 40) = i ? INFINITY : NAN;
			ops->linear_few_int8(device, x, w, 0.0f, y);
			for (int64_t r = 0; r < 20; r++)
				assert_true(isfinite(*at(y, 0, r)) && !isfinite(*at(y, 1, r)));
			free_mat(x);
			free_mat(y);
		}
	free_mat(w);
}

static void test_bias(void **state)
{
	static const int64_t shapes[][2] = {{1, 1}, {3, 129}, {200, 7}, {321, 300}, {0, 5}};

	(void)state;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		int64_t rows = shapes[s][0], cols = shapes[s][1];
		struct aqm_mat bias = random_mat(1, cols, 0, 1), y = random_mat(rows, cols, 3, 1),
					   dbias = random_mat(1, cols, 0, 1);
		double *sum = doubles(dbias), *want = doubles(y);

		for (int64_t i = 0; i < rows * cols; i++) {
			sum[i % cols] += want[i];
			want[i] += (double)*at(bias, 0, i % cols);
		}
		ops->bias_backward(device, y, dbias);
		check_close(dbias, sum, 1e-5);
		ops->bias_forward(device, bias, y);
		check_close(y, want, 1e-6);
		free(sum);
		free(want);
		free_mat(bias);
		free_mat(y);
		free_mat(dbias);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gemm),     cmocka_unit_test(test_expand_and_few),
		cmocka_unit_test(test_few_long),
		cmocka_unit_test(test_linears_few),
		cmocka_unit_test(test_few_int8), cmocka_unit_test(test_few_int8_keeps_what_is_not_finite),
		cmocka_unit_test(test_bias),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
