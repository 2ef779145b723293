/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A model as a whole: opening, memory, forward and backward through all layers, and what they cost.
 */
#include "model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"

static const struct aqm_architecture *const architectures[] = {&aqm_architecture_llama, &aqm_architecture_qwen2,
                                                               &aqm_architecture_gpt2,  &aqm_architecture_opt,
                                                               &aqm_architecture_t5,    NULL};

const struct aqm_architecture *aqm_architecture_find(const char *name)
{
	for (size_t i = 0; architectures[i]; i++)
		if (strcmp(architectures[i]->name, name) == 0)
			return architectures[i];
	return NULL;
}

static int unknown_architecture(const char *path, const char *name)
{
	char known[128] = "";

	for (size_t i = 0; architectures[i]; i++) {
		const char *before = i == 0 ? "" : architectures[i + 1] ? ", " : " or ";
		size_t used = strlen(known);

		snprintf(known + used, sizeof known - used, "%s%s", before, architectures[i]->name);
	}
	return aqm_error_set(AQM_EDATA, "'%s' has architecture '%s'; expected %s", path, name, known);
}

static int find_architecture(aqm_model *model)
{
	const char *name, *path = aqm_gguf_path(model->gguf);
	int code = aqm_gguf_get_string(model->gguf, "general.architecture", &name);

	if (code != AQM_OK)
		return code == AQM_ENOTFOUND ? aqm_error_set(AQM_EDATA, "'%s' has no 'general.architecture'", path) : code;
	model->architecture = aqm_architecture_find(name);
	if (!model->architecture)
		return unknown_architecture(path, name);
	model->shape.architecture = model->architecture->name;
	return AQM_OK;
}

/* Leave a stack after model.stop_layer, and make its blocks, to be bound. */
static int make_stack(aqm_model *model, struct aqm_stack *stack, int64_t first)
{
	int64_t stop = model->options.stop_layer;

	if (stop > stack->count)
		return aqm_error_set(AQM_EUSAGE, "model.stop_layer is %lld, but '%s' has %lld layers", (long long)stop,
		                     aqm_gguf_path(model->gguf), (long long)stack->count);
	if (stop)
		stack->count = stop;
	stack->first = first;
	stack->blocks = aqm_calloc_array((size_t)stack->count, sizeof *stack->blocks);
	if (!stack->blocks)
		return AQM_ERUN;
	for (int64_t i = 0; i < stack->count; i++) {
		stack->blocks[i].self.slot = model->attentions++;
		if (stack->reads_encoder)
			stack->blocks[i].cross.slot = model->attentions++;
	}
	return AQM_OK;
}

static int bind_block(aqm_model *model, struct aqm_stack *stack, int64_t index)
{
	struct aqm_block *block = &stack->blocks[index];

	block->first_param = (int64_t)model->params->count;
	int code = model->architecture->bind_block(model, stack, index);
	block->params = (int64_t)model->params->count - block->first_param;
	return code;
}

static int bind_all(aqm_model *model)
{
	int64_t blocks = 0;
	int code = AQM_OK;

	for (int s = 0; code == AQM_OK && s < model->stack_count; s++) {
		code = make_stack(model, &model->stacks[s], blocks);
		blocks += model->stacks[s].count;
	}
	if (code != AQM_OK)
		return code;
	model->shape.used_layers = model->stacks[0].count;
	model->shape.used_decoder_layers = model->stacks[1].count;
	model->kept = aqm_calloc_array((size_t)blocks + 1, sizeof *model->kept);
	if (!model->kept)
		return AQM_ERUN;
	for (int s = 0; s < model->stack_count; s++)
		for (int64_t i = 0; code == AQM_OK && i < model->stacks[s].count; i++)
			code = bind_block(model, &model->stacks[s], i);
	return code == AQM_OK ? model->architecture->bind_outer(model) : code;
}

/* The published encoder sees the whole window, its future included. */
static int check_direction(const aqm_model *model)
{
	if (!model->options.bidirectional)
		return AQM_OK;
	if (model->stack_count == 1)
		return aqm_error_set(AQM_EUSAGE, "model.causal is false, but a %s has no encoder; expected true, or a t5 base",
		                     model->architecture->name);
	if (!model->options.planning)
		aqm_log_warning("model.causal is false: the encoder sees the whole window, so labels leak into what predicts them");
	return AQM_OK;
}

int aqm_model_open(aqm_model **out, aqm_device *device, aqm_gguf *gguf, const struct aqm_model_options *options,
                   struct aqm_params *params)
{
	aqm_model *model = aqm_calloc_array(1, sizeof *model);

	*out = NULL;
	if (!model)
		return AQM_ERUN;
	model->device = device;
	model->gguf = gguf;
	model->params = params;
	model->options = *options;
	model->positions.param = -1;
	int code = find_architecture(model);
	if (code == AQM_OK)
		code = aqm_model_read_shape(model);
	if (code == AQM_OK)
		code = check_direction(model);
	if (code == AQM_OK)
		code = bind_all(model);
	if (code == AQM_OK && options->rank > 0 && !options->frozen && model->adapter_count == 0)
		code = aqm_error_set(AQM_EUSAGE, "lora.targets names none of the linears of a %s", model->architecture->name);
	if (code != AQM_OK) {
		aqm_model_free(model);
		return code;
	}
	*out = model;
	return AQM_OK;
}

void aqm_model_free(aqm_model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->resident_count; i++)
		model->device->ops->release(model->device, model->resident[i]);
	free(model->resident);
	for (int s = 0; s < AQM_STACKS_MAX; s++)
		free(model->stacks[s].blocks);
	free(model->kept);
	free(model->adapters);
	free(model);
}

const struct aqm_model_shape *aqm_model_shape(const aqm_model *model)
{
	return &model->shape;
}

size_t aqm_model_adapters(const aqm_model *model)
{
	return model->adapter_count;
}

const struct aqm_adapter *aqm_model_adapter(const aqm_model *model, size_t index)
{
	return &model->adapters[index];
}

/* Base weights into the values of full fine-tuning: its parameters have the tensors' names. */
static int load_base_weights(aqm_model *model)
{
	struct aqm_params *params = model->params;

	for (size_t i = 0; i < params->count; i++) {
		const struct aqm_param *param = &params->items[i];
		const struct aqm_gguf_tensor *tensor =
			param->init == AQM_INIT_GIVEN ? aqm_gguf_find(model->gguf, param->name) : NULL;
		size_t n = (size_t)(param->rows * param->cols);

		if (!tensor)
			continue;
		float *host = aqm_malloc_array(n, sizeof *host);

		if (!host)
			return AQM_ERUN;
		aqm_dtype_traits(tensor->dtype)->expand(tensor->data, host, n);
		model->device->ops->upload(model->device, params->values + param->offset, host, n * sizeof *host);
		free(host);
	}
	aqm_params_touch(params);
	return AQM_OK;
}

int aqm_model_bind(aqm_model *model, bool load_base)
{
	bool trained = model->options.rank == 0 && !model->options.frozen;

	return trained && load_base ? load_base_weights(model) : AQM_OK;
}

/* ---- memory ---- */

int aqm_model_carve(aqm_model *model, struct aqm_arena *arena, int64_t windows, int64_t tokens, bool training)
{
	const struct aqm_model_shape *shape = &model->shape;
	struct aqm_buffers planned;
	int64_t n;

	if (windows <= 0 || tokens <= 0 || __builtin_mul_overflow(windows, tokens, &n) || n > INT32_MAX)
		return aqm_error_set(AQM_EUSAGE, "%lld windows of %lld tokens are too many", (long long)windows,
		                     (long long)tokens);
	if (tokens > shape->context)
		return aqm_error_set(AQM_EUSAGE, "a window of %lld tokens does not fit into the %lld that '%s' can take",
		                     (long long)tokens, (long long)shape->context, aqm_gguf_path(model->gguf));
	model->carved_expanded =
		aqm_size_align(model->expanded_floats * (size_t)aqm_element_bytes(model->device->dtype), AQM_ARENA_ALIGNMENT);
	model->carved_sums = training ? (size_t)(n * shape->heads) * sizeof(float) : 0;
	if (arena->base)
		aqm_buffers_carve(model, &model->buffers, model->kept, arena, n, training);
	else
		aqm_buffers_carve(model, &planned, NULL, arena, n, training);
	return AQM_OK;
}

void aqm_model_plan(const aqm_model *model, struct aqm_memory_plan *plan)
{
	plan->weights = model->weight_bytes;
	plan->workspace = model->carved_expanded + model->device->workspace;
	if (model->device->own_memory)
		plan->workspace += model->carved_sums;
}

size_t aqm_model_expanded(const aqm_model *model)
{
	return model->carved_expanded;
}

/* ---- forward and backward ---- */

static struct aqm_pass windows_from_start(int64_t windows, int64_t tokens)
{
	return (struct aqm_pass){.windows = windows, .tokens = tokens};
}

void aqm_model_place(aqm_model *model, int64_t first_window)
{
	model->first_window = first_window;
}

void aqm_model_forward(aqm_model *model, int64_t windows, int64_t tokens, struct aqm_mat x, bool training,
                       uint32_t step)
{
	struct aqm_pass pass = windows_from_start(windows, tokens);
	struct aqm_buffers buffers = model->buffers;

	buffers.training = training;
	buffers.linears.training = training;
	buffers.linears.step = step;
	buffers.linears.first_row = model->first_window * tokens;
	aqm_params_refresh(model->params);
	aqm_pass_forward(model, &buffers, &pass, x);
}

void aqm_model_backward(aqm_model *model, int64_t windows, int64_t tokens, struct aqm_mat dx, uint32_t step)
{
	struct aqm_pass pass = windows_from_start(windows, tokens);
	struct aqm_buffers buffers = model->buffers;

	buffers.linears.step = step;
	buffers.linears.first_row = model->first_window * tokens;
	aqm_pass_backward(model, &buffers, &pass, dx);
}

/* ---- what a pass costs ---- */

static double linear_flops(const struct aqm_base_linear *linear, const struct aqm_params *params, double n,
                           bool backward)
{
	double passes = backward ? (linear->weight.param >= 0 ? 3.0 : 2.0) : 1.0;
	double flops = 2.0 * n * (double)linear->in * (double)linear->out * passes;

	for (int i = 0; i < linear->parts; i++) {
		double rank = (double)params->items[linear->part[i].a].rows;

		flops += 2.0 * n * rank * (double)(linear->in + linear->part[i].count) * (backward ? 3.0 : 1.0);
	}
	return flops;
}

/* Multiplications and additions of the GEMMs, and of attention as its mask needs it: about half of a full one where that
 * is causal; its backward is five products where forward has two. */
double aqm_model_flops(const aqm_model *model, int64_t windows, int64_t tokens, bool backward)
{
	double n = (double)(windows * tokens), all = n * (double)tokens, seen = n * (double)(tokens + 1) / 2.0;
	double product = 2.0 * (double)(model->shape.heads * model->shape.head_dim) * (backward ? 7.0 : 2.0), flops = 0;

	for (int s = 0; s < model->stack_count; s++) {
		const struct aqm_stack *stack = &model->stacks[s];
		double pairs = stack->self_causal ? seen : all;

		if (stack->reads_encoder)
			pairs += stack->cross_causal ? seen : all;
		for (int64_t i = 0; i < stack->count; i++) {
			const struct aqm_base_linear *linears[AQM_BLOCK_LINEARS];
			int count = aqm_block_linears(&stack->blocks[i], linears);

			for (int j = 0; j < count; j++)
				flops += linear_flops(linears[j], model->params, n, backward);
			flops += product * pairs;
		}
	}
	return flops;
}

/* As products read it. */
static size_t parameter_bytes(const aqm_model *model, int64_t param)
{
	return (size_t)(model->params->items[param].rows * model->params->items[param].cols) *
	       (size_t)aqm_element_bytes(model->device->dtype);
}

static size_t bytes_of(const aqm_model *model, const struct aqm_weight *weight)
{
	if (weight->param >= 0 || !weight->tensor)
		return weight->tensor ? parameter_bytes(model, weight->param) : 0;
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(weight->frozen.dtype);

	return (size_t)(weight->frozen.rows * weight->frozen.cols) / traits->block * traits->block_bytes;
}

static size_t norm_bytes(const aqm_model *model, const struct aqm_norm *norm)
{
	return bytes_of(model, &norm->weight) + bytes_of(model, &norm->bias);
}

static size_t linear_bytes(const aqm_model *model, const struct aqm_base_linear *linear)
{
	size_t bytes = bytes_of(model, &linear->weight) + bytes_of(model, &linear->bias);

	for (int i = 0; i < linear->parts; i++)
		bytes += parameter_bytes(model, linear->part[i].a) + parameter_bytes(model, linear->part[i].b);
	return bytes;
}

static size_t stack_bytes(const aqm_model *model, const struct aqm_stack *stack)
{
	size_t bytes = norm_bytes(model, &stack->output_norm) + bytes_of(model, &stack->relative);

	for (int64_t i = 0; i < stack->count; i++) {
		const struct aqm_block *block = &stack->blocks[i];
		const struct aqm_base_linear *linears[AQM_BLOCK_LINEARS];
		int count = aqm_block_linears(block, linears);

		bytes += norm_bytes(model, &block->self.norm) + norm_bytes(model, &block->ffn.norm);
		if (stack->reads_encoder)
			bytes += norm_bytes(model, &block->cross.norm);
		for (int j = 0; j < count; j++)
			bytes += linear_bytes(model, linears[j]);
	}
	return bytes;
}

size_t aqm_model_weight_bytes(const aqm_model *model)
{
	size_t bytes = 0;

	for (int s = 0; s < model->stack_count; s++)
		bytes += stack_bytes(model, &model->stacks[s]);
	return bytes;
}
