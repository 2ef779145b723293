/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files of this room share: the policy's parts and the encoder.
 *
 * With T = F + 2 tokens a step and n steps in a row, token j of every step is one strided matrix (n rows, ld T d):
 *
 *     tokens (n T, d):   R  s1 s2 .. sF  a | R  s1 s2 .. sF  a | ...
 *                        0  1  2  .. F  F+1
 *
 * so that each of the encoder's linears writes straight into its place.
 */
#ifndef AQM_POLICY_INTERNAL_H
#define AQM_POLICY_INTERNAL_H

#include "base/arena.h"
#include "policy/policy.h"

/* A linear of the encoder: indices into the policy's parameters. weight (out, in), bias (1, out). */
struct aqm_linear {
	int64_t weight, bias;
};

/* How one feature becomes a token: x (1 or k values) -> in -> leaky ReLU -> out. */
struct aqm_feature {
	struct aqm_linear in, out;
	int64_t sequence; /* its place among policy.sequences, or -1: a scalar */
};

struct aqm_encoder {
	int64_t features, sequences, kernel, hidden, width, window; /* F, S, k, e, d, w */
	int64_t values;                                             /* V: numbers that the normaliser makes of a feature */
	struct aqm_feature feature[AQM_FEATURES_MAX];
	struct aqm_linear returns, action; /* action.bias < 0: action.weight is the table (3, d) */
	struct aqm_linear norm;            /* weight, bias of the LayerNorm */
	int64_t times;                     /* rows of the time embedding: w, or the longest episode's where that is longer */
	int64_t time;                      /* table (times, d) */
};

/* What the encoder reads for n steps, in device memory. */
struct aqm_inputs {
	struct aqm_mat returns;   /* (n, 1) normalised */
	struct aqm_mat states;    /* (n, F V) */
	struct aqm_mat sequences; /* (n, S k V) */
	struct aqm_mat actions;   /* (n, 1): numbers of the actions, for the linear embedding; absent otherwise */
	const int32_t *action, *time;
};

struct aqm_policy {
	struct aqm_config config;
	struct aqm_fit fit;
	bool training;
	aqm_device *device;
	bool planned_only; /* made to be planned, on the device of somebody else */
	aqm_gguf *gguf;
	char *base_path;
	char base_digest[65];
	aqm_model *model;
	struct aqm_params params;
	bool params_ready;
	struct aqm_encoder encoder;
	struct aqm_linear head;

	/* Buffers for up to `windows` windows; B w = n. */
	int64_t windows;
	void *memory;          /* of the device; everything below but `batch` points into it */
	struct aqm_arena host; /* of the batch */
	struct aqm_batch batch;
	float *returns, *states, *sequences, *actions;
	int32_t *action, *time;
	float *embedded;    /* (n T, d) before the norm */
	float *stream;      /* (n T, d) embeddings in, hidden states out; in backward the gradient */
	float *mean, *rstd; /* (n T) of the norm */
	float *inner;       /* (F, n, e) behind the leaky ReLU; one (n, e) when not training */
	float *skipped;     /* (n, d) input of the token of s_t^F, when residual */
	float *read;        /* (n, d) what the head reads */
	float *logits;      /* (n, outputs) */
	float *dembedded;   /* (n T, d) */
	float *dinner;      /* (n, e) */
	float *dread;       /* (n, d) */
};

static inline int64_t aqm_encoder_tokens(const struct aqm_encoder *encoder)
{
	return encoder->features + 2;
}

/* Numbers of a step's state, F V, and of its sequences, S k V. */
static inline int64_t aqm_encoder_state_width(const struct aqm_encoder *encoder)
{
	return encoder->features * encoder->values;
}

static inline int64_t aqm_encoder_sequence_width(const struct aqm_encoder *encoder)
{
	return encoder->sequences * encoder->kernel * encoder->values;
}

/* Read the encoder's shape from the config and register its parameters; longest_episode: rows, of aqm_fit. 0, AQM_EUSAGE
 * or AQM_ERUN. */
int aqm_encoder_init(struct aqm_encoder *encoder, const struct aqm_config *config, int64_t longest_episode,
                     int64_t width, struct aqm_params *params);
/* Tokens 0 .. F of n steps: `tokens` (n T, d) is the block of the steps. inner (n, e) a feature, `inner_stride` floats
 * apart (0: one buffer is used again). Before the norm, time embedding included. */
void aqm_encoder_embed_states(const struct aqm_encoder *encoder, const struct aqm_params *params,
                              const struct aqm_inputs *inputs, struct aqm_mat tokens, float *inner,
                              int64_t inner_stride);
/* Token F + 1 of n steps. */
void aqm_encoder_embed_actions(const struct aqm_encoder *encoder, const struct aqm_params *params,
                               const struct aqm_inputs *inputs, struct aqm_mat tokens);
/* y = LayerNorm(tokens) on every row; mean, rstd (1, rows). */
void aqm_encoder_norm(const struct aqm_encoder *encoder, const struct aqm_params *params, struct aqm_mat tokens,
                      struct aqm_mat y, struct aqm_mat mean, struct aqm_mat rstd);
/* Parameter gradients += from dtokens (n T, d), the gradient of the tokens before the norm. inner as embed_states
 * left it. */
void aqm_encoder_backward(const struct aqm_encoder *encoder, const struct aqm_params *params,
                          const struct aqm_inputs *inputs, struct aqm_mat dtokens, const float *inner,
                          int64_t inner_stride, float *dinner);

/* A linear with bias on strided rows: y = x W^T + b. */
void aqm_linear_forward(const struct aqm_params *params, struct aqm_linear linear, struct aqm_mat x, struct aqm_mat y);
/* dW += dy^T x, db += column sums of dy; dx = dy W unless absent. */
void aqm_linear_backward(const struct aqm_params *params, struct aqm_linear linear, struct aqm_mat dy, struct aqm_mat x,
                         struct aqm_mat dx);

/* Allocate and initialise the parameters and bind the model to them, once. load_base: copy trainable base weights
 * in. */
int aqm_policy_bind(aqm_policy *policy, bool load_base);
/* levels.c: levels of every row of a pool of update intervals, and what is fitted on them. `rows` floats each. */
/* p' (2^31 = 1) on the scale of policy.level, and back as a probability. */
double aqm_level_of(const struct aqm_config *config, double drop_prob);
double aqm_level_probability(const struct aqm_config *config, double level);
int aqm_levels_read(const struct aqm_config *config, const aqm_pool *pool, float *level, float *next_level);
int aqm_levels_fit(struct aqm_level_fit *fit, size_t rows, const float *level, const float *next_level, size_t bins);
/* Where p' goes: struct aqm_rows. */
uint8_t aqm_level_direction(double change);
/* (a + 1) / 3, as the paper has it. */
static inline float aqm_action_value(int32_t action)
{
	return (float)(action + 1) / (float)AQM_ACTIONS;
}
/* (R - mean) / scale */
float aqm_policy_scale_return(const aqm_policy *policy, double value);
/* (r - low) / width */
double aqm_policy_scale_reward(const aqm_policy *policy, double value);
/* Row of the time embedding for step `step` of a window that begins `offset` rows into its episode. By episode: rows
 * behind the longest of training take its last. */
int32_t aqm_policy_time(const aqm_policy *policy, uint64_t offset, size_t step);

#endif
