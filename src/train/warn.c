/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Settings that a sound training would not have. They are there so that the set-up of the paper can be repeated as it was
 * published; whoever chooses one is told once what is wrong with it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/size.h"
#include "train/trainer.h"

typedef bool setting(const struct aqm_trainer *t);

static bool raw_features(const struct aqm_trainer *t)
{
	return t->config->policy.normaliser == AQM_NORMALISER_NONE;
}

static bool whole_episode(const struct aqm_trainer *t)
{
	return t->config->reward.gamma >= 1 && t->config->reward.horizon == 0;
}

static bool min_max(const struct aqm_trainer *t)
{
	return t->config->reward.normalise == AQM_REWARDS_MIN_MAX;
}

static bool time_by_row(const struct aqm_trainer *t)
{
	return t->config->policy.time_embedding == AQM_TIME_EPISODE;
}

static bool actions_on_a_line(const struct aqm_trainer *t)
{
	return t->config->control == AQM_CONTROL_PACKET && t->config->policy.action_embedding == AQM_ACTION_LINEAR;
}

static bool fixed_windows(const struct aqm_trainer *t)
{
	return t->config->train.sampler == AQM_SAMPLER_TILES;
}

static bool clipped_each(const struct aqm_trainer *t)
{
	return t->config->train.clip_each && t->config->train.windows > 1;
}

static bool always_warming_up(const struct aqm_trainer *t)
{
	return t->config->train.warmup > (double)t->steps;
}

static bool nothing_picked(const struct aqm_trainer *t)
{
	return t->config->train.best == AQM_BEST_LAST;
}

static bool not_held_out(const struct aqm_trainer *t)
{
	return t->eval.pool && aqm_pool_shares_rows(t->train.pool, t->eval.pool);
}

static bool labels_of_updates(const struct aqm_trainer *t)
{
	return t->config->control == AQM_CONTROL_UPDATE && t->config->pool.labels != AQM_LABELS_EFFECTIVE;
}

static const struct {
	setting *chosen;
	const char *what;
} doubts[] = {
	{not_held_out,
     "'pool.eval' and 'pool.train' share rows: figures called held out are of rows that were trained on"},
	{labels_of_updates, "'pool.labels' says which action of a packet counts: with 'control: update' it says nothing"},
	{raw_features,
     "'policy.normaliser: none': of features as large as 10^10 the norm behind the encoder leaves only whether "
     "they are 0"},
	{whole_episode,
     "'reward.gamma: 1' over whole episodes: a return tells how many rows are left rather than how good an "
     "action is"},
	{min_max,
     "'reward.normalise: min-max': the two most extreme rewards decide how large all returns are, and none is below 0"},
	{time_by_row,
     "'policy.time_embedding: episode': what is learned about a row hangs on its place in the pool, which says "
     "nothing elsewhere"},
	{actions_on_a_line, "'policy.action_embedding: linear' puts a drop halfway between an enqueue and a mark"},
	{fixed_windows,
     "'train.sampler: tiles': the same windows in every epoch; the last rows of an episode are never seen"},
	{clipped_each,
     "'train.clip_each': how much a window counts hangs on its place in the step, and one after the other is slow"},
	{nothing_picked, "'train.best: last': best/ is the last epoch, however the held-out rows fare"},
};

/* Drops of the log that were enqueued in fact, which 'pool.labels: logged' calls drops. */
static void warn_of_phantoms(const struct aqm_trainer *t)
{
	size_t rows = t->train.rows.rows, logged = 0, phantoms = 0;
	uint8_t *effective = aqm_malloc_array(rows, sizeof *effective);

	if (!effective || aqm_pool_actions(t->train.pool, AQM_LABELS_EFFECTIVE, effective) != AQM_OK) {
		free(effective);
		return; /* a pool that does not know */
	}
	for (size_t i = 0; i < rows; i++) {
		logged += t->train.rows.actions[i] == AQM_DROP;
		phantoms += t->train.rows.actions[i] == AQM_DROP && effective[i] == AQM_ENQUEUE;
	}
	free(effective);
	if (phantoms > 0)
		aqm_log_warning(
			"'pool.labels: logged': %zu of %zu logged drops were enqueued in fact; they are learned as drops", phantoms,
			logged);
}

void aqm_trainer_warn(const struct aqm_trainer *t)
{
	for (size_t i = 0; i < sizeof doubts / sizeof *doubts; i++)
		if (doubts[i].chosen(t))
			aqm_log_warning("%s", doubts[i].what);
	if (always_warming_up(t))
		aqm_log_warning("'train.warmup' is %.0f steps, but there are only %" PRIu64
		                ": the learning rate ends at %.3g instead of reaching %g",
		                t->config->train.warmup, t->steps,
		                t->config->train.lr * (double)t->steps / t->config->train.warmup, t->config->train.lr);
	if (t->config->control == AQM_CONTROL_PACKET && t->config->pool.labels == AQM_LABELS_LOGGED)
		warn_of_phantoms(t);
}
