/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Offline evaluation: a policy's metrics on a pool, beside those of two baselines that know no past.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/eval.h"
#include "base/file.h"
#include "base/size.h"
#include "policy/policy.h"
#include "train/measure.h"

enum { TREE_DEPTH = 8 };

/* ---- the tree ---- */

/* The policy's features in the pool: columns[f] point into one block, freed by the caller. */
static int read_features(const aqm_pool *pool, const struct aqm_config *config, double **block,
                         const double *columns[AQM_FEATURES_MAX])
{
	int code;

	*block = aqm_policy_columns(config, pool, &code);
	for (size_t f = 0; *block && f < config->policy.features.count; f++)
		columns[f] = *block + f * aqm_pool_rows(pool);
	return code;
}

/* Grow the tree on the rows the policy was trained on: same features, same labels. */
static int grow_tree(aqm_tree **tree, const struct aqm_config *config)
{
	aqm_pool *pool = NULL;
	double *block = NULL;
	const double *columns[AQM_FEATURES_MAX];
	uint8_t *labels = NULL;
	int code = aqm_pool_open_for(&pool, config->pool.train, config->control);

	if (code != AQM_OK)
		return code;
	code = read_features(pool, config, &block, columns);
	if (code == AQM_OK) {
		labels = aqm_malloc_array(aqm_pool_rows(pool), sizeof *labels);
		code = labels ? aqm_pool_actions(pool, config->pool.labels, labels) : AQM_ERUN;
	}
	if (code == AQM_OK)
		code = aqm_tree_fit(tree, config->policy.features.count, aqm_pool_rows(pool), columns, labels, TREE_DEPTH);
	free(labels);
	free(block);
	aqm_pool_free(pool);
	return code;
}

/* predictions[rows] of the tree on the pool that is evaluated. */
static int apply_tree(const aqm_tree *tree, const struct aqm_config *config, const aqm_pool *pool, uint8_t *predictions)
{
	const size_t rows = aqm_pool_rows(pool), features = config->policy.features.count;
	double *block, row[AQM_FEATURES_MAX];
	const double *columns[AQM_FEATURES_MAX];
	int code = read_features(pool, config, &block, columns);

	for (size_t i = 0; code == AQM_OK && i < rows; i++) {
		for (size_t f = 0; f < features; f++)
			row[f] = columns[f][i];
		predictions[i] = aqm_tree_predict(tree, row);
	}
	free(block);
	return code;
}

static void evaluate_tree(struct aqm_eval_result *result, const struct aqm_config *config, const struct aqm_rows *rows,
                          uint8_t *predictions)
{
	aqm_tree *tree = NULL;
	int code = grow_tree(&tree, config);

	if (code == AQM_OK)
		code = apply_tree(tree, config, rows->pool, predictions);
	result->tree_available = code == AQM_OK;
	if (code == AQM_OK)
		aqm_metrics_compute(&result->tree, rows->rows, rows->actions, NULL, predictions);
	else
		snprintf(result->note, sizeof result->note, "no decision tree: %s", aqm_error_message());
	aqm_tree_free(tree);
}

/* ---- the policy, and the majority or persistence ---- */

static int evaluate_policy(struct aqm_eval_result *result, aqm_policy *policy, const struct aqm_rows *rows)
{
	float *logits = aqm_malloc_array(rows->rows, (size_t)aqm_policy_outputs(policy) * sizeof *logits);
	struct aqm_measure measure;
	int code = logits ? aqm_policy_allocate(policy, aqm_policy_config(policy)->train.windows) : AQM_ERUN;

	if (code == AQM_OK)
		code = (result->options->decisions ? aqm_policy_decide_rows : aqm_policy_score)(policy, rows,
		                                                                                result->target_return, logits);
	if (code == AQM_OK)
		code = aqm_measure_policy(&measure, policy, rows, logits);
	free(logits);
	if (code != AQM_OK)
		return code;
	result->policy = measure.packet;
	result->update = measure.update;
	code = aqm_measure_trivial(&measure, aqm_policy_config(policy), aqm_policy_fit(policy), rows);
	result->majority = measure.packet;
	result->persistence = measure.update;
	result->commonest = aqm_commonest_action(aqm_policy_fit(policy));
	return code;
}

/* ---- both ---- */

/* The run's folder stands for its best policy; RUN/policy.h5 is the last one. */
static int load_policy(aqm_policy **policy, const struct aqm_eval_options *options)
{
	char *last = options->last ? aqm_path_join(options->run_path, "policy.h5") : NULL;

	if (options->last && !last)
		return AQM_ERUN;
	int code = aqm_policy_load(policy, last ? last : options->run_path, options->base_path, options->device);
	free(last);
	return code;
}

static int was_trained_on(const struct aqm_config *config, const aqm_pool *pool)
{
	aqm_pool *train = NULL;

	if (aqm_pool_open_for(&train, config->pool.train, config->control) != AQM_OK)
		return -1;
	bool shares = aqm_pool_shares_rows(train, pool);
	aqm_pool_free(train);
	return shares;
}

int aqm_eval_pool(struct aqm_eval_result *result, const struct aqm_eval_options *options)
{
	aqm_policy *policy = NULL;
	aqm_pool *pool = NULL;
	struct aqm_rows rows = {0};
	uint8_t *predictions = NULL;

	*result = (struct aqm_eval_result){.options = options, .target_return = (double)NAN};
	int code = load_policy(&policy, options);
	if (code != AQM_OK)
		goto done;
	result->control = aqm_policy_config(policy)->control;
	if (options->decisions)
		aqm_policy_set_arithmetic(policy, options->arithmetic);
	if ((code = aqm_pool_open_for(&pool, options->pool_path, result->control)) != AQM_OK)
		goto done;
	snprintf(result->pool_digest, sizeof result->pool_digest, "%s", aqm_pool_digest(pool));
	if (options->target_returns)
		result->target_return = aqm_policy_target(policy);
	if ((code = aqm_rows_init(&rows, pool, aqm_policy_config(policy), aqm_policy_fit(policy))) != AQM_OK)
		goto done;
	predictions = aqm_malloc_array(rows.rows, sizeof *predictions);
	if (!predictions) {
		code = AQM_ERUN;
		goto done;
	}
	result->trained_on = was_trained_on(aqm_policy_config(policy), pool);
	if ((code = evaluate_policy(result, policy, &rows)) == AQM_OK && result->control == AQM_CONTROL_PACKET)
		evaluate_tree(result, aqm_policy_config(policy), &rows, predictions);
done:
	free(predictions);
	aqm_rows_release(&rows);
	aqm_pool_free(pool);
	aqm_policy_free(policy);
	return code;
}
