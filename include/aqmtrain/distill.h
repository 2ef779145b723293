/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Distillation: a student learns what a trained policy answers, on a pool and on what the student itself meets in the
 * simulator.
 */
#ifndef AQMTRAIN_DISTILL_H
#define AQMTRAIN_DISTILL_H

#include "aqmtrain/sim.h"
#include "aqmtrain/student.h"
#include "aqmtrain/train.h"

/* ---- a student in the queue ---- */

/* Each queue (each controller, of updates) has a past of its own. The student outlives the hook. AQM_EUSAGE at the
 * first decision for an input that the simulator has not. */
struct aqm_sim_student;
int aqm_sim_student_new(struct aqm_sim_student **out, struct aqm_sim_hook *hook, const aqm_student *student);
void aqm_sim_student_free(struct aqm_sim_student *student);
/* How often it was asked, and how often its answer was not the rule's. */
void aqm_sim_student_counts(const struct aqm_sim_student *student, uint64_t *asked, uint64_t *differed);

/* ---- distilling ---- */

/* How well something answers on one set of rows. */
struct aqm_fidelity {
	size_t rows;
	double fidelity;            /* share of rows answered as the teacher does; of updates, p' within 10 % of the teacher's */
	double log_rmse;            /* updates: root mean square of log p' less the teacher's */
	struct aqm_metrics metrics; /* packets: by the pool's labels */
};

enum { AQM_DISTILL_NAME_MAX = 64, AQM_SWEEP_MAX = 16 };

/* One student, and the answers that any student is to be compared with. */
struct aqm_distilled {
	char name[AQM_DISTILL_NAME_MAX]; /* "network 4x16", "tree 10 deep" */
	aqm_student *student;            /* owned */
	size_t bytes;                    /* of its tables in the C header */
	struct aqm_fidelity train, held_out; /* rows 0: there are no held-out rows */
	double utility;                  /* mean over distill.scenarios; NAN: none */
	double seconds;                  /* that learning took */
	int ranks;                       /* processes that were at it at the same time: they share cores and memory */
	uint64_t rows;                   /* learned from, with those of the simulator */
};
struct aqm_distill_result {
	enum aqm_control control;
	struct aqm_distilled *students; /* owned; one, or those of a sweep */
	size_t count;
	/* on the held-out rows, or the training rows where there are none: */
	struct aqm_fidelity teacher;   /* fidelity 1 */
	struct aqm_fidelity trivial;   /* always the teacher's commonest answer; of updates, p' unchanged */
	struct aqm_fidelity raw_tree;  /* a tree grown on the pool's labels, not on the teacher's answers; rows 0: none (updates) */
	size_t raw_tree_nodes;
	bool held_out;
	bool answers_known;            /* the teacher was not asked again */
	double teacher_seconds, seconds;
	uint64_t rows;                 /* the last student's */
};

struct aqm_distill_options {
	bool sweep;              /* students of several kinds and sizes */
	struct aqm_ranks *ranks; /* NULL: alone */
};

/* All ranks. Distil as config.distill says; pools are config.pool.train and .eval, or the teacher's own where they are
 * empty. Ranks share the teacher's work, and the students of a sweep; a single student is made by rank 0, which also
 * writes all files: FOLDER/student.json (not in a sweep), distill.json, distill.yaml (the config), and students.jsonl,
 * a line a student that a sweep has finished: the same call finds it there. AQM_EINTERRUPTED: the teacher's answers
 * and the students so far are kept. The result is rank 0's; release it everywhere. */
int aqm_distill(const struct aqm_config *config, const char *folder, const struct aqm_distill_options *options,
                struct aqm_distill_result *result);
void aqm_distill_release(struct aqm_distill_result *result);
/* Text for people, or JSON; owned by the caller. nanoseconds (NULL: not measured): of a decision of each student. */
int aqm_distill_format(const struct aqm_distill_result *result, const double *nanoseconds, bool json, char **text);

#endif
