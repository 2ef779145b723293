/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

struct case_of {
	int64_t windows, tokens, heads, kv_heads, head_dim;
	bool causal;
	int64_t reach; /* of the bias; -1: none */
};

static const struct case_of cases[] = {
	{1, 1, 1, 1, 1, true, -1},
	{2, 5, 3, 1, 3, true, 0},
	{2, 37, 4, 2, 8, false, 3},
	{1, 70, 2, 1, 40, true, 20},
	{1, 33, 1, 1, 200, true, -1},
	{2, 65, 4, 2, 64, true, -1},
	{1, 130, 2, 2, 64, false, -1},
	{1, 129, 2, 1, 80, true, 30},
	{1, 17, 3, 3, 96, false, 5},
	{2, 63, 2, 1, 128, true, -1},
	{1, 97, 2, 2, 128, false, 200},
	{3, 12, 4, 4, 64, true, 3},
	{2, 16, 2, 1, 128, false, -1},
	/* large */
	{4, 200, 8, 8, 128, true, -1},
	{2, 600, 4, 2, 64, true, 127},
	{1, 1024, 3, 1, 96, true, -1},
	{1, 1000, 3, 3, 80, false, -1},
	{1, 1024, 2, 1, 128, true, 31},
};
enum { LARGE = 5 };

static int case_count(void)
{
	int all = sizeof cases / sizeof *cases;

	return takes_large() ? all : all - LARGE;
}

static struct aqm_attention shape_of(const struct case_of *c, struct aqm_mat bias)
{
	return (struct aqm_attention){
		.windows = c->windows,
		.tokens = c->tokens,
		.heads = c->heads,
		.kv_heads = c->kv_heads,
		.head_dim = c->head_dim,
		.scale = 1.0f / sqrtf((float)c->head_dim),
		.causal = c->causal,
		.bias = bias,
	};
}

/* q, k and v as columns of one matrix, so no padding of their own is checked. */
static void check_case(const struct case_of *c, struct layout layout)
{
	int64_t rows = c->windows * c->tokens, wide = c->heads * c->head_dim, narrow = c->kv_heads * c->head_dim;
	struct layout plain = layout_of(0);
	struct twin fused = random_twin(rows, wide + 2 * narrow, layout, 1),
				dfused = poisoned_twin(rows, wide + 2 * narrow, layout);
	struct twin q = cols_of(fused, 0, wide), k = cols_of(fused, wide, narrow),
				v = cols_of(fused, wide + narrow, narrow);
	struct twin dq = cols_of(dfused, 0, wide), dk = cols_of(dfused, wide, narrow),
				dv = cols_of(dfused, wide + narrow, narrow);
	struct twin o = poisoned_twin(rows, wide, layout), lse = poisoned_twin(c->heads, rows, plain);
	struct twin dout = random_twin(rows, wide, layout, 1), bias = absent_twin(), dbias = absent_twin();
	double tolerance = tolerance_of(layout.dtype, rounded_often);

	if (c->reach >= 0) {
		bias = random_f32(c->heads, 2 * c->reach + 1, 1);
		dbias = random_f32(c->heads, 2 * c->reach + 1, 1);
	}
	BOTH(attention_forward, shape_of(c, OF(bias)), OF(q), OF(k), OF(v), OF(o), OF(lse));
	check_twin("attention: o", o, tolerance);
	check_twin("attention: lse", lse, 10 * exact);
	/* both backward passes get the same o and lse: rounded, as they are kept */
	float *kept = downloaded(o.gpu);

	memcpy(o.cpu.data, kept, (size_t)(rows * wide) * sizeof *kept);
	free(kept);
	BOTH(attention_backward, shape_of(c, OF(bias)), OF(q), OF(k), OF(v), OF(o), OF(lse), OF(dout), OF(dq), OF(dk),
	     OF(dv), OF(dbias));
	/* with one token dq and dk are zero but for rounding */
	if (c->tokens > 1) {
		check_twin("attention: dq", dq, tolerance_of(layout.dtype, 1e-2));
		check_twin("attention: dk", dk, tolerance_of(layout.dtype, 1e-2));
	}
	check_twin("attention: dv", dv, tolerance);
	if (c->reach >= 0 && c->tokens > 1)
		check_twin("attention: dbias", dbias, 20 * exact);
	struct twin all[] = {fused, dfused, o, lse, dout, bias, dbias};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free_twin(all[i]);
}

static void test_forward_and_backward(void **state)
{
	(void)state;
	for (int i = 0; i < case_count(); i++)
		for (int layout = 0; layout < LAYOUTS; layout++)
			check_case(&cases[i], layout_of(layout));
}

/* The caches hold more rows than are looked at, NaN behind them. */
static void check_cached(const struct case_of *c, int64_t past, struct layout layout)
{
	int64_t wide = c->heads * c->head_dim, narrow = c->kv_heads * c->head_dim, capacity = past + c->tokens + 5;
	int64_t rows = c->windows * c->tokens;
	struct twin q = random_twin(rows, wide, layout, 1), o = poisoned_twin(rows, wide, layout), bias = absent_twin();
	struct twin kv = poisoned_twin(c->windows * capacity, 2 * narrow, layout);
	struct twin k = cols_of(kv, 0, narrow), v = cols_of(kv, narrow, narrow), some = random_twin(capacity, 2 * narrow, layout, 1);
	struct aqm_place places[4];

	if (c->reach >= 0)
		bias = random_f32(c->heads, 2 * c->reach + 1, 1);
	draw_places(places, c->windows, capacity, past);
	places[0].past = (int32_t)past;
	for (int64_t w = 0; w < c->windows; w++) {
		int64_t keys = places[w].past + c->tokens;

		BOTH(copy, OF(rows_of(some, 0, keys)), OF(rows_of(kv, places[w].row, keys)));
	}
	struct shared where = shared_of(places, sizeof places);

	BOTH(attention_cached, shape_of(c, OF(bias)), OF(where), OF(q), OF(k), OF(v), OF(o));
	check_twin("attention_cached", o, tolerance_of(layout.dtype, rounded_often));
	free_shared(where);
	struct twin all[] = {q, kv, o, bias, some};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free_twin(all[i]);
}

static void test_cached(void **state)
{
	static const int64_t pasts[] = {0, 1, 15, 111, 128, 240};

	(void)state;
	for (int i = 0; i < case_count() * 2; i++)
		for (int layout = 0; layout < LAYOUTS; layout++) {
			struct case_of c = cases[i / 2];

			c.windows = 1 + i % 3;
			c.tokens = i % 2 && c.tokens > 16 ? 10 : c.tokens; /* as decisions have them */
			check_cached(&c, pasts[i % 6], layout_of(layout));
		}
}

/* What comes later in a window changes no bit of what came before, nor do other windows. */
static void test_no_look_ahead(void **state)
{
	static const struct case_of c = {2, 70, 2, 1, 64, true, -1};

	(void)state;
	for (int layout = 0; layout < LAYOUTS; layout++) {
		struct twin x = random_twin(140, 256, layout_of(layout), 1), more = random_twin(140, 256, layout_of(layout), 1);
		struct twin o = poisoned_twin(140, 128, layout_of(layout)), lse = poisoned_twin(2, 140, layout_of(0));
		float *before = NULL;

		for (int i = 0; i < 2; i++) {
			gpu->ops->attention_forward(gpu, shape_of(&c, aqm_mat_absent()), aqm_mat_cols(x.gpu, 0, 128),
			                            aqm_mat_cols(x.gpu, 128, 64), aqm_mat_cols(x.gpu, 192, 64), o.gpu, lse.gpu);
			float *now = downloaded(o.gpu);

			if (before)
				assert_memory_equal(now, before, 40 * 128 * sizeof *now);
			free(before);
			before = now;
			gpu->ops->copy(gpu, aqm_mat_rows(more.gpu, 40, 100), aqm_mat_rows(x.gpu, 40, 100));
		}
		free(before);
		free_twin(x);
		free_twin(more);
		free_twin(o);
		free_twin(lse);
	}
}

int run_attention_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forward_and_backward),
		cmocka_unit_test(test_cached),
		cmocka_unit_test(test_no_look_ahead),
	};

	return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
