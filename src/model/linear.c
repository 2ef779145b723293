/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/linear.h"

struct aqm_mat aqm_weight_f32(const struct aqm_linear_context *context, const struct aqm_weight *weight)
{
	if (weight->param >= 0)
		return aqm_params_value(context->params, weight->param);
	if (!weight->frozen.data || weight->frozen.dtype == AQM_F32)
		return weight->frozen;
	struct aqm_mat y = aqm_mat_f32(context->expanded, weight->frozen.rows, weight->frozen.cols);
	context->device->ops->expand(context->device, weight->frozen, y);
	return y;
}

/* drop(x): x itself unless dropout is on. */
static struct aqm_mat dropped(const struct aqm_linear_context *context, const struct aqm_lora_part *part,
                              struct aqm_mat x)
{
	if (!context->training || context->dropout <= 0)
		return x;
	struct aqm_mat y = aqm_mat_f32(context->scratch, x.rows, x.cols);
	context->device->ops->dropout(context->device, context->dropout, context->seed, context->step, part->ordinal, x, y);
	return y;
}

static void lora_forward(const struct aqm_linear_context *context, struct aqm_lora_part *part, struct aqm_mat x,
                         struct aqm_mat y)
{
	const struct aqm_ops *ops = context->device->ops;
	struct aqm_mat u = part->u;

	u.rows = x.rows;
	if (x.rows <= AQM_FEW_ROWS)
		ops->linear_few(context->device, x, aqm_params_value(context->params, part->a), 0.0f, u);
	else
		ops->gemm(context->device, 1.0f, dropped(context, part, x), false, aqm_params_value(context->params, part->a),
		          true, 0.0f, u);
	ops->gemm(context->device, part->scale, u, false, aqm_params_value(context->params, part->b), true, 1.0f,
	          aqm_mat_cols(y, part->first, part->count));
}

void aqm_base_linear_forward(const struct aqm_linear_context *context, struct aqm_base_linear *linear, struct aqm_mat x,
                             bool add, struct aqm_mat y)
{
	const struct aqm_ops *ops = context->device->ops;
	float beta = add ? 1.0f : 0.0f;

	if (x.rows <= AQM_FEW_ROWS && linear->weight.param < 0)
		ops->linear_few(context->device, x, linear->weight.frozen, beta, y);
	else
		ops->gemm(context->device, 1.0f, x, false, aqm_weight_f32(context, &linear->weight), true, beta, y);
	if (linear->bias.param >= 0 || linear->bias.frozen.data)
		ops->bias_forward(context->device, aqm_weight_f32(context, &linear->bias), y);
	for (int i = 0; i < linear->parts; i++)
		lora_forward(context, &linear->part[i], x, y);
}

static void lora_backward(const struct aqm_linear_context *context, struct aqm_lora_part *part, struct aqm_mat dy,
                          struct aqm_mat x, struct aqm_mat dx)
{
	const struct aqm_ops *ops = context->device->ops;
	aqm_device *device = context->device;
	struct aqm_mat a = aqm_params_value(context->params, part->a), b = aqm_params_value(context->params, part->b),
				   u = part->u;
	struct aqm_mat dy_part = aqm_mat_cols(dy, part->first, part->count),
				   t = aqm_mat_f32(context->small, dy.rows, a.rows);

	u.rows = dy.rows;
	ops->gemm(device, part->scale, dy_part, true, u, false, 1.0f, aqm_params_gradient(context->params, part->b));
	ops->gemm(device, part->scale, dy_part, false, b, false, 0.0f, t);
	ops->gemm(device, 1.0f, t, true, dropped(context, part, x), false, 1.0f,
	          aqm_params_gradient(context->params, part->a));
	if (context->dropout <= 0) {
		ops->gemm(device, 1.0f, t, false, a, false, 1.0f, dx);
		return;
	}
	struct aqm_mat dropped_dx = aqm_mat_f32(context->scratch, dx.rows, dx.cols);
	ops->gemm(device, 1.0f, t, false, a, false, 0.0f, dropped_dx);
	ops->dropout(device, context->dropout, context->seed, context->step, part->ordinal, dropped_dx, dropped_dx);
	ops->axpy(device, 1.0f, dropped_dx, dx);
}

void aqm_base_linear_backward(const struct aqm_linear_context *context, struct aqm_base_linear *linear,
                              struct aqm_mat dy, struct aqm_mat x, bool add, struct aqm_mat dx)
{
	const struct aqm_ops *ops = context->device->ops;
	aqm_device *device = context->device;

	if (linear->weight.param >= 0)
		ops->gemm(device, 1.0f, dy, true, x, false, 1.0f, aqm_params_gradient(context->params, linear->weight.param));
	if (linear->bias.param >= 0)
		ops->bias_backward(device, dy, aqm_params_gradient(context->params, linear->bias.param));
	ops->gemm(device, 1.0f, dy, false, aqm_weight_f32(context, &linear->weight), false, add ? 1.0f : 0.0f, dx);
	for (int i = 0; i < linear->parts; i++)
		lora_backward(context, &linear->part[i], dy, x, dx);
}

bool aqm_base_linear_needs_input(const struct aqm_base_linear *linear)
{
	return linear->parts > 0 || linear->weight.param >= 0;
}

void aqm_base_linear_carve(struct aqm_base_linear *linear, const struct aqm_params *params, struct aqm_arena *arena,
                           int64_t tokens)
{
	for (int i = 0; i < linear->parts; i++) {
		struct aqm_lora_part *part = &linear->part[i];
		int64_t rank = params->items[part->a].rows;

		part->u = aqm_mat_f32(aqm_arena_take(arena, (size_t)(tokens * rank), sizeof(float)), tokens, rank);
	}
}
