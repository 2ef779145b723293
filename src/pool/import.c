/* SPDX-License-Identifier: BSD-2-Clause
 *
 * CSV into a pool, and a pool into CSV.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/csv.h"
#include "pool/episodes.h"
#include "pool/input.h"
#include "pool/store.h"

enum { LOGGED = AQM_COLUMN_FIRST_FIELD + AQM_FIELD_ACTION_LOGGED, TEXT_BYTES = 1 << 20 };

struct importer {
	struct aqm_csv csv;
	struct aqm_episode_judge judge;
	struct aqm_pool_writer writer;
	struct aqm_provenance provenance;
	bool open;                          /* the header has been read, the writer opened */
	size_t columns[AQM_POOL_COLUMNS];   /* of the pool: index into aqm_pool_column_types */
	size_t count;
	uint64_t rows, episode;
	char text[TEXT_BYTES + 1];
};

/* ---- labels ---- */

static bool can_tell_phantoms(const struct aqm_csv *csv)
{
	return csv->has[AQM_COLUMN_FIRST_FIELD + AQM_FIELD_SFLAGS] &&
	       csv->has[AQM_COLUMN_FIRST_FIELD + AQM_FIELD_BURST_ALLOWANCE];
}

/* A file with one kind of label gets the other: what happened follows from what was logged where the fields for it
 * are there; else both are taken to be the same. */
static void complete_labels(const struct aqm_csv *csv, union aqm_csv_value *v)
{
	if (!csv->has[LOGGED])
		v[LOGGED].integer = v[AQM_COLUMN_ACTION].integer;
	else if (!csv->has[AQM_COLUMN_ACTION] && can_tell_phantoms(csv))
		v[AQM_COLUMN_ACTION].integer =
			aqm_effective_action((uint8_t)v[LOGGED].integer, v[AQM_COLUMN_FIRST_FIELD + AQM_FIELD_SFLAGS].integer,
		                             v[AQM_COLUMN_FIRST_FIELD + AQM_FIELD_BURST_ALLOWANCE].integer);
	else if (!csv->has[AQM_COLUMN_ACTION])
		v[AQM_COLUMN_ACTION].integer = v[LOGGED].integer;
}

static void warn_of_labels(const struct aqm_csv *csv)
{
	if (!csv->has[LOGGED])
		aqm_log_warning("'%s' has no action_logged: taken to be the same as action", csv->name);
	else if (!csv->has[AQM_COLUMN_ACTION] && !can_tell_phantoms(csv))
		aqm_log_warning(
			"'%s' has no action, nor sflags and burst_allowance to tell phantom drops: taken to be as logged",
			csv->name);
}

/* ---- rows ---- */

static int open_writer(struct importer *importer, const char *pool_path)
{
	const struct aqm_column_type *types = aqm_pool_column_types();
	struct aqm_table_column columns[AQM_POOL_COLUMNS] = {0};
	bool pkts = importer->csv.has[AQM_COLUMN_FIRST_FIELD + AQM_FIELD_TOT_PKTS];

	for (size_t i = 0; i < AQM_POOL_COLUMNS; i++) {
		if (!importer->csv.has[i] && i != AQM_COLUMN_ACTION && i != LOGGED)
			continue;
		struct aqm_table_column *column = &columns[importer->count];

		strcpy(column->name, types[i].name);
		column->unit = types[i].unit;
		column->description = types[i].description;
		column->kind = types[i].kind;
		column->used = true;
		importer->columns[importer->count++] = i;
	}
	warn_of_labels(&importer->csv);
	aqm_episode_judge_init(&importer->judge, 0, pkts ? 1 : 1500);
	importer->open = true;
	return aqm_pool_writer_open(&importer->writer, pool_path, columns, importer->count, -1, 0);
}

/* By the column `episode` where there is one, else as in a log, with what there is of a clock and of counters. */
static bool starts_episode(struct importer *importer, const union aqm_csv_value *v)
{
	const bool *has = importer->csv.has;
	size_t pkts = AQM_COLUMN_FIRST_FIELD + AQM_FIELD_TOT_PKTS, bytes = AQM_COLUMN_FIRST_FIELD + AQM_FIELD_TOT_BYTES;

	if (has[AQM_CSV_EPISODE]) {
		bool starts = importer->rows == 0 || v[AQM_CSV_EPISODE].integer != importer->episode;

		importer->episode = v[AQM_CSV_EPISODE].integer;
		return starts;
	}
	return aqm_episode_starts(&importer->judge, AQM_CLOCK_UTC, has[AQM_COLUMN_TIME] ? v[AQM_COLUMN_TIME].real : NAN,
	                          has[AQM_COLUMN_FIRST_FIELD] ? (uint8_t)v[AQM_COLUMN_FIRST_FIELD].integer : 0,
	                          has[pkts] ? &v[pkts].integer : has[bytes] ? &v[bytes].integer : NULL);
}

static int start_episode(struct importer *importer, const union aqm_csv_value *v)
{
	int code = aqm_pool_writer_episode(&importer->writer, importer->rows, 0);

	if (code == AQM_OK && importer->csv.has[AQM_CSV_BEHAVIOUR])
		code = aqm_pool_writer_behaviour(&importer->writer, v[AQM_CSV_BEHAVIOUR].text);
	return code;
}

static int add_row(struct importer *importer, union aqm_csv_value *v)
{
	const struct aqm_column_type *types = aqm_pool_column_types();
	aqm_table *table = importer->writer.records;
	size_t row = aqm_table_filled(table);
	int code = AQM_OK;

	complete_labels(&importer->csv, v);
	if (starts_episode(importer, v))
		code = start_episode(importer, v);
	for (size_t c = 0; c < importer->count; c++) {
		size_t index = importer->columns[c];
		void *to = aqm_table_buffer(table, c);

		switch (types[index].kind) {
		case AQM_KIND_U8: ((uint8_t *)to)[row] = (uint8_t)v[index].integer; break;
		case AQM_KIND_U32: ((uint32_t *)to)[row] = (uint32_t)v[index].integer; break;
		case AQM_KIND_U64: ((uint64_t *)to)[row] = v[index].integer; break;
		default: ((double *)to)[row] = v[index].real; break;
		}
	}
	importer->rows++;
	return code == AQM_OK ? aqm_table_advance(table, 1) : code;
}

static int take_line(struct importer *importer, char *line, size_t bytes, const char *pool_path)
{
	union aqm_csv_value values[AQM_CSV_COLUMNS];
	bool row;
	int code = aqm_csv_line(&importer->csv, line, bytes, values, &row);

	if (code == AQM_OK && importer->csv.has_header && !importer->open)
		code = open_writer(importer, pool_path);
	return code == AQM_OK && row ? add_row(importer, values) : code;
}

static int read_lines(struct importer *importer, aqm_source *source, const char *pool_path)
{
	size_t held = 0, bytes = 1;
	int code = AQM_OK;

	while (code == AQM_OK && bytes) {
		char *line = importer->text, *newline;

		if (held == TEXT_BYTES)
			return aqm_error_set(AQM_EDATA, "cannot read '%s': line %llu is longer than %d bytes", importer->csv.name,
			                     (unsigned long long)importer->csv.line + 1, AQM_CSV_LINE_MAX);
		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted while reading '%s'; no pool is written",
			                     importer->csv.name);
		code = aqm_source_read(source, importer->text + held, TEXT_BYTES - held, &bytes);
		held += bytes;
		while (code == AQM_OK && (newline = memchr(line, '\n', held))) {
			size_t length = (size_t)(newline - line);

			code = take_line(importer, line, length, pool_path);
			line = newline + 1;
			held -= length + 1;
		}
		memmove(importer->text, line, held);
	}
	return code == AQM_OK && held ? take_line(importer, importer->text, held, pool_path) : code;
}

int aqm_pool_import(const char *csv_path, const char *pool_path)
{
	struct importer *importer = aqm_calloc_array(1, sizeof *importer);
	aqm_source *source = NULL;
	char sha256[65];
	uint64_t bytes;
	int code = importer ? aqm_path_spare(csv_path, pool_path) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_source_open(&source, csv_path);
	if (code != AQM_OK)
		goto done;
	importer->csv.name = csv_path;
	code = read_lines(importer, source, pool_path);
	if (code == AQM_OK && importer->rows == 0)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': it has no rows", csv_path);
	if (code == AQM_OK) {
		aqm_source_digest(source, &bytes, sha256);
		code = aqm_provenance_add_input(&importer->provenance,
		                                strcmp(csv_path, "-") == 0 ? "(standard input)" : csv_path, bytes, sha256);
	}
	if (code == AQM_OK)
		code = aqm_pool_writer_commit(&importer->writer, &importer->provenance);
done:
	if (importer) {
		aqm_pool_writer_abort(&importer->writer);
		aqm_provenance_release(&importer->provenance);
	}
	aqm_source_close(source);
	free(importer);
	return code;
}

/* ---- export ---- */

/* What acted in the episode, as a last cell; commas and quotes in it would need rules of their own. */
static int print_behaviour(const aqm_pool *pool, size_t episode, struct aqm_atomic_file *file)
{
	FILE *stream = file->stream;

	fputs(",\"", stream);
	for (const char *s = aqm_pool_behaviour(pool, episode); *s; s++)
		fputc(*s == ',' || *s == '"' || (unsigned char)*s < ' ' ? ';' : *s, stream);
	return aqm_atomic_write(file, "\"\n", 2);
}

/* Rows row .. row + n - 1, of which blocks[c] holds column c. */
static int print_rows(const aqm_pool *pool, void *const *blocks, uint64_t row, size_t n, size_t *episode,
                      struct aqm_atomic_file *file)
{
	char line[AQM_COLUMNS_MAX * 32 + 32];
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < n; i++) {
		while (row + i >= pool->episodes[*episode].start + pool->episodes[*episode].length)
			++*episode;
		size_t used = (size_t)sprintf(line, "%zu", *episode);
		for (size_t c = 0; c < pool->column_count; c++) {
			line[used++] = ',';
			used += (size_t)aqm_kind_print(pool->columns[c].kind, blocks[c], i, line + used, 32);
		}
		if (!pool->behaviour_count)
			line[used++] = '\n';
		code = aqm_atomic_write(file, line, used);
		if (code == AQM_OK && pool->behaviour_count)
			code = print_behaviour(pool, *episode, file);
	}
	return code;
}

static int print_pool(const aqm_pool *pool, struct aqm_atomic_file *file)
{
	FILE *stream = file->stream;
	void *blocks[AQM_COLUMNS_MAX] = {0};
	size_t episode = 0;
	int code = AQM_OK;

	for (size_t c = 0; code == AQM_OK && c < pool->column_count; c++)
		if (!(blocks[c] = aqm_malloc_array(AQM_CHUNK_ROWS, aqm_kind_size(pool->columns[c].kind))))
			code = AQM_ERUN;
	fputs("episode", stream);
	for (size_t c = 0; c < pool->column_count; c++)
		fprintf(stream, ",%s", pool->columns[c].name);
	fputs(pool->behaviour_count ? ",behaviour\n" : "\n", stream);
	for (uint64_t row = 0; code == AQM_OK && row < pool->rows; row += AQM_CHUNK_ROWS) {
		size_t n = pool->rows - row < AQM_CHUNK_ROWS ? (size_t)(pool->rows - row) : AQM_CHUNK_ROWS;

		for (size_t c = 0; code == AQM_OK && c < pool->column_count; c++)
			code = aqm_pool_read(pool, &pool->columns[c], row, n, blocks[c]);
		if (code == AQM_OK)
			code = print_rows(pool, blocks, row, n, &episode, file);
		if (code == AQM_OK && aqm_interrupted())
			code = aqm_error_set(AQM_EINTERRUPTED, "interrupted while exporting '%s'", pool->path);
	}
	for (size_t c = 0; c < pool->column_count; c++)
		free(blocks[c]);
	return code;
}

int aqm_pool_export(const char *pool_path, const char *csv_path)
{
	struct aqm_atomic_file file = {0};
	aqm_pool *pool = NULL;
	int code = aqm_path_spare(pool_path, csv_path);

	if (code == AQM_OK)
		code = aqm_pool_open_file(&pool, pool_path, false);
	if (code == AQM_OK)
		code = aqm_atomic_open(&file, csv_path);
	if (code == AQM_OK)
		code = print_pool(pool, &file);
	if (code == AQM_OK)
		code = aqm_atomic_commit(&file);
	aqm_atomic_abort(&file);
	aqm_pool_free(pool);
	return code;
}
