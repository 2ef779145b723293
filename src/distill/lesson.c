/* SPDX-License-Identifier: BSD-2-Clause */
#include "distill/lesson.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "pool/fields.h"

enum { QUEUES = 2 };

uint8_t aqm_lesson_answer(const float logits[AQM_ACTIONS])
{
	uint8_t best = 0;

	for (uint8_t a = 1; a < AQM_ACTIONS; a++)
		best = logits[a] > logits[best] ? a : best;
	return best;
}

/* Columns are doubles; what they hold are the counters and clocks of a log. */
static uint64_t whole(double x)
{
	return !(x > 0) ? 0 : x >= 0x1p64 ? UINT64_MAX : (uint64_t)rint(x);
}

static int grow(struct aqm_lesson *l, size_t rows, size_t outputs)
{
	if (rows <= l->capacity)
		return AQM_OK;
	uint64_t *read = aqm_realloc_array(l->read, rows, l->values * sizeof *read);
	l->read = read ? read : l->read;
	float *teacher = aqm_realloc_array(l->teacher, rows, outputs * sizeof *teacher);
	l->teacher = teacher ? teacher : l->teacher;
	uint8_t *answers = aqm_realloc_array(l->answers, rows, 1);
	l->answers = answers ? answers : l->answers;
	uint8_t *labels = aqm_realloc_array(l->labels, rows, 1);
	l->labels = labels ? labels : l->labels;
	uint32_t *now = aqm_realloc_array(l->now, rows, sizeof *now);
	l->now = now ? now : l->now;
	if (!read || !teacher || !answers || !labels || !now)
		return AQM_ERUN;
	l->capacity = rows;
	return AQM_OK;
}

/* columns[place]: what inputs are read from. The last one is the queue. */
struct columns {
	double *of[AQM_LOG_FIELDS + AQM_STUDENT_INPUTS_MAX + 1];
	double *queue, *drop_prob;
};

static int read_column(const aqm_pool *pool, const char *name, double **out)
{
	*out = aqm_malloc_array(aqm_pool_rows(pool), sizeof **out);
	return *out ? aqm_pool_column(pool, name, *out) : AQM_ERUN;
}

static int read_columns(struct columns *c, const aqm_student *student, const aqm_pool *pool)
{
	bool packet = student->control == AQM_CONTROL_PACKET;
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < student->count; i++)
		if (!c->of[student->inputs[i].place])
			code = read_column(pool, student->inputs[i].name, &c->of[student->inputs[i].place]);
	if (code == AQM_OK && packet && aqm_pool_has(pool, "queue_type"))
		code = read_column(pool, "queue_type", &c->queue);
	if (code == AQM_OK && !packet)
		code = read_column(pool, student->from == AQM_FROM_RULE ? "rule_drop_prob" : "drop_prob", &c->drop_prob);
	return code;
}

static void release_columns(struct columns *c)
{
	for (size_t i = 0; i < sizeof c->of / sizeof *c->of; i++)
		free(c->of[i]);
	free(c->queue);
	free(c->drop_prob);
}

static void read_rows(struct aqm_lesson *l, const aqm_student *student, const aqm_pool *pool, const struct columns *c)
{
	uint64_t fields[AQM_LOG_FIELDS + AQM_STUDENT_INPUTS_MAX] = {0};

	for (size_t e = 0; e < aqm_pool_episodes(pool); e++) {
		struct aqm_student_state states[QUEUES] = {{{0}, {0}, 0}};
		size_t start, length;

		aqm_pool_episode(pool, e, &start, &length);
		for (size_t row = start; row < start + length; row++) {
			for (size_t i = 0; i < student->count; i++)
				fields[student->inputs[i].place] = whole(c->of[student->inputs[i].place][row]);
			size_t queue = c->queue && c->queue[row] > 0;

			aqm_student_observe(student, &states[queue], fields, l->read + (l->rows + row) * l->values);
			/* 2^31 stands for 1 in logs */
			l->now[l->rows + row] = c->drop_prob ? (uint32_t)fmin(fmax(c->drop_prob[row] * 2, 0), (double)UINT32_MAX) : 0;
		}
	}
}

int aqm_lesson_add(struct aqm_lesson *l, const aqm_student *student, const aqm_pool *pool, const float *teacher, const uint8_t *labels)
{
	size_t rows = aqm_pool_rows(pool), outputs = student->control == AQM_CONTROL_PACKET ? AQM_ACTIONS : 1;
	struct columns columns = {{0}, NULL, NULL};

	l->values = student->values;
	int code = grow(l, l->rows + rows, outputs);
	if (code == AQM_OK)
		code = read_columns(&columns, student, pool);
	if (code == AQM_OK) {
		read_rows(l, student, pool, &columns);
		memcpy(l->teacher + l->rows * outputs, teacher, rows * outputs * sizeof *teacher);
		for (size_t i = 0; i < rows; i++) {
			uint8_t answer = outputs > 1 ? aqm_lesson_answer(teacher + i * outputs) : 0;

			l->answers[l->rows + i] = answer;
			l->labels[l->rows + i] = labels ? labels[i] : answer;
		}
		l->rows += rows;
	}
	release_columns(&columns);
	return code;
}

void aqm_lesson_release(struct aqm_lesson *lesson)
{
	free(lesson->read);
	free(lesson->teacher);
	free(lesson->answers);
	free(lesson->labels);
	free(lesson->now);
	*lesson = (struct aqm_lesson){0};
}
