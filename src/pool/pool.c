/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What can be asked of a pool, whether it lies in a file or in memory.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/store.h"

int aqm_pool_open(aqm_pool **out, const char *path)
{
	return aqm_pool_open_file(out, path, true);
}

const char *aqm_pool_path(const aqm_pool *pool)
{
	return pool->path;
}

size_t aqm_pool_rows(const aqm_pool *pool)
{
	return (size_t)pool->rows;
}

size_t aqm_pool_episodes(const aqm_pool *pool)
{
	return pool->episode_count;
}

void aqm_pool_episode(const aqm_pool *pool, size_t index, size_t *start, size_t *length)
{
	*start = (size_t)pool->episodes[index].start;
	*length = (size_t)pool->episodes[index].length;
}

const char *aqm_pool_digest(const aqm_pool *pool)
{
	return pool->digest;
}

static bool shares(const char *digest, const char *part, const char *other_digest, const char *other_part)
{
	return strcmp(digest, other_digest) == 0 || strstr(part, other_digest) || strstr(other_part, digest);
}

bool aqm_pool_shares_rows(const aqm_pool *a, const aqm_pool *b)
{
	if (*a->packets_digest && *b->packets_digest)
		return shares(a->packets_digest, a->packets_part, b->packets_digest, b->packets_part);
	return shares(a->digest, a->provenance.part, b->digest, b->provenance.part);
}

const char *aqm_pool_behaviour(const aqm_pool *pool, size_t episode)
{
	uint32_t index = pool->episodes[episode].behaviour;

	return index < pool->behaviour_count && pool->behaviours[index] ? pool->behaviours[index] : "";
}

int aqm_pool_copy_behaviours(aqm_pool *pool, const aqm_pool *from, const size_t *of)
{
	if (from->behaviour_count == 0)
		return AQM_OK;
	pool->behaviours = aqm_calloc_array(from->behaviour_count, sizeof(char *));
	if (!pool->behaviours)
		return AQM_ERUN;
	pool->behaviour_count = from->behaviour_count;
	for (size_t i = 0; i < from->behaviour_count; i++)
		if (from->behaviours[i] && !(pool->behaviours[i] = aqm_strdup(from->behaviours[i])))
			return AQM_ERUN;
	for (size_t e = 0; e < pool->episode_count; e++)
		pool->episodes[e].behaviour = from->episodes[of[e]].behaviour;
	return AQM_OK;
}

const struct aqm_column *aqm_pool_find(const aqm_pool *pool, const char *name)
{
	for (size_t c = 0; c < pool->column_count; c++)
		if (strcmp(pool->columns[c].name, name) == 0)
			return &pool->columns[c];
	return NULL;
}

bool aqm_pool_has(const aqm_pool *pool, const char *field)
{
	return aqm_pool_find(pool, field) != NULL;
}

/* "cannot find ...; it has a, b, c" */
static int no_such_column(const aqm_pool *pool, const char *field)
{
	char names[1024] = "";
	size_t used = 0;

	for (size_t c = 0; c < pool->column_count && used < sizeof names; c++)
		used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", c ? ", " : "", pool->columns[c].name);
	return aqm_error_set(AQM_EDATA, "'%s' has no field '%s'; it has %s", pool->path, field, names);
}

int aqm_pool_column(const aqm_pool *pool, const char *field, double *out)
{
	const struct aqm_column *column = aqm_pool_find(pool, field);

	if (!column)
		return no_such_column(pool, field);
	if (column->kind == AQM_KIND_F64)
		return aqm_pool_read(pool, column, 0, (size_t)pool->rows, out);
	void *block = aqm_malloc_array(AQM_CHUNK_ROWS, aqm_kind_size(column->kind));
	int code = block ? AQM_OK : AQM_ERUN;
	for (uint64_t row = 0; code == AQM_OK && row < pool->rows; row += AQM_CHUNK_ROWS) {
		size_t n = pool->rows - row < AQM_CHUNK_ROWS ? (size_t)(pool->rows - row) : AQM_CHUNK_ROWS;

		code = aqm_pool_read(pool, column, row, n, block);
		for (size_t i = 0; code == AQM_OK && i < n; i++)
			out[row + i] = aqm_kind_get(column->kind, block, i);
	}
	free(block);
	return code;
}

int aqm_pool_actions(const aqm_pool *pool, enum aqm_labels labels, uint8_t *out)
{
	const char *name = labels == AQM_LABELS_LOGGED ? "action_logged" : "action";
	const struct aqm_column *column = aqm_pool_find(pool, name);

	if (!column)
		return no_such_column(pool, name);
	double *values = aqm_malloc_array((size_t)pool->rows, sizeof *values);
	int code = values ? aqm_pool_column(pool, name, values) : AQM_ERUN;
	for (uint64_t i = 0; code == AQM_OK && i < pool->rows; i++)
		out[i] = (uint8_t)values[i]; /* 0, 1 or 2: examined when the pool was opened or made */
	free(values);
	return code;
}

/* ---- examination ---- */

int aqm_pool_wrong_label(const aqm_pool *pool, const char *column, double value, uint64_t row)
{
	return aqm_error_set(AQM_EDATA, "cannot read '%s': '%s' is %g in row %llu, expected 0, 1 or 2", pool->path, column,
	                     value, (unsigned long long)row);
}

static int check_labels(const aqm_pool *pool, const struct aqm_column *column, const void *block, uint64_t row,
                        size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double value = aqm_kind_get(column->kind, block, i);

		if (!(value == AQM_ENQUEUE || value == AQM_DROP || value == AQM_MARK))
			return aqm_pool_wrong_label(pool, column->name, value, row + i);
	}
	return AQM_OK;
}

static int examine_column(aqm_pool *pool, const struct aqm_column *column, aqm_sha256 *hash, void *block)
{
	bool labels = strncmp(column->name, "action", 6) == 0 && aqm_pool_column_index(column->name) < AQM_POOL_COLUMNS;
	uint64_t head[2] = {(uint64_t)column->kind, pool->rows};
	int code = AQM_OK;

	aqm_sha256_update(hash, column->name, strlen(column->name) + 1);
	aqm_sha256_update(hash, head, sizeof head);
	for (uint64_t row = 0; code == AQM_OK && row < pool->rows; row += AQM_CHUNK_ROWS) {
		size_t n = pool->rows - row < AQM_CHUNK_ROWS ? (size_t)(pool->rows - row) : AQM_CHUNK_ROWS;

		code = aqm_interrupted() ? aqm_error_set(AQM_EINTERRUPTED, "interrupted while reading '%s'", pool->path)
		                         : aqm_pool_read(pool, column, row, n, block);
		if (code == AQM_OK && labels)
			code = check_labels(pool, column, block, row, n);
		if (code == AQM_OK)
			aqm_sha256_update(hash, block, n * aqm_kind_size(column->kind));
	}
	return code;
}

int aqm_pool_examine(aqm_pool *pool)
{
	void *block = aqm_malloc_array(AQM_CHUNK_ROWS, sizeof(uint64_t));
	aqm_sha256 *hash = NULL;
	int code = block ? aqm_sha256_new(&hash) : AQM_ERUN;

	for (size_t c = 0; code == AQM_OK && c < pool->column_count; c++)
		code = examine_column(pool, &pool->columns[c], hash, block);
	for (size_t e = 0; code == AQM_OK && e < pool->episode_count; e++)
		aqm_sha256_update(hash, &pool->episodes[e].start, sizeof pool->episodes[e].start);
	if (hash)
		aqm_sha256_finish(hash, pool->digest);
	free(block);
	return code;
}

/* ---- pools from memory ---- */

/* The kind that a field has in a log when all values fit it, else double. */
static enum aqm_kind kind_for(const char *name, const double *values, size_t rows)
{
	const struct aqm_column_type *type = aqm_column_type_find(name);

	if (!type)
		return AQM_KIND_F64;
	enum aqm_kind kind = type->kind;
	for (size_t i = 0; i < rows; i++)
		if (!aqm_kind_holds(kind, values[i]))
			return AQM_KIND_F64;
	return kind;
}

static int copy_column(aqm_pool *pool, const char *name, const double *values, const uint8_t *labels)
{
	if (pool->column_count == AQM_COLUMNS_MAX || strlen(name) >= AQM_NAME_MAX || aqm_pool_has(pool, name))
		return aqm_error_set(AQM_EUSAGE, "a pool takes %d different columns with names under %d bytes, not '%s'",
		                     AQM_COLUMNS_MAX, AQM_NAME_MAX, name);
	struct aqm_column *column = &pool->columns[pool->column_count++];
	*column = (struct aqm_column){.dataset = -1, .kind = labels ? AQM_KIND_U8 : kind_for(name, values, (size_t)pool->rows)};
	strcpy(column->name, name);
	column->data = aqm_malloc_array((size_t)pool->rows, aqm_kind_size(column->kind));
	if (!column->data)
		return AQM_ERUN;
	for (size_t i = 0; i < pool->rows; i++)
		aqm_kind_set(column->kind, column->data, i, labels ? (double)labels[i] : values[i]);
	return AQM_OK;
}

static int copy_episodes(aqm_pool *pool, size_t episodes, const size_t *starts)
{
	size_t count = episodes ? episodes : pool->rows > 0;

	pool->episodes = aqm_calloc_array(count, sizeof *pool->episodes);
	if (!pool->episodes)
		return AQM_ERUN;
	pool->episode_count = count;
	for (size_t e = 0; e < count; e++) {
		uint64_t start = episodes ? starts[e] : 0, end = e + 1 < count ? starts[e + 1] : pool->rows;

		if ((e == 0 && start != 0) || end <= start || end > pool->rows)
			return aqm_error_set(AQM_EUSAGE, "episode %zu starts at row %llu of %llu and ends at %llu", e,
			                     (unsigned long long)start, (unsigned long long)pool->rows, (unsigned long long)end);
		pool->episodes[e] = (struct aqm_episode){start, end - start, UINT32_MAX, UINT32_MAX};
	}
	return AQM_OK;
}

int aqm_pool_from_columns(aqm_pool **out, size_t rows, size_t fields, const char *const *names,
                          const double *const *columns, const uint8_t *actions, const uint8_t *actions_logged,
                          size_t episodes, const size_t *episode_starts)
{
	aqm_pool *pool = aqm_calloc_array(1, sizeof *pool);
	int code = AQM_OK;

	*out = NULL;
	if (!pool)
		return AQM_ERUN;
	pool->file = -1;
	pool->rows = rows;
	pool->path = aqm_strdup("(memory)");
	if (!pool->path)
		code = AQM_ERUN;
	for (size_t f = 0; code == AQM_OK && f < fields; f++)
		code = copy_column(pool, names[f], columns[f], NULL);
	if (code == AQM_OK && actions)
		code = copy_column(pool, "action", NULL, actions);
	if (code == AQM_OK && actions_logged)
		code = copy_column(pool, "action_logged", NULL, actions_logged);
	if (code == AQM_OK)
		code = copy_episodes(pool, episodes, episode_starts);
	if (code == AQM_OK)
		code = aqm_pool_examine(pool);
	if (code != AQM_OK) {
		aqm_pool_free(pool);
		return code;
	}
	*out = pool;
	return AQM_OK;
}

/* ---- writing rows of a pool ---- */

int aqm_provenance_copy(struct aqm_provenance *to, const struct aqm_provenance *from, const char *part)
{
	int code = AQM_OK;

	*to = *from;
	to->inputs = NULL;
	to->input_count = 0;
	if (part)
		snprintf(to->part, sizeof to->part, "%s", part);
	for (size_t i = 0; code == AQM_OK && i < from->input_count; i++)
		code = aqm_provenance_add_input(to, from->inputs[i].path, from->inputs[i].bytes, from->inputs[i].sha256);
	return code;
}

static int write_columns(const aqm_pool *pool, struct aqm_pool_writer *writer, struct aqm_range range)
{
	int code = AQM_OK;

	for (uint64_t done = 0; code == AQM_OK && done < range.count;) {
		size_t room = aqm_table_room(writer->records),
			   n = range.count - done < room ? (size_t)(range.count - done) : room;

		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted while writing rows of '%s'", pool->path);
		for (size_t c = 0; code == AQM_OK && c < pool->column_count; c++)
			code = aqm_pool_read(pool, &pool->columns[c], range.start + done, n,
			                     (uint8_t *)aqm_table_buffer(writer->records, c) +
			                             aqm_table_filled(writer->records) * aqm_kind_size(pool->columns[c].kind));
		if (code == AQM_OK)
			code = aqm_table_advance(writer->records, n);
		done += n;
	}
	return code;
}

/* `before`: rows that the ranges in front of this one have. */
static int write_episodes(const aqm_pool *pool, struct aqm_pool_writer *writer, struct aqm_range range, uint64_t before)
{
	int code = AQM_OK;

	for (size_t e = 0; code == AQM_OK && e < pool->episode_count; e++) {
		uint64_t first = pool->episodes[e].start, end = first + pool->episodes[e].length;

		if (end <= range.start || first >= range.start + range.count)
			continue;
		code = aqm_pool_writer_episode(writer, before + (first > range.start ? first - range.start : 0),
		                               pool->episodes[e].source);
		if (code == AQM_OK && pool->behaviour_count)
			code = aqm_pool_writer_behaviour(writer, aqm_pool_behaviour(pool, e));
	}
	return code;
}

int aqm_pool_write_ranges(const aqm_pool *pool, const char *path, const struct aqm_range *ranges, size_t count,
                          const char *part)
{
	struct aqm_table_column columns[AQM_COLUMNS_MAX] = {0};
	struct aqm_provenance provenance = {0};
	struct aqm_pool_writer writer = {0};
	uint64_t before = 0;

	for (size_t c = 0; c < pool->column_count; c++) {
		const struct aqm_column_type *type = aqm_column_type_find(pool->columns[c].name);

		strcpy(columns[c].name, pool->columns[c].name);
		columns[c].kind = pool->columns[c].kind;
		columns[c].used = true;
		if (type) {
			columns[c].unit = type->unit;
			columns[c].description = type->description;
		}
	}
	int code = aqm_provenance_copy(&provenance, &pool->provenance, part);
	if (code == AQM_OK)
		code = aqm_pool_writer_open(&writer, path, columns, pool->column_count, -1, 0);
	for (size_t i = 0; code == AQM_OK && i < count; i++) {
		code = write_columns(pool, &writer, ranges[i]);
		if (code == AQM_OK)
			code = write_episodes(pool, &writer, ranges[i], before);
		before += ranges[i].count;
	}
	if (code == AQM_OK)
		code = aqm_pool_writer_commit(&writer, &provenance);
	aqm_pool_writer_abort(&writer);
	aqm_provenance_release(&provenance);
	return code;
}

int aqm_pool_write_rows(const aqm_pool *pool, const char *path, uint64_t start, uint64_t count, const char *part)
{
	return aqm_pool_write_ranges(pool, path, &(struct aqm_range){start, count}, 1, part);
}

int aqm_pool_save(const aqm_pool *pool, const char *path)
{
	return aqm_pool_write_rows(pool, path, 0, pool->rows, NULL);
}
