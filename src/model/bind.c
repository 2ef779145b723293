/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tensors and hyperparameters of a base, checked as they are bound.
 */
#include "model/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

static const char *const target_words[AQM_TARGETS] = {"q", "k", "v", "o", "gate", "up", "down"};

const char *aqm_target_word(enum aqm_target target)
{
	return target_words[target];
}

int aqm_model_options_from(struct aqm_model_options *options, const struct aqm_config *config)
{
	*options = (struct aqm_model_options){
		.rank = config->lora.rank,
		.alpha = config->lora.alpha,
		.dropout = config->lora.dropout,
		.rslora = config->lora.rslora,
		.stop_layer = config->model.stop_layer,
		.bidirectional = !config->model.causal,
		.seed = config->seed,
		.checkpoints = config->train.checkpoint_activations,
		.int8 = config->decide.arithmetic == AQM_ARITHMETIC_INT8,
	};
	for (size_t i = 0; i < config->lora.targets.count; i++) {
		int t = 0;

		while (t < AQM_TARGETS && strcmp(config->lora.targets.items[i], target_words[t]) != 0)
			t++;
		if (t == AQM_TARGETS)
			return aqm_error_set(AQM_EUSAGE, "lora.targets has '%s'; expected some of q, k, v, o, gate, up, down",
			                     config->lora.targets.items[i]);
		options->targets |= 1u << t;
	}
	return AQM_OK;
}

/* ---- hyperparameters ---- */

struct key {
	char name[96];
};

static struct key full_key(const aqm_model *model, const char *key)
{
	struct key full;

	snprintf(full.name, sizeof full.name, "%s.%s", model->architecture->name, key);
	return full;
}

static int no_key(const aqm_model *model, struct key key)
{
	return aqm_error_set(AQM_EDATA, "'%s' has no '%s'", aqm_gguf_path(model->gguf), key.name);
}

int aqm_model_read_int(const aqm_model *model, const char *key, int64_t low, int64_t high, int64_t fallback,
                       int64_t *out)
{
	struct key full = full_key(model, key);
	int code = aqm_gguf_get_int(model->gguf, full.name, out);

	if (code == AQM_ENOTFOUND && fallback < 0)
		return no_key(model, full);
	if (code == AQM_ENOTFOUND)
		*out = fallback;
	else if (code != AQM_OK)
		return code;
	if (*out < low || *out > high)
		return aqm_error_set(AQM_EDATA, "'%s': '%s' is %lld; expected %lld to %lld", aqm_gguf_path(model->gguf),
		                     full.name, (long long)*out, (long long)low, (long long)high);
	return AQM_OK;
}

int aqm_model_read_float(const aqm_model *model, const char *key, double low, double high, double fallback, double *out)
{
	struct key full = full_key(model, key);
	int code = aqm_gguf_get_float(model->gguf, full.name, out);

	if (code == AQM_ENOTFOUND && isnan(fallback))
		return no_key(model, full);
	if (code == AQM_ENOTFOUND)
		*out = fallback;
	else if (code != AQM_OK)
		return code;
	if (!(*out >= low && *out <= high))
		return aqm_error_set(AQM_EDATA, "'%s': '%s' is %g; expected %g to %g", aqm_gguf_path(model->gguf), full.name,
		                     *out, low, high);
	return AQM_OK;
}

int aqm_model_read_shape(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;
	int code = aqm_model_read_int(model, "block_count", 1, 1000, -1, &shape->layers);

	if (code == AQM_OK)
		code = aqm_model_read_int(model, "embedding_length", 1, 1 << 20, -1, &shape->width);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "attention.head_count", 1, 4096, -1, &shape->heads);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "feed_forward_length", 1, 1 << 22, -1, &shape->ffn);
	model->stack_count = 1;
	model->stacks[0] = (struct aqm_stack){.count = shape->layers, .self_causal = true, .relative.param = -1};
	if (code == AQM_OK)
		code = model->architecture->read_shape(model);
	if (model->score_scale == 0)
		model->score_scale = 1.0f / sqrtf((float)shape->head_dim);
	return code;
}

/* ---- tensors ---- */

/* What a GPU's allocator makes of a large piece. */
static size_t placed_bytes(const aqm_model *model, size_t bytes)
{
	enum { PIECE = 2 << 20 };

	return model->device->own_memory && bytes > PIECE / 2 ? aqm_size_align(bytes, PIECE) : bytes;
}

/* host NULL: nothing is uploaded. */
static int keep_bytes(aqm_model *model, const void *host, size_t bytes, void **out)
{
	void **grown;

	*out = NULL;
	if (model->options.planning)
		return AQM_OK;
	grown = aqm_realloc_array(model->resident, model->resident_count + 1, sizeof *grown);
	if (!grown)
		return AQM_ERUN;
	model->resident = grown;
	int code = model->device->ops->allocate(model->device, bytes, out);
	if (code != AQM_OK)
		return code;
	model->resident[model->resident_count++] = *out;
	if (host)
		model->device->ops->upload(model->device, *out, host, bytes);
	return AQM_OK;
}

int aqm_model_keep(aqm_model *model, const float *host, size_t count, float **out)
{
	void *memory;
	int code = keep_bytes(model, host, count * sizeof *host, &memory);

	*out = code == AQM_OK ? memory : NULL;
	return code;
}

/* A matrix of the file on a device that cannot read it there: as it is; or, of a type without blocks, as the device
 * computes. */
static int place_matrix(aqm_model *model, struct aqm_weight *weight)
{
	const struct aqm_ops *ops = model->device->ops;
	struct aqm_mat *m = &weight->frozen, placed = aqm_mat_of(model->device->dtype, NULL, m->rows, m->cols);
	void *memory;

	if (aqm_dtype_traits(m->dtype)->block > 1 || m->dtype == placed.dtype) {
		model->weight_bytes += placed_bytes(model, weight->tensor->bytes);
		return keep_bytes(model, m->data, weight->tensor->bytes, &m->data);
	}
	model->weight_bytes += placed_bytes(model, (size_t)(m->rows * m->cols * aqm_mat_element(placed)));
	if (model->options.planning)
		return AQM_OK;
	int code = keep_bytes(model, NULL, (size_t)(m->rows * m->cols * aqm_mat_element(placed)), &placed.data);
	if (code == AQM_OK)
		code = ops->allocate(model->device, weight->tensor->bytes, &memory);
	if (code != AQM_OK)
		return code;
	ops->upload(model->device, memory, m->data, weight->tensor->bytes);
	m->data = memory;
	ops->expand(model->device, *m, placed);
	ops->release(model->device, memory);
	*m = placed;
	return aqm_device_check(model->device);
}

/* The tensor with all its numbers as float32, if the file has it in another type. */
static int keep_expanded(aqm_model *model, struct aqm_weight *weight)
{
	size_t n = (size_t)(weight->frozen.rows * weight->frozen.cols);
	float *host, *kept;

	if (weight->frozen.dtype == AQM_F32 && !model->device->own_memory)
		return AQM_OK;
	model->weight_bytes += n * sizeof *host;
	if (model->options.planning)
		return AQM_OK;
	host = aqm_malloc_array(n, sizeof *host);
	if (!host)
		return AQM_ERUN;
	aqm_dtype_traits(weight->frozen.dtype)->expand(weight->frozen.data, host, n);
	int code = aqm_model_keep(model, host, n, &kept);
	if (code == AQM_OK) {
		weight->frozen = aqm_mat_f32(kept, weight->frozen.rows, weight->frozen.cols);
	}
	free(host);
	return code;
}

static bool trains_base(const aqm_model *model)
{
	return model->options.rank == 0 && !model->options.frozen;
}

/* Plan as if a matrix were of another type. */
static void plan_as(aqm_model *model, struct aqm_weight *weight)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(*model->options.plan_type);
	size_t floats = (size_t)weight->frozen.rows * (size_t)weight->frozen.cols;

	if (aqm_dtype_traits(weight->frozen.dtype)->block > 1 || weight->frozen.cols % (int64_t)traits->block != 0)
		return;
	weight->frozen.dtype = *model->options.plan_type;
	model->weight_bytes += placed_bytes(model, floats / traits->block * traits->block_bytes);
}

/* A tensor, in the mapping; `table`: to be read as float32 where it lies. */
static int bind_tensor(aqm_model *model, struct aqm_weight *weight, const struct aqm_gguf_tensor *tensor, int64_t rows,
                       int64_t cols, bool table)
{
	const char *path = aqm_gguf_path(model->gguf);
	size_t floats = (size_t)rows * (size_t)cols;

	if (tensor->ne[0] != cols || tensor->ne[1] != rows || tensor->ne[2] != 1 || tensor->ne[3] != 1)
		return aqm_error_set(AQM_EDATA, "'%s': tensor '%s' is %lld x %lld; expected %lld x %lld", path, tensor->name,
		                     (long long)tensor->ne[1], (long long)tensor->ne[0], (long long)rows, (long long)cols);
	if (!aqm_dtype_traits(tensor->dtype))
		return aqm_error_set(AQM_EDATA, "'%s': tensor '%s' has type %d, which this program cannot read", path,
		                     tensor->name, (int)tensor->dtype);
	weight->tensor = tensor;
	weight->frozen = (struct aqm_mat){
		.data = (void *)(uintptr_t)tensor->data, .dtype = tensor->dtype, .rows = rows, .cols = cols, .ld = cols};
	if (!table && !trains_base(model) && model->options.planning && model->options.plan_type) {
		plan_as(model, weight);
		if (weight->frozen.dtype != tensor->dtype) {
			model->expanded_floats = floats > model->expanded_floats ? floats : model->expanded_floats;
			return AQM_OK;
		}
	}
	if (!model->device->own_memory)
		model->weight_bytes += tensor->bytes;
	if (trains_base(model)) {
		weight->param = aqm_params_add(model->params, tensor->name, rows, cols, AQM_INIT_GIVEN, 0, rows > 1);
		return weight->param < 0 ? (int)weight->param : AQM_OK;
	}
	if (table)
		return keep_expanded(model, weight);
	int code = model->device->own_memory ? place_matrix(model, weight) : AQM_OK;
	if (weight->frozen.dtype != model->device->dtype && floats > model->expanded_floats)
		model->expanded_floats = floats;
	return code;
}

int aqm_model_bind_weight(aqm_model *model, struct aqm_weight *weight, const char *name, int64_t rows, int64_t cols,
                          bool required)
{
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(model->gguf, name);

	*weight = (struct aqm_weight){.param = -1};
	if (tensor)
		return bind_tensor(model, weight, tensor, rows, cols, rows == 1);
	return required ? aqm_error_set(AQM_EDATA, "'%s' has no tensor '%s'", aqm_gguf_path(model->gguf), name) : AQM_OK;
}

int aqm_model_bind_table(aqm_model *model, struct aqm_weight *weight, const char *name, int64_t rows, int64_t cols)
{
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(model->gguf, name);

	*weight = (struct aqm_weight){.param = -1};
	if (!tensor)
		return aqm_error_set(AQM_EDATA, "'%s' has no tensor '%s'", aqm_gguf_path(model->gguf), name);
	return bind_tensor(model, weight, tensor, rows, cols, true);
}

/* The tensor that the pattern `name` names in block `index`, and of it `part`: ".weight", ".lora_a". */
struct tensor_name {
	char text[96];
};

static struct tensor_name name_of(const char *name, int64_t index, const char *part)
{
	struct tensor_name full;

	aqm_tensor_name_expand(full.text, sizeof full.text, name, index);
	size_t used = strlen(full.text);

	snprintf(full.text + used, sizeof full.text - used, "%s", part);
	return full;
}

int aqm_model_bind_norm(aqm_model *model, struct aqm_norm *norm, int64_t index, const char *name)
{
	int code =
		aqm_model_bind_weight(model, &norm->weight, name_of(name, index, ".weight").text, 1, model->shape.width, true);

	norm->bias.param = -1;
	if (code != AQM_OK || model->rms)
		return code;
	return aqm_model_bind_weight(model, &norm->bias, name_of(name, index, ".bias").text, 1, model->shape.width, true);
}

int aqm_model_bind_linears(aqm_model *model, const struct aqm_linear_tensor *tensors, size_t count, int64_t index,
                           bool bias_required)
{
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < count; i++) {
		const struct aqm_linear_tensor *t = &tensors[i];

		t->linear->in = t->in;
		t->linear->out = t->out;
		t->linear->parts = 0;
		code = aqm_model_bind_weight(model, &t->linear->weight, name_of(t->name, index, ".weight").text, t->out, t->in,
		                             true);
		if (code == AQM_OK)
			code = aqm_model_bind_weight(model, &t->linear->bias, name_of(t->name, index, ".bias").text, 1, t->out,
			                             bias_required);
		if (code == AQM_OK && t->target != AQM_TARGETS)
			code = aqm_model_attach(model, t->linear, index, t->name, t->name, t->target, 0, t->out);
	}
	return code;
}

int aqm_block_linears(const struct aqm_block *block, const struct aqm_base_linear *out[AQM_BLOCK_LINEARS])
{
	const struct aqm_attention_half *self = &block->self, *cross = &block->cross;
	const struct aqm_base_linear *all[AQM_BLOCK_LINEARS] = {
		&self->qkv[0],  &self->qkv[1],  &self->qkv[2],    &self->output,  &cross->qkv[0],  &cross->qkv[1],
		&cross->qkv[2], &cross->output, &block->ffn.gate, &block->ffn.up, &block->ffn.down};
	int count = 0;

	for (int i = 0; i < AQM_BLOCK_LINEARS; i++)
		if (all[i]->weight.tensor)
			out[count++] = all[i];
	return count;
}

/* ---- relative positions ---- */

/* From here on distances share the last bucket. No file has the number; it is 128 in every published model. */
enum { REACH = 128 };

/* The bucket of a key `distance` behind the query (< 0: before it): half of them for one distance each, the rest for
 * logarithmically growing ranges (Raffel et al., 2020, section 2.1). */
static int64_t bucket_of(int64_t distance, int64_t buckets, bool both)
{
	int64_t first = 0, away = distance > 0 ? 0 : -distance;

	if (both) {
		buckets /= 2;
		first = distance > 0 ? buckets : 0;
		away = distance < 0 ? -distance : distance;
	}
	int64_t exact = buckets / 2;

	if (away < exact)
		return first + away;
	int64_t bucket = exact + (int64_t)(log((double)away / (double)exact) / log((double)REACH / (double)exact) *
	                                   (double)(buckets - exact));
	return first + (bucket < buckets ? bucket : buckets - 1);
}

int aqm_model_bind_relative(aqm_model *model, struct aqm_stack *stack, const char *name, int64_t buckets, bool both)
{
	const int64_t distances = 2 * REACH + 1;
	int code = aqm_model_bind_table(model, &stack->relative, name, buckets, model->shape.heads);

	if (code != AQM_OK)
		return code;
	float *host = aqm_calloc_array((size_t)(buckets * distances), sizeof *host), *kept;

	if (!host)
		return AQM_ERUN;
	for (int64_t i = 0; i < distances; i++)
		host[bucket_of(i - REACH, buckets, both) * distances + i] = 1.0f;
	code = aqm_model_keep(model, host, (size_t)(buckets * distances), &kept);
	if (code == AQM_OK)
		stack->distances = aqm_mat_f32(kept, buckets, distances);
	free(host);
	return code;
}

/* ---- adapters ---- */

static int add_adapter(aqm_model *model, const struct aqm_adapter *adapter)
{
	if (model->adapter_count == model->adapter_capacity) {
		size_t capacity = model->adapter_capacity ? 2 * model->adapter_capacity : 64;
		struct aqm_adapter *grown = aqm_realloc_array(model->adapters, capacity, sizeof *grown);

		if (!grown)
			return AQM_ERUN;
		model->adapters = grown;
		model->adapter_capacity = capacity;
	}
	model->adapters[model->adapter_count++] = *adapter;
	return AQM_OK;
}

int aqm_model_attach(aqm_model *model, struct aqm_base_linear *linear, int64_t index, const char *tensor,
                     const char *part, enum aqm_target target, int64_t first, int64_t count)
{
	const struct aqm_model_options *options = &model->options;
	int64_t r = options->rank;

	if (options->frozen || r == 0 || !(options->targets & 1u << target))
		return AQM_OK;
	struct aqm_adapter adapter = {
		.layer = index,
		.target = target,
		.in = linear->in,
		.out = count,
		.row_offset = first,
		.rank = r,
		.scale = options->alpha / (options->rslora ? sqrt((double)r) : (double)r),
	};

	snprintf(adapter.gguf_name, sizeof adapter.gguf_name, "%s", name_of(tensor, index, ".weight").text);
	adapter.a = aqm_params_add(model->params, name_of(part, index, ".lora_a").text, r, linear->in,
	                           AQM_INIT_KAIMING_UNIFORM, (float)linear->in, true);
	adapter.b = aqm_params_add(model->params, name_of(part, index, ".lora_b").text, count, r, AQM_INIT_ZERO, 0, true);
	if (adapter.a < 0 || adapter.b < 0)
		return AQM_ERUN;
	linear->part[linear->parts++] = (struct aqm_lora_part){
		.first = first,
		.count = count,
		.a = adapter.a,
		.b = adapter.b,
		.scale = (float)adapter.scale,
		.ordinal = (uint32_t)model->adapter_count,
	};
	return add_adapter(model, &adapter);
}
