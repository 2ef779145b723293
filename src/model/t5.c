/* SPDX-License-Identifier: BSD-2-Clause
 *
 * t5: an encoder, and a decoder that reads it (Raffel et al., 2020). RMSNorm, biases by relative position instead of
 * positions, scores that are not scaled, heads as wide as they like; ReLU (1.0) or gated GELU (1.1), as the file's tensors
 * say. One sequence of embeddings goes in: the decoder is fed the encoder's hidden states, as input and through
 * cross-attention.
 *
 * As published, the encoder sees the whole window, and so would every decision its future. Here both the encoder's
 * self-attention and cross-attention are masked causally, unless the options ask for the published form.
 */
#include <math.h>

#include "model/internal.h"

static int read_shape(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;
	bool causal = !model->options.bidirectional;
	double epsilon = 0;

	model->rms = true;
	model->qkv_count = 3;
	model->score_scale = 1.0f;
	model->gated = aqm_gguf_find(model->gguf, "enc.blk.0.ffn_gate.weight") != NULL;
	model->glu = AQM_GEGLU;
	model->activation = AQM_RELU;
	shape->kv_heads = shape->heads;
	shape->context = INT64_MAX;
	int code = aqm_model_read_float(model, "attention.layer_norm_rms_epsilon", 0, 1, NAN, &epsilon);
	if (code == AQM_OK)
		code =
			aqm_model_read_int(model, "attention.key_length", 1, 4096, shape->width / shape->heads, &shape->head_dim);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "attention.relative_buckets_count", 4, 128, -1, &model->relative_buckets);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "decoder_block_count", 1, 1000, shape->layers, &shape->decoder_layers);
	shape->epsilon = (float)epsilon;
	model->stacks[0].self_causal = causal;
	model->stack_count = 2;
	model->stacks[1] = (struct aqm_stack){
		.count = shape->decoder_layers,
		.reads_encoder = true,
		.self_causal = true,
		.cross_causal = causal,
		.relative.param = -1,
	};
	return code;
}

/* Names of a half's q, k, v and o. */
struct attention_names {
	const char *norm, *parts[4];
};

static int bind_attention(aqm_model *model, struct aqm_attention_half *half, const struct attention_names *names,
                          int64_t i)
{
	int64_t d = model->shape.width, q = model->shape.heads * model->shape.head_dim;
	const struct aqm_linear_tensor linears[] = {
		{&half->qkv[0], names->parts[0], d, q, AQM_TARGET_Q},
		{&half->qkv[1], names->parts[1], d, q, AQM_TARGET_K},
		{&half->qkv[2], names->parts[2], d, q, AQM_TARGET_V},
		{&half->output, names->parts[3], q, d, AQM_TARGET_O},
	};
	int code = aqm_model_bind_norm(model, &half->norm, i, names->norm);

	return code == AQM_OK ? aqm_model_bind_linears(model, linears, 4, i, false) : code;
}

/* Names of a stack's tensors; no cross-attention in the encoder. */
struct stack_names {
	struct attention_names self, cross;
	const char *ffn_norm, *gate, *up, *down;
	const char *relative, *output_norm;
};

static const struct stack_names encoder = {
	.self = {"enc.blk.%.attn_norm", {"enc.blk.%.attn_q", "enc.blk.%.attn_k", "enc.blk.%.attn_v", "enc.blk.%.attn_o"}},
	.ffn_norm = "enc.blk.%.ffn_norm",
	.gate = "enc.blk.%.ffn_gate",
	.up = "enc.blk.%.ffn_up",
	.down = "enc.blk.%.ffn_down",
	.relative = "enc.blk.0.attn_rel_b.weight",
	.output_norm = "enc.output_norm",
};

static const struct stack_names decoder = {
	.self = {"dec.blk.%.attn_norm", {"dec.blk.%.attn_q", "dec.blk.%.attn_k", "dec.blk.%.attn_v", "dec.blk.%.attn_o"}},
	.cross = {"dec.blk.%.cross_attn_norm",
              {"dec.blk.%.cross_attn_q", "dec.blk.%.cross_attn_k", "dec.blk.%.cross_attn_v", "dec.blk.%.cross_attn_o"}},
	.ffn_norm = "dec.blk.%.ffn_norm",
	.gate = "dec.blk.%.ffn_gate",
	.up = "dec.blk.%.ffn_up",
	.down = "dec.blk.%.ffn_down",
	.relative = "dec.blk.0.attn_rel_b.weight",
	.output_norm = "dec.output_norm",
};

static int bind_ffn(aqm_model *model, struct aqm_ffn_half *half, const struct stack_names *names, int64_t i)
{
	int64_t d = model->shape.width, ffn = model->shape.ffn;
	const struct aqm_linear_tensor linears[] = {
		{&half->gate, names->gate, d, ffn, AQM_TARGET_GATE},
		{&half->up, names->up, d, ffn, AQM_TARGET_UP},
		{&half->down, names->down, ffn, d, AQM_TARGET_DOWN},
	};
	int code = aqm_model_bind_norm(model, &half->norm, i, names->ffn_norm);

	if (code != AQM_OK)
		return code;
	return model->gated ? aqm_model_bind_linears(model, linears, 3, i, false)
	                    : aqm_model_bind_linears(model, linears + 1, 2, i, false);
}

static int bind_block(aqm_model *model, struct aqm_stack *stack, int64_t i)
{
	struct aqm_block *block = &stack->blocks[i];
	const struct stack_names *names = stack->reads_encoder ? &decoder : &encoder;
	int code = bind_attention(model, &block->self, &names->self, i);

	if (code == AQM_OK && stack->reads_encoder)
		code = bind_attention(model, &block->cross, &names->cross, i);
	return code == AQM_OK ? bind_ffn(model, &block->ffn, names, i) : code;
}

static int bind_stack(aqm_model *model, struct aqm_stack *stack, const struct stack_names *names)
{
	/* The encoder's buckets tell keys behind the query from those before it, whether it may see them or not. */
	int code = aqm_model_bind_relative(model, stack, names->relative, model->relative_buckets, !stack->reads_encoder);

	return code == AQM_OK ? aqm_model_bind_norm(model, &stack->output_norm, -1, names->output_norm) : code;
}

static int bind_outer(aqm_model *model)
{
	int code = bind_stack(model, &model->stacks[0], &encoder);

	return code == AQM_OK ? bind_stack(model, &model->stacks[1], &decoder) : code;
}

/* clang-format off */
#define VECTOR(gguf, hf) {gguf, hf, AQM_EXTENT_ONE, AQM_EXTENT_WIDTH, 0, false}
#define MATRIX(gguf, hf, out, in, optional) {gguf, hf, AQM_EXTENT_##out, AQM_EXTENT_##in, 0, optional}
#define ATTENTION(gguf, hf) \
	MATRIX(gguf "q.weight", hf "q.weight", Q,     WIDTH, false), \
	MATRIX(gguf "k.weight", hf "k.weight", KV,    WIDTH, false), \
	MATRIX(gguf "v.weight", hf "v.weight", KV,    WIDTH, false), \
	MATRIX(gguf "o.weight", hf "o.weight", WIDTH, Q,     false)
/* 1.0 has wi, 1.1 has wi_0 (gate) and wi_1. */
#define FFN(gguf, hf) \
	VECTOR(gguf "norm.weight", hf "layer_norm.weight"), \
	MATRIX(gguf "gate.weight", hf "DenseReluDense.wi_0.weight", FFN,   WIDTH, true), \
	MATRIX(gguf "up.weight",   hf "DenseReluDense.wi_1.weight", FFN,   WIDTH, false), \
	MATRIX(gguf "up.weight",   hf "DenseReluDense.wi.weight",   FFN,   WIDTH, false), \
	MATRIX(gguf "down.weight", hf "DenseReluDense.wo.weight",   WIDTH, FFN,   false)

static const struct aqm_tensor_name names[] = {
	MATRIX("token_embd.weight", "shared.weight",               VOCABULARY, WIDTH, false),
	MATRIX("token_embd.weight", "encoder.embed_tokens.weight", VOCABULARY, WIDTH, false),
	MATRIX("output.weight",     "lm_head.weight",              VOCABULARY, WIDTH, true),
	{NULL, "decoder.embed_tokens.weight", 0, 0, 0, true},

	MATRIX("enc.blk.0.attn_rel_b.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", BUCKETS, HEADS, false),
	VECTOR("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
	VECTOR("enc.blk.%.attn_norm.weight", "encoder.block.%.layer.0.layer_norm.weight"),
	ATTENTION("enc.blk.%.attn_", "encoder.block.%.layer.0.SelfAttention."),
	FFN("enc.blk.%.ffn_", "encoder.block.%.layer.1."),

	MATRIX("dec.blk.0.attn_rel_b.weight", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", BUCKETS, HEADS, false),
	VECTOR("dec.output_norm.weight", "decoder.final_layer_norm.weight"),
	VECTOR("dec.blk.%.attn_norm.weight", "decoder.block.%.layer.0.layer_norm.weight"),
	ATTENTION("dec.blk.%.attn_", "decoder.block.%.layer.0.SelfAttention."),
	VECTOR("dec.blk.%.cross_attn_norm.weight", "decoder.block.%.layer.1.layer_norm.weight"),
	ATTENTION("dec.blk.%.cross_attn_", "decoder.block.%.layer.1.EncDecAttention."),
	FFN("dec.blk.%.ffn_", "decoder.block.%.layer.2."),
	/* Old files have this table; no implementation reads it. */
	{NULL, "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", 0, 0, 0, true},
};
/* clang-format on */

const struct aqm_architecture aqm_architecture_t5 = {.name = "t5",
                                                     .read_shape = read_shape,
                                                     .bind_block = bind_block,
                                                     .bind_outer = bind_outer,
                                                     .names = names,
                                                     .name_count = sizeof names / sizeof *names};
