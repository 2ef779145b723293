/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The base transformer: takes embeddings (B*T, d), gives hidden states (B*T, d). One descriptor file an architecture
 * (llama.c, gpt2.c, opt.c, t5.c); blocks.c, stacks.c and linear.c hold what they share. No token table, no LM head.
 *
 * Frozen base weights stay in the GGUF mapping, in their own type; types other than float32 are expanded into one
 * shared buffer a matrix at a time, just before its GEMM, in both passes. LoRA adds (alpha/r) B A x to any linear;
 * with rank 0 every weight is trainable (full fine-tuning).
 */
#ifndef AQM_MODEL_MODEL_H
#define AQM_MODEL_MODEL_H

#include "aqmtrain/gguf.h"
#include "base/arena.h"
#include "model/params.h"

/* Linears that LoRA can be attached to; order of the words q k v o gate up down in lora.targets. gpt2, opt and ungated t5
 * have no gate: up and down. q, k, v and o of a t5 are those of its cross-attention too. */
enum aqm_target {
	AQM_TARGET_Q,
	AQM_TARGET_K,
	AQM_TARGET_V,
	AQM_TARGET_O,
	AQM_TARGET_GATE,
	AQM_TARGET_UP,
	AQM_TARGET_DOWN,
	AQM_TARGETS
};
/* "gate" */
const char *aqm_target_word(enum aqm_target target);

struct aqm_model_options {
	int64_t rank; /* 0: full fine-tuning (needs training) */
	double alpha, dropout;
	bool rslora;
	unsigned targets;   /* bit 1 << enum aqm_target */
	int64_t stop_layer; /* 0 = all */
	bool bidirectional; /* t5's encoder and cross-attention see the whole window, as published: labels leak */
	bool frozen;        /* no LoRA, no fine-tuning: the plain base */
	uint64_t seed;      /* of dropout */
	bool checkpoints; /* training keeps each block's input only, and runs the block again in backward; same gradients */
	/* Nothing is put into memory: the model is opened to be planned. With `plan_type`, as if matrices of types without
	 * blocks were of that one. */
	bool planning;
	const enum aqm_dtype *plan_type;
	bool int8;        /* decisions on a cache round the inputs of linears to 8 bits (ops->linear_few_int8) */
};
/* From config->lora and config->model; AQM_EUSAGE for an unknown target. */
int aqm_model_options_from(struct aqm_model_options *options, const struct aqm_config *config);

/* Hyperparameters, read and range-checked from the GGUF metadata. */
struct aqm_model_shape {
	const char *architecture; /* "llama" */
	int64_t layers;           /* in the file; of t5's encoder */
	int64_t used_layers;      /* after stop_layer */
	int64_t decoder_layers;   /* of t5's decoder, else 0 */
	int64_t used_decoder_layers;
	int64_t width; /* d, embedding length */
	int64_t heads, kv_heads, head_dim, ffn;
	int64_t context; /* longest window it can take (gpt2: rows of position_embd); INT64_MAX if unlimited */
	float epsilon;
	double rope_base;
	int64_t rope_dim;
};

typedef struct aqm_model aqm_model;

/* Open over an open GGUF, which must outlive the model. Registers its trainables in `params` (to be allocated by the
 * caller later); checks every tensor's presence, shape and type: AQM_EDATA with the tensor's name. */
int aqm_model_open(aqm_model **out, aqm_device *device, aqm_gguf *gguf, const struct aqm_model_options *options,
                   struct aqm_params *params);
void aqm_model_free(aqm_model *model);
const struct aqm_model_shape *aqm_model_shape(const aqm_model *model);
/* After aqm_params_allocate(): binds matrices; in full fine-tuning copies the base weights into the values (not when
 * resuming: pass false). */
int aqm_model_bind(aqm_model *model, bool load_base);
/* options.int8 of caches made from now on. */
void aqm_model_set_int8(aqm_model *model, bool int8);

/* Bytes of the device that this model will use for windows x tokens, by kind, before anything is allocated. */
struct aqm_memory_plan {
	size_t weights;    /* the base: as mapped (all pages that will be touched), or as it is on a device of its own memory */
	size_t trainables; /* values, gradients and copies */
	size_t optimizer;  /* m, v */
	size_t activations;
	size_t workspace; /* the shared buffer for one matrix, and what the device takes for itself */
	size_t host;      /* of what is not the device's: batches */
};
/* Carve every activation buffer for up to `windows` x `tokens` from `arena` (planning or real; `training` keeps what
 * backward needs). Planning leaves buffers in use alone. AQM_EUSAGE when a window does not fit into the context. */
int aqm_model_carve(aqm_model *model, struct aqm_arena *arena, int64_t windows, int64_t tokens, bool training);
void aqm_model_plan(const aqm_model *model, struct aqm_memory_plan *plan);
/* The shared buffer for one matrix, which is carved with the activations. */
size_t aqm_model_expanded(const aqm_model *model);
static inline size_t aqm_plan_total(const struct aqm_memory_plan *plan)
{
	return plan->weights + plan->trainables + plan->optimizer + plan->activations + plan->workspace;
}

/* The windows of the next passes are those from `first_window` on of a step: dropout draws for them what it draws when
 * all of the step's go through at once. */
void aqm_model_place(aqm_model *model, int64_t first_window);
/* x (B*T, d): embeddings in, hidden states (after the final norm) out, in place. `step` numbers the dropout;
 * training: dropout on and activations kept. */
void aqm_model_forward(aqm_model *model, int64_t windows, int64_t tokens, struct aqm_mat x, bool training,
                       uint32_t step);
/* dx (B*T, d): gradient of the hidden states in, of the embeddings out, in place. Parameter gradients +=. After a
 * training forward of the same shape. */
void aqm_model_backward(aqm_model *model, int64_t windows, int64_t tokens, struct aqm_mat dx, uint32_t step);
/* Floating-point operations of the GEMMs and attention in one forward (+ backward) of that shape: what `bench step`
 * divides by. */
double aqm_model_flops(const aqm_model *model, int64_t windows, int64_t tokens, bool backward);

/* ---- streaming ---- */

typedef struct aqm_cache aqm_cache;
/* Keys and values of `streams` windows of up to `tokens` tokens each, and the buffers to extend them: no carving is
 * needed. */
int aqm_cache_new(aqm_cache **out, aqm_model *model, int64_t streams, int64_t tokens);
void aqm_cache_free(aqm_cache *cache);
int64_t aqm_cache_length(const aqm_cache *cache, int64_t stream);
/* Forget all but the first `tokens`. */
void aqm_cache_truncate(aqm_cache *cache, int64_t stream, int64_t tokens);
/* x (count n, d): embeddings of the next n tokens of each of `count` different streams in, their hidden states out, in
 * place. Weights are read once for all of them together as long as one pass takes them. AQM_EUSAGE when a stream is
 * full. Nothing of a bidirectional model can be cached but the embeddings: there, each call runs the whole window so far. */
int aqm_model_extend(aqm_model *model, aqm_cache *cache, const int64_t *streams, int64_t count, struct aqm_mat x);
/* The same in parts, so that the second, which is nothing but ops on the same memory, can be recorded and replayed
 * (ops->record): say which streams are extended by `tokens` tokens each; run one pass for the streams aimed at; count
 * the tokens. false: that takes more than one such pass. */
bool aqm_cache_takes(const aqm_cache *cache, int64_t count, int64_t tokens);
int aqm_cache_aim(aqm_cache *cache, const int64_t *streams, int64_t count, int64_t tokens);
void aqm_cache_run(const aqm_cache *cache, int64_t count, struct aqm_mat x);
void aqm_cache_advance(aqm_cache *cache, const int64_t *streams, int64_t count, int64_t tokens);
/* Bytes of weights and adapters that one extend reads: the limit that `bench decide` compares with. */
size_t aqm_model_weight_bytes(const aqm_model *model);

/* ---- what export needs ---- */

enum { AQM_PARTS_MAX = 3 }; /* of a fused matrix: q, k, v */

/* One adapted linear: its names, factors and scale. */
struct aqm_adapter {
	char gguf_name[96]; /* "blk.0.attn_q.weight", "dec.blk.0.cross_attn_q.weight"; gpt2's q: "blk.0.attn_qkv.weight" */
	int64_t layer;      /* of its stack */
	enum aqm_target target;
	int64_t in, out;    /* of the adapted (part of the) linear */
	int64_t row_offset; /* of the part in the fused matrix; else 0 */
	int64_t rank;
	double scale; /* alpha / r or alpha / sqrt(r) */
	int64_t a, b; /* parameter indices: A (r, in), B (out, r) */
};
size_t aqm_model_adapters(const aqm_model *model);
const struct aqm_adapter *aqm_model_adapter(const aqm_model *model, size_t index);

#endif
