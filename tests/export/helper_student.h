/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Students out of random numbers, and states for them that try their arithmetic.
 */
#ifndef TESTS_HELPER_STUDENT_H
#define TESTS_HELPER_STUDENT_H

#include "distill/student.h"

enum made_kind { MADE_DEFAULT, MADE_LARGE, MADE_ODD, MADE_EXTREME, MADE_TREE, MADE_UPDATE, MADE_KINDS };

/* Owned by the caller. */
aqm_student *make_student(enum made_kind kind);
/* State number `at` of an endless row: nothing, everything, counters about to wrap around, and all magnitudes between. */
void make_record(uint64_t at, struct aqm_record *record);
void make_interval(uint64_t at, size_t count, uint64_t *features);
/* p' to go with it. */
uint32_t make_probability(uint64_t at);

#endif
