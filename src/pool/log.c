/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Kernel logs into a pool: find the files, scan them in order, judge where episodes start, write.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/episodes.h"
#include "pool/input.h"
#include "pool/table.h"

enum { TEXT_BYTES = 1 << 20 };

struct importer {
	struct aqm_parser parser;
	struct aqm_episode_judge judge;
	struct aqm_pool_writer writer;
	struct aqm_provenance provenance;
	uint64_t with_pkt_len; /* records */
	bool set_has_records;
	char text[TEXT_BYTES + AQM_PARSE_PADDING];
};

void aqm_parse_options_init(struct aqm_parse_options *options)
{
	*options = (struct aqm_parse_options){.gap_seconds = 0, .compression = -1, .threads = 0};
}

/* ---- records into columns ---- */

#define SPREAD(type, value)                                              \
	do {                                                             \
		type *to = (type *)aqm_table_buffer(table, column) + filled; \
		for (size_t i = 0; i < count; i++)                       \
			to[i] = (type)(value);                           \
	} while (0)

static void spread_field(aqm_table *table, size_t field, const struct aqm_log_record *records, size_t count, size_t filled)
{
	size_t column = AQM_COLUMN_FIRST_FIELD + field;

	switch (aqm_pool_column_types()[column].kind) {
	case AQM_KIND_U8: SPREAD(uint8_t, records[i].values[field]); break;
	case AQM_KIND_U32: SPREAD(uint32_t, records[i].values[field]); break;
	default: SPREAD(uint64_t, records[i].values[field]); break;
	}
}

static int write_records(struct importer *importer, const struct aqm_log_record *records, size_t count)
{
	aqm_table *table = importer->writer.records;
	size_t filled = aqm_table_filled(table), column = AQM_COLUMN_TIME;
	bool any_time = false;

	SPREAD(double, records[i].time);
	for (size_t field = 0; field < AQM_LOG_FIELDS; field++)
		spread_field(table, field, records, count, filled);
	column = AQM_COLUMN_ACTION;
	SPREAD(uint8_t,
	       aqm_effective_action((uint8_t)records[i].values[AQM_FIELD_ACTION_LOGGED],
	                            records[i].values[AQM_FIELD_SFLAGS], records[i].values[AQM_FIELD_BURST_ALLOWANCE]));
	for (size_t i = 0; i < count; i++) {
		any_time |= !isnan(records[i].time);
		importer->with_pkt_len += records[i].has_pkt_len;
	}
	if (any_time)
		aqm_table_use(table, AQM_COLUMN_TIME);
	if (importer->with_pkt_len)
		aqm_table_use(table, AQM_COLUMN_FIRST_FIELD + AQM_FIELD_PKT_LEN);
	return aqm_table_advance(table, count);
}

static int take_records(void *context, const struct aqm_log_record *records, size_t count)
{
	struct importer *importer = context;
	aqm_table *table = importer->writer.records;
	uint64_t row = aqm_table_rows(table);
	int code = AQM_OK;

	importer->set_has_records = true;
	for (size_t i = 0; code == AQM_OK && i < count; i++) {
		const struct aqm_log_record *r = &records[i];

		if (aqm_episode_starts(&importer->judge, r->clock, r->time, (uint8_t)r->values[AQM_FIELD_QUEUE_TYPE],
		                       &r->values[AQM_FIELD_TOT_PKTS]))
			code = aqm_pool_writer_episode(&importer->writer, row + i, (uint32_t)importer->provenance.input_count);
	}
	while (code == AQM_OK && count) {
		size_t room = aqm_table_room(table), n = count < room ? count : room;

		code = write_records(importer, records, n);
		records += n;
		count -= n;
	}
	return code;
}

/* ---- files ---- */

static int scan_source(struct importer *importer, aqm_source *source, const char *path, struct aqm_progress *progress)
{
	uint64_t before = progress->done;
	size_t held = 0, bytes, used;
	int code;

	do {
		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted while reading '%s'; no pool is written", path);
		code = aqm_source_read(source, importer->text + held, TEXT_BYTES - held, &bytes);
		if (code != AQM_OK)
			return code;
		memset(importer->text + held + bytes, 0, AQM_PARSE_PADDING);
		held += bytes;
		code = aqm_parser_scan(&importer->parser, importer->text, held, bytes == 0, &used);
		held -= used;
		memmove(importer->text, importer->text + used, held);
		aqm_progress_update(progress, before + aqm_source_position(source));
	} while (code == AQM_OK && bytes);
	/* Before the next file is an input: episodes are told by the file of their first record. */
	return code == AQM_OK ? aqm_parser_flush(&importer->parser) : code;
}

static int read_log(struct importer *importer, const char *path, struct aqm_progress *progress)
{
	aqm_source *source = NULL;
	char sha256[65];
	uint64_t bytes;
	int code = aqm_source_open(&source, path);

	if (code == AQM_OK)
		code = scan_source(importer, source, path, progress);
	if (code == AQM_OK) {
		aqm_source_digest(source, &bytes, sha256);
		code = aqm_provenance_add_input(&importer->provenance, strcmp(path, "-") == 0 ? "(standard input)" : path,
		                                bytes, sha256);
	}
	aqm_source_close(source);
	return code;
}

/* What a set added is taken back: it was found in a folder and holds nothing like a record, so it is no log. */
static void ignore_set(struct importer *importer, const struct aqm_parse_counts *counts, size_t inputs)
{
	struct aqm_provenance *provenance = &importer->provenance;

	importer->parser.counts = *counts;
	while (provenance->input_count > inputs) {
		provenance->input_count--;
		provenance->ignored_files++;
		aqm_log_info("'%s' holds no record and is left out", provenance->inputs[provenance->input_count].path);
		free(provenance->inputs[provenance->input_count].path);
	}
}

static bool set_is_log(const struct aqm_parse_counts *before, const struct aqm_parse_counts *after)
{
	return after->records > before->records || after->skipped[AQM_SKIP_DAMAGED] > before->skipped[AQM_SKIP_DAMAGED] ||
	       after->skipped[AQM_SKIP_FRAGMENT] > before->skipped[AQM_SKIP_FRAGMENT];
}

static int read_logs(struct importer *importer, const struct aqm_log_files *list)
{
	struct aqm_progress progress;
	uint64_t bytes = 0;
	int code = AQM_OK;

	for (size_t i = 0; i < list->count; i++)
		bytes += list->files[i].bytes;
	aqm_progress_start(&progress, "parsing", bytes, 0);
	for (size_t i = 0, end; code == AQM_OK && i < list->count; i = end) {
		struct aqm_parse_counts before = importer->parser.counts;
		size_t inputs = importer->provenance.input_count;

		aqm_parser_start_set(&importer->parser);
		aqm_episode_judge_start_set(&importer->judge);
		for (end = i; code == AQM_OK && end < list->count && list->files[end].set == list->files[i].set; end++)
			code = read_log(importer, list->files[end].path, &progress);
		if (code == AQM_OK && list->files[i].in_folder && !set_is_log(&before, &importer->parser.counts))
			ignore_set(importer, &before, inputs);
	}
	aqm_progress_end(&progress);
	return code;
}

static void fill_provenance(struct importer *importer)
{
	const struct aqm_parse_counts *counts = &importer->parser.counts;
	struct aqm_provenance *provenance = &importer->provenance;

	memcpy(provenance->skipped, counts->skipped, sizeof provenance->skipped);
	provenance->repeats_expanded = counts->repeats_expanded;
	if (importer->with_pkt_len) {
		provenance->without_pkt_len = counts->records - importer->with_pkt_len;
		if (provenance->without_pkt_len)
			aqm_log_warning("%llu of %llu records do not tell pkt_len and hold 0 there",
			                (unsigned long long)provenance->without_pkt_len, (unsigned long long)counts->records);
	}
}

int aqm_pool_parse(const char *const *paths, size_t count, const char *pool_path,
                   const struct aqm_parse_options *options)
{
	struct aqm_table_column columns[AQM_POOL_COLUMNS] = {0};
	struct importer *importer = aqm_calloc_array(1, sizeof *importer);
	struct aqm_log_files list = {0};
	int code = importer ? aqm_log_files_find(&list, paths, count) : AQM_ERUN;

	for (size_t i = 0; code == AQM_OK && i < list.count; i++)
		code = aqm_path_spare(list.files[i].path, pool_path);
	if (code != AQM_OK)
		goto done;
	for (size_t c = 0; c < AQM_POOL_COLUMNS; c++) {
		const struct aqm_column_type *type = &aqm_pool_column_types()[c];

		strcpy(columns[c].name, type->name);
		columns[c].unit = type->unit;
		columns[c].description = type->description;
		columns[c].kind = type->kind;
		columns[c].used = c != AQM_COLUMN_TIME && c != AQM_COLUMN_FIRST_FIELD + AQM_FIELD_PKT_LEN;
	}
	aqm_parser_init(&importer->parser, take_records, importer);
	aqm_episode_judge_init(&importer->judge, options->gap_seconds, 1);
	code = aqm_pool_writer_open(&importer->writer, pool_path, columns, AQM_POOL_COLUMNS, options->compression,
	                            options->threads);
	if (code == AQM_OK)
		code = read_logs(importer, &list);
	if (code == AQM_OK && importer->parser.counts.records == 0)
		code = aqm_error_set(
			AQM_EDATA, "no record in %s%s%s: expected lines with '<aqm>_ecn_marking-start,<24 or 23 numbers>,end'",
			count == 1 ? "'" : "", count == 1 ? paths[0] : "any of the files", count == 1 ? "'" : "");
	if (code == AQM_OK) {
		fill_provenance(importer);
		code = aqm_pool_writer_commit(&importer->writer, &importer->provenance);
	}
done:
	if (importer) {
		aqm_pool_writer_abort(&importer->writer);
		aqm_provenance_release(&importer->provenance);
	}
	aqm_log_files_release(&list);
	free(importer);
	return code;
}
