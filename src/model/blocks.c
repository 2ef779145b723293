/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A block, forward and backward, half by half.
 */
#include "model/internal.h"

#define OPS(model) (model)->device->ops

struct aqm_mat aqm_first_rows(struct aqm_mat m, int64_t rows)
{
	m.rows = rows;
	return m;
}

static struct aqm_mat first_cols(struct aqm_mat m, int64_t cols)
{
	return aqm_mat_of(m.dtype, m.data, m.rows, cols);
}

/* ---- what is kept of n tokens ---- */

struct aqm_kept_norm aqm_kept_norm_of(struct aqm_kept_norm kept, int64_t n)
{
	return (struct aqm_kept_norm){
		.x = aqm_first_rows(kept.x, n), .mean = first_cols(kept.mean, n), .rstd = first_cols(kept.rstd, n)};
}

static struct aqm_kept_attention kept_attention_of(struct aqm_kept_attention kept, int64_t n)
{
	kept.norm = aqm_kept_norm_of(kept.norm, n);
	kept.qkv = aqm_first_rows(kept.qkv, n);
	kept.o = aqm_first_rows(kept.o, n);
	kept.lse = first_cols(kept.lse, n);
	for (int i = 0; i < 3; i++)
		kept.u_qkv[i] = aqm_first_rows(kept.u_qkv[i], n);
	kept.u_output = aqm_first_rows(kept.u_output, n);
	return kept;
}

struct aqm_kept aqm_kept_of(const struct aqm_buffers *buffers, const struct aqm_stack *stack, int64_t index, int64_t n)
{
	int64_t own = stack->first + index;
	struct aqm_kept kept = buffers->training && !buffers->checkpoints ? buffers->kept[own] : *buffers->shared;

	if (buffers->training)
		kept.self.norm.x = buffers->kept[own].self.norm.x;
	kept.self = kept_attention_of(kept.self, n);
	kept.cross = kept_attention_of(kept.cross, n);
	kept.ffn.norm = aqm_kept_norm_of(kept.ffn.norm, n);
	kept.ffn.gate = aqm_first_rows(kept.ffn.gate, n);
	kept.ffn.up = aqm_first_rows(kept.ffn.up, n);
	kept.ffn.u_gate = aqm_first_rows(kept.ffn.u_gate, n);
	kept.ffn.u_up = aqm_first_rows(kept.ffn.u_up, n);
	kept.ffn.u_down = aqm_first_rows(kept.ffn.u_down, n);
	return kept;
}

/* ---- norms ---- */

static struct aqm_mat weight_gradient(const aqm_model *model, const struct aqm_weight *weight)
{
	return weight->param >= 0 ? aqm_params_gradient(model->params, weight->param) : aqm_mat_absent();
}

void aqm_norm_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_norm *norm,
                      const struct aqm_kept_norm *kept, struct aqm_mat residual, struct aqm_mat y)
{
	struct aqm_mat weight = aqm_weight_f32(&buffers->linears, &norm->weight);

	if (model->rms)
		OPS(model)->rmsnorm_forward(model->device, kept->x, residual, weight, model->shape.epsilon, y, kept->rstd);
	else
		OPS(model)->layernorm_forward(model->device, kept->x, residual, weight,
		                              aqm_weight_f32(&buffers->linears, &norm->bias), model->shape.epsilon, y,
		                              kept->mean, kept->rstd);
}

void aqm_norm_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_norm *norm,
                       struct aqm_mat dy, const struct aqm_kept_norm *kept, struct aqm_mat dx)
{
	struct aqm_mat weight = aqm_weight_f32(&buffers->linears, &norm->weight);
	struct aqm_mat dweight = weight_gradient(model, &norm->weight);

	if (model->rms)
		OPS(model)->rmsnorm_backward(model->device, dy, kept->x, weight, kept->rstd, dx, dweight);
	else
		OPS(model)->layernorm_backward(model->device, dy, kept->x, weight, kept->mean, kept->rstd, dx, dweight,
		                               weight_gradient(model, &norm->bias));
}

/* ---- attention ---- */

/* What an attention looks at. */
struct view {
	struct aqm_mat source, dsource; /* other tokens' hidden states, and their gradient; absent: the half's own tokens */
	struct aqm_mat bias, dbias;
	bool causal;
};

static struct view self_view(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_stack *stack)
{
	const struct aqm_stack_buffers *own = &buffers->stacks[stack - model->stacks];

	return (struct view){.bias = own->bias, .dbias = own->dbias, .causal = stack->self_causal};
}

static struct view cross_view(const struct aqm_buffers *buffers, const struct aqm_stack *stack, int64_t n)
{
	return (struct view){.source = aqm_first_rows(buffers->encoded, n),
	                     .dsource = aqm_first_rows(buffers->dencoded, n),
	                     .causal = stack->cross_causal};
}

static struct aqm_mat q_of(const aqm_model *model, struct aqm_mat qkv)
{
	return aqm_mat_cols(qkv, 0, model->shape.heads * model->shape.head_dim);
}

static struct aqm_mat k_of(const aqm_model *model, struct aqm_mat qkv)
{
	return aqm_mat_cols(qkv, model->shape.heads * model->shape.head_dim, model->shape.kv_heads * model->shape.head_dim);
}

static struct aqm_mat v_of(const aqm_model *model, struct aqm_mat qkv)
{
	int64_t kv = model->shape.kv_heads * model->shape.head_dim;

	return aqm_mat_cols(qkv, model->shape.heads * model->shape.head_dim + kv, kv);
}

/* The columns that linear i of qkv writes. */
static struct aqm_mat qkv_part(const aqm_model *model, struct aqm_mat qkv, int i)
{
	if (model->qkv_count == 1)
		return qkv;
	return i == 0 ? q_of(model, qkv) : i == 1 ? k_of(model, qkv) : v_of(model, qkv);
}

/* Turn queries and keys to their positions, or their gradients back. They are neighbours, so they turn as one. */
static void rotate(const aqm_model *model, struct aqm_mat qkv, const struct aqm_pass *pass, bool backward)
{
	int64_t width = (model->shape.heads + model->shape.kv_heads) * model->shape.head_dim;

	if (model->inverse_frequency.data)
		OPS(model)->rope(model->device, aqm_mat_cols(qkv, 0, width), pass->tokens, model->shape.head_dim, pass->places,
		                 model->inverse_frequency, model->rope_pairs, backward);
}

static struct aqm_attention attention_shape(const aqm_model *model, const struct aqm_pass *pass,
                                            const struct view *view)
{
	return (struct aqm_attention){
		.windows = pass->windows,
		.tokens = pass->tokens,
		.heads = model->shape.heads,
		.kv_heads = model->shape.kv_heads,
		.head_dim = model->shape.head_dim,
		.scale = model->score_scale,
		.causal = view->causal,
		.bias = view->bias,
	};
}

/* Append keys and values of this pass, which are neighbours, to the half's part of the cache, and attend to all that is
 * there. */
static void attend_cached(const aqm_model *model, const struct aqm_pass *pass, const struct aqm_attention_half *half,
                          const struct aqm_kept_attention *kept, struct aqm_attention shape)
{
	int64_t q = model->shape.heads * model->shape.head_dim, kv = model->shape.kv_heads * model->shape.head_dim;
	struct aqm_mat all = aqm_mat_of(model->device->dtype, pass->cache, model->attentions * pass->cache_rows, 2 * kv);
	struct aqm_mat own = aqm_mat_rows(all, half->slot * pass->cache_rows, pass->cache_rows);

	OPS(model)->append(model->device, aqm_mat_cols(kept->qkv, q, 2 * kv), pass->tokens, pass->places, own);
	OPS(model)->attention_cached(model->device, shape, pass->places, q_of(model, kept->qkv), aqm_mat_cols(own, 0, kv),
	                             aqm_mat_cols(own, kv, kv), kept->o);
}

/* Whether linear i of qkv reads the norm's output, not the view's source. */
static bool reads_norm(const struct view *view, int i)
{
	return i == 0 || !view->source.data;
}

/* kept.norm.x += residual, then out = what attention adds to it. */
static void attention_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                              const struct aqm_attention_half *half, const struct view *view,
                              const struct aqm_kept_attention *kept, struct aqm_mat residual, struct aqm_mat out)
{
	const struct aqm_linear_context *linears = &buffers->linears;
	struct aqm_attention shape = attention_shape(model, pass, view);
	struct aqm_mat h = aqm_first_rows(buffers->h, out.rows);

	aqm_norm_forward(model, buffers, &half->norm, &kept->norm, residual, h);
	const struct aqm_base_linear *qkv[AQM_LINEARS_MAX];
	struct aqm_mat parts[AQM_LINEARS_MAX];
	int of_norm = 0; /* the first ones */

	for (int i = 0; i < model->qkv_count; i++) {
		qkv[i] = &half->qkv[i];
		parts[i] = qkv_part(model, kept->qkv, i);
		of_norm += reads_norm(view, i);
	}
	aqm_base_linears_forward(linears, qkv, of_norm, h, parts, kept->u_qkv);
	if (of_norm < model->qkv_count)
		aqm_base_linears_forward(linears, qkv + of_norm, model->qkv_count - of_norm, view->source, parts + of_norm,
		                         kept->u_qkv + of_norm);
	rotate(model, kept->qkv, pass, false);
	if (pass->cache)
		attend_cached(model, pass, half, kept, shape);
	else
		OPS(model)->attention_forward(model->device, shape, q_of(model, kept->qkv), k_of(model, kept->qkv),
		                              v_of(model, kept->qkv), kept->o, kept->lse);
	aqm_base_linear_forward(linears, &half->output, kept->o, false, out, kept->u_output);
}

/* dx: gradient of the half's output in, of kept.norm.x out. */
static void attention_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                               const struct aqm_attention_half *half, const struct view *view,
                               const struct aqm_kept_attention *kept, struct aqm_mat dx)
{
	const struct aqm_linear_context *linears = &buffers->linears;
	int64_t n = dx.rows;
	struct aqm_mat h = aqm_first_rows(buffers->h, n), dh = aqm_first_rows(buffers->dh, n);
	struct aqm_mat dout = aqm_first_rows(buffers->dout, n), dqkv = aqm_first_rows(buffers->dqkv, n);
	bool needs_h = false;

	aqm_base_linear_backward(linears, &half->output, dx, kept->o, kept->u_output, false, dout);
	OPS(model)->attention_backward(model->device, attention_shape(model, pass, view), q_of(model, kept->qkv),
	                               k_of(model, kept->qkv), v_of(model, kept->qkv), kept->o, kept->lse, dout,
	                               q_of(model, dqkv), k_of(model, dqkv), v_of(model, dqkv), view->dbias);
	rotate(model, dqkv, pass, true);
	for (int i = 0; i < model->qkv_count; i++)
		needs_h = needs_h || (reads_norm(view, i) && aqm_base_linear_needs_input(&half->qkv[i]));
	if (needs_h)
		aqm_norm_forward(model, buffers, &half->norm, &kept->norm, aqm_mat_absent(), h);
	for (int i = 0; i < model->qkv_count; i++)
		if (reads_norm(view, i))
			aqm_base_linear_backward(linears, &half->qkv[i], qkv_part(model, dqkv, i), h, kept->u_qkv[i], i > 0, dh);
		else
			aqm_base_linear_backward(linears, &half->qkv[i], qkv_part(model, dqkv, i), view->source, kept->u_qkv[i],
			                         true, view->dsource);
	aqm_norm_backward(model, buffers, &half->norm, dh, &kept->norm, dx);
}

/* ---- feed-forward ---- */

/* kept.gate, kept.up -> act */
static void activate(const aqm_model *model, const struct aqm_kept_ffn *kept, struct aqm_mat act)
{
	if (model->gated)
		OPS(model)->glu_forward(model->device, model->glu, kept->gate, kept->up, act);
	else
		OPS(model)->activation_forward(model->device, model->activation, 0.0f, kept->up, act);
}

/* kept.norm.x += residual, then next = that and what the half adds to it. */
static void ffn_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_ffn_half *half,
                        const struct aqm_kept_ffn *kept, struct aqm_mat residual, struct aqm_mat next)
{
	const struct aqm_linear_context *linears = &buffers->linears;
	struct aqm_mat h = aqm_first_rows(buffers->h, next.rows), act = aqm_first_rows(buffers->act, next.rows);

	const struct aqm_base_linear *const both[] = {&half->up, &half->gate};
	const struct aqm_mat y[] = {kept->up, kept->gate}, u[] = {kept->u_up, kept->u_gate};

	aqm_norm_forward(model, buffers, &half->norm, &kept->norm, residual, h);
	aqm_base_linears_forward(linears, both, model->gated ? 2 : 1, h, y, u);
	if (!next.data)
		return;
	activate(model, kept, act);
	OPS(model)->copy(model->device, kept->norm.x, next);
	aqm_base_linear_forward(linears, &half->down, act, true, next, kept->u_down);
}

/* dx: gradient of the half's output in, of kept.norm.x out. */
static void ffn_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_ffn_half *half,
                         const struct aqm_kept_ffn *kept, struct aqm_mat dx)
{
	const struct aqm_linear_context *linears = &buffers->linears;
	int64_t n = dx.rows;
	struct aqm_mat h = aqm_first_rows(buffers->h, n), act = aqm_first_rows(buffers->act, n);
	struct aqm_mat dh = aqm_first_rows(buffers->dh, n), dact = aqm_first_rows(buffers->dact, n);

	if (aqm_base_linear_needs_input(&half->down))
		activate(model, kept, act);
	if (aqm_base_linear_needs_input(&half->up) || (model->gated && aqm_base_linear_needs_input(&half->gate)))
		aqm_norm_forward(model, buffers, &half->norm, &kept->norm, aqm_mat_absent(), h);
	aqm_base_linear_backward(linears, &half->down, dx, act, kept->u_down, false, dact);
	if (model->gated) {
		OPS(model)->glu_backward(model->device, model->glu, dact, kept->gate, kept->up, kept->gate, kept->up);
		aqm_base_linear_backward(linears, &half->gate, kept->gate, h, kept->u_gate, false, dh);
		aqm_base_linear_backward(linears, &half->up, kept->up, h, kept->u_up, true, dh);
	} else {
		OPS(model)->activation_backward(model->device, model->activation, 0.0f, dact, kept->up, dact);
		aqm_base_linear_backward(linears, &half->up, dact, h, kept->u_up, false, dh);
	}
	aqm_norm_backward(model, buffers, &half->norm, dh, &kept->norm, dx);
}

/* ---- blocks ---- */

void aqm_block_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                       const struct aqm_stack *stack, int64_t index, struct aqm_mat next)
{
	const struct aqm_block *block = &stack->blocks[index];
	struct aqm_kept kept = aqm_kept_of(buffers, stack, index, next.rows);
	struct view self = self_view(model, buffers, stack), cross = cross_view(buffers, stack, next.rows);
	struct aqm_mat behind_self = stack->reads_encoder ? kept.cross.norm.x : kept.ffn.norm.x;

	attention_forward(model, buffers, pass, &block->self, &self, &kept.self, aqm_mat_absent(), behind_self);
	if (stack->reads_encoder)
		attention_forward(model, buffers, pass, &block->cross, &cross, &kept.cross, kept.self.norm.x, kept.ffn.norm.x);
	ffn_forward(model, buffers, &block->ffn, &kept.ffn, stack->reads_encoder ? kept.cross.norm.x : kept.self.norm.x,
	            next);
}

void aqm_block_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                        const struct aqm_stack *stack, int64_t index, struct aqm_mat dx)
{
	const struct aqm_block *block = &stack->blocks[index];
	struct aqm_kept kept = aqm_kept_of(buffers, stack, index, dx.rows);
	struct view self = self_view(model, buffers, stack), cross = cross_view(buffers, stack, dx.rows);

	ffn_backward(model, buffers, &block->ffn, &kept.ffn, dx);
	if (stack->reads_encoder)
		attention_backward(model, buffers, pass, &block->cross, &cross, &kept.cross, dx);
	attention_backward(model, buffers, pass, &block->self, &self, &kept.self, dx);
}
