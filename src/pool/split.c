/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Training rows and held-out rows, never shuffled: neighbours in time are nearly the same row.
 *
 * A log is one past and one future, so by default the past trains and the future is held out. A pool that was
 * collected in the simulator has runs side by side, in the order of its grid: there the first rows are other cells than
 * the last, and who wants the same cells on both sides asks for other runs of them (by episodes), or for the later part
 * of each (by time).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "pool/store.h"

/* How far the cut may move, as a share of all rows. */
static const double tolerance = 0.05;

/* The two sides: ranges of rows, in their order. */
struct sides {
	struct aqm_range *ranges[2]; /* owned; training, held out */
	size_t counts[2];
};

static void add(struct sides *sides, int held_out, uint64_t start, uint64_t count)
{
	if (count)
		sides->ranges[held_out][sides->counts[held_out]++] = (struct aqm_range){start, count};
}

static uint64_t choose_cut(const aqm_pool *pool, double fraction)
{
	double wanted = fraction * (double)pool->rows, best = tolerance * (double)pool->rows;
	uint64_t cut = (uint64_t)llround(wanted);

	for (size_t e = 1; e < pool->episode_count; e++) {
		double distance = fabs((double)pool->episodes[e].start - wanted);

		if (distance <= best) {
			best = distance;
			cut = pool->episodes[e].start;
		}
	}
	return cut < 1 ? 1 : cut > pool->rows - 1 ? pool->rows - 1 : cut;
}

static void split_by_order(const aqm_pool *pool, double fraction, struct sides *sides)
{
	uint64_t cut = choose_cut(pool, fraction);

	add(sides, 0, 0, cut);
	add(sides, 1, cut, pool->rows - cut);
}

/* An episode is held out when more rows are owed to that side than would be with it. */
static void split_by_episodes(const aqm_pool *pool, double fraction, struct sides *sides)
{
	double owed = 0;

	for (size_t e = 0; e < pool->episode_count; e++) {
		const struct aqm_episode *episode = &pool->episodes[e];

		owed += (1 - fraction) * (double)episode->length;
		bool held_out = owed > (double)episode->length / 2;
		owed -= held_out ? (double)episode->length : 0;
		add(sides, held_out, episode->start, episode->length);
	}
}

static void split_by_time(const aqm_pool *pool, double fraction, struct sides *sides)
{
	for (size_t e = 0; e < pool->episode_count; e++) {
		const struct aqm_episode *episode = &pool->episodes[e];
		uint64_t first = (uint64_t)llround(fraction * (double)episode->length);

		if (first == episode->length && first > 1)
			first--;
		else if (first == 0)
			first = 1;
		add(sides, 0, episode->start, first);
		add(sides, 1, episode->start + first, episode->length - first);
	}
}

static int choose(const aqm_pool *pool, enum aqm_split_by by, double fraction, struct sides *sides)
{
	for (int side = 0; side < 2; side++) {
		sides->ranges[side] = aqm_malloc_array(pool->episode_count + 1, sizeof *sides->ranges[side]);
		if (!sides->ranges[side])
			return AQM_ERUN;
	}
	switch (by) {
	case AQM_SPLIT_ORDER:
		split_by_order(pool, fraction, sides);
		break;
	case AQM_SPLIT_EPISODES:
		split_by_episodes(pool, fraction, sides);
		break;
	case AQM_SPLIT_TIME:
		split_by_time(pool, fraction, sides);
		break;
	}
	if (!sides->counts[0] || !sides->counts[1])
		return aqm_error_set(AQM_EDATA, "%zu episodes leave nothing to %s", pool->episode_count,
		                     sides->counts[0] ? "hold out" : "train on");
	return AQM_OK;
}

/* "rows 0 to 4236 of DIGEST" */
static int write_side(const aqm_pool *pool, const char *path, const struct sides *sides, int side, enum aqm_split_by by,
                      double fraction)
{
	const struct aqm_range *ranges = sides->ranges[side];
	size_t count = sides->counts[side];
	char part[160];

	if (by == AQM_SPLIT_EPISODES)
		snprintf(part, sizeof part, "%zu of %zu episodes of %s", count, pool->episode_count, pool->digest);
	else if (by == AQM_SPLIT_TIME)
		snprintf(part, sizeof part, "%s %g %% of each episode of %s", side ? "the last" : "the first",
		         100 * (side ? 1 - fraction : fraction), pool->digest);
	else
		snprintf(part, sizeof part, "rows %llu to %llu of %s", (unsigned long long)ranges->start,
		         (unsigned long long)(ranges->start + ranges->count - 1), pool->digest);
	return aqm_pool_write_ranges(pool, path, ranges, count, part);
}

int aqm_pool_split(const char *pool_path, const char *train_path, const char *eval_path, enum aqm_split_by by,
                   double fraction)
{
	aqm_pool *pool = NULL;
	struct sides sides = {0};

	if (!(fraction > 0 && fraction < 1))
		return aqm_error_set(AQM_EUSAGE, "the fraction that trains is %g, expected more than 0 and less than 1",
		                     fraction);
	if (aqm_path_same(train_path, eval_path))
		return aqm_error_set(AQM_EUSAGE, "'%s' cannot be both the training and the held-out pool", train_path);
	int code = aqm_path_spare(pool_path, train_path);
	if (code == AQM_OK)
		code = aqm_path_spare(pool_path, eval_path);
	if (code == AQM_OK)
		code = aqm_pool_open(&pool, pool_path);
	if (code != AQM_OK)
		return code;
	if (aqm_pool_has_updates(pool)) /* its episodes are queues, side by side in time */
		code = aqm_error_set(AQM_EDATA, "cannot split '%s': its rows are update intervals; split the pool of packets",
		                     pool_path);
	else if (pool->rows < 2)
		code = aqm_error_set(AQM_EDATA, "cannot split '%s': it has fewer than two rows", pool_path);
	else if ((code = choose(pool, by, fraction, &sides)) != AQM_OK)
		aqm_error_context(code, "cannot split '%s'", pool_path);
	if (code == AQM_OK && by == AQM_SPLIT_ORDER && pool->behaviour_count && pool->episode_count > 1)
		aqm_log_info(
			"the episodes of '%s' are runs of a simulator, in the order of its grid: what is held out are other "
			"cells; --by episodes or --by time hold out some of each",
			pool_path);
	if (code == AQM_OK)
		code = write_side(pool, train_path, &sides, 0, by, fraction);
	if (code == AQM_OK)
		code = write_side(pool, eval_path, &sides, 1, by, fraction);
	free(sides.ranges[0]);
	free(sides.ranges[1]);
	aqm_pool_free(pool);
	return code;
}
