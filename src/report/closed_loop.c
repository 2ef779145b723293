/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Policies in the simulator's queue, beside what is there without them: out of the files that `eval --closed-loop`
 * writes. Runs that were evaluated on the same scenario or grid (files with one "name") share tables and plots.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "report/html.h"
#include "report/page.h"

enum { ID_MAX = 64, SHOWN_SERIES_MAX = 4 };

/* An AQM, or a mode of a policy, in one place of a file. */
struct entry {
	size_t run;
	const json_t *json; /* its figures over all cells */
	const json_t *cell; /* in the cell whose curves are drawn: with cdf and series; NULL: it has none */
	bool policy, trivial;
	int colour;
};

/* A file of the group's name. */
struct member {
	size_t run;
	const char *file;
	const json_t *json;
};

struct group {
	const char *name;
	struct member *members; /* owned */
	size_t member_count;
	const json_t *first;   /* the file that the baselines are from */
	const char *cell;      /* whose curves are drawn */
	struct entry *entries; /* owned */
	size_t count;
	unsigned number; /* of the group on the page, for ids */
};

static bool is_closed_loop(const struct aqm_document *document)
{
	return strcmp(document->kind, "closed-loop") == 0 && json_array_size(aqm_json_find(document->json, "cells")) > 0;
}

static const char *name_of(const struct aqm_document *document)
{
	const char *name = aqm_json_text(document->json, "name");

	return *name ? name : document->name;
}

/* ---- gathering ---- */

/* An AQM keeps its colour in every plot; the policies share what is left. */
static int colour_of(const struct entry *entry, size_t policies)
{
	static const struct {
		const char *name;
		int colour;
	} known[] = {{"dualpi2", 3}, {"dualpi2-linux", 3}, {"pie", 5}, {"freebsd-l4s", 6}, {"codel", 7}, {"fq_codel", 7}};
	static const int ours[] = {1, 2, 4};
	const char *name = aqm_json_text(entry->json, "name");

	if (entry->policy)
		return ours[policies % 3];
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].colour;
	return AQM_FIGURE_GREY;
}

/* The cell of that name; NULL: there is none. */
static const json_t *cell_named(const json_t *json, const char *name)
{
	size_t i;
	json_t *cell;

	json_array_foreach(aqm_json_find(json, "cells"), i, cell)
		if (strcmp(aqm_json_text(cell, "name"), name) == 0)
			return cell;
	return NULL;
}

/* The same AQM in a cell. */
static const json_t *in_cell(const json_t *aqms, const json_t *wanted, size_t place)
{
	const json_t *there = json_array_get(aqms, place);
	size_t i;
	json_t *item;

	if (strcmp(aqm_json_text(there, "label"), aqm_json_text(wanted, "label")) == 0)
		return there;
	json_array_foreach(aqms, i, item)
		if (strcmp(aqm_json_text(item, "label"), aqm_json_text(wanted, "label")) == 0)
			return item;
	return NULL;
}

static int add_entries(struct group *group, size_t run, const json_t *json, bool policies_only)
{
	const json_t *cell = aqm_json_find(cell_named(json, group->cell), "aqms"),
				 *all = aqm_json_find(json, "overall/aqms");
	size_t i, policies = 0;
	json_t *item;

	if (!json_array_size(all))
		all = aqm_json_find(json, "cells/0/aqms");
	for (size_t k = 0; k < group->count; k++)
		policies += group->entries[k].policy;
	json_array_foreach(all, i, item) {
		bool policy = json_is_true(json_object_get(item, "policy"));

		if (policies_only && !policy)
			continue;
		struct entry *grown = aqm_realloc_array(group->entries, group->count + 1, sizeof *grown);
		if (!grown)
			return AQM_ERUN;
		group->entries = grown;
		struct entry *entry = &grown[group->count++];
		*entry = (struct entry){
			run, item, in_cell(cell, item, i), policy, json_is_true(json_object_get(item, "trivial")), 0};
		entry->colour = colour_of(entry, policies);
		policies += policy;
	}
	return AQM_OK;
}

static int add_member(struct group *group, size_t run, const struct aqm_document *document)
{
	struct member *grown = aqm_realloc_array(group->members, group->member_count + 1, sizeof *grown);

	if (!grown)
		return AQM_ERUN;
	group->members = grown;
	grown[group->member_count++] = (struct member){run, document->name, document->json};
	return add_entries(group, run, document->json, group->count > 0);
}

/* All files of the group's name, the baselines of the first. */
static int gather(const struct aqm_page *page, struct group *group)
{
	int code = AQM_OK;

	for (size_t i = 0; i < page->run_count; i++)
		for (size_t k = 0; k < page->runs[i].document_count && code == AQM_OK; k++) {
			const struct aqm_document *document = &page->runs[i].documents[k];

			if (is_closed_loop(document) && strcmp(name_of(document), group->name) == 0)
				code = add_member(group, i, document);
		}
	return code;
}

/* An AQM's label; of a policy, where there are several runs, behind its run's. */
static const char *label_in(const struct aqm_page *page, size_t run, const json_t *aqm, bool policy, char *text,
                            size_t size)
{
	const char *label = aqm_json_text(aqm, "label");

	label = *label ? label : aqm_json_text(aqm, "name");
	if (policy && page->run_count > 1)
		snprintf(text, size, "%s: %s", page->runs[run].label, label);
	else
		snprintf(text, size, "%s", label);
	return text;
}

static const char *label_of(const struct aqm_page *page, const struct entry *entry, char *text, size_t size)
{
	return label_in(page, entry->run, entry->json, entry->policy, text, size);
}

/* ---- figures with an interval ---- */

struct interval {
	double mean, low, high;
};

static struct interval interval_at(const json_t *json, const char *path, double scale)
{
	const json_t *found = aqm_json_find(json, path);

	if (json_is_number(found))
		return (struct interval){json_number_value(found) * scale, NAN, NAN};
	return (struct interval){aqm_json_at(found, "mean") * scale, aqm_json_at(found, "low") * scale,
	                         aqm_json_at(found, "high") * scale};
}

static void put_interval(FILE *out, struct interval v, int digits)
{
	fputs("<td class=\"n\">", out);
	aqm_html_interval(out, v.mean, v.low, v.high, digits);
	fputs("</td>", out);
}

/* ---- the table ---- */

static const struct {
	const char *title, *path;
	double scale;
} columns[] = {
	{"utilisation, %", "utilisation", 100},   {"L delay P50, ms", "delay_ms/L/p50", 1},
	{"L delay P99, ms", "delay_ms/L/p99", 1}, {"C delay P99, ms", "delay_ms/C/p99", 1},
	{"rate ratio L/C", "rate_ratio", 1},      {"utility", "utility", 1},
};

enum { COLUMNS = sizeof columns / sizeof *columns };

static bool any_has(const struct group *group, const char *path)
{
	for (size_t i = 0; i < group->count; i++)
		if (isfinite(interval_at(group->entries[i].json, path, 1).mean))
			return true;
	return false;
}

/* Against the baseline, seed by seed: an interval that holds 0 decides nothing. */
static void put_verdict(FILE *out, const struct group *group, const struct entry *entry)
{
	struct interval d = interval_at(entry->json, "difference/utility", 1);
	const char *baseline = aqm_json_text(group->first, "baseline");

	if (!isfinite(d.mean) || strcmp(aqm_json_text(entry->json, "name"), baseline) == 0) {
		fputs(isfinite(d.mean) ? "<td class=\"dim\">the measure</td>" : "<td></td>", out);
		return;
	}
	bool sure = isfinite(d.low) && isfinite(d.high) && (d.low > 0 || d.high < 0);
	fprintf(out, "<td class=\"%s\">%s", !sure ? "dim" : d.mean > 0 ? "good" : "bad", d.mean > 0 ? "+" : "");
	aqm_html_interval(out, d.mean, d.low, d.high, 3);
	fputs(sure ? "" : " <span class=\"dim\">undecided</span>", out);
	fputs("</td>", out);
}

static void put_rows(const struct aqm_page *page, const struct group *group, const bool *has)
{
	FILE *out = page->out;
	char text[256];

	for (size_t i = 0; i < group->count; i++) {
		const struct entry *entry = &group->entries[i];

		fputs(entry->policy ? "<tr><th scope=\"row\">" : "<tr class=\"base\"><th scope=\"row\">", out);
		aqm_html_text(out, label_of(page, entry, text, sizeof text));
		if (entry->trivial)
			fputs(" <span class=\"dim\">trivial</span>", out);
		fputs("</th>", out);
		for (size_t k = 0; k < COLUMNS; k++)
			if (has[k])
				put_interval(out, interval_at(entry->json, columns[k].path, columns[k].scale), 4);
		put_verdict(out, group, entry);
		fputs("</tr>\n", out);
	}
}

static void put_table(const struct aqm_page *page, const struct group *group)
{
	const char *baseline = aqm_json_text(group->first, "baseline");
	FILE *out = page->out;
	bool has[COLUMNS];

	aqm_html_table_begin(out, "Verdict in the closed loop", "closed num");
	fputs("<thead><tr><th scope=\"col\">decides</th>", out);
	for (size_t k = 0; k < COLUMNS; k++) {
		has[k] = any_has(group, columns[k].path);
		if (has[k])
			fprintf(out, "<th scope=\"col\">%s</th>", columns[k].title);
	}
	fputs("<th scope=\"col\">utility less that of ", out);
	aqm_html_text(out, *baseline ? baseline : "the baseline");
	fputs("</th></tr></thead>\n<tbody>\n", out);
	put_rows(page, group, has);
	fputs("</tbody>\n", out);
	aqm_html_table_end(out);
}

/* The best mode of each policy, in a word. */
static void put_cards(const struct aqm_page *page, const struct group *group)
{
	const char *baseline = aqm_json_text(group->first, "baseline");
	FILE *out = page->out;
	char text[256];

	fputs("<ul class=\"verdicts\">\n", out);
	for (size_t run = 0; run < page->run_count; run++) {
		const struct entry *best = NULL;
		size_t modes = 0;

		for (size_t i = 0; i < group->count; i++) {
			const struct entry *entry = &group->entries[i];
			double utility = interval_at(entry->json, "utility", 1).mean;

			if (!entry->policy || entry->run != run || !isfinite(utility))
				continue;
			modes++;
			if (!best || utility > interval_at(best->json, "utility", 1).mean)
				best = entry;
		}
		if (!best)
			continue;
		struct interval d = interval_at(best->json, "difference/utility", 1);
		bool better = d.low > 0, worse = d.high < 0;
		fprintf(out, "<li class=\"%s\"><b>", better ? "good" : worse ? "bad" : "");
		aqm_html_text(out, label_of(page, best, text, sizeof text));
		fputs("</b><span class=\"big\">", out);
		aqm_html_number(out, interval_at(best->json, "utility", 1).mean, 3);
		fputs("</span> utility", out);
		if (modes > 1)
			fprintf(out, ", the best of its %zu modes", modes);
		fputs("<br /><small>", out);
		aqm_html_text(out, *baseline ? baseline : "the baseline");
		fputs(" ", out);
		aqm_html_number(out, interval_at(best->json, "utility", 1).mean - d.mean, 3);
		fputs(better ? ": beaten" : worse ? ": not beaten" : ": undecided", out);
		fputs(modes > 1 ? "; chosen and judged on the same seeds</small></li>\n" : "</small></li>\n", out);
	}
	fputs("</ul>\n", out);
}

static bool same_cells(const json_t *a, const json_t *b)
{
	const json_t *one = aqm_json_find(a, "cells"), *other = aqm_json_find(b, "cells");
	size_t i;
	json_t *cell;

	if (json_array_size(one) != json_array_size(other))
		return false;
	json_array_foreach(one, i, cell)
		if (!cell_named(b, aqm_json_text(cell, "name")))
			return false;
	return true;
}

/* Files of one name may have been made differently: then not all rows can be compared. */
static void put_mismatches(const struct aqm_page *page, const struct group *group)
{
	const json_t *first = group->first;
	FILE *out = page->out;

	for (size_t i = 1; i < group->member_count; i++) {
		const struct member *m = &group->members[i];
		const struct {
			bool differs;
			const char *what;
		} checks[] = {
			{!same_cells(first, m->json), "other cells"},
			{!json_equal(aqm_json_find(first, "seeds"), aqm_json_find(m->json, "seeds")), "other seeds"},
			{strcmp(aqm_json_text(first, "baseline"), aqm_json_text(m->json, "baseline")) != 0, "another baseline"},
			{strcmp(aqm_json_text(first, "utility/name"), aqm_json_text(m->json, "utility/name")) != 0,
		     "another utility"},
			{strcmp(aqm_json_text(first, "program"), aqm_json_text(m->json, "program")) != 0,
		     "another build of aqmtrain"},
		};
		const char *between = ": made with ";

		for (size_t k = 0; k < sizeof checks / sizeof *checks; k++)
			if (checks[k].differs) {
				if (*between == ':') {
					fputs("<p class=\"note\"><b>", out);
					aqm_html_textf(out, "%s/%s", aqm_report_run_folder(&page->runs[m->run]), m->file);
					fputs("</b>", out);
				}
				fprintf(out, "%s%s", between, checks[k].what);
				between = ", ";
			}
		if (*between == ',')
			fputs(" than what stands first; its differences are from its own baseline.</p>\n", out);
	}
}

static void put_conditions(const struct aqm_page *page, const struct group *group)
{
	const json_t *json = group->first;
	size_t cells = json_array_size(aqm_json_find(json, "cells")), seeds = json_array_size(aqm_json_find(json, "seeds"));
	const char *definition = aqm_json_text(json, "utility/definition"), *command = aqm_json_text(json, "command");
	double level = aqm_json_at(json, "confidence/level"), delay = aqm_json_at(json, "decision_delay_ms/mean");
	FILE *out = page->out;

	fputs("<p>", out);
	aqm_html_textf(out, "%zu cell%s, %zu seed%s each, the same for all", cells, cells == 1 ? "" : "s", seeds,
	               seeds == 1 ? "" : "s");
	if (isfinite(level))
		aqm_html_textf(out, "; ranges are %.0f %% confidence intervals", 100 * level);
	if (isfinite(delay))
		aqm_html_textf(out, "; a decision took %.3g ms here (P99 %.3g ms)", delay,
		               aqm_json_at(json, "decision_delay_ms/p99"));
	if (aqm_json_at(json, "seeds_trained_on") > 0)
		aqm_html_textf(out, "; %.0f of the seeds were trained on, in cells that are here",
		               aqm_json_at(json, "seeds_trained_on"));
	fputs(".", out);
	if (*definition)
		aqm_html_textf(out, " Utility %s: %s.", aqm_json_text(json, "utility/name"), definition);
	fputs("</p>\n", out);
	put_mismatches(page, group);
	put_table(page, group);
	fputs("<p class=\"dim\">", out);
	aqm_html_textf(out, "%s/%s", aqm_report_run_folder(&page->runs[group->members[0].run]), group->members[0].file);
	if (*command) {
		fputs(": <code>", out);
		aqm_html_text(out, command);
		fputs("</code>", out);
	}
	fputs("</p>\n", out);
}

/* ---- plots ---- */

static void cite(const struct aqm_page *page, const struct group *group, struct aqm_figure *figure)
{
	const char *command = aqm_json_text(group->first, "command");

	aqm_figure_source(figure, "%s/%s, written by: %s", aqm_report_run_folder(&page->runs[group->members[0].run]),
	                  group->members[0].file, *command ? command : "aqmtrain eval --closed-loop");
}

static int plot_scatter(struct aqm_page *page, const struct group *group)
{
	struct aqm_figure figure;
	char id[ID_MAX], text[256];

	snprintf(id, sizeof id, "delay-utilisation-%u", group->number);
	aqm_figure_init(&figure, id, "Delay and utilisation", "P99 of the L queue's delay, ms", "utilisation, %");
	for (size_t i = 0; i < group->count; i++) {
		const struct entry *entry = &group->entries[i];
		struct interval x = interval_at(entry->json, "delay_ms/L/p99", 1),
						y = interval_at(entry->json, "utilisation", 100);
		struct aqm_series *series =
			aqm_figure_add(&figure, AQM_MARK_ERRORS, entry->colour, "%s", label_of(page, entry, text, sizeof text));

		/* On the log axis an end at or below 0 cannot be drawn. */
		aqm_series_add_point(
			&figure, series,
			(struct aqm_point){x.mean, y.mean, x.low > 0 ? x.low : (double)NAN, x.high, y.low, y.high});
	}
	figure.x_log = true;
	figure.y_high = 101; /* and room for a point at 100 */
	aqm_figure_describe(&figure, "Points, up and to the left is better,");
	cite(page, group, &figure);
	return aqm_page_figure(page, &figure);
}

static enum aqm_mark mark_of(const struct entry *entry)
{
	bool second = strcmp(aqm_json_text(entry->json, "name"), "dualpi2-linux") == 0; /* of its colour */

	return entry->policy ? AQM_MARK_LINE : entry->trivial || second ? AQM_MARK_DOTS : AQM_MARK_DASHES;
}

static int plot_cdf(struct aqm_page *page, const struct group *group, const char *queue)
{
	char id[ID_MAX], path[32], text[256], title[192];
	struct aqm_figure figure;

	snprintf(id, sizeof id, "cdf-%c-%u", *queue == 'L' ? 'l' : 'c', group->number);
	snprintf(path, sizeof path, "cdf/%s", queue);
	snprintf(title, sizeof title, "Delay of the %s queue: %.100s", queue, group->cell);
	aqm_figure_init(&figure, id, title, "queue delay, ms", "share of packets at most so late");
	for (size_t i = 0; i < group->count; i++) {
		const struct entry *entry = &group->entries[i];
		const json_t *points = aqm_json_find(entry->cell, path);
		struct aqm_series *series =
			aqm_figure_add(&figure, mark_of(entry), entry->colour, "%s", label_of(page, entry, text, sizeof text));
		size_t k;
		json_t *point;

		json_array_foreach(points, k, point)
			aqm_series_add(&figure, series, aqm_json_at(point, "0"), aqm_json_at(point, "1"));
	}
	figure.x_log = true;
	figure.y_low = 0;
	figure.y_high = 1;
	aqm_figure_describe(&figure, "Lines");
	cite(page, group, &figure);
	return aqm_page_figure(page, &figure);
}

/* The baseline and the policies: more lines than a few cannot be told apart. */
static bool is_followed(const struct group *group, const struct entry *entry)
{
	return entry->policy || strcmp(aqm_json_text(entry->json, "name"), aqm_json_text(group->first, "baseline")) == 0;
}

/* A queue that overflows beside one that does not: only a logarithm shows both. */
static bool wants_logarithm(const struct aqm_figure *figure)
{
	enum { TIMES = 30 };
	double least = INFINITY, most = 0;

	for (size_t i = 0; i < figure->count; i++) {
		double peak = 0;

		for (size_t k = 0; k < figure->series[i].count; k++)
			peak = fmax(peak, figure->series[i].points[k].y);
		least = fmin(least, peak);
		most = fmax(most, peak);
	}
	return least > 0 && most > TIMES * least;
}

static int plot_series(struct aqm_page *page, const struct group *group, const char *key, const char *id_part,
                       const char *what, const char *axis)
{
	char id[ID_MAX], path[48], text[256], title[192];
	struct aqm_figure figure;
	size_t shown = 0;

	snprintf(id, sizeof id, "%s-%u", id_part, group->number);
	snprintf(path, sizeof path, "series/%s", key);
	snprintf(title, sizeof title, "%s over time: %.100s", what, group->cell);
	aqm_figure_init(&figure, id, title, "time, s", axis);
	for (size_t i = 0; i < group->count && shown < SHOWN_SERIES_MAX; i++) {
		const struct entry *entry = &group->entries[i];
		const json_t *times = aqm_json_find(entry->cell, "series/t"), *values = aqm_json_find(entry->cell, path);

		if (!is_followed(group, entry) || !json_array_size(values))
			continue;
		struct aqm_series *series =
			aqm_figure_add(&figure, AQM_MARK_LINE, entry->colour, "%s", label_of(page, entry, text, sizeof text));
		for (size_t k = 0; k < json_array_size(values); k++) {
			const json_t *time = json_array_get(times, k), *value = json_array_get(values, k);

			if (json_is_number(time) && json_is_number(value))
				aqm_series_add(&figure, series, json_number_value(time), json_number_value(value));
		}
		shown++;
	}
	figure.from_zero = true;
	figure.y_log = wants_logarithm(&figure);
	aqm_figure_describe(&figure, "Lines of one seed");
	cite(page, group, &figure);
	return aqm_page_figure(page, &figure);
}

/* The series of that name, or a new one. */
static struct aqm_series *series_named(struct aqm_figure *figure, const char *name)
{
	for (size_t i = 0; i < figure->count; i++)
		if (figure->series[i].name && strcmp(figure->series[i].name, name) == 0)
			return &figure->series[i];
	return aqm_figure_add(figure, AQM_MARK_POINTS, aqm_page_colour(figure->count), "%s", name);
}

/* A line a mode: the label of a point without its target. */
static void add_sweep(const struct aqm_page *page, struct aqm_figure *figure, const struct aqm_report_run *run,
                      const json_t *sweep, const char *key)
{
	size_t i;
	json_t *point;

	json_array_foreach(sweep, i, point) {
		struct interval v = interval_at(point, key, 1);
		const char *label = aqm_json_text(point, "label"), *end = strstr(label, ", return");
		int length = (int)(end ? (size_t)(end - label) : strlen(label));
		char name[256];

		if (page->run_count > 1)
			snprintf(name, sizeof name, "%.100s: %.*s", run->label, length < 120 ? length : 120, label);
		else
			snprintf(name, sizeof name, "%.*s", length < 200 ? length : 200, label);
		aqm_series_add_point(figure, series_named(figure, name),
		                     (struct aqm_point){aqm_json_at(point, "target_return"), v.mean, NAN, NAN, v.low, v.high});
	}
}

/* Targets over orders of magnitude. */
static bool spread_wide(const struct aqm_figure *figure)
{
	enum { TIMES = 30 };
	double least = INFINITY, most = -INFINITY;

	for (size_t i = 0; i < figure->count; i++)
		for (size_t k = 0; k < figure->series[i].count; k++) {
			least = fmin(least, figure->series[i].points[k].x);
			most = fmax(most, figure->series[i].points[k].x);
		}
	return least > 0 && most > TIMES * least;
}

/* Does asking for more give more? */
static int plot_sweep(struct aqm_page *page, const struct group *group, const char *key, const char *axis)
{
	char id[ID_MAX];
	struct aqm_figure figure;

	snprintf(id, sizeof id, "sweep-%s-%u", key, group->number);
	aqm_figure_init(&figure, id,
	                strcmp(key, "return") == 0 ? "What was asked for, and what came" : "Utility by target return",
	                "target return", axis);
	for (size_t i = 0; i < group->member_count; i++)
		add_sweep(page, &figure, &page->runs[group->members[i].run], aqm_json_find(group->members[i].json, "sweep"),
		          key);
	figure.x_log = spread_wide(&figure);
	aqm_figure_describe(&figure, "Lines");
	cite(page, group, &figure);
	return aqm_page_figure(page, &figure);
}

/* ---- cells ---- */

static void put_cells_of(const struct aqm_page *page, const struct member *member, bool baselines)
{
	const char *baseline = aqm_json_text(member->json, "baseline");
	FILE *out = page->out;
	char text[256];
	size_t i, k;
	json_t *cell, *aqm;

	json_array_foreach(aqm_json_find(member->json, "cells"), i, cell)
		json_array_foreach(aqm_json_find(cell, "aqms"), k, aqm) {
			bool policy = json_is_true(json_object_get(aqm, "policy"));

			if (!policy && (!baselines || strcmp(aqm_json_text(aqm, "name"), baseline) != 0))
				continue;
			fprintf(out, "<tr%s><th scope=\"row\">", policy ? "" : " class=\"base\"");
			aqm_html_text(out, aqm_json_text(cell, "name"));
			if (json_is_true(json_object_get(cell, "trained")))
				fputs(" <span class=\"dim\">trained on</span>", out);
			fputs("</th>", out);
			aqm_html_cell_text(out, label_in(page, member->run, aqm, policy, text, sizeof text));
			put_interval(out, interval_at(aqm, "utilisation", 100), 4);
			put_interval(out, interval_at(aqm, "delay_ms/L/p99", 1), 4);
			put_interval(out, interval_at(aqm, "utility", 1), 4);
			put_interval(out, interval_at(aqm, "difference/utility", 1), 3);
			fputs("</tr>\n", out);
		}
}

/* The policies' differences from the baseline in each cell, trained on or not. */
static void put_cells(const struct aqm_page *page, const struct group *group)
{
	FILE *out = page->out;

	if (json_array_size(aqm_json_find(group->first, "cells")) < 2)
		return;
	fputs("<details><summary>Cell by cell</summary>\n", out);
	aqm_html_table_begin(out, "Utility in each cell", "cells num");
	aqm_html_header(out, (const char *const[]){"cell", "decides", "utilisation, %", "L delay P99, ms", "utility",
	                                           "less that of the baseline", NULL});
	fputs("<tbody>\n", out);
	for (size_t i = 0; i < group->member_count; i++)
		put_cells_of(page, &group->members[i], i == 0);
	fputs("</tbody>\n", out);
	aqm_html_table_end(out);
	fputs("</details>\n", out);
}

static void put_generalisation(const struct aqm_page *page, const struct group *group)
{
	FILE *out = page->out;
	size_t k, rows = 0;
	json_t *policy;

	for (size_t i = 0; i < group->member_count; i++)
		rows += json_array_size(aqm_json_find(group->members[i].json, "generalisation/policies"));
	if (!rows)
		return;
	fputs("<h3>Beyond what it was trained on</h3>\n", out);
	aqm_html_table_begin(out, "Utility less the baseline's, on cells trained on and others", "cells num");
	aqm_html_header(out, (const char *const[]){"decides", "cells trained on", "cells never seen", NULL});
	fputs("<tbody>\n", out);
	for (size_t i = 0; i < group->member_count; i++)
		json_array_foreach(aqm_json_find(group->members[i].json, "generalisation/policies"), k, policy) {
			fputs("<tr><th scope=\"row\">", out);
			if (page->run_count > 1)
				aqm_html_textf(out, "%s: ", page->runs[group->members[i].run].label);
			aqm_html_text(out, aqm_json_text(policy, "aqm"));
			fputs("</th>", out);
			put_interval(out, interval_at(policy, "inside", 1), 3);
			put_interval(out, interval_at(policy, "outside", 1), 3);
			fputs("</tr>\n", out);
		}
	fputs("</tbody>\n", out);
	aqm_html_table_end(out);
}

/* Curves are of one cell: say of which, and how many there are. */
static void put_cell_shown(const struct aqm_page *page, const struct group *group)
{
	const json_t *cells = aqm_json_find(group->first, "cells");
	size_t count = json_array_size(cells), place = 0;
	FILE *out = page->out;

	while (place < count && json_array_get(cells, place) != cell_named(group->first, group->cell))
		place++;
	fputs("<p>", out);
	if (count > 1) {
		aqm_html_textf(out, "Curves of delays and rates are of one cell of %zu, number %zu: ", count, place + 1);
		fputs("<code>", out);
		aqm_html_text(out, group->cell);
		fputs("</code> (<code>report --cell NAME</code> shows another). ", out);
	}
	fputs("Distributions are means of each quantile over the seeds; what goes over time is the first seed's.</p>\n",
	      out);
}

static int put_group(struct aqm_page *page, const struct group *group)
{
	fputs("<h3>", page->out);
	aqm_html_text(page->out, group->name);
	fputs("</h3>\n", page->out);
	if (any_has(group, "difference/utility"))
		put_cards(page, group);
	put_conditions(page, group);
	put_cell_shown(page, group);
	aqm_page_figures_begin(page);
	int code = plot_scatter(page, group);
	if (code == AQM_OK)
		code = plot_cdf(page, group, "L");
	if (code == AQM_OK)
		code = plot_cdf(page, group, "C");
	if (code == AQM_OK)
		code = plot_series(page, group, "delay_L_ms", "delay-l", "Delay of the L queue", "queue delay, ms");
	if (code == AQM_OK)
		code = plot_series(page, group, "delay_C_ms", "delay-c", "Delay of the C queue", "queue delay, ms");
	if (code == AQM_OK)
		code = plot_series(page, group, "rate_mbps", "rate", "Rate", "Mb/s");
	if (code == AQM_OK)
		code = plot_sweep(page, group, "return", "return reached");
	if (code == AQM_OK)
		code = plot_sweep(page, group, "utility", "utility");
	aqm_page_figures_end(page);
	put_generalisation(page, group);
	put_cells(page, group);
	return code;
}

/* Is this the first file of its name? */
static bool begins_group(const struct aqm_page *page, size_t run, size_t place)
{
	const char *name = name_of(&page->runs[run].documents[place]);

	for (size_t i = 0; i <= run; i++)
		for (size_t k = 0; k < (i == run ? place : page->runs[i].document_count); k++)
			if (is_closed_loop(&page->runs[i].documents[k]) && strcmp(name_of(&page->runs[i].documents[k]), name) == 0)
				return false;
	return true;
}

/* The cell whose curves are drawn: the one asked for, where the file has it, else the first. */
static const char *choose_cell(const struct aqm_page *page, const json_t *json, bool *found)
{
	const char *wanted = page->options->cell;

	if (!wanted || !cell_named(json, wanted))
		return aqm_json_text(json, "cells/0/name");
	*found = true;
	return wanted;
}

int aqm_page_closed_loop(struct aqm_page *page)
{
	bool found = page->options->cell == NULL;
	unsigned groups = 0;
	int code = AQM_OK;

	for (size_t i = 0; i < page->run_count; i++)
		for (size_t k = 0; k < page->runs[i].document_count && code == AQM_OK; k++) {
			const struct aqm_document *document = &page->runs[i].documents[k];

			if (!is_closed_loop(document) || !begins_group(page, i, k))
				continue;
			struct group group = {.name = name_of(document),
			                      .first = document->json,
			                      .cell = choose_cell(page, document->json, &found),
			                      .number = ++groups};
			code = gather(page, &group);
			if (code == AQM_OK && group.count)
				code = put_group(page, &group);
			free(group.members);
			free(group.entries);
		}
	if (code == AQM_OK && !found)
		code = aqm_error_set(AQM_EUSAGE, "no evaluation in the closed loop has a cell '%s'", page->options->cell);
	return code;
}
