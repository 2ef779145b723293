/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The memory of passes: what each block keeps, and what all blocks share.
 */
#include "model/internal.h"

/* Activations and their gradients, of the device's type. */
static struct aqm_mat take(const aqm_model *model, struct aqm_arena *arena, int64_t rows, int64_t cols)
{
	enum aqm_dtype dtype = model->device->dtype;

	return aqm_mat_of(dtype, aqm_arena_take(arena, (size_t)rows, (size_t)(cols * aqm_element_bytes(dtype))), rows,
	                  cols);
}

/* What is float32 everywhere. */
static struct aqm_mat take_f32(struct aqm_arena *arena, int64_t rows, int64_t cols)
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
	return take(model, arena, n, aqm_base_linear_u_width(linear, model->params));
}

static void carve_norm(const aqm_model *model, struct aqm_kept_norm *kept, struct aqm_arena *arena, int64_t n)
{
	kept->x = take(model, arena, n, model->shape.width);
	kept->mean = take_f32(arena, 1, n);
	kept->rstd = take_f32(arena, 1, n);
}

static void carve_attention(const aqm_model *model, const struct aqm_attention_half *half,
                            struct aqm_kept_attention *kept, struct aqm_arena *arena, int64_t n)
{
	carve_norm(model, &kept->norm, arena, n);
	kept->qkv = take(model, arena, n, qkv_width(model));
	kept->o = take(model, arena, n, q_width(model));
	kept->lse = take_f32(arena, model->shape.heads, n);
	for (int i = 0; i < model->qkv_count; i++)
		kept->u_qkv[i] = take_u(model, &half->qkv[i], arena, n);
	kept->u_output = take_u(model, &half->output, arena, n);
}

static void carve_ffn(const aqm_model *model, const struct aqm_ffn_half *half, struct aqm_kept_ffn *kept,
                      struct aqm_arena *arena, int64_t n)
{
	carve_norm(model, &kept->norm, arena, n);
	kept->gate = take(model, arena, n, model->gated ? model->shape.ffn : 0);
	kept->up = take(model, arena, n, model->shape.ffn);
	kept->u_gate = take_u(model, &half->gate, arena, n);
	kept->u_up = take_u(model, &half->up, arena, n);
	kept->u_down = take_u(model, &half->down, arena, n);
}

static void carve_kept(const aqm_model *model, const struct aqm_block *block, bool cross, struct aqm_kept *kept,
                       struct aqm_arena *arena, int64_t n)
{
	*kept = (struct aqm_kept){0};
	carve_attention(model, &block->self, &kept->self, arena, n);
	if (cross)
		carve_attention(model, &block->cross, &kept->cross, arena, n);
	carve_ffn(model, &block->ffn, &kept->ffn, arena, n);
}

static int64_t all_blocks(const aqm_model *model)
{
	const struct aqm_stack *last = &model->stacks[model->stack_count - 1];

	return last->first + last->count;
}

/* What each block of all stacks keeps: everything, or its input. */
static void carve_each(const aqm_model *model, struct aqm_kept *kept, struct aqm_arena *arena, int64_t n,
                       bool input_only)
{
	struct aqm_kept planned;

	for (int s = 0; s < model->stack_count; s++)
		for (int64_t i = 0; i < model->stacks[s].count; i++) {
			const struct aqm_stack *stack = &model->stacks[s];
			struct aqm_kept *own = kept ? &kept[stack->first + i] : &planned;

			if (input_only)
				*own = (struct aqm_kept){.self.norm.x = take(model, arena, n, model->shape.width)};
			else
				carve_kept(model, &stack->blocks[i], stack->reads_encoder, own, arena, n);
		}
}

/* What one block needs; those of the last stack have all halves. */
static void carve_shared(const aqm_model *model, struct aqm_kept *kept, struct aqm_arena *arena, int64_t n)
{
	const struct aqm_stack *last = &model->stacks[model->stack_count - 1];
	struct aqm_kept planned;

	carve_kept(model, &last->blocks[0], last->reads_encoder, kept ? kept : &planned, arena, n);
}

static void carve_stack(const aqm_model *model, const struct aqm_stack *stack, struct aqm_stack_buffers *own,
                        struct aqm_arena *arena, int64_t n, bool training)
{
	own->last.mean = take_f32(arena, 1, n);
	own->last.rstd = take_f32(arena, 1, n);
	if (training)
		own->last.x = take(model, arena, n, model->shape.width);
	if (stack->relative.tensor)
		own->bias = take_f32(arena, model->shape.heads, stack->distances.cols);
	if (training && stack->relative.param >= 0)
		own->dbias = take_f32(arena, model->shape.heads, stack->distances.cols);
}

/* Widest input of a linear that LoRA adapts. All blocks of a stack are alike. */
static int64_t widest_adapted(const aqm_model *model)
{
	int64_t widest = 0;

	for (int s = 0; s < model->stack_count; s++) {
		const struct aqm_base_linear *linears[AQM_BLOCK_LINEARS];
		int count = aqm_block_linears(&model->stacks[s].blocks[0], linears);

		for (int i = 0; i < count; i++)
			if (linears[i]->parts > 0)
				widest = larger(widest, linears[i]->in);
	}
	return widest;
}

/* What only backward writes. The gradients of attention follow those of the ffn, in the same memory. */
static void carve_gradients(const aqm_model *model, struct aqm_buffers *buffers, struct aqm_arena *arena, int64_t n)
{
	int64_t q = q_width(model), qkv = qkv_width(model), ffn = model->shape.ffn;
	struct aqm_mat memory = take(model, arena, 1, n * larger(ffn, q + qkv));
	enum aqm_dtype dtype = memory.dtype;

	buffers->dh = take(model, arena, n, model->shape.width);
	buffers->dact = aqm_mat_of(dtype, memory.data, n, ffn);
	buffers->dout = aqm_mat_of(dtype, memory.data, n, q);
	buffers->dqkv = aqm_mat_of(dtype, memory.data ? aqm_mat_cols(memory, n * q, 1).data : NULL, n, qkv);
	if (model->stack_count > 1)
		buffers->dencoded = take(model, arena, n, model->shape.width);
}

void aqm_buffers_carve(const aqm_model *model, struct aqm_buffers *buffers, struct aqm_kept *kept,
                       struct aqm_arena *arena, int64_t rows, bool training)
{
	const struct aqm_model_options *options = &model->options;
	bool lora = model->adapter_count > 0;
	bool remakes_act = aqm_base_linear_needs_input(&model->stacks[0].blocks[0].ffn.down);

	bool checkpoints = training && options->checkpoints;

	*buffers = (struct aqm_buffers){.rows = rows, .training = training, .kept = kept, .checkpoints = checkpoints};
	if (training)
		carve_each(model, kept, arena, rows, checkpoints);
	if (!training || checkpoints) {
		struct aqm_kept *shared = kept && training ? &kept[all_blocks(model)] : kept;

		carve_shared(model, shared, arena, rows);
		buffers->shared = shared;
	} else if (kept) {
		buffers->shared = &kept[model->stacks[model->stack_count - 1].first];
	}
	for (int s = 0; s < model->stack_count; s++)
		carve_stack(model, &model->stacks[s], &buffers->stacks[s], arena, rows, training);
	buffers->h = take(model, arena, rows, model->shape.width);
	if (model->stack_count > 1)
		buffers->encoded = take(model, arena, rows, model->shape.width);
	if (training)
		carve_gradients(model, buffers, arena, rows);
	/* Forward is through with `act` when backward needs `dact`, unless backward has to make it again. */
	buffers->act = training && !remakes_act ? buffers->dact : take(model, arena, rows, model->shape.ffn);
	buffers->linears = (struct aqm_linear_context){
		.device = model->device,
		.params = model->params,
		.expanded = aqm_arena_take(arena, model->expanded_floats, (size_t)aqm_element_bytes(model->device->dtype)),
		.masked = take(model, arena, training && options->dropout > 0 ? rows : 0, widest_adapted(model)).data,
		.small = take(model, arena, lora && training ? rows : 0, options->rank).data,
		.dropout = (float)options->dropout,
		.seed = options->seed,
		.training = training,
	};
}
