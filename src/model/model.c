/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A model as a whole: opening, memory, forward and backward through all layers.
 */
#include "model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

static const struct aqm_architecture *const architectures[] = {&aqm_architecture_llama, &aqm_architecture_gpt2};

static int find_architecture(aqm_model *model)
{
	const char *name, *path = aqm_gguf_path(model->gguf);
	int code = aqm_gguf_get_string(model->gguf, "general.architecture", &name);

	if (code != AQM_OK)
		return code == AQM_ENOTFOUND ? aqm_error_set(AQM_EDATA, "'%s' has no 'general.architecture'", path) : code;
	for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
		if (strcmp(architectures[i]->name, name) == 0) {
			model->architecture = architectures[i];
			model->shape.architecture = architectures[i]->name;
			return AQM_OK;
		}
	return aqm_error_set(AQM_EDATA, "'%s' has architecture '%s'; expected llama or gpt2", path, name);
}

static int bind_all(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;

	shape->used_layers = model->options.stop_layer ? model->options.stop_layer : shape->layers;
	if (shape->used_layers > shape->layers)
		return aqm_error_set(AQM_EUSAGE, "model.stop_layer is %lld, but '%s' has %lld layers",
		                     (long long)model->options.stop_layer, aqm_gguf_path(model->gguf),
		                     (long long)shape->layers);
	model->layers = aqm_calloc_array((size_t)shape->used_layers, sizeof *model->layers);
	if (!model->layers)
		return AQM_ERUN;
	int code = AQM_OK;
	for (int64_t i = 0; code == AQM_OK && i < shape->used_layers; i++)
		code = model->architecture->bind_layer(model, i);
	return code == AQM_OK ? model->architecture->bind_outer(model) : code;
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
		code = model->architecture->read_shape(model);
	if (code == AQM_OK)
		code = bind_all(model);
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
	if (model->inverse_frequency)
		model->device->ops->release(model->device, model->inverse_frequency);
	free(model->layers);
	free(model->adapters);
	free(model->position_index);
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

size_t aqm_model_weight_bytes(const aqm_model *model)
{
	return model->weight_bytes;
}

/* Base weights into the values of full fine-tuning: its parameters have the tensors' names. */
static int load_base_weights(aqm_model *model)
{
	struct aqm_params *params = model->params;
	float *host = aqm_malloc_array(model->expanded_floats, sizeof *host);

	if (!host)
		return AQM_ERUN;
	for (size_t i = 0; i < params->count; i++) {
		const struct aqm_param *param = &params->items[i];
		const struct aqm_gguf_tensor *tensor =
			param->init == AQM_INIT_GIVEN ? aqm_gguf_find(model->gguf, param->name) : NULL;
		size_t n = (size_t)(param->rows * param->cols);

		if (!tensor)
			continue;
		aqm_dtype_traits(tensor->dtype)->expand(tensor->data, host, n);
		model->device->ops->upload(model->device, params->values + param->offset, host, n * sizeof *host);
	}
	free(host);
	return AQM_OK;
}

int aqm_model_bind(aqm_model *model, bool load_base)
{
	bool trained = model->options.rank == 0 && !model->options.frozen;

	return trained && load_base ? load_base_weights(model) : AQM_OK;
}

/* ---- memory ---- */

static struct aqm_mat take(struct aqm_arena *arena, int64_t rows, int64_t cols)
{
	return aqm_mat_f32(aqm_arena_take(arena, (size_t)rows, (size_t)cols * sizeof(float)), rows, cols);
}

static void carve_layer(aqm_model *model, struct aqm_layer *layer, struct aqm_arena *arena, int64_t n)
{
	const struct aqm_model_shape *shape = &model->shape;
	int64_t q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;

	layer->x0 = take(arena, n, shape->width);
	layer->x1 = take(arena, n, shape->width);
	layer->mean0 = take(arena, 1, n);
	layer->rstd0 = take(arena, 1, n);
	layer->mean1 = take(arena, 1, n);
	layer->rstd1 = take(arena, 1, n);
	layer->h0 = take(arena, n, shape->width);
	layer->qkv_out = take(arena, n, q + 2 * kv);
	layer->o = take(arena, n, q);
	layer->lse = take(arena, shape->heads, n);
	layer->up_out = take(arena, n, shape->ffn);
	if (model->gated)
		layer->gate_out = take(arena, n, shape->ffn);
}

static void carve_loras(aqm_model *model, struct aqm_layer *layer, struct aqm_arena *arena, int64_t n)
{
	for (int i = 0; i < model->qkv_count; i++)
		aqm_base_linear_carve(&layer->qkv[i], model->params, arena, n);
	aqm_base_linear_carve(&layer->attn_output, model->params, arena, n);
	aqm_base_linear_carve(&layer->gate, model->params, arena, n);
	aqm_base_linear_carve(&layer->up, model->params, arena, n);
	aqm_base_linear_carve(&layer->down, model->params, arena, n);
}

/* Layers of inference share one set of buffers: the same pieces are taken again from a copy of the arena. */
static void carve_layers(aqm_model *model, struct aqm_arena *arena, int64_t n, bool training)
{
	struct aqm_arena start = *arena;

	for (int64_t i = 0; i < model->shape.used_layers; i++) {
		if (!training)
			arena->used = start.used;
		carve_layer(model, &model->layers[i], arena, n);
		carve_loras(model, &model->layers[i], arena, n);
	}
}

int aqm_model_carve(aqm_model *model, struct aqm_arena *arena, int64_t windows, int64_t tokens, bool training)
{
	const struct aqm_model_shape *shape = &model->shape;
	int64_t n, q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;
	int64_t widest = shape->ffn > q ? shape->ffn : q;

	if (windows <= 0 || tokens <= 0 || __builtin_mul_overflow(windows, tokens, &n) || n > INT32_MAX)
		return aqm_error_set(AQM_EUSAGE, "%lld windows of %lld tokens are too many", (long long)windows,
		                     (long long)tokens);
	if (tokens > shape->context)
		return aqm_error_set(AQM_EUSAGE, "a window of %lld tokens does not fit into the %lld that '%s' can take",
		                     (long long)tokens, (long long)shape->context, aqm_gguf_path(model->gguf));
	widest = shape->width > widest ? shape->width : widest;
	size_t before = arena->used;
	float *expanded = aqm_arena_take(arena, model->expanded_floats, sizeof(float));
	model->carved_expanded = arena->used - before;
	carve_layers(model, arena, n, training);
	model->final_x = take(arena, n, shape->width);
	model->final_mean = take(arena, 1, n);
	model->final_rstd = take(arena, 1, n);
	model->h = take(arena, n, shape->width);
	model->act = take(arena, n, shape->ffn);
	float *scratch = NULL, *small = NULL;
	if (training) {
		model->dqkv = take(arena, n, q + 2 * kv);
		model->dout = take(arena, n, q);
		model->dh = take(arena, n, shape->width);
		model->dstream = take(arena, n, shape->width);
		model->dffn = take(arena, n, shape->ffn);
		if (model->options.rank > 0)
			small = take(arena, n, model->options.rank).data;
		if (model->options.dropout > 0)
			scratch = take(arena, n, widest).data;
	}
	model->linears = (struct aqm_linear_context){.device = model->device,
	                                             .params = model->params,
	                                             .expanded = expanded,
	                                             .scratch = scratch,
	                                             .small = small,
	                                             .dropout = (float)model->options.dropout,
	                                             .seed = model->options.seed};
	free(model->position_index);
	model->position_index = aqm_malloc_array((size_t)n, sizeof *model->position_index);
	return model->position_index ? AQM_OK : AQM_ERUN;
}

void aqm_model_plan(const aqm_model *model, struct aqm_memory_plan *plan)
{
	plan->weights = model->weight_bytes;
	plan->expanded = model->carved_expanded;
}

/* ---- forward and backward ---- */

static void set_positions(aqm_model *model, int64_t windows, int64_t tokens, int64_t first)
{
	for (int64_t i = 0; i < windows * tokens; i++)
		model->position_index[i] = (int32_t)(first + i % tokens);
}

static bool has_positions(const aqm_model *model)
{
	return model->positions.tensor != NULL;
}

static void add_positions(aqm_model *model, int64_t windows, int64_t tokens, int64_t first, struct aqm_mat x)
{
	if (!has_positions(model))
		return;
	set_positions(model, windows, tokens, first);
	model->device->ops->gather(model->device, aqm_weight_f32(&model->linears, &model->positions), model->position_index,
	                           true, x);
}

static struct aqm_mat rows_of(struct aqm_mat m, int64_t rows)
{
	m.rows = rows;
	return m;
}

void aqm_model_forward(aqm_model *model, int64_t windows, int64_t tokens, struct aqm_mat x, bool training,
                       uint32_t step)
{
	int64_t layers = model->shape.used_layers, n = windows * tokens;
	struct aqm_mat final_x = rows_of(model->final_x, n);

	model->linears.training = training;
	model->linears.step = step;
	add_positions(model, windows, tokens, 0, x);
	model->device->ops->copy(model->device, x, rows_of(model->layers[0].x0, n));
	for (int64_t i = 0; i < layers; i++) {
		struct aqm_mat x2 = i + 1 < layers ? rows_of(model->layers[i + 1].x0, n) : final_x;

		aqm_layer_forward(model, &model->layers[i], windows, tokens, x2);
	}
	aqm_output_norm_forward(model, final_x, x);
}

void aqm_model_backward(aqm_model *model, int64_t windows, int64_t tokens, struct aqm_mat dx, uint32_t step)
{
	int64_t n = windows * tokens;
	struct aqm_mat stream = rows_of(model->dstream, n);

	model->linears.step = step;
	model->linears.training = true;
	model->device->ops->zero(model->device, stream);
	aqm_output_norm_backward(model, dx, stream);
	for (int64_t i = model->shape.used_layers; i-- > 0;)
		aqm_layer_backward(model, &model->layers[i], windows, tokens, stream);
	if (has_positions(model) && model->positions.param >= 0) {
		set_positions(model, windows, tokens, 0);
		model->device->ops->scatter_add(model->device, stream, model->position_index,
		                                aqm_params_gradient(model->params, model->positions.param));
	}
	model->device->ops->copy(model->device, stream, dx);
}

/* ---- floating-point operations ---- */

static double linear_flops(const struct aqm_base_linear *linear, const struct aqm_params *params, double n,
                           bool backward)
{
	double passes = backward ? (linear->weight.param >= 0 ? 3.0 : 2.0) : 1.0,
		   flops = 2.0 * n * (double)linear->in * (double)linear->out * passes;

	for (int i = 0; i < linear->parts; i++) {
		double rank = (double)params->items[linear->part[i].a].rows;

		flops += 2.0 * n * rank * (double)(linear->in + linear->part[i].count) * (backward ? 3.0 : 1.0);
	}
	return flops;
}

/* Multiplications and additions of the GEMMs, and of attention as the causal mask needs it: half of a full one; its backward is
 * five products where forward has two. */
double aqm_model_flops(const aqm_model *model, int64_t windows, int64_t tokens, bool backward)
{
	double n = (double)(windows * tokens), flops = 0;
	double products = 2.0 * (double)windows * (double)tokens * (double)(tokens + 1) / 2.0 *
	                  (double)(model->shape.heads * model->shape.head_dim);

	for (int64_t i = 0; i < model->shape.used_layers; i++) {
		const struct aqm_layer *layer = &model->layers[i];

		for (int j = 0; j < model->qkv_count; j++)
			flops += linear_flops(&layer->qkv[j], model->params, n, backward);
		flops += linear_flops(&layer->attn_output, model->params, n, backward);
		if (model->gated)
			flops += linear_flops(&layer->gate, model->params, n, backward);
		flops += linear_flops(&layer->up, model->params, n, backward) +
		         linear_flops(&layer->down, model->params, n, backward);
		flops += products * (backward ? 7.0 : 2.0);
	}
	return flops;
}
