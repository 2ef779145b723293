/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Training steps as `train` makes them, on a batch of drawn numbers.
 */
#ifndef AQM_CLI_BENCH_STEPS_H
#define AQM_CLI_BENCH_STEPS_H

#include "cli/bench_model.h"
#include "policy/policy.h"
#include "train/optimizer.h"
#include "train/reduce.h"

struct aqm_bench_steps {
	struct aqm_config config;
	aqm_policy *policy;
	struct aqm_optimizer optimizer;
	aqm_device *device;
	struct aqm_mat dlogits;
	struct aqm_reduction *reduction; /* of several ranks; NULL: alone; not owned */
	uint32_t number;
	double loss;
	size_t planned, gpu_planned; /* bytes that all of this should take, by the plan that `train` prints */
};

/* For batches of up to train.windows windows of the configuration, on the base at `path`. Close it also after an error. */
int aqm_bench_steps_open(struct aqm_bench_steps *steps, const struct aqm_bench *bench, const char *path);
void aqm_bench_steps_close(struct aqm_bench_steps *steps);
/* How many windows the next steps take. */
void aqm_bench_steps_take(struct aqm_bench_steps *steps, int64_t windows);
/* One step, as train/loop.c has it; with a reduction on all ranks. */
int aqm_bench_steps_once(struct aqm_bench_steps *steps);

#endif
