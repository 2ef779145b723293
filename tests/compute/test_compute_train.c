/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "helper.h"

static void test_cross_entropy(void **state)
{
	static const float weight[] = {0.4f, 2.0f, 1.0f, 0.0f};
	static const int64_t rows[] = {1, 2, 33};

	(void)state;
	for (size_t s = 0; s < sizeof rows / sizeof *rows; s++)
		for (int64_t classes = 2; classes <= 4; classes++) {
			int64_t n = rows[s];
			struct aqm_mat logits = random_mat(n, classes, 1, 3), dlogits = poisoned_mat(n, classes, 2);
			double *z = doubles(logits), *gradient = new_doubles((size_t)(n * classes)), total = 0.0, loss = 0.0;
			int32_t label[33];

			for (int64_t r = 0; r < n; r++) {
				label[r] = r % 5 == 4 ? -1 : (int32_t)aqm_rng_below(&rng, (uint64_t)classes);
				if (r == 0)
					label[r] = 1;
				total += label[r] >= 0 ? (double)weight[label[r]] : 0.0;
			}
			for (int64_t r = 0; r < n; r++) {
				double sum = 0.0;

				if (label[r] < 0)
					continue;
				for (int64_t c = 0; c < classes; c++)
					sum += exp(z[r * classes + c]);
				loss -= (double)weight[label[r]] / total * log(exp(z[r * classes + label[r]]) / sum);
				for (int64_t c = 0; c < classes; c++)
					gradient[r * classes + c] =
						(double)weight[label[r]] / total * (exp(z[r * classes + c]) / sum - (c == label[r]));
			}
			double got = ops->cross_entropy(device, logits, label, weight, dlogits);

			assert_true(fabs(got - loss) < 1e-9 * (1.0 + fabs(loss)));
			check_close(dlogits, gradient, 1e-6);
			assert_true(ops->cross_entropy(device, logits, label, weight, aqm_mat_absent()) == got);
			free(z);
			free(gradient);
			free_mat(logits);
			free_mat(dlogits);
		}
}

static void test_squared_error(void **state)
{
	float outputs[5] = {1, -2, 3, 100, 0.5f}, gradient[5], target[5] = {0, 1, 3, 7, -0.5f};
	const int32_t counts[5] = {0, 2, 1, -1, 0};
	struct aqm_mat y = aqm_mat_f32(outputs, 5, 1), dy = aqm_mat_f32(gradient, 5, 1);

	(void)state;
	memset(gradient, 0x7f, sizeof gradient);
	double loss = ops->squared_error(device, y, counts, target, dy);
	assert_true(fabs(loss - (1.0 + 9.0 + 0.0 + 1.0) / 4.0) < 1e-12);
	assert_true(ops->squared_error(device, y, counts, target, aqm_mat_absent()) == loss);
	assert_true(gradient[3] == 0);
	for (int i = 0; i < 5; i++) {
		const float step = 0x1p-8f, kept = outputs[i];

		outputs[i] = kept + step;
		double up = ops->squared_error(device, y, counts, target, aqm_mat_absent());
		outputs[i] = kept - step;
		double down = ops->squared_error(device, y, counts, target, aqm_mat_absent());
		outputs[i] = kept;
		assert_true(fabs((up - down) / (2 * (double)step) - (double)gradient[i]) < 1e-6);
	}
	assert_true(ops->squared_error(device, aqm_mat_f32(outputs, 1, 1), (int32_t[]){-1}, target, dy) == 0);
}

static void test_cross_entropy_edges(void **state)
{
	static const float weight[] = {1.0f, 1.0f, 0.0f};
	float logits[] = {500.0f, -500.0f, 0.0f, 1.0f, 2.0f, 3.0f}, gradient[6];
	struct aqm_mat z = aqm_mat_f32(logits, 2, 3), dz = aqm_mat_f32(gradient, 2, 3);

	(void)state;
	assert_true(fabs(ops->cross_entropy(device, z, (int32_t[]){1, -1}, weight, dz) - 1000.0) < 1e-9);
	assert_true(gradient[0] == 1.0f && gradient[1] == -1.0f && gradient[3] == 0.0f && gradient[5] == 0.0f);
	/* nothing counts: no loss and no slope, rather than 0/0 */
	assert_true(ops->cross_entropy(device, z, (int32_t[]){-1, 2}, weight, dz) == 0.0);
	for (int i = 0; i < 6; i++)
		assert_true(gradient[i] == 0.0f);
	/* a NaN shows in the loss */
	logits[4] = NAN;
	assert_true(isnan(ops->cross_entropy(device, z, (int32_t[]){0, 0}, weight, dz)));
}

static void test_sum_squares(void **state)
{
	static const size_t sizes[] = {0, 1, 31, 4096, 100003, 5000000};

	(void)state;
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		float *x = malloc((sizes[s] + 1) * sizeof *x);
		double want = 0.0;

		for (size_t i = 0; i < sizes[s]; i++) {
			x[i] = (float)aqm_rng_u32(&rng) * 0x1p-32f - 0.25f;
			want += (double)x[i] * (double)x[i];
		}
		assert_true(fabs(ops->sum_squares(device, x, sizes[s]) - want) <= 1e-12 * want);
		if (sizes[s] > 0) {
			x[sizes[s] / 2] = NAN;
			assert_true(isnan(ops->sum_squares(device, x, sizes[s])));
		}
		free(x);
	}
}

static float number(FILE *file)
{
	float value;

	assert_int_equal(fscanf(file, "%f", &value), 1);
	return value;
}

static void test_adamw(void **state)
{
	FILE *file = fopen(AQM_SOURCE_DIR "/tests/golden/adamw.txt", "r");
	int n, steps;
	double lr, beta1, beta2, epsilon, decay, scale;

	(void)state;
	assert_non_null(file);
	assert_int_equal(
		fscanf(file, "%d %d %lf %lf %lf %lf %lf %lf", &n, &steps, &lr, &beta1, &beta2, &epsilon, &decay, &scale), 8);
	/* far more numbers than one thread's chunk: the golden ones again and again */
	const size_t count = (size_t)n * 1500;
	struct aqm_mat x = new_mat(1, (int64_t)count, 0), g = new_mat(1, (int64_t)count, 0),
				   m = new_mat(1, (int64_t)count, 0), v = new_mat(1, (int64_t)count, 0);

	for (int i = 0; i < n; i++)
		*at(x, 0, i) = number(file);
	for (size_t i = 0; i < count; i++)
		*at(x, 0, (int64_t)i) = *at(x, 0, (int64_t)i % n);
	ops->zero(device, m);
	ops->zero(device, v);
	for (int step = 1; step <= steps; step++) {
		for (int i = 0; i < n; i++)
			*at(g, 0, i) = number(file);
		for (size_t i = 0; i < count; i++)
			*at(g, 0, (int64_t)i) = *at(g, 0, (int64_t)i % n);
		ops->adamw(device, count, x.data, g.data, m.data, v.data, (float)scale, (float)lr, (float)beta1, (float)beta2,
		           (float)epsilon, (float)decay, (float)(1.0 - pow(beta1, step)), (float)(1.0 - pow(beta2, step)));
		for (int i = 0; i < n; i++) {
			float want = number(file);

			assert_true(fabsf(*at(x, 0, i) - want) <= 1e-6f * (1.0f + fabsf(want)));
		}
		for (size_t i = (size_t)n; i < count; i++)
			assert_true(*at(x, 0, (int64_t)i) == *at(x, 0, (int64_t)i % n));
	}
	fclose(file);
	free_mat(x);
	free_mat(g);
	free_mat(m);
	free_mat(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cross_entropy),
		cmocka_unit_test(test_cross_entropy_edges),
		cmocka_unit_test(test_squared_error),
		cmocka_unit_test(test_sum_squares),
		cmocka_unit_test(test_adamw),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
