/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Growing a student that is a decision tree.
 */
#ifndef AQM_DISTILL_GROW_H
#define AQM_DISTILL_GROW_H

#include "distill/lesson.h"

/* Grow on the lesson's rows with these labels (rows), to at most so many comparisons deep; then prune what tells nothing, and the splits that
 * tell least, until no more than `nodes` are left. The student is a tree without nodes. */
int aqm_tree_grow(aqm_student *student, const struct aqm_lesson *lesson, const uint8_t *labels, unsigned depth, size_t nodes);

#endif
