/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

/* The vectors that Random123 publishes for philox4x32-10 (kat_vectors): counter, key, result. */
static void test_known_answers(void **state)
{
	static const struct {
		uint32_t counter[4], key[2], expected[4];
	} vectors[] = {
		{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
		 {0xffffffff, 0xffffffff},
		 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
		 {0xa4093822, 0x299f31d0},
		 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		const uint32_t *c = vectors[i].counter, *k = vectors[i].key;
		uint32_t out[4];

		aqm_philox((uint64_t)k[1] << 32 | k[0], c[2], c[3], (uint64_t)c[1] << 32 | c[0], out);
		assert_memory_equal(out, vectors[i].expected, sizeof out);
	}
}

/* The stream is the blocks one after the other, and any place in it can be reached at once. */
static void test_stream(void **state)
{
	struct aqm_rng rng;
	uint32_t block[4];

	(void)state;
	aqm_rng_init(&rng, 0x123456789abcdef0, AQM_STREAM_TEST, 7);
	for (uint32_t i = 0; i < 40; i++) {
		aqm_philox(0x123456789abcdef0, AQM_STREAM_TEST, 7, i / 4, block);
		assert_int_equal(aqm_rng_u32(&rng), block[i % 4]);
	}
	struct aqm_rng other;
	aqm_rng_init(&other, 0x123456789abcdef0, AQM_STREAM_TEST, 8);
	assert_int_not_equal(aqm_rng_u32(&other), block[0]);
}

static void test_uniform(void **state)
{
	enum { N = 100000 };
	struct aqm_rng rng;
	double sum = 0, squares = 0;

	(void)state;
	aqm_rng_init(&rng, 1, AQM_STREAM_TEST, 0);
	for (int i = 0; i < N; i++) {
		float u = aqm_rng_uniform(&rng);

		assert_true(u >= 0.0f && u < 1.0f);
		sum += (double)u;
		squares += (double)u * (double)u;
	}
	assert_true(fabs(sum / N - 1.0 / 2) < 0.005);
	assert_true(fabs(squares / N - 1.0 / 3) < 0.005);
}

static void test_normal(void **state)
{
	enum { N = 100000 };
	struct aqm_rng rng;
	double moments[5] = {0};

	(void)state;
	aqm_rng_init(&rng, 1, AQM_STREAM_TEST, 1);
	for (int i = 0; i < N; i++) {
		double x = (double)aqm_rng_normal(&rng), power = 1;

		assert_true(isfinite(x));
		for (int m = 1; m <= 4; m++)
			moments[m] += power *= x;
	}
	assert_true(fabs(moments[1] / N) < 0.02);
	assert_true(fabs(moments[2] / N - 1) < 0.03);
	assert_true(fabs(moments[3] / N) < 0.08);
	assert_true(fabs(moments[4] / N - 3) < 0.15);
}

/* n = 3 * 2^62 makes a plain remainder twice as likely to fall in the lowest quarter of the range as it should. */
static void test_below(void **state)
{
	enum { N = 60000 };
	uint64_t n = (uint64_t)3 << 62;
	struct aqm_rng rng;
	int thirds[3] = {0}, small[7] = {0};

	(void)state;
	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, 2);
	for (int i = 0; i < N; i++) {
		uint64_t big = aqm_rng_below(&rng, n);

		assert_true(big < n);
		thirds[big >> 62]++;
		small[aqm_rng_below(&rng, 7)]++;
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(thirds[i], N / 3 - 600, N / 3 + 600);
	for (int i = 0; i < 7; i++)
		assert_in_range(small[i], N / 7 - 450, N / 7 + 450);
	assert_int_equal(aqm_rng_below(&rng, 1), 0);
}

static void test_shuffle(void **state)
{
	size_t items[50], seen[50] = {0};
	struct aqm_rng rng;
	size_t moved = 0;

	(void)state;
	for (size_t i = 0; i < 50; i++)
		items[i] = i;
	aqm_rng_init(&rng, 9, AQM_STREAM_TEST, 3);
	aqm_rng_shuffle(&rng, items, 50);
	for (size_t i = 0; i < 50; i++) {
		assert_in_range(items[i], 0, 49);
		seen[items[i]]++;
		moved += items[i] != i;
	}
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(seen[i], 1);
	assert_in_range(moved, 40, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers), cmocka_unit_test(test_stream), cmocka_unit_test(test_uniform),
		cmocka_unit_test(test_normal),        cmocka_unit_test(test_below),  cmocka_unit_test(test_shuffle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
