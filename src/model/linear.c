/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/linear.h"

struct aqm_mat aqm_weight_f32(const struct aqm_linear_context *context, const struct aqm_weight *weight)
{
	return weight->param >= 0 ? aqm_params_value(context->params, weight->param) : weight->frozen;
}

struct aqm_mat aqm_weight_matrix(const struct aqm_linear_context *context, const struct aqm_weight *weight)
{
	enum aqm_dtype dtype = context->device->dtype;

	if (weight->param >= 0)
		return aqm_params_operand(context->params, weight->param);
	if (weight->frozen.dtype == dtype)
		return weight->frozen;
	struct aqm_mat y = aqm_mat_of(dtype, context->expanded, weight->frozen.rows, weight->frozen.cols);

	context->device->ops->expand(context->device, weight->frozen, y);
	return y;
}

int64_t aqm_base_linear_u_width(const struct aqm_base_linear *linear, const struct aqm_params *params)
{
	return linear->parts > 0 ? linear->parts * params->items[linear->part[0].a].rows : 0;
}

bool aqm_base_linear_needs_input(const struct aqm_base_linear *linear)
{
	return linear->parts > 0 || linear->weight.param >= 0;
}

/* drop(x): x itself unless dropout is on. */
static struct aqm_mat dropped(const struct aqm_linear_context *context, const struct aqm_lora_part *part,
                              struct aqm_mat x)
{
	if (!context->training || context->dropout <= 0)
		return x;
	struct aqm_mat y = aqm_mat_of(context->device->dtype, context->masked, x.rows, x.cols);

	context->device->ops->dropout(context->device, context->dropout, context->seed, context->step, part->ordinal,
	                              context->first_row, x, y);
	return y;
}

static bool takes_few(const struct aqm_linear_context *context, struct aqm_mat x)
{
	return !context->training && x.rows <= AQM_FEW_ROWS;
}

static void lora_forward(const struct aqm_linear_context *context, const struct aqm_lora_part *part, struct aqm_mat x,
                         struct aqm_mat y, struct aqm_mat u)
{
	const struct aqm_ops *ops = context->device->ops;
	aqm_device *device = context->device;
	struct aqm_mat a = aqm_params_operand(context->params, part->a), b = aqm_params_operand(context->params, part->b);
	struct aqm_mat y_part = aqm_mat_cols(y, part->first, part->count);

	if (takes_few(context, x)) {
		ops->linear_few(device, x, a, 0.0f, u);
		ops->scale(device, part->scale, u); /* nobody wants it as it was: this is not training */
		ops->linear_few(device, u, b, 1.0f, y_part);
		return;
	}
	ops->gemm(device, 1.0f, dropped(context, part, x), false, a, true, 0.0f, u);
	ops->gemm(device, part->scale, u, false, b, true, 1.0f, y_part);
}

/* U of one part. */
static struct aqm_mat part_of(const struct aqm_linear_context *context, const struct aqm_base_linear *linear, int i,
                              struct aqm_mat u)
{
	int64_t rank = context->params->items[linear->part[i].a].rows;

	return aqm_mat_cols(u, i * rank, rank);
}

/* In its own type, trained or not. */
static struct aqm_mat weight_as_is(const struct aqm_linear_context *context, const struct aqm_weight *weight)
{
	return weight->param >= 0 ? aqm_params_operand(context->params, weight->param) : weight->frozen;
}

/* What is added to the product of few rows. */
static void few_rest(const struct aqm_linear_context *context, const struct aqm_base_linear *linear, struct aqm_mat x,
                     struct aqm_mat y, struct aqm_mat u)
{
	if (linear->bias.tensor)
		context->device->ops->bias_forward(context->device, aqm_weight_f32(context, &linear->bias), y);
	for (int i = 0; i < linear->parts; i++)
		lora_forward(context, &linear->part[i], x, y, part_of(context, linear, i, u));
}

void aqm_base_linears_forward(const struct aqm_linear_context *context, const struct aqm_base_linear *const *linears,
                              int count, struct aqm_mat x, const struct aqm_mat *y, const struct aqm_mat *u)
{
	const struct aqm_ops *ops = context->device->ops;
	struct aqm_mat w[AQM_LINEARS_MAX] = {{0}};

	if (!takes_few(context, x) || !ops->linears_few) {
		for (int i = 0; i < count; i++)
			aqm_base_linear_forward(context, linears[i], x, false, y[i], u[i]);
		return;
	}
	for (int i = 0; i < count; i++)
		w[i] = weight_as_is(context, &linears[i]->weight);
	ops->linears_few(context->device, x, context->int8, count, w, y);
	for (int i = 0; i < count; i++)
		few_rest(context, linears[i], x, y[i], u[i]);
}

void aqm_base_linear_forward(const struct aqm_linear_context *context, const struct aqm_base_linear *linear,
                             struct aqm_mat x, bool add, struct aqm_mat y, struct aqm_mat u)
{
	const struct aqm_ops *ops = context->device->ops;
	const struct aqm_weight *weight = &linear->weight;
	float beta = add ? 1.0f : 0.0f;

	if (takes_few(context, x)) {
		struct aqm_mat w = weight_as_is(context, weight);

		if (context->int8)
			ops->linear_few_int8(context->device, x, w, beta, y);
		else
			ops->linear_few(context->device, x, w, beta, y);
		few_rest(context, linear, x, y, u);
		return;
	}
	if (linear->bias.tensor)
		ops->gemm_bias(context->device, 1.0f, x, false, aqm_weight_matrix(context, weight), true, beta, y,
		               aqm_weight_f32(context, &linear->bias));
	else
		ops->gemm(context->device, 1.0f, x, false, aqm_weight_matrix(context, weight), true, beta, y);
	for (int i = 0; i < linear->parts; i++)
		lora_forward(context, &linear->part[i], x, y, part_of(context, linear, i, u));
}

static void lora_backward(const struct aqm_linear_context *context, const struct aqm_lora_part *part, struct aqm_mat dy,
                          struct aqm_mat x, struct aqm_mat u, struct aqm_mat dx)
{
	const struct aqm_ops *ops = context->device->ops;
	aqm_device *device = context->device;
	struct aqm_mat a = aqm_params_operand(context->params, part->a), b = aqm_params_operand(context->params, part->b);
	struct aqm_mat da = aqm_params_gradient(context->params, part->a),
				   db = aqm_params_gradient(context->params, part->b);
	struct aqm_mat dy_part = aqm_mat_cols(dy, part->first, part->count),
				   t = aqm_mat_of(device->dtype, context->small, dy.rows, u.cols);

	ops->gemm(device, part->scale, dy_part, true, u, false, 1.0f, db);
	ops->gemm(device, part->scale, dy_part, false, b, false, 0.0f, t);
	ops->gemm(device, 1.0f, t, true, dropped(context, part, x), false, 1.0f, da);
	if (context->dropout <= 0) {
		ops->gemm(device, 1.0f, t, false, a, false, 1.0f, dx);
		return;
	}
	struct aqm_mat masked = aqm_mat_of(device->dtype, context->masked, dx.rows, dx.cols);

	ops->gemm(device, 1.0f, t, false, a, false, 0.0f, masked);
	ops->dropout(device, context->dropout, context->seed, context->step, part->ordinal, context->first_row, masked,
	             masked);
	ops->axpy(device, 1.0f, masked, dx);
}

void aqm_base_linear_backward(const struct aqm_linear_context *context, const struct aqm_base_linear *linear,
                              struct aqm_mat dy, struct aqm_mat x, struct aqm_mat u, bool add, struct aqm_mat dx)
{
	const struct aqm_ops *ops = context->device->ops;
	const struct aqm_weight *weight = &linear->weight, *bias = &linear->bias;
	aqm_device *device = context->device;

	if (weight->param >= 0)
		ops->gemm(device, 1.0f, dy, true, x, false, 1.0f, aqm_params_gradient(context->params, weight->param));
	if (bias->param >= 0)
		ops->bias_backward(device, dy, aqm_params_gradient(context->params, bias->param));
	ops->gemm(device, 1.0f, dy, false, aqm_weight_matrix(context, weight), false, add ? 1.0f : 0.0f, dx);
	for (int i = 0; i < linear->parts; i++)
		lora_backward(context, &linear->part[i], dy, x, part_of(context, linear, i, u), dx);
}
