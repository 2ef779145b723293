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
/* Adapters are named by what they adapt, also where the file has q, k and v in one matrix. */
static const char *const target_names[AQM_TARGETS] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                      "ffn_gate", "ffn_up", "ffn_down"};

int aqm_model_options_from(struct aqm_model_options *options, const struct aqm_config *config)
{
	*options = (struct aqm_model_options){
		.rank = config->lora.rank,
		.alpha = config->lora.alpha,
		.dropout = config->lora.dropout,
		.rslora = config->lora.rslora,
		.stop_layer = config->model.stop_layer,
		.seed = config->seed,
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
	return code == AQM_OK ? model->architecture->read_shape(model) : code;
}

/* ---- tensors ---- */

int aqm_model_keep(aqm_model *model, const float *host, size_t count, float **out)
{
	void **grown = aqm_realloc_array(model->resident, model->resident_count + 1, sizeof *grown), *memory;

	if (!grown)
		return AQM_ERUN;
	model->resident = grown;
	int code = model->device->ops->allocate(model->device, count * sizeof *host, &memory);
	if (code != AQM_OK)
		return code;
	model->device->ops->upload(model->device, memory, host, count * sizeof *host);
	model->resident[model->resident_count++] = memory;
	*out = memory;
	return AQM_OK;
}

/* The tensor with all its numbers as float32, if the file has it in another type. */
static int keep_expanded(aqm_model *model, struct aqm_weight *weight)
{
	size_t n = (size_t)(weight->frozen.rows * weight->frozen.cols);
	float *host, *kept;

	if (weight->frozen.dtype == AQM_F32)
		return AQM_OK;
	host = aqm_malloc_array(n, sizeof *host);
	if (!host)
		return AQM_ERUN;
	aqm_dtype_traits(weight->frozen.dtype)->expand(weight->frozen.data, host, n);
	int code = aqm_model_keep(model, host, n, &kept);
	if (code == AQM_OK) {
		weight->frozen = aqm_mat_f32(kept, weight->frozen.rows, weight->frozen.cols);
		model->weight_bytes += n * sizeof *host;
	}
	free(host);
	return code;
}

static bool trains_base(const aqm_model *model)
{
	return model->options.rank == 0 && !model->options.frozen;
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
	model->weight_bytes += tensor->bytes;
	if (trains_base(model)) {
		weight->param = aqm_params_add(model->params, tensor->name, rows, cols, AQM_INIT_GIVEN, 0, rows > 1);
		return weight->param < 0 ? (int)weight->param : AQM_OK;
	}
	if (table)
		return keep_expanded(model, weight);
	if (tensor->dtype != AQM_F32 && floats > model->expanded_floats)
		model->expanded_floats = floats;
	return AQM_OK;
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

int aqm_model_bind_norm(aqm_model *model, struct aqm_norm *norm, int64_t layer, const char *name)
{
	char full[96], prefix[32] = "";

	if (layer >= 0)
		snprintf(prefix, sizeof prefix, "blk.%lld.", (long long)layer);
	snprintf(full, sizeof full, "%s%s.weight", prefix, name);
	int code = aqm_model_bind_weight(model, &norm->weight, full, 1, model->shape.width, true);

	norm->bias.param = -1;
	if (code != AQM_OK || model->rms)
		return code;
	snprintf(full, sizeof full, "%s%s.bias", prefix, name);
	return aqm_model_bind_weight(model, &norm->bias, full, 1, model->shape.width, true);
}

int aqm_model_bind_linear(aqm_model *model, struct aqm_base_linear *linear, int64_t layer, const char *name, int64_t in,
                          int64_t out, bool bias_required, enum aqm_target target)
{
	char full[96];

	linear->in = in;
	linear->out = out;
	linear->parts = 0;
	snprintf(full, sizeof full, "blk.%lld.%s.weight", (long long)layer, name);
	int code = aqm_model_bind_weight(model, &linear->weight, full, out, in, true);

	if (code != AQM_OK)
		return code;
	snprintf(full, sizeof full, "blk.%lld.%s.bias", (long long)layer, name);
	code = aqm_model_bind_weight(model, &linear->bias, full, 1, out, bias_required);
	if (code != AQM_OK || target == AQM_TARGETS)
		return code;
	return aqm_model_attach(model, linear, layer, name, target, 0, out);
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

int aqm_model_attach(aqm_model *model, struct aqm_base_linear *linear, int64_t layer, const char *name,
                     enum aqm_target target, int64_t first, int64_t count)
{
	const struct aqm_model_options *options = &model->options;
	int64_t r = options->rank;
	char full[128];

	if (options->frozen || r == 0 || !(options->targets & 1u << target))
		return AQM_OK;
	struct aqm_adapter adapter = {
		.layer = layer,
		.target = target,
		.in = linear->in,
		.out = count,
		.row_offset = first,
		.rank = r,
		.scale = options->alpha / (options->rslora ? sqrt((double)r) : (double)r),
	};

	snprintf(adapter.gguf_name, sizeof adapter.gguf_name, "blk.%lld.%s.weight", (long long)layer, name);
	snprintf(full, sizeof full, "blk.%lld.%s.lora_a", (long long)layer, target_names[target]);
	adapter.a = aqm_params_add(model->params, full, r, linear->in, AQM_INIT_KAIMING_UNIFORM, (float)linear->in, true);
	snprintf(full, sizeof full, "blk.%lld.%s.lora_b", (long long)layer, target_names[target]);
	adapter.b = aqm_params_add(model->params, full, count, r, AQM_INIT_ZERO, 0, true);
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
