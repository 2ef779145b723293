/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Gradients of several ranks become their sum, in buckets that travel while the backward pass still works on what lies
 * in front of them.
 */
#ifndef AQM_TRAIN_REDUCE_H
#define AQM_TRAIN_REDUCE_H

#include "compute/collective.h"
#include "model/params.h"
#include "ranks/ranks.h"

struct aqm_reduction {
	aqm_ranks *ranks; /* not owned; NULL or alone: nothing happens */
	struct aqm_params *params;
	aqm_collective *gpus; /* NULL: sums go through host memory, by MPI; owned */
	struct aqm_sums sums;
	float *host;       /* twin of the gradients where the device has memory of its own; owned */
	size_t bucket;     /* floats that are worth a message */
	size_t first, end; /* floats that are complete and not on their way */
	bool *sent;        /* by parameter; owned */
	int code;          /* the first failure of a step */
	double waited;     /* seconds that steps have waited for sums; with GPUs also for the work in front of them */
};

/* Memory for it, a group of GPUs where each rank has one, and the hook into backward passes. 0 or AQM_ERUN. */
int aqm_reduction_init(struct aqm_reduction *reduction, aqm_ranks *ranks, struct aqm_params *params);
void aqm_reduction_release(struct aqm_reduction *reduction);
/* All ranks: before a backward pass whose gradients are to be summed. */
void aqm_reduction_begin(struct aqm_reduction *reduction);
/* All ranks: behind it; params->gradients is the sum. 0 or AQM_ERUN. */
int aqm_reduction_finish(struct aqm_reduction *reduction);

#endif
