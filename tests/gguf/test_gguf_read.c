/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader over files made here byte by byte: sound ones, and a table of files each broken in one way. */
#include "helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

/* ---- sound files ---- */

static void open_built(aqm_gguf **gguf, const struct built *b)
{
	CHECK_OK(aqm_gguf_open_memory(gguf, b->data, b->bytes, "x.gguf"));
}

static void put_every_value(struct built *b)
{
	const double f64 = -2.5;
	const float f32 = 0.5f;

	put_key(b, "u8", AQM_VALUE_U8);
	put_u8(b, 200);
	put_key(b, "i8", AQM_VALUE_I8);
	put_u8(b, 0xfe);
	put_key(b, "u16", AQM_VALUE_U16);
	put(b, "\xff\xff", 2);
	put_key(b, "i16", AQM_VALUE_I16);
	put(b, "\xfe\xff", 2);
	put_key(b, "u32", AQM_VALUE_U32);
	put_u32(b, UINT32_MAX);
	put_key(b, "i32", AQM_VALUE_I32);
	put_u32(b, (uint32_t)-2);
	put_key(b, "f32", AQM_VALUE_F32);
	put(b, &f32, sizeof f32);
	put_key(b, "bool", AQM_VALUE_BOOL);
	put_u8(b, 1);
	put_key(b, "string", AQM_VALUE_STRING);
	put_string(b, "text");
	put_key(b, "array", AQM_VALUE_ARRAY);
	put_u32(b, AQM_VALUE_STRING);
	put_u64(b, 2);
	put_string(b, "a");
	put_string(b, "");
	put_key(b, "u64", AQM_VALUE_U64);
	put_u64(b, UINT64_MAX);
	put_key(b, "i64", AQM_VALUE_I64);
	put_u64(b, (uint64_t)INT64_MIN);
	put_key(b, "f64", AQM_VALUE_F64);
	put(b, &f64, sizeof f64);
}

static void check_int(const aqm_gguf *gguf, const char *key, int64_t expected)
{
	int64_t value = 0;

	CHECK_OK(aqm_gguf_get_int(gguf, key, &value));
	assert_true(value == expected);
}

static void test_every_value_type(void **state)
{
	struct built b = {0};
	aqm_gguf *gguf = NULL;
	const char *text = NULL;
	double real = 0;
	int64_t integer = 0;
	bool flag = false;

	(void)state;
	put_header(&b, 2, 0, AQM_VALUE_TYPES);
	put_every_value(&b);
	open_built(&gguf, &b);
	check_int(gguf, "u8", 200);
	check_int(gguf, "i8", -2);
	check_int(gguf, "u16", 65535);
	check_int(gguf, "i16", -2);
	check_int(gguf, "u32", UINT32_MAX);
	check_int(gguf, "i32", -2);
	check_int(gguf, "i64", INT64_MIN);
	CHECK_OK(aqm_gguf_get_float(gguf, "f32", &real));
	assert_true(real == 0.5);
	CHECK_OK(aqm_gguf_get_float(gguf, "f64", &real));
	assert_true(real == -2.5);
	CHECK_OK(aqm_gguf_get_float(gguf, "i8", &real));
	assert_true(real == -2.0);
	CHECK_OK(aqm_gguf_get_bool(gguf, "bool", &flag));
	assert_true(flag);
	CHECK_OK(aqm_gguf_get_string(gguf, "string", &text));
	assert_string_equal(text, "text");

	assert_int_equal(aqm_gguf_get_int(gguf, "u64", &integer), AQM_EDATA);
	assert_string_equal(
		aqm_error_message(),
		"cannot use 'x.gguf': metadata 'u64' is 18446744073709551615, expected at most 9223372036854775807");
	assert_int_equal(aqm_gguf_get_int(gguf, "f32", &integer), AQM_EDATA);
	assert_string_equal(aqm_error_message(), "cannot use 'x.gguf': metadata 'f32' is of type f32, expected an integer");
	assert_int_equal(aqm_gguf_get_int(gguf, "array", &integer), AQM_EDATA);
	assert_int_equal(aqm_gguf_get_int(gguf, "bool", &integer), AQM_EDATA);
	assert_int_equal(aqm_gguf_get_float(gguf, "string", &real), AQM_EDATA);
	assert_int_equal(aqm_gguf_get_string(gguf, "u8", &text), AQM_EDATA);
	assert_int_equal(aqm_gguf_get_bool(gguf, "u8", &flag), AQM_EDATA);
	assert_int_equal(aqm_gguf_get_string(gguf, "none", &text), AQM_ENOTFOUND);
	assert_string_equal(aqm_error_message(), "'x.gguf' has no metadata 'none'");
	aqm_gguf_free(gguf);
}

static void test_tensors(void **state)
{
	struct built b = {0};
	aqm_gguf *gguf = NULL;
	const struct aqm_gguf_tensor *tensor = NULL;

	(void)state;
	put_header(&b, 3, 4, 1);
	put_key(&b, "general.alignment", AQM_VALUE_U32);
	put_u32(&b, 64);
	put_tensor(&b, "second", 32, 2, AQM_Q8_0, 64);
	put_tensor(&b, "first", 4, 2, AQM_F32, 0);
	put_tensor(&b, "known only by size", 256, 1, 10, 192);
	put_tensor(&b, "unknown", 5, 7, 999, 320);
	put_data(&b, 64, 320);
	open_built(&gguf, &b);
	assert_int_equal(aqm_gguf_tensors(gguf), 4);
	assert_null(aqm_gguf_tensor(gguf, 4));
	CHECK_OK(aqm_gguf_require(gguf, "second", &tensor));
	assert_ptr_equal(tensor, aqm_gguf_tensor(gguf, 0));
	assert_int_equal(tensor->bytes, 68);
	assert_int_equal(tensor->ne[0], 32);
	assert_int_equal(tensor->ne[1], 2);
	assert_int_equal(tensor->ne[2], 1);
	assert_int_equal(tensor->ne[3], 1);
	assert_int_equal(*(const uint8_t *)tensor->data, 64);
	CHECK_OK(aqm_gguf_require(gguf, "first", &tensor));
	assert_int_equal(tensor->bytes, 32);
	assert_int_equal(((const uint8_t *)tensor->data)[31], 31);
	assert_null(aqm_gguf_find(gguf, "fir"));

	assert_int_equal(aqm_gguf_require(gguf, "third", &tensor), AQM_ENOTFOUND);
	assert_string_equal(aqm_error_message(), "'x.gguf' has no tensor 'third'");
	assert_int_equal(aqm_gguf_require(gguf, "known only by size", &tensor), AQM_EDATA);
	assert_string_equal(
		aqm_error_message(),
		"cannot use 'x.gguf': tensor 'known only by size' is of type q2_k (10), which is not supported");
	assert_int_equal(tensor->bytes, 84);
	assert_int_equal(aqm_gguf_require(gguf, "unknown", &tensor), AQM_EDATA);
	assert_int_equal(tensor->dtype, 999);
	assert_int_equal(tensor->bytes, 0);
	aqm_gguf_free(gguf);
}

static void test_many_names(void **state)
{
	enum { COUNT = 500 };
	struct built *b = calloc(1, sizeof *b);
	aqm_gguf *gguf = NULL;
	char name[32];

	(void)state;
	assert_non_null(b);
	put_header(b, 3, COUNT, 0);
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "tensor.%u", i);
		put_tensor(b, name, 8, 1, AQM_F32, 32 * i);
	}
	put_data(b, 32, 32 * COUNT);
	open_built(&gguf, b);
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "tensor.%u", i);
		assert_ptr_equal(aqm_gguf_find(gguf, name), aqm_gguf_tensor(gguf, i));
	}
	assert_null(aqm_gguf_find(gguf, "tensor.500"));
	aqm_gguf_free(gguf);
	free(b);
}

/* ---- broken files ---- */

static void empty(struct built *b)
{
	(void)b;
}

static void other_format(struct built *b)
{
	put(b, "\x89HDF\r\n\x1a\n0123456789012345", 24);
}

static void only_magic(struct built *b)
{
	put(b, AQM_GGUF_MAGIC, 4);
}

static void old_version(struct built *b)
{
	put_header(b, 1, 0, 0);
}

static void big_endian(struct built *b)
{
	put_header(b, 0x03000000, 0, 0);
}

static void cut_counts(struct built *b)
{
	put_header(b, 3, 0, 0);
	b->bytes -= 4;
}

static void too_many_pairs(struct built *b)
{
	put_header(b, 3, 0, UINT64_MAX);
}

static void too_many_tensors(struct built *b)
{
	put_header(b, 3, (uint64_t)1 << 60, 0);
}

static void pairs_missing(struct built *b)
{
	put_header(b, 3, 0, 2);
	put_key(b, "general.name", AQM_VALUE_STRING);
	put_string(b, "a name long enough");
}

static void long_key(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_u64(b, UINT64_MAX);
	put_data(b, 1, 64);
}

static void empty_key(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "", AQM_VALUE_U64);
	put_u64(b, 0);
}

static void key_with_nul(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_u64(b, 3);
	put(b, "a\0b", 3);
	put_data(b, 1, 16);
}

static void unknown_value(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", 13);
	put_u64(b, 0);
}

static void cut_value(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_F64);
	put_u32(b, 0);
}

static void long_string(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_STRING);
	put_u64(b, (uint64_t)1 << 63);
	put_data(b, 1, 5);
}

static void bad_bool(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_BOOL);
	put_u8(b, 2);
}

static void long_array(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_ARRAY);
	put_u32(b, AQM_VALUE_U64);
	put_u64(b, ((uint64_t)1 << 61) + 1); /* 8 bytes when multiplied carelessly */
	put_u64(b, 0);
}

static void long_array_of_strings(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_ARRAY);
	put_u32(b, AQM_VALUE_STRING);
	put_u64(b, 2);
	put_u64(b, 0);
	put_u32(b, 0);
}

static void unknown_element(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_ARRAY);
	put_u32(b, 99);
	put_u64(b, 0);
}

static void deep_array(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "key", AQM_VALUE_ARRAY);
	for (int i = 0; i < 5; i++) {
		put_u32(b, AQM_VALUE_ARRAY);
		put_u64(b, 1);
	}
}

static void key_twice(struct built *b)
{
	put_header(b, 3, 0, 2);
	for (int i = 0; i < 2; i++) {
		put_key(b, "key", AQM_VALUE_U32);
		put_u32(b, 1);
	}
}

static void alignment_type(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "general.alignment", AQM_VALUE_U64);
	put_u64(b, 32);
}

static void alignment_zero(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "general.alignment", AQM_VALUE_U32);
	put_u32(b, 0);
}

static void alignment_odd(struct built *b)
{
	put_header(b, 3, 0, 1);
	put_key(b, "general.alignment", AQM_VALUE_U32);
	put_u32(b, 48);
}

static void many_dimensions(struct built *b)
{
	put_header(b, 3, 1, 0);
	put_string(b, "t");
	put_u32(b, 5);
	put_data(b, 1, 64);
}

static void one_tensor(struct built *b, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset)
{
	put_header(b, 3, 1, 0);
	put_tensor(b, "t", ne0, ne1, type, offset);
	put_data(b, 32, 128);
}

static void zero_dimension(struct built *b)
{
	one_tensor(b, 0, 4, AQM_F32, 0);
}

static void overflowing_dimensions(struct built *b)
{
	one_tensor(b, (uint64_t)1 << 62, 4, AQM_F32, 0);
}

static void overflowing_bytes(struct built *b)
{
	one_tensor(b, (uint64_t)1 << 62, 1, AQM_F32, 0);
}

static void negative_dimension(struct built *b)
{
	one_tensor(b, 4, UINT64_MAX, AQM_F32, 0);
}

static void part_of_a_block(struct built *b)
{
	one_tensor(b, 33, 1, AQM_Q4_0, 0);
}

static void unaligned_tensor(struct built *b)
{
	one_tensor(b, 4, 4, AQM_F32, 16);
}

static void tensor_past_end(struct built *b)
{
	one_tensor(b, 64, 10, AQM_BF16, 0); /* 1280 bytes in 128 */
}

static void tensor_behind_end(struct built *b)
{
	one_tensor(b, 4, 4, AQM_F32, 96);
}

static void tensor_far_away(struct built *b)
{
	one_tensor(b, 4, 4, AQM_F32, UINT64_MAX - 31);
}

static void unknown_behind_end(struct built *b)
{
	one_tensor(b, 4, 4, 999, 160);
}

static void cut_tensor(struct built *b)
{
	put_header(b, 3, 1, 0);
	put_tensor(b, "blk.0.attn_q.weight", 4, 4, AQM_F32, 0);
	b->bytes -= 4;
}

static void no_data(struct built *b)
{
	put_header(b, 3, 1, 0);
	put_tensor(b, "t", 4, 4, AQM_F32, 0);
}

static void tensor_twice(struct built *b)
{
	put_header(b, 3, 2, 0);
	put_tensor(b, "t", 4, 1, AQM_F32, 0);
	put_tensor(b, "t", 4, 1, AQM_F32, 32);
	put_data(b, 32, 64);
}

static void overlapping(struct built *b)
{
	put_header(b, 3, 2, 0);
	put_tensor(b, "above", 4, 1, AQM_F32, 32);
	put_tensor(b, "below", 4, 4, AQM_F32, 0);
	put_data(b, 32, 64);
}

static const struct {
	void (*build)(struct built *b);
	const char *message; /* behind "cannot read 'x.gguf': " */
} broken[] = {
	{empty, "it is not a GGUF file (it does not begin with 'GGUF')"},
	{other_format, "it is not a GGUF file (it does not begin with 'GGUF')"},
	{only_magic, "the version needs 4 bytes at offset 4, the file has 0 left"},
	{old_version, "it is GGUF version 1, expected 2 or 3"},
	{big_endian, "it is big-endian; only little-endian GGUF files are read"},
	{cut_counts, "the number of metadata pairs needs 8 bytes at offset 16, the file has 4 left"},
	{too_many_pairs, "it announces 18446744073709551615 metadata pairs in 0 bytes"},
	{too_many_tensors, "it announces 1152921504606846976 tensors in 0 bytes"},
	{pairs_missing, "the key of metadata pair 1 needs 8 bytes at offset 74, the file has 0 left"},
	{long_key, "the key of metadata pair 0 is 18446744073709551615 bytes long, 1 to 65535 are allowed"},
	{empty_key, "the key of metadata pair 0 is 0 bytes long, 1 to 65535 are allowed"},
	{key_with_nul, "the key of metadata pair 0 contains a NUL byte"},
	{unknown_value, "metadata 'key' has type 13, which does not exist"},
	{cut_value, "metadata 'key' needs 8 bytes at offset 39, the file has 4 left"},
	{long_string, "metadata 'key' needs 9223372036854775808 bytes at offset 47, the file has 5 left"},
	{bad_bool, "metadata 'key' is a bool of value 2"},
	{long_array, "metadata 'key' has 2305843009213693953 elements, but the file has only 8 bytes left"},
	{long_array_of_strings, "metadata 'key' has 2 elements, but the file has only 12 bytes left"},
	{unknown_element, "metadata 'key' is an array of type 99, which does not exist"},
	{deep_array, "metadata 'key' nests arrays more than 4 deep"},
	{key_twice, "metadata 'key' appears twice"},
	{alignment_type, "metadata 'general.alignment' is u64, expected u32"},
	{alignment_zero, "metadata 'general.alignment' is 0, expected a power of two from 8"},
	{alignment_odd, "metadata 'general.alignment' is 48, expected a power of two from 8"},
	{many_dimensions, "tensor 't' has 5 dimensions, at most 4 are allowed"},
	{zero_dimension, "tensor 't' has an impossible dimension 0: 0"},
	{overflowing_dimensions, "tensor 't' has an impossible dimension 1: 4"},
	{overflowing_bytes, "tensor 't' has more bytes than can be counted"},
	{negative_dimension, "tensor 't' has an impossible dimension 1: 18446744073709551615"},
	{part_of_a_block, "tensor 't' has rows of 33 elements, expected a multiple of 32 for type q4_0"},
	{unaligned_tensor, "tensor 't' begins at offset 16, expected a multiple of the alignment 32"},
	{tensor_past_end, "tensor 't' ends 1152 bytes past the end of the file"},
	{tensor_behind_end, "tensor 't' ends 32 bytes past the end of the file"},
	{tensor_far_away, "tensor 't' begins at offset 18446744073709551584, past the end of the file"},
	{unknown_behind_end, "tensor 't' ends 32 bytes past the end of the file"},
	{cut_tensor, "tensor 'blk.0.attn_q.weight' needs 8 bytes at offset 75, the file has 4 left"},
	{no_data, "tensor 't' ends 64 bytes past the end of the file"},
	{tensor_twice, "tensor 't' appears twice"},
	{overlapping, "tensors 'below' and 'above' overlap"},
};

/* At the very end of its own allocation, so that a sanitizer sees a read past it. */
static int open_copy(const void *data, size_t bytes, aqm_gguf **gguf, void **copy)
{
	*copy = malloc(bytes ? bytes : 1);
	assert_non_null(*copy);
	memcpy(*copy, data, bytes);
	return aqm_gguf_open_memory(gguf, *copy, bytes, "x.gguf");
}

static void test_broken_files(void **state)
{
	char expected[256];

	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		struct built b = {0};
		aqm_gguf *gguf = NULL;
		void *copy;

		broken[i].build(&b);
		assert_int_equal(open_copy(b.data, b.bytes, &gguf, &copy), AQM_EDATA);
		assert_null(gguf);
		snprintf(expected, sizeof expected, "cannot read 'x.gguf': %s", broken[i].message);
		assert_string_equal(aqm_error_message(), expected);
		free(copy);
	}
}

static void sound_file(struct built *b)
{
	put_header(b, 3, 2, AQM_VALUE_TYPES);
	put_every_value(b);
	put_tensor(b, "a", 4, 4, AQM_F32, 0);
	put_tensor(b, "b", 32, 1, AQM_Q4_0, 64);
	put_data(b, 32, 64 + 18);
}

/* What a reader of arbitrary bytes does with a file that opened. */
static void use(aqm_gguf *gguf)
{
	char *text = NULL;

	for (int json = 0; json < 2; json++) {
		CHECK_OK(aqm_gguf_info(gguf, json, &text));
		free(text);
	}
	for (size_t i = 0; i < aqm_gguf_tensors(gguf); i++) {
		const struct aqm_gguf_tensor *tensor = aqm_gguf_tensor(gguf, i);
		const volatile uint8_t *data = tensor->data;

		if (tensor->bytes)
			(void)(data[0] + data[tensor->bytes - 1]);
	}
}

static void test_every_cut(void **state)
{
	struct built b = {0};
	void *copy;

	(void)state;
	sound_file(&b);
	for (size_t n = 0; n < b.bytes; n++) {
		aqm_gguf *gguf = NULL;

		assert_int_equal(open_copy(b.data, n, &gguf, &copy), AQM_EDATA);
		free(copy);
	}
}

static void test_random_damage(void **state)
{
	struct aqm_rng rng;
	unsigned opened = 0;

	(void)state;
	aqm_rng_init(&rng, 7, AQM_STREAM_TEST, 0);
	for (int round = 0; round < 20000; round++) {
		struct built b = {0};
		aqm_gguf *gguf = NULL;
		void *copy;

		sound_file(&b);
		for (uint64_t n = 1 + aqm_rng_below(&rng, 4); n; n--)
			b.data[aqm_rng_below(&rng, b.bytes)] = (uint8_t)aqm_rng_u32(&rng);
		if (open_copy(b.data, b.bytes, &gguf, &copy) == AQM_OK) {
			use(gguf);
			opened++;
		}
		aqm_gguf_free(gguf);
		free(copy);
	}
	assert_in_range(opened, 1, 19999);
}

static void test_random_bytes(void **state)
{
	struct aqm_rng rng;

	(void)state;
	aqm_rng_init(&rng, 8, AQM_STREAM_TEST, 0);
	for (int round = 0; round < 2000; round++) {
		struct built b = {0};
		aqm_gguf *gguf = NULL;
		void *copy;

		put(&b, "GGUF\3\0\0", 8);
		for (uint64_t n = aqm_rng_below(&rng, 400); n; n--)
			put_u8(&b, (uint8_t)(aqm_rng_u32(&rng) >> (aqm_rng_u32(&rng) & 31))); /* small numbers more often */
		if (open_copy(b.data, b.bytes, &gguf, &copy) == AQM_OK)
			use(gguf);
		aqm_gguf_free(gguf);
		free(copy);
	}
}

static void test_no_such_file(void **state)
{
	aqm_gguf *gguf = NULL;

	(void)state;
	assert_int_equal(aqm_gguf_open(&gguf, "no/such.gguf"), AQM_EDATA);
	assert_null(gguf);
	assert_non_null(strstr(aqm_error_message(), "'no/such.gguf'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_value_type), cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_many_names),       cmocka_unit_test(test_broken_files),
		cmocka_unit_test(test_every_cut),        cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_random_bytes),     cmocka_unit_test(test_no_such_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
