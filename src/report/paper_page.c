/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The paper's tables and figures (7 to 18) with ours beside the published values.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "report/html.h"
#include "report/page.h"
#include "report/paper.h"

/* ---- ours ---- */

/* The paper decides packet by packet. */
static bool is_comparable(const struct aqm_report_run *run)
{
	return !run->configured || run->config.control == AQM_CONTROL_PACKET;
}

static const char *architecture_of(const struct aqm_report_run *run)
{
	return aqm_json_text(run->record, "base/architecture");
}

static double last_of(const struct aqm_history *h, bool first, double (*value)(const struct aqm_history_epoch *))
{
	double found = NAN;

	for (size_t i = 0; i < h->epoch_count; i++)
		if (isfinite(value(&h->epochs[i]))) {
			found = value(&h->epochs[i]);
			if (first)
				break;
		}
	return found;
}

static double train_loss(const struct aqm_history_epoch *e)
{
	return e->train_loss;
}
static double train_accuracy(const struct aqm_history_epoch *e)
{
	return e->train_share;
}
static double held_out_accuracy(const struct aqm_history_epoch *e)
{
	return e->accuracy;
}
static double held_out_f1(const struct aqm_history_epoch *e)
{
	return e->macro_f1;
}
static double majority(const struct aqm_history_epoch *e)
{
	return e->trivial_accuracy;
}
static double elapsed(const struct aqm_history_epoch *e)
{
	return e->elapsed;
}

/* Seconds a decision takes: as the closed loop or the replay saw it, else what `bench decide --json` says. */
static double decision_seconds(const struct aqm_report_run *run)
{
	double found = NAN;

	for (size_t i = 0; i < run->document_count; i++) {
		const json_t *json = run->documents[i].json, *row;
		double ms = aqm_json_at(json, "decision_delay_ms/mean");
		size_t k;

		if (isfinite(ms))
			return ms / 1e3;
		json_array_foreach(json, k, row)
			if (strncmp(aqm_json_text(row, "name"), "decide", 6) == 0 && strcmp(aqm_json_text(row, "unit"), "ms") == 0)
				found = aqm_json_at(row, "value") / 1e3;
	}
	return found;
}

/* ---- notes ---- */

static void put_notes(FILE *out, const char *figures)
{
	fputs("<p>Known of the published figures:</p>\n<ul>\n", out);
	for (size_t i = 0; i < aqm_paper_note_count; i++)
		if (strcmp(aqm_paper_notes[i].figures, figures) == 0) {
			fputs("<li>", out);
			aqm_html_text(out, aqm_paper_notes[i].text);
			fputs("</li>\n", out);
		}
	fputs("</ul>\n", out);
}

static void begin_row(FILE *out, bool published, const char *name, const char *what)
{
	fputs(published ? "<tr class=\"base\"><th scope=\"row\">" : "<tr><th scope=\"row\">", out);
	aqm_html_text(out, name);
	fputs(" <span class=\"dim\">", out);
	aqm_html_text(out, what);
	fputs("</span></th>", out);
}

/* Calls `row` for each base as published, and for each run on a base of its architecture; then for runs on other
 * bases. */
static void put_by_base(const struct aqm_page *page, void (*published)(FILE *, const struct aqm_paper_model *),
                        void (*ours)(FILE *, const struct aqm_report_run *))
{
	FILE *out = page->out;

	fputs("<tbody>\n", out);
	for (size_t b = 0; b <= AQM_PAPER_BASES; b++) {
		const char *architecture = b < AQM_PAPER_BASES ? aqm_paper_models[b].architecture : NULL;

		if (architecture) {
			begin_row(out, true, aqm_paper_models[b].name, "published");
			published(out, &aqm_paper_models[b]);
			fputs("</tr>\n", out);
		}
		for (size_t i = 0; i < page->run_count; i++) {
			const char *own = architecture_of(&page->runs[i]);
			bool known = false;

			for (size_t k = 0; k < AQM_PAPER_BASES; k++)
				known = known || strcmp(own, aqm_paper_models[k].architecture) == 0;
			if (!is_comparable(&page->runs[i]) || (architecture ? strcmp(own, architecture) != 0 : known))
				continue;
			begin_row(out, false, page->runs[i].label, *own ? own : "base not recorded");
			ours(out, &page->runs[i]);
			fputs("</tr>\n", out);
		}
	}
	fputs("</tbody>\n", out);
}

/* ---- figures 7 and 8 ---- */

static void published_training(FILE *out, const struct aqm_paper_model *model)
{
	aqm_html_cell(out, 32 * model->loss_first, 3);
	aqm_html_cell(out, 32 * model->loss_last, 3);
	aqm_html_cell(out, model->accuracy, 4);
	fputs("<td>&#8211;</td><td>&#8211;</td><td>&#8211;</td>", out);
}

static void our_training(FILE *out, const struct aqm_report_run *run)
{
	const struct aqm_history *h = &run->history;

	aqm_html_cell(out, last_of(h, true, train_loss), 3);
	aqm_html_cell(out, last_of(h, false, train_loss), 3);
	aqm_html_cell(out, last_of(h, false, train_accuracy), 4);
	aqm_html_cell(out, last_of(h, false, held_out_accuracy), 4);
	aqm_html_cell(out, last_of(h, false, held_out_f1), 4);
	aqm_html_cell(out, last_of(h, false, majority), 4);
}

static int plot_training(struct aqm_page *page, const char *id, const char *title, const char *axis,
                         double (*value)(const struct aqm_history_epoch *))
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, id, title, "epoch", axis);
	for (size_t i = 0; i < page->run_count; i++) {
		const struct aqm_history *h = &page->runs[i].history;
		struct aqm_series *series =
			aqm_figure_add(&figure, AQM_MARK_LINE, aqm_page_colour(i), "%s", page->runs[i].label);

		for (size_t k = 0; is_comparable(&page->runs[i]) && k < h->epoch_count; k++)
			aqm_series_add(&figure, series, h->epochs[k].epoch, value(&h->epochs[k]));
	}
	figure.from_zero = true;
	aqm_figure_describe(&figure, "Lines");
	aqm_figure_source(
		&figure,
		"metrics.jsonl of each run's folder (What was run), written by: aqmtrain train -c FOLDER/config.yaml -o RUN");
	return aqm_page_figure(page, &figure);
}

static int put_training(struct aqm_page *page)
{
	FILE *out = page->out;

	fputs("<h3>Figures 7 and 8: loss and accuracy over epochs</h3>\n", out);
	aqm_html_table_begin(out, "Loss and accuracy, published and ours", "num");
	aqm_html_header(out, (const char *const[]){"base", "first loss, nat", "last loss, nat", "accuracy on training rows",
	                                           "held out", "macro-F1 held out", "majority class held out", NULL});
	put_by_base(page, published_training, our_training);
	aqm_html_table_end(out);
	put_notes(out, "7, 8");
	aqm_page_figures_begin(page);
	int code = plot_training(page, "paper-7", "Figure 7: training loss", "loss", train_loss);
	if (code == AQM_OK)
		code = plot_training(page, "paper-8", "Figure 8: training accuracy", "accuracy", train_accuracy);
	aqm_page_figures_end(page);
	return code;
}

/* ---- figures 9 to 14 ---- */

struct replay {
	const struct aqm_report_run *run;
	const json_t *json, *side; /* the file, and "logged" or "policy" in it */
	int interval;              /* 0: logged */
	int colour;
	char name[160];
};

struct replays {
	struct replay *items;
	size_t count;
};

static int add_replay(struct replays *list, struct replay replay)
{
	struct replay *grown = aqm_realloc_array(list->items, list->count + 1, sizeof *grown);

	if (!grown)
		return AQM_ERUN;
	list->items = grown;
	grown[list->count++] = replay;
	return AQM_OK;
}

static double interval_of(const json_t *json)
{
	double interval = aqm_json_at(json, "interval");

	return interval >= 1 && interval <= 1e6 ? interval : (double)NAN;
}

/* The log once, then each run at each interval. */
static int collect_replays(const struct aqm_page *page, struct replays *list)
{
	int code = AQM_OK, colour = 0;

	for (size_t i = 0; i < page->run_count; i++)
		for (size_t k = 0; k < page->runs[i].document_count && code == AQM_OK; k++) {
			const json_t *json = page->runs[i].documents[k].json, *policy = aqm_json_find(json, "policy");
			struct replay replay = {.run = &page->runs[i], .json = json};

			if (strcmp(page->runs[i].documents[k].kind, "replay") != 0 || !isfinite(interval_of(json)) ||
			    !json_is_object(policy))
				continue;
			if (!list->count) {
				replay.side = aqm_json_find(json, "logged");
				replay.colour = AQM_FIGURE_GREY;
				snprintf(replay.name, sizeof replay.name, "as logged");
				code = add_replay(list, replay);
			}
			replay.side = policy;
			replay.interval = (int)interval_of(json);
			replay.colour = aqm_page_colour((size_t)colour++);
			snprintf(replay.name, sizeof replay.name, "%.100s, each %dth packet", page->runs[i].label, replay.interval);
			if (code == AQM_OK)
				code = add_replay(list, replay);
		}
	return code;
}

static int compare_numbers(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The numbers of a list, sorted or as they are; owned by the caller. */
static double *numbers_of(const json_t *list, size_t *count, bool sorted)
{
	double *numbers = aqm_malloc_array(json_array_size(list), sizeof *numbers);
	size_t i;
	json_t *item;

	*count = 0;
	if (!numbers)
		return NULL;
	json_array_foreach(list, i, item)
		if (json_is_number(item))
			numbers[(*count)++] = json_number_value(item);
	if (sorted)
		qsort(numbers, *count, sizeof *numbers, compare_numbers);
	return numbers;
}

static double quantile(const double *sorted, size_t count, double share)
{
	return count ? sorted[(size_t)(share * (double)(count - 1) + 0.5)] : (double)NAN;
}

/* What the file says of itself, or what its series gives. */
static double quantile_at(const struct replay *replay, const char *name, double share, const char *series)
{
	char path[64];
	size_t count;

	snprintf(path, sizeof path, "quantiles/%s", name);
	double said = strcmp(series, "delay_ms") == 0 ? aqm_json_at(replay->side, path) : (double)NAN;
	if (isfinite(said))
		return said;
	double *numbers = numbers_of(aqm_json_find(replay->side, series), &count, true), sum = 0;
	for (size_t i = 0; numbers && i < count; i++)
		sum += numbers[i] / (double)count;
	double found = !numbers || !count ? (double)NAN : share < 0 ? sum : quantile(numbers, count, share);
	free(numbers);
	return found;
}

static void put_replay_rows(FILE *out, const struct replays *list)
{
	fputs("<tbody>\n", out);
	for (size_t i = 0; i < aqm_paper_replay_count; i++) {
		const struct aqm_paper_replay *r = &aqm_paper_replays[i];
		const double values[] = {
			r->median,          r->mean,          r->p75, r->p90, r->p95, r->p99, r->throughput_median,
			r->throughput_mean, 100 * r->repeated};

		begin_row(out, true, r->what, "published");
		for (size_t k = 0; k < sizeof values / sizeof *values; k++)
			aqm_html_cell(out, values[k], 3);
		fputs("</tr>\n", out);
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct replay *r = &list->items[i];
		static const struct {
			const char *name, *series;
			double share; /* -1: the mean */
		} figures[] = {{"median", "delay_ms", .5},   {"mean", "delay_ms", -1},  {"p75", "delay_ms", .75},
		               {"p90", "delay_ms", .9},      {"p95", "delay_ms", .95},  {"p99", "delay_ms", .99},
		               {"median", "throughput", .5}, {"mean", "throughput", -1}};

		begin_row(out, false, r->name, "ours");
		for (size_t k = 0; k < sizeof figures / sizeof *figures; k++)
			aqm_html_cell(out, quantile_at(r, figures[k].name, figures[k].share, figures[k].series), 3);
		aqm_html_cell(out, r->interval ? 100 * aqm_json_at(r->json, "repeated_share") : (double)NAN, 3);
		fputs("</tr>\n", out);
	}
	fputs("</tbody>\n", out);
}

static void cite_replay(struct aqm_figure *figure, const struct replays *list)
{
	const char *command = aqm_json_text(list->items[0].json, "command");

	aqm_figure_source(figure, "%s, written by: %s", aqm_report_run_folder(list->items[0].run),
	                  *command ? command : "aqmtrain eval --replay --interval 10|100");
}

enum { PLOTTED_MAX = 5 }; /* the log and two runs: the table has the others */

enum replay_plot { OVER_TIME, BOXES, DISTRIBUTION };

static void add_replay_series(struct aqm_figure *figure, const struct replay *r, size_t place, const char *key,
                              enum replay_plot plot)
{
	size_t count;
	double *numbers = numbers_of(aqm_json_find(r->side, key), &count, plot != OVER_TIME);
	static const enum aqm_mark marks[] = {AQM_MARK_LINE, AQM_MARK_BOXES, AQM_MARK_STEPS};
	enum aqm_mark mark = marks[plot];
	struct aqm_series *series = numbers ? aqm_figure_add(figure, mark, r->colour, "%s", r->name) : NULL;

	if (plot == BOXES && count)
		aqm_series_add_point(figure, series,
		                     (struct aqm_point){(double)place, quantile(numbers, count, .5),
		                                        quantile(numbers, count, .05), quantile(numbers, count, .95),
		                                        quantile(numbers, count, .25), quantile(numbers, count, .75)});
	if (plot == DISTRIBUTION && count)
		aqm_series_add(figure, series, numbers[0], 0);
	for (size_t k = 0; numbers && plot != BOXES && k < count; k++) {
		if (plot == OVER_TIME)
			aqm_series_add(figure, series, (double)k, numbers[k]);
		else if (k + 1 == count || numbers[k + 1] != numbers[k]) /* the distribution steps where values end */
			aqm_series_add(figure, series, numbers[k], (double)(k + 1) / (double)count);
	}
	free(numbers);
}

static int plot_replay(struct aqm_page *page, const struct replays *list, const char *id, const char *title,
                       const char *key, const char *axis, enum replay_plot plot)
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, id, title,
	                plot == DISTRIBUTION ? axis
	                : plot == BOXES      ? ""
	                                     : "row",
	                plot == DISTRIBUTION ? "share of rows at most so large" : axis);
	for (size_t i = 0; i < list->count && i < PLOTTED_MAX; i++)
		add_replay_series(&figure, &list->items[i], 1, key, plot);
	if (plot == BOXES)
		aqm_figure_category(&figure, "median, quartiles, 5 % and 95 %");
	figure.from_zero = true;
	if (plot == DISTRIBUTION)
		figure.y_high = 1;
	aqm_figure_describe(&figure, plot == BOXES ? "Boxes" : "Lines");
	cite_replay(&figure, list);
	return aqm_page_figure(page, &figure);
}

static int plot_replays(struct aqm_page *page, const struct replays *list)
{
	static const struct {
		const char *id, *title, *key, *axis;
		enum replay_plot plot;
	} plots[] = {
		{"paper-9", "Figure 9: queue delay over time", "delay_ms", "queue delay, ms", OVER_TIME},
		{"paper-10", "Figure 10: queue delay", "delay_ms", "queue delay, ms", BOXES},
		{"paper-11", "Figure 11: distribution of the queue delay", "delay_ms", "queue delay, ms", DISTRIBUTION},
		{"paper-12", "Figure 12: 'bandwidth' over time", "throughput", "by the paper's formula", OVER_TIME},
		{"paper-13", "Figure 13: 'bandwidth'", "throughput", "by the paper's formula", BOXES},
		{"paper-14", "Figure 14: distribution of the 'bandwidth'", "throughput", "by the paper's formula",
	     DISTRIBUTION},
	};
	int code = AQM_OK;

	aqm_page_figures_begin(page);
	for (size_t i = 0; i < sizeof plots / sizeof *plots && code == AQM_OK; i++)
		code = plot_replay(page, list, plots[i].id, plots[i].title, plots[i].key, plots[i].axis, plots[i].plot);
	aqm_page_figures_end(page);
	return code;
}

static int put_replays(struct aqm_page *page)
{
	struct replays list = {0};
	FILE *out = page->out;
	int code = collect_replays(page, &list);

	fputs("<h3>Figures 9 to 14: queue delay and 'bandwidth' in the replay</h3>\n", out);
	aqm_html_table_begin(out, "Replay, published and ours", "num");
	aqm_html_header(out, (const char *const[]){"decides", "delay: median, ms", "mean", "P75", "P90", "P95", "P99",
	                                           "'bandwidth': median", "mean", "rows that repeat, %", NULL});
	put_replay_rows(out, &list);
	aqm_html_table_end(out);
	put_notes(out, "9-14");
	if (list.count && code == AQM_OK)
		code = plot_replays(page, &list);
	else if (code == AQM_OK)
		fputs("<p class=\"note\">No run here was replayed: <code>aqmtrain eval -r RUN --pool POOL.h5 --replay "
		      "--interval 10 -o "
		      "RUN/replay-10.json</code>.</p>\n",
		      out);
	free(list.items);
	return code;
}

/* ---- figures 15 to 18 ---- */

static void published_cost(FILE *out, const struct aqm_paper_model *model)
{
	aqm_html_cell(out, model->trainable, 0);
	aqm_html_cell(out, model->memory_gb, 4);
	aqm_html_cell(out, model->decision_s, 4);
	aqm_html_cell(out, model->training_h, 4);
	aqm_html_cell(out, model->training_h_said, 4);
}

static double training_hours(const struct aqm_report_run *run)
{
	double recorded = aqm_json_at(run->record, "elapsed_s");

	return (isfinite(recorded) && recorded > 0 ? recorded : last_of(&run->history, false, elapsed)) / 3600;
}

static double memory_gigabytes(const struct aqm_report_run *run)
{
	return aqm_json_at(run->record, "memory_peak_bytes") / 1e9;
}

static double trainable(const struct aqm_report_run *run)
{
	return aqm_json_at(run->record, "trainable");
}

static void our_cost(FILE *out, const struct aqm_report_run *run)
{
	aqm_html_cell(out, trainable(run), 0);
	aqm_html_cell(out, memory_gigabytes(run), 4);
	aqm_html_cell(out, decision_seconds(run), 4);
	aqm_html_cell(out, training_hours(run), 4);
	fputs("<td>&#8211;</td>", out);
}

static double published_value(const struct aqm_paper_model *model, size_t figure)
{
	const double values[] = {model->trainable, model->memory_gb, model->decision_s, model->training_h};

	return values[figure];
}

/* Of the runs on bases of an architecture, the one with the most parameters; NULL: there is none. */
static const struct aqm_report_run *largest_on(const struct aqm_page *page, const char *architecture)
{
	const struct aqm_report_run *found = NULL;

	for (size_t i = 0; i < page->run_count; i++) {
		const struct aqm_report_run *run = &page->runs[i];

		if (is_comparable(run) && strcmp(architecture_of(run), architecture) == 0 &&
		    (!found || aqm_json_at(run->record, "base/parameters") > aqm_json_at(found->record, "base/parameters")))
			found = run;
	}
	return found;
}

static int plot_cost(struct aqm_page *page, size_t number)
{
	static const struct {
		const char *id, *title, *axis;
		double (*ours)(const struct aqm_report_run *);
	} figures[] = {
		{"paper-15", "Figure 15: trainable parameters", "trainable parameters", trainable},
		{"paper-16", "Figure 16: memory of training", "GB", memory_gigabytes},
		{"paper-17", "Figure 17: time of a decision", "s", decision_seconds},
		{"paper-18", "Figure 18: time of training", "h", training_hours},
	};
	struct aqm_figure figure;

	aqm_figure_init(&figure, figures[number].id, figures[number].title, "base model", figures[number].axis);
	for (size_t b = 0; b < AQM_PAPER_BASES; b++)
		aqm_figure_category(&figure, aqm_paper_models[b].architecture);
	struct aqm_series *series = aqm_figure_add(&figure, AQM_MARK_BARS, AQM_FIGURE_GREY, "published");
	for (size_t b = 0; b < AQM_PAPER_BASES; b++)
		aqm_series_add(&figure, series, (double)b + 1, published_value(&aqm_paper_models[b], number));
	series = aqm_figure_add(&figure, AQM_MARK_BARS, 1, "ours, the largest base of the kind");
	for (size_t b = 0; b < AQM_PAPER_BASES; b++) {
		const struct aqm_report_run *run = largest_on(page, aqm_paper_models[b].architecture);

		aqm_series_add(&figure, series, (double)b + 1, run ? figures[number].ours(run) : (double)NAN);
	}
	figure.y_log = true;
	aqm_figure_describe(&figure, "Bars");
	aqm_figure_source(&figure, "run.json and metrics.jsonl of each run's folder, and its evaluations (What was run); "
	                           "published values: see above");
	return aqm_page_figure(page, &figure);
}

static int put_costs(struct aqm_page *page)
{
	FILE *out = page->out;
	int code = AQM_OK;

	fputs("<h3>Figures 15 to 18: what base models cost</h3>\n<p>Ours are of the base models, settings and machine "
	      "under What was run: smaller ones than "
	      "the paper's, unless they say otherwise.</p>\n",
	      out);
	aqm_html_table_begin(out, "Cost of base models, published and ours", "num");
	aqm_html_header(out, (const char *const[]){"base", "trainable parameters", "memory, GB", "a decision, s",
	                                           "training, h", "as the text says, h", NULL});
	put_by_base(page, published_cost, our_cost);
	aqm_html_table_end(out);
	put_notes(out, "15-18");
	aqm_page_figures_begin(page);
	for (size_t i = 0; i < 4 && code == AQM_OK; i++)
		code = plot_cost(page, i);
	aqm_page_figures_end(page);
	return code;
}

int aqm_page_paper(struct aqm_page *page)
{
	fputs("<p>&#8220;Distilling Large Language Models for Network Active Queue Management&#8221; (Satish, Pokhrel, "
	      "Kua, Walid): its figures 7 to 18, "
	      "published values on grey, ours below them, and what is known about each. Published values are from the "
	      "paper's text, or, where a figure "
	      "has no legible numbers, from the data that it was drawn from.</p>\n",
	      page->out);
	int code = put_training(page);
	if (code == AQM_OK)
		code = put_replays(page);
	if (code == AQM_OK)
		code = put_costs(page);
	return code;
}
