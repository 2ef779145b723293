/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Hidden states for embeddings from a file: those of transformers, whole or streamed; and inputs that are no such file.
 */
#include "../check.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/thread.h"
#include "model/forward.h"

#define GOLDEN(name) AQM_SOURCE_DIR "/tests/golden/model/" name

static struct aqm_forward_options options_for(const char *model, const char *input)
{
	return (struct aqm_forward_options){.model = model, .input = input, .output = "hidden.h5"};
}

/* A dataset of three dimensions as floats; shape may be NULL. */
static float *read_dataset(const char *path, const char *name, hsize_t *shape)
{
	hsize_t own[3];
	hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
	hid_t space = H5Dget_space(set);

	shape = shape ? shape : own;
	assert_int_equal(H5Sget_simple_extent_dims(space, shape, NULL), 3);
	float *numbers = malloc(shape[0] * shape[1] * shape[2] * sizeof *numbers);
	assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
	H5Sclose(space);
	H5Dclose(set);
	H5Fclose(file);
	return numbers;
}

/* n datasets' worth of numbers as `embeddings` of this shape and type. */
static void write_input(const char *path, int rank, const hsize_t *shape, hid_t type, const double *numbers)
{
	hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(rank, shape, NULL);
	hid_t set = H5Dcreate2(file, "embeddings", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

	assert_true(set >= 0);
	if (numbers)
		assert_true(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
	H5Dclose(set);
	H5Sclose(space);
	H5Fclose(file);
}

static void check_hidden(const char *input)
{
	hsize_t found_shape[3], shape[3];
	float *found = read_dataset("hidden.h5", "hidden", found_shape), *expected = read_dataset(input, "hidden", shape);
	double worst = 0, largest = 0;

	assert_memory_equal(found_shape, shape, sizeof shape);
	for (size_t i = 0; i < shape[0] * shape[1] * shape[2]; i++) {
		worst = fmax(worst, fabs((double)found[i] - (double)expected[i]));
		largest = fmax(largest, fabs((double)expected[i]));
	}
	if (!(worst < 1e-5 * largest))
		fail_msg("%s: hidden states differ by %g of %g", input, worst, largest);
	free(found);
	free(expected);
}

static void test_hidden_states(void **state)
{
	(void)state;
	static const char *const models[] = {"llama-full", "gpt2-full", "opt-full", "t5-full", "t5-bidirectional"};
	static const int64_t chunks[] = {0, 1, 5, 100};

	for (size_t m = 0; m < sizeof models / sizeof *models; m++)
		for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
			char model[512], input[512];

			snprintf(model, sizeof model, GOLDEN("%s.gguf"), models[m]);
			snprintf(input, sizeof input, GOLDEN("%s.h5"), models[m]);
			struct aqm_forward_options options = options_for(model, input);

			options.chunk = chunks[c];
			options.bidirectional = strcmp(models[m], "t5-bidirectional") == 0;
			if (options.bidirectional && chunks[c] > 0 && chunks[c] < 100)
				continue; /* a stream's first tokens do not see the last ones */
			CHECK_OK(aqm_forward_file(&options));
			check_hidden(input);
		}
}

/* More windows than fit at once, in float64: each gives what it gives alone. */
static void test_many_windows(void **state)
{
	(void)state;
	enum { WINDOWS = 300 };
	const struct aqm_forward_options golden = options_for(GOLDEN("gpt2-full.gguf"), GOLDEN("gpt2-full.h5"));
	struct aqm_forward_options many = options_for(GOLDEN("gpt2-full.gguf"), "many.h5");
	hsize_t shape[3];
	float *one = read_dataset(golden.input, "embeddings", shape);
	const size_t n = shape[1] * shape[2];
	double *all = malloc(WINDOWS * n * sizeof *all);

	for (size_t i = 0; i < WINDOWS * n; i++)
		all[i] = (double)one[i % n] * (1 + (double)(i / n) / WINDOWS);
	write_input("many.h5", 3, (hsize_t[]){WINDOWS, shape[1], shape[2]}, H5T_NATIVE_DOUBLE, all);
	CHECK_OK(aqm_forward_file(&many));
	float *together = read_dataset("hidden.h5", "hidden", NULL);

	for (size_t w = 0; w < WINDOWS; w += 99) {
		write_input("one.h5", 3, (hsize_t[]){1, shape[1], shape[2]}, H5T_NATIVE_FLOAT, all + w * n);
		struct aqm_forward_options single = options_for(GOLDEN("gpt2-full.gguf"), "one.h5");

		CHECK_OK(aqm_forward_file(&single));
		float *alone = read_dataset("hidden.h5", "hidden", NULL);
		for (size_t i = 0; i < n; i++)
			assert_true(fabsf(together[w * n + i] - alone[i]) < 1e-5f);
		free(alone);
	}
	free(together);
	free(all);
	free(one);
}

/* ---- what is refused ---- */

static void expect_error(const struct aqm_forward_options *options, int code, const char *text)
{
	remove("hidden.h5");
	assert_int_equal(aqm_forward_file(options), code);
	if (!strstr(aqm_error_message(), text))
		fail_msg("'%s' without '%s'", aqm_error_message(), text);
	assert_false(aqm_path_exists("hidden.h5"));
}

static void test_bad_inputs(void **state)
{
	(void)state;
	const struct aqm_forward_options options = options_for(GOLDEN("gpt2-full.gguf"), "bad.h5");
	double numbers[2 * 5 * 16] = {0};

	write_input("bad.h5", 2, (hsize_t[]){5, 16}, H5T_NATIVE_FLOAT, numbers);
	expect_error(&options, AQM_EDATA, "(windows, tokens, width)");
	write_input("bad.h5", 3, (hsize_t[]){2, 5, 16}, H5T_NATIVE_INT, numbers);
	expect_error(&options, AQM_EDATA, "float32 or float64");
	write_input("bad.h5", 3, (hsize_t[]){2, 0, 16}, H5T_NATIVE_FLOAT, NULL);
	expect_error(&options, AQM_EDATA, "2 x 0 x 16");
	write_input("bad.h5", 3, (hsize_t[]){2, 10, 8}, H5T_NATIVE_FLOAT, numbers);
	expect_error(&options, AQM_EDATA, "8 wide, but");
	write_input("bad.h5", 3, (hsize_t[]){1, 100000, 16}, H5T_NATIVE_FLOAT, NULL);
	expect_error(&options, AQM_EDATA, "have 100000 tokens, but");
	numbers[16 * 7 + 3] = (double)NAN;
	write_input("bad.h5", 3, (hsize_t[]){2, 5, 16}, H5T_NATIVE_FLOAT, numbers);
	expect_error(&options, AQM_EDATA, "number 3 of token 2 of window 1 is not finite");
	numbers[16 * 7 + 3] = 1e300; /* not in float32 */
	write_input("bad.h5", 3, (hsize_t[]){2, 5, 16}, H5T_NATIVE_DOUBLE, numbers);
	expect_error(&options, AQM_EDATA, "is not finite");
}

/* Nothing that the file says leads into others. */
static void test_links_and_outside_data(void **state)
{
	(void)state;
	const struct aqm_forward_options options = options_for(GOLDEN("gpt2-full.gguf"), "bad.h5");
	const hsize_t shape[] = {1, 2, 16};
	hid_t file = H5Fcreate("bad.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

	H5Lcreate_external(GOLDEN("gpt2-full.h5"), "embeddings", file, "embeddings", H5P_DEFAULT, H5P_DEFAULT);
	H5Fclose(file);
	expect_error(&options, AQM_EDATA, "has no dataset");

	file = H5Fcreate("bad.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
	hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(3, shape, NULL);
	H5Pset_external(creation, GOLDEN("gpt2-full.gguf"), 0, 1 * 2 * 16 * sizeof(float));
	hid_t set = H5Dcreate2(file, "embeddings", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, creation, H5P_DEFAULT);
	assert_true(set >= 0);
	H5Dclose(set);
	H5Pclose(creation);
	H5Sclose(space);
	H5Fclose(file);
	expect_error(&options, AQM_EDATA, "no dataset of this file");
}

static void test_interrupted(void **state)
{
	(void)state;
	const struct aqm_forward_options options = options_for(GOLDEN("llama-full.gguf"), GOLDEN("llama-full.h5"));

	aqm_interrupt_raise(true);
	expect_error(&options, AQM_EINTERRUPTED, "was not written");
	aqm_interrupt_raise(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hidden_states), cmocka_unit_test(test_many_windows),
		cmocka_unit_test(test_bad_inputs),    cmocka_unit_test(test_links_and_outside_data),
		cmocka_unit_test(test_interrupted),
	};

	aqm_threads_set(1);
	return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
