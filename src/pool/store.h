/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A pool being read: columns that lie in a file or in memory.
 */
#ifndef AQM_POOL_STORE_H
#define AQM_POOL_STORE_H

#include <hdf5.h>

#include "pool/table.h"

struct aqm_column {
	char name[AQM_NAME_MAX];
	enum aqm_kind kind;
	void *data;    /* owned; NULL for a column in a file */
	hid_t dataset; /* -1 for a column in memory */
};

struct aqm_episode {
	uint64_t start, length;
	uint32_t source;    /* index of an input; of none where the pool does not say */
	uint32_t behaviour; /* index of a behaviour; likewise */
};

struct aqm_pool {
	char *path;
	hid_t file; /* -1 for a pool in memory */
	uint64_t rows;
	struct aqm_column columns[AQM_COLUMNS_MAX];
	size_t column_count;
	struct aqm_episode *episodes;
	size_t episode_count;
	char **behaviours; /* owned: what acted in episodes */
	size_t behaviour_count;
	struct aqm_provenance provenance;
	char digest[65];
	/* of update intervals made in memory: the pool of packets, and which rows of which pool that is; else "" */
	char packets_digest[65], packets_part[sizeof((struct aqm_provenance *)0)->part];
};

/* As aqm_pool_open; without `digest` the pool is not read through, and its digest is "". */
int aqm_pool_open_file(aqm_pool **out, const char *path, bool digest);
/* NULL when the pool has no such column. */
const struct aqm_column *aqm_pool_find(const aqm_pool *pool, const char *name);
/* Rows start .. start + count - 1, in the column's own kind. */
int aqm_pool_read(const aqm_pool *pool, const struct aqm_column *column, uint64_t start, size_t count, void *out);
/* What acted in an episode; "" where the pool does not say. Lifetime of the pool. */
const char *aqm_pool_behaviour(const aqm_pool *pool, size_t episode);
/* Let the episodes of `pool` have the behaviours of episodes of[e] of `from`. */
int aqm_pool_copy_behaviours(aqm_pool *pool, const aqm_pool *from, const size_t *of);
/* The error for a label that is none: AQM_EDATA. */
int aqm_pool_wrong_label(const aqm_pool *pool, const char *column, double value, uint64_t row);
/* SHA-256 over columns and episodes, and whether labels are labels. */
int aqm_pool_examine(aqm_pool *pool);
/* Rows start .. start + count - 1. */
struct aqm_range {
	uint64_t start, count;
};
/* Write ranges of rows, in their order and apart from each other, as a pool of their own; episodes are cut to them. `part`,
 * NULL or which rows these are, stands in its provenance. */
int aqm_pool_write_ranges(const aqm_pool *pool, const char *path, const struct aqm_range *ranges, size_t count,
                          const char *part);
/* One range. */
int aqm_pool_write_rows(const aqm_pool *pool, const char *path, uint64_t start, uint64_t count, const char *part);

#endif
