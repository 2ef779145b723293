/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Small runs in a scratch folder.
 */
#ifndef TEST_TRAIN_HELPER_H
#define TEST_TRAIN_HELPER_H

#include "../helper_policy.h"

#include "aqmtrain/train.h"

/* scratch_enter() with train.h5 and eval.h5 in the folder. */
int scratch_enter_pools(void **state);
/* The configuration of these tests: 3 epochs of 4 steps over the golden llama base. Settings on top,
 * NULL-terminated. */
void small_config(struct aqm_config *config, const char *const *settings);

#endif
