/* SPDX-License-Identifier: BSD-2-Clause
 *
 * gpt2: LayerNorm with bias, learned positions, one fused matrix for q, k and v, GELU.
 */
#include <math.h>

#include "model/internal.h"

static int read_shape(aqm_model *model)
{
	struct aqm_model_shape *shape = &model->shape;
	const struct aqm_gguf_tensor *positions = aqm_gguf_find(model->gguf, "position_embd.weight");
	double epsilon = 0;

	model->activation = AQM_GELU_TANH;
	model->qkv_count = 1;
	int code = aqm_model_read_float(model, "attention.layer_norm_epsilon", 0, 1, NAN, &epsilon);
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
	shape->context = positions->ne[1];
	return AQM_OK;
}

static int bind_block(aqm_model *model, struct aqm_stack *stack, int64_t i)
{
	static const char *const parts[AQM_PARTS_MAX] = {"blk.%.attn_q", "blk.%.attn_k", "blk.%.attn_v"};
	struct aqm_block *block = &stack->blocks[i];
	struct aqm_base_linear *fused = &block->self.qkv[0];
	int64_t d = model->shape.width, ffn = model->shape.ffn;
	const struct aqm_linear_tensor qkv = {fused, "blk.%.attn_qkv", d, 3 * d, AQM_TARGETS};
	const struct aqm_linear_tensor rest[] = {
		{&block->self.output, "blk.%.attn_output", d, d, AQM_TARGET_O},
		{&block->ffn.up, "blk.%.ffn_up", d, ffn, AQM_TARGET_UP},
		{&block->ffn.down, "blk.%.ffn_down", ffn, d, AQM_TARGET_DOWN},
	};
	int code = aqm_model_bind_norm(model, &block->self.norm, i, "blk.%.attn_norm");

	if (code == AQM_OK)
		code = aqm_model_bind_norm(model, &block->ffn.norm, i, "blk.%.ffn_norm");
	if (code == AQM_OK)
		code = aqm_model_bind_linears(model, &qkv, 1, i, true);
	for (int part = 0; code == AQM_OK && part < AQM_PARTS_MAX; part++)
		code = aqm_model_attach(model, fused, i, qkv.name, parts[part], (enum aqm_target)(AQM_TARGET_Q + part),
		                        part * d, d);
	if (code == AQM_OK)
		code = aqm_model_bind_linears(model, rest, sizeof rest / sizeof *rest, i, true);
	return code;
}

static int bind_outer(aqm_model *model)
{
	int code = aqm_model_bind_table(model, &model->positions, "position_embd.weight", model->shape.context,
	                                model->shape.width);

	return code == AQM_OK ? aqm_model_bind_norm(model, &model->stacks[0].output_norm, -1, "output_norm") : code;
}

/* clang-format off */
#define LAYER(name) "transformer.h.%." name
#define NORM(gguf, hf) \
	{gguf ".weight", hf ".weight", AQM_EXTENT_ONE, AQM_EXTENT_WIDTH, 0, false}, \
	{gguf ".bias",   hf ".bias",   AQM_EXTENT_ONE, AQM_EXTENT_WIDTH, 0, false}
#define CONV1D(gguf, hf, out, in) \
	{"blk.%." gguf ".weight", LAYER(hf ".weight"), AQM_EXTENT_##out, AQM_EXTENT_##in,  AQM_LAYOUT_TRANSPOSED, false}, \
	{"blk.%." gguf ".bias",   LAYER(hf ".bias"),   AQM_EXTENT_ONE,   AQM_EXTENT_##out, AQM_LAYOUT_SAME,       false}

static const struct aqm_tensor_name names[] = {
	{"token_embd.weight",    "transformer.wte.weight", AQM_EXTENT_VOCABULARY, AQM_EXTENT_WIDTH, 0, false},
	{"position_embd.weight", "transformer.wpe.weight", AQM_EXTENT_POSITIONS,  AQM_EXTENT_WIDTH, 0, false},
	{"output.weight",        "lm_head.weight",         AQM_EXTENT_VOCABULARY, AQM_EXTENT_WIDTH, 0, true},
	NORM("output_norm", "transformer.ln_f"),
	NORM("blk.%.attn_norm", LAYER("ln_1")),
	CONV1D("attn_qkv",    "attn.c_attn", QKV,   WIDTH),
	CONV1D("attn_output", "attn.c_proj", WIDTH, Q),
	NORM("blk.%.ffn_norm", LAYER("ln_2")),
	CONV1D("ffn_up",      "mlp.c_fc",    FFN,   WIDTH),
	CONV1D("ffn_down",    "mlp.c_proj",  WIDTH, FFN),
	{NULL, LAYER("attn.bias"),        0, 0, 0, true}, /* the causal mask */
	{NULL, LAYER("attn.masked_bias"), 0, 0, 0, true},
};
/* clang-format on */

const struct aqm_architecture aqm_architecture_gpt2 = {.name = "gpt2",
                                                       .read_shape = read_shape,
                                                       .bind_block = bind_block,
                                                       .bind_outer = bind_outer,
                                                       .names = names,
                                                       .name_count = sizeof names / sizeof *names};
