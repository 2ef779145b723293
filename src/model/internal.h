/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What architectures share. A model is one stack of blocks, or two (an encoder, and a decoder that reads it); a block is
 * halves, each behind a norm and added to what comes in:
 *
 *     x1 = x0 + O attention(QKV norm(x0))
 *     x2 = x1 + O attention(Q norm(x1), KV encoded)      in a decoder that reads an encoder
 *     x3 = x2 + down(act(up norm(x2)))                   or down(act(gate h) * (up h)), h = norm(x2)
 *
 * A descriptor file (llama.c, gpt2.c, opt.c, t5.c) reads the shape and binds the tensors; blocks.c runs a block, stacks.c
 * the passes through all of them; buffers.c gives them their memory.
 */
#ifndef AQM_MODEL_INTERNAL_H
#define AQM_MODEL_INTERNAL_H

#include "model/linear.h"
#include "model/model.h"
#include "model/names.h"

struct aqm_norm {
	struct aqm_weight weight, bias; /* no bias: RMSNorm */
};

struct aqm_attention_half {
	struct aqm_norm norm;
	struct aqm_base_linear qkv[3]; /* three, or one fused; they write neighbouring columns of one buffer */
	struct aqm_base_linear output;
	int64_t slot; /* of its keys and values in a cache */
};

struct aqm_ffn_half {
	struct aqm_norm norm;
	struct aqm_base_linear gate, up, down;
};

struct aqm_block {
	struct aqm_attention_half self, cross; /* cross: only where the stack reads an encoder */
	struct aqm_ffn_half ffn;
	int64_t first_param, params; /* its trainables, one behind the other */
};

enum { AQM_BLOCK_LINEARS = 11, AQM_STACKS_MAX = 2 };

struct aqm_stack {
	struct aqm_block *blocks;
	int64_t count;                  /* in the file; once bound: after stop_layer */
	int64_t first;                  /* blocks of the stacks before it */
	bool reads_encoder;             /* its blocks attend to the hidden states of the first stack too */
	bool self_causal, cross_causal; /* masks */
	struct aqm_norm output_norm;
	/* Attention's bias by relative position (Raffel et al., 2020), shared by all blocks: the table (buckets, heads), and
	 * which distance falls into which bucket, as ones in (buckets, 2 reach + 1). No tensor: no bias. */
	struct aqm_weight relative;
	struct aqm_mat distances;
};

/* What forward leaves for backward. Norms' and activations' outputs are cheap to make again and not kept. */
struct aqm_kept_norm {
	struct aqm_mat x;          /* (tokens, d): its input */
	struct aqm_mat mean, rstd; /* (1, tokens) */
};

struct aqm_kept_attention {
	struct aqm_kept_norm norm;
	struct aqm_mat qkv;                /* (tokens, q + 2 kv), rotated */
	struct aqm_mat o, lse;             /* (tokens, q): attention's output; (heads, tokens) */
	struct aqm_mat u_qkv[3], u_output; /* of the linears' LoRA */
};

struct aqm_kept_ffn {
	struct aqm_kept_norm norm;
	struct aqm_mat gate, up; /* (tokens, ffn) before the activation */
	struct aqm_mat u_gate, u_up, u_down;
};

struct aqm_kept {
	struct aqm_kept_attention self, cross;
	struct aqm_kept_ffn ffn;
};

struct aqm_stack_buffers {
	struct aqm_kept_norm last;  /* of the last norm; x not when training: shared->self.norm.x */
	struct aqm_mat bias, dbias; /* (heads, 2 reach + 1); absent without relative positions, dbias where frozen */
};

/* The memory of passes over up to `rows` tokens. */
struct aqm_buffers {
	int64_t rows;
	bool training;
	/* host: one a block of any stack when training, and one for all. With checkpoints the blocks' have but self.norm.x. */
	struct aqm_kept *kept;
	/* the one for all, in passes that are not training or have checkpoints: has every half */
	const struct aqm_kept *shared;
	bool checkpoints;
	struct aqm_stack_buffers stacks[AQM_STACKS_MAX];
	struct aqm_mat encoded, dencoded; /* (tokens, d): what a decoder reads, and its gradient */
	struct aqm_mat h;                 /* (tokens, d): a norm's output */
	struct aqm_mat act;               /* (tokens, ffn): the activation's output */
	struct aqm_mat dh, dact;          /* gradients of both */
	struct aqm_mat dout, dqkv;        /* gradients of o and qkv; in dact's memory, which is free by then */
	struct aqm_linear_context linears;
};

/* What one pass computes: `windows` x `tokens` tokens, from position 0 on. With a cache they follow what is in their
 * places: attention reads that too, and this pass appends its own keys and values. */
struct aqm_pass {
	int64_t windows, tokens;
	void *cache;                    /* of each slot: (cache_rows, 2 kv): a key and its value, of the device's type; or NULL */
	int64_t cache_rows;             /* of all streams */
	const struct aqm_place *places; /* of the windows, device memory */
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
	bool gated; /* `glu`, else `activation` */
	enum aqm_glu glu;
	enum aqm_activation activation;
	float score_scale; /* of q k^T */
	enum aqm_rope_pairs rope_pairs;
	int qkv_count;                    /* 3, or 1 when fused */
	struct aqm_mat inverse_frequency; /* (1, rope_dim / 2); absent without rotary positions */

	int64_t first_window; /* aqm_model_place() */
	int stack_count;
	struct aqm_stack stacks[AQM_STACKS_MAX];
	int64_t attentions;          /* halves of all stacks: slots of a cache */
	struct aqm_kept *kept;       /* of the buffers below: one a block, and one */
	struct aqm_weight positions; /* (position_offset + context, d); no tensor without learned positions */
	int64_t position_offset;
	int64_t relative_buckets;
	struct aqm_adapter *adapters;
	size_t adapter_count, adapter_capacity;
	void *
		*resident; /* device memory of this model: frequencies, vectors that the file has in other types than float32 */
	size_t resident_count;
	size_t expanded_floats; /* largest matrix that needs expansion */
	size_t weight_bytes;    /* of the base, as struct aqm_memory_plan has them */

	struct aqm_buffers buffers;
	size_t carved_expanded, carved_sums; /* bytes, of the last carve or plan: for one matrix; for attention's backward */
};

struct aqm_architecture {
	const char *name; /* general.architecture */
	/* Read hyperparameters and switches beyond those that all have (aqm_model_read_shape). */
	int (*read_shape)(aqm_model *model);
	/* Bind the tensors of one block, and those outside blocks. */
	int (*bind_block)(aqm_model *model, struct aqm_stack *stack, int64_t index);
	int (*bind_outer)(aqm_model *model);
	const struct aqm_tensor_name *names; /* model/names.h */
	size_t name_count;
};

extern const struct aqm_architecture aqm_architecture_llama, aqm_architecture_qwen2, aqm_architecture_gpt2,
	aqm_architecture_opt, aqm_architecture_t5;

/* model.c: NULL when there is none of that name. */
const struct aqm_architecture *aqm_architecture_find(const char *name);

/* buffers.c: carve from a planning arena (then only its size counts, and `buffers` may not be used) or a real one.
 * kept: one, or one a block when training; not written while planning. */
void aqm_buffers_carve(const aqm_model *model, struct aqm_buffers *buffers, struct aqm_kept *kept,
                       struct aqm_arena *arena, int64_t rows, bool training);

/* blocks.c */
struct aqm_mat aqm_first_rows(struct aqm_mat m, int64_t rows);
/* The first n of the tokens that a norm kept. */
struct aqm_kept_norm aqm_kept_norm_of(struct aqm_kept_norm kept, int64_t n);
/* What block `index` of a stack keeps of a pass's n tokens. */
struct aqm_kept aqm_kept_of(const struct aqm_buffers *buffers, const struct aqm_stack *stack, int64_t index, int64_t n);
/* y = norm(kept.x += residual) */
void aqm_norm_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_norm *norm,
                      const struct aqm_kept_norm *kept, struct aqm_mat residual, struct aqm_mat y);
/* dx += */
void aqm_norm_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_norm *norm,
                       struct aqm_mat dy, const struct aqm_kept_norm *kept, struct aqm_mat dx);
/* In: what the block keeps as self.norm.x; `next`: the sum that is the next one's (no data: only what is kept is made). */
void aqm_block_forward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                       const struct aqm_stack *stack, int64_t index, struct aqm_mat next);
/* dx: gradient of the block's output in, of its input out. dencoded and dbias +=. */
void aqm_block_backward(const aqm_model *model, const struct aqm_buffers *buffers, const struct aqm_pass *pass,
                        const struct aqm_stack *stack, int64_t index, struct aqm_mat dx);

/* stacks.c */
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
/* Names from here on are patterns of model/names.h: '%' stands for the block's number, `index`. */
/* <name>.weight and, unless it is an RMSNorm, <name>.bias. */
int aqm_model_bind_norm(aqm_model *model, struct aqm_norm *norm, int64_t index, const char *name);
/* A linear of a block: <name>.weight (out, in) and <name>.bias. */
struct aqm_linear_tensor {
	struct aqm_base_linear *linear;
	const char *name;
	int64_t in, out;
	enum aqm_target target; /* of LoRA; AQM_TARGETS: for none */
};
/* Several of them, each with LoRA if the options ask for it; biases where the file has them, unless they are required.*/
int aqm_model_bind_linears(aqm_model *model, const struct aqm_linear_tensor *tensors, size_t count, int64_t index,
                           bool bias_required);
/* LoRA for `target` on columns [first, first + count) of a linear already bound, if the options ask for it. `tensor` is
 * the linear's name, `part` that of what is adapted, the same unless the file has it fused. */
int aqm_model_attach(aqm_model *model, struct aqm_base_linear *linear, int64_t index, const char *tensor,
                     const char *part, enum aqm_target target, int64_t first, int64_t count);
/* Relative positions of a stack: `name` (buckets, heads). The first half of the buckets is for keys up to the query, the
 * other for those behind it, if `both` ways. */
int aqm_model_bind_relative(aqm_model *model, struct aqm_stack *stack, const char *name, int64_t buckets, bool both);
/* The linears that a block has; returns their number. */
int aqm_block_linears(const struct aqm_block *block, const struct aqm_base_linear *out[AQM_BLOCK_LINEARS]);

#endif
