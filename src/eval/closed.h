/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside of the closed loop: a plan (cells x seeds x arms), the simulations it takes, the lines they leave, and what
 * is said of them.
 *
 * An arm is whatever may sit in the queue: a discipline, a sanity check, or the policy in one of its modes. A
 * simulation is known by a key, a digest of all that decides its outcome; its line in results.jsonl is found again by
 * that, and is then not simulated a second time.
 */
#ifndef AQM_EVAL_CLOSED_H
#define AQM_EVAL_CLOSED_H

#include <jansson.h>

#include "aqmtrain/eval.h"
#include "aqmtrain/utility.h"

enum aqm_arm_kind { AQM_ARM_RULES, AQM_ARM_ENQUEUE, AQM_ARM_RANDOM, AQM_ARM_GUEST, AQM_ARM_POLICY };

struct aqm_arm {
	enum aqm_arm_kind kind;
	char name[AQM_ARM_LABEL_MAX];  /* "dualpi2", "random:0.1", "policy" */
	char label[AQM_ARM_LABEL_MAX]; /* "policy, every 10, delay measured": no two are the same */
	bool trivial;
	double share;                         /* random: of packets dropped */
	const struct aqm_closed_guest *guest; /* not owned */
	/* of the policy */
	int64_t every;   /* packets; 0: update intervals */
	double delay;    /* ms */
	bool measured;   /* the delay is what a decision takes here */
	double target;   /* NAN: its own */
	int64_t context; /* windows of the new network's log that it sees first */
};

struct aqm_closed_cell {
	char name[AQM_CELL_NAME_MAX];
	struct aqm_scenario scenario; /* owned */
	bool trained;                 /* the policy's training pool has it */
};

struct aqm_closed_plan {
	const struct aqm_closed_options *options;
	char name[AQM_SIM_NAME_MAX];
	struct aqm_closed_cell *cells; /* owned */
	size_t cell_count;
	struct aqm_arm *arms; /* owned; trivial ones first, those of the policy last */
	size_t arm_count;
	char program[65]; /* SHA-256 of what simulates; "" where the system does not tell */
	size_t baseline; /* the arm that differences are taken from */
	size_t utility;
	const char *utility_name, *utility_help;
	char *policy_path; /* owned; NULL: no policy */
	char policy_digest[65];
	enum aqm_control control;
	double own_target;
	bool on_gpu;   /* the policy: simulations then go one by one, unless threads are given */
	bool measures; /* an arm wants the measured delay */
	struct aqm_decision_time decision;
	bool knows_cells;                         /* whether `trained` of cells means anything */
	size_t seen_seeds;                        /* seeds with which the training pool has a cell that is here */
	const struct aqm_closed_results *results; /* not owned */
	size_t *runs; /* owned: by aqm_closed_place() the place in `results`, or SIZE_MAX: still to do */
};

/* ---- closed_plan.c ---- */

/* All but the runs and what a decision takes. */
int aqm_closed_plan_init(struct aqm_closed_plan *plan, const struct aqm_closed_options *options);
void aqm_closed_plan_release(struct aqm_closed_plan *plan);
static inline size_t aqm_closed_place(const struct aqm_closed_plan *plan, size_t cell, size_t seed, size_t arm)
{
	return (cell * plan->options->seed_count + seed) * plan->arm_count + arm;
}
/* The discipline in which an arm decides: dualpi2, but freebsd-l4s of policies of packets, unless one is given. */
const char *aqm_closed_host(const struct aqm_closed_plan *plan, const struct aqm_arm *arm);
/* Whether an arm is what the evaluation is about: a policy, or a student of one. */
static inline bool aqm_closed_learned(const struct aqm_arm *arm)
{
	return arm->kind == AQM_ARM_POLICY || arm->kind == AQM_ARM_GUEST;
}
/* The scenario of a simulation, to be released. */
int aqm_closed_scenario(const struct aqm_closed_plan *plan, size_t cell, size_t seed, const struct aqm_arm *arm,
                        struct aqm_scenario *scenario);
int aqm_closed_key(const struct aqm_closed_plan *plan, const struct aqm_scenario *scenario, const struct aqm_arm *arm,
                   char key[AQM_CLOSED_KEY]);
/* The first arm of a name or label. AQM_EUSAGE: none. */
int aqm_closed_find(const struct aqm_closed_plan *plan, const char *name, size_t *arm);

/* ---- closed_lines.c ---- */

/* The line of a finished simulation; owned by the caller, without its end. `series`: with one. */
int aqm_closed_line(const struct aqm_closed_plan *plan, const char *key, size_t cell, size_t seed,
                    const struct aqm_arm *arm, const struct aqm_sim_result *result, double returned, bool series,
                    char **line);
/* The whole lines of a file's contents, behind what is there; *whole: bytes up to the end of the last. AQM_EDATA with
 * `name` and the line. Input is untrusted. */
int aqm_closed_results_parse(struct aqm_closed_results *results, const char *name, const char *data, size_t bytes,
                             const char *utility, size_t *whole);

/* results.jsonl, open for appending and locked. */
struct aqm_closed_file {
	FILE *stream;
	char *path; /* owned */
};
/* Opens or makes it, cuts off a line that a crash left unfinished, and reads the rest. */
int aqm_closed_file_open(struct aqm_closed_file *file, const char *folder, const char *utility,
                         struct aqm_closed_results *results);
void aqm_closed_file_close(struct aqm_closed_file *file);
/* Append and take in; the line is as the two functions that make one leave it. */
int aqm_closed_file_append(struct aqm_closed_file *file, const char *line, const char *utility,
                           struct aqm_closed_results *results);
int aqm_closed_time_line(const struct aqm_decision_time *time, char **line);

/* ---- closed_run.c ---- */

/* All ranks: simulate what the plan lacks, in parallel, a line a simulation. File and results are rank 0's, and empty
 * elsewhere. AQM_EINTERRUPTED: what is done is in the file. */
int aqm_closed_simulate(struct aqm_closed_plan *plan, struct aqm_closed_file *file, struct aqm_closed_results *results);

/* ---- sanity.c ---- */

/* Decisions that no one would want. `share`: of the packets that are dropped at random; 0: every packet goes in. */
struct aqm_sanity;
int aqm_sanity_new(struct aqm_sanity **out, struct aqm_sim_hook *hook, double share, uint64_t seed);
void aqm_sanity_free(struct aqm_sanity *sanity);

/* ---- confidence.c ---- */

struct aqm_estimate {
	double mean, half; /* of the interval of 95 %; half is NAN of fewer than two values */
	size_t count;      /* values: those that are finite */
};
/* Student's t: mean +- t s / sqrt(n), s^2 = sum (x - mean)^2 / (n - 1). */
struct aqm_estimate aqm_estimate(const double *values, size_t count);
/* The t that a Student variable stays within, above and below 0, with probability `level`. */
double aqm_student_t(double level, size_t freedom);
/* Spearman's: Pearson's of the ranks, equal values sharing theirs; 0 where all are equal, NAN of fewer than two and
 * where one is NAN. */
double aqm_rank_correlation(const double *a, const double *b, size_t count);

/* ---- closed_summary.c ---- */

enum { AQM_ALL_CELLS = -1 };
/* A figure of an arm in a cell (of AQM_ALL_CELLS: each seed's mean over the cells), or its difference from another
 * arm's, paired by seed. */
struct aqm_estimate aqm_closed_figure(const struct aqm_closed_plan *plan, int64_t cell, size_t arm,
                                      enum aqm_figure figure);
struct aqm_estimate aqm_closed_difference(const struct aqm_closed_plan *plan, int64_t cell, size_t arm, size_t from,
                                          enum aqm_figure figure);
/* Rank correlation of asked and obtained over the arms of the policy that ask for a return: a value a cell and seed.
 * count 0: fewer than two targets. */
struct aqm_estimate aqm_closed_response(const struct aqm_closed_plan *plan, enum aqm_figure figure);
/* Mean difference from the baseline over the cells that are, or are not, in the training pool, each seed by itself. */
struct aqm_estimate aqm_closed_transfer(const struct aqm_closed_plan *plan, size_t arm, bool trained);
/* NAME.json */
json_t *aqm_closed_summary(const struct aqm_closed_plan *plan);

/* ---- closed_text.c ---- */

void aqm_closed_print(const struct aqm_closed_plan *plan, FILE *out);

#endif
