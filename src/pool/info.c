/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The report of `pool info`.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/thread.h"
#include "pool/store.h"

struct range {
	char low[32], high[32]; /* with all their digits */
	double min, max, mean;
	bool any;               /* a value that is not NaN */
};

/* Rows and episodes in which a behaviour acted. */
struct acted {
	const char *name;
	uint64_t rows;
	size_t episodes;
};
enum { INPUTS_SHOWN = 20, BEHAVIOURS_SHOWN = 20 };

struct report {
	struct range ranges[AQM_COLUMNS_MAX];
	uint64_t counts[2][AQM_ACTIONS]; /* action, action_logged */
	bool has[2];
	uint64_t phantom_drops;
	struct acted *acted; /* owned, by behaviour */
};

static const char *const label_names[2] = {"action", "action_logged"};

/* ---- gathering ---- */

static void widen(struct range *range, enum aqm_kind kind, const void *block, size_t n, double *sum, uint64_t *count)
{
	size_t low = SIZE_MAX, high = SIZE_MAX;
	double block_sum = 0;

	for (size_t i = 0; i < n; i++) {
		double value = aqm_kind_get(kind, block, i);

		if (isnan(value))
			continue;
		if (!range->any || value < range->min) {
			range->min = value;
			low = i;
		}
		if (!range->any || value > range->max) {
			range->max = value;
			high = i;
		}
		range->any = true;
		block_sum += value;
		++*count;
	}
	*sum += block_sum;
	if (low != SIZE_MAX)
		aqm_kind_print(kind, block, low, range->low, sizeof range->low);
	if (high != SIZE_MAX)
		aqm_kind_print(kind, block, high, range->high, sizeof range->high);
}

static int measure_column(const aqm_pool *pool, const struct aqm_column *column, struct range *range, void *block)
{
	double sum = 0;
	uint64_t count = 0;
	int code = AQM_OK;

	for (uint64_t row = 0; code == AQM_OK && row < pool->rows; row += AQM_CHUNK_ROWS) {
		size_t n = pool->rows - row < AQM_CHUNK_ROWS ? (size_t)(pool->rows - row) : AQM_CHUNK_ROWS;

		code = aqm_interrupted() ? aqm_error_set(AQM_EINTERRUPTED, "interrupted while reading '%s'", pool->path)
		                         : aqm_pool_read(pool, column, row, n, block);
		if (code == AQM_OK)
			widen(range, column->kind, block, n, &sum, &count);
	}
	range->mean = count ? sum / (double)count : NAN;
	return code;
}

/* Count labels of both kinds together, since phantom drops are where they differ. */
static int count_labels(const aqm_pool *pool, struct report *report, uint8_t *block)
{
	const struct aqm_column *columns[2];
	uint8_t *labels[2] = {block, block + AQM_CHUNK_ROWS};
	double *wide = aqm_malloc_array(AQM_CHUNK_ROWS, sizeof *wide);
	int code = wide ? AQM_OK : AQM_ERUN;

	for (int k = 0; k < 2; k++) {
		columns[k] = aqm_pool_find(pool, label_names[k]);
		report->has[k] = columns[k] != NULL;
	}
	for (uint64_t row = 0; code == AQM_OK && row < pool->rows; row += AQM_CHUNK_ROWS) {
		size_t n = pool->rows - row < AQM_CHUNK_ROWS ? (size_t)(pool->rows - row) : AQM_CHUNK_ROWS;

		for (int k = 0; code == AQM_OK && k < 2; k++) {
			if (!columns[k])
				continue;
			code = aqm_pool_read(pool, columns[k], row, n, wide);
			for (size_t i = 0; code == AQM_OK && i < n; i++) {
				double label = aqm_kind_get(columns[k]->kind, wide, i);

				if (label == AQM_ENQUEUE || label == AQM_DROP || label == AQM_MARK) {
					labels[k][i] = (uint8_t)label;
					report->counts[k][labels[k][i]]++;
				} else {
					code = aqm_pool_wrong_label(pool, label_names[k], label, row + i);
				}
			}
		}
		for (size_t i = 0; code == AQM_OK && columns[0] && columns[1] && i < n; i++)
			report->phantom_drops += labels[1][i] == AQM_DROP && labels[0][i] == AQM_ENQUEUE;
	}
	free(wide);
	return code;
}

static int gather(const aqm_pool *pool, struct report *report)
{
	uint8_t *block = aqm_malloc_array(AQM_CHUNK_ROWS, sizeof(double));
	int code = block ? AQM_OK : AQM_ERUN;

	for (size_t c = 0; code == AQM_OK && c < pool->column_count; c++)
		code = measure_column(pool, &pool->columns[c], &report->ranges[c], block);
	if (code == AQM_OK)
		code = count_labels(pool, report, block);
	free(block);
	return code;
}

static bool is_label(const char *name)
{
	return strcmp(name, label_names[0]) == 0 || strcmp(name, label_names[1]) == 0;
}

static const char *unit_of(const char *name)
{
	const struct aqm_column_type *type = aqm_column_type_find(name);

	return type ? type->unit : "";
}

/* By behaviour, as many as pool->behaviour_count. NULL without memory. */
static struct acted *count_behaviours(const aqm_pool *pool)
{
	struct acted *acted = aqm_calloc_array(pool->behaviour_count, sizeof *acted);

	for (size_t i = 0; acted && i < pool->behaviour_count; i++)
		acted[i].name = pool->behaviours[i] ? pool->behaviours[i] : "";
	for (size_t e = 0; acted && e < pool->episode_count; e++) {
		uint32_t index = pool->episodes[e].behaviour;

		if (index < pool->behaviour_count) {
			acted[index].episodes++;
			acted[index].rows += pool->episodes[e].length;
		}
	}
	return acted;
}

/* ---- JSON ---- */

/* Bytes of a well-formed UTF-8 sequence at `s`; 0 when there is none. */
static size_t utf8_bytes(const unsigned char *s)
{
	size_t n = s[0] < 0x80                   ? 1
	           : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
	           : (s[0] & 0xf0) == 0xe0       ? 3
	           : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
	                                         : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void print_json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		size_t n = utf8_bytes(s);

		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (n == 0)
			fputs("\\ufffd", out);
		else
			fwrite(s, 1, n, out);
		s += n ? n : 1;
	}
	fputc('"', out);
}

static void print_json_counts(FILE *out, const char *key, const uint64_t *counts)
{
	fprintf(out, ", \"%s\": {", key);
	for (int a = 0; a < AQM_ACTIONS; a++)
		fprintf(out, "%s\"%s\": %" PRIu64, a ? ", " : "", aqm_action_names[a], counts[a]);
	fputc('}', out);
}

static void print_json_fields(FILE *out, const aqm_pool *pool, const struct report *report)
{
	bool first = true;

	fputs(", \"fields\": {", out);
	for (size_t c = 0; c < pool->column_count; c++) {
		const struct range *range = &report->ranges[c];

		if (is_label(pool->columns[c].name))
			continue;
		fputs(first ? "" : ", ", out);
		first = false;
		print_json_string(out, pool->columns[c].name);
		if (range->any && isfinite(range->min) && isfinite(range->max))
			fprintf(out, ": {\"min\": %s, \"max\": %s, \"mean\": %.17g", range->low, range->high, range->mean);
		else
			fputs(": {\"min\": null, \"max\": null, \"mean\": null", out);
		fprintf(out, ", \"unit\": \"%s\"}", unit_of(pool->columns[c].name));
	}
	fputc('}', out);
}

static void print_json(FILE *out, const aqm_pool *pool, const struct report *report)
{
	const struct aqm_provenance *p = &pool->provenance;

	fprintf(out, "{\"records\": %" PRIu64 ", \"episodes\": %zu", pool->rows, pool->episode_count);
	if (report->has[0])
		print_json_counts(out, "actions", report->counts[0]);
	if (report->has[1])
		print_json_counts(out, "actions_logged", report->counts[1]);
	fprintf(out,
	        ", \"phantom_drops\": %" PRIu64 ", \"repeats_expanded\": %" PRIu64 ", \"without_pkt_len\": %" PRIu64
	        ", \"ignored_files\": %" PRIu64 ", \"skipped\": {",
	        report->phantom_drops, p->repeats_expanded, p->without_pkt_len, p->ignored_files);
	for (int i = 0; i < AQM_SKIP_REASONS; i++)
		fprintf(out, "%s\"%s\": %" PRIu64, i ? ", " : "", aqm_skip_names[i], p->skipped[i]);
	fputc('}', out);
	print_json_fields(out, pool, report);
	fputs(", \"inputs\": [", out);
	for (size_t i = 0; i < p->input_count; i++) {
		fputs(i ? ", {\"path\": " : "{\"path\": ", out);
		print_json_string(out, p->inputs[i].path);
		fprintf(out, ", \"bytes\": %" PRIu64 ", \"sha256\": ", p->inputs[i].bytes);
		print_json_string(out, p->inputs[i].sha256);
		fputc('}', out);
	}
	fputs("], \"behaviours\": [", out);
	for (size_t i = 0; i < pool->behaviour_count; i++) {
		fputs(i ? ", {\"name\": " : "{\"name\": ", out);
		print_json_string(out, report->acted[i].name);
		fprintf(out, ", \"episodes\": %zu, \"records\": %" PRIu64 "}", report->acted[i].episodes, report->acted[i].rows);
	}
	fputs("], \"part\": ", out);
	print_json_string(out, p->part);
	fputs("}\n", out);
}

/* ---- text ---- */

static void print_text_counts(FILE *out, const char *title, const uint64_t *counts, uint64_t rows)
{
	fprintf(out, "%-17s", title);
	for (int a = 0; a < AQM_ACTIONS; a++)
		fprintf(out, "%s%s %" PRIu64 " (%.2f %%)", a ? ", " : "", aqm_action_names[a], counts[a],
		        rows ? 100.0 * (double)counts[a] / (double)rows : 0.0);
	fputc('\n', out);
}

static void print_text(FILE *out, const aqm_pool *pool, const struct report *report)
{
	const struct aqm_provenance *p = &pool->provenance;

	fprintf(out, "%s\n%-17s%" PRIu64 "\n%-17s%zu\n", pool->path, "records", pool->rows, "episodes",
	        pool->episode_count);
	if (report->has[0])
		print_text_counts(out, "actions", report->counts[0], pool->rows);
	if (report->has[1])
		print_text_counts(out, "actions logged", report->counts[1], pool->rows);
	fprintf(out, "%-17s%" PRIu64 " (logged as drops, enqueued in fact)\n", "phantom drops", report->phantom_drops);
	fprintf(out, "%-17s%" PRIu64 " records, from notes of repeats\n", "expanded", p->repeats_expanded);
	if (p->without_pkt_len)
		fprintf(out, "%-17s%" PRIu64 " records hold 0 for a pkt_len that their line did not tell\n", "without pkt_len",
		        p->without_pkt_len);
	for (int i = 0; i < AQM_SKIP_REASONS; i++)
		if (p->skipped[i])
			fprintf(out, "%-17s%" PRIu64 " %s (%s)\n", "skipped", p->skipped[i], aqm_skip_names[i], aqm_skip_texts[i]);
	if (p->ignored_files)
		fprintf(out, "%-17s%" PRIu64 " files that hold no record\n", "left out", p->ignored_files);
	if (*p->part)
		fprintf(out, "%-17s%s\n", "part", p->part);
	for (size_t i = 0; i < p->input_count && i < INPUTS_SHOWN; i++)
		fprintf(out, "%-17s%s, %" PRIu64 " bytes, sha256 %.16s...\n", i ? "" : "inputs", p->inputs[i].path,
		        p->inputs[i].bytes, p->inputs[i].sha256);
	if (p->input_count > INPUTS_SHOWN)
		fprintf(out, "%-17sand %zu more\n", "", p->input_count - INPUTS_SHOWN);
	for (size_t i = 0; i < pool->behaviour_count && i < BEHAVIOURS_SHOWN; i++)
		fprintf(out, "%-17s%s: %zu episode%s, %" PRIu64 " records\n", i ? "" : "behaviours", report->acted[i].name,
		        report->acted[i].episodes, report->acted[i].episodes == 1 ? "" : "s", report->acted[i].rows);
	if (pool->behaviour_count > BEHAVIOURS_SHOWN)
		fprintf(out, "%-17sand %zu more\n", "", pool->behaviour_count - BEHAVIOURS_SHOWN);
	fprintf(out, "\n%-18s %20s %20s %14s  unit\n", "field", "min", "max", "mean");
	for (size_t c = 0; c < pool->column_count; c++) {
		const struct range *range = &report->ranges[c];

		if (!is_label(pool->columns[c].name))
			fprintf(out, "%-18s %20s %20s %14.6g  %s\n", pool->columns[c].name, range->any ? range->low : "-",
			        range->any ? range->high : "-", range->mean, unit_of(pool->columns[c].name));
	}
}

int aqm_pool_info(const char *pool_path, bool json, char **text)
{
	struct report *report = aqm_calloc_array(1, sizeof *report);
	aqm_pool *pool = NULL;
	FILE *out = NULL;
	size_t bytes;
	int code = report ? aqm_pool_open_file(&pool, pool_path, false) : AQM_ERUN;

	*text = NULL;
	if (code == AQM_OK && !(report->acted = count_behaviours(pool)))
		code = AQM_ERUN;
	if (code == AQM_OK)
		code = gather(pool, report);
	if (code == AQM_OK && !(out = open_memstream(text, &bytes)))
		code = aqm_error_errno(AQM_ERUN, "no memory for a report");
	if (code == AQM_OK) {
		if (json)
			print_json(out, pool, report);
		else
			print_text(out, pool, report);
		if (fclose(out) != 0)
			code = aqm_error_errno(AQM_ERUN, "no memory for a report");
	}
	aqm_pool_free(pool);
	if (report)
		free(report->acted);
	free(report);
	return code;
}
