/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Students: policies distilled into integers, small enough for a packet path. A student is a network of 8-bit weights or a
 * decision tree over the fields of a record and a short past of its queue; what it says here is, bit for bit, what the C
 * header says that `aqmtrain export --c-header` makes of it.
 */
#ifndef AQMTRAIN_STUDENT_H
#define AQMTRAIN_STUDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/aqmtrain.h"
#include "aqmtrain/config.h"
#include "aqmtrain/error.h"

enum { AQM_STUDENT_INPUTS_MAX = 24, AQM_STUDENT_PAST_MAX = 56, AQM_STUDENT_NAME_MAX = 32 };

/* Read-only once it is loaded: threads may share it. */
typedef struct aqm_student aqm_student;

/* What a student knows of the past of one queue. Zeros are the start. */
struct aqm_student_state {
	uint64_t last[AQM_STUDENT_INPUTS_MAX]; /* counters, at the decision before */
	uint64_t past[AQM_STUDENT_PAST_MAX];   /* values of sequences, the latest first */
	uint32_t begun;
};

/* A file, or a folder with student.json in it. Input is untrusted: AQM_EDATA for anything that distillation would not have written. */
int aqm_student_load(aqm_student **out, const char *path);
/* The same from memory; `name` is used in messages. */
int aqm_student_parse(aqm_student **out, const char *name, const void *data, size_t bytes);
int aqm_student_save(const aqm_student *student, const char *path);
void aqm_student_free(aqm_student *student);
/* SHA-256 of all that decides its answers, and where it comes from: the one in its file. */
int aqm_student_digest(const aqm_student *student, char hex[65]);
/* Whether a file begins as a student's does; false where it cannot be read. */
bool aqm_student_is(const char *path);

enum aqm_control aqm_student_control(const aqm_student *student);
/* control: update: which p' it wants as `now`: the one in force, or the one that the rules would set next. */
enum aqm_change_from aqm_student_from(const aqm_student *student);
/* Its fields (control: packet), or features of intervals (control: update), in the order of aqm_student_update(); a field that is read in
 * two ways comes twice. Lifetime of the student. */
size_t aqm_student_inputs(const aqm_student *student);
const char *aqm_student_input(const aqm_student *student, size_t index);
/* Bytes that its tables take in the C header. */
size_t aqm_student_bytes(const aqm_student *student);

/* control: packet. What to do with the packet of this record. scores (3 numbers, may be NULL) are what it decides by: the largest
 * wins, the first of equals. */
enum aqm_action aqm_student_decide(const aqm_student *student, struct aqm_student_state *state, const struct aqm_record *record,
                                   int32_t scores[AQM_ACTIONS]);
/* The same on a record whose 24 fields lie in the order of aqm_fields(). */
enum aqm_action aqm_student_decide_fields(const aqm_student *student, struct aqm_student_state *state, const uint64_t *fields,
                                          int32_t scores[AQM_ACTIONS]);
/* Probabilities of enqueue, drop and mark behind scores. */
void aqm_student_probabilities(const aqm_student *student, const int32_t scores[AQM_ACTIONS], double probabilities[AQM_ACTIONS]);

/* control: update, at the end of an update interval: the next p' from the one of aqm_student_from(), both as a fraction of 2^32, and the interval's
 * features in the order of aqm_student_input(), rounded to whole numbers. */
uint32_t aqm_student_update(const aqm_student *student, struct aqm_student_state *state, const uint64_t *features, uint32_t now);

#endif
