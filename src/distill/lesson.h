/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What students learn from: rows as they read them, with the teacher's answers.
 */
#ifndef AQM_DISTILL_LESSON_H
#define AQM_DISTILL_LESSON_H

#include "aqmtrain/pool.h"
#include "distill/student.h"

struct aqm_lesson {
	size_t rows, values, capacity;
	uint64_t *read;    /* (rows, values), as aqm_student_observe() leaves them */
	float *teacher;    /* (rows, 3) logits; control: update: (rows) change of log2 p' */
	uint8_t *answers;  /* (rows) the teacher's action; control: update: zeros */
	uint8_t *labels;   /* (rows) the action in the pool; of rows from the simulator the teacher's */
	uint32_t *now;     /* (rows) p' that changes are from, of 2^32; control: update */
};

/* Read a pool's rows, in order, and append them. Each queue of an episode has a past of its own. teacher: logits (rows, 3), or the change
 * of log2 p' (rows). labels NULL: the teacher's. */
int aqm_lesson_add(struct aqm_lesson *lesson, const aqm_student *student, const aqm_pool *pool, const float *teacher,
                   const uint8_t *labels);
void aqm_lesson_release(struct aqm_lesson *lesson);
/* The largest of three; the first of equals. */
uint8_t aqm_lesson_answer(const float logits[AQM_ACTIONS]);

#endif
