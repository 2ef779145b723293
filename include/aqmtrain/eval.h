/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Offline evaluation of a trained policy on a pool, with the trivial baselines beside it.
 */
#ifndef AQMTRAIN_EVAL_H
#define AQMTRAIN_EVAL_H

#include "aqmtrain/train.h"

struct aqm_eval_options {
	const char *run_path;
	const char *pool_path;
	const char *base_path;   /* NULL: as the run says */
	bool last;               /* the last parameters instead of best/ */
	bool target_returns;     /* condition on the policy's target return, as decisions do, not the logged returns */
	enum aqm_device_kind device;
};

struct aqm_eval_result {
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
	double target_return;         /* what the windows were conditioned on, in reward units; NAN: the logged returns */
};
/* Score the policy of a run (its best, or its last; a policy file's path will do) on every row of a pool. 0;
 * AQM_EDATA for an unusable run or pool; AQM_EINTERRUPTED. A training pool that cannot be read any more is no error:
 * the tree is then missing, with a note. */
int aqm_eval_pool(struct aqm_eval_result *result, const struct aqm_eval_options *options);
/* Text for people, or the JSON of design/cli.md; owned by the caller. */
int aqm_eval_format(const struct aqm_eval_result *result, bool json, char **text);

/* ---- decision tree (CART, Gini), the baseline ---- */

typedef struct aqm_tree aqm_tree;
/* columns[features][rows] */
int aqm_tree_fit(aqm_tree **out, size_t features, size_t rows, const double *const *columns, const uint8_t *labels,
                 unsigned max_depth);
uint8_t aqm_tree_predict(const aqm_tree *tree, const double *features);
size_t aqm_tree_nodes(const aqm_tree *tree);
void aqm_tree_free(aqm_tree *tree);

#endif
