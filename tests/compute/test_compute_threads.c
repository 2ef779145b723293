/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One, two and three threads give the same bits, on shapes large enough to be shared out.
 */
#include "helper.h"

enum { ROWS = 3 * 67, COLS = 300, HEADS = 4, HEAD_DIM = COLS / HEADS, MOST = 8 };

/* Inputs are drawn alike for each number of threads; outputs are kept and compared. */
struct outputs {
	struct aqm_mat mats[MOST];
	double numbers[2];
};

static struct aqm_mat drawn(int64_t rows, int64_t cols)
{
	return random_mat(rows, cols, 0, 1);
}

static struct outputs norms(void)
{
	struct aqm_mat x = drawn(ROWS, COLS), residual = drawn(ROWS, COLS), weight = drawn(1, COLS), bias = drawn(1, COLS);
	struct outputs o = {
		.mats = {drawn(ROWS, COLS), drawn(1, ROWS), drawn(1, ROWS), drawn(ROWS, COLS), drawn(1, COLS), drawn(1, COLS)}};

	ops->layernorm_forward(device, x, residual, weight, bias, 1e-5f, o.mats[0], o.mats[1], o.mats[2]);
	ops->layernorm_backward(device, residual, x, weight, o.mats[1], o.mats[2], o.mats[3], o.mats[4], o.mats[5]);
	ops->rmsnorm_forward(device, x, residual, weight, 1e-5f, o.mats[0], o.mats[2]);
	ops->rmsnorm_backward(device, residual, x, weight, o.mats[2], o.mats[3], o.mats[4]);
	ops->bias_backward(device, x, o.mats[5]);
	free_mat(x);
	free_mat(residual);
	free_mat(weight);
	free_mat(bias);
	return o;
}

static struct outputs attention(void)
{
	const struct aqm_attention s = {.windows = 3,
	                                .tokens = ROWS / 3,
	                                .heads = HEADS,
	                                .kv_heads = 2,
	                                .head_dim = HEAD_DIM,
	                                .scale = 0.1f,
	                                .causal = true,
	                                .bias = drawn(HEADS, 31)};
	struct aqm_mat q = drawn(ROWS, COLS), k = drawn(ROWS, COLS / 2), v = drawn(ROWS, COLS / 2),
				   dout = drawn(ROWS, COLS);
	float frequencies[HEAD_DIM / 2];
	struct outputs o = {.mats = {drawn(ROWS, COLS), drawn(HEADS, ROWS), drawn(ROWS, COLS), drawn(ROWS, COLS / 2),
	                             drawn(ROWS, COLS / 2), drawn(20, COLS), drawn(HEADS, 31), drawn(10, COLS)}};

	for (int i = 0; i < HEAD_DIM / 2; i++)
		frequencies[i] = powf(0.7f, (float)i);
	ops->rope(device, q, s.tokens, HEAD_DIM, NULL, aqm_mat_f32(frequencies, 1, HEAD_DIM / 2), AQM_ROPE_ADJACENT, false);
	ops->attention_forward(device, s, q, k, v, o.mats[0], o.mats[1]);
	ops->attention_backward(device, s, q, k, v, o.mats[0], o.mats[1], dout, o.mats[2], o.mats[3], o.mats[4], o.mats[6]);

	struct aqm_attention last = s;

	last.windows = 1;
	last.tokens = 20;
	ops->attention_cached(device, last, &(struct aqm_place){.past = ROWS - 20}, aqm_mat_rows(q, 0, 20), k, v, o.mats[5]);
	last.tokens = 10; /* few, which go another way */
	last.bias = aqm_mat_absent();
	ops->attention_cached(device, last, &(struct aqm_place){.past = ROWS - 10}, aqm_mat_rows(q, 0, 10), k, v, o.mats[7]);
	free_mat(q);
	free_mat(k);
	free_mat(v);
	free_mat(dout);
	free_mat(s.bias);
	return o;
}

static struct outputs pointwise(void)
{
	struct aqm_mat x = drawn(ROWS, COLS), up = drawn(ROWS, COLS);
	struct outputs o = {
		.mats = {drawn(ROWS, COLS), drawn(ROWS, COLS), drawn(ROWS, COLS), drawn(10, COLS), drawn(10, ROWS)}};
	enum { BLOCKS = COLS / 32 };
	static uint8_t blocks[ROWS * BLOCKS * 34];
	struct aqm_mat quantised = {
		.data = blocks, .dtype = AQM_Q8_0, .rows = ROWS, .cols = 32 * BLOCKS, .ld = 32 * BLOCKS};
	int32_t index[ROWS];

	for (int i = 0; i < ROWS; i++)
		index[i] = i % 10;
	memset(blocks, 0x2c, sizeof blocks);
	ops->glu_forward(device, AQM_GEGLU, x, up, o.mats[0]);
	ops->glu_backward(device, AQM_SWIGLU, o.mats[0], x, up, o.mats[1], o.mats[2]);
	ops->activation_forward(device, AQM_GELU_TANH, 0, o.mats[0], o.mats[0]);
	ops->dropout(device, 0.1f, 9, 1, 2, 0, o.mats[0], o.mats[0]);
	ops->axpy(device, 0.3f, up, o.mats[0]);
	ops->scatter_add(device, x, index, o.mats[3]);
	ops->linear_few(device, aqm_mat_rows(up, 0, 10), x, 0.0f, o.mats[4]);
	ops->linear_few_int8(device, aqm_mat_cols(aqm_mat_rows(up, 0, 10), 0, 32 * BLOCKS), quantised, 1.0f, o.mats[4]);
	ops->adamw(device, ROWS * COLS, o.mats[0].data, x.data, o.mats[1].data, up.data, 0.5f, 1e-3f, 0.9f, 0.999f, 1e-8f,
	           0.01f, 0.1f, 0.001f);
	o.numbers[0] = ops->sum_squares(device, x.data, ROWS * COLS);
	free_mat(x);
	free_mat(up);
	return o;
}

static void check_alike(struct outputs (*run)(void))
{
	struct outputs first = {0};

	for (int threads = 1; threads <= 3; threads++) {
		aqm_threads_set(threads);
		aqm_rng_init(&rng, 5, AQM_STREAM_TEST, 0);
		struct outputs o = run();

		for (int i = 0; i < MOST && o.mats[i].data; i++) {
			if (threads == 1) {
				first.mats[i] = o.mats[i];
				continue;
			}
			check_same_bits(o.mats[i], first.mats[i]);
			free_mat(o.mats[i]);
		}
		if (threads == 1)
			first.numbers[0] = o.numbers[0];
		assert_true(o.numbers[0] == first.numbers[0]);
	}
	for (int i = 0; i < MOST && first.mats[i].data; i++)
		free_mat(first.mats[i]);
	aqm_threads_set(2);
}

static void test_norms(void **state)
{
	(void)state;
	check_alike(norms);
}

static void test_attention(void **state)
{
	(void)state;
	check_alike(attention);
}

static void test_pointwise(void **state)
{
	(void)state;
	check_alike(pointwise);
}

/* A product twice with the same number of threads. */
static void test_gemm_repeats(void **state)
{
	struct aqm_mat a = drawn(ROWS, COLS), b = drawn(COLS, COLS), c[] = {drawn(ROWS, COLS), drawn(ROWS, COLS)};

	(void)state;
	for (int i = 0; i < 20; i++) {
		ops->gemm(device, 1.0f, a, false, b, true, 0.0f, c[i % 2]);
		if (i > 0)
			check_same_bits(c[0], c[1]);
	}
	free_mat(a);
	free_mat(b);
	free_mat(c[0]);
	free_mat(c[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_norms),
		cmocka_unit_test(test_attention),
		cmocka_unit_test(test_pointwise),
		cmocka_unit_test(test_gemm_repeats),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
