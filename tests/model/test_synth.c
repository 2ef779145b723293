/* SPDX-License-Identifier: BSD-2-Clause */
/* Synthetic models: names, shapes, deviations, and the same file again for the same seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/thread.h"
#include "model/synth.h"

static char folder[64], path[96];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test_synth_XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/x.gguf", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return aqm_remove_tree(folder);
}

static aqm_gguf *synth(const char *preset, enum aqm_dtype type, uint64_t seed)
{
	aqm_gguf *gguf = NULL;

	if (aqm_model_synth(preset, type, seed, path) != AQM_OK || aqm_gguf_open(&gguf, path) != AQM_OK)
		fail_msg("%s", aqm_error_message());
	return gguf;
}

static void digest_of(const char *preset, enum aqm_dtype type, uint64_t seed, char hex[65])
{
	aqm_gguf *gguf = synth(preset, type, seed);

	assert_int_equal(aqm_gguf_digest(gguf, hex), AQM_OK);
	aqm_gguf_free(gguf);
}

static int64_t integer(const aqm_gguf *gguf, const char *key)
{
	int64_t value = -1;

	if (aqm_gguf_get_int(gguf, key, &value) != AQM_OK)
		fail_msg("%s", aqm_error_message());
	return value;
}

static void check_matrix(const aqm_gguf *gguf, const char *name, enum aqm_dtype dtype, int64_t columns, int64_t rows)
{
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(gguf, name);

	if (!tensor)
		fail_msg("no tensor '%s'", name);
	assert_int_equal(tensor->dtype, dtype);
	assert_int_equal(tensor->dimensions, rows ? 2 : 1);
	assert_int_equal(tensor->ne[0], columns);
	assert_int_equal(tensor->ne[1], rows ? rows : 1);
}

static void test_tiny_llama(void **state)
{
	aqm_gguf *gguf = synth("tiny-llama", AQM_Q8_0, 1);

	(void)state;
	int64_t d = integer(gguf, "llama.embedding_length"), ffn = integer(gguf, "llama.feed_forward_length");
	int64_t heads = integer(gguf, "llama.attention.head_count"),
			kv_heads = integer(gguf, "llama.attention.head_count_kv");
	int64_t layers = integer(gguf, "llama.block_count"), vocabulary = integer(gguf, "llama.vocab_size");

	assert_true(kv_heads < heads); /* grouped-query attention */
	assert_int_equal(integer(gguf, "llama.rope.dimension_count"), d / heads);
	assert_int_equal(aqm_gguf_tensors(gguf), 2 + 9 * layers);
	check_matrix(gguf, "token_embd.weight", AQM_Q8_0, d, vocabulary);
	check_matrix(gguf, "blk.0.attn_norm.weight", AQM_F32, d, 0);
	check_matrix(gguf, "blk.0.attn_q.weight", AQM_Q8_0, d, d);
	check_matrix(gguf, "blk.1.attn_k.weight", AQM_Q8_0, d, d / heads * kv_heads);
	check_matrix(gguf, "blk.1.attn_v.weight", AQM_Q8_0, d, d / heads * kv_heads);
	check_matrix(gguf, "blk.2.ffn_gate.weight", AQM_Q8_0, d, ffn);
	check_matrix(gguf, "blk.2.ffn_down.weight", AQM_Q8_0, ffn, d);
	check_matrix(gguf, "output_norm.weight", AQM_F32, d, 0);
	assert_null(aqm_gguf_find(gguf, "output.weight")); /* tied */
	aqm_gguf_free(gguf);
}

static void test_tiny_gpt2(void **state)
{
	aqm_gguf *gguf = synth("tiny-gpt2", AQM_F16, 1);

	(void)state;
	int64_t d = integer(gguf, "gpt2.embedding_length"), ffn = integer(gguf, "gpt2.feed_forward_length");

	assert_int_equal(aqm_gguf_tensors(gguf), 4 + 12 * integer(gguf, "gpt2.block_count"));
	check_matrix(gguf, "position_embd.weight", AQM_F32, d, integer(gguf, "gpt2.context_length"));
	check_matrix(gguf, "blk.0.attn_qkv.weight", AQM_F16, d, 3 * d);
	check_matrix(gguf, "blk.0.attn_qkv.bias", AQM_F32, 3 * d, 0);
	check_matrix(gguf, "blk.0.ffn_up.weight", AQM_F16, d, ffn);
	check_matrix(gguf, "output_norm.bias", AQM_F32, d, 0);
	aqm_gguf_free(gguf);
}

static void test_tiny_opt(void **state)
{
	aqm_gguf *gguf = synth("tiny-opt", AQM_Q8_0, 1);

	(void)state;
	int64_t d = integer(gguf, "opt.embedding_length"), ffn = integer(gguf, "opt.feed_forward_length");

	assert_int_equal(aqm_gguf_tensors(gguf), 4 + 16 * integer(gguf, "opt.block_count"));
	check_matrix(gguf, "position_embd.weight", AQM_F32, d,
	             integer(gguf, "opt.context_length") + integer(gguf, "opt.position_offset"));
	check_matrix(gguf, "blk.1.attn_q.weight", AQM_Q8_0, d, d);
	check_matrix(gguf, "blk.2.attn_output.bias", AQM_F32, d, 0);
	check_matrix(gguf, "blk.0.ffn_down.weight", AQM_Q8_0, ffn, d);
	check_matrix(gguf, "output_norm.bias", AQM_F32, d, 0);
	aqm_gguf_free(gguf);
}

static void test_tiny_t5(void **state)
{
	aqm_gguf *gguf = synth("tiny-t5", AQM_Q8_0, 1);

	(void)state;
	int64_t d = integer(gguf, "t5.embedding_length"), ffn = integer(gguf, "t5.feed_forward_length");
	int64_t heads = integer(gguf, "t5.attention.head_count"), q = heads * integer(gguf, "t5.attention.key_length");

	assert_int_equal(aqm_gguf_tensors(gguf),
	                 6 + 9 * integer(gguf, "t5.block_count") + 14 * integer(gguf, "t5.decoder_block_count"));
	check_matrix(gguf, "enc.blk.0.attn_rel_b.weight", AQM_F32, heads,
	             integer(gguf, "t5.attention.relative_buckets_count"));
	check_matrix(gguf, "dec.blk.1.cross_attn_q.weight", AQM_Q8_0, d, q);
	check_matrix(gguf, "enc.blk.1.attn_o.weight", AQM_Q8_0, q, d);
	check_matrix(gguf, "dec.blk.0.ffn_gate.weight", AQM_Q8_0, d, ffn);
	check_matrix(gguf, "dec.blk.0.cross_attn_norm.weight", AQM_F32, d, 0);
	check_matrix(gguf, "dec.output_norm.weight", AQM_F32, d, 0);
	assert_null(aqm_gguf_find(gguf, "dec.blk.1.attn_rel_b.weight")); /* one table a stack */
	aqm_gguf_free(gguf);
}

/* Mean, standard deviation and kurtosis of a tensor in f32. */
static void moments(const struct aqm_gguf_tensor *tensor, double *mean, double *deviation, double *kurtosis)
{
	const float *x = tensor->data;
	size_t n = tensor->bytes / sizeof *x;
	double sum = 0, squares = 0, fourths = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)x[i];
	*mean = sum / (double)n;
	for (size_t i = 0; i < n; i++) {
		double square = ((double)x[i] - *mean) * ((double)x[i] - *mean);

		squares += square;
		fourths += square * square;
	}
	*deviation = sqrt(squares / (double)n);
	*kurtosis = fourths * (double)n / (squares * squares);
}

static void test_weights(void **state)
{
	aqm_gguf *gguf = synth("tiny-llama", AQM_F32, 1);
	double mean, deviation, kurtosis, residual;
	double expected = sqrt(2.0 / (5.0 * (double)integer(gguf, "llama.embedding_length")));
	double depth = sqrt(2.0 * (double)integer(gguf, "llama.block_count"));
	const float *norm = aqm_gguf_find(gguf, "blk.1.ffn_norm.weight")->data;

	(void)state;
	moments(aqm_gguf_find(gguf, "blk.1.ffn_up.weight"), &mean, &deviation, &kurtosis);
	assert_true(fabs(mean) < 0.02 * expected);
	assert_true(fabs(deviation / expected - 1.0) < 0.02);
	assert_true(kurtosis > 2.4 && kurtosis < 3.1);
	moments(aqm_gguf_find(gguf, "blk.1.ffn_down.weight"), &mean, &residual, &kurtosis);
	assert_true(fabs(residual * depth / expected - 1.0) < 0.02);
	assert_true(norm[0] == 1.0f && norm[95] == 1.0f);
	/* No two tensors alike. */
	assert_memory_not_equal(aqm_gguf_find(gguf, "blk.0.attn_q.weight")->data,
	                        aqm_gguf_find(gguf, "blk.1.attn_q.weight")->data, 64);
	aqm_gguf_free(gguf);

	/* Scores of t5 are not scaled: its queries are. */
	gguf = synth("tiny-t5", AQM_F32, 1);
	moments(aqm_gguf_find(gguf, "enc.blk.0.attn_k.weight"), &mean, &deviation, &kurtosis);
	moments(aqm_gguf_find(gguf, "enc.blk.0.attn_q.weight"), &mean, &residual, &kurtosis);
	assert_true(fabs(residual * sqrt((double)integer(gguf, "t5.attention.key_length")) / deviation - 1.0) < 0.03);
	aqm_gguf_free(gguf);
}

/* Every machine makes this file: the demo's base, and what its results rest on. */
static void test_same_everywhere(void **state)
{
	char first[65], second[65], other[65];
	int threads = omp_get_max_threads();

	(void)state;
	digest_of("tiny-llama", AQM_F32, 0, first);
	assert_string_equal(first, "289f042b8572cc7cf399b002fecf1e18b4e344a0d38db587b27a7f21f4492497");
	omp_set_num_threads(3);
	digest_of("tiny-llama", AQM_F32, 0, second);
	omp_set_num_threads(threads);
	assert_string_equal(first, second);
	digest_of("tiny-llama", AQM_F32, 1, other);
	assert_string_not_equal(first, other);
}

static void test_faults(void **state)
{
	(void)state;
	assert_int_equal(aqm_model_synth("medium-llama", AQM_F32, 0, path), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "no preset 'medium-llama' (tiny-llama, "));
	for (const char *const *preset = aqm_model_presets(); *preset; preset++)
		assert_non_null(strstr(aqm_error_message(), *preset));
	assert_int_equal(aqm_model_synth("tiny-llama", AQM_Q4_K, 0, path), AQM_EUSAGE);
	assert_string_equal(aqm_error_message(), "type q4_k cannot be written");
	assert_int_equal(aqm_model_synth("tiny-llama", AQM_F32, 0, "/no/such/folder/x.gguf"), AQM_ERUN);
}

static void test_interrupted(void **state)
{
	char other[96];

	(void)state;
	snprintf(other, sizeof other, "%s/interrupted.gguf", folder);
	aqm_interrupt_raise(true);
	assert_int_equal(aqm_model_synth("tiny-llama", AQM_F32, 0, other), AQM_EINTERRUPTED);
	aqm_interrupt_raise(false);
	assert_false(aqm_path_exists(other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiny_llama), cmocka_unit_test(test_tiny_gpt2),   cmocka_unit_test(test_weights),
		cmocka_unit_test(test_tiny_opt),   cmocka_unit_test(test_tiny_t5),     cmocka_unit_test(test_same_everywhere),
		cmocka_unit_test(test_faults),     cmocka_unit_test(test_interrupted),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
