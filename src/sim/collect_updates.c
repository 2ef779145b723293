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
#include "base/file.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/store.h"
#include "sim/updates.h"

struct episode {
	struct aqm_updates updates;
	size_t group;
	struct aqm_aqm_settings settings;
	bool by_rules; /* no policy, nothing random */
	double utility, rank;
	char name[AQM_CELL_NAME_MAX + 40]; /* "sim link.rate=4 seed=1: by the rules" */
	char digest[65];                   /* of the scenario */
	int code;
	char message[256];
};

static int digest(const struct aqm_scenario *scenario, char hex[65])
{
	aqm_sha256 *hash;
	char *yaml;
	int code = aqm_scenario_dump(scenario, &yaml);

	if (code != AQM_OK)
		return code;
	code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		aqm_sha256_update(hash, yaml, strlen(yaml));
		aqm_sha256_finish(hash, hex);
	}
	free(yaml);
	return code;
}

struct run {
	size_t cell;
	double asked; /* of the policy; NAN: the cell's own discipline acts */
};

/* Who sets p' in the discipline's place. */
static int make_hook(const struct aqm_collect_updates *o, const struct run *run, const struct aqm_cell *cell,
                     struct aqm_sim_hook *hook, aqm_policy **policy, struct aqm_sim_policy **asked,
                     struct aqm_epsilon **epsilon)
{
	int code = AQM_OK;

	if (!isnan(run->asked)) {
		code = aqm_policy_load(policy, o->policy, o->base, AQM_DEVICE_CPU);
		if (code == AQM_OK && aqm_policy_config(*policy)->control != AQM_CONTROL_UPDATE)
			code = aqm_error_set(AQM_EUSAGE, "'%s' decides packets; a policy of updates is wanted", o->policy);
		if (code == AQM_OK)
			code = aqm_sim_policy_share(asked, hook, *policy, 1, 0, run->asked);
	} else if (cell->epsilon > 0) {
		code = aqm_epsilon_new(epsilon, hook, cell->epsilon, cell->scenario.seed);
	}
	return code;
}

static int simulate(const struct aqm_collect_updates *o, const struct run *run, struct episode *e)
{
	struct aqm_cell cell = {0};
	struct aqm_sim_result result = {0};
	struct aqm_sim_hook hook = {0};
	aqm_policy *policy = NULL;
	struct aqm_sim_policy *asked = NULL;
	struct aqm_epsilon *epsilon = NULL;
	int code = aqm_grid_cell(o->grid, run->cell, &cell);

	e->group = aqm_grid_group(o->grid, run->cell);
	if (code == AQM_OK && !aqm_qdisc_find(cell.scenario.aqm.kind)->keeps_records)
		code = aqm_error_set(AQM_EUSAGE,
		                     "'%s' is no AQM that keeps records; those are freebsd-l4s, dualpi2, dualpi2-linux",
		                     cell.scenario.aqm.kind);
	if (code == AQM_OK)
		code = digest(&cell.scenario, e->digest);
	e->settings = cell.scenario.aqm;
	e->by_rules = isnan(run->asked) && cell.epsilon <= 0;
	if (isnan(run->asked))
		snprintf(e->name, sizeof e->name, "sim %s: by the rules", cell.name);
	else
		snprintf(e->name, sizeof e->name, "sim %s: a policy, asked for %.3f", cell.name, run->asked);
	if (code == AQM_OK && o->relabel && !aqm_qdisc_find(e->settings.kind)->would_set)
		code = aqm_error_set(AQM_EUSAGE, "'%s' cannot be asked what it would have done; dualpi2, dualpi2-linux can",
		                     e->settings.kind);
	if (code == AQM_OK)
		code = make_hook(o, run, &cell, &hook, &policy, &asked, &epsilon);
	if (code == AQM_OK) {
		aqm_updates_init(&e->updates, &hook);
		code = aqm_sim_run(&cell.scenario, &(struct aqm_sim_options){.hook = &hook}, &result);
	}
	if (code == AQM_OK)
		e->utility = aqm_utility(o->utility, &result);
	aqm_sim_result_release(&result);
	aqm_epsilon_free(epsilon);
	aqm_sim_policy_free(asked);
	if (policy)
		aqm_policy_free(policy);
	aqm_cell_release(&cell);
	return code;
}

static int simulate_all(const struct aqm_collect_updates *o, const struct run *runs, size_t count,
                        struct episode *episodes)
{
	int threads = o->threads > 0 ? o->threads : aqm_threads();
	struct aqm_progress progress;
	size_t done = 0;

	aqm_progress_start(&progress, "simulating", count, 0);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
	for (size_t i = 0; i < count; i++) {
		struct episode *e = &episodes[i];

		e->code = aqm_interrupted() ? AQM_EINTERRUPTED : simulate(o, &runs[i], e);
		if (e->code != AQM_OK)
			snprintf(e->message, sizeof e->message, "%s", aqm_error_message());
#pragma omp critical(collect_updates_progress)
		aqm_progress_update(&progress, ++done);
	}
	aqm_progress_end(&progress);
	for (size_t i = 0; i < count; i++)
		if (episodes[i].code != AQM_OK)
			return episodes[i].code == AQM_EINTERRUPTED
			           ? AQM_EINTERRUPTED
			           : aqm_error_set(episodes[i].code, "run %zu: %s", i, episodes[i].message);
	return AQM_OK;
}

/* ---- groups ---- */

static int compare(const void *a, const void *b)
{
	const struct episode *x = *(const struct episode *const *)a, *y = *(const struct episode *const *)b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->utility != y->utility)
		return x->utility < y->utility ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Sorted by group, then by what they were worth. */
static struct episode **sort_episodes(struct episode *episodes, size_t count)
{
	struct episode **sorted = aqm_malloc_array(count, sizeof *sorted);

	for (size_t i = 0; sorted && i < count; i++)
		sorted[i] = &episodes[i];
	if (sorted)
		qsort(sorted, count, sizeof *sorted, compare);
	return sorted;
}

static size_t group_end(struct episode *const *sorted, size_t first, size_t count)
{
	size_t end = first;

	while (end < count && sorted[end]->group == sorted[first]->group)
		end++;
	return end;
}

/* Equal utilities rank in the order of the cells; a run alone in its group is the best there is. */
static void rank_episodes(struct episode **sorted, size_t count)
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
static double mean_action(struct episode *const *rules, size_t count, size_t place, const struct aqm_control_step *step,
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
static void relabel_rows(struct episode *e, struct episode *const *rules, size_t count, struct aqm_rng *rng)
{
	size_t now = column_of("drop_prob"), delay = column_of("controller_delay"),
		   last = column_of("controller_delay_old"), rank = column_of("utility_rank"), next = AQM_UPDATES_COLUMNS - 1;

	for (size_t q = 0; q < AQM_QUEUES; q++)
		for (size_t r = 0; r < e->updates.of[q].count; r++) {
			double *row = e->updates.of[q].rows[r];
			const struct aqm_control_step step = {
				.now = row[now] * 0x1p-31,
				.delay = (aqm_time)(row[delay] * AQM_US + 0.5),
				.last_delay = (aqm_time)(row[last] * AQM_US + 0.5),
			};

			size_t place = aqm_rng_below(rng, (uint32_t)count);
			row[next] = floor(mean_action(rules, count, place, &step, &row[rank]) * 0x1p31);
		}
}

static int relabel(struct episode **sorted, size_t count)
{
	struct episode **rules = aqm_malloc_array(count, sizeof *rules);
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

static void tell_utilities(struct episode *episodes, size_t count)
{
	size_t utility = column_of("utility"), rank = column_of("utility_rank");

	for (size_t i = 0; i < count * AQM_QUEUES; i++) {
		struct episode *e = &episodes[i / AQM_QUEUES];
		struct aqm_updates_rows *of = &e->updates.of[i % AQM_QUEUES];

		for (size_t r = 0; r < of->count; r++) {
			of->rows[r][utility] = e->utility;
			of->rows[r][rank] = e->rank;
		}
	}
}

/* ---- the pool ---- */

/* Where each episode comes from: the run stands in the pool where a log would. */
static int name_sources(aqm_pool *pool, const struct episode *episodes, size_t count)
{
	size_t at = 0;
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < count * AQM_QUEUES; i++) {
		const struct episode *e = &episodes[i / AQM_QUEUES];

		if (i % AQM_QUEUES == 0)
			code = aqm_provenance_add_input(&pool->provenance, e->name, 0, e->digest);
		if (e->updates.of[i % AQM_QUEUES].count)
			pool->episodes[at++].source = (uint32_t)(i / AQM_QUEUES);
	}
	return code;
}

static int write_pool(const struct episode *episodes, size_t count, const char *path)
{
	const double *columns[AQM_UPDATES_COLUMNS];
	size_t rows = 0, starts_count = 0, *starts = aqm_malloc_array(AQM_QUEUES * count, sizeof *starts), at = 0, numbers;
	double *block = NULL;
	aqm_pool *pool = NULL;
	int code = starts ? AQM_OK : AQM_ERUN;

	for (size_t i = 0; i < count * AQM_QUEUES; i++)
		rows += episodes[i / AQM_QUEUES].updates.of[i % AQM_QUEUES].count;
	if (code == AQM_OK && rows == 0)
		code = aqm_error_set(AQM_ERUN, "no run has come to an update");
	if (code == AQM_OK && (aqm_size_mul_overflows(rows, AQM_UPDATES_COLUMNS, &numbers) ||
	                       !(block = aqm_malloc_array(numbers, sizeof *block))))
		code = AQM_ERUN;
	for (size_t c = 0; block && c < AQM_UPDATES_COLUMNS; c++)
		columns[c] = block + c * rows;
	for (size_t i = 0; code == AQM_OK && i < count * AQM_QUEUES; i++) {
		const struct aqm_updates_rows *of = &episodes[i / AQM_QUEUES].updates.of[i % AQM_QUEUES];

		if (of->count)
			starts[starts_count++] = at;
		for (size_t r = 0; r < of->count; r++, at++)
			for (size_t c = 0; c < AQM_UPDATES_COLUMNS; c++)
				block[c * rows + at] = of->rows[r][c];
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
static int plan(const struct aqm_collect_updates *o, struct run **out, size_t *count)
{
	size_t cells = aqm_grid_cells(o->grid), each = o->policy && o->policy_runs > 0 ? (size_t)o->policy_runs : 0, most;
	struct run *runs = NULL;

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
		runs[(*count)++] = (struct run){i, (double)NAN};
	for (size_t i = 0; i < cells; i++) {
		size_t group = aqm_grid_group(o->grid, i);

		if (group >= cells || seen[group])
			continue;
		seen[group] = true;
		for (size_t k = 0; k < each; k++) {
			double place = 0.6180339887 * (double)*count; /* spread evenly, whatever the number */

			runs[(*count)++] = (struct run){i, 0.4 + 0.7 * (place - floor(place))};
		}
	}
	free(seen);
	return AQM_OK;
}

int aqm_sim_collect_updates(const struct aqm_collect_updates *options)
{
	struct run *runs = NULL;
	size_t count = 0;
	int code = plan(options, &runs, &count);
	struct episode *episodes = code == AQM_OK ? aqm_calloc_array(count, sizeof *episodes) : NULL;

	if (code == AQM_OK)
		code = episodes ? simulate_all(options, runs, count, episodes) : AQM_ERUN;
	struct episode **sorted = code == AQM_OK ? sort_episodes(episodes, count) : NULL;
	if (code == AQM_OK && !sorted)
		code = AQM_ERUN;
	if (code == AQM_OK) {
		rank_episodes(sorted, count);
		tell_utilities(episodes, count);
		code = options->relabel ? relabel(sorted, count) : AQM_OK;
	}
	if (code == AQM_OK)
		code = write_pool(episodes, count, options->output);
	for (size_t i = 0; episodes && i < count; i++)
		aqm_updates_release(&episodes[i].updates);
	free(sorted);
	free(episodes);
	free(runs);
	return code;
}
