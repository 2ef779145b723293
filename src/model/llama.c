/* SPDX-License-Identifier: BSD-2-Clause
 *
 * llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Llama-2 and 3, Mistral and SmolLM2 files have this architecture.
 */
#include "model/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

/* Inverse frequencies base^(-2i/dim), divided by rope_freqs.weight where the file has it (Llama-3) and by a linear scaling factor. */
static int set_frequencies(aqm_model *model, double scaling)
{
	int64_t pairs = model->shape.rope_dim / 2;
	float *host = aqm_malloc_array((size_t)pairs, sizeof *host);

	if (!host)
		return AQM_ERUN;
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(model->gguf, "rope_freqs.weight");
	int code = AQM_OK;
	if (tensor && (tensor->dtype != AQM_F32 || tensor->ne[0] != pairs || tensor->dimensions != 1))
		code = aqm_error_set(AQM_EDATA, "'%s': tensor 'rope_freqs.weight' is not %lld float32 values",
		                     aqm_gguf_path(model->gguf), (long long)pairs);
	for (int64_t i = 0; code == AQM_OK && i < pairs; i++) {
		double factor = tensor ? (double)((const float *)tensor->data)[i] : 1.0;

		if (!(factor > 0 && isfinite(factor)))
			code =
				aqm_error_set(AQM_EDATA, "'%s': value %lld of tensor 'rope_freqs.weight' is %g; expected more than 0",
			                  aqm_gguf_path(model->gguf), (long long)i, factor);

		host[i] =
			(float)(pow(model->shape.rope_base, -2.0 * (double)i / (double)model->shape.rope_dim) / factor / scaling);
	}
	if (code == AQM_OK)
		code = model->device->ops->allocate(model->device, (size_t)pairs * sizeof *host,
		                                    (void **)&model->inverse_frequency);
	if (code == AQM_OK)
		model->device->ops->upload(model->device, model->inverse_frequency, host, (size_t)pairs * sizeof *host);
	free(host);
	return code;
}

/* The factor of linear position scaling; 1 without. Other kinds (yarn, longrope) would turn by other angles: refused. */
static int read_scaling(aqm_model *model, double *scaling)
{
	const char *kind;
	int code = aqm_gguf_get_string(model->gguf, "llama.rope.scaling.type", &kind);

	*scaling = 1;
	if (code == AQM_ENOTFOUND || (code == AQM_OK && strcmp(kind, "none") == 0))
		return AQM_OK;
	if (code != AQM_OK)
		return code;
	if (strcmp(kind, "linear") != 0)
		return aqm_error_set(AQM_EDATA, "'%s': 'llama.rope.scaling.type' is '%s'; expected none or linear",
		                     aqm_gguf_path(model->gguf), kind);
	return aqm_model_read_float(model, "rope.scaling.factor", 1e-3, 1e6, 1, scaling);
}

static int read_shape(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;
	double epsilon = 0, scaling = 1;

	model->rms = model->gated = model->rope = true;
	model->rope_pairs = AQM_ROPE_ADJACENT;
	model->qkv_count = 3;
	shape->context = INT64_MAX;
	int code = aqm_model_read_int(model, "block_count", 1, 1000, -1, &shape->layers);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "embedding_length", 1, 1 << 20, -1, &shape->width);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "attention.head_count", 1, 4096, -1, &shape->heads);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "attention.head_count_kv", 1, shape->heads, shape->heads, &shape->kv_heads);
	if (code == AQM_OK)
		code =
			aqm_model_read_int(model, "attention.key_length", 2, 4096, shape->width / shape->heads, &shape->head_dim);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "feed_forward_length", 1, 1 << 22, -1, &shape->ffn);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "rope.dimension_count", 2, shape->head_dim, shape->head_dim, &shape->rope_dim);
	if (code == AQM_OK)
		code = aqm_model_read_float(model, "attention.layer_norm_rms_epsilon", 0, 1, NAN, &epsilon);
	if (code == AQM_OK)
		code = aqm_model_read_float(model, "rope.freq_base", 1, 1e12, 10000, &shape->rope_base);
	if (code == AQM_OK)
		code = read_scaling(model, &scaling);
	if (code != AQM_OK)
		return code;
	shape->epsilon = (float)epsilon;
	if (shape->heads % shape->kv_heads != 0 || shape->rope_dim % 2 != 0)
		return aqm_error_set(AQM_EDATA,
		                     "'%s': %lld heads cannot share %lld key-value heads, or the rotary dimension %lld is odd",
		                     aqm_gguf_path(model->gguf), (long long)shape->heads, (long long)shape->kv_heads,
		                     (long long)shape->rope_dim);
	return set_frequencies(model, scaling);
}

static int bind_layer(aqm_model *model, int64_t i)
{
	static const struct {
		const char *name;
		enum aqm_target target;
	} qkv[3] = {{"attn_q", AQM_TARGET_Q}, {"attn_k", AQM_TARGET_K}, {"attn_v", AQM_TARGET_V}};
	struct aqm_layer *layer = &model->layers[i];
	int64_t d = model->shape.width, q = model->shape.heads * model->shape.head_dim,
			kv = model->shape.kv_heads * model->shape.head_dim;
	int code = aqm_model_bind_norm(model, &layer->attn_norm, i, "attn_norm");

	for (int j = 0; code == AQM_OK && j < 3; j++) {
		int64_t out = j == 0 ? q : kv;

		code = aqm_model_bind_linear(model, &layer->qkv[j], i, qkv[j].name, d, out, false);
		if (code == AQM_OK)
			code = aqm_model_attach(model, &layer->qkv[j], i, qkv[j].name, qkv[j].target, 0, out);
	}
	struct {
		struct aqm_base_linear *linear;
		const char *name;
		enum aqm_target target;
		int64_t in, out;
	} rest[4] = {{&layer->attn_output, "attn_output", AQM_TARGET_O, q, d},
	             {&layer->gate, "ffn_gate", AQM_TARGET_GATE, d, model->shape.ffn},
	             {&layer->up, "ffn_up", AQM_TARGET_UP, d, model->shape.ffn},
	             {&layer->down, "ffn_down", AQM_TARGET_DOWN, model->shape.ffn, d}};
	if (code == AQM_OK)
		code = aqm_model_bind_norm(model, &layer->ffn_norm, i, "ffn_norm");
	for (int j = 0; code == AQM_OK && j < 4; j++) {
		code = aqm_model_bind_linear(model, rest[j].linear, i, rest[j].name, rest[j].in, rest[j].out, false);
		if (code == AQM_OK)
			code = aqm_model_attach(model, rest[j].linear, i, rest[j].name, rest[j].target, 0, rest[j].out);
	}
	return code;
}

static int bind_outer(aqm_model *model)
{
	model->positions.param = -1;
	return aqm_model_bind_norm(model, &model->output_norm, -1, "output_norm");
}

const struct aqm_architecture aqm_architecture_llama = {
	.name = "llama", .read_shape = read_shape, .bind_layer = bind_layer, .bind_outer = bind_outer};
