/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The memory of passes: what each layer keeps, and what all layers share.
 */
#include "model/internal.h"

static struct aqm_mat take(struct aqm_arena *arena, int64_t rows, int64_t cols)
{
	return aqm_mat_f32(aqm_arena_take(arena, (size_t)rows, (size_t)cols * sizeof(float)), rows, cols);
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t q_width(const aqm_model *model)
{
	return model->shape.heads * model->shape.head_dim;
}

static int64_t qkv_width(const aqm_model *model)
{
	return q_width(model) + 2 * model->shape.kv_heads * model->shape.head_dim;
}

static struct aqm_mat take_u(const aqm_model *model, const struct aqm_base_linear *linear, struct aqm_arena *arena,
                             int64_t n)
{
	return take(arena, n, aqm_base_linear_u_width(linear, model->params));
}

static void carve_kept(const aqm_model *model, const struct aqm_layer *layer, struct aqm_kept *kept,
                       struct aqm_arena *arena, int64_t n)
{
	const struct aqm_model_shape *shape = &model->shape;

	kept->x0 = take(arena, n, shape->width);
	kept->x1 = take(arena, n, shape->width);
	kept->mean0 = take(arena, 1, n);
	kept->rstd0 = take(arena, 1, n);
	kept->mean1 = take(arena, 1, n);
	kept->rstd1 = take(arena, 1, n);
	kept->qkv = take(arena, n, qkv_width(model));
	kept->o = take(arena, n, q_width(model));
	kept->lse = take(arena, shape->heads, n);
	kept->gate = take(arena, n, model->gated ? shape->ffn : 0);
	kept->up = take(arena, n, shape->ffn);
	for (int i = 0; i < model->qkv_count; i++)
		kept->u_qkv[i] = take_u(model, &layer->qkv[i], arena, n);
	kept->u_output = take_u(model, &layer->attn_output, arena, n);
	kept->u_gate = take_u(model, &layer->gate, arena, n);
	kept->u_up = take_u(model, &layer->up, arena, n);
	kept->u_down = take_u(model, &layer->down, arena, n);
}

/* Widest input of a linear that LoRA adapts. All layers are alike. */
static int64_t widest_adapted(const aqm_model *model)
{
	const struct aqm_layer *layer = &model->layers[0];
	const struct aqm_base_linear *linears[] = {&layer->qkv[0], &layer->qkv[1], &layer->qkv[2], &layer->attn_output,
	                                           &layer->gate,   &layer->up,     &layer->down};
	int64_t widest = 0;

	for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
		if (linears[i]->parts > 0)
			widest = larger(widest, linears[i]->in);
	return widest;
}

/* What only backward writes. The gradients of attention follow those of the ffn, in the same memory. */
static void carve_gradients(const aqm_model *model, struct aqm_buffers *buffers, struct aqm_arena *arena, int64_t n)
{
	int64_t q = q_width(model), qkv = qkv_width(model), ffn = model->shape.ffn;
	float *memory = take(arena, n, larger(ffn, q + qkv)).data;

	buffers->dh = take(arena, n, model->shape.width);
	buffers->dact = aqm_mat_f32(memory, n, ffn);
	buffers->dout = aqm_mat_f32(memory, n, q);
	buffers->dqkv = aqm_mat_f32(memory ? memory + n * q : NULL, n, qkv);
}

void aqm_buffers_carve(const aqm_model *model, struct aqm_buffers *buffers, struct aqm_kept *kept,
                       struct aqm_arena *arena, int64_t rows, bool training)
{
	const struct aqm_model_options *options = &model->options;
	bool lora = model->adapter_count > 0, remakes_act = aqm_base_linear_needs_input(&model->layers[0].down);
	int64_t small_rows = training || rows < AQM_FEW_ROWS ? rows : AQM_FEW_ROWS;
	struct aqm_kept planned;

	*buffers = (struct aqm_buffers){.rows = rows, .training = training, .kept = kept};
	for (int64_t i = 0; i < (training ? model->shape.used_layers : 1); i++)
		carve_kept(model, &model->layers[i], kept ? &kept[i] : &planned, arena, rows);
	buffers->last_mean = take(arena, 1, rows);
	buffers->last_rstd = take(arena, 1, rows);
	buffers->h = take(arena, rows, model->shape.width);
	if (training) {
		buffers->last = take(arena, rows, model->shape.width);
		carve_gradients(model, buffers, arena, rows);
	}
	/* Forward is through with `act` when backward needs `dact`, unless backward has to make it again. */
	buffers->act = training && !remakes_act ? buffers->dact : take(arena, rows, model->shape.ffn);
	buffers->linears = (struct aqm_linear_context){
		.device = model->device,
		.params = model->params,
		.expanded = aqm_arena_take(arena, model->expanded_floats, sizeof(float)),
		.masked = take(arena, training && options->dropout > 0 ? rows : 0, widest_adapted(model)).data,
		.small = take(arena, lora ? small_rows : 0, options->rank).data,
		.dropout = (float)options->dropout,
		.seed = options->seed,
		.training = training,
	};
}
