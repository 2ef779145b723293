/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <string.h>

#include "base/file.h"
#include "export/safetensors.h"

static void test_round_trip(void **state)
{
	(void)state;
	static const float matrix[6] = {1, 2, 3, 4, 5, -6.5f}, vector[2] = {7, 8e-30f};
	aqm_safetensors *file;
	struct tensors t;

	CHECK_OK(aqm_safetensors_new(&file, "x.safetensors"));
	CHECK_OK(aqm_safetensors_set(file, "note", "two words \"quoted\""));
	CHECK_OK(aqm_safetensors_add(file, "a.weight", 2, 3));
	CHECK_OK(aqm_safetensors_add(file, "a.bias", 0, 2));
	CHECK_OK(aqm_safetensors_write(file, matrix, 4)); /* in parts */
	CHECK_OK(aqm_safetensors_write(file, matrix + 4, 2));
	CHECK_OK(aqm_safetensors_write(file, vector, 2));
	assert_false(aqm_path_exists("x.safetensors"));
	CHECK_OK(aqm_safetensors_finish(file));
	aqm_safetensors_free(file);

	tensors_open(&t, "x.safetensors");
	assert_memory_equal(tensors_find(&t, "a.weight", 2, 3), matrix, sizeof matrix);
	assert_memory_equal(tensors_find(&t, "a.bias", 0, 2), vector, sizeof vector);
	json_t *metadata = json_object_get(t.header, "__metadata__");
	assert_string_equal(json_string_value(json_object_get(metadata, "note")), "two words \"quoted\"");
	tensors_release(&t);
	assert_nothing_temporary();
}

static void test_incomplete_leaves_the_old_file(void **state)
{
	(void)state;
	static const float numbers[5] = {0};
	aqm_safetensors *file;

	write_text("old", "as it was");
	CHECK_OK(aqm_safetensors_new(&file, "old"));
	CHECK_OK(aqm_safetensors_add(file, "a", 2, 2));
	assert_int_equal(aqm_safetensors_add(file, "a", 2, 2), AQM_ERUN);
	CHECK_OK(aqm_safetensors_write(file, numbers, 3));
	assert_int_equal(aqm_safetensors_finish(file), AQM_ERUN);
	assert_int_equal(aqm_safetensors_write(file, numbers, 2), AQM_ERUN); /* one too many */
	aqm_safetensors_free(file);
	assert_true(holds_text("old", "as it was"));
	assert_nothing_temporary();
}

static void test_text_must_be_utf8(void **state)
{
	(void)state;
	aqm_safetensors *file;

	CHECK_OK(aqm_safetensors_new(&file, "y"));
	assert_int_equal(aqm_safetensors_set(file, "key", "\xff"), AQM_ERUN);
	aqm_safetensors_free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_incomplete_leaves_the_old_file, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_text_must_be_utf8, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
