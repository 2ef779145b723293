/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A student in the simulator's queue.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/distill.h"
#include "base/size.h"
#include "distill/student.h"
#include "sim/qdisc.h"

struct aqm_sim_student {
	const aqm_student *student;
	struct aqm_student_state states[AQM_QUEUES];
	uint64_t asked, differed;
};

static int decide(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct aqm_sim_student *s = context;

	*action = aqm_student_decide_fields(s->student, &s->states[decision->queue], decision->fields, NULL);
	s->asked++;
	s->differed += *action != decision->rule;
	return AQM_OK;
}

static int update(void *context, const struct aqm_update *update, double *next)
{
	struct aqm_sim_student *s = context;
	uint64_t features[AQM_STUDENT_INPUTS_MAX];
	double from = s->student->from == AQM_FROM_RULE ? update->reference : update->now;
	uint32_t now = from >= 1 ? UINT32_MAX : (uint32_t)ldexp(fmax(from, 0), 32);

	for (size_t i = 0; i < s->student->count; i++) {
		double value = update->feature(update, s->student->inputs[i].name);

		if (isnan(value))
			return aqm_error_set(AQM_EUSAGE, "the student wants '%s', which no interval in the simulator has",
			                     s->student->inputs[i].name);
		features[i] = value <= 0 ? 0 : value >= 0x1p63 ? UINT64_MAX : (uint64_t)rint(value);
	}
	*next = ldexp(aqm_student_update(s->student, &s->states[update->controller], features, now), -32);
	s->asked++;
	s->differed += *next > 1.1 * update->rule || *next < update->rule / 1.1;
	return AQM_OK;
}

int aqm_sim_student_new(struct aqm_sim_student **out, struct aqm_sim_hook *hook, const aqm_student *student)
{
	struct aqm_sim_student *s = aqm_calloc_array(1, sizeof *s);
	bool updates = student->control == AQM_CONTROL_UPDATE;

	*out = s;
	if (!s)
		return AQM_ERUN;
	s->student = student;
	*hook = (struct aqm_sim_hook){s, updates ? NULL : decide, updates ? update : NULL, 0};
	return AQM_OK;
}

void aqm_sim_student_free(struct aqm_sim_student *student)
{
	free(student);
}

void aqm_sim_student_counts(const struct aqm_sim_student *student, uint64_t *asked, uint64_t *differed)
{
	*asked = student->asked;
	*differed = student->differed;
}
