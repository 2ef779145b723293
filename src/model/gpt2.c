/* SPDX-License-Identifier: BSD-2-Clause
 *
 * gpt2: LayerNorm with bias, learned positions, one fused matrix for q, k and v, GELU.
 */
#include <math.h>

#include "model/internal.h"

static int read_shape(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;
	double epsilon = 0;

	model->activation = AQM_GELU_TANH;
	model->qkv_count = 1;
	int code = aqm_model_read_int(model, "block_count", 1, 1000, -1, &shape->layers);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "embedding_length", 1, 1 << 20, -1, &shape->width);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "attention.head_count", 1, 4096, -1, &shape->heads);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "feed_forward_length", 1, 1 << 22, -1, &shape->ffn);
	if (code == AQM_OK)
		code = aqm_model_read_float(model, "attention.layer_norm_epsilon", 0, 1, NAN, &epsilon);
	if (code != AQM_OK)
		return code;
	if (shape->width % shape->heads != 0)
		return aqm_error_set(AQM_EDATA, "'%s': an embedding length of %lld cannot be divided among %lld heads",
		                     aqm_gguf_path(model->gguf), (long long)shape->width, (long long)shape->heads);
	const struct aqm_gguf_tensor *positions = aqm_gguf_find(model->gguf, "position_embd.weight");
	if (!positions)
		return aqm_error_set(AQM_EDATA, "'%s' has no tensor 'position_embd.weight'", aqm_gguf_path(model->gguf));
	shape->epsilon = (float)epsilon;
	shape->kv_heads = shape->heads;
	shape->head_dim = shape->width / shape->heads;
	shape->context = positions->ne[1];
	return AQM_OK;
}

static int bind_layer(aqm_model *model, int64_t i)
{
	struct aqm_layer *layer = &model->layers[i];
	int64_t d = model->shape.width, ffn = model->shape.ffn;
	int code = aqm_model_bind_norm(model, &layer->attn_norm, i, "attn_norm");

	if (code == AQM_OK)
		code = aqm_model_bind_linear(model, &layer->qkv[0], i, "attn_qkv", d, 3 * d, true);
	for (int j = 0; code == AQM_OK && j < 3; j++)
		code = aqm_model_attach(model, &layer->qkv[0], i, "attn_qkv", (enum aqm_target)(AQM_TARGET_Q + j), j * d, d);
	if (code == AQM_OK)
		code = aqm_model_bind_linear(model, &layer->attn_output, i, "attn_output", d, d, true);
	if (code == AQM_OK)
		code = aqm_model_attach(model, &layer->attn_output, i, "attn_output", AQM_TARGET_O, 0, d);
	if (code == AQM_OK)
		code = aqm_model_bind_norm(model, &layer->ffn_norm, i, "ffn_norm");
	if (code == AQM_OK)
		code = aqm_model_bind_linear(model, &layer->up, i, "ffn_up", d, ffn, true);
	if (code == AQM_OK)
		code = aqm_model_attach(model, &layer->up, i, "ffn_up", AQM_TARGET_UP, 0, ffn);
	if (code == AQM_OK)
		code = aqm_model_bind_linear(model, &layer->down, i, "ffn_down", ffn, d, true);
	return code == AQM_OK ? aqm_model_attach(model, &layer->down, i, "ffn_down", AQM_TARGET_DOWN, 0, d) : code;
}

static int bind_outer(aqm_model *model)
{
	int code = aqm_model_bind_weight(model, &model->positions, "position_embd.weight", model->shape.context,
	                                 model->shape.width, true);

	return code == AQM_OK ? aqm_model_bind_norm(model, &model->output_norm, -1, "output_norm") : code;
}

const struct aqm_architecture aqm_architecture_gpt2 = {
	.name = "gpt2", .read_shape = read_shape, .bind_layer = bind_layer, .bind_outer = bind_outer};
