/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How long each op of the CUDA column takes at the sizes of Llama-2-7B (32 windows of 200 tokens in training, 10 new
 * tokens in a decision), beside the least that its bytes or its operations take at this GPU's own rates, measured
 * first. No test: `bench_cuda_ops [PART OF A NAME]`. Exit status 77 without a GPU.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/random.h"
#include "compute/device.h"

enum {
	WINDOWS = 32,
	TOKENS = 200,
	ROWS = WINDOWS * TOKENS,
	WIDTH = 4096,
	HEADS = 32,
	HEAD = 128,
	FFN = 11008,
	RANK = 128
};
enum { NEW = 10, SAMPLES = 1 << 20, COPIES = 8 };

static aqm_device *device;
static const struct aqm_ops *ops;
static const char *wanted;
static double copy_rate, gemm_rate; /* bytes, operations a second */

static void fail(const char *what)
{
	fprintf(stderr, "bench_cuda_ops: %s: %s\n", what, aqm_error_message());
	exit(1);
}

static size_t row_bytes(enum aqm_dtype dtype, int64_t cols)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtype);

	return (size_t)cols / traits->block * traits->block_bytes;
}

/* A matrix of standard normal numbers, or of the quantised blocks of such. */
static struct aqm_mat matrix(enum aqm_dtype dtype, int64_t rows, int64_t cols)
{
	static float *samples;
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtype);
	size_t part = row_bytes(dtype, SAMPLES), bytes = row_bytes(dtype, cols) * (size_t)rows;
	struct aqm_mat m = {.dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
	char *blocks = malloc(part);
	struct aqm_rng rng;

	if (!samples) {
		samples = malloc(SAMPLES * sizeof *samples);
		aqm_rng_init(&rng, 1, AQM_STREAM_TEST, 0);
		for (int i = 0; samples && i < SAMPLES; i++)
			samples[i] = aqm_rng_normal(&rng);
	}
	if (!samples || !blocks || ops->allocate(device, bytes, &m.data) != AQM_OK)
		fail("memory");
	if (traits->quantise)
		traits->quantise(samples, blocks, SAMPLES);
	else
		memset(blocks, 0x31, part); /* some small numbers */
	for (size_t i = 0; i < bytes; i += part)
		ops->upload(device, (char *)m.data + i, blocks, bytes - i < part ? bytes - i : part);
	free(blocks);
	return m;
}

static void release(struct aqm_mat m)
{
	ops->release(device, m.data);
}

static double now(void)
{
	if (aqm_device_check(device) != AQM_OK) /* waits */
		fail("op");
	return aqm_clock_seconds();
}

/* Seconds of one `call`: median of five times as many as take 20 ms. In i: which call it is. */
#define TIME(seconds, call)                                     \
	do {                                                        \
		double times_[5];                                       \
		int i = 0, count_ = 1;                                  \
		for (double taken_ = 0.0; taken_ < 0.02; count_ *= 2) { \
			double start_ = now();                              \
			for (int end_ = i + count_; i < end_; i++)          \
				call;                                           \
			taken_ = now() - start_;                            \
		}                                                       \
		for (int run_ = 0; run_ < 5; run_++) {                  \
			double start_ = now();                              \
			for (int end_ = i + count_; i < end_; i++)          \
				call;                                           \
			times_[run_] = (now() - start_) / count_;           \
		}                                                       \
		qsort(times_, 5, sizeof *times_, by_size);              \
		(seconds) = times_[2];                                  \
	} while (0)

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static bool skips(const char *name)
{
	return wanted && !strstr(name, wanted);
}

static void show(const char *name, double seconds, double bytes, double flops)
{
	double by_bytes = copy_rate > 0 ? bytes / copy_rate : 0, by_flops = gemm_rate > 0 ? flops / gemm_rate : 0;
	double least = by_bytes > by_flops ? by_bytes : by_flops;

	printf("%-34s %10.1f us %8.1f GB/s %8.1f TFLOP/s %6.2f x %s\n", name, seconds * 1e6, bytes / seconds / 1e9,
	       flops / seconds / 1e12, least > 0 ? seconds / least : 0.0, by_bytes > by_flops ? "bytes" : "operations");
	fflush(stdout);
}

#define BENCH(name, bytes, flops, call)     \
	do {                                    \
		double seconds_;                    \
		if (skips(name))                    \
			break;                          \
		TIME(seconds_, call);               \
		show(name, seconds_, bytes, flops); \
	} while (0)

static double bytes_of(struct aqm_mat m)
{
	return (double)row_bytes(m.dtype, m.cols) * (double)m.rows;
}

static void bench_limits(void)
{
	struct aqm_mat x = matrix(AQM_BF16, 1 << 16, 1 << 14), y = matrix(AQM_BF16, 1 << 16, 1 << 14);
	double seconds;

	TIME(seconds, ops->copy(device, x, y));
	show("copy of 2 GiB", seconds, 2 * bytes_of(x), 0);
	copy_rate = 2 * bytes_of(x) / seconds;
	release(x);
	release(y);
	struct aqm_mat a = matrix(AQM_BF16, 8192, 8192), b = matrix(AQM_BF16, 8192, 8192), c = matrix(AQM_BF16, 8192, 8192);

	TIME(seconds, ops->gemm(device, 1.0f, a, false, b, true, 0.0f, c));
	show("product of 8192 x 8192", seconds, 3 * bytes_of(a), 2.0 * 8192 * 8192 * 8192);
	gemm_rate = 2.0 * 8192 * 8192 * 8192 / seconds;
	release(a);
	release(b);
	release(c);
}

static void bench_gemm(const char *name, enum aqm_dtype in, enum aqm_dtype out, int64_t m, int64_t n, int64_t k,
                       bool ta, bool tb, float beta)
{
	if (skips(name))
		return;
	struct aqm_mat a = ta ? matrix(in, k, m) : matrix(in, m, k), b = tb ? matrix(in, n, k) : matrix(in, k, n);
	struct aqm_mat c = matrix(out, m, n);

	BENCH(name, bytes_of(a) + bytes_of(b) + bytes_of(c) * (beta != 0.0f ? 2 : 1),
	      2.0 * (double)m * (double)n * (double)k, ops->gemm(device, 1.0f, a, ta, b, tb, beta, c));
	release(a);
	release(b);
	release(c);
}

static void bench_gemms(void)
{
	bench_gemm("gemm q: X W'", AQM_BF16, AQM_BF16, ROWS, WIDTH, WIDTH, false, true, 0);
	bench_gemm("gemm q: dY W", AQM_BF16, AQM_BF16, ROWS, WIDTH, WIDTH, false, false, 1);
	bench_gemm("gemm up: X W'", AQM_BF16, AQM_BF16, ROWS, FFN, WIDTH, false, true, 0);
	bench_gemm("gemm down: X W'", AQM_BF16, AQM_BF16, ROWS, WIDTH, FFN, false, true, 0);
	bench_gemm("gemm down: dY W", AQM_BF16, AQM_BF16, ROWS, FFN, WIDTH, false, false, 0);
	bench_gemm("gemm lora: X A'", AQM_BF16, AQM_BF16, ROWS, RANK, WIDTH, false, true, 0);
	bench_gemm("gemm lora: Y += U B'", AQM_BF16, AQM_BF16, ROWS, WIDTH, RANK, false, true, 1);
	bench_gemm("gemm lora: dA += T' X", AQM_BF16, AQM_F32, RANK, WIDTH, ROWS, true, false, 1);
	bench_gemm("gemm lora: dB += dY' U", AQM_BF16, AQM_F32, WIDTH, RANK, ROWS, true, false, 1);
	bench_gemm("gemm f32: X W'", AQM_F32, AQM_F32, ROWS, WIDTH, WIDTH, false, true, 0);
}

static void bench_expand(void)
{
	static const enum aqm_dtype types[] = {AQM_F16,  AQM_Q8_0, AQM_Q4_0, AQM_Q4_1, AQM_Q5_0,
	                                       AQM_Q5_1, AQM_Q4_K, AQM_Q5_K, AQM_Q6_K};
	struct aqm_mat y = matrix(AQM_BF16, FFN, WIDTH);

	for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
		struct aqm_mat w = matrix(types[t], FFN, WIDTH);
		char name[64];

		snprintf(name, sizeof name, "expand %s", aqm_dtype_name(types[t]));
		BENCH(name, bytes_of(w) + bytes_of(y), 0, ops->expand(device, w, y));
		release(w);
	}
	release(y);
}

static void bench_rows(void)
{
	struct aqm_mat x = matrix(AQM_BF16, ROWS, WIDTH), y = matrix(AQM_BF16, ROWS, WIDTH),
				   dy = matrix(AQM_BF16, ROWS, WIDTH);
	struct aqm_mat r = matrix(AQM_BF16, ROWS, WIDTH), weight = matrix(AQM_F32, 1, WIDTH),
				   rstd = matrix(AQM_F32, 1, ROWS);
	struct aqm_mat gate = matrix(AQM_BF16, ROWS, FFN), up = matrix(AQM_BF16, ROWS, FFN),
				   act = matrix(AQM_BF16, ROWS, FFN);
	struct aqm_mat frequency = matrix(AQM_F32, 1, HEAD / 2), mean = matrix(AQM_F32, 1, ROWS);
	double n = bytes_of(x), wide = bytes_of(gate);

	BENCH("rmsnorm_forward + residual", 4 * n, 0, ops->rmsnorm_forward(device, x, r, weight, 1e-5f, y, rstd));
	BENCH("rmsnorm_backward", 4 * n, 0, ops->rmsnorm_backward(device, dy, x, weight, rstd, y, aqm_mat_absent()));
	BENCH("rmsnorm_backward + dweight", 6 * n, 0, ops->rmsnorm_backward(device, dy, x, weight, rstd, y, weight));
	BENCH("layernorm_forward", 2 * n, 0,
	      ops->layernorm_forward(device, x, aqm_mat_absent(), weight, weight, 1e-5f, y, mean, rstd));
	BENCH("bias_forward", 2 * n, 0, ops->bias_forward(device, weight, y));
	BENCH("bias_backward", n, 0, ops->bias_backward(device, y, weight));
	BENCH("rope", 2 * n, 0, ops->rope(device, y, TOKENS, HEAD, NULL, frequency, AQM_ROPE_ADJACENT, false));
	BENCH("axpy", 3 * n, 0, ops->axpy(device, 0.5f, x, y));
	BENCH("dropout", 2 * n, 0, ops->dropout(device, 0.05f, 1, 2, 3, 0, x, y));
	BENCH("glu_forward", 3 * wide, 0, ops->glu_forward(device, AQM_SWIGLU, gate, up, act));
	BENCH("glu_backward", 5 * wide, 0, ops->glu_backward(device, AQM_SWIGLU, act, gate, up, gate, up));
	BENCH("gelu forward", 2 * wide, 0, ops->activation_forward(device, AQM_GELU_TANH, 0, up, act));
	struct aqm_mat all[] = {x, y, dy, r, weight, rstd, gate, up, act, frequency, mean};

	for (size_t j = 0; j < sizeof all / sizeof *all; j++)
		release(all[j]);
}

static void bench_attention(const char *name, int64_t windows, int64_t tokens)
{
	int64_t rows = windows * tokens;
	struct aqm_attention s = {.windows = windows,
	                          .tokens = tokens,
	                          .heads = HEADS,
	                          .kv_heads = HEADS,
	                          .head_dim = HEAD,
	                          .scale = 0.0883883f,
	                          .causal = true};
	struct aqm_mat qkv = matrix(AQM_BF16, rows, 3 * WIDTH), dqkv = matrix(AQM_BF16, rows, 3 * WIDTH);
	struct aqm_mat o = matrix(AQM_BF16, rows, WIDTH), dout = matrix(AQM_BF16, rows, WIDTH),
				   lse = matrix(AQM_F32, HEADS, rows);
	double flops = 2.0 * (double)(windows * HEADS * HEAD) * (double)(tokens * (tokens + 1)), n = bytes_of(o);
	char full[64];

#define PART(m, i) aqm_mat_cols(m, (i)*WIDTH, WIDTH)
	snprintf(full, sizeof full, "attention_forward %s", name);
	BENCH(full, 4 * n, flops, ops->attention_forward(device, s, PART(qkv, 0), PART(qkv, 1), PART(qkv, 2), o, lse));
	snprintf(full, sizeof full, "attention_backward %s", name);
	BENCH(full, 8 * n, 2.5 * flops,
	      ops->attention_backward(device, s, PART(qkv, 0), PART(qkv, 1), PART(qkv, 2), o, lse, dout, PART(dqkv, 0),
	                              PART(dqkv, 1), PART(dqkv, 2), aqm_mat_absent()));
#undef PART
	struct aqm_mat all[] = {qkv, dqkv, o, dout, lse};

	for (size_t j = 0; j < sizeof all / sizeof *all; j++)
		release(all[j]);
}

/* Weights of several layers in turn, so that none is found in the caches. */
static void bench_few(enum aqm_dtype type, int64_t out, int64_t in)
{
	struct aqm_mat w[COPIES], x = matrix(AQM_BF16, NEW, in), y = matrix(AQM_BF16, NEW, out);
	char name[64];

	snprintf(name, sizeof name, "linear_few %s (%d, %d)", aqm_dtype_name(type), (int)out, (int)in);
	if (!skips(name)) {
		for (int j = 0; j < COPIES; j++)
			w[j] = matrix(type, out, in);
		BENCH(name, bytes_of(w[0]), 2.0 * NEW * (double)out * (double)in,
		      ops->linear_few(device, x, w[i % COPIES], 0.0f, y));
		for (int j = 0; j < COPIES; j++)
			release(w[j]);
	}
	release(x);
	release(y);
}

static void bench_decision(void)
{
	static const enum aqm_dtype types[] = {AQM_BF16, AQM_Q8_0, AQM_Q4_0, AQM_Q4_K, AQM_Q6_K};
	struct aqm_attention s = {.windows = 1,
	                          .tokens = NEW,
	                          .heads = HEADS,
	                          .kv_heads = HEADS,
	                          .head_dim = HEAD,
	                          .scale = 0.0883883f,
	                          .causal = true};
	struct aqm_mat q = matrix(AQM_BF16, NEW, WIDTH), k = matrix(AQM_BF16, TOKENS, WIDTH),
				   v = matrix(AQM_BF16, TOKENS, WIDTH);
	struct aqm_mat o = matrix(AQM_BF16, NEW, WIDTH), weight = matrix(AQM_F32, 1, WIDTH), rstd = matrix(AQM_F32, 1, NEW);

	for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
		bench_few(types[t], WIDTH, WIDTH);
		bench_few(types[t], FFN, WIDTH);
		bench_few(types[t], WIDTH, FFN - FFN % 256);
	}
	const struct aqm_place where = {.past = TOKENS - NEW};
	void *place;

	if (ops->allocate(device, sizeof where, &place) != AQM_OK)
		fail("memory");
	ops->upload(device, place, &where, sizeof where);
	BENCH("attention_cached", 2 * bytes_of(k) + 2 * bytes_of(q), 0,
	      ops->attention_cached(device, s, place, q, k, v, o));
	ops->release(device, place);
	BENCH("rmsnorm_forward of few rows", 4 * bytes_of(q), 0,
	      ops->rmsnorm_forward(device, q, o, weight, 1e-5f, o, rstd));
	struct aqm_mat all[] = {q, k, v, o, weight, rstd};

	for (size_t j = 0; j < sizeof all / sizeof *all; j++)
		release(all[j]);
}

static void bench_optimizer(void)
{
	int64_t n = 67 << 20;
	struct aqm_mat x = matrix(AQM_F32, 1, n), g = matrix(AQM_F32, 1, n), m = matrix(AQM_F32, 1, n),
				   v = matrix(AQM_F32, 1, n);
	struct aqm_mat half = matrix(AQM_BF16, 1, n);

	ops->zero(device, v);
	BENCH("adamw of 67 Mi", 7 * bytes_of(x), 0,
	      ops->adamw(device, (size_t)n, x.data, g.data, m.data, v.data, 1.0f, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.5f,
	                 0.5f));
	BENCH("sum_squares of 67 Mi", bytes_of(g), 0, ops->sum_squares(device, g.data, (size_t)n));
	BENCH("copy to bfloat16 of 67 Mi", 1.5 * bytes_of(x), 0, ops->copy(device, x, half));
	BENCH("zero of 67 Mi", bytes_of(x), 0, ops->zero(device, g));
	struct aqm_mat all[] = {x, g, m, v, half};

	for (size_t j = 0; j < sizeof all / sizeof *all; j++)
		release(all[j]);
}

int main(int argc, char **argv)
{
	wanted = argc > 1 ? argv[1] : NULL;
	if (aqm_device_open(&device, AQM_DEVICE_CUDA) != AQM_OK) {
		printf("skipped: %s\n", aqm_error_message());
		return 77;
	}
	ops = device->ops;
	bench_limits();
	bench_gemms();
	bench_expand();
	bench_rows();
	bench_attention("32 x 200", WINDOWS, TOKENS);
	bench_attention("8 x 600", 8, 600);
	bench_attention("8 x 1024", 8, 1024);
	bench_decision();
	bench_optimizer();
	aqm_device_close(device);
	return 0;
}
