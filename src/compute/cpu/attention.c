/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attention, a block of query rows of one head at a time, so that its scores stay in the second cache and the part of
 * the score matrix above the diagonal is mostly never computed:
 *
 *     keys      0 ......... i1        P = exp(scale Q K^T - lse)    scores of one block: (rows, visible)
 *     rows  i0  ###########
 *           i1  ###########/          "visible" = i1 keys for a causal block of rows i0 .. i1
 *
 * Forward keeps the log-sum-exp of each row; backward computes P again from it, then (Dao et al., FlashAttention, 2022)
 *     dV += P^T dO,  dS = scale P (dO V^T - rowsum(dO O)),  dQ = dS K,  dK += dS^T Q.
 * Threads share out (window, key head) pairs. The products of a block are too small for a library's packing: they are
 * panels (panel.h), for which K and V are transposed once a head where their transpose is wanted. A bias by distance is
 * added to the scores of a block; its gradient is the sum of dS / scale along the diagonals, a head of a window at a
 * time, folded in the order of the windows.
 */
#include <omp.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/panel.h"
#include "compute/cpu/vector.h"

/* Rows of a block, whole panels: more compute more of what the mask hides, fewer read and write sums more often. */
enum {
	BLOCK = 24,
	REGISTER = 16 /* floats of the widest register: rows of scores are padded to it */
};

/* Four rows of x become four columns of y. */
AQM_INLINE void transpose_four(const float *x, int64_t x_ld, float *y, int64_t y_ld)
{
	aqm_v4 a = *(const aqm_v4 *)x, b = *(const aqm_v4 *)(x + x_ld), c = *(const aqm_v4 *)(x + 2 * x_ld),
		   d = *(const aqm_v4 *)(x + 3 * x_ld);
	aqm_v4 ab_low = AQM_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = AQM_SHUFFLE(a, b, 2, 6, 3, 7);
	aqm_v4 cd_low = AQM_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = AQM_SHUFFLE(c, d, 2, 6, 3, 7);

	*(aqm_v4 *)y = AQM_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
	*(aqm_v4 *)(y + y_ld) = AQM_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
	*(aqm_v4 *)(y + 2 * y_ld) = AQM_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
	*(aqm_v4 *)(y + 3 * y_ld) = AQM_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
}

/* y (cols, rows rounded up to REGISTER) = transpose of x (rows, cols), zeros behind the rows. */
AQM_CLONES static void transpose(int64_t rows, int64_t cols, const float *restrict x, int64_t x_ld, float *restrict y,
                                 int64_t y_ld)
{
	int64_t whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4, end = (rows + REGISTER - 1) / REGISTER * REGISTER;

	for (int64_t r = 0; r < whole_rows; r += 4)
		for (int64_t c = 0; c < whole_cols; c += 4)
			transpose_four(x + r * x_ld + c, x_ld, y + c * y_ld + r, y_ld);
	for (int64_t c = 0; c < cols; c++) {
		for (int64_t r = c < whole_cols ? whole_rows : 0; r < rows; r++)
			y[c * y_ld + r] = x[r * x_ld + c];
		for (int64_t r = rows; r < end; r++)
			y[c * y_ld + r] = 0.0f;
	}
}

static int64_t round_up(int64_t n)
{
	return (n + REGISTER - 1) / REGISTER * REGISTER;
}

/* One head's rows as plain pointers. */
struct head {
	const float *q, *k, *v;
	float *o, *lse; /* lse may be NULL */
	int64_t q_ld, k_ld, v_ld, o_ld;
	int64_t queries, keys, head_dim;
	int64_t past; /* keys before the first query's own */
	float scale;
	bool causal;
	const float *bias; /* of 2 reach + 1 distances, or NULL */
	int64_t reach;
};

/* Keys that the last query before row `end` may see. */
static int64_t visible_keys(const struct head *h, int64_t end)
{
	return h->causal ? h->past + end : h->keys;
}

/* scores row i = exp(row - its maximum) over its first `visible + i step` columns, 0 in the rest; sums and log-sum-exps
 * of the rows. Works in whole groups of lanes, for which the rows have room. */
AQM_CLONES static void exponentials(int64_t rows, int64_t visible, int64_t step, int64_t columns, float *scores,
                                    int64_t ld, float *sums, float *lse)
{
	int32_t end = (int32_t)((columns + AQM_LANES - 1) / AQM_LANES * AQM_LANES);

	for (int64_t r = 0; r < rows; r++) {
		float *row = scores + r * ld, lanes[AQM_LANES];
		int32_t n = (int32_t)(visible + r * step);

		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] = -INFINITY;
		for (int32_t i = 0; i < end; i += AQM_LANES)
			for (int l = 0; l < AQM_LANES; l++) {
				float score = i + l < n ? row[i + l] : -INFINITY;

				lanes[l] = aqm_larger(score, lanes[l]);
			}
		float highest = aqm_fold_largest(lanes);

		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] = 0.0f;
		for (int32_t i = 0; i < end; i += AQM_LANES)
			for (int l = 0; l < AQM_LANES; l++) {
				float power = aqm_exp(row[i + l] - highest);

				power = i + l < n ? power : 0.0f;
				row[i + l] = power;
				lanes[l] += power;
			}
		sums[r] = aqm_fold(lanes);
		if (lse)
			lse[r] = highest + logf(sums[r]);
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

/* Where the keys of one query, at `position`, are near enough to have a bias of their own. */
struct near {
	int64_t begin, end;
};

static struct near near_keys(int64_t position, int64_t reach, int64_t columns)
{
	int64_t begin = position > reach ? position - reach : 0, end = position + reach + 1;

	return (struct near){begin < columns ? begin : columns, end < columns ? end : columns};
}

/* Add to scores of queries from `position` on. */
AQM_CLONES static void add_bias(int64_t rows, int64_t columns, int64_t position, const float *bias, int64_t reach,
                                float *scores, int64_t ld)
{
	for (int64_t r = 0; r < rows; r++, position++) {
		struct near near = near_keys(position, reach, columns);
		float *row = scores + r * ld;

		for (int64_t i = 0; i < near.begin; i++)
			row[i] += bias[0];
		for (int64_t i = near.begin; i < near.end; i++)
			row[i] += bias[reach + i - position];
		for (int64_t i = near.end; i < columns; i++)
			row[i] += bias[2 * reach];
	}
}

/* A thread's working memory: scores (BLOCK, ld), slopes (BLOCK, ld), sums (BLOCK), K and V transposed (head_dim, ld).
 * The rows of scores are a little longer than the keys, so that they do not all fall into the same cache sets. */
struct room {
	float *scores, *slopes, *sums, *k, *v;
	int64_t ld;
};

static int64_t room_ld(int64_t keys)
{
	return round_up(keys) + REGISTER;
}

static int64_t room_floats(int64_t keys, int64_t head_dim)
{
	return (2 * BLOCK + 2 * head_dim) * room_ld(keys) + round_up(BLOCK);
}

static struct room room_of(float *memory, int64_t keys, int64_t head_dim)
{
	int64_t ld = room_ld(keys);

	return (struct room){
		.scores = memory,
		.slopes = memory + BLOCK * ld,
		.k = memory + 2 * BLOCK * ld,
		.v = memory + (2 * BLOCK + head_dim) * ld,
		.sums = memory + (2 * BLOCK + 2 * head_dim) * ld,
		.ld = ld,
	};
}

/* A block's rows times a transposed matrix of keys: out (rows, visible rounded up) = alpha x y. */
static void row_products(int64_t rows, int64_t visible, int64_t inner, float alpha, const float *x, int64_t x_ld,
                         const float *y, float *out, int64_t ld)
{
	aqm_panel_product(&(struct aqm_panel){.rows = rows,
	                                      .cols = round_up(visible),
	                                      .inner = inner,
	                                      .alpha = alpha,
	                                      .a = x,
	                                      .a_row = x_ld,
	                                      .a_inner = 1,
	                                      .b = y,
	                                      .ldb = ld,
	                                      .c = out,
	                                      .ldc = ld});
}

/* out (rows, head_dim) = p (rows, visible) y (visible, head_dim). */
static void mix(int64_t rows, int64_t head_dim, int64_t visible, const float *p, int64_t ld, const float *y,
                int64_t y_ld, float *out, int64_t out_ld)
{
	aqm_panel_product(&(struct aqm_panel){.rows = rows,
	                                      .cols = head_dim,
	                                      .inner = visible,
	                                      .alpha = 1.0f,
	                                      .a = p,
	                                      .a_row = ld,
	                                      .a_inner = 1,
	                                      .b = y,
	                                      .ldb = y_ld,
	                                      .c = out,
	                                      .ldc = out_ld});
}

/* out (visible, head_dim) = or += p^T y, p (rows, visible), y (rows, head_dim). */
static void mix_back(int64_t rows, int64_t head_dim, int64_t visible, const float *p, int64_t ld, const float *y,
                     int64_t y_ld, bool add, float *out, int64_t out_ld)
{
	aqm_panel_product(&(struct aqm_panel){.rows = visible,
	                                      .cols = head_dim,
	                                      .inner = rows,
	                                      .alpha = 1.0f,
	                                      .a = p,
	                                      .a_row = 1,
	                                      .a_inner = ld,
	                                      .b = y,
	                                      .ldb = y_ld,
	                                      .add = add,
	                                      .c = out,
	                                      .ldc = out_ld});
}

static void head_forward(const struct head *h, const struct room *room)
{
	transpose(h->keys, h->head_dim, h->k, h->k_ld, room->k, room->ld);
	for (int64_t first = 0; first < h->queries; first += BLOCK) {
		int64_t rows = h->queries - first < BLOCK ? h->queries - first : BLOCK;
		int64_t visible = visible_keys(h, first + rows);
		float *o = h->o + first * h->o_ld;

		row_products(rows, visible, h->head_dim, h->scale, h->q + first * h->q_ld, h->q_ld, room->k, room->scores,
		             room->ld);
		if (h->bias)
			add_bias(rows, visible, h->past + first, h->bias, h->reach, room->scores, room->ld);
		exponentials(rows, visible_keys(h, first + 1), h->causal, visible, room->scores, room->ld, room->sums,
		             h->lse ? h->lse + first : NULL);
		mix(rows, h->head_dim, visible, room->scores, room->ld, h->v, h->v_ld, o, h->o_ld);
		divide_rows(rows, h->head_dim, room->sums, o, h->o_ld);
	}
}

/* places NULL: the windows' keys lie one behind the other. */
static void forward(aqm_device *device, struct aqm_attention s, const struct aqm_place *places, struct aqm_mat q,
                    struct aqm_mat k, struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse)
{
	int64_t most = s.tokens, group = s.heads / s.kv_heads;
	float *base;
	int64_t stride;

	for (int64_t w = 0; places && w < s.windows; w++)
		most = places[w].past + s.tokens > most ? places[w].past + s.tokens : most;
	if (s.tokens == 0 || !aqm_cpu_scratch(device, omp_get_max_threads(), room_floats(most, s.head_dim), &base, &stride))
		return;
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t w = 0; w < s.windows; w++)
		for (int64_t i = 0; i < s.heads; i++) {
			int64_t past = places ? places[w].past : 0, first = places ? places[w].row : w * s.tokens;
			int64_t keys = past + s.tokens;
			const struct head h = {
				.q = aqm_row(q, w * s.tokens) + i * s.head_dim,
				.k = aqm_row(k, first) + i / group * s.head_dim,
				.v = aqm_row(v, first) + i / group * s.head_dim,
				.o = aqm_row(o, w * s.tokens) + i * s.head_dim,
				.lse = lse.data ? aqm_row(lse, i) + w * s.tokens : NULL,
				.q_ld = q.ld,
				.k_ld = k.ld,
				.v_ld = v.ld,
				.o_ld = o.ld,
				.queries = s.tokens,
				.keys = keys,
				.head_dim = s.head_dim,
				.past = past,
				.scale = s.scale,
				.causal = s.causal,
				.bias = s.bias.data ? aqm_row(s.bias, i) : NULL,
				.reach = s.bias.cols / 2,
			};

			const struct room room = room_of(base + omp_get_thread_num() * stride, keys, s.head_dim);

			head_forward(&h, &room);
		}
}

void aqm_cpu_attention_forward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                               struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse)
{
	forward(device, shape, NULL, q, k, v, o, lse);
}

void aqm_cpu_attention_cached(aqm_device *device, struct aqm_attention shape, const struct aqm_place *places,
                              struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat o)
{
	if (aqm_cpu_attention_few(device, shape, places, q, k, v, o))
		return;
	shape.causal = true;
	forward(device, shape, places, q, k, v, o, aqm_mat_absent());
}

/* ---- backward ---- */

/* scores = P = exp(scores - lse), 0 where hidden; slopes = dS = scale P (slopes - along), along = rowsum(dO O). */
AQM_CLONES static void score_slopes(int64_t rows, int64_t visible, int64_t step, int64_t columns, float scale,
                                    const float *lse, const float *along, float *restrict scores,
                                    float *restrict slopes, int64_t ld)
{
	for (int64_t r = 0; r < rows; r++) {
		float *p = scores + r * ld, *d = slopes + r * ld;
		int64_t n = visible + r * step, i;

		for (i = 0; i < n; i++) {
			p[i] = aqm_exp(p[i] - lse[r]);
			d[i] = scale * p[i] * (d[i] - along[r]);
		}
		for (; i < columns; i++)
			p[i] = d[i] = 0.0f;
	}
}

AQM_CLONES static void row_dots(int64_t rows, int64_t columns, const float *x, int64_t x_ld, const float *y,
                                int64_t y_ld, float *out)
{
	for (int64_t r = 0; r < rows; r++)
		out[r] = aqm_dot(x + r * x_ld, y + r * y_ld, columns);
}

/* Sums of d (rows, columns) by distance. */
AQM_CLONES static void sum_distances(int64_t rows, int64_t columns, int64_t position, const float *d, int64_t ld,
                                     int64_t reach, float *sums)
{
	for (int64_t r = 0; r < rows; r++, position++) {
		struct near near = near_keys(position, reach, columns);
		const float *row = d + r * ld;

		sums[0] += aqm_sum(row, near.begin);
		for (int64_t i = near.begin; i < near.end; i++)
			sums[reach + i - position] += row[i];
		sums[2 * reach] += aqm_sum(row + near.end, columns - near.end);
	}
}

struct head_gradients {
	const float *dout;
	float *dq, *dk, *dv;
	float *dbias; /* scale * the gradient of this window's bias, +=; or NULL */
	int64_t dout_ld, dq_ld, dk_ld, dv_ld;
	bool add; /* to dk and dv: not the first head of its group */
};

/* Blocks go from the last to the first: the last sees all keys, so it is the one that writes dk and dv, and the rest
 * add. room->k, room->v hold K and V transposed. */
static void head_backward(const struct head *h, const struct head_gradients *g, const struct room *room)
{
	int64_t n = h->head_dim, ld = room->ld;
	bool add = g->add;

	for (int64_t first = (h->queries - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK, add = true) {
		int64_t rows = h->queries - first < BLOCK ? h->queries - first : BLOCK;
		int64_t visible = visible_keys(h, first + rows);
		const float *q = h->q + first * h->q_ld, *dout = g->dout + first * g->dout_ld;

		row_products(rows, visible, n, h->scale, q, h->q_ld, room->k, room->scores, ld);
		row_products(rows, visible, n, 1.0f, dout, g->dout_ld, room->v, room->slopes, ld);
		if (h->bias)
			add_bias(rows, visible, first, h->bias, h->reach, room->scores, ld);
		row_dots(rows, n, dout, g->dout_ld, h->o + first * h->o_ld, h->o_ld, room->sums);
		score_slopes(rows, visible_keys(h, first + 1), h->causal, visible, h->scale, h->lse + first, room->sums,
		             room->scores, room->slopes, ld);
		if (g->dbias)
			sum_distances(rows, visible, first, room->slopes, ld, h->reach, g->dbias);
		mix_back(rows, n, visible, room->scores, ld, dout, g->dout_ld, add, g->dv, g->dv_ld);
		mix_back(rows, n, visible, room->slopes, ld, q, h->q_ld, add, g->dk, g->dk_ld);
		mix(rows, n, visible, room->slopes, ld, h->k, h->k_ld, g->dq + first * g->dq_ld, g->dq_ld);
	}
}

/* dbias += the windows' sums (windows, heads, cols) / scale. */
static void fold_windows(struct aqm_attention s, const float *sums, struct aqm_mat dbias)
{
	for (int64_t w = 0; w < s.windows; w++)
		for (int64_t i = 0; i < s.heads; i++, sums += dbias.cols)
			for (int64_t c = 0; c < dbias.cols; c++)
				aqm_row(dbias, i)[c] += sums[c] / s.scale;
}

void aqm_cpu_attention_backward(aqm_device *device, struct aqm_attention s, struct aqm_mat q, struct aqm_mat k,
                                struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse, struct aqm_mat dout,
                                struct aqm_mat dq, struct aqm_mat dk, struct aqm_mat dv, struct aqm_mat dbias)
{
	int64_t group = s.heads / s.kv_heads, threads = omp_get_max_threads();
	int64_t floats = round_up(room_floats(s.tokens, s.head_dim)), sums_floats = s.windows * s.heads * dbias.cols;
	float *base;
	int64_t stride;

	if (s.tokens == 0 ||
	    !aqm_cpu_scratch(device, (int)threads, floats + (sums_floats + threads - 1) / threads, &base, &stride))
		return;
	float *sums = base + threads * floats; /* of each head of each window */

	if (dbias.data)
		memset(sums, 0, (size_t)sums_floats * sizeof *sums);
		/* The heads of one key head add to the same dk and dv: one thread takes them in order. */
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t w = 0; w < s.windows; w++)
		for (int64_t kv = 0; kv < s.kv_heads; kv++) {
			const struct room room = room_of(base + omp_get_thread_num() * floats, s.tokens, s.head_dim);
			struct aqm_mat own_k = aqm_mat_cols(aqm_mat_rows(k, w * s.tokens, s.tokens), kv * s.head_dim, s.head_dim);
			struct aqm_mat own_v = aqm_mat_cols(aqm_mat_rows(v, w * s.tokens, s.tokens), kv * s.head_dim, s.head_dim);

			transpose(s.tokens, s.head_dim, own_k.data, k.ld, room.k, room.ld);
			transpose(s.tokens, s.head_dim, own_v.data, v.ld, room.v, room.ld);
			for (int64_t i = kv * group; i < (kv + 1) * group; i++) {
				int64_t row = w * s.tokens, column = i * s.head_dim, kv_column = kv * s.head_dim;
				const struct head h = {
					.q = aqm_row(q, row) + column,
					.k = aqm_row(k, row) + kv_column,
					.v = aqm_row(v, row) + kv_column,
					.o = aqm_row(o, row) + column,
					.lse = aqm_row(lse, i) + row,
					.q_ld = q.ld,
					.k_ld = k.ld,
					.v_ld = v.ld,
					.o_ld = o.ld,
					.queries = s.tokens,
					.keys = s.tokens,
					.head_dim = s.head_dim,
					.scale = s.scale,
					.causal = s.causal,
					.bias = s.bias.data ? aqm_row(s.bias, i) : NULL,
					.reach = s.bias.cols / 2,
				};
				const struct head_gradients g = {
					.dout = aqm_row(dout, row) + column,
					.dq = aqm_row(dq, row) + column,
					.dk = aqm_row(dk, row) + kv_column,
					.dv = aqm_row(dv, row) + kv_column,
					.dbias = dbias.data ? sums + (w * s.heads + i) * dbias.cols : NULL,
					.dout_ld = dout.ld,
					.dq_ld = dq.ld,
					.dk_ld = dk.ld,
					.dv_ld = dv.ld,
					.add = i > kv * group,
				};

				head_backward(&h, &g, &room);
			}
		}
	if (dbias.data)
		fold_windows(s, sums, dbias);
}
