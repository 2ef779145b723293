/* SPDX-License-Identifier: BSD-2-Clause
 *
 * llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Llama-2 and 3, Mistral and SmolLM2 files have this
 * architecture. qwen2: the same, but rotary positions turn the halves of a head (llama's files have them interleaved),
 * and q, k and v have biases.
 */
#include "model/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

/* The factor of linear position scaling; 1 without. Other kinds (yarn, longrope) would turn by other angles: refused. */
static int read_rope_scaling(const aqm_model *model, double *factor)
{
	const char *kind, *path = aqm_gguf_path(model->gguf);
	char key[64];

	snprintf(key, sizeof key, "%s.rope.scaling.type", model->architecture->name);
	int code = aqm_gguf_get_string(model->gguf, key, &kind);

	*factor = 1;
	if (code == AQM_ENOTFOUND || (code == AQM_OK && strcmp(kind, "none") == 0))
		return AQM_OK;
	if (code != AQM_OK)
		return code;
	if (strcmp(kind, "linear") != 0)
		return aqm_error_set(AQM_EDATA, "'%s': '%s' is '%s'; expected none or linear", path, key, kind);
	return aqm_model_read_float(model, "rope.scaling.factor", 1e-3, 1e6, 1, factor);
}

/* Inverse frequencies base^(-2i/dim), divided by rope_freqs.weight where the file has it (Llama-3) and by a linear
 * scaling factor. */
static int set_frequencies(aqm_model *model, double scaling)
{
	int64_t pairs = model->shape.rope_dim / 2;
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(model->gguf, "rope_freqs.weight");
	const float *factors = tensor ? tensor->data : NULL;
	float *kept;

	if (tensor && (tensor->dtype != AQM_F32 || tensor->ne[0] != pairs || tensor->dimensions != 1))
		return aqm_error_set(AQM_EDATA, "'%s': tensor 'rope_freqs.weight' is not %lld float32 values",
		                     aqm_gguf_path(model->gguf), (long long)pairs);
	for (int64_t i = 0; factors && i < pairs; i++)
		if (!(factors[i] > 0 && isfinite(factors[i])))
			return aqm_error_set(AQM_EDATA,
			                     "'%s': value %lld of tensor 'rope_freqs.weight' is %g; expected more than 0",
			                     aqm_gguf_path(model->gguf), (long long)i, (double)factors[i]);
	float *host = aqm_malloc_array((size_t)pairs, sizeof *host);

	if (!host)
		return AQM_ERUN;
	for (int64_t i = 0; i < pairs; i++)
		host[i] = (float)(pow(model->shape.rope_base, -2.0 * (double)i / (double)model->shape.rope_dim) / scaling /
		                  (factors ? (double)factors[i] : 1.0));
	int code = aqm_model_keep(model, host, (size_t)pairs, &kept);
	if (code == AQM_OK)
		model->inverse_frequency = aqm_mat_f32(kept, 1, pairs);
	free(host);
	return code;
}

static int read_shape_pairs(aqm_model *model, enum aqm_rope_pairs pairs)
{
	struct aqm_model_shape *shape = &model->shape;
	double epsilon = 0, scaling = 1;

	model->rms = model->gated = true;
	model->glu = AQM_SWIGLU;
	model->rope_pairs = pairs;
	model->qkv_count = 3;
	shape->context = INT64_MAX;
	int code = aqm_model_read_int(model, "attention.head_count_kv", 1, shape->heads, shape->heads, &shape->kv_heads);
	if (code == AQM_OK)
		code =
			aqm_model_read_int(model, "attention.key_length", 2, 4096, shape->width / shape->heads, &shape->head_dim);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "rope.dimension_count", 2, shape->head_dim, shape->head_dim, &shape->rope_dim);
	if (code == AQM_OK)
		code = aqm_model_read_float(model, "attention.layer_norm_rms_epsilon", 0, 1, NAN, &epsilon);
	if (code == AQM_OK)
		code = aqm_model_read_float(model, "rope.freq_base", 1, 1e12, 10000, &shape->rope_base);
	if (code == AQM_OK)
		code = read_rope_scaling(model, &scaling);
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

static int read_shape_llama(aqm_model *model)
{
	return read_shape_pairs(model, AQM_ROPE_ADJACENT);
}

static int read_shape_qwen2(aqm_model *model)
{
	return read_shape_pairs(model, AQM_ROPE_HALVES);
}

static int bind_block(aqm_model *model, struct aqm_stack *stack, int64_t i)
{
	struct aqm_block *block = &stack->blocks[i];
	struct aqm_base_linear *qkv = block->self.qkv;
	int64_t d = model->shape.width, ffn = model->shape.ffn;
	int64_t q = model->shape.heads * model->shape.head_dim, kv = model->shape.kv_heads * model->shape.head_dim;
	const struct aqm_linear_tensor linears[] = {
		{&qkv[0], "blk.%.attn_q", d, q, AQM_TARGET_Q},
		{&qkv[1], "blk.%.attn_k", d, kv, AQM_TARGET_K},
		{&qkv[2], "blk.%.attn_v", d, kv, AQM_TARGET_V},
		{&block->self.output, "blk.%.attn_output", q, d, AQM_TARGET_O},
		{&block->ffn.gate, "blk.%.ffn_gate", d, ffn, AQM_TARGET_GATE},
		{&block->ffn.up, "blk.%.ffn_up", d, ffn, AQM_TARGET_UP},
		{&block->ffn.down, "blk.%.ffn_down", ffn, d, AQM_TARGET_DOWN},
	};
	int code = aqm_model_bind_norm(model, &block->self.norm, i, "blk.%.attn_norm");

	if (code == AQM_OK)
		code = aqm_model_bind_norm(model, &block->ffn.norm, i, "blk.%.ffn_norm");
	if (code == AQM_OK)
		code = aqm_model_bind_linears(model, linears, sizeof linears / sizeof *linears, i, false);
	return code;
}

static int bind_outer(aqm_model *model)
{
	return aqm_model_bind_norm(model, &model->stacks[0].output_norm, -1, "output_norm");
}

/* ---- names ---- */

/* clang-format off */
#define OUTER \
	{"token_embd.weight",  "model.embed_tokens.weight", AQM_EXTENT_VOCABULARY, AQM_EXTENT_WIDTH, 0, false}, \
	{"output_norm.weight", "model.norm.weight",         AQM_EXTENT_ONE,        AQM_EXTENT_WIDTH, 0, false}, \
	{"output.weight",      "lm_head.weight",            AQM_EXTENT_VOCABULARY, AQM_EXTENT_WIDTH, 0, true}, \
	{NULL, "model.rotary_emb.inv_freq", 0, 0, 0, true}
#define LAYER(name) "model.layers.%." name
#define VECTOR(gguf, hf, n) {"blk.%." gguf, LAYER(hf), AQM_EXTENT_ONE, AQM_EXTENT_##n, 0, false}
/* A linear and its bias; `rule` says whether that may be missing. */
#define LINEAR(gguf, hf, out, in, layout, rule) \
	{"blk.%." gguf ".weight", LAYER(hf ".weight"), AQM_EXTENT_##out, AQM_EXTENT_##in,  AQM_LAYOUT_##layout, false}, \
	{"blk.%." gguf ".bias",   LAYER(hf ".bias"),   AQM_EXTENT_ONE,   AQM_EXTENT_##out, AQM_LAYOUT_##layout, rule}
#define REST_OF_LAYER \
	VECTOR("attn_norm.weight", "input_layernorm.weight", WIDTH), \
	VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", WIDTH), \
	LINEAR("attn_output", "self_attn.o_proj", WIDTH, Q,     SAME, true), \
	LINEAR("ffn_gate",    "mlp.gate_proj",    FFN,   WIDTH, SAME, true), \
	LINEAR("ffn_up",      "mlp.up_proj",      FFN,   WIDTH, SAME, true), \
	LINEAR("ffn_down",    "mlp.down_proj",    WIDTH, FFN,   SAME, true), \
	{NULL, LAYER("self_attn.rotary_emb.inv_freq"), 0, 0, 0, true}

static const struct aqm_tensor_name llama_names[] = {
	OUTER,
	LINEAR("attn_q", "self_attn.q_proj", Q,  WIDTH, PERMUTED_Q, true),
	LINEAR("attn_k", "self_attn.k_proj", KV, WIDTH, PERMUTED_K, true),
	LINEAR("attn_v", "self_attn.v_proj", KV, WIDTH, SAME,       true),
	REST_OF_LAYER,
};

static const struct aqm_tensor_name qwen2_names[] = {
	OUTER,
	LINEAR("attn_q", "self_attn.q_proj", Q,  WIDTH, SAME, false),
	LINEAR("attn_k", "self_attn.k_proj", KV, WIDTH, SAME, false),
	LINEAR("attn_v", "self_attn.v_proj", KV, WIDTH, SAME, false),
	REST_OF_LAYER,
};
/* clang-format on */

const struct aqm_architecture aqm_architecture_llama = {.name = "llama",
                                                        .read_shape = read_shape_llama,
                                                        .bind_block = bind_block,
                                                        .bind_outer = bind_outer,
                                                        .names = llama_names,
                                                        .name_count = sizeof llama_names / sizeof *llama_names};

const struct aqm_architecture aqm_architecture_qwen2 = {.name = "qwen2",
                                                        .read_shape = read_shape_qwen2,
                                                        .bind_block = bind_block,
                                                        .bind_outer = bind_outer,
                                                        .names = qwen2_names,
                                                        .name_count = sizeof qwen2_names / sizeof *qwen2_names};
