/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Pools of many runs, an episode each: the cells of a grid, or runs that are drawn. They are simulated side by side, on
 * any rank, and written in their order by rank 0.
 *
 * What is done when a collection is interrupted lies in POOL.unfinished, a pool like any other. The next one looks there
 * for each of its runs, by the digest of all that a run depends on, and simulates only what it does not find.
 */
#include "sim/collect.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/store.h"
#include "sim/qdisc.h"
#include "sim/scenario_table.h"
#include "sim/side.h"

enum { NEW = -1 };

struct row {
	double time;
	uint64_t fields[AQM_LOG_FIELDS];
	uint8_t action;
};

/* In one piece, as it crosses from rank to rank. */
struct episode {
	size_t count;
	char name[AQM_CELL_NAME_MAX + 256], behaviour[320];
	char sha256[65];
	struct row rows[];
};

/* An episode that grows. */
struct recording {
	struct episode *episode; /* owned */
	size_t capacity;
};

struct collection {
	const struct aqm_collect_options *options;
	size_t runs;
	struct plan {
		double work;   /* Mb that pass the link; 0 when it is done already */
		int64_t found; /* episode of `before`, or NEW */
	} *plans;          /* owned, by run */
	char *unfinished_path;
	aqm_pool *before;  /* what an interrupted collection has left; NULL: nothing */
	bool *used;        /* by its episodes: written again */
	size_t written;
	struct aqm_pool_writer writer;
	struct aqm_provenance provenance;
	struct aqm_progress progress;
	double done, total; /* work */
};

/* ---- runs ---- */

static int make_cell(const struct aqm_collect_options *o, size_t run, struct aqm_cell *cell)
{
	*cell = (struct aqm_cell){0};
	int code = o->grid ? aqm_grid_cell(o->grid, run, cell) : aqm_collect_draw(o, run, cell);
	if (code == AQM_OK && !aqm_qdisc_find(cell->scenario.aqm.kind)->keeps_records)
		code = aqm_error_set(AQM_EUSAGE,
		                     "'%s' is no AQM that keeps records; those are freebsd-l4s, dualpi2, dualpi2-linux",
		                     cell->scenario.aqm.kind);
	return code;
}

/* What acts: the discipline, its settings that are not defaults, random actions. */
static void name_behaviour(const struct aqm_cell *cell, char *text, size_t bytes)
{
	const char *object = (const char *)&cell->scenario;
	size_t at = (size_t)snprintf(text, bytes, "%s", cell->scenario.aqm.kind);

	for (size_t i = 0; i < aqm_setting_count && at < bytes; i++) {
		const struct aqm_setting *s = &aqm_settings[i];
		double value;

		if (s->section != AQM_IN_AQM || s->kind != AQM_SETTING_NUMBER)
			continue;
		memcpy(&value, object + s->offset, sizeof value);
		if (value == value)
			at += (size_t)snprintf(text + at, bytes - at, " %s=%.3g", s->name, value);
	}
	if (cell->epsilon > 0 && at < bytes)
		snprintf(text + at, bytes - at, " epsilon=%.3g", cell->epsilon);
}

static void name_episode(const struct aqm_cell *cell, struct episode *e)
{
	const struct aqm_scenario *s = &cell->scenario;
	size_t bytes = sizeof e->name;
	size_t at = (size_t)snprintf(e->name, bytes, "sim %s: %.3g Mb/s%s,", cell->name, s->link.rate,
	                             s->link.acks == AQM_ACKS_SHARED ? ", shared acks" : "");

	for (size_t i = 0; i < s->flow_count && at < bytes; i++)
		at += (size_t)snprintf(e->name + at, bytes - at, " %lld %s %.3g ms", (long long)s->flows[i].count,
		                       s->flows[i].cc, s->flows[i].rtt);
	name_behaviour(cell, e->behaviour, sizeof e->behaviour);
}

/* Of all that a run's records depend on. It stands in the pool where a log's would. */
static int digest(const struct aqm_cell *cell, char hex[65])
{
	char behind[64], *yaml;
	aqm_sha256 *hash;
	int code = aqm_scenario_dump(&cell->scenario, &yaml);

	if (code != AQM_OK)
		return code;
	snprintf(behind, sizeof behind, "epsilon: %.17g\nversion: %s\n", cell->epsilon, AQM_VERSION);
	code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		aqm_sha256_update(hash, yaml, strlen(yaml));
		aqm_sha256_update(hash, behind, strlen(behind));
		aqm_sha256_finish(hash, hex);
	}
	free(yaml);
	return code;
}

static int grow(struct recording *r, size_t capacity)
{
	size_t bytes;
	struct episode *grown = NULL;

	if (aqm_size_mul_overflows(capacity, sizeof(struct row), &bytes) ||
	    aqm_size_add_overflows(bytes, sizeof *grown, &bytes) || !(grown = aqm_realloc_array(r->episode, bytes, 1)))
		return AQM_ERUN;
	r->episode = grown;
	r->capacity = capacity;
	return AQM_OK;
}

static int keep(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged)
{
	struct recording *r = context;

	(void)logged;
	if (r->episode->count == r->capacity && grow(r, r->capacity ? 2 * r->capacity : 4096) != AQM_OK)
		return AQM_ERUN;
	struct row *row = &r->episode->rows[r->episode->count++];
	row->time = time;
	row->action = (uint8_t)action;
	memcpy(row->fields, fields, sizeof row->fields);
	return AQM_OK;
}

static int simulate(const struct aqm_cell *cell, struct recording *r)
{
	struct aqm_sim_result result = {0};
	struct aqm_sim_sink sink = {r, keep};
	struct aqm_sim_hook hook = {0};
	struct aqm_sim_options options = {.sink = &sink};
	struct aqm_epsilon *random = NULL;
	int code = AQM_OK;

	if (cell->epsilon > 0) {
		code = aqm_epsilon_new(&random, &hook, cell->epsilon, cell->scenario.seed);
		options.hook = &hook;
	}
	if (code == AQM_OK)
		code = aqm_sim_run(&cell->scenario, &options, &result);
	aqm_epsilon_free(random);
	aqm_sim_result_release(&result);
	return code;
}

static int work(void *context, size_t run, void **result, size_t *bytes)
{
	const struct collection *c = context;
	struct recording r = {0};
	struct aqm_cell cell;
	int code = make_cell(c->options, run, &cell);

	if (code == AQM_OK && (code = grow(&r, 0)) == AQM_OK) {
		*r.episode = (struct episode){0};
		code = digest(&cell, r.episode->sha256);
	}
	if (code == AQM_OK)
		name_episode(&cell, r.episode);
	if (code == AQM_OK && c->plans[run].found == NEW)
		code = simulate(&cell, &r);
	if (code != AQM_OK && code != AQM_EINTERRUPTED)
		aqm_error_context(code, "run %zu (%s)", run, cell.name);
	aqm_cell_release(&cell);
	*result = r.episode;
	*bytes = r.episode ? sizeof *r.episode + r.episode->count * sizeof(struct row) : 0;
	return code;
}

/* ---- the pool ---- */

static int open_pool(struct aqm_pool_writer *writer, const char *path, int threads)
{
	const struct aqm_column_type *types = aqm_pool_column_types();
	struct aqm_table_column columns[AQM_POOL_COLUMNS];

	for (size_t i = 0; i < AQM_POOL_COLUMNS; i++) {
		columns[i] = (struct aqm_table_column){
			.unit = types[i].unit, .description = types[i].description, .kind = types[i].kind, .used = true};
		snprintf(columns[i].name, sizeof columns[i].name, "%s", types[i].name);
	}
	return aqm_pool_writer_open(writer, path, columns, AQM_POOL_COLUMNS, -1, threads);
}

static void put_row(const struct aqm_table *table, size_t at, const struct row *row)
{
	const struct aqm_column_type *types = aqm_pool_column_types();

	((double *)aqm_table_buffer(table, AQM_COLUMN_TIME))[at] = row->time;
	((uint8_t *)aqm_table_buffer(table, AQM_COLUMN_ACTION))[at] = row->action;
	for (size_t f = 0; f < AQM_LOG_FIELDS; f++) {
		size_t column = AQM_COLUMN_FIRST_FIELD + f;
		void *buffer = aqm_table_buffer(table, column);

		if (types[column].kind == AQM_KIND_U8)
			((uint8_t *)buffer)[at] = (uint8_t)row->fields[f];
		else if (types[column].kind == AQM_KIND_U32)
			((uint32_t *)buffer)[at] = (uint32_t)row->fields[f];
		else
			((uint64_t *)buffer)[at] = row->fields[f];
	}
}

static int begin_episode(struct collection *c, const char *behaviour, const char *name, const char sha256[65])
{
	int code = aqm_pool_writer_episode(&c->writer, aqm_table_rows(c->writer.records),
	                                   (uint32_t)c->provenance.input_count);

	if (code == AQM_OK)
		code = aqm_pool_writer_behaviour(&c->writer, behaviour);
	return code == AQM_OK ? aqm_provenance_add_input(&c->provenance, name, 0, sha256) : code;
}

static int write_new(struct collection *c, const struct episode *e)
{
	aqm_table *table = c->writer.records;
	int code = begin_episode(c, e->behaviour, e->name, e->sha256);

	for (size_t done = 0; done < e->count && code == AQM_OK;) {
		size_t room = aqm_table_room(table), rows = e->count - done < room ? e->count - done : room;
		size_t at = aqm_table_filled(table);

		for (size_t i = 0; i < rows; i++)
			put_row(table, at + i, &e->rows[done + i]);
		code = aqm_table_advance(table, rows);
		done += rows;
	}
	return code;
}

/* `name`: what this collection calls it. */
static int write_again(struct collection *c, size_t episode, const char *name)
{
	const struct aqm_episode *e = &c->before->episodes[episode];
	const struct aqm_input *input = &c->before->provenance.inputs[e->source];
	aqm_table *table = c->writer.records;
	int code = begin_episode(c, aqm_pool_behaviour(c->before, episode), name, input->sha256);

	c->used[episode] = true;
	for (uint64_t done = 0; done < e->length && code == AQM_OK;) {
		size_t room = aqm_table_room(table), rows = e->length - done < room ? (size_t)(e->length - done) : room;

		for (size_t i = 0; i < AQM_POOL_COLUMNS && code == AQM_OK; i++) {
			const struct aqm_column *column = &c->before->columns[i];

			code = aqm_pool_read(c->before, column, e->start + done, rows,
			                     (uint8_t *)aqm_table_buffer(table, i) +
			                         aqm_table_filled(table) * aqm_kind_size(column->kind));
		}
		if (code == AQM_OK)
			code = aqm_table_advance(table, rows);
		done += rows;
	}
	return code;
}

/* A run without a packet is no episode. */
static int take(void *context, size_t run, const void *result, size_t bytes)
{
	struct collection *c = context;
	const struct episode *e = result;
	int code = AQM_OK;

	(void)bytes;

	if (c->plans[run].found != NEW)
		code = write_again(c, (size_t)c->plans[run].found, e->name);
	else if (e->count)
		code = write_new(c, e);
	c->written++;
	c->done += c->plans[run].work;
	aqm_progress_note(&c->progress, "%zu of %zu runs, %llu records", c->written, c->runs,
	                  (unsigned long long)aqm_table_rows(c->writer.records));
	aqm_progress_update(&c->progress, (uint64_t)c->done);
	return code;
}

/* ---- what is done already ---- */

static int compare_digests(const void *a, const void *b)
{
	return strcmp((*(const struct aqm_input *const *)a)->sha256, (*(const struct aqm_input *const *)b)->sha256);
}

/* Episodes of `before` by their digest, as many as it has inputs: an episode an input. NULL when it is no such pool. */
static const struct aqm_input **sort_before(const struct collection *c)
{
	const aqm_pool *p = c->before;
	bool like_ours = p->column_count == AQM_POOL_COLUMNS && p->provenance.input_count == p->episode_count;
	const struct aqm_input **sorted = NULL;

	for (size_t i = 0; i < p->column_count && like_ours; i++)
		like_ours = strcmp(p->columns[i].name, aqm_pool_column_types()[i].name) == 0 &&
		            p->columns[i].kind == aqm_pool_column_types()[i].kind;
	for (size_t e = 0; e < p->episode_count && like_ours; e++)
		like_ours = p->episodes[e].source == e;
	if (!like_ours)
		aqm_error_set(AQM_EDATA, "'%s' is not what an interrupted collection leaves; remove it", c->unfinished_path);
	else
		sorted = aqm_malloc_array(p->episode_count, sizeof(void *));
	for (size_t e = 0; e < p->episode_count && sorted; e++)
		sorted[e] = &p->provenance.inputs[e];
	if (sorted)
		qsort(sorted, p->episode_count, sizeof(void *), compare_digests);
	return sorted;
}

static int open_before(struct collection *c, const struct aqm_input ***sorted)
{
	int code = AQM_OK;

	if (!aqm_path_exists(c->unfinished_path))
		return AQM_OK;
	if ((code = aqm_pool_open_file(&c->before, c->unfinished_path, false)) != AQM_OK)
		return code;
	c->used = aqm_calloc_array(c->before->episode_count, sizeof *c->used);
	return c->used && (*sorted = sort_before(c)) ? AQM_OK : AQM_EDATA;
}

/* What each run costs, and whether it is there already. */
static int plan(struct collection *c)
{
	struct aqm_input key;
	const struct aqm_input **sorted = NULL, *wanted = &key;
	int code = open_before(c, &sorted);
	size_t found = 0;

	for (size_t run = 0; run < c->runs && code == AQM_OK; run++) {
		struct aqm_cell cell;

		code = make_cell(c->options, run, &cell);
		c->plans[run] = (struct plan){cell.scenario.link.rate * cell.scenario.seconds + 1, NEW};
		if (code == AQM_OK && sorted && (code = digest(&cell, key.sha256)) == AQM_OK) {
			const struct aqm_input **at =
				bsearch(&wanted, sorted, c->before->episode_count, sizeof(void *), compare_digests);

			if (at)
				c->plans[run] = (struct plan){0, *at - c->before->provenance.inputs};
			found += at != NULL;
		}
		c->total += c->plans[run].work;
		aqm_cell_release(&cell);
	}
	if (code == AQM_OK && found)
		aqm_log_info("%zu of %zu runs are in '%s'", found, c->runs, c->unfinished_path);
	free(sorted);
	return code;
}

/* Keep what is done, under another name. */
static int leave_unfinished(struct collection *c)
{
	int code = AQM_OK;

	for (size_t e = 0; c->before && e < c->before->episode_count && code == AQM_OK; e++)
		if (!c->used[e]) {
			code = write_again(c, e, c->before->provenance.inputs[e].path);
			c->written++;
		}
	if (code == AQM_OK && aqm_table_rows(c->writer.records) == 0)
		return aqm_error_set(AQM_EINTERRUPTED, "interrupted before a run was done");
	snprintf(c->provenance.part, sizeof c->provenance.part, "%zu of %zu runs, unfinished", c->written, c->runs);
	free(c->writer.atomic.path);
	c->writer.atomic.path = c->unfinished_path;
	c->unfinished_path = aqm_strdup(c->writer.atomic.path);
	if (code == AQM_OK)
		code = aqm_pool_writer_commit(&c->writer, &c->provenance);
	if (code != AQM_OK)
		return code;
	return aqm_error_set(AQM_EINTERRUPTED,
	                     "interrupted: %zu of %zu runs are kept in '%s'; the same command goes on from there", c->written,
	                     c->runs, c->unfinished_path ? c->unfinished_path : "");
}

/* ---- collecting ---- */

/* On rank 0: what is there, and a pool to write to. */
static int open_all(struct collection *c)
{
	int code = plan(c);

	return code == AQM_OK ? open_pool(&c->writer, c->options->output, c->options->threads) : code;
}

/* On rank 0. `code`: what became of the runs. */
static int close_all(struct collection *c, int code)
{
	if (code == AQM_EINTERRUPTED)
		return leave_unfinished(c);
	if (code == AQM_OK && aqm_table_rows(c->writer.records) == 0)
		code = aqm_error_set(AQM_ERUN, "no run has made a record");
	if (code == AQM_OK)
		code = aqm_pool_writer_commit(&c->writer, &c->provenance);
	if (code == AQM_OK)
		(void)unlink(c->unfinished_path);
	return code;
}

static int digest_runs(const struct collection *c, char hex[65])
{
	aqm_sha256 *hash;
	int code = aqm_sha256_new(&hash);

	if (code != AQM_OK)
		return code;
	for (size_t run = 0; run < c->runs && code == AQM_OK; run++) {
		struct aqm_cell cell;

		code = make_cell(c->options, run, &cell);
		if (code == AQM_OK)
			code = digest(&cell, hex);
		if (code == AQM_OK)
			aqm_sha256_update(hash, hex, strlen(hex));
		aqm_cell_release(&cell);
	}
	aqm_sha256_finish(hash, hex);
	return code;
}

/* Ranks whose files differ would make a pool that none of them can make alone. */
static int compare_ranks(const struct collection *c)
{
	char hex[65] = "";
	aqm_ranks *ranks = c->options->ranks;

	if (aqm_ranks_size(ranks) == 1)
		return AQM_OK;
	int code = aqm_ranks_agree(ranks, digest_runs(c, hex));
	return code == AQM_OK ? aqm_ranks_same(ranks, "the digest of the runs", hex) : code;
}

int aqm_sim_collect(const struct aqm_collect_options *options)
{
	aqm_ranks *ranks = options->ranks;
	bool first = aqm_ranks_first(ranks);
	struct collection c = {.options = options, .writer = {.file = -1}};
	int code = AQM_ERUN;

	c.runs = options->grid ? aqm_grid_cells(options->grid) : (size_t)options->runs;
	c.plans = aqm_calloc_array(c.runs, sizeof *c.plans);
	c.unfinished_path = aqm_strprintf("%s.unfinished", options->output);
	if (c.plans && c.unfinished_path)
		code = first ? open_all(&c) : AQM_OK;
	code = aqm_ranks_agree(ranks, code);
	if (code == AQM_OK)
		code = compare_ranks(&c);
	if (code == AQM_OK)
		code = aqm_ranks_broadcast(ranks, c.plans, c.runs * sizeof *c.plans);
	if (code == AQM_OK) {
		const struct aqm_side side = {
			.count = c.runs, .threads = options->threads, .ranks = ranks, .context = &c, .work = work, .take = take};

		aqm_progress_start(&c.progress, "simulating", (uint64_t)c.total, 0);
		code = aqm_side_run(&side);
		aqm_progress_end(&c.progress);
		code = aqm_ranks_agree(ranks, first ? close_all(&c, code) : AQM_OK);
	}
	aqm_pool_writer_abort(&c.writer);
	aqm_provenance_release(&c.provenance);
	aqm_pool_free(c.before);
	free(c.used);
	free(c.unfinished_path);
	free(c.plans);
	return code;
}
