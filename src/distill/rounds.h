/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Students at work in the simulator: what they meet, and what it was worth.
 */
#ifndef AQM_DISTILL_ROUNDS_H
#define AQM_DISTILL_ROUNDS_H

#include "aqmtrain/distill.h"

/* Run every scenario of distill.scenarios with the student in distill.host; `seed` is added to the scenarios' own. *pool (may be NULL): what it
 * decided on and what it did, an episode a run and controller, fit for the teacher. *utility (may be NULL): the mean of distill.utility. */
int aqm_student_rounds(const aqm_student *student, const struct aqm_config *config, uint64_t seed, aqm_pool **pool, double *utility);

#endif
