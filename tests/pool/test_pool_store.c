/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Pools in memory, saved, and pool files that lie.
 */
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "helper.h"

enum { ROWS = 1000 };

static aqm_pool *make_pool(void)
{
	static double delay[ROWS], odd[ROWS], extra[ROWS];
	static uint8_t actions[ROWS], logged[ROWS];
	static const size_t starts[] = {0, 400};
	const char *names[] = {"current_qdelay", "drop_prob", "my_own"};
	const double *columns[] = {delay, odd, extra};
	aqm_pool *pool;

	for (size_t i = 0; i < ROWS; i++) {
		delay[i] = (double)i * 10;
		odd[i] = (double)i + 0.5; /* does not fit the field's own type */
		extra[i] = -(double)i;
		actions[i] = (uint8_t)(i % 2);
		logged[i] = (uint8_t)(i % 3);
	}
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 3, names, columns, actions, logged, 2, starts), AQM_OK);
	return pool;
}

static void test_saved_and_opened(void **state)
{
	aqm_pool *a = make_pool(), *b;
	double x[ROWS], y[ROWS];
	uint8_t p[ROWS], q[ROWS];
	size_t start, length;
	const char *names[] = {"current_qdelay", "drop_prob", "my_own"};

	(void)state;
	assert_int_equal(aqm_pool_save(a, helper_path("saved.h5")), AQM_OK);
	assert_int_equal(aqm_pool_open(&b, helper_path("saved.h5")), AQM_OK);
	assert_int_equal(aqm_pool_rows(b), ROWS);
	assert_int_equal(aqm_pool_episodes(b), 2);
	aqm_pool_episode(b, 1, &start, &length);
	assert_int_equal(start, 400);
	assert_int_equal(length, 600);
	for (int c = 0; c < 3; c++) {
		assert_int_equal(aqm_pool_column(a, names[c], x), AQM_OK);
		assert_int_equal(aqm_pool_column(b, names[c], y), AQM_OK);
		assert_memory_equal(x, y, sizeof x);
	}
	for (int l = 0; l < 2; l++) {
		assert_int_equal(aqm_pool_actions(a, (enum aqm_labels)l, p), AQM_OK);
		assert_int_equal(aqm_pool_actions(b, (enum aqm_labels)l, q), AQM_OK);
		assert_memory_equal(p, q, sizeof p);
	}
	assert_int_equal(aqm_pool_column(b, "len_bytes", x), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "'len_bytes'; it has "));
	assert_non_null(strstr(aqm_error_message(), "my_own"));
	assert_int_equal(strlen(aqm_pool_digest(b)), 64);
	aqm_pool_free(a);
	aqm_pool_free(b);
}

/* The digest names contents: equal for a copy, another for any change. */
static void test_digests(void **state)
{
	double values[ROWS] = {0};
	const double *columns[] = {values};
	const char *names[] = {"drops"}, *other_names[] = {"length"};
	static const size_t starts[] = {0, 400}, other_starts[] = {0, 401};
	char first[65];
	aqm_pool *pool;

	(void)state;
	for (int i = 0; i < 5; i++) {
		values[500] = i == 2;
		assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, i == 3 ? other_names : names, columns, NULL, NULL, 2,
		                                       i == 4 ? other_starts : starts),
		                 AQM_OK);
		if (i == 0)
			strcpy(first, aqm_pool_digest(pool));
		else if (i == 1)
			assert_string_equal(first, aqm_pool_digest(pool));
		else
			assert_string_not_equal(first, aqm_pool_digest(pool));
		aqm_pool_free(pool);
	}
}

static void test_columns_that_make_no_pool(void **state)
{
	double values[ROWS] = {0};
	uint8_t labels[ROWS] = {0};
	const double *columns[] = {values, values};
	const char *names[] = {"drops", "drops"};
	static const size_t late[] = {1, 400}, backwards[] = {0, 400, 400}, beyond[] = {0, ROWS};
	aqm_pool *pool;

	(void)state;
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 2, names, columns, NULL, NULL, 0, NULL), AQM_EUSAGE);
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, names, columns, NULL, NULL, 2, late), AQM_EUSAGE);
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, names, columns, NULL, NULL, 3, backwards), AQM_EUSAGE);
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, names, columns, NULL, NULL, 2, beyond), AQM_EUSAGE);
	labels[7] = 3;
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, names, columns, labels, NULL, 0, NULL), AQM_EDATA);
	assert_null(pool);
}

static void test_types_on_disk(void **state)
{
	aqm_pool *pool = make_pool();

	(void)state;
	assert_int_equal(aqm_pool_save(pool, helper_path("types.h5")), AQM_OK);
	aqm_pool_free(pool);
	static const struct {
		const char *name;
		H5T_class_t class;
		size_t bytes;
	} expected[] = {{"records/current_qdelay", H5T_INTEGER, 4},
	                {"records/drop_prob", H5T_FLOAT, 8},
	                {"records/my_own", H5T_FLOAT, 8},
	                {"records/action", H5T_INTEGER, 1},
	                {"episodes/start", H5T_INTEGER, 8}};
	hid_t file = H5Fopen(helper_path("types.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
	for (size_t i = 0; i < 5; i++) {
		hid_t dataset = H5Dopen2(file, expected[i].name, H5P_DEFAULT), type = H5Dget_type(dataset),
			  plan = H5Dget_create_plist(dataset);
		hsize_t chunk;

		assert_int_equal(H5Tget_class(type), expected[i].class);
		assert_int_equal(H5Tget_size(type), expected[i].bytes);
		assert_int_equal(H5Pget_chunk(plan, 1, &chunk), 1);
		assert_true(H5Pget_nfilters(plan) == (expected[i].bytes > 1 ? 2 : 1));
		H5Pclose(plan);
		H5Tclose(type);
		H5Dclose(dataset);
	}
	hid_t dataset = H5Dopen2(file, "records/current_qdelay", H5P_DEFAULT);
	assert_true(H5Aexists(dataset, "units") > 0);
	assert_true(H5Aexists(dataset, "description") > 0);
	H5Dclose(dataset);
	H5Fclose(file);
}

/* ---- files that lie ---- */

static void put(hid_t group, const char *name, hid_t type, hsize_t rows, const void *values)
{
	hid_t space = H5Screate_simple(1, &rows, NULL),
		  dataset = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

	assert_true(dataset >= 0);
	if (values)
		assert_true(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
	H5Dclose(dataset);
	H5Sclose(space);
}

enum lie {
	NO_LIE,
	NO_RECORDS,
	NO_COLUMNS,
	NO_EPISODES,
	NO_LENGTHS,
	UNEQUAL_COLUMNS,
	TEXT_COLUMN,
	TWO_DIMENSIONS,
	GROUP_AS_COLUMN,
	LINKED_COLUMN,
	LINKED_FIELD,
	LINKED_GROUP,
	OUTSIDE_COLUMN,
	WRONG_ACTION,
	HUGE_EPISODE,
	OVERLAPPING_EPISODES,
	EMPTY_EPISODE,
	SHORT_EPISODES,
	MORE_EPISODES_THAN_ROWS,
	FLOAT_EPISODES,
	UNEQUAL_EPISODES,
	ROWS_FROM_NOWHERE,
	LIES
};

static const char *const complaints[LIES] = {
	[NO_RECORDS] = "no group '/records'",
	[NO_COLUMNS] = "'/records' is empty",
	[NO_EPISODES] = "no group '/episodes'",
	[NO_LENGTHS] = "'/episodes/length' is missing",
	[UNEQUAL_COLUMNS] = "column 'other' has 9 rows, 'drops' has 10",
	[TEXT_COLUMN] = "'other' holds no numbers",
	[TWO_DIMENSIONS] = "'other' is not one-dimensional",
	[GROUP_AS_COLUMN] = "'other' is no readable dataset",
	[LINKED_COLUMN] = "'/records/other' is a link",
	[LINKED_FIELD] = "'/records/length' is a link",
	[LINKED_GROUP] = "lies in another file",
	[OUTSIDE_COLUMN] = "'other' lies in another file",
	[WRONG_ACTION] = "'action' is 3 in row 9, expected 0, 1 or 2",
	[HUGE_EPISODE] = "episode 1",
	[OVERLAPPING_EPISODES] = "episode 1 has rows 3 + 7, expected a start of 4",
	[EMPTY_EPISODE] = "episode 1",
	[SHORT_EPISODES] = "episodes end before",
	[MORE_EPISODES_THAN_ROWS] = "more episodes than records",
	[FLOAT_EPISODES] = "'/episodes/start' is damaged",
	[UNEQUAL_EPISODES] = "differ in length",
	[ROWS_FROM_NOWHERE] = "do not fit a file",
};

static void write_records(hid_t file, enum lie lie)
{
	static const uint8_t actions[10] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0}, wrong[10] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 3};
	static const int64_t drops[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
	hid_t group = H5Gcreate2(file, "records", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	hsize_t two[2] = {10, 1};

	if (lie == ROWS_FROM_NOWHERE) {
		put(group, "drops", H5T_NATIVE_INT64, (hsize_t)1 << 40, NULL);
	} else if (lie != NO_COLUMNS) {
		put(group, "drops", H5T_NATIVE_INT64, 10, drops);
		put(group, "action", H5T_NATIVE_UINT8, 10, lie == WRONG_ACTION ? wrong : actions);
	}
	if (lie == UNEQUAL_COLUMNS)
		put(group, "other", H5T_NATIVE_INT64, 9, drops);
	if (lie == TEXT_COLUMN) {
		hid_t text = H5Tcopy(H5T_C_S1);
		H5Tset_size(text, 4);
		put(group, "other", text, 10, NULL);
		H5Tclose(text);
	}
	if (lie == TWO_DIMENSIONS) {
		hid_t space = H5Screate_simple(2, two, NULL);
		H5Dclose(H5Dcreate2(group, "other", H5T_NATIVE_INT64, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
		H5Sclose(space);
	}
	if (lie == GROUP_AS_COLUMN)
		H5Gclose(H5Gcreate2(group, "other", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
	if (lie == LINKED_COLUMN || lie == LINKED_FIELD)
		H5Lcreate_external("/etc/hostname", "/x", group, lie == LINKED_FIELD ? "length" : "other", H5P_DEFAULT,
		                   H5P_DEFAULT);
	if (lie == OUTSIDE_COLUMN) {
		hsize_t rows = 10;
		hid_t space = H5Screate_simple(1, &rows, NULL), plan = H5Pcreate(H5P_DATASET_CREATE);

		H5Pset_external(plan, "/etc/passwd", 0, 10);
		H5Dclose(H5Dcreate2(group, "other", H5T_NATIVE_UINT8, space, H5P_DEFAULT, plan, H5P_DEFAULT));
		H5Pclose(plan);
		H5Sclose(space);
	}
	H5Gclose(group);
}

/* A whole group of another pool. */
static void link_records(hid_t file)
{
	const char *path = helper_path("linked.h5");
	hid_t other = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

	write_records(other, NO_LIE);
	H5Fclose(other);
	H5Lcreate_external(path, "/records", file, "records", H5P_DEFAULT, H5P_DEFAULT);
}

static void write_episodes(hid_t file, enum lie lie)
{
	static const uint64_t many[20] = {0};
	static const double real[2] = {0, 4};
	uint64_t starts[2] = {0, 4}, lengths[2] = {4, 6};
	hid_t group = H5Gcreate2(file, "episodes", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

	if (lie == HUGE_EPISODE)
		lengths[1] = UINT64_MAX;
	if (lie == OVERLAPPING_EPISODES) {
		starts[1] = 3;
		lengths[1] = 7;
	}
	if (lie == EMPTY_EPISODE)
		lengths[1] = 0;
	if (lie == SHORT_EPISODES)
		lengths[1] = 5;
	if (lie == MORE_EPISODES_THAN_ROWS)
		put(group, "start", H5T_NATIVE_UINT64, 20, many);
	else if (lie == FLOAT_EPISODES)
		put(group, "start", H5T_NATIVE_DOUBLE, 2, real);
	else
		put(group, "start", H5T_NATIVE_UINT64, 2, starts);
	if (lie != NO_LENGTHS)
		put(group, "length", H5T_NATIVE_UINT64, lie == UNEQUAL_EPISODES ? 1 : 2, lengths);
	H5Gclose(group);
}

static void test_files_that_lie(void **state)
{
	const char *path = helper_path("lie.h5");
	char *report;

	(void)state;
	for (enum lie lie = NO_LIE; lie < LIES; lie++) {
		aqm_pool *pool;
		hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

		if (lie == LINKED_GROUP)
			link_records(file);
		else if (lie != NO_RECORDS)
			write_records(file, lie);
		if (lie != NO_EPISODES)
			write_episodes(file, lie);
		H5Fclose(file);
		int code = aqm_pool_open(&pool, path);
		if (lie == NO_LIE) { /* another program's pool, with types of its own */
			assert_int_equal(code, AQM_OK);
			assert_int_equal(aqm_pool_rows(pool), 10);
			aqm_pool_free(pool);
			assert_int_equal(aqm_pool_info(path, false, &report), AQM_OK);
			free(report);
			continue;
		}
		assert_int_equal(code, AQM_EDATA);
		assert_null(pool);
		assert_int_equal(aqm_pool_info(path, true, &report), AQM_EDATA);
		assert_null(report);
		if (!strstr(aqm_error_message(), complaints[lie]) || !strstr(aqm_error_message(), path))
			fail_msg("'%s' does not say '%s'", aqm_error_message(), complaints[lie]);
	}
}

static void test_what_is_no_pool(void **state)
{
	static uint8_t noise[100000];
	unsigned x = 1;
	aqm_pool *pool;

	(void)state;
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (uint8_t)((x = x * 1103515245 + 12345) >> 16);
	assert_int_equal(aqm_pool_open(&pool, helper_file("noise.h5", noise, sizeof noise)), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "not an HDF5 file"));
	assert_int_equal(aqm_pool_open(&pool, helper_file("empty.h5", "", 0)), AQM_EDATA);
	assert_int_equal(aqm_pool_open(&pool, helper_path("missing.h5")), AQM_EDATA);
	memcpy(noise, "\x89HDF\r\n\x1a\n", 8);
	assert_int_equal(aqm_pool_open(&pool, helper_file("signed.h5", noise, sizeof noise)), AQM_EDATA);
	assert_null(pool);
}

/* A pool of ours cut at many places is refused or, where only spare bytes are gone, whole. */
static void test_cut_pools(void **state)
{
	aqm_pool *whole = make_pool(), *pool;
	char *data;
	size_t bytes;

	(void)state;
	assert_int_equal(aqm_pool_save(whole, helper_path("whole.h5")), AQM_OK);
	assert_int_equal(aqm_file_read(helper_path("whole.h5"), 1 << 20, &data, &bytes), AQM_OK);
	for (size_t n = 0; n < bytes; n += bytes / 40) {
		int code = aqm_pool_open(&pool, helper_file("cut.h5", data, n));

		if (code == AQM_OK) {
			assert_string_equal(aqm_pool_digest(pool), aqm_pool_digest(whole));
			aqm_pool_free(pool);
		} else {
			assert_int_equal(code, AQM_EDATA);
		}
	}
	aqm_pool_free(whole);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_saved_and_opened),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_columns_that_make_no_pool),
		cmocka_unit_test(test_types_on_disk),
		cmocka_unit_test(test_files_that_lie),
		cmocka_unit_test(test_what_is_no_pool),
		cmocka_unit_test(test_cut_pools),
	};
	return cmocka_run_group_tests(tests, helper_setup, helper_teardown);
}
