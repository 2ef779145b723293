/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Logits of every row of a pool, by evaluation windows: what a stream of decisions would have seen.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/thread.h"
#include "policy/internal.h"
#include "ranks/ranks.h"

/* Replace the logged returns of the batch by a target and what is left of it after each reward. */
static void aim(aqm_policy *policy, const struct aqm_rows *rows, const struct aqm_window *windows, int64_t count,
                double target)
{
	int64_t w = policy->encoder.window;
	double gamma = policy->config.reward.gamma;

	for (int64_t b = 0; b < count; b++) {
		double left = target;

		for (int64_t t = 0; t < (int64_t)windows[b].length; t++) {
			policy->batch.returns[b * w + t] = aqm_policy_scale_return(policy, left);
			if (gamma > 0)
				left = (left - (double)rows->rewards[windows[b].start + (size_t)t]) / gamma;
		}
	}
}

/* Copy the scored rows of one batch of logits (B w, outputs) to their places. */
static void keep(const aqm_policy *policy, const struct aqm_window *windows, const size_t *score_from, int64_t count,
                 const float *from, float *logits)
{
	size_t w = (size_t)policy->encoder.window, outputs = (size_t)aqm_policy_outputs(policy);

	for (size_t b = 0; b < (size_t)count; b++) {
		size_t first = score_from[b], n = windows[b].length - first;

		memcpy(logits + (windows[b].start + first) * outputs, from + (b * w + first) * outputs,
		       n * outputs * sizeof(float));
	}
}

size_t aqm_policy_score_windows(const aqm_policy *policy, const struct aqm_rows *rows)
{
	return aqm_eval_windows(rows->pool, (size_t)policy->encoder.window, 0, NULL, NULL);
}

int aqm_policy_score_part(aqm_policy *policy, const struct aqm_rows *rows, double target_return, size_t first,
                          size_t count, float *logits)
{
	size_t total = aqm_policy_score_windows(policy, rows), end = count < total - first ? first + count : total;
	struct aqm_window *windows = aqm_malloc_array(total, sizeof *windows);
	size_t *score_from = aqm_malloc_array(total, sizeof *score_from);
	float *batch_logits =
		aqm_malloc_array((size_t)(policy->windows * policy->encoder.window * aqm_policy_outputs(policy)), sizeof(float));
	int code = windows && score_from && batch_logits ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK && policy->windows == 0)
		code = aqm_error_set(AQM_EUSAGE, "the policy has no buffers yet");
	if (code == AQM_OK)
		aqm_eval_windows(rows->pool, (size_t)policy->encoder.window, total, windows, score_from);
	for (size_t i = first; code == AQM_OK && i < end; i += (size_t)policy->windows) {
		int64_t batch = (int64_t)(end - i) < policy->windows ? (int64_t)(end - i) : policy->windows;

		if (aqm_interrupted()) {
			code = aqm_error_set(AQM_EINTERRUPTED, "interrupted while scoring '%s'", aqm_pool_path(rows->pool));
			break;
		}
		aqm_policy_fill(policy, rows, windows + i, score_from + i, batch);
		if (isfinite(target_return))
			aim(policy, rows, windows + i, batch, target_return);
		struct aqm_mat result = aqm_policy_forward(policy, false, 0);
		policy->device->ops->download(policy->device, batch_logits, result.data,
		                              (size_t)(result.rows * result.cols) * sizeof(float));
		keep(policy, windows + i, score_from + i, batch, batch_logits, logits);
		code = aqm_device_check(policy->device);
	}
	free(windows);
	free(score_from);
	free(batch_logits);
	return code;
}

int aqm_policy_score(aqm_policy *policy, const struct aqm_rows *rows, double target_return, float *logits)
{
	return aqm_policy_score_part(policy, rows, target_return, 0, SIZE_MAX, logits);
}

int aqm_policy_score_share(aqm_policy *policy, const struct aqm_rows *rows, double target_return, int rank, int size,
                           float *logits)
{
	size_t total = aqm_policy_score_windows(policy, rows);
	size_t first = aqm_ranks_share(total, rank, size), end = aqm_ranks_share(total, rank + 1, size);

	if (size > 1)
		memset(logits, 0, rows->rows * (size_t)aqm_policy_outputs(policy) * sizeof *logits);
	return aqm_policy_score_part(policy, rows, target_return, first, end - first, logits);
}
