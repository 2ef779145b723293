/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A linear layer of the base: frozen or trained weight, optional bias, and LoRA on any columns of its output.
 *
 *     Y = X W^T + b;   Y[:, part] += scale (drop(X) A^T) B^T    for each adapted part (a fused qkv has up to three)
 *
 * Gradients are bracketed so that nothing larger than (tokens, rank) or (tokens, in) appears:
 *     dB += scale dY_part^T U,  T = scale dY_part B,  dA += T^T drop(X),  dX += mask(T A)    with U = drop(X) A^T kept
 */
#ifndef AQM_MODEL_LINEAR_H
#define AQM_MODEL_LINEAR_H

#include "base/arena.h"
#include "model/model.h"

enum { AQM_FEW_ROWS = 16, AQM_LINEARS_MAX = 3 };

struct aqm_lora_part {
	int64_t first, count; /* columns of Y */
	int64_t a, b;         /* parameters A (r, in), B (count, r) */
	float scale;
	uint32_t ordinal; /* of its dropout */
};

/* A tensor of the base. */
struct aqm_weight {
	const struct aqm_gguf_tensor *tensor; /* NULL: the base has none */
	struct aqm_mat frozen;                /* in the mapping, in its own type; vectors and tables are float32 */
	int64_t param;                        /* >= 0: trained, and `frozen` is only its start */
};

struct aqm_base_linear {
	struct aqm_weight weight, bias; /* (out, in), (1, out) */
	int64_t in, out;
	int parts;
	struct aqm_lora_part part[AQM_PARTS_MAX];
};

/* What linears share during a pass. */
struct aqm_linear_context {
	aqm_device *device;
	const struct aqm_params *params;
	void *expanded; /* room for the largest matrix that is not of the device's type */
	void *masked;   /* (tokens, widest adapted input) for drop(X) and mask(T A); absent without dropout */
	void *small;    /* (tokens, r): T; only in training */
	float dropout;
	uint64_t seed;
	uint32_t step;
	int64_t first_row; /* among those of the step: of dropout's masks */
	bool training;
	bool int8; /* few rows take linear_few_int8 */
};

/* A matrix that products can take: in place, trained, or expanded into the shared buffer (valid until the next
 * call). */
struct aqm_mat aqm_weight_matrix(const struct aqm_linear_context *context, const struct aqm_weight *weight);
/* A vector or table, which is float32: in place or trained. */
struct aqm_mat aqm_weight_f32(const struct aqm_linear_context *context, const struct aqm_weight *weight);

/* Columns of U for all parts, side by side. */
int64_t aqm_base_linear_u_width(const struct aqm_base_linear *linear, const struct aqm_params *params);
/* True when backward reads X. */
bool aqm_base_linear_needs_input(const struct aqm_base_linear *linear);
/* y = x W^T + b + LoRA (`add`: +=); u (tokens, u_width) = what backward needs. Outside training up to AQM_FEW_ROWS rows
 * read the weight in its own type, once. */
void aqm_base_linear_forward(const struct aqm_linear_context *context, const struct aqm_base_linear *linear,
                             struct aqm_mat x, bool add, struct aqm_mat y, struct aqm_mat u);
/* The same for `count` linears of one x, at most AQM_LINEARS_MAX, with nothing added: y[i], u[i]. */
void aqm_base_linears_forward(const struct aqm_linear_context *context, const struct aqm_base_linear *const *linears,
                              int count, struct aqm_mat x, const struct aqm_mat *y, const struct aqm_mat *u);
/* dx = dy W + ... (`add`: +=); parameter gradients +=. x: the forward's input, where needs_input() says so. */
void aqm_base_linear_backward(const struct aqm_linear_context *context, const struct aqm_base_linear *linear,
                              struct aqm_mat dy, struct aqm_mat x, struct aqm_mat u, bool add, struct aqm_mat dx);

#endif
