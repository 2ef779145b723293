/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aqmtrain/error.h"
#include "base/file.h"
#include "base/size.h"

static char folder[] = "test_file.XXXXXX";

static int enter(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int leave(void **state)
{
	(void)state;
	return aqm_remove_tree(folder);
}

/* "<scratch>/name", good until the fourth call after it. */
static const char *at(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static void assert_contents(const char *path, const char *expected)
{
	char *data;
	size_t bytes;

	assert_int_equal(aqm_file_read(path, 1 << 20, &data, &bytes), AQM_OK);
	assert_int_equal(bytes, strlen(expected));
	assert_string_equal(data, expected);
	free(data);
}

static size_t temporaries(void)
{
	size_t count = 0;
	DIR *listing = opendir(folder);

	assert_non_null(listing);
	for (struct dirent *entry; (entry = readdir(listing));)
		count += strstr(entry->d_name, ".tmp-") != NULL;
	closedir(listing);
	return count;
}

static void test_write_and_replace(void **state)
{
	struct aqm_atomic_file file;

	(void)state;
	assert_int_equal(aqm_file_write(at("a"), "old", 3), AQM_OK);
	assert_int_equal(aqm_atomic_open(&file, at("a")), AQM_OK);
	assert_int_equal(aqm_atomic_write(&file, "new one", 7), AQM_OK);
	fflush(file.stream);
	assert_contents(at("a"), "old"); /* until the commit */
	assert_int_equal(aqm_atomic_commit(&file), AQM_OK);
	assert_contents(at("a"), "new one");
	aqm_atomic_abort(&file); /* harmless */
	assert_contents(at("a"), "new one");

	assert_int_equal(aqm_atomic_open(&file, at("a")), AQM_OK);
	aqm_atomic_write(&file, "no", 2);
	aqm_atomic_abort(&file);
	assert_contents(at("a"), "new one");
	assert_int_equal(temporaries(), 0);
}

/* A limit on file size stands in for a full disk: whether the write itself fails or only the flush of the commit, the
 * old file stays and the temporary goes. */
static void fill_disk(size_t bytes, size_t limit)
{
	struct rlimit before, tight;
	char *data = calloc(1, bytes);

	assert_int_equal(aqm_file_write(at("full"), "kept", 4), AQM_OK);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = (struct rlimit){.rlim_cur = limit, .rlim_max = before.rlim_max};
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	int code = aqm_file_write(at("full"), data, bytes);
	setrlimit(RLIMIT_FSIZE, &before);
	signal(SIGXFSZ, handler);

	assert_int_equal(code, AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "full': File too large"));
	assert_contents(at("full"), "kept");
	assert_int_equal(temporaries(), 0);
	free(data);
}

static void test_same_path(void **state)
{
	char link[4096];

	(void)state;
	assert_int_equal(aqm_file_write(at("same"), "x", 1), AQM_OK);
	assert_int_equal(aqm_file_write(at("other"), "x", 1), AQM_OK);
	snprintf(link, sizeof link, "%s", at("same-link"));
	unlink(link);
	assert_int_equal(symlink("same", link), 0);
	assert_true(aqm_path_same(at("same"), at("./same")));
	assert_true(aqm_path_same(at("same"), link));
	assert_false(aqm_path_same(at("same"), at("other")));
	assert_false(aqm_path_same(at("same"), at("missing")));
	assert_true(aqm_path_same(at("missing"), at("./missing")));
	assert_true(aqm_path_same("no-such-file", "./no-such-file"));
	assert_false(aqm_path_same(at("missing"), at("missing too")));
	assert_false(aqm_path_same("/missing", at("missing")));
	assert_int_equal(aqm_path_spare(at("same"), link), AQM_EUSAGE);
	assert_int_equal(aqm_path_spare(at("same"), at("other")), AQM_OK);
}

static void test_full_disk(void **state)
{
	(void)state;
	fill_disk(1 << 20, 1 << 16); /* in fwrite */
	fill_disk(100, 50);          /* in fflush */
}

/* For HDF5: we name the temporary, it writes, we commit. */
static void test_reserve(void **state)
{
	struct aqm_atomic_file file;

	(void)state;
	assert_int_equal(aqm_atomic_reserve(&file, at("r")), AQM_OK);
	assert_null(file.stream);
	FILE *stream = fopen(file.temporary_path, "w");
	assert_non_null(stream);
	fputs("by other hands", stream);
	fclose(stream);
	assert_int_equal(aqm_atomic_commit(&file), AQM_OK);
	assert_contents(at("r"), "by other hands");

	assert_int_equal(aqm_atomic_reserve(&file, at("r")), AQM_OK);
	assert_int_equal(aqm_atomic_commit(&file), AQM_ERUN); /* nobody wrote */
	assert_contents(at("r"), "by other hands");
}

static void test_destinations(void **state)
{
	struct stat status;

	(void)state;
	assert_int_equal(aqm_file_write("/dev/null", "x", 1), AQM_ERUN); /* a rename would replace the device */
	assert_int_equal(aqm_file_write(folder, "x", 1), AQM_ERUN);
	assert_int_equal(aqm_file_write("", "x", 1), AQM_EUSAGE);
	assert_int_equal(aqm_file_write("-", "x", 1), AQM_EUSAGE); /* not a file of that name */
	assert_int_equal(aqm_file_write(at("missing/x"), "x", 1), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "missing/x': No such file"));

	assert_int_equal(aqm_file_write(at("target"), "1", 1), AQM_OK);
	assert_int_equal(symlink("target", at("link")), 0);
	assert_int_equal(aqm_file_write(at("link"), "2", 1), AQM_OK);
	assert_int_equal(lstat(at("link"), &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	assert_contents(at("target"), "2");
}

static void test_read(void **state)
{
	char *data;
	size_t bytes;

	(void)state;
	assert_int_equal(aqm_file_write(at("long"), "0123456789", 10), AQM_OK);
	assert_int_equal(aqm_file_read(at("long"), 9, &data, &bytes), AQM_EDATA);
	assert_null(data);
	assert_int_equal(aqm_file_read(at("long"), 10, &data, &bytes), AQM_OK);
	free(data);
	assert_int_equal(aqm_file_read(at("none"), 10, &data, &bytes), AQM_EDATA);
	assert_int_equal(aqm_file_read(folder, 10, &data, &bytes), AQM_EDATA);

	size_t size = 100001; /* grows several times */
	char *many = malloc(size);
	for (size_t i = 0; i < size; i++)
		many[i] = (char)(i * 7);
	assert_int_equal(aqm_file_write(at("many"), many, size), AQM_OK);
	assert_int_equal(aqm_file_read(at("many"), size, &data, &bytes), AQM_OK);
	assert_int_equal(bytes, size);
	assert_memory_equal(data, many, size);
	free(data);
	free(many);
}

static void test_mapping(void **state)
{
	struct aqm_mapping mapping;

	(void)state;
	assert_int_equal(aqm_file_write(at("m"), "mapped", 6), AQM_OK);
	assert_int_equal(aqm_map_file(&mapping, at("m")), AQM_OK);
	assert_int_equal(mapping.bytes, 6);
	assert_memory_equal(mapping.data, "mapped", 6);
	aqm_unmap(&mapping);
	aqm_unmap(&mapping);

	assert_int_equal(aqm_file_write(at("empty"), "", 0), AQM_OK);
	assert_int_equal(aqm_map_file(&mapping, at("empty")), AQM_OK);
	assert_int_equal(mapping.bytes, 0);
	assert_non_null(mapping.data);
	aqm_unmap(&mapping);
	assert_int_equal(aqm_map_file(&mapping, folder), AQM_EDATA);
	assert_int_equal(aqm_map_file(&mapping, "/dev/zero"), AQM_EDATA);
	assert_int_equal(aqm_map_file(&mapping, at("none")), AQM_EDATA);
}

static void test_folders(void **state)
{
	(void)state;
	assert_int_equal(aqm_make_folders(at("x/y//z/")), AQM_OK);
	assert_int_equal(aqm_make_folders(at("x/y/z")), AQM_OK);
	assert_true(aqm_path_exists(at("x/y/z")));
	assert_int_equal(aqm_file_write(at("x/f"), "f", 1), AQM_OK);
	assert_int_equal(aqm_make_folders(at("x/f/g")), AQM_ERUN);
	assert_int_equal(aqm_make_folders(at("x/f")), AQM_ERUN);

	assert_int_equal(aqm_file_write(at("outside"), "o", 1), AQM_OK);
	assert_int_equal(aqm_make_folders(at("out")), AQM_OK);
	assert_int_equal(aqm_file_write(at("out/side"), "o", 1), AQM_OK);
	assert_int_equal(symlink("../outside", at("x/link")), 0);
	assert_int_equal(symlink("../../out", at("x/y/link")), 0);
	assert_int_equal(aqm_remove_tree(at("x")), AQM_OK);
	assert_false(aqm_path_exists(at("x")));
	assert_contents(at("outside"), "o");
	assert_contents(at("out/side"), "o");
	assert_int_equal(aqm_remove_tree(at("x")), AQM_OK); /* a missing one is fine */

	char *joined = aqm_path_join("a", "b"), *rooted = aqm_path_join("/", "b");
	assert_string_equal(joined, "a/b");
	assert_string_equal(rooted, "/b");
	free(joined);
	free(rooted);
}

/* FIPS 180-4's examples. */
static void test_sha256(void **state)
{
	aqm_sha256 *hash;
	char hex[65];

	(void)state;
	assert_int_equal(aqm_sha256_new(&hash), AQM_OK);
	aqm_sha256_update(hash, "a", 1);
	aqm_sha256_update(hash, "bc", 2);
	aqm_sha256_finish(hash, hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(aqm_file_write(at("e"), "", 0), AQM_OK);
	assert_int_equal(aqm_sha256_file(at("e"), hex), AQM_OK);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(aqm_sha256_file(at("none"), hex), AQM_EDATA);
	assert_int_equal(aqm_sha256_file(folder, hex), AQM_EDATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_path), cmocka_unit_test(test_write_and_replace), cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_reserve),   cmocka_unit_test(test_destinations),      cmocka_unit_test(test_read),
		cmocka_unit_test(test_mapping),   cmocka_unit_test(test_folders),           cmocka_unit_test(test_sha256),
	};

	return cmocka_run_group_tests(tests, enter, leave);
}
