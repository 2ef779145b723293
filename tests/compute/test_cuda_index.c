/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The places and bits that the CUDA kernels work out (compute/cuda/index.h), against those of the CPU or counted by
 * hand.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "base/random.h"
#include "compute/cuda/index.h"

static struct aqm_rng rng;

static void test_types(void **state)
{
	static const enum aqm_dtype types[] = {AQM_F16,  AQM_Q8_0, AQM_Q4_0, AQM_Q4_1, AQM_Q5_0,
	                                       AQM_Q5_1, AQM_Q4_K, AQM_Q5_K, AQM_Q6_K};
	enum { COLS = 1024 };

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		const struct aqm_dtype_traits *traits = aqm_dtype_traits(types[i]);
		size_t bytes = COLS / traits->block * traits->block_bytes;
		uint8_t *row = malloc(bytes);
		float expected[COLS], got[8];

		assert_non_null(row);
		assert_int_equal(aqm_block_elements((int)types[i]), traits->block);
		assert_int_equal(aqm_block_bytes((int)types[i]), traits->block_bytes);
		assert_int_equal(aqm_row_bytes((int)types[i], COLS), bytes);
		for (int round = 0; round < 50; round++) { /* any bits: infinities, NaN and subnormals too */
			for (size_t j = 0; j < bytes; j++)
				row[j] = (uint8_t)aqm_rng_u32(&rng);
			traits->expand(row, expected, COLS);
			for (int e = 0; e < COLS / 8; e++) {
				aqm_expand_eight((int)types[i], row, e, got);
				for (int j = 0; j < 8; j++)
					if (!(isnan(got[j]) && isnan(expected[8 * e + j])))
						assert_memory_equal(&got[j], &expected[8 * e + j], sizeof(float));
			}
		}
		free(row);
	}
	for (int type = AQM_F32; type == AQM_F32 || type == AQM_BF16; type += AQM_BF16) {
		assert_int_equal(aqm_block_elements(type), 1);
		assert_int_equal(aqm_row_bytes(type, 3), type == AQM_F32 ? 12 : 6);
	}
}

static void test_bfloat(void **state)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(AQM_BF16);

	(void)state;
	for (int i = 0; i < 100000; i++) {
		float x = aqm_float_of(aqm_rng_u32(&rng));
		uint16_t bits;

		traits->quantise(&x, &bits, 1);
		assert_int_equal(aqm_bfloat_of(x), bits);
		if (!isnan(x))
			assert_true(aqm_float_of_bfloat(bits) == x || fabsf(aqm_float_of_bfloat(bits) - x) <= fabsf(x) * 0x1p-8f ||
			            fabsf(x) < 0x1p-126f || fabsf(x) > 0x1.feffffp127f);
	}
}

static void test_philox(void **state)
{
	uint32_t block[4], own[4], words[8];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint64_t seed = (uint64_t)aqm_rng_u32(&rng) << 32 | aqm_rng_u32(&rng);
		uint64_t base = (uint64_t)aqm_rng_u32(&rng) << (i % 33), first = aqm_rng_u32(&rng);
		uint32_t sub = aqm_rng_u32(&rng);
		int n = 1 + (int)aqm_rng_below(&rng, 8);

		aqm_philox(seed, AQM_STREAM_DROPOUT, sub, base, block);
		aqm_philox_block(seed, AQM_STREAM_DROPOUT, sub, base, own);
		assert_memory_equal(own, block, sizeof block);
		aqm_philox_eight(seed, AQM_STREAM_DROPOUT, sub, base, first, n, words);
		for (int j = 0; j < n; j++) {
			aqm_philox(seed, AQM_STREAM_DROPOUT, sub, base + (first + (uint64_t)j) / 4, block);
			assert_int_equal(words[j], block[(first + (uint64_t)j) % 4]);
		}
	}
}

static void test_attention_places(void **state)
{
	(void)state;
	for (int reach = 0; reach < 4; reach++)
		for (int distance = -6; distance <= 6; distance++) {
			int nearest = abs(distance) <= reach ? distance : distance < 0 ? -reach : reach;

			assert_int_equal(aqm_bias_column(distance, reach), nearest + reach);
		}
	/* every visible pair lies in what a tile looks at, and the last key of a causal tile is seen by its last query */
	for (int causal = 0; causal < 2; causal++)
		for (int past = 0; past < 20; past += 7)
			for (int queries = 1; queries < 40; queries += 13)
				for (int first = 0; first < queries; first += 16) {
					int keys = past + queries, seen = aqm_keys_seen(first, 16, past, keys, causal);

					for (int query = first; query < first + 16 && query < queries; query++)
						for (int key = 0; key < keys; key++)
							if (!causal || key <= past + query) {
								assert_true(key < seen);
								assert_true(query >= aqm_first_query(key - past, causal) || !causal);
							}
					assert_true(seen <= keys);
					assert_int_equal(aqm_keys_seen(first, 1, past, keys, causal), causal ? past + first + 1 : keys);
				}
}

/* The pieces cover all rows, and none is empty. */
static void test_pieces(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		int64_t rows = 1 + (int64_t)aqm_rng_below(&rng, 10000), blocks = 1 + (int64_t)aqm_rng_below(&rng, 300);
		int64_t wanted = 1 + (int64_t)aqm_rng_below(&rng, 1000), count = aqm_row_pieces(rows, blocks, wanted);
		int64_t piece = aqm_pieces(rows, count), pieces = aqm_pieces(rows, piece);

		assert_true(count >= 1 && pieces >= 1 && pieces <= count);
		assert_true((pieces - 1) * piece < rows && rows <= pieces * piece);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),  cmocka_unit_test(test_bfloat),
		cmocka_unit_test(test_philox), cmocka_unit_test(test_attention_places),
		cmocka_unit_test(test_pieces),
	};

	aqm_rng_init(&rng, 22, AQM_STREAM_TEST, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
