/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer of the base: frozen or trained weight, optional bias, and LoRA on any columns of its output.
 *
 *     Y = X W^T + b;   Y[:, part] += scale (drop(X) A^T) B^T    for each adapted part (a fused qkv has up to three)
 *
 * Gradients are bracketed so that nothing larger than (tokens, rank) or (tokens, in) appears:
 *     dB += scale dY_part^T U,  T = scale dY_part B,  dA += T^T drop(X),  dX += mask(T A)       with U = drop(X) A^T kept
 */
#ifndef AQM_MODEL_LINEAR_H
#define AQM_MODEL_LINEAR_H

#include "base/arena.h"
#include "model/model.h"

enum { AQM_PARTS_MAX = 3, AQM_FEW_ROWS = 16 };

struct aqm_lora_part {
	int64_t adapter;      /* index into the model's adapters */
	int64_t first, count; /* columns of Y */
	int64_t a, b;         /* parameters A (r, in), B (count, r) */
	float scale;
	uint32_t ordinal; /* of its dropout */
	struct aqm_mat u; /* (tokens, r) kept for backward */
};

struct aqm_weight {
	struct aqm_mat frozen; /* (out, in), any dtype, in the mapping; absent when there is none or it is trained */
	const struct aqm_gguf_tensor *tensor;
	int64_t param; /* >= 0: trained */
};

struct aqm_base_linear {
	struct aqm_weight weight, bias;
	int64_t in, out;
	int parts;
	struct aqm_lora_part part[AQM_PARTS_MAX];
};

/* What linears share during a pass. */
struct aqm_linear_context {
	aqm_device *device;
	struct aqm_params *params;
	float *expanded; /* room for the largest matrix that is not float32 */
	float *scratch;  /* (tokens, widest adapted input): masked inputs and their gradients; absent without dropout */
	float *small;    /* (tokens, r) */
	float dropout;
	uint64_t seed;
	uint32_t step;
	bool training;
};

/* The weight as a float32 matrix: in place, trained, or expanded into the shared buffer (valid until the next call). */
struct aqm_mat aqm_weight_f32(const struct aqm_linear_context *context, const struct aqm_weight *weight);

/* y = x W^T + b + LoRA, or y += ... when `add`. Up to AQM_FEW_ROWS rows read the weight in its own type. */
void aqm_base_linear_forward(const struct aqm_linear_context *context, struct aqm_base_linear *linear, struct aqm_mat x,
                             bool add, struct aqm_mat y);
/* dx = dy W + ... (`add`: +=); parameter gradients +=. x: the forward's input; not read when the layer is frozen without LoRA. */
void aqm_base_linear_backward(const struct aqm_linear_context *context, struct aqm_base_linear *linear,
                              struct aqm_mat dy, struct aqm_mat x, bool add, struct aqm_mat dx);
/* True when backward reads x. */
bool aqm_base_linear_needs_input(const struct aqm_base_linear *linear);
/* Carve what backward needs: u of each part. */
void aqm_base_linear_carve(struct aqm_base_linear *linear, const struct aqm_params *params, struct aqm_arena *arena,
                           int64_t tokens);

#endif
