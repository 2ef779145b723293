/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Logits of every row of a pool as a stream of decisions comes to them, one after the other: what aqm_policy_score gives
 * by whole windows, in the arithmetic that decisions have.
 */
#include <stdlib.h>

#include "base/progress.h"
#include "base/thread.h"
#include "policy/decider.h"

/* What was done in a row, and its reward as the pool has it. */
static int tell(aqm_decider *decider, const struct aqm_rows *rows, size_t row)
{
	const struct aqm_fit *fit = aqm_policy_fit(decider->policy);
	double reward = fit->rewards.low + fit->rewards.width * (double)rows->rewards[row];
	int32_t action = rows->actions[row];

	if (rows->next_level)
		return aqm_decider_happened(
			decider, 0, (float)(((double)rows->next_level[row] - fit->levels.mean) / fit->levels.scale), reward);
	return aqm_decider_happened(decider, action, aqm_action_value(action), reward);
}

int aqm_policy_decide_rows(aqm_policy *policy, const struct aqm_rows *rows, double target_return, float *logits)
{
	const struct aqm_strings *features = &policy->config.policy.features;
	struct aqm_progress progress;
	double now[AQM_FEATURES_MAX];
	aqm_decider *decider = NULL;
	int code;
	double *columns = aqm_policy_columns(&policy->config, rows->pool, &code);

	if (code == AQM_OK)
		code = aqm_decider_new(&decider, policy, target_return);
	aqm_progress_start(&progress, "deciding", rows->rows, 0);
	for (size_t i = 0; code == AQM_OK && i < rows->rows; i++) {
		if (aqm_interrupted()) {
			code = aqm_error_set(AQM_EINTERRUPTED, "interrupted while deciding the rows of '%s'",
			                     aqm_pool_path(rows->pool));
			break;
		}
		if (rows->episode_start[i] == i)
			aqm_decider_reset(decider);
		for (size_t f = 0; f < features->count; f++)
			now[f] = columns[f * rows->rows + i];
		code = aqm_decider_outputs(decider, now, logits + i * (size_t)aqm_policy_outputs(policy));
		if (code == AQM_OK)
			code = tell(decider, rows, i);
		aqm_progress_update(&progress, i + 1);
	}
	aqm_progress_end(&progress);
	aqm_decider_free(decider);
	free(columns);
	return code;
}
