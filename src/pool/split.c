/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Training rows and held-out rows. The past trains, the future is held out: the first rows go to one pool, the rest
 * to the other. The cut is moved to the nearest start of an episode where there is one near enough; else it parts one
 * episode in time.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "pool/store.h"

/* How far the cut may move, as a share of all rows. */
static const double tolerance = 0.05;

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

int aqm_pool_split(const char *pool_path, const char *train_path, const char *eval_path, double fraction)
{
	aqm_pool *pool = NULL;
	char part[160];

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
	if (code == AQM_OK) {
		uint64_t cut = choose_cut(pool, fraction);

		snprintf(part, sizeof part, "rows 0 to %llu of %s", (unsigned long long)cut - 1, pool->digest);
		code = aqm_pool_write_rows(pool, train_path, 0, cut, part);
		snprintf(part, sizeof part, "rows %llu to %llu of %s", (unsigned long long)cut,
		         (unsigned long long)pool->rows - 1, pool->digest);
		if (code == AQM_OK)
			code = aqm_pool_write_rows(pool, eval_path, cut, pool->rows - cut, part);
	}
	aqm_pool_free(pool);
	return code;
}
