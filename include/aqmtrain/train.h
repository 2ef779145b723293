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

/* Train, or go on with, a run. The folder is made; an existing run is not overwritten unless `resume`. Writes config.yaml, metrics.jsonl, checkpoints/,
 * best/, policy.h5. SIGINT: a checkpoint is written and AQM_EINTERRUPTED returned. A non-finite loss or gradient: AQM_ERUN with the
 * step; the last good checkpoint stays. Resuming continues bit-identically (same machine kind and threads). */
int aqm_train(const struct aqm_config *config, const char *run_path, bool resume);

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

#endif
