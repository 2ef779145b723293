/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every op of the CUDA column against the CPU's, on random shapes with odd sizes, in float32 and bfloat16, with
 * poisoned outputs. Without a GPU: one line, exit status 77. Built a second time with the kernels as plain C++
 * (emulated/), which needs none.
 */
#include "helper.h"

enum { ROUNDS = 3 };

static void test_memory(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * ROUNDS; i++) {
		struct layout layout = layout_of(i), other = layout_of(i / LAYOUTS + 2 * (i % 2));
		int64_t rows = size_up_to(40), cols = size_up_to(70);
		struct twin x = random_twin(rows, cols, layout, 1), y = poisoned_twin(rows, cols, other);

		BOTH(copy, OF(x), OF(y));
		check_twin("copy", y, 0);
		BOTH(axpy, -0.75f, OF(x), OF(y));
		check_twin("axpy", y, 0); /* a quarter of x: exact in both types */
		BOTH(scale, 0.3f, OF(y));
		check_twin("scale", y, tolerance_of(y.gpu.dtype, rounded_once));
		free_twin(y);
		y = poisoned_twin(rows, cols, layout);
		BOTH(zero, OF(y));
		check_twin("zero", y, 0);
		free_twin(x);
		free_twin(y);
	}
}

static void test_upload_download(void **state)
{
	const size_t sizes[] = {1, 7, 16 << 10, (16 << 10) + 4, 300 << 10, 1 << 20};
	unsigned char *from = malloc(1 << 20), *to = malloc(1 << 20);
	void *memory;

	(void)state;
	for (size_t i = 0; i < 1 << 20; i++)
		from[i] = (unsigned char)(i * 2654435761u >> 13);
	for (int round = 0; round < 40; round++) {
		size_t bytes = sizes[(size_t)round % (sizeof sizes / sizeof *sizes)];

		CHECK_OK(gpu->ops->allocate(gpu, bytes, &memory));
		memset(to, 1, bytes);
		gpu->ops->download(gpu, to, memory, bytes);
		for (size_t i = 0; i < bytes; i++)
			assert_int_equal(to[i], 0);
		gpu->ops->upload(gpu, memory, from, bytes);
		memset(from, from[0] + 1, bytes / 2); /* an upload has taken its copy */
		gpu->ops->download(gpu, to, memory, bytes);
		assert_int_equal(to[0], (unsigned char)(from[0] - (bytes > 1)));
		memcpy(from, to, bytes);
		gpu->ops->release(gpu, memory);
	}
	CHECK_OK(aqm_device_check(gpu));
	free(from);
	free(to);
}

static void test_gather_and_scatter(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * ROUNDS; i++) {
		struct layout layout = layout_of(i);
		int64_t rows = size_up_to(50), cols = size_up_to(40), places = size_up_to(9);
		struct twin table = random_twin(places, cols, layout_of(i / 4), 1), y = poisoned_twin(rows, cols, layout);
		int32_t index[50];

		for (int64_t r = 0; r < rows; r++)
			index[r] = (int32_t)size_up_to(places) - 1;
		struct shared where = shared_of(index, sizeof index);

		BOTH(gather, OF(table), OF(where), false, OF(y));
		check_twin("gather", y, 0);
		BOTH(gather, OF(table), OF(where), true, OF(y));
		check_twin("gather, adding", y, 0);
		struct twin dtable = random_f32(places, cols, 1);

		BOTH(scatter_add, OF(y), OF(where), OF(dtable));
		check_twin("scatter_add", dtable, exact);
		free_shared(where);
		free_twin(table);
		free_twin(dtable);
		free_twin(y);
	}
}

static void test_expand(void **state)
{
	static const enum aqm_dtype types[] = {AQM_F32,  AQM_F16,  AQM_BF16, AQM_Q8_0, AQM_Q4_0, AQM_Q4_1,
	                                       AQM_Q5_0, AQM_Q5_1, AQM_Q4_K, AQM_Q5_K, AQM_Q6_K};

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		const struct aqm_dtype_traits *traits = aqm_dtype_traits(types[i]);
		int64_t rows = size_up_to(5), cols = (int64_t)traits->block * size_up_to(traits->block > 32 ? 3 : 9);
		struct twin w = random_weight(types[i], rows, cols);
		struct twin y = poisoned_twin(rows, cols, layout_of(1)), z = poisoned_twin(rows, cols, layout_of(2));

		BOTH(expand, OF(w), OF(y));
		check_twin("expand", y, 0);
		BOTH(expand, OF(w), OF(z));
		check_twin("expand to bfloat16", z, types[i] == AQM_BF16 ? 0 : rounded_once);
		free_twin(w);
		free_twin(y);
		free_twin(z);
	}
}

static void test_gemm(void **state)
{
	(void)state;
	for (int i = 0; i < 16 * ROUNDS; i++) {
		bool ta = i & 1, tb = i & 2;
		struct layout a_layout = layout_of(i / 4), b_layout = layout_of(i / 4 + (i % 3 == 0)),
					  c_layout = layout_of(i / 8);
		int64_t rows = size_up_to(90), cols = size_up_to(90), inner = i == 5 ? 0 : size_up_to(100);
		struct twin a = ta ? random_twin(inner, rows, a_layout, 1) : random_twin(rows, inner, a_layout, 1);
		struct twin b = tb ? random_twin(cols, inner, b_layout, 1) : random_twin(inner, cols, b_layout, 1);
		struct twin c = poisoned_twin(rows, cols, c_layout);
		double tolerance = tolerance_of(c_layout.dtype, rounded_once);

		BOTH(gemm, 0.5f, OF(a), ta, OF(b), tb, 0.0f, OF(c));
		check_twin("gemm", c, tolerance);
		BOTH(gemm, -1.0f, OF(a), ta, OF(b), tb, 0.5f, OF(c));
		check_twin("gemm, adding", c, 2 * tolerance);
		struct twin bias = random_f32(1, cols, 1);

		BOTH(gemm_bias, 1.0f, OF(a), ta, OF(b), tb, i % 3 ? 0.0f : 1.0f, OF(c), OF(bias));
		check_twin("gemm_bias", c, 3 * tolerance);
		free_twin(bias);
		free_twin(a);
		free_twin(b);
		free_twin(c);
	}
}

/* Sizes of a training step, where cublasLt has its fast kernels. */
static void test_large_gemm(void **state)
{
	static const int64_t shapes[][3] = {{720, 768, 768}, {1000, 2304, 768}, {768, 128, 1003}, {128, 4096, 640}};

	(void)state;
	for (size_t i = 0; takes_large() && i < 4 * sizeof shapes / sizeof *shapes; i++) {
		const int64_t *s = shapes[i / 4];
		struct layout layout = layout_of(i % 2 ? 2 : 0);
		struct twin a = random_twin(s[0], s[2], layout, 1), b = random_twin(s[1], s[2], layout, 1);
		struct twin c = poisoned_twin(s[0], s[1], layout_of(i % 4 > 1 ? 2 : 0));

		BOTH(gemm, 1.0f, OF(a), false, OF(b), true, 0.0f, OF(c));
		check_twin("large gemm", c, c.gpu.dtype == AQM_F32 ? 10 * exact : rounded_once);
		free_twin(a);
		free_twin(b);
		free_twin(c);
	}
}

static void test_bias(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * ROUNDS; i++) {
		int64_t rows = size_up_to(i < LAYOUTS ? 300 : 20), cols = size_up_to(100);
		struct twin bias = random_f32(1, cols, 1), dbias = random_f32(1, cols, 1);
		struct twin y = random_twin(rows, cols, layout_of(i), 1);

		BOTH(bias_forward, OF(bias), OF(y));
		check_twin("bias_forward", y, tolerance_of(y.gpu.dtype, rounded_once));
		free_twin(y);
		y = random_twin(rows, cols, layout_of(i), 1);
		BOTH(bias_backward, OF(y), OF(dbias));
		check_twin("bias_backward", dbias, exact);
		free_twin(bias);
		free_twin(dbias);
		free_twin(y);
	}
}

static void test_norms(void **state)
{
	static const int64_t widths[] = {1, 7, 64, 200, 771, 2049, 4100};

	(void)state;
	for (int i = 0; i < LAYOUTS * 7; i++) {
		struct layout layout = layout_of(i);
		int64_t rows = size_up_to(i % 5 == 0 ? 150 : 6), cols = widths[i / LAYOUTS];
		bool with_residual = i % 3 != 0;
		struct twin residual = with_residual ? random_twin(rows, cols, layout_of(i / 2), 1) : absent_twin();
		struct twin weight = random_f32(1, cols, 1), bias = random_f32(1, cols, 1);
		struct twin mean = poisoned_twin(1, rows, layout_of(0)), rstd = poisoned_twin(1, rows, layout_of(0));
		struct twin dweight = random_f32(1, cols, 1), dbias = random_f32(1, cols, 1);
		double once = tolerance_of(layout.dtype, rounded_once), often = tolerance_of(layout.dtype, rounded_often);

		for (int kind = 0; kind < 2; kind++) {
			struct twin x = random_twin(rows, cols, layout, 1), y = poisoned_twin(rows, cols, layout);
			struct twin dy = random_twin(rows, cols, layout, 1), dx = random_twin(rows, cols, layout, 1);

			if (kind == 0)
				BOTH(rmsnorm_forward, OF(x), OF(residual), OF(weight), 1e-3f, OF(y), OF(rstd));
			else
				BOTH(layernorm_forward, OF(x), OF(residual), OF(weight), OF(bias), 1e-3f, OF(y), OF(mean), OF(rstd));
			check_twin("norm: x + residual", x, with_residual ? once : 0);
			check_twin("norm", y, often);
			check_twin("norm: rstd", rstd, with_residual ? once : exact);
			free_twin(x);
			x = random_twin(rows, cols, layout, 1);
			if (kind == 0) {
				BOTH(rmsnorm_forward, OF(x), OF(absent_twin()), OF(weight), 1e-3f, OF(y), OF(rstd));
				BOTH(rmsnorm_backward, OF(dy), OF(x), OF(weight), OF(rstd), OF(dx),
				     OF(i % 2 ? absent_twin() : dweight));
			} else {
				BOTH(layernorm_forward, OF(x), OF(absent_twin()), OF(weight), OF(bias), 1e-3f, OF(y), OF(mean),
				     OF(rstd));
				if (cols > 1)
					check_twin("layernorm: mean", mean, 10 * exact);
				BOTH(layernorm_backward, OF(dy), OF(x), OF(weight), OF(mean), OF(rstd), OF(dx),
				     OF(i % 2 ? absent_twin() : dweight), OF(i % 2 ? absent_twin() : dbias));
				check_twin("layernorm: dbias", dbias, exact);
			}
			check_twin("norm: dx", dx, tolerance_of(layout.dtype, rounded_once) * (cols == 1 ? 10 : 1));
			check_twin("norm: dweight", dweight, cols == 1 ? 1e-2 : 5 * exact);
			free_twin(x);
			free_twin(y);
			free_twin(dx);
			free_twin(dy);
		}
		struct twin all[] = {residual, weight, bias, mean, rstd, dweight, dbias};

		for (size_t j = 0; j < sizeof all / sizeof *all; j++)
			free_twin(all[j]);
	}
}

static void test_rope(void **state)
{
	(void)state;
	for (int i = 0; i < 8 * ROUNDS; i++) {
		int64_t tokens = size_up_to(9), head_dim = 2 * size_up_to(20), count = size_up_to(head_dim / 2);
		int64_t windows = size_up_to(4);
		struct twin x = random_twin(tokens * windows, head_dim * size_up_to(11), layout_of(i / 2), 1);
		struct twin frequency = random_f32(1, count, 0.5);
		struct aqm_place places[4];

		draw_places(places, windows, 9, 100);
		struct shared where = shared_of(places, sizeof places), none = {NULL, NULL};

		BOTH(rope, OF(x), tokens, head_dim, i % 5 ? OF(where) : OF(none), OF(frequency),
		     i & 1 ? AQM_ROPE_HALVES : AQM_ROPE_ADJACENT, i % 3 == 0);
		check_twin("rope", x, tolerance_of(x.gpu.dtype, rounded_once));
		free_shared(where);
		free_twin(x);
		free_twin(frequency);
	}
}

static void test_places(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * ROUNDS; i++) {
		int64_t tokens = size_up_to(9), windows = size_up_to(5), cols = size_up_to(70), rows = tokens * windows;
		struct layout layout = layout_of(i), other = layout_of(i / LAYOUTS);
		struct twin x = random_twin(rows, cols, layout, 1), table = random_f32(40, cols, 1);
		struct twin y = random_twin(windows * 40, cols, other, 1);
		struct aqm_place places[5];

		draw_places(places, windows, 40, 31);
		struct shared where = shared_of(places, sizeof places), none = {NULL, NULL};

		BOTH(append, OF(x), tokens, OF(where), OF(y));
		check_twin("append", y, 0);
		BOTH(add_positions, OF(table), tokens, i % 3 ? OF(where) : OF(none), OF(x));
		check_twin("add_positions", x, tolerance_of(x.gpu.dtype, rounded_once));
		free_twin(x);
		free_twin(y);
		free_twin(table);
		free_shared(where);
	}
}

static void test_activations(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * 4 * 2; i++) {
		struct layout layout = layout_of(i);
		enum aqm_activation kind = (enum aqm_activation)(i / LAYOUTS % 4);
		int64_t rows = size_up_to(20), cols = size_up_to(60);
		struct twin x = random_twin(rows, cols, layout, 2), y = poisoned_twin(rows, cols, layout);
		struct twin dy = random_twin(rows, cols, layout, 1), dx = poisoned_twin(rows, cols, layout);
		double tolerance = tolerance_of(layout.dtype, rounded_once);

		BOTH(activation_forward, kind, 0.125f, OF(x), OF(y));
		check_twin("activation_forward", y, tolerance);
		BOTH(activation_backward, kind, 0.125f, OF(dy), OF(x), OF(dx));
		check_twin("activation_backward", dx, tolerance);
		BOTH(activation_backward, kind, 0.125f, OF(dy), OF(x), OF(dy));
		check_twin("activation_backward in place", dy, tolerance);
		BOTH(activation_forward, kind, 0.125f, OF(x), OF(x));
		check_twin("activation_forward in place", x, tolerance);
		free_twin(x);
		free_twin(y);
		free_twin(dx);
		free_twin(dy);
	}
}

static void test_glu(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * 2 * 2; i++) {
		struct layout layout = layout_of(i);
		enum aqm_glu kind = (enum aqm_glu)(i / LAYOUTS % 2);
		int64_t rows = size_up_to(20), cols = size_up_to(60);
		struct twin gate = random_twin(rows, cols, layout, 2), up = random_twin(rows, cols, layout, 1);
		struct twin y = poisoned_twin(rows, cols, layout), dy = random_twin(rows, cols, layout, 1);
		struct twin dgate = poisoned_twin(rows, cols, layout), dup = poisoned_twin(rows, cols, layout);
		double tolerance = tolerance_of(layout.dtype, rounded_once);

		BOTH(glu_forward, kind, OF(gate), OF(up), OF(y));
		check_twin("glu_forward", y, tolerance);
		BOTH(glu_backward, kind, OF(dy), OF(gate), OF(up), OF(dgate), OF(dup));
		check_twin("glu_backward: gate", dgate, tolerance);
		check_twin("glu_backward: up", dup, tolerance);
		BOTH(glu_backward, kind, OF(dy), OF(gate), OF(up), OF(gate), OF(up));
		check_twin("glu_backward in place: gate", gate, tolerance);
		check_twin("glu_backward in place: up", up, tolerance);
		struct twin all[] = {gate, up, y, dy, dgate, dup};

		for (size_t j = 0; j < sizeof all / sizeof *all; j++)
			free_twin(all[j]);
	}
}

/* The same mask, bit for bit. */
static void test_dropout(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * ROUNDS; i++) {
		int64_t rows = size_up_to(20), cols = size_up_to(70);
		struct twin x = random_twin(rows, cols, layout_of(i), 1), y = poisoned_twin(rows, cols, layout_of(i));
		float p = i % 3 == 0 ? 0.5f : i % 3 == 1 ? 0.1f : 0.0f;

		BOTH(dropout, p, UINT64_C(0x123456789abcdef) + (uint64_t)i, (uint32_t)i * 7, (uint32_t)i % 5, (int64_t)i * 3, OF(x), OF(y));
		check_twin("dropout", y, tolerance_of(y.gpu.dtype, rounded_once));
		float *got = downloaded(y.gpu);

		for (int64_t j = 0; j < rows * cols; j++)
			assert_int_equal(got[j] == 0.0f, ((float *)y.cpu.data)[j] == 0.0f);
		free(got);
		free_twin(x);
		free_twin(y);
	}
}

static void test_losses(void **state)
{
	(void)state;
	for (int i = 0; i < LAYOUTS * ROUNDS; i++) {
		struct layout layout = layout_of(i);
		int64_t rows = size_up_to(600), classes = i % 3 ? 3 : size_up_to(70);
		struct twin logits = random_twin(rows, classes, layout, 3), dlogits = poisoned_twin(rows, classes, layout);
		struct twin outputs = random_twin(rows, 1, layout, 1), doutputs = poisoned_twin(rows, 1, layout);
		int32_t label[600];
		float weight[70], target[600];
		double loss[2];

		for (int64_t r = 0; r < rows; r++) {
			label[r] = (int32_t)aqm_rng_below(&rng, (uint64_t)classes + 1) - 1;
			target[r] = aqm_rng_normal(&rng);
		}
		for (int64_t c = 0; c < classes; c++)
			weight[c] = 0.25f + aqm_rng_uniform(&rng);
		for (int side = 0; side < 2; side++)
			loss[side] =
				(side ? gpu : cpu)->ops->cross_entropy(side ? gpu : cpu, OF(logits), label, weight, OF(dlogits));
		assert_true(fabs(loss[1] - loss[0]) <= 1e-12 * fabs(loss[0]));
		check_twin("cross_entropy", dlogits, tolerance_of(layout.dtype, rounded_once));
		for (int side = 0; side < 2; side++)
			loss[side] =
				(side ? gpu : cpu)->ops->squared_error(side ? gpu : cpu, OF(outputs), label, target, OF(doutputs));
		assert_true(fabs(loss[1] - loss[0]) <= 1e-12 * fabs(loss[0]));
		check_twin("squared_error", doutputs, tolerance_of(layout.dtype, rounded_once));
		loss[1] = gpu->ops->squared_error(gpu, outputs.gpu, label, target, aqm_mat_absent());
		assert_true(fabs(loss[1] - loss[0]) <= 1e-12 * fabs(loss[0]));
		for (int64_t r = 0; r < rows; r++)
			label[r] = -1;
		assert_true(gpu->ops->cross_entropy(gpu, logits.gpu, label, weight, dlogits.gpu) == 0.0);
		float *got = downloaded(dlogits.gpu);

		for (int64_t j = 0; j < rows * classes; j++)
			assert_true(got[j] == 0.0f);
		free(got);
		struct twin all[] = {logits, dlogits, outputs, doutputs};

		for (size_t j = 0; j < sizeof all / sizeof *all; j++)
			free_twin(all[j]);
	}
}

static void test_optimizer(void **state)
{
	static const int64_t lengths[] = {1, 9, 4096, 4099, 20001};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof lengths / sizeof *lengths; i++) {
		int64_t n = lengths[i / 2], shift = i % 2; /* parts of a block begin anywhere */
		struct twin x = random_f32(1, n + 1, 1), g = random_f32(1, n + 1, 1), m = random_f32(1, n + 1, 0.1);
		struct twin v = random_f32(1, n + 1, 0.1);
		double sums[3];

		for (int64_t j = 0; j <= n; j++)
			((float *)v.cpu.data)[j] = fabsf(((float *)v.cpu.data)[j]);
		gpu->ops->upload(gpu, v.gpu.data, v.cpu.data, (size_t)(n + 1) * sizeof(float));
		for (int side = 0; side < 2; side++)
			sums[side] = (side ? gpu : cpu)->ops->sum_squares(side ? gpu : cpu, (float *)OF(g).data + shift, (size_t)n);
		sums[2] = gpu->ops->sum_squares(gpu, (float *)g.gpu.data + shift, (size_t)n);
		assert_true(fabs(sums[1] - sums[0]) <= 1e-12 * sums[0]);
		assert_true(sums[1] == sums[2]);
		for (int step = 1; step < 3; step++)
			BOTH(adamw, (size_t)n, (float *)OF(x).data + shift, (const float *)OF(g).data + shift,
			     (float *)OF(m).data + shift, (float *)OF(v).data + shift, 0.5f, 1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f,
			     1.0f - powf(0.9f, (float)step), 1.0f - powf(0.95f, (float)step));
		check_twin("adamw: x", x, exact);
		check_twin("adamw: m", m, exact);
		check_twin("adamw: v", v, exact);
		free_twin(x);
		free_twin(g);
		free_twin(m);
		free_twin(v);
	}
}

/* The same inputs give the same bits. */
static void test_same_bits(void **state)
{
	struct twin dy = random_twin(700, 65, layout_of(2), 1), x = random_twin(700, 65, layout_of(2), 1);
	struct twin rstd = random_f32(1, 700, 1), sums[2] = {random_f32(1, 65, 1)};

	(void)state;
	sums[1] = poisoned_twin(1, 65, layout_of(0));
	gpu->ops->copy(gpu, sums[0].gpu, sums[1].gpu);
	for (int i = 0; i < 2; i++) {
		struct twin dx = random_twin(700, 65, layout_of(2), 1);

		gpu->ops->rmsnorm_backward(gpu, dy.gpu, x.gpu, aqm_mat_rows(x.gpu, 0, 1), rstd.gpu, dx.gpu, sums[i].gpu);
		free_twin(dx);
	}
	float *first = downloaded(sums[0].gpu), *second = downloaded(sums[1].gpu);

	assert_memory_equal(first, second, 65 * sizeof *first);
	free(first);
	free(second);
	free_twin(dy);
	free_twin(x);
	free_twin(rstd);
	free_twin(sums[0]);
	free_twin(sums[1]);
}

/* A small layer, replayed on other numbers in the same memory. */
static void test_recording(void **state)
{
	struct layout bfloat = layout_of(2);
	struct twin x = random_twin(10, 256, bfloat, 1), more = random_twin(10, 256, bfloat, 1),
				w = random_weight(AQM_Q4_0, 64, 256);
	struct twin y = poisoned_twin(10, 64, bfloat), z = poisoned_twin(10, 256, bfloat),
				back = random_twin(64, 256, bfloat, 0.1);
	void *recording = NULL;

	(void)state;
	for (int round = 0; round < 2; round++) {
		if (round == 1)
			CHECK_OK(gpu->ops->record(gpu));
		BOTH(linear_few, OF(x), OF(w), 0.0f, OF(y));
		BOTH(activation_forward, AQM_GELU_TANH, 0.0f, OF(y), OF(y));
		BOTH(gemm, 1.0f, OF(y), false, OF(back), false, 0.0f, OF(z));
		if (round == 1)
			CHECK_OK(gpu->ops->recorded(gpu, &recording));
	}
	check_twin("before a recording", z, 3 * rounded_often);
	if (recording) {
		BOTH(copy, OF(more), OF(x));
		gpu->ops->replay(gpu, recording);
		cpu->ops->linear_few(cpu, x.cpu, w.cpu, 0.0f, y.cpu);
		cpu->ops->activation_forward(cpu, AQM_GELU_TANH, 0.0f, y.cpu, y.cpu);
		cpu->ops->gemm(cpu, 1.0f, y.cpu, false, back.cpu, false, 0.0f, z.cpu);
		check_twin("a recording", z, 3 * rounded_often);
		gpu->ops->forget(gpu, recording);
	}
	struct twin all[] = {x, more, w, y, z, back};

	for (size_t j = 0; j < sizeof all / sizeof *all; j++)
		free_twin(all[j]);
}

static int open_devices(void)
{
	int code = aqm_device_open(&gpu, AQM_DEVICE_CUDA);

	return code == AQM_OK ? aqm_device_open(&cpu, AQM_DEVICE_CPU) : code;
}

static void close_devices(void)
{
	aqm_device_close(gpu);
	aqm_device_close(cpu);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_memory),
	cmocka_unit_test(test_upload_download),
	cmocka_unit_test(test_gather_and_scatter),
	cmocka_unit_test(test_expand),
	cmocka_unit_test(test_gemm),
	cmocka_unit_test(test_large_gemm),
	cmocka_unit_test(test_bias),
	cmocka_unit_test(test_norms),
	cmocka_unit_test(test_rope),
	cmocka_unit_test(test_places),
	cmocka_unit_test(test_activations),
	cmocka_unit_test(test_glu),
	cmocka_unit_test(test_dropout),
	cmocka_unit_test(test_losses),
	cmocka_unit_test(test_optimizer),
	cmocka_unit_test(test_same_bits),
	cmocka_unit_test(test_recording),
};

int main(void)
{
	const char *seed = getenv("AQM_TEST_SEED");

	aqm_rng_init(&rng, seed ? strtoull(seed, NULL, 10) : 20, AQM_STREAM_TEST, 0);
	if (open_devices() != AQM_OK) {
		printf("skipped: %s\n", aqm_error_message());
		return 77;
	}
	int failed = cmocka_run_group_tests_name("ops", tests, NULL, NULL);

	failed += run_few_tests();
	failed += run_attention_tests();
	close_devices();
	return failed;
}
