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
	float *rewards;        /* (rows) in the range of aqm_fit */
	float *returns;        /* (rows) return-to-go of these rewards */
	/* (rows) labels by config.pool.labels. control: update: where p' goes, which samplers look at: 0 stays within 10 %,
	 * 1 rises, 2 falls. */
	uint8_t *actions;
	float *level, *next_level; /* (rows) p' that the change is from (policy.change_from) and the one set next, on the scale of policy.level; NULL for packets */
	size_t *episode_start; /* (rows) first row of the row's episode: sequences and windows do not look before it */
};

/* control: update. The head gives the change of the level of p' (policy.level): one output in units of
 * change_scale, or the logits of bins. Bin b holds changes in (edge[b - 1], edge[b]] and stands for their median. */
struct aqm_level_fit {
	double mean, scale;  /* of the levels: what action tokens are normalised by */
	double change_scale; /* root mean square of the changes */
	size_t bins;         /* 0: one output; at most policy.bins, for equal edges fall together */
	double edge[AQM_BINS_MAX], value[AQM_BINS_MAX];
};

/* What is fitted on the training rows and travels with the policy. */
struct aqm_fit {
	struct aqm_level_fit levels; /* of control: update; zeros otherwise */
	struct aqm_normaliser states;
	struct aqm_reward_range rewards;  /* reward.normalise: min-max; otherwise 0 and 1 */
	double return_mean, return_scale; /* of returns of these rewards; 0 and reward.scale when they are not standardised */
	double return_quantiles[101];     /* of the training returns, before mean and scale: targets */
	double class_share[3];            /* of the training labels */
	int64_t longest_episode;          /* rows of the longest in training: size of the time embedding by episode */
};
int aqm_fit_rows(struct aqm_fit *fit, const struct aqm_config *config, const aqm_pool *pool);

/* The columns of policy.features as they are in the pool, (features, rows), all finite; freed by the caller. NULL with a
 * message on failure, *code says which. */
double *aqm_policy_columns(const struct aqm_config *config, const aqm_pool *pool, int *code);
int aqm_rows_init(struct aqm_rows *rows, const aqm_pool *pool, const struct aqm_config *config,
                  const struct aqm_fit *fit);
void aqm_rows_release(struct aqm_rows *rows);

/* A batch of B windows of `steps` steps, host memory owned by the policy. Steps beyond a window's length are
 * padding: label -1, values 0. */
struct aqm_batch {
	int64_t windows, steps;
	int64_t first;  /* place of its first window among those of the step, of which this batch may be a share */
	float *returns; /* (B, w) normalised */
	float *states;  /* (B, w, F V) */
	/* (B, w, S, k V): last k values of each sequence feature, oldest first, left-padded with the episode's first */
	float *sequences;
	int32_t *actions; /* (B, w): a_t as token */
	/* (B, w): a_t as the number that a linear embedding reads: (a + 1) / 3, or the normalised level of the next p' */
	float *action_values;
	float *targets; /* (B, w): what squared error looks at: the change of level, in units of change_scale */
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
/* The plan of a training that nothing was opened for yet, with settings as they are, or others. */
struct aqm_plan_settings {
	int64_t windows; /* at once */
	bool checkpoints;
	const enum aqm_dtype *base; /* the base's matrices as if quantised to this type; NULL: as they are */
};
int aqm_policy_estimate(aqm_device *device, const struct aqm_config *config, const struct aqm_fit *fit,
                        const char *base_path, const struct aqm_plan_settings *settings, struct aqm_memory_plan *plan);

struct aqm_batch *aqm_policy_batch(aqm_policy *policy);
/* Fill the batch from windows of prepared rows; windows <= what was allocated. score_from (may be NULL): steps
 * before it get label -1. */
void aqm_policy_fill(aqm_policy *policy, const struct aqm_rows *rows, const struct aqm_window *windows,
                     const size_t *score_from, int64_t count);
/* Numbers of the head: 3 actions, 1 change of level, or the bins of it. */
int64_t aqm_policy_outputs(const aqm_policy *policy);
/* Logits (B*w, outputs), device memory of the policy, valid until the next forward. */
struct aqm_mat aqm_policy_forward(aqm_policy *policy, bool training, uint32_t step);
/* The loss of the batch that was filled in, over steps whose label counts: cross-entropy weighted by class_weight (3;
 * not read for updates), or squared error. dlogits (may be absent) = its gradient. */
double aqm_policy_loss(aqm_policy *policy, struct aqm_mat logits, const float *class_weight, struct aqm_mat dlogits);
/* What its mean is a mean over: the sum of the weights that counted, or the steps. */
double aqm_policy_loss_weight(const aqm_policy *policy, const float *class_weight);
/* From dlogits (same shape): parameter gradients +=. */
void aqm_policy_backward(aqm_policy *policy, struct aqm_mat dlogits, uint32_t step);

/* Logits of every row of `rows`, by evaluation windows: logits (rows, outputs) floats, host. `windows` at a time as
 * allocated. With target_return finite, the return-to-go of each window starts there and follows R <- (R - r)/gamma;
 * NAN: the logged returns. */
int aqm_policy_score(aqm_policy *policy, const struct aqm_rows *rows, double target_return, float *logits);
/* The same in parts: evaluation windows first .. first + count - 1 of so many. */
size_t aqm_policy_score_windows(const aqm_policy *policy, const struct aqm_rows *rows);
int aqm_policy_score_part(aqm_policy *policy, const struct aqm_rows *rows, double target_return, size_t first, size_t count, float *logits);
/* The share of it that rank `rank` of `size` has; rows of others become 0, so that the sum over ranks is the whole. */
int aqm_policy_score_share(aqm_policy *policy, const struct aqm_rows *rows, double target_return, int rank, int size,
                           float *logits);

/* The same with a target, row after row as decisions come to them, in their arithmetic. Shows its progress. */
int aqm_policy_decide_rows(aqm_policy *policy, const struct aqm_rows *rows, double target_return, float *logits);
/* What deciders made from now on multiply in, whatever decide.arithmetic says. */
void aqm_policy_set_arithmetic(aqm_policy *policy, enum aqm_arithmetic arithmetic);

/* The bin of a change of level. */
size_t aqm_level_bin(const struct aqm_level_fit *fit, double change);
/* The change of level that the head's outputs stand for: the number, or the value of the bin with the median. */
double aqm_level_change(const struct aqm_level_fit *fit, const float *outputs);
/* A level on the scale of aqm_update_level(), on which policies are measured whatever policy.level is. */
double aqm_level_as_log(const struct aqm_config *config, double level);

aqm_device *aqm_policy_device(aqm_policy *policy);
aqm_model *aqm_policy_model(aqm_policy *policy);
aqm_gguf *aqm_policy_gguf(aqm_policy *policy);
struct aqm_params *aqm_policy_params(aqm_policy *policy);
const struct aqm_fit *aqm_policy_fit(const aqm_policy *policy);
/* The return that decisions aim at by default: decide.target_quantile of the training returns x
 * decide.target_factor, in units of returns before mean and scale. */
double aqm_policy_target(const aqm_policy *policy);
/* Steps by which a full window moves on: half of it, at least one. */
int64_t aqm_policy_advance(const aqm_policy *policy);
double aqm_policy_flops(const aqm_policy *policy, int64_t windows, bool backward);

/* The file that aqm_policy_load reads: of a run's folder its best policy, or its last where there is no best. Owned by the
 * caller; NULL with a message where there is none. */
char *aqm_policy_find(const char *path);
/* policy.h5: parameters by name, normaliser, returns, config (YAML), fingerprint of the base. Atomic. */
int aqm_policy_save(aqm_policy *policy, const char *path);
/* The same with a text in it, dataset /manifest, which loading passes over. */
int aqm_policy_save_with(aqm_policy *policy, const char *path, const char *manifest);

#endif
