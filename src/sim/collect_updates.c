/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Pools of update intervals out of all cells of a grid, which say of each episode how well its run went beside the other
 * runs under the same conditions.
 *
 * Returns of different links cannot be compared: a run at 4 Mb/s with the best of controllers is worth less than one at
 * 100 Mb/s with a poor one. So cells that differ in nothing but what the queue discipline does (aqm.*, epsilon) form a
 * group, and a run's rank among its group, 0 to 1, is what all its rows carry.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/utility.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "sim/updates.h"

enum { EXTRA = 2 }; /* utility, utility_rank */

struct episode {
	struct aqm_updates updates;
	char group[65];
	double utility, rank;
	int code;
	char message[256];
};

/* The digest of all that is not the discipline's doing. */
static int find_group(const struct aqm_scenario *scenario, char group[65])
{
	struct aqm_scenario copy, bare;
	aqm_sha256 *hash = NULL;
	char *yaml = NULL;

	aqm_scenario_init(&bare);
	int code = aqm_scenario_copy(&copy, scenario);
	if (code == AQM_OK) {
		copy.aqm = bare.aqm;
		code = aqm_scenario_dump(&copy, &yaml);
	}
	if (code == AQM_OK)
		code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		aqm_sha256_update(hash, yaml, strlen(yaml));
		aqm_sha256_finish(hash, group);
	}
	free(yaml);
	aqm_scenario_release(&copy);
	aqm_scenario_release(&bare);
	return code;
}

static int simulate(const struct aqm_grid *grid, size_t index, size_t utility, struct episode *e)
{
	struct aqm_cell cell = {0};
	struct aqm_sim_result result = {0};
	struct aqm_sim_hook hook = {0};
	struct aqm_epsilon *epsilon = NULL;
	int code = aqm_grid_cell(grid, index, &cell);

	if (code == AQM_OK)
		code = find_group(&cell.scenario, e->group);
	if (code == AQM_OK && !aqm_qdisc_find(cell.scenario.aqm.kind)->keeps_records)
		code = aqm_error_set(AQM_EUSAGE, "'%s' is no AQM that keeps records; those are freebsd-l4s, dualpi2, dualpi2-linux",
		                     cell.scenario.aqm.kind);
	if (code == AQM_OK && cell.epsilon > 0)
		code = aqm_epsilon_new(&epsilon, &hook, cell.epsilon, cell.scenario.seed);
	if (code == AQM_OK) {
		aqm_updates_init(&e->updates, &hook);
		code = aqm_sim_run(&cell.scenario, &(struct aqm_sim_options){.hook = &hook}, &result);
	}
	if (code == AQM_OK)
		e->utility = aqm_utility(utility, &result);
	aqm_sim_result_release(&result);
	aqm_epsilon_free(epsilon);
	aqm_cell_release(&cell);
	return code;
}

static int simulate_all(const struct aqm_grid *grid, size_t utility, int threads, struct episode *episodes)
{
	size_t cells = aqm_grid_cells(grid), done = 0;
	struct aqm_progress progress;

	aqm_progress_start(&progress, "simulating", cells, 0);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
	for (size_t i = 0; i < cells; i++) {
		struct episode *e = &episodes[i];

		e->code = aqm_interrupted() ? AQM_EINTERRUPTED : simulate(grid, i, utility, e);
		if (e->code != AQM_OK)
			snprintf(e->message, sizeof e->message, "%s", aqm_error_message());
#pragma omp critical(collect_updates_progress)
		aqm_progress_update(&progress, ++done);
	}
	aqm_progress_end(&progress);
	for (size_t i = 0; i < cells; i++)
		if (episodes[i].code != AQM_OK)
			return aqm_error_set(episodes[i].code, "cell %zu: %s", i, episodes[i].message);
	return AQM_OK;
}

/* ---- groups ---- */

static int compare(const void *a, const void *b)
{
	const struct episode *x = *(const struct episode *const *)a, *y = *(const struct episode *const *)b;
	int groups = strcmp(x->group, y->group);

	return groups ? groups : (x->utility > y->utility) - (x->utility < y->utility);
}

/* Equal utilities rank in the order of the cells; a run alone in its group is the best there is. */
static int rank_episodes(struct episode *episodes, size_t count)
{
	struct episode **sorted = aqm_malloc_array(count, sizeof *sorted);

	if (!sorted)
		return AQM_ERUN;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &episodes[i];
	qsort(sorted, count, sizeof *sorted, compare);
	for (size_t first = 0, end; first < count; first = end) {
		for (end = first; end < count && strcmp(sorted[end]->group, sorted[first]->group) == 0; end++) {
		}
		for (size_t i = first; i < end; i++)
			sorted[i]->rank = end - first > 1 ? (double)(i - first) / (double)(end - first - 1) : 1;
	}
	free(sorted);
	return AQM_OK;
}

/* ---- the pool ---- */

static int write_pool(const struct episode *episodes, size_t cells, const char *path)
{
	const char *names[AQM_UPDATES_COLUMNS + EXTRA];
	const double *columns[AQM_UPDATES_COLUMNS + EXTRA];
	size_t rows = 0, starts_count = 0, *starts = aqm_malloc_array(2 * cells, sizeof *starts), at = 0, numbers;
	double *block = NULL;
	aqm_pool *pool = NULL;
	int code = starts ? AQM_OK : AQM_ERUN;

	for (size_t i = 0; i < cells * AQM_QUEUES; i++)
		rows += episodes[i / AQM_QUEUES].updates.of[i % AQM_QUEUES].count;
	if (code == AQM_OK && rows == 0)
		code = aqm_error_set(AQM_ERUN, "no run has come to an update");
	if (code == AQM_OK && (aqm_size_mul_overflows(rows, AQM_UPDATES_COLUMNS + EXTRA, &numbers) ||
	                       !(block = aqm_malloc_array(numbers, sizeof *block))))
		code = AQM_ERUN;
	for (size_t c = 0; c < AQM_UPDATES_COLUMNS + EXTRA; c++) {
		names[c] = c < AQM_UPDATES_COLUMNS ? aqm_updates_columns[c] : c == AQM_UPDATES_COLUMNS ? "utility" : "utility_rank";
		columns[c] = block ? block + c * rows : NULL;
	}
	for (size_t i = 0; code == AQM_OK && i < cells * AQM_QUEUES; i++) {
		const struct episode *e = &episodes[i / AQM_QUEUES];
		const struct aqm_updates_rows *of = &e->updates.of[i % AQM_QUEUES];

		if (of->count)
			starts[starts_count++] = at;
		for (size_t r = 0; r < of->count; r++, at++) {
			for (size_t c = 0; c < AQM_UPDATES_COLUMNS; c++)
				block[c * rows + at] = of->rows[r][c];
			block[AQM_UPDATES_COLUMNS * rows + at] = e->utility;
			block[(AQM_UPDATES_COLUMNS + 1) * rows + at] = e->rank;
		}
	}
	if (code == AQM_OK)
		code = aqm_pool_from_columns(&pool, rows, AQM_UPDATES_COLUMNS + EXTRA, names, columns, NULL, NULL, starts_count,
		                             starts);
	if (code == AQM_OK)
		code = aqm_pool_save(pool, path);
	aqm_pool_free(pool);
	free(block);
	free(starts);
	return code;
}

int aqm_sim_collect_updates(const struct aqm_grid *grid, size_t utility, int threads, const char *path)
{
	size_t cells = aqm_grid_cells(grid);
	struct episode *episodes = aqm_calloc_array(cells, sizeof *episodes);
	int code = episodes ? simulate_all(grid, utility, threads > 0 ? threads : aqm_threads(), episodes) : AQM_ERUN;

	if (code == AQM_OK)
		code = rank_episodes(episodes, cells);
	if (code == AQM_OK)
		code = write_pool(episodes, cells, path);
	for (size_t i = 0; episodes && i < cells; i++)
		aqm_updates_release(&episodes[i].updates);
	free(episodes);
	return code;
}
