/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench gemm, and the limits that the other benches are held against.
 */
#include <omp.h>
#include <stdlib.h>

#include "base/progress.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"
#include "cli/bench.h"
#include "compute/device.h"

double aqm_bench_shortest(const struct aqm_bench *bench, int runs, void (*work)(void *context), void *context)
{
	double shortest = 1e30, begin = aqm_clock_seconds(), most = bench->quick ? 0.02 : 0.3;

	work(context); /* pages touched, threads awake */
	for (int i = 0; !aqm_interrupted() && (i < runs || aqm_clock_seconds() - begin < most); i++) {
		double start = aqm_clock_seconds();

		work(context);
		double taken = aqm_clock_seconds() - start;

		if (taken < shortest)
			shortest = taken;
		if (bench->quick && i > 0)
			break;
	}
	return shortest;
}

/* ---- products ---- */

struct product {
	aqm_device *device;
	struct aqm_mat a, b, c;
	bool transpose_a, transpose_b;
};

static void multiply(void *context)
{
	struct product *p = context;

	p->device->ops->gemm(p->device, 1.0f, p->a, p->transpose_a, p->b, p->transpose_b, 0.0f, p->c);
	if (p->device->own_memory)
		(void)aqm_device_check(p->device); /* waits */
}

static int new_matrix(aqm_device *device, int64_t rows, int64_t cols, struct aqm_mat *m)
{
	size_t bytes = (size_t)(rows * cols) * sizeof(float);
	float *host = aqm_malloc_array((size_t)(rows * cols), sizeof *host);
	void *memory = NULL, *activations = NULL;
	int code = host ? device->ops->allocate(device, bytes, &memory) : AQM_ERUN;

	for (int64_t i = 0; code == AQM_OK && i < rows * cols; i++)
		host[i] = (float)(i * 2654435761 % 1024) / 1024.0f - 0.5f;
	if (code == AQM_OK)
		device->ops->upload(device, memory, host, bytes);
	free(host);
	*m = aqm_mat_f32(memory, rows, cols);
	if (code != AQM_OK || device->dtype == AQM_F32)
		return code;
	code = device->ops->allocate(device, bytes / 2, &activations);
	struct aqm_mat converted = aqm_mat_of(device->dtype, activations, rows, cols);
	if (code == AQM_OK)
		device->ops->copy(device, *m, converted);
	device->ops->release(device, memory);
	*m = converted;
	return code;
}

/* Until the device has done what it was asked for. */
static void wait_for(const struct product *p)
{
	float first;

	p->device->ops->download(p->device, &first, p->c.data, sizeof first / 2);
}

static int new_product(struct product *p, aqm_device *device, int64_t m, int64_t n, int64_t k, bool ta, bool tb)
{
	*p = (struct product){.device = device, .transpose_a = ta, .transpose_b = tb};
	int code = new_matrix(device, ta ? k : m, ta ? m : k, &p->a);

	if (code == AQM_OK)
		code = new_matrix(device, tb ? n : k, tb ? k : n, &p->b);
	return code == AQM_OK ? new_matrix(device, m, n, &p->c) : code;
}

static void release_product(struct product *p)
{
	p->device->ops->release(p->device, p->a.data);
	p->device->ops->release(p->device, p->b.data);
	p->device->ops->release(p->device, p->c.data);
}

/* Flops a second of C (m, n) = op(A) op(B), inner length k. */
static int product_rate(const struct aqm_bench *bench, aqm_device *device, int64_t m, int64_t n, int64_t k, bool ta,
                        bool tb, double *rate)
{
	struct product p;
	int code = new_product(&p, device, m, n, k, ta, tb);

	if (code == AQM_OK)
		*rate = 2.0 * (double)m * (double)n * (double)k / aqm_bench_shortest(bench, 5, multiply, &p);
	release_product(&p);
	return code;
}

enum { PEAK_SIZE = 2048, GPU_SIZE = 8192, QUICK_SIZE = 256 };

int aqm_bench_sustained_gemm(struct aqm_bench *bench, aqm_device *device, double *flops)
{
	int64_t size = bench->quick ? QUICK_SIZE : device->own_memory ? GPU_SIZE : PEAK_SIZE;
	struct product p;
	int code = new_product(&p, device, size, size, size, false, true);

	*flops = 0.0;
	if (code == AQM_OK) { /* plans, clocks */
		multiply(&p);
		wait_for(&p);
	}
	for (int window = 0; code == AQM_OK && window < 3; window++) {
		double start = aqm_clock_seconds(), seconds = 0, done = 0;

		while (seconds < (bench->quick ? 0.01 : 1.0)) {
			multiply(&p);
			wait_for(&p);
			done += 2.0 * (double)size * (double)size * (double)size;
			seconds = aqm_clock_seconds() - start;
		}
		if (done / seconds > *flops)
			*flops = done / seconds;
	}
	release_product(&p);
	return code;
}

int aqm_bench_peak_gemm(struct aqm_bench *bench, aqm_device *device, double *flops)
{
	static double peak;
	int64_t size = bench->quick ? QUICK_SIZE : PEAK_SIZE;
	int code = AQM_OK;

	if (peak == 0.0)
		code = product_rate(bench, device, size, size, size, false, true, &peak);
	*flops = peak;
	return code;
}

/* ---- reading memory ---- */

struct region {
	const float *data;
	int64_t count;
	double sink;
};

static void read_all(void *context)
{
	typedef uint64_t words __attribute__((vector_size(64)));
	struct region *region = context;
	uint64_t sum = 0;

#pragma omp parallel for schedule(static) reduction(+ : sum)
	for (int64_t i = 0; i < region->count / 1024; i++) {
		const words *block = (const void *)(region->data + i * 1024);
		words a = {0}, b = {0}, c = {0}, d = {0};

		for (int j = 0; j < 64; j += 4) {
			a ^= block[j];
			b ^= block[j + 1];
			c ^= block[j + 2];
			d ^= block[j + 3];
		}
		a ^= b ^ c ^ d;
		sum += a[0] ^ a[7];
	}
	region->sink += (double)sum;
}

int aqm_bench_peak_read(struct aqm_bench *bench, double *bytes)
{
	aqm_device *device;
	struct region region = {.count = (bench->quick ? 1 : 64) << 20};
	void *memory = NULL;
	int code = aqm_device_open(&device, AQM_DEVICE_CPU);

	if (code != AQM_OK)
		return code;
	code = device->ops->allocate(device, (size_t)region.count * sizeof(float), &memory);
	region.data = memory;
	if (code == AQM_OK)
		*bytes = (double)region.count * sizeof(float) / aqm_bench_shortest(bench, 8, read_all, &region);
	device->ops->release(device, memory);
	aqm_device_close(device);
	return code;
}

struct copying {
	aqm_device *device;
	struct aqm_mat from, to;
	int code;
};

static void copy_all(void *context)
{
	struct copying *c = context;

	c->device->ops->copy(c->device, c->from, c->to);
	if (c->code == AQM_OK)
		c->code = aqm_device_check(c->device); /* waits */
}

int aqm_bench_bandwidth(struct aqm_bench *bench, aqm_device *device, double *bytes, const char **what)
{
	static double peak;
	const size_t size = (size_t)(bench->quick ? 1 : 1024) << 20;
	struct copying c = {.device = device};
	void *memory = NULL;

	*what = "reading the weights once";
	if (!device->own_memory)
		return aqm_bench_peak_read(bench, bytes);
	*what = "weights at the rate of copying";
	*bytes = peak;
	if (peak > 0.0)
		return AQM_OK;
	int code = device->ops->allocate(device, 2 * size, &memory);

	c.from = aqm_mat_f32(memory, 1024, (int64_t)(size / 4096));
	c.to = aqm_mat_f32((float *)memory + size / 4, 1024, (int64_t)(size / 4096));
	if (code == AQM_OK)
		*bytes = peak = 2.0 * (double)size / aqm_bench_shortest(bench, 8, copy_all, &c);
	if (memory)
		device->ops->release(device, memory);
	return code == AQM_OK ? c.code : code;
}

/* ---- few rows ---- */

struct few {
	aqm_device *device;
	struct aqm_mat x, w, y;
};

static void multiply_few(void *context)
{
	struct few *f = context;

	f->device->ops->linear_few(f->device, f->x, f->w, 0.0f, f->y);
}

/* One weight type: many times the caches in weights, ten rows, which is a decision on eight features. */
static int measure_few(struct aqm_bench *bench, aqm_device *device, enum aqm_dtype dtype, int64_t in)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(dtype);
	const struct aqm_ops *ops = device->ops;
	int64_t out = ((bench->quick ? 1 : 40) << 20) / in, rows = 10;
	size_t row_bytes = (size_t)in / traits->block * traits->block_bytes;
	struct few f = {.device = device, .w = {.dtype = dtype, .rows = out, .cols = in, .ld = in}};
	struct aqm_mat one = {0};
	double read = 0;
	char name[64];
	int code = aqm_bench_peak_read(bench, &read);

	if (code == AQM_OK)
		code = new_matrix(device, rows, in, &f.x);
	if (code == AQM_OK)
		code = new_matrix(device, rows, out, &f.y);
	if (code == AQM_OK)
		code = new_matrix(device, 1, in, &one);
	if (code == AQM_OK)
		code = ops->allocate(device, (size_t)out * row_bytes, &f.w.data);
	if (code == AQM_OK) {
		for (int64_t r = 0; r < out; r++)
			traits->quantise(one.data, (uint8_t *)f.w.data + (size_t)r * row_bytes, (size_t)in);
		double taken = aqm_bench_shortest(bench, 8, multiply_few, &f), bytes = (double)out * (double)row_bytes;

		snprintf(name, sizeof name, "few/%s/%lldx10", traits->name, (long long)in);
		code = aqm_bench_add(bench, name, taken * 1e3, "ms", bytes / read * 1e3, "reading the weights");
	}
	ops->release(device, one.data);
	ops->release(device, f.x.data);
	ops->release(device, f.y.data);
	ops->release(device, f.w.data);
	return code;
}

/* Linear layers of the two shapes of the speed target: 16 windows of 200 tokens. y = x W^T forward, dx = dy W backward,
 * dA = dz^T x of LoRA. */
static const struct {
	const char *name;
	int64_t out, in;
} layers[] = {
	{"gpt2/qkv", 2304, 768},     {"gpt2/o", 768, 768},       {"gpt2/up", 3072, 768},  {"gpt2/down", 768, 3072},
	{"gpt2/lora", 128, 768},     {"smollm2/q", 576, 576},    {"smollm2/k", 192, 576}, {"smollm2/gate", 1536, 576},
	{"smollm2/down", 576, 1536}, {"smollm2/lora", 128, 576},
};

static int measure_layer(struct aqm_bench *bench, aqm_device *device, const char *layer, int64_t out, int64_t in,
                         double peak)
{
	static const char *const passes[] = {"forward", "backward", "weight"};
	int64_t tokens = bench->quick ? 64 : 3200;
	int code = AQM_OK;

	for (int pass = 0; pass < 3 && code == AQM_OK; pass++) {
		double rate = 0;
		char name[64];

		switch (pass) {
		case 0:
			code = product_rate(bench, device, tokens, out, in, false, true, &rate);
			break;
		case 1:
			code = product_rate(bench, device, tokens, in, out, false, false, &rate);
			break;
		default:
			code = product_rate(bench, device, out, in, tokens, true, false, &rate);
			break;
		}
		snprintf(name, sizeof name, "gemm/%s/%s", layer, passes[pass]);
		if (code == AQM_OK)
			code = aqm_bench_add(bench, name, rate / 1e9, "GFLOP/s", peak / 1e9, "sgemm 2048^3 in this process");
	}
	return code;
}

int aqm_bench_gemm(struct aqm_bench *bench)
{
	static const enum aqm_dtype types[] = {AQM_F32, AQM_F16, AQM_BF16, AQM_Q8_0, AQM_Q4_0, AQM_Q4_1};
	aqm_device *device;
	double peak, read;
	int code = aqm_device_open(&device, AQM_DEVICE_CPU);

	if (code != AQM_OK)
		return code;
	code = aqm_bench_peak_gemm(bench, device, &peak);
	if (code == AQM_OK)
		code = aqm_bench_peak_read(bench, &read);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "gemm/best", peak / 1e9, "GFLOP/s", 0, NULL);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "memory/read", read / 1e9, "GB/s", 0, NULL);
	for (size_t i = 0; i < sizeof layers / sizeof *layers && code == AQM_OK; i++)
		code = measure_layer(bench, device, layers[i].name, layers[i].out, layers[i].in, peak);
	for (size_t i = 0; i < sizeof types / sizeof *types && code == AQM_OK; i++) {
		code = measure_few(bench, device, types[i], 768);
		if (code == AQM_OK)
			code = measure_few(bench, device, types[i], 1536);
	}
	aqm_device_close(device);
	return code;
}
