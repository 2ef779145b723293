/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Trainable parameters: every one of them in one list, over one block of memory for values and one for gradients, so
 * that the optimizer is one loop, a checkpoint one write and the gradient norm one pass.
 *
 *   aqm_params_add() ... (model: LoRA or all weights; policy: encoder, embeddings, head)
 *   aqm_params_allocate()   lays them out in order of addition
 *   aqm_params_value(), aqm_params_gradient()   matrices into the blocks
 *
 * Where activations are bfloat16, products read copies of the float32 values, made once after the values changed:
 *
 *   aqm_params_touch()      by whoever has written values
 *   aqm_params_refresh()    before a pass
 *   aqm_params_operand()    the copy, or the value itself
 */
#ifndef AQM_MODEL_PARAMS_H
#define AQM_MODEL_PARAMS_H

#include "compute/device.h"

enum aqm_init {
	AQM_INIT_ZERO,
	AQM_INIT_ONE,
	AQM_INIT_NORMAL,          /* standard deviation `scale` */
	AQM_INIT_KAIMING_UNIFORM, /* a = sqrt(5): uniform in +-1/sqrt(scale), scale = fan-in */
	AQM_INIT_GIVEN,           /* the owner uploads values itself (base weights in full fine-tuning) */
};

struct aqm_param {
	char name[128];     /* "blk.3.attn_q.lora_a", "policy.head.weight" */
	int64_t rows, cols; /* vectors: rows 1 */
	size_t offset;      /* floats from the start of the blocks; a multiple of 16 (rows are dense) */
	enum aqm_init init;
	float scale;
	bool decay; /* weight decay applies (matrices) */
};

struct aqm_params {
	aqm_device *device;
	struct aqm_param *items;
	size_t count, capacity;
	size_t floats;    /* length of each block, padding included (padding stays zero) */
	float *values;    /* device memory */
	float *gradients; /* device memory; NULL when not training */
	void *copies;     /* values in the device's type, for products; NULL where that is float32 */
	bool stale;       /* the copies are older than the values */
	/* Told by a backward pass, NULL or not: the gradients of `count` parameters from `first` are complete. */
	void (*ready)(void *context, int64_t first, int64_t count);
	void *ready_context;
};

static inline void aqm_params_ready(const struct aqm_params *params, int64_t first, int64_t count)
{
	if (params->ready && count > 0)
		params->ready(params->ready_context, first, count);
}

void aqm_params_init(struct aqm_params *params, aqm_device *device);
void aqm_params_release(struct aqm_params *params);
/* Append one; returns its index, or a negative error code. */
int64_t aqm_params_add(struct aqm_params *params, const char *name, int64_t rows, int64_t cols, enum aqm_init init,
                       float scale, bool decay);
/* Allocate the blocks (gradients only when training) and initialise values by Philox (seed, AQM_STREAM_INIT, sub =
 * index). */
int aqm_params_allocate(struct aqm_params *params, bool training, uint64_t seed);
struct aqm_mat aqm_params_value(const struct aqm_params *params, int64_t index);
struct aqm_mat aqm_params_gradient(const struct aqm_params *params, int64_t index);
struct aqm_mat aqm_params_operand(const struct aqm_params *params, int64_t index);
void aqm_params_touch(struct aqm_params *params);
/* Not while ops are recorded. */
void aqm_params_refresh(struct aqm_params *params);
/* Bytes of all blocks that aqm_params_allocate() would take. */
size_t aqm_params_bytes(const struct aqm_params *params, bool training);
/* -1 when there is none of that name. */
int64_t aqm_params_find(const struct aqm_params *params, const char *name);
/* Number of trained numbers, without padding. */
size_t aqm_params_trainable(const struct aqm_params *params);

#endif
