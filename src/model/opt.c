/* SPDX-License-Identifier: BSD-2-Clause
 *
 * opt: LayerNorm with bias in front of each half, learned positions, separate q, k and v with biases, ReLU.
 *
 * llama.cpp has no such architecture; this is ours, in its style: the names of its other decoders, hyperparameters as
 * gpt2 has them, and the table of positions as published: its first opt.position_offset rows (2, unless the file says
 * otherwise) belong to no token. Models that normalise behind each half, or whose tokens are narrower than their hidden
 * states (opt-350m is both), are another network: `model convert` refuses them.
 */
#include <math.h>

#include "model/internal.h"

static int read_shape(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;
	const struct aqm_gguf_tensor *positions = aqm_gguf_find(model->gguf, "position_embd.weight");
	double epsilon = 0;

	model->activation = AQM_RELU;
	model->qkv_count = 3;
	int code = aqm_model_read_float(model, "attention.layer_norm_epsilon", 0, 1, NAN, &epsilon);
	if (code == AQM_OK)
		code = aqm_model_read_int(model, "position_offset", 0, 1 << 20, 2, &model->position_offset);
	if (code != AQM_OK)
		return code;
	if (shape->width % shape->heads != 0)
		return aqm_error_set(AQM_EDATA, "'%s': an embedding length of %lld cannot be divided among %lld heads",
		                     aqm_gguf_path(model->gguf), (long long)shape->width, (long long)shape->heads);
	if (!positions)
		return aqm_error_set(AQM_EDATA, "'%s' has no tensor 'position_embd.weight'", aqm_gguf_path(model->gguf));
	shape->epsilon = (float)epsilon;
	shape->kv_heads = shape->heads;
	shape->head_dim = shape->width / shape->heads;
	shape->context = positions->ne[1] - model->position_offset;
	if (shape->context < 1)
		return aqm_error_set(AQM_EDATA, "'%s': tensor 'position_embd.weight' has %lld rows; expected more than %lld",
		                     aqm_gguf_path(model->gguf), (long long)positions->ne[1],
		                     (long long)model->position_offset);
	return AQM_OK;
}

static int bind_block(aqm_model *model, struct aqm_stack *stack, int64_t i)
{
	struct aqm_block *block = &stack->blocks[i];
	int64_t d = model->shape.width, ffn = model->shape.ffn;
	const struct aqm_linear_tensor linears[] = {
		{&block->self.qkv[0], "blk.%.attn_q", d, d, AQM_TARGET_Q},
		{&block->self.qkv[1], "blk.%.attn_k", d, d, AQM_TARGET_K},
		{&block->self.qkv[2], "blk.%.attn_v", d, d, AQM_TARGET_V},
		{&block->self.output, "blk.%.attn_output", d, d, AQM_TARGET_O},
		{&block->ffn.up, "blk.%.ffn_up", d, ffn, AQM_TARGET_UP},
		{&block->ffn.down, "blk.%.ffn_down", ffn, d, AQM_TARGET_DOWN},
	};
	int code = aqm_model_bind_norm(model, &block->self.norm, i, "blk.%.attn_norm");

	if (code == AQM_OK)
		code = aqm_model_bind_norm(model, &block->ffn.norm, i, "blk.%.ffn_norm");
	if (code == AQM_OK)
		code = aqm_model_bind_linears(model, linears, sizeof linears / sizeof *linears, i, true);
	return code;
}

static int bind_outer(aqm_model *model)
{
	int code = aqm_model_bind_table(model, &model->positions, "position_embd.weight",
	                                model->position_offset + model->shape.context, model->shape.width);

	return code == AQM_OK ? aqm_model_bind_norm(model, &model->stacks[0].output_norm, -1, "output_norm") : code;
}

/* clang-format off */
#define DECODER(name) "model.decoder." name
#define LAYER(name) DECODER("layers.%." name)
#define NORM(gguf, hf) \
	{gguf ".weight", hf ".weight", AQM_EXTENT_ONE, AQM_EXTENT_WIDTH, 0, false}, \
	{gguf ".bias",   hf ".bias",   AQM_EXTENT_ONE, AQM_EXTENT_WIDTH, 0, false}
#define LINEAR(gguf, hf, out, in) \
	{"blk.%." gguf ".weight", LAYER(hf ".weight"), AQM_EXTENT_##out, AQM_EXTENT_##in,  0, false}, \
	{"blk.%." gguf ".bias",   LAYER(hf ".bias"),   AQM_EXTENT_ONE,   AQM_EXTENT_##out, 0, false}

static const struct aqm_tensor_name names[] = {
	{"token_embd.weight",    DECODER("embed_tokens.weight"),    AQM_EXTENT_VOCABULARY, AQM_EXTENT_WIDTH, 0, false},
	{"position_embd.weight", DECODER("embed_positions.weight"), AQM_EXTENT_POSITIONS,  AQM_EXTENT_WIDTH, 0, false},
	{"output.weight",        "lm_head.weight",                  AQM_EXTENT_VOCABULARY, AQM_EXTENT_WIDTH, 0, true},
	NORM("output_norm", DECODER("final_layer_norm")),
	NORM("blk.%.attn_norm", LAYER("self_attn_layer_norm")),
	LINEAR("attn_q",      "self_attn.q_proj",   Q,     WIDTH),
	LINEAR("attn_k",      "self_attn.k_proj",   KV,    WIDTH),
	LINEAR("attn_v",      "self_attn.v_proj",   KV,    WIDTH),
	LINEAR("attn_output", "self_attn.out_proj", WIDTH, Q),
	NORM("blk.%.ffn_norm", LAYER("final_layer_norm")),
	LINEAR("ffn_up",      "fc1",                FFN,   WIDTH),
	LINEAR("ffn_down",    "fc2",                WIDTH, FFN),
};
/* clang-format on */

const struct aqm_architecture aqm_architecture_opt = {.name = "opt",
                                                      .read_shape = read_shape,
                                                      .bind_block = bind_block,
                                                      .bind_outer = bind_outer,
                                                      .names = names,
                                                      .name_count = sizeof names / sizeof *names};
