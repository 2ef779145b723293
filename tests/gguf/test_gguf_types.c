/* SPDX-License-Identifier: BSD-2-Clause */
/* Block types against tests/golden/gguf/types.gguf, which the gguf Python package computed and wrote, bit for bit. */
#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/types.h"

static const char *const names[AQM_TYPE_ROWS] = {"f32",  "f16",  "bf16", "q8_0", "q4_0", "q4_1",
                                                 "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"};

static aqm_gguf *golden;

static int open_golden(void **state)
{
	(void)state;
	CHECK_OK(aqm_gguf_open(&golden, AQM_SOURCE_DIR "/tests/golden/gguf/types.gguf"));
	return 0;
}

static int close_golden(void **state)
{
	(void)state;
	aqm_gguf_free(golden);
	return 0;
}

static const struct aqm_gguf_tensor *golden_tensor(const char *type, const char *what)
{
	const struct aqm_gguf_tensor *tensor;
	char name[64];

	snprintf(name, sizeof name, "%s%s", type, what);
	CHECK_OK(aqm_gguf_require(golden, name, &tensor));
	return tensor;
}

static void check_expansion(aqm_expand expand, const char *name)
{
	const struct aqm_gguf_tensor *blocks = golden_tensor(name, ".blocks"), *expanded = golden_tensor(name, ".expanded");
	size_t n = expanded->bytes / sizeof(float);
	float *out = malloc(expanded->bytes);
	/* At an odd address: blocks in a file follow each other without padding. */
	uint8_t *shifted = malloc(blocks->bytes + 1);

	assert_non_null(out);
	assert_non_null(shifted);
	memcpy(shifted + 1, blocks->data, blocks->bytes);
	expand(shifted + 1, out, n);
	for (size_t i = 0; i < n; i++)
		if (memcmp(&out[i], (const float *)expanded->data + i, sizeof *out) != 0)
			fail_msg("%s: element %zu is %a, expected %a", name, i, (double)out[i],
			         (double)((const float *)expanded->data)[i]);
	free(out);
	free(shifted);
}

static void test_expansion(void **state)
{
	(void)state;
	for (size_t row = 1; row < AQM_TYPE_ROWS; row++) {
		const struct aqm_dtype_traits *traits = aqm_dtype_find(names[row]);

		assert_non_null(traits);
		assert_int_equal(golden_tensor(names[row], ".blocks")->dtype, traits->dtype);
		check_expansion(traits->expand, names[row]);
		check_expansion(aqm_expand_any[row], names[row]);
#ifdef __x86_64__
		if (__builtin_cpu_supports("avx2"))
			check_expansion(aqm_expand_avx2[row], names[row]);
#endif
	}
}

static void test_quantisation(void **state)
{
	const struct aqm_gguf_tensor *numbers = golden_tensor("numbers", "");
	int quantised = 0;

	(void)state;
	for (size_t row = 1; row < AQM_TYPE_ROWS; row++) {
		const struct aqm_dtype_traits *traits = aqm_dtype_find(names[row]);

		if (!traits->quantise)
			continue;
		const struct aqm_gguf_tensor *expected = golden_tensor(names[row], ".quantised");
		uint8_t *out = malloc(expected->bytes);

		assert_non_null(out);
		traits->quantise(numbers->data, out, numbers->bytes / sizeof(float));
		for (size_t i = 0; i < expected->bytes; i++)
			if (out[i] != ((const uint8_t *)expected->data)[i])
				fail_msg("%s: byte %zu of block %zu is %02x, expected %02x", names[row], i % traits->block_bytes,
				         i / traits->block_bytes, out[i], ((const uint8_t *)expected->data)[i]);
		free(out);
		quantised++;
	}
	assert_int_equal(quantised, 7);
}

/* The value of a half by its definition. */
static double half_value(unsigned h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	double magnitude = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
	                   : exponent     ? ldexp(1024 + mantissa, exponent - 25)
	                                  : ldexp(mantissa, -24);

	return h & 0x8000 ? -magnitude : magnitude;
}

static void test_every_half(void **state)
{
	const struct aqm_dtype_traits *f16 = aqm_dtype_traits(AQM_F16);
	static uint16_t halves[1 << 16], back[1 << 16];
	static float floats[1 << 16];

	(void)state;
	for (unsigned h = 0; h < 1 << 16; h++)
		halves[h] = (uint16_t)h;
	f16->expand(halves, floats, 1 << 16);
	f16->quantise(floats, back, 1 << 16);
	for (unsigned h = 0; h < 1 << 16; h++) {
		double expected = half_value(h);

		if (isnan(expected)) {
			assert_true(isnan(floats[h]));
			assert_true(isnan(half_value(back[h])));
			continue;
		}
		if ((double)floats[h] != expected || !signbit(floats[h]) != !(h & 0x8000))
			fail_msg("half %04x is %a, expected %a", h, (double)floats[h], expected);
		assert_int_equal(back[h], h);
	}
}

/* Between two neighbours: just under the middle goes down, just above up, the middle to the even one. */
static void test_half_rounding(void **state)
{
	const struct aqm_dtype_traits *f16 = aqm_dtype_traits(AQM_F16);

	(void)state;
	for (unsigned h = 0; h < 0x7bff; h++) {
		float middle = (float)((half_value(h) + half_value(h + 1)) / 2);
		const float in[3] = {nextafterf(middle, 0.0f), middle, nextafterf(middle, 1e9f)};
		uint16_t out[3];

		f16->quantise(in, out, 3);
		assert_int_equal(out[0], h);
		assert_int_equal(out[1], h + (h & 1));
		assert_int_equal(out[2], h + 1);
	}
}

static void test_not_numbers(void **state)
{
	static const enum aqm_dtype types[] = {AQM_Q8_0, AQM_Q4_0, AQM_Q4_1, AQM_Q5_0, AQM_Q5_1};
	const float bad[] = {NAN, INFINITY, -INFINITY, 1e-42f, 3e38f};
	uint8_t blocks[64];
	float in[32], out[32];
	uint16_t half;

	(void)state;
	/* No undefined conversion; the numbers that come out do not matter. */
	for (size_t t = 0; t < sizeof types / sizeof *types; t++)
		for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
			for (int i = 0; i < 32; i++)
				in[i] = i % 3 ? bad[k] : (float)i;
			aqm_dtype_traits(types[t])->quantise(in, blocks, 32);
			aqm_dtype_traits(types[t])->expand(blocks, out, 32);
		}
	aqm_dtype_traits(AQM_BF16)->quantise(bad, &half, 1);
	aqm_dtype_traits(AQM_BF16)->expand(&half, out, 1);
	assert_true(isnan(out[0]));
}

static void test_names(void **state)
{
	(void)state;
	for (size_t row = 0; row < AQM_TYPE_ROWS; row++) {
		const struct aqm_dtype_traits *traits = aqm_dtype_find(names[row]);

		assert_non_null(traits);
		assert_ptr_equal(traits, aqm_dtype_traits(traits->dtype));
		assert_string_equal(aqm_dtype_name(traits->dtype), names[row]);
		assert_int_equal(aqm_type_layout((uint32_t)traits->dtype)->block, traits->block);
		assert_int_equal(aqm_type_layout((uint32_t)traits->dtype)->block_bytes, traits->block_bytes);
	}
	assert_ptr_equal(aqm_dtype_find("Q4_K"), aqm_dtype_traits(AQM_Q4_K));
	assert_null(aqm_dtype_find("q4"));
	assert_null(aqm_dtype_traits((enum aqm_dtype)10));
	assert_string_equal(aqm_dtype_name((enum aqm_dtype)10), "q2_k");
	assert_string_equal(aqm_dtype_name((enum aqm_dtype)12345), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expansion),     cmocka_unit_test(test_quantisation), cmocka_unit_test(test_every_half),
		cmocka_unit_test(test_half_rounding), cmocka_unit_test(test_not_numbers),  cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, open_golden, close_golden);
}
