/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"
#include "base/log.h"

static void test_memory(void **state)
{
	static const size_t sizes[] = {0, 1, 63, 64, 4096, 5u << 20};

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		void *memory = NULL;
		uint8_t *host = malloc(sizes[i] + 1);

		assert_int_equal(ops->allocate(device, sizes[i], &memory), AQM_OK);
		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % 64, 0);
		ops->download(device, host, memory, sizes[i]);
		for (size_t j = 0; j < sizes[i]; j++)
			assert_int_equal(host[j], 0);
		memset(host, 0x5a, sizes[i]);
		ops->upload(device, memory, host, sizes[i]);
		assert_memory_equal(memory, host, sizes[i]);
		ops->release(device, memory);
		free(host);
	}
	ops->release(device, NULL);
}

static void test_too_much_memory(void **state)
{
	void *memory;

	(void)state;
	assert_int_equal(ops->allocate(device, SIZE_MAX, &memory), AQM_ERUN);
	assert_null(memory);
#ifndef AQM_SANITIZED /* AddressSanitizer ends the process instead */
	assert_int_equal(ops->allocate(device, SIZE_MAX / 4, &memory), AQM_ERUN);
#endif
	assert_null(memory);
	assert_non_null(strstr(aqm_error_message(), "not enough memory"));
}

static char line[256];

static void keep_line(void *context, enum aqm_log_level level, const char *text)
{
	(void)context;
	(void)level;
	strncpy(line, text, sizeof line - 1);
}

static void test_kinds_of_device(void **state)
{
	aqm_device *other = device;

	(void)state;
	aqm_log_set_sink(keep_line, NULL);
	if (aqm_device_open(&other, AQM_DEVICE_CUDA) == AQM_OK)
		skip(); /* a build and a machine that have it */
	assert_null(other);
	assert_int_equal(aqm_device_open(&other, AQM_DEVICE_CUDA), AQM_ERUN);
	assert_int_equal(aqm_device_open(&other, AQM_DEVICE_AUTO), AQM_OK);
	aqm_log_set_sink(NULL, NULL);
	assert_string_equal(other->ops->name, "cpu");
	assert_non_null(strstr(line, "cpu"));
	assert_int_equal(aqm_device_check(other), AQM_OK);
	aqm_device_close(other);
	aqm_device_close(NULL);
}

static void test_zero_copy_axpy_scale(void **state)
{
	static const int64_t shapes[][2] = {{1, 1}, {3, 17}, {130, 257}, {0, 4}, {4, 0}};

	(void)state;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		int64_t rows = shapes[s][0], cols = shapes[s][1];
		struct aqm_mat x = random_mat(rows, cols, 2, 1), y = poisoned_mat(rows, cols, 3);
		double *a = doubles(x);

		ops->copy(device, x, y);
		check_close(y, a, 0.0);
		ops->axpy(device, -0.5f, x, y);
		for (int64_t i = 0; i < rows * cols; i++)
			a[i] *= 0.5;
		check_close(y, a, 0.0);
		ops->scale(device, -0.25f, y);
		for (int64_t i = 0; i < rows * cols; i++)
			a[i] *= -0.25;
		check_close(y, a, 0.0);
		ops->zero(device, y);
		for (int64_t i = 0; i < rows * cols; i++)
			a[i] = 0.0;
		check_close(y, a, 0.0);
		free(a);
		free_mat(x);
		free_mat(y);
	}
}

static void test_gather_and_scatter(void **state)
{
	const int64_t rows = 90, cols = 301, entries = 13;
	struct aqm_mat table = random_mat(entries, cols, 3, 1), y = poisoned_mat(rows, cols, 2),
				   dtable = random_mat(entries, cols, 1, 1);
	int32_t index[90];
	double *t = doubles(table), *out = new_doubles((size_t)(rows * cols)), *sum = doubles(dtable);

	(void)state;
	for (int64_t r = 0; r < rows; r++)
		index[r] = (int32_t)aqm_rng_below(&rng, (uint64_t)entries);
	for (int64_t i = 0; i < rows * cols; i++)
		out[i] = t[index[i / cols] * cols + i % cols];
	ops->gather(device, table, index, false, y);
	check_close(y, out, 0.0);
	ops->gather(device, table, index, true, y);
	for (int64_t i = 0; i < rows * cols; i++) {
		out[i] *= 2.0;
		sum[index[i / cols] * cols + i % cols] += out[i];
	}
	check_close(y, out, 0.0);
	ops->scatter_add(device, y, index, dtable);
	check_close(dtable, sum, 1e-5);
	free(t);
	free(out);
	free(sum);
	free_mat(table);
	free_mat(y);
	free_mat(dtable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_too_much_memory),
		cmocka_unit_test(test_kinds_of_device),
		cmocka_unit_test(test_zero_copy_axpy_scale),
		cmocka_unit_test(test_gather_and_scatter),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
