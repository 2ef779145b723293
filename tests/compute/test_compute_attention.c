/* SPDX-License-Identifier: BSD-2-Clause */
#include "compute/cpu/cpu.h"
#include "helper.h"

/* in: q (B*T, heads*d), k, v (B*(past+T), kv*d), bias (heads, 2 reach + 1), one after the other; out: o, then lse (heads,
 * B*T) if wanted. */
struct attention {
	struct aqm_attention s;
	int64_t past;
	bool with_lse;
};

static size_t q_count(const struct attention *a)
{
	return (size_t)(a->s.windows * a->s.tokens * a->s.heads * a->s.head_dim);
}
static size_t k_count(const struct attention *a)
{
	return (size_t)(a->s.windows * (a->past + a->s.tokens) * a->s.kv_heads * a->s.head_dim);
}

static size_t bias_count(const struct attention *a)
{
	return (size_t)(a->s.bias.rows * a->s.bias.cols);
}

static size_t input_count(const struct attention *a)
{
	return q_count(a) + 2 * k_count(a) + bias_count(a);
}

/* What head h adds to the score of a key that far behind (< 0) or ahead of the query. */
static double bias_of(const struct attention *a, const double *bias, int64_t h, int64_t distance)
{
	int64_t reach = a->s.bias.cols / 2;

	if (!a->s.bias.data)
		return 0.0;
	distance = distance < -reach ? -reach : distance > reach ? reach : distance;
	return bias[h * a->s.bias.cols + reach + distance];
}

static void attention_reference(const void *context, const double *in, double *out)
{
	const struct attention *a = context;
	const struct aqm_attention s = a->s;
	int64_t keys = a->past + s.tokens, rows = s.windows * s.tokens, d = s.head_dim;
	const double *q = in, *k = q + q_count(a), *v = k + k_count(a), *bias = v + k_count(a);
	double *p = new_doubles((size_t)keys);

	for (int64_t r = 0; r < rows; r++)
		for (int64_t h = 0; h < s.heads; h++) {
			int64_t w = r / s.tokens, kv = h / (s.heads / s.kv_heads),
					seen = s.causal ? a->past + r % s.tokens + 1 : keys;
			double highest = -INFINITY, sum = 0.0, *o = out + (r * s.heads + h) * d;

			for (int64_t j = 0; j < seen; j++) {
				p[j] = bias_of(a, bias, h, j - a->past - r % s.tokens);
				for (int64_t c = 0; c < d; c++)
					p[j] +=
						(double)s.scale * q[(r * s.heads + h) * d + c] * k[((w * keys + j) * s.kv_heads + kv) * d + c];
				highest = fmax(highest, p[j]);
			}
			for (int64_t j = 0; j < seen; j++)
				sum += p[j] = exp(p[j] - highest);
			for (int64_t c = 0; c < d; c++) {
				o[c] = 0.0;
				for (int64_t j = 0; j < seen; j++)
					o[c] += p[j] / sum * v[((w * keys + j) * s.kv_heads + kv) * d + c];
			}
			if (a->with_lse)
				out[q_count(a) + (size_t)(h * rows + r)] = highest + log(sum);
		}
	free(p);
}

static double *joined(struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat bias)
{
	const struct aqm_mat parts[] = {q, k, v, bias};
	size_t all = 0, done = 0;

	for (int i = 0; i < 4; i++)
		all += (size_t)(parts[i].rows * parts[i].cols);
	double *in = new_doubles(all);

	for (int i = 0; i < 4; i++) {
		double *part = doubles(parts[i]);
		size_t n = (size_t)(parts[i].rows * parts[i].cols);

		memcpy(in + done, part, n * sizeof *in);
		done += n;
		free(part);
	}
	return in;
}

struct tensors {
	struct aqm_mat fused, q, k, v, o, lse, dout, dq, dk, dv, dbias;
};

/* q, k, v as columns of one fused matrix, as gpt2 has them. */
static struct tensors new_tensors(struct aqm_attention s)
{
	int64_t rows = s.windows * s.tokens, wide = s.heads * s.head_dim, narrow = s.kv_heads * s.head_dim;
	struct tensors t = {
		.fused = random_mat(rows, wide + 2 * narrow, 3, 1),
		.o = poisoned_mat(rows, wide, 1),
		.lse = poisoned_mat(s.heads, rows, 0),
		.dout = random_mat(rows, wide, 2, 1),
		.dq = poisoned_mat(rows, wide, 3),
		.dk = poisoned_mat(rows, narrow, 4),
		.dv = poisoned_mat(rows, narrow, 5),
	};

	t.q = aqm_mat_cols(t.fused, 0, wide);
	t.k = aqm_mat_cols(t.fused, wide, narrow);
	t.v = aqm_mat_cols(t.fused, wide + narrow, narrow);
	if (s.bias.data) {
		t.dbias = new_mat(s.bias.rows, s.bias.cols, 1);
		ops->zero(device, t.dbias);
	}
	return t;
}

static void free_tensors(struct tensors t)
{
	struct aqm_mat all[] = {t.fused, t.o, t.lse, t.dout, t.dq, t.dk, t.dv, t.dbias};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free_mat(all[i]);
}

static void check_forward(const struct attention *a, struct tensors t)
{
	struct attention with = *a;
	double *in = joined(t.q, t.k, t.v, a->s.bias), *out = new_doubles(q_count(a) + (size_t)(a->s.heads * t.q.rows));

	with.with_lse = true;
	ops->attention_forward(device, a->s, t.q, t.k, t.v, t.o, t.lse);
	attention_reference(&with, in, out);
	check_close(aqm_mat_cols(t.o, 0, t.o.cols), out, 1e-5);
	check_close(t.lse, out + q_count(a), 1e-5);
	free(in);
	free(out);
}

static void test_forward_and_gradients(void **state)
{
	static const struct aqm_attention shapes[] = {
		{.windows = 1, .tokens = 1, .heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 1.0f, .causal = true},
		{.windows = 2, .tokens = 5, .heads = 3, .kv_heads = 1, .head_dim = 3, .scale = 0.6f, .causal = true},
		{.windows = 2, .tokens = 9, .heads = 4, .kv_heads = 2, .head_dim = 4, .scale = 0.5f, .causal = false},
		{.windows = 1, .tokens = 70, .heads = 2, .kv_heads = 1, .head_dim = 3, .scale = 0.5f, .causal = true},
		{.windows = 3, .tokens = 17, .heads = 2, .kv_heads = 2, .head_dim = 5, .scale = 0.4f, .causal = true},
	};
	static const int64_t reaches[] = {-1, 0, 3, 25, 100}; /* of the bias; -1: none */

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes * 5; i++) {
		struct attention a = {.s = shapes[i / 5]};

		if (reaches[i % 5] >= 0)
			a.s.bias = random_mat(a.s.heads, 2 * reaches[i % 5] + 1, 1, 1);
		struct tensors t = new_tensors(a.s);
		size_t inputs = input_count(&a);

		check_forward(&a, t);
		double *in = joined(t.q, t.k, t.v, a.s.bias), *upstream = doubles(t.dout), *gradient = new_doubles(inputs);
		double *dbias = gradient + q_count(&a) + 2 * k_count(&a);

		finite_differences(attention_reference, &a, inputs, in, q_count(&a), upstream, gradient);
		ops->attention_backward(device, a.s, t.q, t.k, t.v, t.o, t.lse, t.dout, t.dq, t.dk, t.dv, t.dbias);
		check_close(t.dq, gradient, 1e-4);
		check_close(t.dk, gradient + q_count(&a), 1e-4);
		check_close(t.dv, gradient + q_count(&a) + k_count(&a), 1e-4);
		check_close(t.dbias, dbias, 1e-4);
		/* added to what is there; a frozen one leaves the rest as it is */
		ops->attention_backward(device, a.s, t.q, t.k, t.v, t.o, t.lse, t.dout, t.dq, t.dk, t.dv, t.dbias);
		for (size_t j = 0; j < bias_count(&a); j++)
			dbias[j] *= 2.0;
		check_close(t.dbias, dbias, 2e-4);
		struct aqm_mat dk = copy_mat(t.dk);

		ops->attention_backward(device, a.s, t.q, t.k, t.v, t.o, t.lse, t.dout, t.dq, t.dk, t.dv, aqm_mat_absent());
		check_same_bits(t.dk, dk);
		free_mat(dk);
		free_mat(a.s.bias);
		free(in);
		free(upstream);
		free(gradient);
		free_tensors(t);
	}
}

/* A window of the real size; its gradient along one random direction. */
static void test_large_window(void **state)
{
	const struct attention a = {.s = {.windows = 2,
	                                  .tokens = 200,
	                                  .heads = 3,
	                                  .kv_heads = 1,
	                                  .head_dim = 64,
	                                  .scale = 0.125f,
	                                  .causal = true,
	                                  .bias = random_mat(3, 65, 0, 1)}};
	struct tensors t = new_tensors(a.s);
	size_t inputs = input_count(&a);
	const double step = 1e-5;

	(void)state;
	check_forward(&a, t);
	ops->attention_backward(device, a.s, t.q, t.k, t.v, t.o, t.lse, t.dout, t.dq, t.dk, t.dv, t.dbias);
	double *in = joined(t.q, t.k, t.v, a.s.bias), *gradient = joined(t.dq, t.dk, t.dv, t.dbias),
		   *upstream = doubles(t.dout);
	double *moved = new_doubles(inputs), *out[2] = {new_doubles(q_count(&a)), new_doubles(q_count(&a))}, expected = 0.0,
		   change = 0.0;

	for (int sign = 0; sign < 2; sign++) {
		struct aqm_rng direction;

		aqm_rng_init(&direction, 1, AQM_STREAM_TEST, 1);
		for (size_t i = 0; i < inputs; i++) {
			double d = (double)aqm_rng_normal(&direction);

			moved[i] = in[i] + (sign ? step : -step) * d;
			expected += sign ? gradient[i] * d : 0.0;
		}
		attention_reference(&a, moved, out[sign]);
	}
	for (size_t i = 0; i < q_count(&a); i++)
		change += upstream[i] * (out[1][i] - out[0][i]) / (2.0 * step);
	assert_true(fabs(change - expected) < 1e-4 * (1.0 + fabs(change)));
	free(in);
	free(gradient);
	free(upstream);
	free(moved);
	free(out[0]);
	free(out[1]);
	free_mat(a.s.bias);
	free_tensors(t);
}

/* What comes later in a window changes no bit of what came before. */
static void test_no_look_ahead(void **state)
{
	const struct aqm_attention s = {.windows = 1,
	                                .tokens = 150,
	                                .heads = 2,
	                                .kv_heads = 1,
	                                .head_dim = 16,
	                                .scale = 0.25f,
	                                .causal = true,
	                                .bias = random_mat(2, 41, 0, 1)};
	struct tensors t = new_tensors(s);
	int64_t cut = 77;

	(void)state;
	ops->attention_forward(device, s, t.q, t.k, t.v, t.o, t.lse);
	struct aqm_mat before = copy_mat(t.o);

	for (int64_t r = cut; r < s.tokens; r++)
		for (int64_t c = 0; c < t.fused.cols; c++)
			*at(t.fused, r, c) = 3.0f * aqm_rng_normal(&rng);
	ops->attention_forward(device, s, t.q, t.k, t.v, t.o, t.lse);
	check_same_bits(aqm_mat_rows(t.o, 0, cut), aqm_mat_rows(before, 0, cut));
	free_mat(before);
	free_mat(s.bias);
	free_tensors(t);
}

/* Windows with places in one memory are as each is alone. */
static void test_cached_windows(void **state)
{
	enum { TOKENS = 5, WINDOWS = 3, ROWS = 60 };
	struct aqm_attention s = {
		.windows = WINDOWS, .tokens = TOKENS, .heads = 4, .kv_heads = 2, .head_dim = 8, .scale = 0.3f, .causal = true};
	const struct aqm_place places[WINDOWS] = {{40, 13}, {0, 0}, {7, 21}};
	struct aqm_mat q = random_mat(WINDOWS * TOKENS, 32, 1, 1), k = poisoned_mat(ROWS, 16, 2), v = poisoned_mat(ROWS, 16, 3);
	struct aqm_mat o = poisoned_mat(WINDOWS * TOKENS, 32, 4), alone = poisoned_mat(TOKENS, 32, 0);

	(void)state;
	for (int w = 0; w < WINDOWS; w++) {
		struct aqm_mat old = random_mat(places[w].past ? places[w].past : 1, 16, 0, 1);

		old.rows = places[w].past;
		ops->copy(device, old, aqm_mat_rows(k, places[w].row, old.rows));
		ops->copy(device, old, aqm_mat_rows(v, places[w].row, old.rows));
		free_mat(old);
	}
	struct aqm_mat fresh = random_mat(WINDOWS * TOKENS, 16, 2, 1), table = random_mat(40, 16, 1, 1), x = copy_mat(fresh);

	ops->append(device, fresh, TOKENS, places, k);
	ops->append(device, fresh, TOKENS, places, v);
	ops->attention_cached(device, s, places, q, k, v, o);
	ops->add_positions(device, table, TOKENS, places, x);
	s.windows = 1;
	for (int w = 0; w < WINDOWS; w++) {
		for (int t = 0; t < TOKENS; t++) {
			int64_t r = w * TOKENS + t;

			assert_memory_equal(at(k, places[w].row + places[w].past + t, 0), at(fresh, r, 0), 16 * sizeof(float));
			for (int64_t c = 0; c < 16; c++)
				assert_true(*at(x, r, c) == *at(fresh, r, c) + *at(table, places[w].past + t, c));
		}
		ops->attention_cached(device, s, &places[w], aqm_mat_rows(q, w * TOKENS, TOKENS), k, v, alone);
		check_same_bits(alone, aqm_mat_rows(o, w * TOKENS, TOKENS));
	}
	struct aqm_mat all[] = {q, k, v, o, alone, fresh, table, x};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free_mat(all[i]);
}

static void check_cached(int64_t heads, int64_t kv_heads, int64_t head_dim, bool biased)
{
	for (int64_t tokens = 1; tokens <= 81; tokens += tokens < 21 ? 5 : 20)
		for (int64_t past = 0; past <= 130; past += 65) {
			const struct attention a = {.s = {.windows = 1,
			                                  .tokens = tokens,
			                                  .heads = heads,
			                                  .kv_heads = kv_heads,
			                                  .head_dim = head_dim,
			                                  .scale = 0.3f,
			                                  .causal = true,
			                                  .bias = biased ? random_mat(heads, 33, 1, 1) : aqm_mat_absent()},
			                            .past = past};
			int64_t width = heads * head_dim, kv_width = kv_heads * head_dim;
			struct aqm_mat q = random_mat(tokens, width, 1, 1), k = random_mat(past + tokens, kv_width, 2, 1),
						   v = random_mat(past + tokens, kv_width, 3, 1), o = poisoned_mat(tokens, width, 4);
			double *in = joined(q, k, v, a.s.bias), *out = new_doubles(q_count(&a));

			ops->attention_cached(device, a.s, &(struct aqm_place){.past = (int32_t)past}, q, k, v, o);
			attention_reference(&a, in, out);
			check_close(o, out, 1e-5);
			free(in);
			free(out);
			free_mat(q);
			free_mat(k);
			free_mat(v);
			free_mat(o);
			free_mat(a.s.bias);
		}
}

static void test_cached(void **state)
{
	(void)state;
	check_cached(4, 2, 8, true);
	check_cached(4, 2, 8, false);
	check_cached(9, 3, 20, false);
	check_cached(2, 2, 13, false);
}

/* Scores far beyond the range of exp, and a NaN that must not vanish. */
static void test_extremes(void **state)
{
	const struct attention a = {
		.s = {.windows = 1, .tokens = 40, .heads = 1, .kv_heads = 1, .head_dim = 4, .scale = 400.0f, .causal = true}};
	struct tensors t = new_tensors(a.s);
	double *in = joined(t.q, t.k, t.v, a.s.bias), *out = new_doubles(q_count(&a));

	(void)state;
	ops->attention_forward(device, a.s, t.q, t.k, t.v, t.o, t.lse);
	attention_reference(&a, in, out);
	check_close(t.o, out, 2e-3); /* the scores themselves are only good to 1e-4 */
	*at(t.k, 20, 1) = NAN;
	ops->attention_forward(device, a.s, t.q, t.k, t.v, t.o, t.lse);
	assert_false(isnan(*at(t.o, 19, 0)) || isnan(*at(t.o, 0, 3)));
	assert_true(isnan(*at(t.o, 20, 0)) && isnan(*at(t.o, 39, 3)));
	free(in);
	free(out);
	free_tensors(t);
}

/* The same on every level of processor up to this one's. */
static void test_levels(void **state)
{
	for (enum aqm_level level = AQM_LEVEL_ANY; level <= AQM_LEVEL_V4; level++) {
		aqm_cpu_level_limit(level);
		test_forward_and_gradients(state);
		test_large_window(state);
		test_cached(state);
		test_cached_windows(state);
	}
}

static void test_rope(void **state)
{
	const int64_t windows = 2, tokens = 7, heads = 3, head_dim = 12, rows = windows * tokens;

	(void)state;
	for (int variant = 0; variant < 8; variant++) {
		bool halves = variant & 1, backward = variant & 2;
		int64_t turned = variant & 4 ? 4 : 6; /* pairs */
		const struct aqm_place places[] = {{.past = 1000}, {.past = 3}}, *place = variant & 4 ? places : NULL;
		struct aqm_mat x = random_mat(rows, heads * head_dim, 3, 1), frequency = new_mat(1, turned, 0);
		double *want = doubles(x);

		for (int64_t i = 0; i < turned; i++)
			*at(frequency, 0, i) = (float)pow(10000.0, -2.0 * (double)i / (double)(2 * turned));
		for (int64_t r = 0; r < rows; r++)
			for (int64_t h = 0; h < heads; h++)
				for (int64_t i = 0; i < turned; i++) {
					double angle =
						(double)((place ? place[r / tokens].past : 0) + r % tokens) * (double)*at(frequency, 0, i) * (backward ? -1.0 : 1.0);
					double *a = want + r * x.cols + h * head_dim + (halves ? i : 2 * i), *b = a + (halves ? turned : 1),
						   old = *a;

					*a = old * cos(angle) - *b * sin(angle);
					*b = old * sin(angle) + *b * cos(angle);
				}
		ops->rope(device, x, tokens, head_dim, place, frequency, halves ? AQM_ROPE_HALVES : AQM_ROPE_ADJACENT,
		          backward);
		check_close(x, want, place ? 2e-4 : 1e-5); /* a float angle of 1000 has four decimals */
		free(want);
		free_mat(x);
		free_mat(frequency);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_no_look_ahead),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_rope),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
