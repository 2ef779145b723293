/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Training: return-conditioned offline reinforcement learning of a policy on a pool, into a run directory.
 */
#ifndef AQMTRAIN_TRAIN_H
#define AQMTRAIN_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/config.h"
#include "aqmtrain/error.h"
#include "aqmtrain/pool.h"

struct aqm_ranks;

struct aqm_train_options {
	bool resume;              /* go on with the run */
	const char *init_adapter; /* LoRA begins with this adapter (a PEFT folder or GGUF file) instead of A random, B zero; NULL: none */
	struct aqm_ranks *ranks;  /* that train together, each its share of every step's windows; NULL: alone */
};

/* Train, or go on with, a run. The folder is made; an existing run is not overwritten unless `resume`. Writes config.yaml,
 * run.json (data, base, what it took), metrics.jsonl, checkpoints/, best/, policy.h5, and init_adapter.json: path and SHA-256
 * of an adapter that it began with, which must be of lora.rank, alpha and targets (AQM_EUSAGE with the settings that fit) and
 * is not needed again. SIGINT: a checkpoint is written and AQM_EINTERRUPTED returned. A feature, reward or return that is not
 * finite: AQM_EDATA with its row. A non-finite loss or gradient: AQM_ERUN with the step; the last good checkpoint stays.
 * Resuming continues bit-identically (same machine kind and threads). */
int aqm_train(const struct aqm_config *config, const char *run_path, const struct aqm_train_options *options);

/* ---- metrics ---- */

struct aqm_metrics {
	size_t rows;
	double loss;                                 /* mean cross-entropy, unweighted, nats; NAN if there are no logits */
	double accuracy, macro_f1, balanced_accuracy;/* macro over the classes that occur in the labels or predictions */
	double precision[AQM_ACTIONS], recall[AQM_ACTIONS], f1[AQM_ACTIONS];
	size_t support[AQM_ACTIONS];
	size_t confusion[AQM_ACTIONS][AQM_ACTIONS];  /* [label][predicted] */
};
/* From logits (rows, 3), or from predictions when logits is NULL. */
void aqm_metrics_compute(struct aqm_metrics *metrics, size_t rows, const uint8_t *labels, const float *logits, const uint8_t *predictions);

/* Of control: update. p' is compared on the scale of aqm_update_level(): natural logarithm, no lower than 1e-6. */
struct aqm_update_metrics {
	size_t rows;
	double loss;     /* what training minimises; NAN if there are no outputs */
	double log_rmse; /* root mean square error of log p' */
	double log_mae;  /* mean absolute error of log p' */
	double within;   /* share of intervals whose p' is within 10 % of the one that the controller set */
};
/* level: p' in force; next_level: what the controller set; change: what was predicted of the difference (NULL: none). */
void aqm_update_metrics_compute(struct aqm_update_metrics *metrics, const struct aqm_config *config, size_t rows,
                                const float *level, const float *next_level, const double *change);

#endif
