/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside of a policy, for training, evaluation and export.
 */
#ifndef AQM_POLICY_POLICY_H
#define AQM_POLICY_POLICY_H

#include "aqmtrain/policy.h"
#include "model/model.h"

/* A pool made ready for windows: what the encoder reads, per row. */
struct aqm_rows {
	const aqm_pool *pool; /* not owned */
	size_t rows, features;
	size_t width;          /* F V: numbers of a state */
	float *states;         /* (rows, F V) normalised */
	float *rewards;        /* (rows) raw */
	float *returns;        /* (rows) return-to-go, raw */
	uint8_t *actions;      /* (rows) labels by config.pool.labels */
	size_t *episode_start; /* (rows) first row of the row's episode: sequences and windows do not look before it */
};

/* What is fitted on the training rows and travels with the policy. */
struct aqm_fit {
	struct aqm_normaliser states;
	double return_mean, return_scale; /* of returns; 0 and 1 when reward.normalise is off */
	double return_quantiles[101];     /* of the training returns, raw: targets */
	double class_share[3];            /* of the training labels */
};
int aqm_fit_rows(struct aqm_fit *fit, const struct aqm_config *config, const aqm_pool *pool);

int aqm_rows_init(struct aqm_rows *rows, const aqm_pool *pool, const struct aqm_config *config,
                  const struct aqm_fit *fit);
void aqm_rows_release(struct aqm_rows *rows);

/* A batch of B windows of `steps` steps, host memory owned by the policy. Steps beyond a window's length are
 * padding: label -1, values 0. */
struct aqm_batch {
	int64_t windows, steps;
	float *returns; /* (B, w) normalised */
	float *states;  /* (B, w, F V) */
	/* (B, w, S, k V): last k values of each sequence feature, oldest first, left-padded with the episode's first */
	float *sequences;
	int32_t *actions; /* (B, w): a_t as token */
	int32_t *labels;  /* (B, w): what the loss looks at; -1 = does not count */
	int32_t *times;   /* (B, w): row of the time embedding */
};

/* A policy for training (or inference) that does not come from a file. The gguf is opened by path and owned by the
 * policy. */
int aqm_policy_new(aqm_policy **out, const struct aqm_config *config, const struct aqm_fit *fit, const char *base_path,
                   bool training);
/* Plan, allocate and bind for up to `windows` windows; before the first forward. The plan may be had before anything
 * is allocated. */
int aqm_policy_plan(aqm_policy *policy, int64_t windows, struct aqm_memory_plan *plan);
int aqm_policy_allocate(aqm_policy *policy, int64_t windows);

struct aqm_batch *aqm_policy_batch(aqm_policy *policy);
/* Fill the batch from windows of prepared rows; windows <= what was allocated. score_from (may be NULL): steps
 * before it get label -1. */
void aqm_policy_fill(aqm_policy *policy, const struct aqm_rows *rows, const struct aqm_window *windows,
                     const size_t *score_from, int64_t count);
/* Logits (B*w, 3), device memory of the policy, valid until the next forward. */
struct aqm_mat aqm_policy_forward(aqm_policy *policy, bool training, uint32_t step);
/* From dlogits (same shape): parameter gradients +=. */
void aqm_policy_backward(aqm_policy *policy, struct aqm_mat dlogits, uint32_t step);

/* Logits of every row of `rows`, by evaluation windows: logits (rows, 3) floats, host. `windows` at a time as
 * allocated. With target_return finite, the return-to-go of each window starts there and follows R <- (R - r)/gamma;
 * NAN: the logged returns. */
int aqm_policy_score(aqm_policy *policy, const struct aqm_rows *rows, double target_return, float *logits);

aqm_device *aqm_policy_device(aqm_policy *policy);
aqm_model *aqm_policy_model(aqm_policy *policy);
aqm_gguf *aqm_policy_gguf(aqm_policy *policy);
struct aqm_params *aqm_policy_params(aqm_policy *policy);
const struct aqm_fit *aqm_policy_fit(const aqm_policy *policy);
/* The return that decisions aim at by default: decide.target_quantile of the training returns x
 * decide.target_factor, raw. */
double aqm_policy_target(const aqm_policy *policy);
double aqm_policy_flops(const aqm_policy *policy, int64_t windows, bool backward);

/* policy.h5: parameters by name, normaliser, returns, config (YAML), fingerprint of the base. Atomic. */
int aqm_policy_save(aqm_policy *policy, const char *path);
/* The same with a text in it, dataset /manifest, which loading passes over. */
int aqm_policy_save_with(aqm_policy *policy, const char *path, const char *manifest);

#endif
