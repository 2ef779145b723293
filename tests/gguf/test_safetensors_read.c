/* SPDX-License-Identifier: BSD-2-Clause */
/* The safetensors reader over files made here: sound ones, and a table of headers each wrong in one way. */
#include "../check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "gguf/safetensors.h"

enum { FILE_BYTES = 4096 };

struct made {
	uint8_t data[FILE_BYTES];
	size_t bytes;
};

/* Length, header, and n bytes of data that count from 0. */
static void make(struct made *m, const char *header, size_t n)
{
	const uint64_t length = strlen(header);

	assert_true(8 + length + n <= FILE_BYTES);
	memcpy(m->data, &length, 8);
	memcpy(m->data + 8, header, length);
	for (size_t i = 0; i < n; i++)
		m->data[8 + length + i] = (uint8_t)i;
	m->bytes = 8 + length + n;
}

static void reads_sound_file(void **state)
{
	const float f32[] = {1.5f, -2.0f};
	const uint16_t f16[] = {0x3c00, 0x0001}, bf16[] = {0x4040, 0xff80};
	struct made m;
	aqm_safetensors_reader *reader;
	float out[2];

	(void)state;
	make(&m,
	     "{\"__metadata__\":{\"format\":\"pt\"},"
	     "\"c\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[12,16]},"
	     "\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
	     "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
	     "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[16,16]},"
	     "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[16,24]}}   ",
	     24);
	uint8_t *data = m.data + m.bytes - 24;
	memcpy(data, f32, 8);
	memcpy(data + 8, f16, 4);
	memcpy(data + 12, bf16, 4);
	CHECK_OK(aqm_safetensors_open_memory(&reader, m.data, m.bytes, "x.safetensors"));
	assert_string_equal(aqm_safetensors_path(reader), "x.safetensors");
	assert_int_equal(aqm_safetensors_tensors(reader), 5);
	assert_string_equal(aqm_safetensors_tensor(reader, 0)->name, "a"); /* in the order of their data */
	assert_string_equal(aqm_safetensors_tensor(reader, 2)->name, "c");
	assert_null(aqm_safetensors_tensor(reader, 5));
	assert_null(aqm_safetensors_find(reader, "absent"));
	assert_string_equal(aqm_safetensors_metadata(reader, "format"), "pt");
	assert_null(aqm_safetensors_metadata(reader, "absent"));

	const struct aqm_safetensors_tensor *a = aqm_safetensors_find(reader, "a"), *b = aqm_safetensors_find(reader, "b"),
										*c = aqm_safetensors_find(reader, "c"),
										*one = aqm_safetensors_find(reader, "one");
	assert_true(a->dimensions == 2 && a->shape[0] == 1 && a->shape[1] == 2 && a->elements == 2 && a->bytes == 8);
	aqm_safetensors_read(a, 0, 2, out);
	assert_memory_equal(out, f32, sizeof f32);
	aqm_safetensors_read(a, 1, 1, out);
	assert_true(out[0] == -2.0f);
	aqm_safetensors_read(b, 0, 2, out);
	assert_true(out[0] == 1.0f && out[1] == 0x1p-24f);
	aqm_safetensors_read(c, 0, 2, out);
	assert_true(out[0] == 3.0f && isinf(out[1]) && out[1] < 0);
	assert_true(!one->readable && one->dimensions == 0 && one->elements == 1 && one->bytes == 8);
	assert_string_equal(one->type, "I64");
	assert_int_equal(aqm_safetensors_find(reader, "none")->elements, 0);
	aqm_safetensors_forget(reader, a, 0, 8); /* memory of ours stays as it is */
	aqm_safetensors_read(a, 0, 2, out);
	assert_memory_equal(out, f32, sizeof f32);
	aqm_safetensors_close(reader);
}

/* A mapped file may be forgotten and read again. */
static void forgets_pages(void **state)
{
	enum { NUMBERS = 5000 };
	const char *header = "{\"t\":{\"dtype\":\"F32\",\"shape\":[5000],\"data_offsets\":[0,20000]}}";
	const uint64_t length = strlen(header);
	uint8_t *file = calloc(1, 8 + length + NUMBERS * sizeof(float));
	aqm_safetensors_reader *reader;
	float number, value = 3.25f;

	(void)state;
	assert_non_null(file);
	memcpy(file, &length, 8);
	memcpy(file + 8, header, length);
	memcpy(file + 8 + length + 4999 * sizeof value, &value, sizeof value);
	CHECK_OK(aqm_file_write("t.safetensors", file, 8 + length + NUMBERS * sizeof(float)));
	CHECK_OK(aqm_safetensors_open(&reader, "t.safetensors"));
	const struct aqm_safetensors_tensor *tensor = aqm_safetensors_tensor(reader, 0);
	for (int i = 0; i < 2; i++) {
		aqm_safetensors_read(tensor, 4999, 1, &number);
		assert_true(number == value);
		aqm_safetensors_forget(reader, tensor, 0, tensor->bytes);
	}
	aqm_safetensors_close(reader);
	free(file);
}

#define ENTRY(type, shape, offsets) "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* Headers over 16 bytes of data, and what is said of them. */
static const struct wrong {
	const char *header, *message;
} wrong[] = {
	{"", "not JSON"},
	{"[]", "does not begin with '{'"},
	{" {}", "does not begin with '{'"},
	{"{", "not JSON: line 1"},
	{"{}x", "not JSON"},
	{"{}", "16 bytes at its end belong to no tensor"},
	{"{\"a\":7}", "the dtype of tensor 'a' is ''"},
	{"{\"\":" ENTRY("F32", "[4]", "[0,16]") "}", "a tensor has no name"},
	{"{\"a\\u0000b\":" ENTRY("F32", "[4]", "[0,16]") "}", "not JSON"},
	{"{\"a\":" ENTRY("F31", "[4]", "[0,16]") "}", "'F31', which safetensors does not have"},
	{"{\"a\":" ENTRY("F32", "4", "[0,16]") "}", "no list of at most 8 numbers"},
	{"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]") "}", "no list of at most 8 numbers"},
	{"{\"a\":" ENTRY("F32", "[4.0]", "[0,16]") "}", "dimension 0 of tensor 'a' is no number from 0"},
	{"{\"a\":" ENTRY("F32", "[1,-4]", "[0,16]") "}", "dimension 1 of tensor 'a' is no number from 0"},
	{"{\"a\":" ENTRY("F32", "[99999999999999999999]", "[0,16]") "}", "not JSON"},
	{"{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "[0,16]") "}", "more elements than can be counted"},
	{"{\"a\":" ENTRY("F32", "[4294967296,2147483648]", "[0,16]") "}", "more elements than can be counted"},
	{"{\"a\":" ENTRY("F32", "[2305843009213693956]", "[0,16]") "}", "has 16 bytes"}, /* * 32 = 128 modulo 2^64 */
	{"{\"a\":" ENTRY("F32", "[3]", "[0,16]") "}", "has 16 bytes; its shape and type F32 need 3 times 32 bits"},
	{"{\"a\":" ENTRY("F16", "[4]", "[0,16]") "}", "has 16 bytes"},
	{"{\"a\":" ENTRY("F4", "[31]", "[0,16]") "}", "has 16 bytes"},
	{"{\"a\":" ENTRY("F32", "[4]", "[0,16,16]") "}", "are not [begin, end]"},
	{"{\"a\":" ENTRY("F32", "[4]", "[-16,0]") "}", "are not [begin, end]"},
	{"{\"a\":" ENTRY("F32", "[4]", "[16,0]") "}", "are not [begin, end]"},
	{"{\"a\":" ENTRY("F32", "[4]", "[4,20]") "}", "tensor 'a' ends 4 bytes past the end of the file"},
	{"{\"a\":" ENTRY("F32", "[4]", "[0,9223372036854775807]") "}", "past the end of the file"},
	{"{\"a\":" ENTRY("F32", "[3]", "[4,16]") "}", "a hole before tensor 'a'"},
	{"{\"a\":" ENTRY("F32", "[3]", "[0,12]") "}", "4 bytes at its end belong to no tensor"},
	{"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"b\":" ENTRY("F32", "[2]", "[8,16]") "}", "a hole before tensor 'b'"},
	{"{\"a\":" ENTRY("F32", "[3]", "[0,12]") ",\"b\":" ENTRY("F32", "[2]", "[8,16]") "}", "'b' overlaps another"},
	{"{\"a\":" ENTRY("F32", "[4]", "[0,16]") ",\"b\":" ENTRY("F32", "[4]", "[0,16]") "}", "overlaps another"},
	{"{\"a\":" ENTRY("F32", "[4]", "[0,16]") ",\"a\":" ENTRY("F32", "[4]", "[0,16]") "}", "not JSON"},
	{"{\"__metadata__\":[],\"a\":" ENTRY("F32", "[4]", "[0,16]") "}", "'__metadata__' is no object"},
	{"{\"__metadata__\":{\"k\":1},\"a\":" ENTRY("F32", "[4]", "[0,16]") "}", "'k', which is no text"},
};

static void expect_refusal(const struct made *m, const char *message)
{
	aqm_safetensors_reader *reader = NULL;
	uint8_t *exact = malloc(m->bytes ? m->bytes : 1); /* what lies behind the file is caught */

	assert_non_null(exact);
	memcpy(exact, m->data, m->bytes);
	int code = aqm_safetensors_open_memory(&reader, exact, m->bytes, "x.safetensors");

	if (code != AQM_EDATA || reader || !strstr(aqm_error_message(), message) ||
	    !strstr(aqm_error_message(), "'x.safetensors'"))
		fail_msg("expected '%s', got %d: %s", message, code, aqm_error_message());
	free(exact);
}

static void refuses_wrong_headers(void **state)
{
	struct made m;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		make(&m, wrong[i].header, 16);
		expect_refusal(&m, wrong[i].message);
	}
	memset(m.data + 8, '[', 4000);
	m.data[8] = '{';
	m.bytes = 4008;
	m.data[0] = 0xa0, m.data[1] = 0x0f; /* 4000 */
	expect_refusal(&m, "not JSON");
}

static void refuses_wrong_lengths(void **state)
{
	struct made m;

	(void)state;
	make(&m, "{\"a\":" ENTRY("F32", "[4]", "[0,16]") "}", 16);
	for (size_t cut = 0; cut < m.bytes; cut++) {
		struct made shorter = m;

		shorter.bytes = cut;
		expect_refusal(&shorter, "");
	}
	memset(m.data, 0xff, 8);
	expect_refusal(&m, "at most 100000000 are allowed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_sound_file),
		cmocka_unit_test(forgets_pages),
		cmocka_unit_test(refuses_wrong_headers),
		cmocka_unit_test(refuses_wrong_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
