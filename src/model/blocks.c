/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The layers: forward, backward, and forward of a few tokens against a cache.
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
	m.cols = cols;
	return m;
}

static struct aqm_mat weight_gradient(const aqm_model *model, const struct aqm_weight *weight)
{
	return weight->param >= 0 ? aqm_params_gradient(model->params, weight->param) : aqm_mat_absent();
}

/* ---- norms ---- */

static void norm_forward(const aqm_model *model, const struct aqm_norm *norm, struct aqm_mat x, struct aqm_mat residual,
                         struct aqm_mat y, struct aqm_mat mean, struct aqm_mat rstd)
{
	struct aqm_mat weight = aqm_weight_f32(&model->linears, &norm->weight);

	if (model->rms)
		OPS(model)->rmsnorm_forward(model->device, x, residual, weight, model->shape.epsilon, y, rstd);
	else
		OPS(model)->layernorm_forward(model->device, x, residual, weight, aqm_weight_f32(&model->linears, &norm->bias),
		                              model->shape.epsilon, y, mean, rstd);
}

/* dx += */
static void norm_backward(const aqm_model *model, const struct aqm_norm *norm, struct aqm_mat dy, struct aqm_mat x,
                          struct aqm_mat mean, struct aqm_mat rstd, struct aqm_mat dx)
{
	struct aqm_mat weight = aqm_weight_f32(&model->linears, &norm->weight),
				   dweight = weight_gradient(model, &norm->weight);

	if (model->rms)
		OPS(model)->rmsnorm_backward(model->device, dy, x, weight, rstd, dx, dweight);
	else
		OPS(model)->layernorm_backward(model->device, dy, x, weight, mean, rstd, dx, dweight,
		                               weight_gradient(model, &norm->bias));
}

/* ---- pieces of a layer ---- */

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

/* The columns of the fused buffer that linear i of qkv writes. */
static struct aqm_mat qkv_part(const aqm_model *model, struct aqm_mat qkv, int i)
{
	if (model->qkv_count == 1)
		return qkv;
	return i == 0 ? q_of(model, qkv) : i == 1 ? k_of(model, qkv) : v_of(model, qkv);
}

static void rotate(const aqm_model *model, struct aqm_mat qkv, int64_t tokens, int64_t first, bool backward)
{
	struct aqm_mat frequency = aqm_mat_f32(model->inverse_frequency, 1, model->shape.rope_dim / 2);

	if (!model->rope)
		return;
	OPS(model)->rope(model->device, q_of(model, qkv), tokens, model->shape.head_dim, first, frequency,
	                 model->rope_pairs, backward);
	OPS(model)->rope(model->device, k_of(model, qkv), tokens, model->shape.head_dim, first, frequency,
	                 model->rope_pairs, backward);
}

static struct aqm_attention attention_shape(const aqm_model *model, int64_t windows, int64_t tokens)
{
	return (struct aqm_attention){.windows = windows,
	                              .tokens = tokens,
	                              .heads = model->shape.heads,
	                              .kv_heads = model->shape.kv_heads,
	                              .head_dim = model->shape.head_dim,
	                              .scale = 1.0f / sqrtf((float)model->shape.head_dim),
	                              .causal = true};
}

/* h = norm's output in; the activation's output in model->act. */
static struct aqm_mat ffn_inner(aqm_model *model, struct aqm_layer *layer, struct aqm_mat h)
{
	struct aqm_mat act = first_rows(model->act, h.rows), up = first_rows(layer->up_out, h.rows);

	if (model->gated) {
		struct aqm_mat gate = first_rows(layer->gate_out, h.rows);

		aqm_base_linear_forward(&model->linears, &layer->gate, h, false, gate);
		aqm_base_linear_forward(&model->linears, &layer->up, h, false, up);
		OPS(model)->swiglu_forward(model->device, gate, up, act);
	} else {
		aqm_base_linear_forward(&model->linears, &layer->up, h, false, up);
		OPS(model)->activation_forward(model->device, model->activation, 0.0f, up, act);
	}
	return act;
}

/* ---- forward ---- */

void aqm_layer_forward(aqm_model *model, struct aqm_layer *layer, int64_t windows, int64_t tokens, struct aqm_mat x2)
{
	const struct aqm_linear_context *linears = &model->linears;
	int64_t n = windows * tokens;
	struct aqm_mat x0 = first_rows(layer->x0, n), x1 = first_rows(layer->x1, n), h0 = first_rows(layer->h0, n);
	struct aqm_mat qkv = first_rows(layer->qkv_out, n), o = first_rows(layer->o, n), h = first_rows(model->h, n);

	norm_forward(model, &layer->attn_norm, x0, aqm_mat_absent(), h0, first_cols(layer->mean0, n),
	             first_cols(layer->rstd0, n));
	for (int i = 0; i < model->qkv_count; i++)
		aqm_base_linear_forward(linears, &layer->qkv[i], h0, false, qkv_part(model, qkv, i));
	rotate(model, qkv, tokens, 0, false);
	OPS(model)->attention_forward(model->device, attention_shape(model, windows, tokens), q_of(model, qkv),
	                              k_of(model, qkv), v_of(model, qkv), o, first_cols(layer->lse, n));
	aqm_base_linear_forward(linears, &layer->attn_output, o, false, x1);
	norm_forward(model, &layer->ffn_norm, x1, x0, h, first_cols(layer->mean1, n), first_cols(layer->rstd1, n));
	struct aqm_mat act = ffn_inner(model, layer, h);
	if (x2.data != x1.data)
		OPS(model)->copy(model->device, x1, x2);
	aqm_base_linear_forward(linears, &layer->down, act, true, x2);
}

/* ---- backward ---- */

/* dx: gradient of x2 in, of x1 out. */
static void ffn_backward(aqm_model *model, struct aqm_layer *layer, struct aqm_mat dx)
{
	const struct aqm_linear_context *linears = &model->linears;
	int64_t n = dx.rows;
	struct aqm_mat h = first_rows(model->h, n), act = first_rows(model->act, n), dact = first_rows(model->dffn, n);
	struct aqm_mat up = first_rows(layer->up_out, n), gate = first_rows(layer->gate_out, n),
				   dh = first_rows(model->dh, n);
	struct aqm_mat x1 = first_rows(layer->x1, n);
	struct aqm_mat mean = first_cols(layer->mean1, n), rstd = first_cols(layer->rstd1, n);

	/* What was not kept is cheap to make again. */
	if (aqm_base_linear_needs_input(&layer->down)) {
		if (model->gated)
			OPS(model)->swiglu_forward(model->device, gate, up, act);
		else
			OPS(model)->activation_forward(model->device, model->activation, 0.0f, up, act);
	}
	if (aqm_base_linear_needs_input(&layer->up) || (model->gated && aqm_base_linear_needs_input(&layer->gate)))
		norm_forward(model, &layer->ffn_norm, x1, aqm_mat_absent(), h, mean, rstd);
	aqm_base_linear_backward(linears, &layer->down, dx, act, false, dact);
	if (model->gated) {
		OPS(model)->swiglu_backward(model->device, dact, gate, up, gate, up);
		aqm_base_linear_backward(linears, &layer->gate, gate, h, false, dh);
		aqm_base_linear_backward(linears, &layer->up, up, h, true, dh);
	} else {
		OPS(model)->activation_backward(model->device, model->activation, 0.0f, dact, up, dact);
		aqm_base_linear_backward(linears, &layer->up, dact, h, false, dh);
	}
	norm_backward(model, &layer->ffn_norm, dh, x1, mean, rstd, dx);
}

void aqm_layer_backward(aqm_model *model, struct aqm_layer *layer, int64_t windows, int64_t tokens, struct aqm_mat dx)
{
	const struct aqm_linear_context *linears = &model->linears;
	int64_t n = windows * tokens;
	struct aqm_mat qkv = first_rows(layer->qkv_out, n), dqkv = first_rows(model->dqkv, n), o = first_rows(layer->o, n);
	struct aqm_mat dh = first_rows(model->dh, n), dout = first_rows(model->dout, n);

	ffn_backward(model, layer, dx);
	aqm_base_linear_backward(linears, &layer->attn_output, dx, o, false, dout);
	OPS(model)->attention_backward(model->device, attention_shape(model, windows, tokens), q_of(model, qkv),
	                               k_of(model, qkv), v_of(model, qkv), o, first_cols(layer->lse, n), dout,
	                               q_of(model, dqkv), k_of(model, dqkv), v_of(model, dqkv));
	rotate(model, dqkv, tokens, 0, true);
	for (int i = 0; i < model->qkv_count; i++)
		aqm_base_linear_backward(linears, &layer->qkv[i], qkv_part(model, dqkv, i), first_rows(layer->h0, n), i > 0,
		                         dh);
	norm_backward(model, &layer->attn_norm, dh, first_rows(layer->x0, n), first_cols(layer->mean0, n),
	              first_cols(layer->rstd0, n), dx);
}

void aqm_output_norm_forward(aqm_model *model, struct aqm_mat x, struct aqm_mat y)
{
	norm_forward(model, &model->output_norm, x, aqm_mat_absent(), y, first_cols(model->final_mean, x.rows),
	             first_cols(model->final_rstd, x.rows));
}

void aqm_output_norm_backward(aqm_model *model, struct aqm_mat dy, struct aqm_mat dx)
{
	norm_backward(model, &model->output_norm, dy, first_rows(model->final_x, dy.rows),
	              first_cols(model->final_mean, dy.rows), first_cols(model->final_rstd, dy.rows), dx);
}

/* ---- streaming ---- */

void aqm_layer_extend(aqm_model *model, struct aqm_layer *layer, int64_t past, struct aqm_mat x, struct aqm_mat k,
                      struct aqm_mat v)
{
	const struct aqm_linear_context *linears = &model->linears;
	int64_t n = x.rows;
	struct aqm_mat h0 = first_rows(layer->h0, n), qkv = first_rows(layer->qkv_out, n), o = first_rows(layer->o, n);
	struct aqm_mat h = first_rows(model->h, n);

	norm_forward(model, &layer->attn_norm, x, aqm_mat_absent(), h0, first_cols(layer->mean0, n),
	             first_cols(layer->rstd0, n));
	for (int i = 0; i < model->qkv_count; i++)
		aqm_base_linear_forward(linears, &layer->qkv[i], h0, false, qkv_part(model, qkv, i));
	rotate(model, qkv, n, past, false);
	OPS(model)->copy(model->device, k_of(model, qkv), aqm_mat_rows(k, past, n));
	OPS(model)->copy(model->device, v_of(model, qkv), aqm_mat_rows(v, past, n));
	OPS(model)->attention_cached(model->device, attention_shape(model, 1, n), past, q_of(model, qkv),
	                             first_rows(k, past + n), first_rows(v, past + n), o);
	aqm_base_linear_forward(linears, &layer->attn_output, o, true, x);
	norm_forward(model, &layer->ffn_norm, x, aqm_mat_absent(), h, first_cols(layer->mean1, n),
	             first_cols(layer->rstd1, n));
	aqm_base_linear_forward(linears, &layer->down, ffn_inner(model, layer, h), true, x);
}
