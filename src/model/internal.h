/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What architectures share: a pre-norm transformer layer with two halves,
 *
 *     x1 = x0 + O attention(QKV norm(x0))
 *     x2 = x1 + down(act(up norm(x1)))         or down(silu(gate h) * (up h))
 *
 * described by its tensors and switches. A descriptor file (llama.c, gpt2.c) reads the shape and binds the tensors;
 * blocks.c runs them; buffers.c gives them their memory.
 */
#ifndef AQM_MODEL_INTERNAL_H
#define AQM_MODEL_INTERNAL_H

#include "model/linear.h"
#include "model/model.h"
#include "model/names.h"

struct aqm_norm {
	struct aqm_weight weight, bias; /* no bias: RMSNorm */
};

struct aqm_layer {
	struct aqm_norm attn_norm, ffn_norm;
	struct aqm_base_linear qkv[3]; /* three, or one fused; they write neighbouring columns of one buffer */
	struct aqm_base_linear attn_output, gate, up, down;
};

/* What a layer's forward leaves for its backward. Norms' and activations' outputs are cheap to make again and not
 * kept. */
struct aqm_kept {
	struct aqm_mat x0, x1;                                   /* (tokens, d): inputs of the norms */
	struct aqm_mat mean0, rstd0, mean1, rstd1;               /* (1, tokens) */
	struct aqm_mat qkv;                                      /* (tokens, q + 2 kv), rotated */
	struct aqm_mat o, lse;                                   /* (tokens, q): attention's output; (heads, tokens) */
	struct aqm_mat gate, up;                                 /* (tokens, ffn) before the activation */
	struct aqm_mat u_qkv[3], u_output, u_gate, u_up, u_down; /* of the linears' LoRA */
};

/* The memory of passes over up to `rows` tokens. */
struct aqm_buffers {
	int64_t rows;
	bool training;
	struct aqm_kept *kept; /* host: one a layer when training, else one for all */
	struct aqm_mat last;   /* (tokens, d): input of the last norm; not when training: kept[0].x0 */
	struct aqm_mat last_mean, last_rstd;
	struct aqm_mat h;          /* (tokens, d): a norm's output */
	struct aqm_mat act;        /* (tokens, ffn): the activation's output */
	struct aqm_mat dh, dact;   /* gradients of both */
	struct aqm_mat dout, dqkv; /* gradients of o and qkv; in dact's memory, which is free by then */
	struct aqm_linear_context linears;
};

/* What one pass computes: `windows` x `tokens` tokens, each window's first at position `past`. With a cache (one
 * window), attention reads its first past + tokens rows, of which this pass writes the last ones. */
struct aqm_pass {
	int64_t windows, tokens, past;
	float *cache;     /* of each layer: keys (capacity, kv), then values; or NULL */
	int64_t capacity; /* tokens */
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
	enum aqm_activation activation;
	enum aqm_rope_pairs rope_pairs;
	int qkv_count;                    /* 3, or 1 when fused */
	struct aqm_mat inverse_frequency; /* (1, rope_dim / 2); absent without rotary positions */

	struct aqm_layer *layers; /* used_layers */
	struct aqm_kept *kept;    /* of the buffers below: used_layers */
	struct aqm_norm output_norm;
	struct aqm_weight positions; /* (context, d); no tensor without learned positions */
	struct aqm_adapter *adapters;
	size_t adapter_count, adapter_capacity;
	void *
		*resident; /* device memory of this model: frequencies, vectors that the file has in other types than float32 */
	size_t resident_count;
	size_t expanded_floats; /* largest matrix that needs expansion */
	size_t weight_bytes;    /* of the base as mapped */

	struct aqm_buffers buffers;
	size_t carved_expanded; /* bytes, of the last carve or plan */
};

struct aqm_architecture {
	const char *name; /* general.architecture */
	/* Read hyperparameters and switches beyond those that all have (aqm_model_read_shape). */
	int (*read_shape)(aqm_model *model);
	/* Bind the tensors of one layer, and those outside layers. */
	int (*bind_layer)(aqm_model *model, int64_t index);
	int (*bind_outer)(aqm_model *model);
	const struct aqm_tensor_name *names; /* model/names.h */
	size_t name_count;
};

extern const struct aqm_architecture aqm_architecture_llama, aqm_architecture_qwen2, aqm_architecture_gpt2;

/* model.c: NULL when there is none of that name. */
const struct aqm_architecture *aqm_architecture_find(const char *name);

/* buffers.c: carve from a planning arena (then only its size counts, and `buffers` may not be used) or a real one.
 * kept: one, or one a layer when training; not written while planning. */
void aqm_buffers_carve(const aqm_model *model, struct aqm_buffers *buffers, struct aqm_kept *kept,
                       struct aqm_arena *arena, int64_t rows, bool training);

/* blocks.c */
/* Input and hidden states as aqm_model_forward() and aqm_model_extend() have them. */
void aqm_pass_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                      struct aqm_mat x);
/* Gradients as aqm_model_backward() has them. */
void aqm_pass_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                       struct aqm_mat dx);

/* bind.c */
/* The hyperparameters that every architecture has: layers, width, heads, ffn. */
int aqm_model_read_shape(aqm_model *model);
/* Integer hyperparameter <arch>.<key>, in [low, high]; `fallback` < 0: required. */
int aqm_model_read_int(const aqm_model *model, const char *key, int64_t low, int64_t high, int64_t fallback,
                       int64_t *out);
/* `fallback` NAN: required. */
int aqm_model_read_float(const aqm_model *model, const char *key, double low, double high, double fallback,
                         double *out);
/* Device memory that lives as long as the model, holding `count` floats of the host. */
int aqm_model_keep(aqm_model *model, const float *host, size_t count, float **out);
/* A tensor by name with its expected shape; registers a trainable in full fine-tuning. AQM_EDATA with the tensor's
 * name. Absent is fine unless `required`. Vectors (rows = 1) are made float32. */
int aqm_model_bind_weight(aqm_model *model, struct aqm_weight *weight, const char *name, int64_t rows, int64_t cols,
                          bool required);
/* The same for a table of which single rows are read: made float32. */
int aqm_model_bind_table(aqm_model *model, struct aqm_weight *weight, const char *name, int64_t rows, int64_t cols);
/* <name>.weight and, unless it is an RMSNorm, <name>.bias; of layer `layer`, or of none (-1). */
int aqm_model_bind_norm(aqm_model *model, struct aqm_norm *norm, int64_t layer, const char *name);
/* blk.N.<name>.weight (out, in) and, where the file has one, its bias; LoRA for `target` if the options ask for it
 * (AQM_TARGETS: for none). */
int aqm_model_bind_linear(aqm_model *model, struct aqm_base_linear *linear, int64_t layer, const char *name, int64_t in,
                          int64_t out, bool bias_required, enum aqm_target target);
/* LoRA for `target` on columns [first, first + count) of a linear already bound, if the options ask for it. */
int aqm_model_attach(aqm_model *model, struct aqm_base_linear *linear, int64_t layer, const char *name,
                     enum aqm_target target, int64_t first, int64_t count);

#endif
