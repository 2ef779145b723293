/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Pools of update intervals out of all cells of a grid, which say of each episode how well its run went beside the other
 * runs under the same conditions.
 *
 * Returns of different links cannot be compared: a run at 4 Mb/s with the best of controllers is worth less than one at
 * 100 Mb/s with a poor one. So cells that differ in nothing but what the queue discipline does form a group
 * (aqm_grid_group), and a run's rank among its group, 0 to 1, is what all its rows carry.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/utility.h"
#include "base/size.h"
#include "pool/store.h"
#include "sim/updates_runs.h"

/* ---- groups ---- */

static int compare(const void *a, const void *b)
{
	const struct aqm_updates_episode *x = *(const struct aqm_updates_episode *const *)a, *y = *(const struct aqm_updates_episode *const *)b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->utility != y->utility)
		return x->utility < y->utility ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Sorted by group, then by what they were worth. */
static struct aqm_updates_episode **sort_episodes(struct aqm_updates_episode *episodes, size_t count)
{
	struct aqm_updates_episode **sorted = aqm_malloc_array(count, sizeof *sorted);

	for (size_t i = 0; sorted && i < count; i++)
		sorted[i] = &episodes[i];
	if (sorted)
		qsort(sorted, count, sizeof *sorted, compare);
	return sorted;
}

static size_t group_end(struct aqm_updates_episode *const *sorted, size_t first, size_t count)
{
	size_t end = first;

	while (end < count && sorted[end]->group == sorted[first]->group)
		end++;
	return end;
}

/* Equal utilities rank in the order of the cells; a run alone in its group is the best there is. */
static void rank_episodes(struct aqm_updates_episode **sorted, size_t count)
{
	for (size_t first = 0, end; first < count; first = end) {
		end = group_end(sorted, first, count);
		for (size_t i = first; i < end; i++)
			sorted[i]->rank = end - first > 1 ? (double)(i - first) / (double)(end - first - 1) : 1;
	}
}

/* ---- other actions ---- */

static size_t column_of(const char *name)
{
	size_t c = 0;

	while (strcmp(aqm_updates_columns[c], name) != 0)
		c++;
	return c;
}

enum { NEIGHBOURS = 2 };

/* What the runs about this place would have set, and their rank: the mean of up to five, for what one alone was worth is
 * luck too. */
static double mean_action(struct aqm_updates_episode *const *rules, size_t count, size_t place, const struct aqm_control_step *step,
                          double *rank)
{
	size_t first = place > NEIGHBOURS ? place - NEIGHBOURS : 0;
	size_t end = place + NEIGHBOURS + 1 < count ? place + NEIGHBOURS + 1 : count;
	double sum = 0;

	*rank = 0;
	for (size_t i = first; i < end; i++) {
		sum += aqm_qdisc_find(rules[i]->settings.kind)->would_set(&rules[i]->settings, step);
		*rank += rules[i]->rank / (double)(end - first);
	}
	return sum / (double)(end - first);
}

/* `rules` are in the order of their ranks. */
static void relabel_rows(struct aqm_updates_episode *e, struct aqm_updates_episode *const *rules, size_t count, struct aqm_rng *rng)
{
	size_t now = column_of("drop_prob"), delay = column_of("controller_delay"),
		   last = column_of("controller_delay_old"), rank = column_of("utility_rank"), next = AQM_UPDATES_COLUMNS - 1;

	for (size_t q = 0; q < AQM_QUEUES; q++)
		for (size_t r = 0; r < e->of[q].count; r++) {
			double *row = e->of[q].rows[r];
			const struct aqm_control_step step = {
				.now = row[now] * 0x1p-31,
				.delay = (aqm_time)(row[delay] * AQM_US + 0.5),
				.last_delay = (aqm_time)(row[last] * AQM_US + 0.5),
			};

			size_t place = aqm_rng_below(rng, (uint32_t)count);
			row[next] = floor(mean_action(rules, count, place, &step, &row[rank]) * 0x1p31);
		}
}

static int relabel(struct aqm_updates_episode **sorted, size_t count)
{
	struct aqm_updates_episode **rules = aqm_malloc_array(count, sizeof *rules);
	struct aqm_rng rng;
	size_t found = 0;

	if (!rules)
		return AQM_ERUN;
	for (size_t first = 0, end; first < count; first = end, found = 0) {
		end = group_end(sorted, first, count);
		for (size_t i = first; i < end; i++)
			if (sorted[i]->by_rules)
				rules[found++] = sorted[i];
		aqm_rng_init(&rng, first, AQM_STREAM_COLLECT, 1);
		for (size_t i = first; i < end && found; i++)
			relabel_rows(sorted[i], rules, found, &rng);
	}
	free(rules);
	return AQM_OK;
}

static void tell_utilities(struct aqm_updates_episode *episodes, size_t count)
{
	size_t utility = column_of("utility"), rank = column_of("utility_rank");

	for (size_t i = 0; i < count * AQM_QUEUES; i++) {
		struct aqm_updates_episode *e = &episodes[i / AQM_QUEUES];
		struct aqm_updates_rows *of = &e->of[i % AQM_QUEUES];

		for (size_t r = 0; r < of->count; r++) {
			of->rows[r][utility] = e->utility;
			of->rows[r][rank] = e->rank;
		}
	}
}

/* ---- the pool ---- */

/* Where each episode comes from: the run stands in the pool where a log would. */
static int name_sources(aqm_pool *pool, const struct aqm_updates_episode *episodes, size_t count)
{
	size_t at = 0;
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < count * AQM_QUEUES; i++) {
		const struct aqm_updates_episode *e = &episodes[i / AQM_QUEUES];

		if (i % AQM_QUEUES == 0)
			code = aqm_provenance_add_input(&pool->provenance, e->name, 0, e->digest);
		if (e->of[i % AQM_QUEUES].count)
			pool->episodes[at++].source = (uint32_t)(i / AQM_QUEUES);
	}
	return code;
}

/* Rows are freed as they come into the block: there may be gigabytes of them. */
static int write_pool(struct aqm_updates_episode *episodes, size_t count, const char *path)
{
	const double *columns[AQM_UPDATES_COLUMNS];
	size_t rows = 0, starts_count = 0, *starts = aqm_malloc_array(AQM_QUEUES * count, sizeof *starts), at = 0, numbers;
	double *block = NULL;
	aqm_pool *pool = NULL;
	int code = starts ? AQM_OK : AQM_ERUN;

	for (size_t i = 0; i < count * AQM_QUEUES; i++)
		rows += episodes[i / AQM_QUEUES].of[i % AQM_QUEUES].count;
	if (code == AQM_OK && rows == 0)
		code = aqm_error_set(AQM_ERUN, "no run has come to an update");
	if (code == AQM_OK && (aqm_size_mul_overflows(rows, AQM_UPDATES_COLUMNS, &numbers) ||
	                       !(block = aqm_malloc_array(numbers, sizeof *block))))
		code = AQM_ERUN;
	for (size_t c = 0; block && c < AQM_UPDATES_COLUMNS; c++)
		columns[c] = block + c * rows;
	for (size_t i = 0; code == AQM_OK && i < count * AQM_QUEUES; i++) {
		struct aqm_updates_rows *of = &episodes[i / AQM_QUEUES].of[i % AQM_QUEUES];

		if (of->count)
			starts[starts_count++] = at;
		for (size_t r = 0; r < of->count; r++, at++)
			for (size_t c = 0; c < AQM_UPDATES_COLUMNS; c++)
				block[c * rows + at] = of->rows[r][c];
		free(of->rows);
		of->rows = NULL;
	}
	if (code == AQM_OK)
		code = aqm_pool_from_columns(&pool, rows, AQM_UPDATES_COLUMNS, aqm_updates_columns, columns, NULL, NULL,
		                             starts_count, starts);
	if (code == AQM_OK)
		code = name_sources(pool, episodes, count);
	if (code == AQM_OK)
		code = aqm_pool_save(pool, path);
	aqm_pool_free(pool);
	free(block);
	free(starts);
	return code;
}

/* All cells, and behind them the policy's runs: of each group, which aqm_grid_group() tells. */
static int plan(const struct aqm_collect_updates *o, struct aqm_updates_run **out, size_t *count)
{
	size_t cells = aqm_grid_cells(o->grid), each = o->policy && o->policy_runs > 0 ? (size_t)o->policy_runs : 0, most;
	struct aqm_updates_run *runs = NULL;

	*count = 0;
	if (!aqm_size_mul_overflows(cells, each + 1, &most))
		runs = aqm_malloc_array(most, sizeof *runs);
	bool *seen = aqm_calloc_array(cells, sizeof *seen);
	*out = runs;
	if (!runs || !seen) {
		free(seen);
		return AQM_ERUN;
	}
	for (size_t i = 0; i < cells; i++)
		runs[(*count)++] = (struct aqm_updates_run){i, (double)NAN};
	for (size_t i = 0; i < cells; i++) {
		size_t group = aqm_grid_group(o->grid, i);

		if (group >= cells || seen[group])
			continue;
		seen[group] = true;
		for (size_t k = 0; k < each; k++) {
			double place = 0.6180339887 * (double)*count; /* spread evenly, whatever the number */

			runs[(*count)++] = (struct aqm_updates_run){i, 0.4 + 0.7 * (place - floor(place))};
		}
	}
	free(seen);
	return AQM_OK;
}

/* On rank 0: what the episodes were worth, and the pool. */
static int conclude(const struct aqm_collect_updates *o, struct aqm_updates_episode *episodes, size_t count)
{
	struct aqm_updates_episode **sorted = sort_episodes(episodes, count);
	int code = sorted ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK) {
		rank_episodes(sorted, count);
		tell_utilities(episodes, count);
		code = o->relabel ? relabel(sorted, count) : AQM_OK;
	}
	if (code == AQM_OK)
		code = write_pool(episodes, count, o->output);
	free(sorted);
	return code;
}

int aqm_sim_collect_updates(const struct aqm_collect_updates *options)
{
	struct aqm_updates_run *runs = NULL;
	struct aqm_updates_episode *episodes = NULL;
	size_t count = 0;
	int code = plan(options, &runs, &count);

	code = aqm_ranks_agree(options->ranks, code);
	if (code == AQM_OK)
		code = aqm_updates_simulate(options, runs, count, &episodes);
	if (code == AQM_OK)
		code = aqm_ranks_agree(options->ranks,
		                       aqm_ranks_first(options->ranks) ? conclude(options, episodes, count) : AQM_OK);
	if (code == AQM_OK && aqm_ranks_first(options->ranks))
		aqm_updates_forget(options);
	aqm_updates_free(episodes, count);
	free(runs);
	return code;
}
