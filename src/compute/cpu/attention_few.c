/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attention of a few new queries to a cache. All queries that read one key head are taken together, side by side, so
 * that keys and values are read once and lie as they are:
 *
 *     Q^T   head_dim x queries          S^T = K Q^T   keys x queries          O = P V   with P = softmax down the columns
 *
 * A softmax down the columns is the same operation in every lane. Threads share out key heads, and where those do not go
 * round, their queries; a query's numbers do not depend on which others it is taken with.
 */
#include <omp.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/panel.h"
#include "compute/cpu/vector.h"

enum {
	REGISTER = 16,   /* queries are padded to it */
	MOST_TOKENS = 16 /* of a window; more of them go to attention.c */
};

/* Queries first .. first + count of the (tokens of head 0, tokens of head 1, ...) that read one key head. */
struct task {
	struct aqm_mat q, o; /* (tokens, group * head_dim) of the window and the key head */
	const float *k, *v;  /* of the first key */
	int64_t k_ld, v_ld;  /* from key to key */
	int64_t tokens, past, head_dim, first, count;
	float scale;
};

/* A thread's working memory: q (lanes, head_dim), its transpose, scores (keys, lanes), sums (lanes). */
struct room {
	float *q, *across, *scores, *sums;
};

static int64_t lanes_of(int64_t count)
{
	return (count + REGISTER - 1) / REGISTER * REGISTER;
}

static int64_t room_floats(int64_t lanes, int64_t head_dim, int64_t keys)
{
	return lanes * (2 * head_dim + keys + 1);
}

static struct room room_of(float *memory, int64_t lanes, int64_t head_dim, int64_t keys)
{
	return (struct room){.q = memory,
	                     .across = memory + lanes * head_dim,
	                     .scores = memory + lanes * 2 * head_dim,
	                     .sums = memory + lanes * (2 * head_dim + keys)};
}

/* y (cols, rows) = the transpose of x (rows, cols), rows being a multiple of REGISTER. */
AQM_CLONES static void transpose(int64_t rows, int64_t cols, const float *restrict x, float *restrict y)
{
	for (int64_t r = 0; r < rows; r += REGISTER)
		for (int64_t c = 0; c < cols; c++)
			for (int64_t l = 0; l < REGISTER; l++)
				y[c * rows + r + l] = x[(r + l) * cols + c];
}

/* scores (keys, lanes) = exp(score - its column's maximum), 0 from key past + 1 + t on in a column of token t; sums of
 * the columns. `first`: the token of lane 0. */
AQM_CLONES static void exponentials(int64_t keys, int64_t lanes, int64_t past, int64_t tokens, int64_t first,
                                    float *scores, float *sums)
{
	for (int64_t from = 0; from < lanes; from += REGISTER) {
		float highest[REGISTER], sum[REGISTER];
		int32_t visible[REGISTER], open = (int32_t)past + 1; /* keys that all see */

		for (int l = 0; l < REGISTER; l++) {
			visible[l] = open + (int32_t)((first + from + l) % tokens);
			highest[l] = -INFINITY;
			sum[l] = 0.0f;
		}
		for (int32_t j = 0; j < (int32_t)keys; j++) {
			float *row = scores + j * lanes + from;

			for (int l = 0; j >= open && l < REGISTER; l++)
				row[l] = j < visible[l] ? row[l] : -INFINITY;
			for (int l = 0; l < REGISTER; l++)
				highest[l] = aqm_larger(row[l], highest[l]);
		}
		for (int64_t j = 0; j < keys; j++) {
			float *row = scores + j * lanes + from;

			for (int l = 0; l < REGISTER; l++) {
				row[l] = aqm_exp(row[l] - highest[l]);
				sum[l] += row[l];
			}
		}
		for (int l = 0; l < REGISTER; l++)
			sums[from + l] = sum[l];
	}
}

AQM_CLONES static void divide_rows(int64_t rows, int64_t columns, const float *divisors, float *x, int64_t ld)
{
	for (int64_t r = 0; r < rows; r++) {
		float factor = 1.0f / divisors[r];

		for (int64_t c = 0; c < columns; c++)
			x[r * ld + c] *= factor;
	}
}

/* Ask for the first n floats of some rows: a head's rows are too short and too far apart to be foreseen. */
static void fetch_rows(int64_t rows, int64_t n, const float *x, int64_t ld)
{
	for (int64_t r = 0; r < rows; r++)
		for (int64_t i = 0; i < n; i += 16)
			__builtin_prefetch(x + r * ld + i);
}

static void attend(const struct task *t, float *memory)
{
	int64_t lanes = lanes_of(t->count), keys = t->past + t->tokens, n = t->head_dim, end = t->first + t->count;
	const struct room room = room_of(memory, lanes, n, keys);

	fetch_rows(keys, n, t->k, t->k_ld);
	for (int64_t i = 0; i < t->count; i++) {
		int64_t query = t->first + i;

		memcpy(room.q + i * n, aqm_row(t->q, query % t->tokens) + query / t->tokens * n, (size_t)n * sizeof(float));
	}
	memset(room.q + t->count * n, 0, (size_t)((lanes - t->count) * n) * sizeof(float));
	transpose(lanes, n, room.q, room.across);
	fetch_rows(keys, n, t->v, t->v_ld);
	aqm_panel_product(&(struct aqm_panel){.rows = keys,
	                                      .cols = lanes,
	                                      .inner = n,
	                                      .alpha = t->scale,
	                                      .a = t->k,
	                                      .a_row = t->k_ld,
	                                      .a_inner = 1,
	                                      .b = room.across,
	                                      .ldb = lanes,
	                                      .c = room.scores,
	                                      .ldc = lanes});
	exponentials(keys, lanes, t->past, t->tokens, t->first % t->tokens, room.scores, room.sums);
	for (int64_t query = t->first, next; query < end; query = next) { /* head by head */
		int64_t head = query / t->tokens, token = query % t->tokens, lane = query - t->first;
		float *o = aqm_row(t->o, token) + head * n;

		next = (head + 1) * t->tokens < end ? (head + 1) * t->tokens : end;
		aqm_panel_product(&(struct aqm_panel){.rows = next - query,
		                                      .cols = n,
		                                      .inner = keys,
		                                      .alpha = 1.0f,
		                                      .a = room.scores + lane,
		                                      .a_row = 1,
		                                      .a_inner = lanes,
		                                      .b = t->v,
		                                      .ldb = t->v_ld,
		                                      .c = o,
		                                      .ldc = t->o.ld});
		divide_rows(next - query, n, room.sums + lane, o, t->o.ld);
	}
}

/* Into how many parts the queries of a key head go: few, but so that threads have the same number of them. */
static int64_t parts_of(int64_t heads, int64_t queries, int64_t threads)
{
	int64_t parts = 1;

	while (heads * parts % threads != 0 && parts < threads && queries / (parts + 1) >= 4)
		parts++;
	return parts;
}

bool aqm_cpu_attention_few(aqm_device *device, struct aqm_attention s, const struct aqm_place *places, struct aqm_mat q,
                           struct aqm_mat k, struct aqm_mat v, struct aqm_mat o)
{
	int64_t group = s.heads / s.kv_heads, queries = group * s.tokens, n = s.head_dim, most = 0;
	int64_t parts = parts_of(s.windows * s.kv_heads, queries, omp_get_max_threads()), stride;
	float *base;

	if (s.tokens > MOST_TOKENS || s.bias.data)
		return false;
	for (int64_t w = 0; w < s.windows; w++)
		most = places[w].past > most ? places[w].past : most;
	if (s.tokens == 0 || !aqm_cpu_scratch(device, omp_get_max_threads(),
	                                      room_floats(lanes_of(queries), n, most + s.tokens), &base, &stride))
		return true;
#pragma omp parallel for collapse(3) schedule(dynamic)
	for (int64_t w = 0; w < s.windows; w++)
		for (int64_t head = 0; head < s.kv_heads; head++)
			for (int64_t part = 0; part < parts; part++) {
				int64_t first = queries * part / parts, last = queries * (part + 1) / parts, row = w * s.tokens;
				const struct task t = {
					.q = aqm_mat_cols(aqm_mat_rows(q, row, s.tokens), head * group * n, group * n),
					.o = aqm_mat_cols(aqm_mat_rows(o, row, s.tokens), head * group * n, group * n),
					.k = aqm_row(k, places[w].row) + head * n,
					.v = aqm_row(v, places[w].row) + head * n,
					.k_ld = k.ld,
					.v_ld = v.ld,
					.tokens = s.tokens,
					.past = places[w].past,
					.head_dim = n,
					.first = first,
					.count = last - first,
					.scale = s.scale,
				};

				attend(&t, base + omp_get_thread_num() * stride);
			}
	return true;
}
