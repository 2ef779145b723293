/* SPDX-License-Identifier: BSD-2-Clause */
/* The writer, read back by the reader; `model info`. */
#include "base/thread.h"
#include "helper.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], path[96];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test_gguf_XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/x.gguf", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return aqm_remove_tree(folder);
}

static void numbers(float *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (float)((int)(i * 7 % 41) - 20) / 16.0f;
}

static void set_metadata(aqm_gguf_writer *writer)
{
	const char *const words[] = {"one", "", "drei", "\xff"};
	const int32_t integers[] = {-1, 2, INT32_MIN};
	const float reals[] = {0.5f, -2.0f};

	CHECK_OK(aqm_gguf_writer_set_string(writer, "general.architecture", "llama"));
	CHECK_OK(aqm_gguf_writer_set_string(writer, "general.name", "a \x1b[31mname\n"));
	CHECK_OK(aqm_gguf_writer_set_u32(writer, "llama.block_count", 4000000000u));
	CHECK_OK(aqm_gguf_writer_set_f32(writer, "llama.rope.freq_base", 1e5f));
	CHECK_OK(aqm_gguf_writer_set_bool(writer, "flag", true));
	CHECK_OK(aqm_gguf_writer_set_strings(writer, "words", words, 4));
	CHECK_OK(aqm_gguf_writer_set_i32s(writer, "integers", integers, 3));
	CHECK_OK(aqm_gguf_writer_set_f32s(writer, "reals", reals, 2));
}

/* Sizes that leave padding between tensors, one tensor written in pieces, one raw. */
static void write_file(void)
{
	aqm_gguf_writer *writer = NULL;
	float x[96];

	numbers(x, 96);
	unlink(path);
	CHECK_OK(aqm_gguf_writer_new(&writer, path));
	set_metadata(writer);
	CHECK_OK(aqm_gguf_writer_add_tensor(writer, "vector", AQM_F32, 1, (const int64_t[]){3}));
	CHECK_OK(aqm_gguf_writer_add_tensor(writer, "matrix", AQM_Q8_0, 2, (const int64_t[]){32, 3}));
	CHECK_OK(aqm_gguf_writer_add_tensor(writer, "raw", AQM_BF16, 3, (const int64_t[]){2, 2, 2}));
	CHECK_OK(aqm_gguf_writer_write_floats(writer, x, 3));
	CHECK_OK(aqm_gguf_writer_write_floats(writer, x, 64));
	CHECK_OK(aqm_gguf_writer_write_floats(writer, x + 64, 32));
	CHECK_OK(aqm_gguf_writer_write(writer, "0123456789", 10));
	CHECK_OK(aqm_gguf_writer_write(writer, "abcdef", 6));
	assert_false(aqm_path_exists(path));
	CHECK_OK(aqm_gguf_writer_finish(writer));
	aqm_gguf_writer_free(writer);
}

static void check_metadata(const aqm_gguf *gguf)
{
	const char *text;
	int64_t integer;
	double real;
	bool flag;

	CHECK_OK(aqm_gguf_get_string(gguf, "general.name", &text));
	assert_string_equal(text, "a \x1b[31mname\n");
	CHECK_OK(aqm_gguf_get_int(gguf, "llama.block_count", &integer));
	assert_true(integer == 4000000000);
	CHECK_OK(aqm_gguf_get_float(gguf, "llama.rope.freq_base", &real));
	assert_true(real == 1e5);
	CHECK_OK(aqm_gguf_get_bool(gguf, "flag", &flag));
	assert_true(flag);

	const struct aqm_gguf_pair *words = aqm_gguf_pair(gguf, "words");

	assert_int_equal(words->type, AQM_VALUE_ARRAY);
	assert_int_equal(words->bytes, 12 + 4 * 8 + 3 + 0 + 4 + 1);
	assert_memory_equal(words->data + 12 + 8, "one", 3);
}

static void test_round_trip(void **state)
{
	aqm_gguf *gguf = NULL;
	float x[96], back[96];
	char hex[65], hex_of_file[65];

	(void)state;
	write_file();
	CHECK_OK(aqm_gguf_open(&gguf, path));
	assert_string_equal(aqm_gguf_path(gguf), path);
	check_metadata(gguf);
	numbers(x, 96);
	assert_memory_equal(aqm_gguf_find(gguf, "vector")->data, x, 3 * sizeof *x);
	const struct aqm_gguf_tensor *matrix = aqm_gguf_find(gguf, "matrix");

	assert_int_equal((uintptr_t)matrix->data % 32, 0);
	assert_int_equal(matrix->bytes, 3 * 34);
	aqm_dtype_traits(AQM_Q8_0)->expand(matrix->data, back, 96);
	for (int i = 0; i < 96; i++)
		assert_true(back[i] - x[i] < 0.006f && x[i] - back[i] < 0.006f);
	const struct aqm_gguf_tensor *raw = aqm_gguf_find(gguf, "raw");

	assert_int_equal(raw->dimensions, 3);
	assert_memory_equal(raw->data, "0123456789abcdef", 16);
	aqm_interrupt_raise(true);
	assert_int_equal(aqm_gguf_digest(gguf, hex), AQM_EINTERRUPTED);
	aqm_interrupt_raise(false);
	CHECK_OK(aqm_gguf_digest(gguf, hex)); /* of all of it */
	CHECK_OK(aqm_sha256_file(path, hex_of_file));
	assert_string_equal(hex, hex_of_file);
	aqm_gguf_free(gguf);
}

static void test_copy_metadata(void **state)
{
	aqm_gguf *from = NULL, *to = NULL;
	aqm_gguf_writer *writer = NULL;
	char other[96];
	const char *text;

	(void)state;
	snprintf(other, sizeof other, "%s/y.gguf", folder);
	write_file();
	CHECK_OK(aqm_gguf_open(&from, path));
	CHECK_OK(aqm_gguf_writer_new(&writer, other));
	CHECK_OK(aqm_gguf_writer_set_string(writer, "general.architecture", "gpt2"));
	CHECK_OK(aqm_gguf_writer_copy_metadata(writer, from));
	CHECK_OK(aqm_gguf_writer_finish(writer));
	aqm_gguf_writer_free(writer);
	CHECK_OK(aqm_gguf_open(&to, other));
	check_metadata(to);
	CHECK_OK(aqm_gguf_get_string(to, "general.architecture", &text));
	assert_string_equal(text, "gpt2");
	assert_int_equal(aqm_gguf_tensors(to), 0);
	aqm_gguf_free(from);
	aqm_gguf_free(to);
}

/* general.alignment of the source must not come along: tensors are aligned to 32 here. */
static void test_copy_leaves_alignment(void **state)
{
	struct built b = {0};
	aqm_gguf *from = NULL, *to = NULL;
	aqm_gguf_writer *writer = NULL;
	int64_t alignment;

	(void)state;
	put_header(&b, 3, 0, 1);
	put_key(&b, "general.alignment", AQM_VALUE_U32);
	put_u32(&b, 4096);
	CHECK_OK(aqm_gguf_open_memory(&from, b.data, b.bytes, "x.gguf"));
	CHECK_OK(aqm_gguf_writer_new(&writer, path));
	CHECK_OK(aqm_gguf_writer_copy_metadata(writer, from));
	CHECK_OK(aqm_gguf_writer_finish(writer));
	aqm_gguf_writer_free(writer);
	CHECK_OK(aqm_gguf_open(&to, path));
	assert_int_equal(aqm_gguf_get_int(to, "general.alignment", &alignment), AQM_ENOTFOUND);
	aqm_gguf_free(from);
	aqm_gguf_free(to);
}

static void test_misuse(void **state)
{
	aqm_gguf_writer *writer = NULL;
	const int64_t ne[4] = {32, 2, 1, 1};
	const char *long_name = "0123456789012345678901234567890123456789012345678901234567890123";
	float x[64] = {0};

	(void)state;
	unlink(path);
	CHECK_OK(aqm_gguf_writer_new(&writer, path));
	CHECK_OK(aqm_gguf_writer_set_u32(writer, "key", 1));
	assert_int_equal(aqm_gguf_writer_set_u32(writer, "key", 2), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "metadata 'key' set twice"));
	CHECK_OK(aqm_gguf_writer_add_tensor(writer, "a", AQM_Q4_0, 2, ne));
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, "a", AQM_Q4_0, 2, ne), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, long_name, AQM_F32, 2, ne), AQM_ERUN);
	CHECK_OK(aqm_gguf_writer_add_tensor(writer, long_name + 1, AQM_F32, 2, ne));
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, "b", AQM_Q4_K, 2, ne), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, "b", (enum aqm_dtype)10, 2, ne), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, "b", AQM_F32, 5, ne), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, "b", AQM_F32, 1, (const int64_t[]){0}), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_write_floats(writer, x, 31), AQM_ERUN);
	CHECK_OK(aqm_gguf_writer_write_floats(writer, x, 32));
	assert_int_equal(aqm_gguf_writer_add_tensor(writer, "late", AQM_F32, 2, ne), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_set_u32(writer, "late", 1), AQM_ERUN);
	assert_int_equal(aqm_gguf_writer_write_floats(writer, x, 64), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "more data than tensor 'a' holds"));
	assert_int_equal(aqm_gguf_writer_finish(writer), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "tensor 'a' is not written in full"));
	aqm_gguf_writer_free(writer);
	assert_false(aqm_path_exists(path));
}

static void test_cannot_create(void **state)
{
	aqm_gguf_writer *writer = NULL;

	(void)state;
	assert_int_equal(aqm_gguf_writer_new(&writer, "/no/such/folder/x.gguf"), AQM_ERUN);
	assert_null(writer);
}

static void test_info(void **state)
{
	aqm_gguf *gguf = NULL;
	char *text = NULL;

	(void)state;
	write_file();
	CHECK_OK(aqm_gguf_open(&gguf, path));
	CHECK_OK(aqm_gguf_info(gguf, false, &text));
	assert_non_null(strstr(text, "architecture   llama\n"));
	assert_non_null(strstr(text, "parameters     107\n"));
	assert_non_null(strstr(text, "  block_count                          4000000000\n"));
	assert_non_null(strstr(text, "3 x i32 [-1, 2, -2147483648]"));
	assert_non_null(strstr(text, "  matrix                               q8_0     32 x 3               102 B\n"));
	assert_null(strchr(text, '\x1b')); /* a name must not drive the terminal */
	free(text);

	CHECK_OK(aqm_gguf_info(gguf, true, &text));
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const char *name, *type, *architecture;
	int columns, rows, bytes, parameters, blocks;

	assert_non_null(root);
	assert_int_equal(json_unpack(root, "{s:s, s:i, s:{s:I}, s:{s:{s:i}}}", "architecture", &architecture, "parameters",
	                             &parameters, "hyperparameters", "block_count", &(json_int_t){0}, "types", "q8_0",
	                             "bytes", &blocks),
	                 0);
	assert_string_equal(architecture, "llama");
	assert_int_equal(parameters, 107);
	assert_int_equal(blocks, 102);
	assert_int_equal(json_unpack(json_array_get(json_object_get(root, "tensors"), 1), "{s:s, s:s, s:[i,i], s:i}",
	                             "name", &name, "type", &type, "shape", &columns, &rows, "bytes", &bytes),
	                 0);
	assert_string_equal(name, "matrix");
	assert_string_equal(type, "q8_0");
	assert_int_equal(columns, 32);
	assert_int_equal(rows, 3);
	assert_int_equal(bytes, 102);
	json_decref(root);
	free(text);
	aqm_gguf_free(gguf);
}

/* Long arrays are cut in both forms, arrays of arrays not opened. */
static void test_info_arrays(void **state)
{
	struct built b = {0};
	aqm_gguf *gguf = NULL;
	char *text = NULL;

	(void)state;
	put_header(&b, 3, 0, 2);
	put_key(&b, "long", AQM_VALUE_ARRAY);
	put_u32(&b, AQM_VALUE_U8);
	put_u64(&b, 1000);
	for (int i = 0; i < 1000; i++)
		put_u8(&b, (uint8_t)i);
	put_key(&b, "nested", AQM_VALUE_ARRAY);
	put_u32(&b, AQM_VALUE_ARRAY);
	put_u64(&b, 1);
	put_u32(&b, AQM_VALUE_STRING);
	put_u64(&b, 1);
	put_string(&b, "inner");
	CHECK_OK(aqm_gguf_open_memory(&gguf, b.data, b.bytes, "x.gguf"));
	CHECK_OK(aqm_gguf_info(gguf, false, &text));
	assert_non_null(strstr(text, "1000 x u8 [0, 1, 2, 3, 4, 5, 6, 7, ...]\n"));
	assert_non_null(strstr(text, "1 x array\n"));
	free(text);
	CHECK_OK(aqm_gguf_info(gguf, true, &text));
	json_t *root = json_loads(text, 0, NULL);
	int count, last;
	const char *type;

	assert_int_equal(json_unpack(root, "{s:{s:{s:i, s:[i,i,i,i,i,i,i,i!]}, s:{s:s}}}", "metadata", "long", "count",
	                             &count, "first", &last, &last, &last, &last, &last, &last, &last, &last, "nested",
	                             "type", &type),
	                 0);
	assert_int_equal(count, 1000);
	assert_int_equal(last, 7);
	assert_string_equal(type, "array");
	json_decref(root);
	free(text);
	aqm_gguf_free(gguf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_copy_metadata),
		cmocka_unit_test(test_copy_leaves_alignment),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_cannot_create),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_info_arrays),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
