/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The whole policy against an independent implementation in PyTorch (tools/golden/policy.py): logits, loss, and the
 * gradient of every trained parameter, from the pool's columns on.
 */
#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../helper_policy.h"

enum { MAX_ROWS = 64, MAX_FEATURES = 8 };

static const double tolerance = 1e-4;

/* A whole dataset; its number of elements. */
static size_t read_all(hid_t file, const char *name, hid_t type, size_t size, void *out, size_t capacity)
{
	hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
	assert_true(dataset >= 0);
	hid_t space = H5Dget_space(dataset);
	hssize_t count = H5Sget_simple_extent_npoints(space);

	assert_true(count >= 0 && (size_t)count * size <= capacity);
	assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0);
	H5Sclose(space);
	H5Dclose(dataset);
	return (size_t)count;
}

static void read_config(hid_t file, struct aqm_config *config)
{
	char text[4096] = "";
	hid_t dataset = H5Dopen2(file, "config", H5P_DEFAULT), type = H5Dget_type(dataset);

	assert_true(H5Tget_size(type) < sizeof text);
	assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) >= 0);
	H5Tclose(type);
	H5Dclose(dataset);
	CHECK_OK(aqm_config_init(config));
	CHECK_OK(aqm_config_parse(config, "golden", text, strlen(text)));
	CHECK_OK(aqm_config_check(config));
}

static aqm_pool *read_pool(hid_t file, const struct aqm_config *config)
{
	static double values[MAX_FEATURES * MAX_ROWS];
	const double *columns[MAX_FEATURES];
	int32_t numbers[MAX_ROWS];
	uint8_t actions[MAX_ROWS];
	size_t starts[8], features = config->policy.features.count;
	aqm_pool *pool;

	size_t rows = read_all(file, "columns", H5T_NATIVE_DOUBLE, sizeof *values, values, sizeof values) / features;
	for (size_t f = 0; f < features; f++)
		columns[f] = values + f * rows;
	assert_int_equal(read_all(file, "actions", H5T_NATIVE_INT32, sizeof *numbers, numbers, sizeof numbers), rows);
	for (size_t i = 0; i < rows; i++)
		actions[i] = (uint8_t)numbers[i];
	size_t episodes = read_all(file, "episodes", H5T_NATIVE_INT32, sizeof *numbers, numbers, sizeof starts);
	for (size_t i = 0; i < episodes; i++)
		starts[i] = (size_t)numbers[i];
	CHECK_OK(aqm_pool_from_columns(&pool, rows, features, (const char *const *)config->policy.features.items, columns,
	                               actions, actions, episodes, starts));
	return pool;
}

static void fill(hid_t file, aqm_policy *policy, const struct aqm_rows *rows)
{
	int32_t numbers[3 * 16], first[16];
	struct aqm_window windows[16];
	size_t score_from[16];
	size_t count = read_all(file, "windows", H5T_NATIVE_INT32, sizeof *numbers, numbers, sizeof numbers) / 3;

	assert_int_equal(read_all(file, "score_from", H5T_NATIVE_INT32, sizeof *first, first, sizeof first), count);
	for (size_t i = 0; i < count; i++) {
		windows[i] =
			(struct aqm_window){(size_t)numbers[3 * i], (size_t)numbers[3 * i + 1], (size_t)numbers[3 * i + 2]};
		score_from[i] = (size_t)first[i];
	}
	CHECK_OK(aqm_policy_allocate(policy, (int64_t)count));
	aqm_policy_fill(policy, rows, windows, score_from, (int64_t)count);
}

/* Largest difference, relative to the largest magnitude. */
static double difference(const float *a, const float *b, size_t count)
{
	double worst = 0, largest = 1e-30;

	for (size_t i = 0; i < count; i++) {
		worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
		largest = fmax(largest, fabs((double)b[i]));
	}
	return worst / largest;
}

static void read_values(hid_t file, const struct aqm_params *params)
{
	char name[160];

	for (size_t i = 0; i < params->count; i++) {
		struct aqm_mat value = aqm_params_value(params, (int64_t)i);
		size_t count = (size_t)(value.rows * value.cols);

		snprintf(name, sizeof name, "values/%s", params->items[i].name);
		assert_int_equal(read_all(file, name, H5T_NATIVE_FLOAT, sizeof(float), value.data, count * sizeof(float)),
		                 count);
	}
}

static void compare_gradients(hid_t file, const struct aqm_params *params)
{
	char name[160];

	for (size_t i = 0; i < params->count; i++) {
		struct aqm_mat gradient = aqm_params_gradient(params, (int64_t)i);
		size_t count = (size_t)(gradient.rows * gradient.cols);
		float *expected = test_malloc(count * sizeof *expected);

		snprintf(name, sizeof name, "gradients/%s", params->items[i].name);
		assert_int_equal(read_all(file, name, H5T_NATIVE_FLOAT, sizeof *expected, expected, count * sizeof *expected),
		                 count);
		double found = difference(gradient.data, expected, count);
		if (!(found < tolerance))
			fail_msg("gradient of %s differs by %g", params->items[i].name, found);
		test_free(expected);
	}
}

static hsize_t members(hid_t file, const char *name)
{
	H5G_info_t info;

	assert_true(H5Gget_info_by_name(file, name, &info, H5P_DEFAULT) >= 0);
	return info.nlinks;
}

static void check_case(const char *name)
{
	char file_name[64];
	struct aqm_config config;
	struct aqm_fit fit;
	struct aqm_rows rows;
	aqm_policy *policy;
	float weights[3], expected[MAX_ROWS * 3], dlogits[MAX_ROWS * 3];
	double loss;

	snprintf(file_name, sizeof file_name, "%s.h5", name);
	hid_t file = H5Fopen(golden_path(file_name), H5F_ACC_RDONLY, H5P_DEFAULT);
	assert_true(file >= 0);
	read_config(file, &config);
	aqm_pool *pool = read_pool(file, &config);
	CHECK_OK(aqm_fit_rows(&fit, &config, pool));
	CHECK_OK(aqm_rows_init(&rows, pool, &config, &fit));
	snprintf(file_name, sizeof file_name, "%s.gguf", name);
	CHECK_OK(aqm_policy_new(&policy, &config, &fit, golden_path(file_name), true));
	fill(file, policy, &rows);
	struct aqm_params *params = aqm_policy_params(policy);
	assert_int_equal(members(file, "values"), params->count);
	read_values(file, params);

	struct aqm_mat logits = aqm_policy_forward(policy, true, 0);
	size_t count = read_all(file, "logits", H5T_NATIVE_FLOAT, sizeof *expected, expected, sizeof expected);
	assert_int_equal(logits.rows * logits.cols, count);
	assert_true(difference(logits.data, expected, count) < tolerance);

	read_all(file, "class_weights", H5T_NATIVE_FLOAT, sizeof *weights, weights, sizeof weights);
	read_all(file, "loss", H5T_NATIVE_DOUBLE, sizeof loss, &loss, sizeof loss);
	aqm_device *device = aqm_policy_device(policy);
	struct aqm_mat gradient = aqm_mat_f32(dlogits, logits.rows, logits.cols);
	double found = device->ops->cross_entropy(device, logits, aqm_policy_batch(policy)->labels, weights, gradient);
	assert_true(fabs(found - loss) < tolerance * loss);
	aqm_policy_backward(policy, gradient, 0);
	compare_gradients(file, params);

	aqm_policy_free(policy);
	aqm_rows_release(&rows);
	aqm_pool_free(pool);
	aqm_config_release(&config);
	H5Fclose(file);
}

static void test_llama(void **state)
{
	(void)state;
	check_case("llama");
}

static void test_gpt2(void **state)
{
	(void)state;
	check_case("gpt2");
}

static void test_llama_without_lora(void **state)
{
	(void)state;
	check_case("llama-full");
}

static void test_gpt2_without_lora(void **state)
{
	(void)state;
	check_case("gpt2-full");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llama),
		cmocka_unit_test(test_gpt2),
		cmocka_unit_test(test_llama_without_lora),
		cmocka_unit_test(test_gpt2_without_lora),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
