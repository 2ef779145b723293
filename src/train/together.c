/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Several ranks at one training: what they must have in common, and how they come to it. Only rank 0 reads and writes the
 * run; bases and pools are opened by each.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/size.h"
#include "train/trainer.h"

int aqm_together_check(const struct aqm_trainer *t)
{
	int size = aqm_ranks_size(t->ranks);

	if (size == 1)
		return AQM_OK;
	if (t->config->train.clip_each)
		return aqm_error_set(AQM_EUSAGE, "'train.clip_each' takes one window after the other, which %d ranks cannot share",
		                     size);
	if (t->config->train.windows < size)
		return aqm_error_set(AQM_EUSAGE, "'train.windows' is %" PRId64 ", too few for %d ranks; expected one each at least",
		                     t->config->train.windows, size);
	return AQM_OK;
}

int aqm_together_compare(struct aqm_trainer *t, const struct aqm_train_state *state)
{
	const struct {
		const char *what, *text;
	} same[] = {
		{"the version of aqmtrain", AQM_VERSION},
		{"the configuration's digest", state->config},
		{"the SHA-256 of 'model.path'", state->base},
		{"the SHA-256 of 'pool.train'", state->train_pool},
		{"the SHA-256 of 'pool.eval'", state->eval_pool},
		{"the layout of the parameters", state->layout},
	};
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < sizeof same / sizeof *same; i++)
		code = aqm_ranks_same(t->ranks, same[i].what, same[i].text);
	return code;
}

/* `count` floats of device memory, rank 0's on all. */
static int share_block(struct aqm_trainer *t, float *values, size_t count)
{
	enum { AT_ONCE = 1 << 22 };
	aqm_device *device = aqm_policy_device(t->policy);
	float *host = aqm_malloc_array(count < AT_ONCE ? count : AT_ONCE, sizeof *host);
	int code = aqm_ranks_agree(t->ranks, host ? AQM_OK : AQM_ERUN);

	for (size_t i = 0; code == AQM_OK && i < count; i += AT_ONCE) {
		size_t bytes = (count - i < AT_ONCE ? count - i : AT_ONCE) * sizeof *host;

		device->ops->download(device, host, values + i, bytes);
		code = aqm_ranks_broadcast(t->ranks, host, bytes);
		device->ops->upload(device, values + i, host, bytes);
	}
	free(host);
	return code;
}

int aqm_together_restore(struct aqm_trainer *t, bool *found)
{
	size_t floats = aqm_policy_params(t->policy)->floats;

	if (aqm_ranks_size(t->ranks) == 1)
		return AQM_OK;
	int code = aqm_ranks_broadcast(t->ranks, found, sizeof *found);

	if (code == AQM_OK)
		code = aqm_ranks_broadcast(t->ranks, &t->run.exists, sizeof t->run.exists);
	if (code == AQM_OK && *found)
		code = aqm_ranks_broadcast(t->ranks, &t->state, sizeof t->state);
	if (code == AQM_OK && *found)
		code = share_block(t, t->optimizer.m, floats);
	if (code == AQM_OK && *found)
		code = share_block(t, t->optimizer.v, floats);
	return code;
}

int aqm_together_begin(struct aqm_trainer *t)
{
	struct aqm_params *params = aqm_policy_params(t->policy);

	if (aqm_ranks_size(t->ranks) == 1)
		return AQM_OK;
	aqm_log_info("%d ranks, each with about %" PRId64 " of a step's %" PRId64 " windows", aqm_ranks_size(t->ranks),
	             aqm_trainer_batch(t), t->config->train.windows);
	int code = share_block(t, params->values, params->floats);
	aqm_params_touch(params);
	return code;
}
