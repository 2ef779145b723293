/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What an evaluation says of a policy, whichever mode of control it is for.
 */
#ifndef AQM_TRAIN_MEASURE_H
#define AQM_TRAIN_MEASURE_H

#include <jansson.h>

#include "aqmtrain/train.h"
#include "policy/policy.h"

struct aqm_measure {
	enum aqm_control control;
	struct aqm_metrics packet;         /* of control: packet */
	struct aqm_update_metrics update;  /* of control: update */
};

/* From the head's outputs on every row (rows, outputs). 0 or AQM_ERUN. */
int aqm_measure_policy(struct aqm_measure *measure, const aqm_policy *policy, const struct aqm_rows *rows,
                       const float *outputs);
/* The trivial baseline on the same rows: the training rows' commonest action; or p' unchanged. 0 or AQM_ERUN. */
int aqm_measure_trivial(struct aqm_measure *measure, const struct aqm_config *config, const struct aqm_fit *fit,
                        const struct aqm_rows *rows);
/* Of the training rows; the first of equals. */
enum aqm_action aqm_commonest_action(const struct aqm_fit *fit);
double aqm_measure_loss(const struct aqm_measure *measure);
/* The figure that `best` names; larger is better. */
double aqm_measure_score(const struct aqm_measure *measure, enum aqm_best best);
/* The figure's own word: auto is resolved. */
const char *aqm_measure_best_word(enum aqm_control control, enum aqm_best best);
/* Keys of `eval --json`; NULL without memory. */
json_t *aqm_measure_json(const struct aqm_measure *measure);
/* Of the trivial baseline: {"majority": {...}} or {"persistence": {...}}. */
json_t *aqm_measure_trivial_json(const struct aqm_measure *measure);

/* Whether the head's outputs for step `at` of the batch are right: the action; or p' within 10 %. */
bool aqm_measure_hit(const aqm_policy *policy, const struct aqm_batch *batch, int64_t at, const float *outputs);

#endif
