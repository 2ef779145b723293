/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every architecture against transformers in double precision (tools/golden/model.py): hidden states and every gradient,
 * with LoRA on all targets and in full fine-tuning.
 */
#include "helper_model.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double hidden_tolerance = 1e-5, gradient_tolerance = 5e-5;

enum { MOST = 1 << 14 };

static size_t read_floats(hid_t file, const char *name, float *out)
{
	hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
	assert_true(dataset >= 0);
	hid_t space = H5Dget_space(dataset);
	hssize_t count = H5Sget_simple_extent_npoints(space);

	assert_true(count > 0 && count <= MOST);
	assert_true(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0);
	H5Sclose(space);
	H5Dclose(dataset);
	return (size_t)count;
}

static hsize_t members(hid_t file, const char *name)
{
	H5G_info_t info;

	assert_true(H5Gget_info_by_name(file, name, &info, H5P_DEFAULT) >= 0);
	return info.nlinks;
}

/* Full fine-tuning starts from the base's weights; adapters from what the reference had. */
static void set_values(hid_t file, struct fixture *f)
{
	float *read = malloc(MOST * sizeof *read);
	char name[160];

	assert_int_equal(members(file, "gradients"), f->params.count);
	for (size_t i = 0; i < f->params.count; i++) {
		struct aqm_mat value = aqm_params_value(&f->params, (int64_t)i);
		size_t n = (size_t)(value.rows * value.cols);

		if (f->params.items[i].init == AQM_INIT_GIVEN)
			continue;
		snprintf(name, sizeof name, "values/%s", f->params.items[i].name);
		assert_int_equal(read_floats(file, name, read), n);
		memcpy(value.data, read, n * sizeof *read);
	}
	free(read);
}

static double largest(const float *x, size_t n)
{
	double most = 0;

	for (size_t i = 0; i < n; i++)
		most = fmax(most, fabs((double)x[i]));
	return most;
}

/* A bias of keys moves all scores of a query alike: its gradient is zero but for rounding. */
static bool is_zero(const float *expected, size_t n)
{
	return largest(expected, n) < 1e-10;
}

static void compare_gradients(hid_t file, struct fixture *f)
{
	float *expected = malloc(MOST * sizeof *expected);
	char name[160];

	for (size_t i = 0; i < f->params.count; i++) {
		struct aqm_mat gradient = aqm_params_gradient(&f->params, (int64_t)i);
		size_t n = (size_t)(gradient.rows * gradient.cols);

		snprintf(name, sizeof name, "gradients/%s", f->params.items[i].name);
		assert_int_equal(read_floats(file, name, expected), n);
		double found = is_zero(expected, n) ? largest(gradient.data, n) : difference(gradient.data, expected, n);
		if (!(found < gradient_tolerance))
			fail_msg("gradient of %s differs by %g", f->params.items[i].name, found);
	}
	free(expected);
}

/* tools/sweep.sh has the same cases made with other numbers. */
static const char *golden_folder(void)
{
	const char *given = getenv("AQM_GOLDEN_MODELS");

	return given ? given : AQM_SOURCE_DIR "/tests/golden/model";
}

static void check_case(const char *name, struct aqm_model_options options, int64_t tokens)
{
	float *x = malloc(MOST * sizeof *x), *expected = malloc(MOST * sizeof *expected);
	char path[512];
	struct fixture f;

	snprintf(path, sizeof path, "%s/%s.gguf", golden_folder(), name);
	fixture_open(&f, path, &options, 2, tokens);
	snprintf(path, sizeof path, "%s/%s.h5", golden_folder(), name);
	hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
	assert_true(file >= 0);
	set_values(file, &f);

	size_t n = read_floats(file, "embeddings", x);
	assert_int_equal(n, f.windows * f.tokens * f.width);
	fixture_forward(&f, x, true, 0);
	assert_int_equal(read_floats(file, "hidden", expected), n);
	double found = difference(x, expected, n);
	if (!(found < hidden_tolerance))
		fail_msg("hidden states of %s differ by %g", name, found);

	assert_int_equal(read_floats(file, "dhidden", x), n);
	aqm_model_backward(f.model, f.windows, f.tokens, aqm_mat_f32(x, f.windows * f.tokens, f.width), 0);
	assert_int_equal(read_floats(file, "dembeddings", expected), n);
	found = difference(x, expected, n);
	if (!(found < gradient_tolerance))
		fail_msg("gradient of the embeddings of %s differs by %g", name, found);
	compare_gradients(file, &f);

	H5Fclose(file);
	fixture_close(&f);
	free(x);
	free(expected);
}

static const struct aqm_model_options lora = {.rank = 3, .alpha = 7.5, .targets = (1u << AQM_TARGETS) - 1};
static const struct aqm_model_options full = {.rank = 0};

static void test_llama(void **state)
{
	(void)state;
	check_case("llama-lora", lora, 17);
	check_case("llama-full", full, 17);
}

static void test_gpt2(void **state)
{
	(void)state;
	check_case("gpt2-lora", lora, 17);
	check_case("gpt2-full", full, 17);
}

static void test_opt(void **state)
{
	(void)state;
	check_case("opt-lora", lora, 17);
	check_case("opt-full", full, 17);
}

static void test_t5(void **state)
{
	(void)state;
	check_case("t5-lora", lora, 17);
	check_case("t5-full", full, 17);
	check_case("t5-long", full, 150);
}

/* As published. */
static void test_t5_bidirectional(void **state)
{
	struct aqm_model_options options = full;

	(void)state;
	options.bidirectional = true;
	check_case("t5-bidirectional", options, 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llama),
		cmocka_unit_test(test_gpt2),
		cmocka_unit_test(test_opt),
		cmocka_unit_test(test_t5),
		cmocka_unit_test(test_t5_bidirectional),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
