/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Evaluation of a trained policy: offline on a pool, in the closed loop of the simulator, and by replay as the paper
 * did it; each with its trivial baselines beside it.
 */
#ifndef AQMTRAIN_EVAL_H
#define AQMTRAIN_EVAL_H

#include "aqmtrain/sim.h"
#include "aqmtrain/train.h"

struct aqm_eval_options {
	const char *run_path;
	const char *pool_path;
	const char *base_path;   /* NULL: as the run says */
	bool last;               /* the last parameters instead of best/ */
	bool target_returns;     /* condition on the policy's target return, as decisions do, not the logged returns */
	bool decisions;          /* row after row as a queue has them, with target_returns; */
	enum aqm_arithmetic arithmetic; /* and in this arithmetic, whatever the run's is */
	enum aqm_device_kind device;
	const char *command;     /* for the record; may be NULL */
};

struct aqm_eval_result {
	const struct aqm_eval_options *options; /* what was evaluated: not owned */
	char pool_digest[65];
	enum aqm_control control;
	/* control: update */
	struct aqm_update_metrics update;      /* of the policy */
	struct aqm_update_metrics persistence; /* of p' unchanged */
	/* control: packet */
	struct aqm_metrics policy;
	struct aqm_metrics majority;  /* always the commonest action of the training rows */
	enum aqm_action commonest;    /* that action */
	struct aqm_metrics tree;      /* a decision tree of depth 8 on the run's training rows, same features */
	bool tree_available;          /* the training pool could be read */
	char note[256];               /* why not, or "" */
	int trained_on;               /* 1: these rows, or some of them, are training rows; 0: none; -1: the training pool is gone */
	double target_return;         /* what the windows were conditioned on, in reward units; NAN: the logged returns */
};
/* Score the policy of a run (its best, or its last; a policy file's path will do) on every row of a pool. 0;
 * AQM_EDATA for an unusable run or pool; AQM_EINTERRUPTED. A training pool that cannot be read any more is no error:
 * the tree is then missing, with a note. */
int aqm_eval_pool(struct aqm_eval_result *result, const struct aqm_eval_options *options);
/* Text for people, or JSON; owned by the caller. */
int aqm_eval_format(const struct aqm_eval_result *result, bool json, char **text);

/* ---- closed loop ---- */

/* The policy in the simulator, beside disciplines on the same seeds. Into a folder:
 *
 *   results.jsonl   a line a finished simulation, appended at once:
 *     {"key":"..","kind":"simulation","version","program","command","cell","scenario","seconds","seed","aqm":label,
 *      "wall_s","figures":{"utilisation":..,"delay_ms.L.p99":.., names as aqm_figure_name(); null where there is none},
 *      "utilities":{"balanced":.., all named ones},"cdf":{"L":[AQM_CDF_POINTS ms],"C":[..]},
 *      "series":{"t":[s],"delay_L_ms","delay_C_ms","rate_mbps","probability"}   of the first seed only}
 *     {"key","kind":"delay","program","policy":SHA-256,"mean","p50","p99","decisions"}    what a decision took, ms
 *   NAME.json       the summary; NAME is the scenario's or the grid's
 *     {"kind":"closed-loop","version","program","command","name","seeds":[],"control","baseline",
 *      "confidence":{"level","method"},"utility":{"name","definition"},
 *      "policy":{"path","sha256","control","target_return"}|null,
 *      "decision_delay_ms":{"mean","p50","p99","decisions"}|null,
 *      "cells":[{"name","scenario","seconds","trained":bool|null,"aqms":[A]}],"overall":{"aqms":[A]},
 *      "sweep":[{"aqm","target_return","return":F,"utility":F,"utilisation":F,"delay_ms":{..}}],
 *      "rank_correlation":{"return":F,"utility":F},
 *      "generalisation":{"trained":[],"policies":[{"aqm","inside":F,"outside":F,"cells":[{"name","trained","utility":F,
 *                                                                                        "difference":F}]}]}}
 *     A = {"name","label","policy":bool,"trivial":bool,"every":"update"|N|null,"decision_delay_ms","target_return",
 *          "context_windows","seeds":N, figures, nested by the dots in their names: F,"difference":{figures: F},
 *          "cdf":{"L":[[ms,share]],"C"},"series"}
 *     F = {"mean","low","high","n"} or null; low and high bound the mean with 95 % confidence (Student's t over seeds).
 *
 * "program" is the SHA-256 of the program: another build finds nothing of what an earlier one simulated, so that two
 * are never mixed. A discipline with one queue has the same figures under L and under C. */

enum aqm_figure {
	AQM_FIGURE_UTILISATION,
	AQM_FIGURE_GOODPUT, /* Mb/s, of lasting flows together */
	AQM_FIGURE_RATIO,   /* L4S to classic, mean goodput of a flow */
	AQM_FIGURE_JAIN,
	AQM_FIGURE_L_MEAN,  /* delays: ms */
	AQM_FIGURE_L_P50,
	AQM_FIGURE_L_P95,
	AQM_FIGURE_L_P99,
	AQM_FIGURE_C_MEAN,
	AQM_FIGURE_C_P50,
	AQM_FIGURE_C_P95,
	AQM_FIGURE_C_P99,
	AQM_FIGURE_L_MARK,
	AQM_FIGURE_C_MARK,
	AQM_FIGURE_L_DROP,
	AQM_FIGURE_C_DROP,
	AQM_FIGURE_FCT_MEAN, /* s, of short flows */
	AQM_FIGURE_FCT_P50,
	AQM_FIGURE_FCT_P95,
	AQM_FIGURE_FCT_P99,
	AQM_FIGURE_RETURN,   /* mean return-to-go that the policy obtained */
	AQM_FIGURE_ASKED,    /* decisions of the policy, and how many differed from the rules' */
	AQM_FIGURE_DIFFERED,
	AQM_FIGURE_UTILITY,
	AQM_FIGURES
};
/* "delay_ms.L.p99" */
const char *aqm_figure_name(enum aqm_figure figure);

enum { AQM_CLOSED_KEY = 33, AQM_ARM_LABEL_MAX = 192, AQM_SERIES_MAX = 400 };

/* Whatever else decides in a discipline's place (a student), brought by the caller. */
struct aqm_closed_guest {
	const char *name;   /* in `aqms`, and its label: "student:FILE" */
	const char *digest; /* of all that decides what it does */
	const char *host;   /* the discipline; NULL: dualpi2 */
	void *context;
	/* Make one for a simulation, and free it; several threads do so at once. */
	int (*open)(void *context, struct aqm_sim_hook *hook, void **instance);
	void (*close)(void *instance);
};

struct aqm_closed_options {
	const char *run_path;  /* NULL: disciplines only */
	const char *base_path; /* NULL: as the run says */
	bool last;
	enum aqm_device_kind device;
	const char *scenario_path, *grid_path; /* one of them */
	const char *const *assignments;        /* over the scenario or the grid */
	size_t assignment_count;
	const uint64_t *seeds;
	size_t seed_count;
	const char *const *aqms; /* disciplines, "enqueue", "random:0.1", "policy"; NULL: the usual ones */
	size_t aqm_count;
	const struct aqm_closed_guest *guests;
	size_t guest_count;
	const int64_t *every; /* packets, 0 = update intervals; NULL: what the policy's control can */
	size_t every_count;
	const double *delays; /* ms; negative: as measured; NULL: none, and as measured */
	size_t delay_count;
	const double *targets; /* returns asked for; NULL: the policy's own */
	size_t target_count;
	bool target_quantiles; /* targets are quantiles of the training returns, 0 to 1 */
	const int64_t *contexts; /* windows of the new network's log to begin with; NULL: none */
	size_t context_count;
	const char *host;     /* the discipline that the policy decides in; NULL: dualpi2, of packets freebsd-l4s */
	const char *baseline; /* NULL: dualpi2, else the first */
	const char *utility;  /* NULL: the first of aqm_utility_name() */
	const char *const *trained; /* cells of the training, by name; NULL: as the training pool says */
	size_t trained_count;
	const char *folder;  /* NULL: RUN/closed-loop */
	const char *command; /* for the record */
	int threads;         /* simulations at once, of each rank; 0 = one a core */
	struct aqm_ranks *ranks; /* that simulate together, each with these options; NULL: alone */
	bool json;
};
/* Simulate what the folder does not hold yet, write the summary, and give it as text (NULL on all ranks but the first,
 * which alone touches the folder). The result does not depend on the number of threads or ranks. AQM_EINTERRUPTED: the same call goes on from there. */
int aqm_closed_loop(const struct aqm_closed_options *options, char **text);

/* A line of results.jsonl. */
struct aqm_closed_run {
	char key[AQM_CLOSED_KEY];
	char *cell, *aqm; /* owned */
	uint64_t seed;
	char program[65]; /* SHA-256 of what simulated it; "": not known */
	double figures[AQM_FIGURES]; /* NAN: none. Utility: the one that was asked for */
	double cdf[2][AQM_CDF_POINTS]; /* of the L queue, of the C queue; ms at aqm_cdf_share() */
	size_t points;
	double *series[5]; /* owned: t (s), delay of L and C (ms), Mb/s, p'; NULL without points */
};
/* What a decision of a policy took, on one thread. */
struct aqm_decision_time {
	char policy[65], program[65]; /* SHA-256 of its file, and of what measured */
	double mean, p50, p99; /* ms */
	uint64_t decisions;
};
struct aqm_closed_results {
	struct aqm_closed_run *runs; /* owned, in the order of the file */
	size_t count, capacity;
	struct aqm_decision_time *times; /* owned */
	size_t time_count;
};
/* Read a folder's results.jsonl; `utility` may be NULL. A last line that is not whole is left out. AQM_EDATA. */
int aqm_closed_loop_load(const char *folder, const char *utility, struct aqm_closed_results *results);
void aqm_closed_results_release(struct aqm_closed_results *results);

/* ---- the paper's replay ---- */

/* Walk over the rows of a pool as the paper's authors did (src/eval/replay.c says how), with the figures that show what
 * is wrong with it. */
enum { AQM_REPLAY_STEPS = 3600 }; /* the paper's */

struct aqm_replay_options {
	const char *policy_path, *base_path, *pool_path;
	enum aqm_device_kind device;
	int64_t interval; /* the policy has an effect once in so many steps: 10, 100 */
	size_t steps;     /* 0: the paper's */
};

/* Whose action picks the rows. */
enum aqm_replay_who {
	AQM_REPLAY_ORIGINAL, /* no walk: the rows as they were logged */
	AQM_REPLAY_POLICY,
	AQM_REPLAY_LOGGED,   /* no policy: each row's own action */
	AQM_REPLAY_ENQUEUE,  /* no policy: always enqueue */
	AQM_REPLAY_WALKS
};

struct aqm_replay_quantiles {
	double min, p25, median, p75, p90, p95, p99, max, mean;
};

struct aqm_replay_walk {
	size_t steps;        /* rows that were noted */
	size_t stuck;        /* steps that had no row to go to, and were not noted */
	size_t repeated;     /* rows that say the same as the one before */
	size_t distinct;     /* rows that say different things */
	size_t period;       /* by which most rows of the second half repeat */
	double period_share; /* how many of them */
	double *delay_ms, *throughput; /* owned: by step */
	struct aqm_replay_quantiles delay;     /* ms */
	struct aqm_replay_quantiles bandwidth; /* "throughput" by the authors' formula, with their 1034 for 1024 */
};

struct aqm_replay_result {
	int64_t interval;
	size_t rows; /* of the pool */
	char pool_digest[65];
	double true_mbps; /* what the logged rows carried, by their clock; NAN: they have none */
	struct aqm_replay_walk walks[AQM_REPLAY_WALKS];
};
/* 0; AQM_EDATA; AQM_EUSAGE for a policy of update intervals; AQM_EINTERRUPTED. Release what it leaves. */
int aqm_replay(const struct aqm_replay_options *options, struct aqm_replay_result *result);
void aqm_replay_release(struct aqm_replay_result *result);
/* Text for people, or JSON: {"kind":"replay","version","command","policy","pool":{"path","sha256"},"interval","rows",
 * "repeated_share","distinct","period","period_share","true_mbps", and "logged", "policy", "no_policy" (each row's own
 * action), "enqueue":{"steps","stuck","repeated_share","seen_before_share","distinct","period","period_share",
 *  "quantiles":{..},"delay_ms":[..],"throughput":[..],"bandwidth":{"authors":{..},"corrected":{..}},
 *  "cdf":[[ms,share]..]}}; owned by the caller. */
int aqm_replay_format(const struct aqm_replay_result *result, const struct aqm_replay_options *options,
                      const char *command, bool json, char **text);

/* ---- decision tree (CART, Gini), the baseline ---- */

typedef struct aqm_tree aqm_tree;
/* columns[features][rows] */
int aqm_tree_fit(aqm_tree **out, size_t features, size_t rows, const double *const *columns, const uint8_t *labels,
                 unsigned max_depth);
uint8_t aqm_tree_predict(const aqm_tree *tree, const double *features);
size_t aqm_tree_nodes(const aqm_tree *tree);
/* The root is node 0; children lie behind their parents. */
struct aqm_tree_node {
	size_t feature;
	double threshold;           /* x[feature] <= threshold goes to `left`, else to left + 1 */
	size_t left;                /* 0: a leaf */
	uint8_t label;              /* the commonest class */
	size_t counts[AQM_ACTIONS]; /* of the rows it grew on */
};
struct aqm_tree_node aqm_tree_node(const aqm_tree *tree, size_t index);
void aqm_tree_free(aqm_tree *tree);

#endif
