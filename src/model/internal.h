/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What architectures share: a pre-norm transformer layer with two halves,
 *
 *     x1 = x0 + O attention(QKV norm(x0))
 *     x2 = x1 + down(act(up norm(x1)))         or down(silu(gate h) * (up h))
 *
 * described by its tensors and switches. A descriptor file (llama.c, gpt2.c) reads the shape and binds the tensors; blocks.c runs them.
 */
#ifndef AQM_MODEL_INTERNAL_H
#define AQM_MODEL_INTERNAL_H

#include "model/linear.h"
#include "model/model.h"

struct aqm_norm {
	struct aqm_weight weight, bias; /* no bias: RMSNorm */
};

struct aqm_layer {
	struct aqm_norm attn_norm, ffn_norm;
	struct aqm_base_linear qkv[3]; /* three, or one fused; they write neighbouring columns of one buffer */
	struct aqm_base_linear attn_output, gate, up, down;

	/* Kept for backward (training), or shared by all layers. */
	struct aqm_mat x0, x1; /* (tokens, d): inputs of the norms */
	struct aqm_mat mean0, rstd0, mean1, rstd1;
	struct aqm_mat h0;               /* (tokens, d): norm(x0) */
	struct aqm_mat qkv_out;          /* (tokens, q + 2 kv), rotated */
	struct aqm_mat o, lse;           /* attention's output, (heads, tokens) */
	struct aqm_mat gate_out, up_out; /* (tokens, ffn) before the activation */
};

struct aqm_model {
	aqm_device *device;
	aqm_gguf *gguf;
	struct aqm_params *params;
	struct aqm_model_options options;
	struct aqm_model_shape shape;
	const struct aqm_architecture *architecture;

	/* switches of the architecture */
	bool rms;   /* RMSNorm, else LayerNorm */
	bool gated; /* SwiGLU, else `activation` */
	bool rope;
	enum aqm_activation activation;
	enum aqm_rope_pairs rope_pairs;
	int qkv_count;            /* 3, or 1 when fused */
	float *inverse_frequency; /* (rope_dim / 2), device */

	struct aqm_layer *layers;
	struct aqm_norm output_norm;
	struct aqm_weight positions; /* (context, d); absent without learned positions */
	struct aqm_adapter *adapters;
	size_t adapter_count, adapter_capacity;
	size_t expanded_floats; /* largest matrix that needs expansion */
	size_t weight_bytes;    /* of the base as mapped */
	uint32_t dropout_ordinals;

	/* buffers */
	struct aqm_linear_context linears;
	struct aqm_mat final_x, final_mean, final_rstd;
	struct aqm_mat h;                             /* (tokens, d) scratch */
	struct aqm_mat act;                           /* (tokens, ffn) scratch: the activation's output and its gradient */
	struct aqm_mat dqkv, dout, dh, dffn, dstream; /* gradients */
	int32_t *position_index;                      /* host, (tokens) */
	size_t carved_expanded;
};

struct aqm_architecture {
	const char *name; /* general.architecture */
	/* Read hyperparameters and switches into model->shape and the switches. */
	int (*read_shape)(aqm_model *model);
	/* Bind the tensors of one layer, and those outside layers. */
	int (*bind_layer)(aqm_model *model, int64_t index);
	int (*bind_outer)(aqm_model *model);
};

extern const struct aqm_architecture aqm_architecture_llama, aqm_architecture_gpt2;

/* x0 of the layer in, x2 out (may be x1's memory). */
void aqm_layer_forward(aqm_model *model, struct aqm_layer *layer, int64_t windows, int64_t tokens, struct aqm_mat x2);
/* dx: gradient of x2 in, of x0 out. */
void aqm_layer_backward(aqm_model *model, struct aqm_layer *layer, int64_t windows, int64_t tokens, struct aqm_mat dx);
/* x (n, d): n tokens after `past` cached ones, in place; their keys and values go to rows past.. of k and v. */
void aqm_layer_extend(aqm_model *model, struct aqm_layer *layer, int64_t past, struct aqm_mat x, struct aqm_mat k,
                      struct aqm_mat v);
void aqm_output_norm_forward(aqm_model *model, struct aqm_mat x, struct aqm_mat y);
void aqm_output_norm_backward(aqm_model *model, struct aqm_mat dy, struct aqm_mat dx);

/* A tensor by name with its expected shape (rows = 1: a vector); registers a trainable in full fine-tuning. AQM_EDATA with the tensor's name.
 * `required` false: absent is fine. */
int aqm_model_bind_weight(aqm_model *model, struct aqm_weight *weight, const char *name, int64_t rows, int64_t cols,
                          bool required);
int aqm_model_bind_norm(aqm_model *model, struct aqm_norm *norm, int64_t layer, const char *name);
/* blk.N.<name>.weight (out, in) and, where the file has one, its bias. */
int aqm_model_bind_linear(aqm_model *model, struct aqm_base_linear *linear, int64_t layer, const char *name, int64_t in,
                          int64_t out, bool bias_required);
/* Attach LoRA for `target` to columns [first, first + count), if the options ask for it. */
int aqm_model_attach(aqm_model *model, struct aqm_base_linear *linear, int64_t layer, const char *name,
                     enum aqm_target target, int64_t first, int64_t count);
/* Integer hyperparameter <arch>.<key>, in [low, high]; `fallback` < 0: required. */
int aqm_model_read_int(aqm_model *model, const char *key, int64_t low, int64_t high, int64_t fallback, int64_t *out);
int aqm_model_read_float(aqm_model *model, const char *key, double low, double high, double fallback, double *out);

#endif
