/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The layers, forward and backward, and the passes through all of them.
 */
#include "model/internal.h"

#include <math.h>

#define OPS(model) (model)->device->ops

static struct aqm_mat first_rows(struct aqm_mat m, int64_t rows)
{
	m.rows = rows;
	return m;
}

static struct aqm_mat first_cols(struct aqm_mat m, int64_t cols)
{
	return aqm_mat_f32(m.data, m.rows, cols);
}

/* What the layer keeps of this pass's n tokens. */
static struct aqm_kept kept_of(const struct aqm_buffers *buffers, int64_t layer, int64_t n)
{
	struct aqm_kept kept = buffers->kept[buffers->training ? layer : 0];
	struct aqm_mat *rows[] = {&kept.x0,     &kept.x1,       &kept.qkv,      &kept.o,        &kept.gate,
	                          &kept.up,     &kept.u_qkv[0], &kept.u_qkv[1], &kept.u_qkv[2], &kept.u_output,
	                          &kept.u_gate, &kept.u_up,     &kept.u_down};
	struct aqm_mat *cols[] = {&kept.mean0, &kept.rstd0, &kept.mean1, &kept.rstd1, &kept.lse};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		*rows[i] = first_rows(*rows[i], n);
	for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
		*cols[i] = first_cols(*cols[i], n);
	return kept;
}

/* ---- norms ---- */

static struct aqm_mat weight_gradient(const aqm_model *model, const struct aqm_weight *weight)
{
	return weight->param >= 0 ? aqm_params_gradient(model->params, weight->param) : aqm_mat_absent();
}

/* y = norm(x += residual) */
static void norm_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_norm *norm,
                         struct aqm_mat x, struct aqm_mat residual, struct aqm_mat y, struct aqm_mat mean,
                         struct aqm_mat rstd)
{
	struct aqm_mat weight = aqm_weight_f32(&buffers->linears, &norm->weight);

	if (model->rms)
		OPS(model)->rmsnorm_forward(model->device, x, residual, weight, model->shape.epsilon, y, rstd);
	else
		OPS(model)->layernorm_forward(model->device, x, residual, weight,
		                              aqm_weight_f32(&buffers->linears, &norm->bias), model->shape.epsilon, y, mean,
		                              rstd);
}

/* dx += */
static void norm_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_norm *norm,
                          struct aqm_mat dy, struct aqm_mat x, struct aqm_mat mean, struct aqm_mat rstd,
                          struct aqm_mat dx)
{
	struct aqm_mat weight = aqm_weight_f32(&buffers->linears, &norm->weight);
	struct aqm_mat dweight = weight_gradient(model, &norm->weight);

	if (model->rms)
		OPS(model)->rmsnorm_backward(model->device, dy, x, weight, rstd, dx, dweight);
	else
		OPS(model)->layernorm_backward(model->device, dy, x, weight, mean, rstd, dx, dweight,
		                               weight_gradient(model, &norm->bias));
}

/* ---- attention ---- */

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
		OPS(model)->rope(model->device, aqm_mat_cols(qkv, 0, width), pass->tokens, model->shape.head_dim, pass->past,
		                 model->inverse_frequency, model->rope_pairs, backward);
}

static struct aqm_attention attention_shape(const aqm_model *model, const struct aqm_pass *pass)
{
	return (struct aqm_attention){
		.windows = pass->windows,
		.tokens = pass->tokens,
		.heads = model->shape.heads,
		.kv_heads = model->shape.kv_heads,
		.head_dim = model->shape.head_dim,
		.scale = 1.0f / sqrtf((float)model->shape.head_dim),
		.causal = true,
	};
}

/* Append keys and values of this pass to the layer's cache, and attend to all that is there. */
static void attend_cached(const aqm_model *model, const struct aqm_pass *pass, int64_t layer, struct aqm_kept *kept)
{
	int64_t kv = model->shape.kv_heads * model->shape.head_dim, seen = pass->past + pass->tokens;
	float *cache = pass->cache + 2 * layer * pass->capacity * kv;
	struct aqm_mat k = aqm_mat_f32(cache, seen, kv), v = aqm_mat_f32(cache + pass->capacity * kv, seen, kv);

	OPS(model)->copy(model->device, k_of(model, kept->qkv), aqm_mat_rows(k, pass->past, pass->tokens));
	OPS(model)->copy(model->device, v_of(model, kept->qkv), aqm_mat_rows(v, pass->past, pass->tokens));
	OPS(model)->attention_cached(model->device, attention_shape(model, pass), pass->past, q_of(model, kept->qkv), k, v,
	                             kept->o);
}

/* ---- forward ---- */

/* kept.gate, kept.up -> act */
static void activate(const aqm_model *model, const struct aqm_kept *kept, struct aqm_mat act)
{
	if (model->gated)
		OPS(model)->glu_forward(model->device, AQM_SWIGLU, kept->gate, kept->up, act);
	else
		OPS(model)->activation_forward(model->device, model->activation, 0.0f, kept->up, act);
}

/* kept.x0 in, the sum that is the next layer's x0 out. */
static void layer_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                          int64_t index, struct aqm_mat next)
{
	const struct aqm_layer *layer = &model->layers[index];
	const struct aqm_linear_context *linears = &buffers->linears;
	int64_t n = pass->windows * pass->tokens;
	struct aqm_kept kept = kept_of(buffers, index, n);
	struct aqm_mat h = first_rows(buffers->h, n), act = first_rows(buffers->act, n);

	norm_forward(model, buffers, &layer->attn_norm, kept.x0, aqm_mat_absent(), h, kept.mean0, kept.rstd0);
	for (int i = 0; i < model->qkv_count; i++)
		aqm_base_linear_forward(linears, &layer->qkv[i], h, false, qkv_part(model, kept.qkv, i), kept.u_qkv[i]);
	rotate(model, kept.qkv, pass, false);
	if (pass->cache)
		attend_cached(model, pass, index, &kept);
	else
		OPS(model)->attention_forward(model->device, attention_shape(model, pass), q_of(model, kept.qkv),
		                              k_of(model, kept.qkv), v_of(model, kept.qkv), kept.o, kept.lse);
	aqm_base_linear_forward(linears, &layer->attn_output, kept.o, false, kept.x1, kept.u_output);

	norm_forward(model, buffers, &layer->ffn_norm, kept.x1, kept.x0, h, kept.mean1, kept.rstd1);
	if (model->gated)
		aqm_base_linear_forward(linears, &layer->gate, h, false, kept.gate, kept.u_gate);
	aqm_base_linear_forward(linears, &layer->up, h, false, kept.up, kept.u_up);
	activate(model, &kept, act);
	OPS(model)->copy(model->device, kept.x1, next);
	aqm_base_linear_forward(linears, &layer->down, act, true, next, kept.u_down);
}

/* Rows past .. past + tokens of the learned positions onto, or from, each window. */
static void add_positions(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                          struct aqm_mat x)
{
	if (!model->positions.tensor)
		return;
	struct aqm_mat rows = aqm_mat_rows(aqm_weight_f32(&buffers->linears, &model->positions), pass->past, pass->tokens);

	for (int64_t w = 0; w < pass->windows; w++)
		OPS(model)->axpy(model->device, 1.0f, rows, aqm_mat_rows(x, w * pass->tokens, pass->tokens));
}

static void positions_backward(const aqm_model *model, const struct aqm_pass *pass, struct aqm_mat dx)
{
	if (model->positions.param < 0)
		return;
	struct aqm_mat rows = aqm_mat_rows(weight_gradient(model, &model->positions), pass->past, pass->tokens);

	for (int64_t w = 0; w < pass->windows; w++)
		OPS(model)->axpy(model->device, 1.0f, aqm_mat_rows(dx, w * pass->tokens, pass->tokens), rows);
}

void aqm_pass_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                      struct aqm_mat x)
{
	int64_t layers = model->shape.used_layers, n = pass->windows * pass->tokens;
	struct aqm_mat last = first_rows(buffers->training ? buffers->last : buffers->kept[0].x0, n);

	add_positions(model, buffers, pass, x);
	OPS(model)->copy(model->device, x, first_rows(buffers->kept[0].x0, n));
	for (int64_t i = 0; i < layers; i++) {
		struct aqm_mat next = i + 1 < layers ? kept_of(buffers, i + 1, n).x0 : last;

		layer_forward(model, buffers, pass, i, next);
	}
	norm_forward(model, buffers, &model->output_norm, last, aqm_mat_absent(), x, first_cols(buffers->last_mean, n),
	             first_cols(buffers->last_rstd, n));
}

/* ---- backward ---- */

/* dx: gradient of the layer's output in, of kept.x1 out. */
static void ffn_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_layer *layer,
                         const struct aqm_kept *kept, struct aqm_mat dx)
{
	const struct aqm_linear_context *linears = &buffers->linears;
	int64_t n = dx.rows;
	struct aqm_mat h = first_rows(buffers->h, n), act = first_rows(buffers->act, n);
	struct aqm_mat dh = first_rows(buffers->dh, n), dact = first_rows(buffers->dact, n);

	if (aqm_base_linear_needs_input(&layer->down))
		activate(model, kept, act);
	if (aqm_base_linear_needs_input(&layer->up) || (model->gated && aqm_base_linear_needs_input(&layer->gate)))
		norm_forward(model, buffers, &layer->ffn_norm, kept->x1, aqm_mat_absent(), h, kept->mean1, kept->rstd1);
	aqm_base_linear_backward(linears, &layer->down, dx, act, kept->u_down, false, dact);
	if (model->gated) {
		OPS(model)->glu_backward(model->device, AQM_SWIGLU, dact, kept->gate, kept->up, kept->gate, kept->up);
		aqm_base_linear_backward(linears, &layer->gate, kept->gate, h, kept->u_gate, false, dh);
		aqm_base_linear_backward(linears, &layer->up, kept->up, h, kept->u_up, true, dh);
	} else {
		OPS(model)->activation_backward(model->device, model->activation, 0.0f, dact, kept->up, dact);
		aqm_base_linear_backward(linears, &layer->up, dact, h, kept->u_up, false, dh);
	}
	norm_backward(model, buffers, &layer->ffn_norm, dh, kept->x1, kept->mean1, kept->rstd1, dx);
}

/* dx: gradient of kept.x1 in, of kept.x0 out. */
static void attention_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                               const struct aqm_layer *layer, const struct aqm_kept *kept, struct aqm_mat dx)
{
	const struct aqm_linear_context *linears = &buffers->linears;
	int64_t n = dx.rows;
	struct aqm_mat h = first_rows(buffers->h, n), dh = first_rows(buffers->dh, n);
	struct aqm_mat dout = first_rows(buffers->dout, n), dqkv = first_rows(buffers->dqkv, n);
	bool needs_h = false;

	aqm_base_linear_backward(linears, &layer->attn_output, dx, kept->o, kept->u_output, false, dout);
	OPS(model)->attention_backward(model->device, attention_shape(model, pass), q_of(model, kept->qkv),
	                               k_of(model, kept->qkv), v_of(model, kept->qkv), kept->o, kept->lse, dout,
	                               q_of(model, dqkv), k_of(model, dqkv), v_of(model, dqkv), aqm_mat_absent());
	rotate(model, dqkv, pass, true);
	for (int i = 0; i < model->qkv_count; i++)
		needs_h = needs_h || aqm_base_linear_needs_input(&layer->qkv[i]);
	if (needs_h)
		norm_forward(model, buffers, &layer->attn_norm, kept->x0, aqm_mat_absent(), h, kept->mean0, kept->rstd0);
	for (int i = 0; i < model->qkv_count; i++)
		aqm_base_linear_backward(linears, &layer->qkv[i], qkv_part(model, dqkv, i), h, kept->u_qkv[i], i > 0, dh);
	norm_backward(model, buffers, &layer->attn_norm, dh, kept->x0, kept->mean0, kept->rstd0, dx);
}

void aqm_pass_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                       struct aqm_mat dx)
{
	int64_t n = pass->windows * pass->tokens;
	struct aqm_mat dy = first_rows(buffers->dh, n);

	OPS(model)->copy(model->device, dx, dy);
	OPS(model)->zero(model->device, dx);
	norm_backward(model, buffers, &model->output_norm, dy, first_rows(buffers->last, n),
	              first_cols(buffers->last_mean, n), first_cols(buffers->last_rstd, n), dx);
	for (int64_t i = model->shape.used_layers; i-- > 0;) {
		struct aqm_kept kept = kept_of(buffers, i, n);

		ffn_backward(model, buffers, &model->layers[i], &kept, dx);
		attention_backward(model, buffers, pass, &model->layers[i], &kept, dx);
	}
	positions_backward(model, pass, dx);
}
