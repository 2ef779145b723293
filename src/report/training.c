/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How the training went: curves out of metrics.jsonl, all runs over each other.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"
#include "report/page.h"

enum { STEP_POINTS = 120 }; /* a step's loss is noise: means say more */

typedef double epoch_value(const struct aqm_history_epoch *epoch);

static double train_loss(const struct aqm_history_epoch *e)
{
	return e->train_loss;
}
static double held_out_loss(const struct aqm_history_epoch *e)
{
	return e->loss;
}
static double train_share(const struct aqm_history_epoch *e)
{
	return e->train_share;
}
static double accuracy(const struct aqm_history_epoch *e)
{
	return e->accuracy;
}
static double macro_f1(const struct aqm_history_epoch *e)
{
	return e->macro_f1;
}
static double trivial_accuracy(const struct aqm_history_epoch *e)
{
	return e->trivial_accuracy;
}
static double trivial_macro_f1(const struct aqm_history_epoch *e)
{
	return e->trivial_macro_f1;
}
static double log_rmse(const struct aqm_history_epoch *e)
{
	return e->log_rmse;
}
static double trivial_log_rmse(const struct aqm_history_epoch *e)
{
	return e->trivial_log_rmse;
}
static double within(const struct aqm_history_epoch *e)
{
	return e->within;
}
static double trivial_within(const struct aqm_history_epoch *e)
{
	return e->trivial_within;
}

static bool of_control(const struct aqm_report_run *run, enum aqm_control control)
{
	return (run->configured ? run->config.control : AQM_CONTROL_PACKET) == control;
}

/* One line a run of that control, named after the run where there are several. */
static void add_lines(const struct aqm_page *page, struct aqm_figure *figure, enum aqm_control control,
                      enum aqm_mark mark, int colour, const char *what, epoch_value *value)
{
	for (size_t i = 0; i < page->run_count; i++) {
		const struct aqm_report_run *run = &page->runs[i];
		int own = colour ? colour : aqm_page_colour(i);

		if (!of_control(run, control))
			continue;
		struct aqm_series *series = page->run_count > 1 ? aqm_figure_add(figure, mark, own, "%s, %s", run->label, what)
		                                                : aqm_figure_add(figure, mark, own, "%s", what);
		for (size_t k = 0; k < run->history.epoch_count; k++)
			aqm_series_add(figure, series, run->history.epochs[k].epoch, value(&run->history.epochs[k]));
	}
}

static double trivial_of(const struct aqm_report_run *run, epoch_value *value)
{
	double found = NAN;

	for (size_t k = 0; k < run->history.epoch_count; k++)
		if (isfinite(value(&run->history.epochs[k])))
			found = value(&run->history.epochs[k]);
	return found;
}

/* What needs no training, as a level line; once where it is the same for all runs. */
static void add_trivial(const struct aqm_page *page, struct aqm_figure *figure, enum aqm_control control,
                        const char *what, epoch_value *value)
{
	double first = NAN;

	for (size_t i = 0; i < page->run_count; i++) {
		const struct aqm_history *h = &page->runs[i].history;
		double level = trivial_of(&page->runs[i], value);

		if (!of_control(&page->runs[i], control) || !isfinite(level) || level == first)
			continue;
		struct aqm_series *series =
			isfinite(first)
				? aqm_figure_add(figure, AQM_MARK_DOTS, AQM_FIGURE_GREY, "%s (%s)", what, page->runs[i].label)
				: aqm_figure_add(figure, AQM_MARK_DOTS, AQM_FIGURE_GREY, "%s", what);
		if (!isfinite(first))
			first = level;
		for (size_t k = 0; k < h->epoch_count; k++)
			aqm_series_add(figure, series, h->epochs[k].epoch, level);
	}
}

static void cite(const struct aqm_page *page, struct aqm_figure *figure)
{
	const char *path = aqm_report_run_folder(&page->runs[0]);

	if (page->run_count == 1)
		aqm_figure_source(figure, "%s/metrics.jsonl, written by: aqmtrain train -c %s/config.yaml -o RUN", path, path);
	else
		aqm_figure_source(figure, "metrics.jsonl of each run's folder (What was run), written by: aqmtrain train -c "
		                          "FOLDER/config.yaml -o RUN");
}

static int finish(struct aqm_page *page, struct aqm_figure *figure)
{
	aqm_figure_describe(figure, "Lines");
	cite(page, figure);
	return aqm_page_figure(page, figure);
}

static int plot_losses(struct aqm_page *page, enum aqm_control control, const char *id, const char *title)
{
	struct aqm_figure figure;
	double low = INFINITY, high = 0;

	aqm_figure_init(&figure, id, title, "epoch", "loss");
	add_lines(page, &figure, control, AQM_MARK_LINE, 0, "held out", held_out_loss);
	add_lines(page, &figure, control, AQM_MARK_DASHES, 0, "training", train_loss);
	for (size_t i = 0; i < figure.count; i++)
		for (size_t k = 0; k < figure.series[i].count; k++) {
			low = fmin(low, figure.series[i].points[k].y);
			high = fmax(high, figure.series[i].points[k].y);
		}
	figure.y_log = low > 0 && high > 12 * low;
	figure.from_zero = true;
	return finish(page, &figure);
}

static int plot_accuracy(struct aqm_page *page)
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, "accuracy", "Accuracy over epochs", "epoch", "accuracy");
	add_lines(page, &figure, AQM_CONTROL_PACKET, AQM_MARK_LINE, 0, "held out", accuracy);
	add_lines(page, &figure, AQM_CONTROL_PACKET, AQM_MARK_DASHES, 0, "training", train_share);
	add_trivial(page, &figure, AQM_CONTROL_PACKET, "majority class, held out", trivial_accuracy);
	return finish(page, &figure);
}

static int plot_macro_f1(struct aqm_page *page)
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, "macro-f1", "Macro-F1 over epochs", "epoch", "macro-F1, held out");
	add_lines(page, &figure, AQM_CONTROL_PACKET, AQM_MARK_LINE, 0, "policy", macro_f1);
	add_trivial(page, &figure, AQM_CONTROL_PACKET, "majority class", trivial_macro_f1);
	figure.from_zero = true;
	figure.y_high = 1;
	return finish(page, &figure);
}

static int plot_updates(struct aqm_page *page)
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, "update-error", "Error of log p' over epochs", "epoch", "root mean square error");
	add_lines(page, &figure, AQM_CONTROL_UPDATE, AQM_MARK_LINE, 0, "held out", log_rmse);
	add_trivial(page, &figure, AQM_CONTROL_UPDATE, "persistence: p' stays as it is", trivial_log_rmse);
	int code = finish(page, &figure);
	if (code != AQM_OK)
		return code;
	aqm_figure_init(&figure, "update-within", "Share of p' within 10 %", "epoch", "share");
	add_lines(page, &figure, AQM_CONTROL_UPDATE, AQM_MARK_LINE, 0, "held out", within);
	add_lines(page, &figure, AQM_CONTROL_UPDATE, AQM_MARK_DASHES, 0, "training", train_share);
	add_trivial(page, &figure, AQM_CONTROL_UPDATE, "persistence, held out", trivial_within);
	figure.from_zero = true;
	return finish(page, &figure);
}

static int plot_steps(struct aqm_page *page, bool norm)
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, norm ? "gradient" : "step-loss",
	                norm ? "Gradient norm over steps" : "Training loss over steps", "step",
	                norm ? "norm of the gradient" : "loss of the step");
	for (size_t i = 0; i < page->run_count; i++) {
		const struct aqm_history *h = &page->runs[i].history;
		struct aqm_series *series =
			aqm_figure_add(&figure, AQM_MARK_LINE, aqm_page_colour(i), "%s", page->runs[i].label);

		for (size_t k = 0; k < h->step_count; k++)
			aqm_series_add(&figure, series, h->steps[k].step, norm ? h->steps[k].norm : h->steps[k].loss);
	}
	aqm_figure_thin(&figure, STEP_POINTS);
	figure.y_log = true;
	return finish(page, &figure);
}

int aqm_page_training(struct aqm_page *page)
{
	bool any = false;
	int code;

	for (size_t i = 0; i < page->run_count; i++)
		any = any || page->runs[i].history.epoch_count || page->runs[i].history.step_count;
	if (!any)
		return AQM_OK;
	fputs("<p>Solid lines are on rows that training never saw; a gap between them and the dashed ones is what was "
	      "learned by heart."
	      "</p>\n",
	      page->out);
	aqm_page_figures_begin(page);
	code = plot_losses(page, AQM_CONTROL_PACKET, "loss", "Loss over epochs");
	if (code == AQM_OK)
		code = plot_losses(page, AQM_CONTROL_UPDATE, "update-loss", "Loss over epochs, control: update");
	if (code == AQM_OK)
		code = plot_accuracy(page);
	if (code == AQM_OK)
		code = plot_macro_f1(page);
	if (code == AQM_OK)
		code = plot_updates(page);
	if (code == AQM_OK)
		code = plot_steps(page, false);
	if (code == AQM_OK)
		code = plot_steps(page, true);
	aqm_page_figures_end(page);
	return code;
}
