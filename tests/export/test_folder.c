/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Folders that appear as a whole, and what they may replace.
 */
#include "helper.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "export/folder.h"

static const char *const names[] = {"mark", "other", NULL};

static void put(const struct aqm_atomic_folder *folder, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", folder->temporary_path, name);
	write_text(path, text);
}

static void test_new_then_again(void **state)
{
	(void)state;
	struct aqm_atomic_folder folder;

	CHECK_OK(aqm_atomic_folder_open(&folder, "out//", names));
	put(&folder, "mark", "first");
	put(&folder, "other", "first");
	assert_false(aqm_path_exists("out"));
	CHECK_OK(aqm_atomic_folder_commit(&folder));
	assert_true(holds_text("out/mark", "first"));

	CHECK_OK(aqm_atomic_folder_open(&folder, "out", names));
	put(&folder, "mark", "second");
	assert_true(holds_text("out/mark", "first"));
	CHECK_OK(aqm_atomic_folder_commit(&folder));
	assert_true(holds_text("out/mark", "second"));
	assert_false(aqm_path_exists("out/other"));
	assert_nothing_temporary();
}

static void test_aborted_leaves_the_old_folder(void **state)
{
	(void)state;
	struct aqm_atomic_folder folder;

	CHECK_OK(aqm_make_folders("out"));
	write_text("out/mark", "old");
	CHECK_OK(aqm_atomic_folder_open(&folder, "out", names));
	put(&folder, "mark", "new");
	aqm_atomic_folder_abort(&folder);
	assert_true(holds_text("out/mark", "old"));
	assert_nothing_temporary();
}

static void test_takes_an_empty_folder(void **state)
{
	(void)state;
	struct aqm_atomic_folder folder;

	CHECK_OK(aqm_make_folders("out"));
	CHECK_OK(aqm_atomic_folder_open(&folder, "out", names));
	put(&folder, "mark", "new");
	CHECK_OK(aqm_atomic_folder_commit(&folder));
	assert_true(holds_text("out/mark", "new"));
}

static void test_refuses_what_is_not_its_own(void **state)
{
	(void)state;
	struct aqm_atomic_folder folder;

	CHECK_OK(aqm_make_folders("letters"));
	write_text("letters/mark", "x");
	write_text("letters/love.txt", "x");
	assert_int_equal(aqm_atomic_folder_open(&folder, "letters", names), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "love.txt"));
	assert_true(holds_text("letters/love.txt", "x"));

	CHECK_OK(aqm_make_folders("unmarked"));
	write_text("unmarked/other", "x");
	assert_int_equal(aqm_atomic_folder_open(&folder, "unmarked", names), AQM_EUSAGE);

	write_text("file", "x");
	assert_int_equal(aqm_atomic_folder_open(&folder, "file", names), AQM_EUSAGE);
	assert_int_equal(symlink("letters", "link"), 0);
	assert_int_equal(aqm_atomic_folder_open(&folder, "link", names), AQM_EUSAGE);
	assert_nothing_temporary();
}

static void test_missing_parent(void **state)
{
	(void)state;
	struct aqm_atomic_folder folder;

	assert_int_equal(aqm_atomic_folder_open(&folder, "no/such/place", names), AQM_ERUN);
	assert_false(aqm_path_exists("no"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_then_again, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_aborted_leaves_the_old_folder, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_takes_an_empty_folder, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_refuses_what_is_not_its_own, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_missing_parent, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests_name("folder", tests, NULL, NULL);
}
