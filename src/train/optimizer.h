/* SPDX-License-Identifier: BSD-2-Clause
 *
 * AdamW over all parameters, its learning rate, and clipping.
 */
#ifndef AQM_TRAIN_OPTIMIZER_H
#define AQM_TRAIN_OPTIMIZER_H

#include "aqmtrain/config.h"
#include "model/params.h"

struct aqm_optimizer {
	struct aqm_params *params; /* not owned */
	float *m, *v;              /* first and second moments, device memory, laid out as the parameters */
};

/* Zeroed moments. 0 or AQM_ERUN. */
int aqm_optimizer_init(struct aqm_optimizer *optimizer, struct aqm_params *params);
void aqm_optimizer_release(struct aqm_optimizer *optimizer);
/* One step: step counts from 0. The gradient is scaled by `gradient_scale` first. */
void aqm_optimizer_step(struct aqm_optimizer *optimizer, const struct aqm_config *config, uint64_t step, float lr,
                        float gradient_scale);

/* Learning rate of step `step` (from 0) of `total`: a linear warm-up that reaches lr at its last step, then the
 * schedule, which reaches lr_min x lr at the last step. */
double aqm_learning_rate(const struct aqm_config *config, uint64_t step, uint64_t total);

#endif
