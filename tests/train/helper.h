/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Small runs in a scratch folder.
 */
#ifndef TEST_TRAIN_HELPER_H
#define TEST_TRAIN_HELPER_H

#include "../check.h"

#include "aqmtrain/train.h"

/* A fresh scratch folder with train.h5 and eval.h5; the program's current folder until scratch_leave. For cmocka's
 * setup and teardown. */
int scratch_enter(void **state);
int scratch_leave(void **state);
/* The configuration of these tests: 3 epochs of 4 steps over the golden llama base. Settings on top,
 * NULL-terminated. */
void small_config(struct aqm_config *config, const char *const *settings);
/* Do two files hold the same bytes? */
bool same_files(const char *a, const char *b);

#endif
