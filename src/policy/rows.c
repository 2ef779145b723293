/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rows of a pool as the encoder reads them, and what is fitted on the training rows.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "policy/internal.h"

/* ---- fitting ---- */

/* A pool's column may lack values (NaN: a log without a clock); one such row would make every weight NaN. */
static int read_feature(const aqm_pool *pool, const char *name, double *column)
{
	int code = aqm_pool_column(pool, name, column);

	for (size_t i = 0; code == AQM_OK && i < aqm_pool_rows(pool); i++)
		if (!isfinite(column[i]))
			code =
				aqm_error_set(AQM_EDATA, "'%s' is %g in row %zu of '%s'; a feature needs a finite number in every row",
			                  name, column[i], i, aqm_pool_path(pool));
	return code;
}

double *aqm_policy_columns(const struct aqm_config *config, const aqm_pool *pool, int *code)
{
	size_t features = config->policy.features.count, rows = aqm_pool_rows(pool), cells;
	double *block = NULL;

	if (features == 0 || features > AQM_FEATURES_MAX)
		*code = aqm_error_set(AQM_EUSAGE, "policy.features names %zu features; from 1 to %d are possible", features,
		                      AQM_FEATURES_MAX);
	else if (rows == 0)
		*code = aqm_error_set(AQM_EDATA, "'%s' has no rows", aqm_pool_path(pool));
	else if (aqm_size_mul_overflows(features, rows, &cells) || !(block = aqm_malloc_array(cells, sizeof *block)))
		*code = AQM_ERUN;
	else
		*code = AQM_OK;
	for (size_t f = 0; *code == AQM_OK && f < features; f++)
		*code = read_feature(pool, config->policy.features.items[f], block + f * rows);
	if (*code == AQM_OK)
		return block;
	free(block);
	return NULL;
}

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* The range of the training rewards, for reward.normalise: min-max. One reward for all rows gives a width of 1. */
static struct aqm_reward_range fit_range(const float *rewards, size_t rows)
{
	double low = (double)rewards[0], high = low;

	for (size_t i = 1; i < rows; i++) {
		low = fmin(low, (double)rewards[i]);
		high = fmax(high, (double)rewards[i]);
	}
	return (struct aqm_reward_range){.low = low, .width = high > low ? high - low : 1.0};
}

/* rewards and returns of the training rows, the first in their range. */
static int fit_rewards(struct aqm_fit *fit, const struct aqm_config *config, const aqm_pool *pool, float *rewards,
                       float *returns)
{
	fit->rewards = (struct aqm_reward_range){.low = 0, .width = 1};
	int code = aqm_pool_returns(pool, config, NULL, rewards, returns);

	if (code != AQM_OK || config->reward.normalise != AQM_REWARDS_MIN_MAX)
		return code;
	fit->rewards = fit_range(rewards, aqm_pool_rows(pool));
	return aqm_pool_returns(pool, config, &fit->rewards, rewards, returns);
}

/* Mean, deviation and percentiles of the returns; sorts them. */
static void fit_returns(struct aqm_fit *fit, const struct aqm_config *config, float *returns, size_t rows)
{
	double sum = 0, squares = 0;

	for (size_t i = 0; i < rows; i++)
		sum += (double)returns[i];
	double mean = sum / (double)rows;
	for (size_t i = 0; i < rows; i++)
		squares += ((double)returns[i] - mean) * ((double)returns[i] - mean);
	double deviation = sqrt(squares / (double)rows);
	bool standard = config->reward.normalise == AQM_REWARDS_STANDARD;

	fit->return_mean = standard ? mean : 0.0;
	fit->return_scale = standard ? 1.0 : config->reward.scale;
	if (standard && deviation > 1e-12 * fabs(mean) && deviation > 0)
		fit->return_scale = deviation;

	qsort(returns, rows, sizeof *returns, compare_floats);
	for (int q = 0; q <= 100; q++) {
		double place = (double)q / 100.0 * (double)(rows - 1);
		size_t low = (size_t)place, high = low + 1 < rows ? low + 1 : low;

		fit->return_quantiles[q] =
			(double)returns[low] + (place - (double)low) * ((double)returns[high] - (double)returns[low]);
	}
}

/* Levels of p' of a pool of update intervals, and the directions in which they go. */
static int read_updates(const struct aqm_config *config, const aqm_pool *pool, float *level, float *next_level,
                        uint8_t *actions)
{
	int code = aqm_levels_read(config, pool, level, next_level);

	for (size_t i = 0; code == AQM_OK && i < aqm_pool_rows(pool); i++)
		actions[i] = aqm_level_direction(aqm_level_as_log(config, next_level[i]) - aqm_level_as_log(config, level[i]));
	return code;
}

static int fit_updates(struct aqm_fit *fit, const struct aqm_config *config, const aqm_pool *pool, uint8_t *actions)
{
	size_t rows = aqm_pool_rows(pool);
	float *level = aqm_malloc_array(rows, sizeof *level), *next_level = aqm_malloc_array(rows, sizeof *next_level);
	int code = level && next_level ? read_updates(config, pool, level, next_level, actions) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_levels_fit(&fit->levels, rows, level, next_level, (size_t)config->policy.bins);
	free(level);
	free(next_level);
	return code;
}

static int64_t longest_episode(const aqm_pool *pool)
{
	size_t longest = 0;

	for (size_t e = 0; e < aqm_pool_episodes(pool); e++) {
		size_t start, length;

		aqm_pool_episode(pool, e, &start, &length);
		longest = length > longest ? length : longest;
	}
	return (int64_t)longest;
}

int aqm_fit_rows(struct aqm_fit *fit, const struct aqm_config *config, const aqm_pool *pool)
{
	size_t rows = aqm_pool_rows(pool), features = config->policy.features.count, counts[AQM_ACTIONS] = {0};
	const double *columns[AQM_FEATURES_MAX];
	float *rewards = NULL, *returns = NULL;
	uint8_t *actions = NULL;
	int code;

	*fit = (struct aqm_fit){0};
	double *block = aqm_policy_columns(config, pool, &code);
	if (!block)
		return code;
	for (size_t f = 0; f < features; f++)
		columns[f] = block + f * rows;
	aqm_normaliser_fit(&fit->states, config->policy.normaliser, features, rows, columns);

	rewards = aqm_malloc_array(rows, sizeof *rewards);
	returns = aqm_malloc_array(rows, sizeof *returns);
	actions = aqm_malloc_array(rows, sizeof *actions);
	code = rewards && returns && actions ? fit_rewards(fit, config, pool, rewards, returns) : AQM_ERUN;
	if (code == AQM_OK)
		code = config->control == AQM_CONTROL_UPDATE ? fit_updates(fit, config, pool, actions)
		                                             : aqm_pool_actions(pool, config->pool.labels, actions);
	if (code == AQM_OK) {
		fit_returns(fit, config, returns, rows);
		fit->longest_episode = longest_episode(pool);
		for (size_t i = 0; i < rows; i++)
			counts[actions[i]]++;
		for (int a = 0; a < AQM_ACTIONS; a++)
			fit->class_share[a] = (double)counts[a] / (double)rows;
	}
	free(block);
	free(rewards);
	free(returns);
	free(actions);
	return code;
}

double aqm_policy_target(const aqm_policy *policy)
{
	double place = policy->config.decide.target_quantile * 100.0;
	int low = (int)place, high = low < 100 ? low + 1 : low;
	const double *quantiles = policy->fit.return_quantiles;

	return (quantiles[low] + (place - low) * (quantiles[high] - quantiles[low])) * policy->config.decide.target_factor;
}

/* ---- rows ---- */

static int normalise_states(struct aqm_rows *rows, const struct aqm_config *config, const struct aqm_fit *fit,
                            const double *block)
{
	size_t values = aqm_normaliser_values(fit->states.kind);

	for (size_t f = 0; f < rows->features; f++)
		for (size_t i = 0; i < rows->rows; i++) {
			float *out = rows->states + i * rows->width + f * values;

			aqm_normaliser_apply(&fit->states, f, block[f * rows->rows + i], out);
			for (size_t v = 0; v < values; v++)
				if (!isfinite(out[v]))
					return aqm_error_set(AQM_EDATA, "'%s' is %g in row %zu of '%s', beyond what a policy can read",
					                     config->policy.features.items[f], block[f * rows->rows + i], i,
					                     aqm_pool_path(rows->pool));
		}
	return AQM_OK;
}

static void mark_episodes(struct aqm_rows *rows)
{
	for (size_t e = 0; e < aqm_pool_episodes(rows->pool); e++) {
		size_t start, length;

		aqm_pool_episode(rows->pool, e, &start, &length);
		for (size_t i = start; i < start + length; i++)
			rows->episode_start[i] = start;
	}
}

int aqm_rows_init(struct aqm_rows *rows, const aqm_pool *pool, const struct aqm_config *config,
                  const struct aqm_fit *fit)
{
	size_t n = aqm_pool_rows(pool), features = config->policy.features.count;
	int code;

	*rows = (struct aqm_rows){
		.pool = pool, .rows = n, .features = features, .width = features * aqm_normaliser_values(fit->states.kind)};
	if (fit->states.count != features)
		return aqm_error_set(AQM_EUSAGE, "the normaliser was fitted on %zu features, not %zu", fit->states.count,
		                     features);
	double *block = aqm_policy_columns(config, pool, &code);
	if (!block)
		return code;
	rows->states = aqm_malloc_array(n * rows->width, sizeof *rows->states);
	rows->rewards = aqm_malloc_array(n, sizeof *rows->rewards);
	rows->returns = aqm_malloc_array(n, sizeof *rows->returns);
	rows->actions = aqm_malloc_array(n, sizeof *rows->actions);
	rows->episode_start = aqm_malloc_array(n, sizeof *rows->episode_start);
	if (!rows->states || !rows->rewards || !rows->returns || !rows->actions || !rows->episode_start)
		code = AQM_ERUN;
	if (code == AQM_OK && config->control == AQM_CONTROL_UPDATE) {
		rows->level = aqm_malloc_array(n, sizeof *rows->level);
		rows->next_level = aqm_malloc_array(n, sizeof *rows->next_level);
		code = rows->level && rows->next_level ? AQM_OK : AQM_ERUN;
	}
	if (code == AQM_OK)
		code = aqm_pool_returns(pool, config, &fit->rewards, rows->rewards, rows->returns);
	if (code == AQM_OK)
		code = rows->level ? read_updates(config, pool, rows->level, rows->next_level, rows->actions)
		                   : aqm_pool_actions(pool, config->pool.labels, rows->actions);
	if (code == AQM_OK)
		code = normalise_states(rows, config, fit, block);
	if (code == AQM_OK)
		mark_episodes(rows);
	free(block);
	if (code != AQM_OK)
		aqm_rows_release(rows);
	return code;
}

void aqm_rows_release(struct aqm_rows *rows)
{
	free(rows->states);
	free(rows->rewards);
	free(rows->returns);
	free(rows->actions);
	free(rows->episode_start);
	free(rows->level);
	free(rows->next_level);
	*rows = (struct aqm_rows){0};
}

/* ---- batches ---- */

/* The last k values of each sequence feature up to `row`, oldest first; before the episode's first row, that row's. */
static void fill_sequences(const aqm_policy *policy, const struct aqm_rows *rows, size_t row, float *out)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	size_t k = (size_t)encoder->kernel, v = (size_t)encoder->values, past = row - rows->episode_start[row];

	for (int64_t f = 0; f < encoder->features; f++) {
		if (encoder->feature[f].sequence < 0)
			continue;
		float *values = out + (size_t)encoder->feature[f].sequence * k * v;

		for (size_t i = 0; i < k; i++) {
			size_t back = k - 1 - i;

			memcpy(values + i * v, rows->states + (row - (back < past ? back : past)) * rows->width + (size_t)f * v,
			       v * sizeof *values);
		}
	}
}

/* The action of an update: the level of the next p', as token; the change to it, as label. */
static void fill_update(aqm_policy *policy, const struct aqm_rows *rows, size_t row, size_t at)
{
	const struct aqm_level_fit *fit = &policy->fit.levels;
	double next = (double)rows->next_level[row], change = next - (double)rows->level[row];
	struct aqm_batch *batch = &policy->batch;

	batch->actions[at] = 0;
	batch->action_values[at] = (float)((next - fit->mean) / fit->scale);
	batch->labels[at] = (int32_t)aqm_level_bin(fit, change);
	batch->targets[at] = (float)(change / fit->change_scale);
}

static void fill_step(aqm_policy *policy, const struct aqm_rows *rows, size_t row, size_t at)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	struct aqm_batch *batch = &policy->batch;

	batch->returns[at] = aqm_policy_scale_return(policy, (double)rows->returns[row]);
	memcpy(batch->states + at * rows->width, rows->states + row * rows->width, rows->width * sizeof(float));
	fill_sequences(policy, rows, row, batch->sequences + at * (size_t)aqm_encoder_sequence_width(encoder));
	batch->actions[at] = rows->actions[row];
	batch->labels[at] = rows->actions[row];
	batch->action_values[at] = aqm_action_value(rows->actions[row]);
	batch->targets[at] = 0;
	if (rows->level)
		fill_update(policy, rows, row, at);
}

static void pad_step(aqm_policy *policy, size_t at)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	struct aqm_batch *batch = &policy->batch;
	size_t states = (size_t)aqm_encoder_state_width(encoder), sequences = (size_t)aqm_encoder_sequence_width(encoder);

	batch->returns[at] = 0;
	memset(batch->states + at * states, 0, states * sizeof(float));
	if (sequences)
		memset(batch->sequences + at * sequences, 0, sequences * sizeof(float));
	batch->actions[at] = 0;
	batch->action_values[at] = 0;
	batch->targets[at] = 0;
	batch->labels[at] = -1;
}

void aqm_policy_fill(aqm_policy *policy, const struct aqm_rows *rows, const struct aqm_window *windows,
                     const size_t *score_from, int64_t count)
{
	size_t w = (size_t)policy->encoder.window;
	struct aqm_batch *batch = &policy->batch;

	batch->windows = count;
	for (size_t b = 0; b < (size_t)count; b++)
		for (size_t t = 0; t < w; t++) {
			size_t at = b * w + t;

			if (t < windows[b].length)
				fill_step(policy, rows, windows[b].start + t, at);
			else
				pad_step(policy, at);
			if (score_from && t < score_from[b])
				batch->labels[at] = -1;
			batch->times[at] = aqm_policy_time(policy, windows[b].episode_offset, t);
		}
}
