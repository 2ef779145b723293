/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Passes through all stacks. A decoder that reads an encoder is fed the encoder's hidden states, as input and through
 * cross-attention, so that one sequence of embeddings makes one sequence of hidden states in every architecture.
 */
#include "model/internal.h"

#define OPS(model) (model)->device->ops

static const struct aqm_stack_buffers *buffers_of(const aqm_model *model, const struct aqm_buffers *buffers,
                                                  const struct aqm_stack *stack)
{
	return &buffers->stacks[stack - model->stacks];
}

/* ---- learned positions ---- */

static void add_positions(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                          struct aqm_mat x)
{
	if (!model->positions.tensor)
		return;
	struct aqm_mat table = aqm_weight_f32(&buffers->linears, &model->positions);

	OPS(model)->add_positions(model->device,
	                          aqm_mat_rows(table, model->position_offset, table.rows - model->position_offset),
	                          pass->tokens, pass->places, x);
}

static void positions_backward(const aqm_model *model, const struct aqm_pass *pass, struct aqm_mat dx)
{
	if (model->positions.param < 0)
		return;
	struct aqm_mat rows = aqm_mat_rows(aqm_params_gradient(model->params, model->positions.param),
	                                   model->position_offset, pass->tokens);

	for (int64_t w = 0; w < pass->windows; w++)
		OPS(model)->axpy(model->device, 1.0f, aqm_mat_rows(dx, w * pass->tokens, pass->tokens), rows);
}

/* ---- relative positions ---- */

/* Bias of each distance = that of its bucket: a product with ones and zeros, which is exact. */
static void spread_bias(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_stack *stack)
{
	if (stack->relative.tensor)
		OPS(model)->gemm(model->device, 1.0f, aqm_weight_f32(&buffers->linears, &stack->relative), true,
		                 stack->distances, false, 0.0f, buffers_of(model, buffers, stack)->bias);
}

static void fold_bias(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_stack *stack)
{
	if (stack->relative.param >= 0)
		OPS(model)->gemm(model->device, 1.0f, stack->distances, false, buffers_of(model, buffers, stack)->dbias, true,
		                 1.0f, aqm_params_gradient(model->params, stack->relative.param));
}

/* ---- stacks ---- */

/* Where the sum behind block i goes: the input of the next one, or of the last norm. */
static struct aqm_mat behind_block(const struct aqm_buffers *buffers, const struct aqm_stack *stack, int64_t i,
                                   struct aqm_kept_norm last)
{
	return i + 1 < stack->count ? aqm_kept_of(buffers, stack, i + 1, last.x.rows).self.norm.x : last.x;
}

/* x: in, hidden states behind the last norm out. */
static void stack_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                          const struct aqm_stack *stack, struct aqm_mat x)
{
	int64_t n = x.rows;
	struct aqm_mat first = aqm_kept_of(buffers, stack, 0, n).self.norm.x;
	struct aqm_kept_norm last = aqm_kept_norm_of(buffers_of(model, buffers, stack)->last, n);

	if (!buffers->training)
		last.x = first;
	spread_bias(model, buffers, stack);
	OPS(model)->copy(model->device, x, first);
	for (int64_t i = 0; i < stack->count; i++)
		aqm_block_forward(model, buffers, pass, stack, i, behind_block(buffers, stack, i, last));
	aqm_norm_forward(model, buffers, &stack->output_norm, &last, aqm_mat_absent(), x);
}

/* Make again what a block keeps. Its output is made, to the same bits, only where down's LoRA has something to keep of it. */
static void run_again(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                      const struct aqm_stack *stack, int64_t i, struct aqm_kept_norm last)
{
	struct aqm_mat next = behind_block(buffers, stack, i, last);

	if (stack->blocks[i].ffn.down.parts == 0)
		next.data = NULL;
	aqm_block_forward(model, buffers, pass, stack, i, next);
}

/* dx: gradient of the hidden states in, of the stack's input out. */
static void stack_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                           const struct aqm_stack *stack, struct aqm_mat dx)
{
	const struct aqm_stack_buffers *own = buffers_of(model, buffers, stack);
	struct aqm_kept_norm last = aqm_kept_norm_of(own->last, dx.rows);
	struct aqm_mat dy = aqm_first_rows(buffers->dh, dx.rows);

	if (own->dbias.data)
		OPS(model)->zero(model->device, own->dbias);
	OPS(model)->copy(model->device, dx, dy);
	OPS(model)->zero(model->device, dx);
	aqm_norm_backward(model, buffers, &stack->output_norm, dy, &last, dx);
	for (int64_t i = stack->count; i-- > 0;) {
		if (buffers->checkpoints)
			run_again(model, buffers, pass, stack, i, last);
		aqm_block_backward(model, buffers, pass, stack, i, dx);
		aqm_params_ready(model->params, stack->blocks[i].first_param, stack->blocks[i].params);
	}
	fold_bias(model, buffers, stack);
}

/* ---- passes ---- */

void aqm_pass_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                      struct aqm_mat x)
{
	add_positions(model, buffers, pass, x);
	stack_forward(model, buffers, pass, &model->stacks[0], x);
	if (model->stack_count == 1)
		return;
	OPS(model)->copy(model->device, x, aqm_first_rows(buffers->encoded, x.rows));
	stack_forward(model, buffers, pass, &model->stacks[1], x);
}

void aqm_pass_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                       struct aqm_mat dx)
{
	if (model->stack_count > 1) {
		struct aqm_mat dencoded = aqm_first_rows(buffers->dencoded, dx.rows);

		OPS(model)->zero(model->device, dencoded);
		stack_backward(model, buffers, pass, &model->stacks[1], dx);
		OPS(model)->axpy(model->device, 1.0f, dencoded, dx);
	}
	stack_backward(model, buffers, pass, &model->stacks[0], dx);
	positions_backward(model, pass, dx);
}
