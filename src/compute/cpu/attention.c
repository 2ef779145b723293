/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attention, a block of query rows of one head at a time, so that its scores stay in the second cache and the part of the
 * score matrix above the diagonal is mostly never computed:
 *
 *     keys      0 ......... i1        P = exp(scale Q K^T - lse)    scores of one block: (rows, visible)
 *     rows  i0  ###########
 *           i1  ###########/          "visible" = i1 keys for a causal block of rows i0 .. i1
 *
 * Forward keeps the log-sum-exp of each row; backward computes P again from it, then (Dao et al., FlashAttention, 2022)
 *     dV += P^T dO,  dS = scale P (dO V^T - rowsum(dO O)),  dQ = dS K,  dK += dS^T Q.
 * Threads share out (window, key head) pairs; a product inside a parallel region is a single-threaded call of OpenBLAS, however
 * small the work, so that its bits do not depend on the number of threads.
 */
#include <cblas.h>
#include <omp.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { BLOCK = 64 };

/* Rows of a block: `rows` in equal parts of at most BLOCK, a multiple of 8 each. */
static int64_t block_rows(int64_t rows)
{
	int64_t blocks = (rows + BLOCK - 1) / BLOCK;

	return ((rows + blocks - 1) / blocks + 7) / 8 * 8;
}

/* C = alpha op(A) op(B) + beta C within one thread. */
static void product(bool transpose_a, bool transpose_b, int64_t rows, int64_t cols, int64_t inner, float alpha, const float *a, int64_t lda,
                    const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
	cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)rows, (int)cols,
	            (int)inner, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
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
};

/* Keys that the last query before row `end` may see. */
static int64_t visible_keys(const struct head *h, int64_t end)
{
	return h->causal ? h->past + end : h->keys;
}

/* scores row i = exp(row - its maximum) over its first `visible + i step` columns, 0 in the rest; sums and log-sum-exps of the rows. */
AQM_CLONES static void exponentials(int64_t rows, int64_t visible, int64_t step, int64_t columns, float *scores, int64_t ld, float *sums,
                                    float *lse)
{
	for (int64_t r = 0; r < rows; r++) {
		float *row = scores + r * ld, lanes[AQM_LANES], highest;
		int64_t n = visible + r * step, i = 0;

		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] = -INFINITY;
		for (; i + AQM_LANES <= n; i += AQM_LANES)
			for (int l = 0; l < AQM_LANES; l++)
				lanes[l] = row[i + l] > lanes[l] ? row[i + l] : lanes[l];
		for (; i < n; i++)
			lanes[0] = row[i] > lanes[0] ? row[i] : lanes[0];
		highest = lanes[0];
		for (int l = 1; l < AQM_LANES; l++)
			highest = lanes[l] > highest ? lanes[l] : highest;
		for (i = 0; i < n; i++)
			row[i] = aqm_exp(row[i] - highest);
		for (; i < columns; i++)
			row[i] = 0.0f;
		sums[r] = aqm_sum(row, n);
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

static void head_forward(const struct head *h, float *scratch, int64_t ld)
{
	int64_t step = block_rows(h->queries);
	float *sums = scratch + BLOCK * ld;

	for (int64_t first = 0; first < h->queries; first += step) {
		int64_t rows = h->queries - first < step ? h->queries - first : step;
		int64_t visible = visible_keys(h, first + rows);
		float *o = h->o + first * h->o_ld;

		product(false, true, rows, visible, h->head_dim, h->scale, h->q + first * h->q_ld, h->q_ld, h->k, h->k_ld, 0.0f, scratch, ld);
		exponentials(rows, visible_keys(h, first + 1), h->causal, visible, scratch, ld, sums, h->lse ? h->lse + first : NULL);
		product(false, false, rows, h->head_dim, visible, 1.0f, scratch, ld, h->v, h->v_ld, 0.0f, o, h->o_ld);
		divide_rows(rows, h->head_dim, sums, o, h->o_ld);
	}
}

/* A row of scores, apart enough from the next that they do not fall into the same cache sets. */
static int64_t scores_ld(int64_t keys)
{
	return (keys + 15) / 16 * 16 + 16;
}

static void forward(aqm_device *device, struct aqm_attention s, int64_t past, struct aqm_mat q, struct aqm_mat k, struct aqm_mat v,
                    struct aqm_mat o, struct aqm_mat lse)
{
	int64_t keys = past + s.tokens, ld = scores_ld(keys), group = s.heads / s.kv_heads;
	float *base;
	int64_t stride;

	if (s.tokens == 0 || !aqm_cpu_scratch(device, omp_get_max_threads(), BLOCK * ld + BLOCK, &base, &stride))
		return;
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t w = 0; w < s.windows; w++)
		for (int64_t i = 0; i < s.heads; i++) {
			const struct head h = {
				.q = aqm_row(q, w * s.tokens) + i * s.head_dim,
				.k = aqm_row(k, w * keys) + i / group * s.head_dim,
				.v = aqm_row(v, w * keys) + i / group * s.head_dim,
				.o = aqm_row(o, w * s.tokens) + i * s.head_dim,
				.lse = lse.data ? aqm_row(lse, i) + w * s.tokens : NULL,
				.q_ld = q.ld, .k_ld = k.ld, .v_ld = v.ld, .o_ld = o.ld,
				.queries = s.tokens, .keys = keys, .head_dim = s.head_dim, .past = past,
				.scale = s.scale, .causal = s.causal,
			};

			head_forward(&h, base + omp_get_thread_num() * stride, ld);
		}
}

void aqm_cpu_attention_forward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k, struct aqm_mat v,
                               struct aqm_mat o, struct aqm_mat lse)
{
	forward(device, shape, 0, q, k, v, o, lse);
}

void aqm_cpu_attention_cached(aqm_device *device, struct aqm_attention shape, int64_t past, struct aqm_mat q, struct aqm_mat k,
                              struct aqm_mat v, struct aqm_mat o)
{
	shape.causal = true;
	forward(device, shape, past, q, k, v, o, aqm_mat_absent());
}

/* ---- backward ---- */

/* scores = P = exp(scores - lse), 0 where hidden; slopes = dS = scale P (slopes - along), `along` being rowsum(dO O). */
AQM_CLONES static void score_slopes(int64_t rows, int64_t visible, int64_t step, int64_t columns, float scale, const float *lse,
                                    const float *along, float *restrict scores, float *restrict slopes, int64_t ld)
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

AQM_CLONES static void row_dots(int64_t rows, int64_t columns, const float *x, int64_t x_ld, const float *y, int64_t y_ld, float *out)
{
	for (int64_t r = 0; r < rows; r++)
		out[r] = aqm_dot(x + r * x_ld, y + r * y_ld, columns);
}

struct head_gradients {
	const float *dout;
	float *dq, *dk, *dv;
	int64_t dout_ld, dq_ld, dk_ld, dv_ld;
	bool add; /* to dk and dv: not the first head of its group */
};

/* Blocks go from the last to the first: the last sees all keys, so it is the one that writes dk and dv, and the rest add. */
static void head_backward(const struct head *h, const struct head_gradients *g, float *scratch, int64_t ld)
{
	int64_t step = block_rows(h->queries);
	float *slopes = scratch + BLOCK * ld, *along = slopes + BLOCK * ld;
	float beta = g->add ? 1.0f : 0.0f;

	for (int64_t first = (h->queries - 1) / step * step; first >= 0; first -= step, beta = 1.0f) {
		int64_t rows = h->queries - first < step ? h->queries - first : step, n = h->head_dim;
		int64_t visible = visible_keys(h, first + rows);
		const float *q = h->q + first * h->q_ld, *dout = g->dout + first * g->dout_ld;

		product(false, true, rows, visible, n, h->scale, q, h->q_ld, h->k, h->k_ld, 0.0f, scratch, ld);
		product(false, true, rows, visible, n, 1.0f, dout, g->dout_ld, h->v, h->v_ld, 0.0f, slopes, ld);
		row_dots(rows, n, dout, g->dout_ld, h->o + first * h->o_ld, h->o_ld, along);
		score_slopes(rows, visible_keys(h, first + 1), h->causal, visible, h->scale, h->lse + first, along, scratch, slopes, ld);
		product(true, false, visible, n, rows, 1.0f, scratch, ld, dout, g->dout_ld, beta, g->dv, g->dv_ld);
		product(true, false, visible, n, rows, 1.0f, slopes, ld, q, h->q_ld, beta, g->dk, g->dk_ld);
		product(false, false, rows, n, visible, 1.0f, slopes, ld, h->k, h->k_ld, 0.0f, g->dq + first * g->dq_ld, g->dq_ld);
	}
}

void aqm_cpu_attention_backward(aqm_device *device, struct aqm_attention s, struct aqm_mat q, struct aqm_mat k, struct aqm_mat v,
                                struct aqm_mat o, struct aqm_mat lse, struct aqm_mat dout, struct aqm_mat dq, struct aqm_mat dk,
                                struct aqm_mat dv)
{
	int64_t ld = scores_ld(s.tokens), group = s.heads / s.kv_heads;
	float *base;
	int64_t stride;

	if (s.tokens == 0 || !aqm_cpu_scratch(device, omp_get_max_threads(), 2 * BLOCK * ld + BLOCK, &base, &stride))
		return;
	/* The heads of one key head add to the same dk and dv: one thread takes them in order. */
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t w = 0; w < s.windows; w++)
		for (int64_t kv = 0; kv < s.kv_heads; kv++)
			for (int64_t i = kv * group; i < (kv + 1) * group; i++) {
				int64_t row = w * s.tokens, column = i * s.head_dim, kv_column = kv * s.head_dim;
				const struct head h = {
					.q = aqm_row(q, row) + column, .k = aqm_row(k, row) + kv_column, .v = aqm_row(v, row) + kv_column,
					.o = aqm_row(o, row) + column, .lse = aqm_row(lse, i) + row,
					.q_ld = q.ld, .k_ld = k.ld, .v_ld = v.ld, .o_ld = o.ld,
					.queries = s.tokens, .keys = s.tokens, .head_dim = s.head_dim,
					.scale = s.scale, .causal = s.causal,
				};
				const struct head_gradients g = {
					.dout = aqm_row(dout, row) + column, .dq = aqm_row(dq, row) + column,
					.dk = aqm_row(dk, row) + kv_column, .dv = aqm_row(dv, row) + kv_column,
					.dout_ld = dout.ld, .dq_ld = dq.ld, .dk_ld = dk.ld, .dv_ld = dv.ld,
					.add = i > kv * group,
				};

				head_backward(&h, &g, base + omp_get_thread_num() * stride, ld);
			}
}
