/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A training at work: what loop.c turns and train.c sets up.
 */
#ifndef AQM_TRAIN_TRAINER_H
#define AQM_TRAIN_TRAINER_H

#include "aqmtrain/train.h"
#include "base/progress.h"
#include "policy/policy.h"
#include "train/checkpoint.h"
#include "train/journal.h"
#include "train/measure.h"
#include "train/optimizer.h"
#include "train/reduce.h"
#include "train/run.h"

/* One side of the split. */
struct aqm_split {
	aqm_pool *pool; /* NULL: there is none */
	struct aqm_rows rows;
};

struct aqm_trainer {
	const struct aqm_config *config;
	const struct aqm_train_options *options;
	struct aqm_run run;
	struct aqm_split train, eval;
	struct aqm_fit fit;
	aqm_policy *policy;
	aqm_sampler *sampler;
	struct aqm_optimizer optimizer;
	aqm_ranks *ranks; /* not owned; NULL: alone */
	struct aqm_reduction reduction;
	struct aqm_journal journal;
	struct aqm_train_state state;
	struct aqm_progress progress;

	uint64_t steps_per_epoch, steps; /* of the whole training */
	int64_t epoch_started;           /* the sampler is set to this epoch; -1: none yet */
	float class_weight[AQM_ACTIONS];
	double started, elapsed_before; /* clock at the start; seconds trained before a resume */
	uint64_t checkpoint_step;       /* of the last good one; UINT64_MAX: none */
	size_t memory_planned;

	struct aqm_window *windows; /* (B) of a batch: B = aqm_trainer_batch() */
	float *logits;              /* (B w, outputs) host */
	float *dlogits;             /* (B w, outputs) device */
	float *eval_logits;         /* (rows of eval, outputs) host */
	struct aqm_measure trivial; /* of the eval rows: the training rows' commonest action, or p' unchanged */
};

/* Windows that go through the model at once: this rank's share of a step, which has no more than an epoch; or one by one. */
static inline int64_t aqm_trainer_batch(const struct aqm_trainer *trainer)
{
	int64_t most = (int64_t)aqm_sampler_windows(trainer->sampler), ranks = aqm_ranks_size(trainer->ranks);
	int64_t windows = trainer->config->train.windows < most ? trainer->config->train.windows : most;

	return trainer->config->train.clip_each ? 1 : (windows + ranks - 1) / ranks;
}

/* Warn of settings that a sound training would not have; they are there so that the paper's can be repeated. */
void aqm_trainer_warn(const struct aqm_trainer *trainer);
/* Print what the training will take: memory by kind, trainable parameters, steps and tokens. Call before anything
 * large is allocated. base_resident: bytes of the base's mapping that are in memory already. */
int aqm_trainer_announce(struct aqm_trainer *trainer, size_t base_resident);
/* Whether that fits into the device's memory; before anything large is opened. AQM_ERUN with how much is missing, and which
 * settings would do: each of them planned. */
int aqm_trainer_check_memory(const struct aqm_trainer *trainer);
/* Let the BLAS library take its buffers, so that they can be seen. */
void aqm_trainer_warm_up(aqm_device *device);
/* A new run's beginning, after restoring: with options->init_adapter the values of LoRA, and its record in the run. */
int aqm_trainer_begin(struct aqm_trainer *trainer);
/* Once the run exists: keep what began with an adapter, so that resuming does not need it. */
int aqm_trainer_keep_beginning(struct aqm_trainer *trainer);
/* Write run.json: pools, base, what the training takes, and whether it is done. */
int aqm_trainer_record(const struct aqm_trainer *trainer, bool finished);
/* Several ranks (together.c). Settings that they cannot share: AQM_EUSAGE. */
int aqm_together_check(const struct aqm_trainer *trainer);
/* All ranks: they are about to do the same, with the same data. AQM_EUSAGE: what differs, and where. */
int aqm_together_compare(struct aqm_trainer *trainer, const struct aqm_train_state *state);
/* All ranks: rank 0's state, parameters and moments, if a checkpoint was found; whether the run exists. */
int aqm_together_restore(struct aqm_trainer *trainer, bool *found);
/* All ranks: rank 0's parameters, whatever they began with. */
int aqm_together_begin(struct aqm_trainer *trainer);

/* From the state on to the end, or to an interruption: AQM_EINTERRUPTED with a checkpoint written. */
int aqm_trainer_run(struct aqm_trainer *trainer);

#endif
