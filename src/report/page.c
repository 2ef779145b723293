/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The page: sections, and what every figure has around it.
 */
#include "report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "report/html.h"

enum { TABLE_ROWS_MAX = 80 };

int aqm_page_colour(size_t place)
{
	return (int)(place % (AQM_FIGURE_COLOURS - 1)) + 1;
}

void aqm_page_heading(struct aqm_page *page, const char *id, const char *title)
{
	fprintf(page->out, "\n<h2 id=\"%s\">", id);
	aqm_html_text(page->out, title);
	fputs("</h2>\n", page->out);
}

void aqm_page_figures_begin(struct aqm_page *page)
{
	fputs("<div class=\"figures\">\n", page->out);
}

void aqm_page_figures_end(struct aqm_page *page)
{
	fputs("</div>\n", page->out);
}

/* ---- a figure ---- */

/* The shapes of gnuplot.c, in the same order. */
static void put_shape(FILE *out, size_t place, int colour)
{
	static const char *const shapes[AQM_FIGURE_SHAPES] = {"M9 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
	                                                      "M9 2h8v8h-8z",
	                                                      "M13 1l5 9h-10z",
	                                                      "M13 11l5-9h-10z",
	                                                      "M13 0l6 6-6 6-6-6z",
	                                                      "M13 1l5 4-2 6h-6l-2-6z"};

	fprintf(out, "<path d=\"%s\" fill=\"var(--s%d)\"/>", shapes[place % AQM_FIGURE_SHAPES], colour);
}

static void put_legend(FILE *out, const struct aqm_figure *figure)
{
	static const char *const dashes[] = {[AQM_MARK_DASHES] = " stroke-dasharray=\"7 4\"",
	                                     [AQM_MARK_DOTS] = " stroke-dasharray=\"2 3\"",
	                                     [AQM_MARK_BOXES] = NULL};

	fputs("<ul class=\"legend\">", out);
	for (size_t i = 0; i < figure->count; i++) {
		const struct aqm_series *s = &figure->series[i];

		fputs("<li><svg viewBox=\"0 0 26 12\" aria-hidden=\"true\">", out);
		if (s->mark <= AQM_MARK_POINTS)
			fprintf(out, "<path d=\"M0 6h26\" stroke=\"var(--s%d)\" stroke-width=\"2.5\"%s/>", s->colour,
			        dashes[s->mark] ? dashes[s->mark] : "");
		if (s->mark == AQM_MARK_BARS || s->mark == AQM_MARK_BOXES)
			fprintf(out, "<rect x=\"6\" y=\"0\" width=\"14\" height=\"12\" rx=\"2\" fill=\"var(--s%d)\"/>", s->colour);
		if (s->mark == AQM_MARK_POINTS || s->mark == AQM_MARK_ERRORS)
			put_shape(out, i, s->colour);
		fputs("</svg><span>", out);
		aqm_html_text(out, s->name);
		fputs("</span></li>", out);
	}
	fputs("</ul>\n", out);
}

/* Do all series have their points at the same x? Then they share rows. */
static bool same_places(const struct aqm_figure *figure)
{
	const struct aqm_series *first = &figure->series[0];

	for (size_t i = 1; i < figure->count; i++) {
		if (figure->series[i].count != first->count)
			return false;
		for (size_t k = 0; k < first->count; k++)
			if (figure->series[i].points[k].x != first->points[k].x)
				return false;
	}
	return true;
}

static void put_place(FILE *out, const struct aqm_figure *figure, double x)
{
	fputs("<td>", out);
	if (x >= 1 && x <= (double)figure->category_count)
		aqm_html_text(out, figure->categories[(size_t)x - 1]);
	else
		aqm_html_number(out, x, x == floor(x) ? 0 : 5);
	fputs("</td>", out);
}

static void put_value(FILE *out, const struct aqm_point *point)
{
	fputs("<td class=\"n\">", out);
	aqm_html_interval(out, point->y, point->y_low, point->y_high, 5);
	fputs("</td>", out);
}

static void put_shared_rows(FILE *out, const struct aqm_figure *figure, size_t stride)
{
	fputs("<thead><tr><th scope=\"col\">", out);
	aqm_html_text(out, figure->x_label);
	fputs("</th>", out);
	for (size_t i = 0; i < figure->count; i++) {
		fputs("<th scope=\"col\" class=\"n\">", out);
		aqm_html_text(out, figure->series[i].name);
		fputs("</th>", out);
	}
	fputs("</tr></thead>\n<tbody>\n", out);
	for (size_t k = 0; k < figure->series[0].count; k += stride) {
		fputs("<tr>", out);
		put_place(out, figure, figure->series[0].points[k].x);
		for (size_t i = 0; i < figure->count; i++)
			put_value(out, &figure->series[i].points[k]);
		fputs("</tr>\n", out);
	}
	fputs("</tbody>\n", out);
}

static void put_own_rows(FILE *out, const struct aqm_figure *figure, size_t stride)
{
	aqm_html_header(out, (const char *const[]){"series", figure->x_label, figure->y_label, NULL});
	fputs("<tbody>\n", out);
	for (size_t i = 0; i < figure->count; i++) {
		const struct aqm_series *s = &figure->series[i];

		for (size_t k = 0; k < s->count; k += stride) {
			fputs("<tr>", out);
			aqm_html_cell_text(out, s->name);
			put_place(out, figure, s->points[k].x);
			put_value(out, &s->points[k]);
			fputs("</tr>\n", out);
		}
	}
	fputs("</tbody>\n", out);
}

static void put_table(FILE *out, const struct aqm_figure *figure, bool open)
{
	bool shared = same_places(figure);
	size_t rows = 0;

	for (size_t i = 0; i < figure->count; i++)
		rows = shared ? figure->series[i].count : rows + figure->series[i].count;
	size_t stride = (rows + TABLE_ROWS_MAX - 1) / TABLE_ROWS_MAX;
	fprintf(out, "<details%s><summary>The figures", open ? " open=\"open\"" : "");
	if (stride > 1)
		fprintf(out, ", one in %zu", stride);
	fputs("</summary>\n", out);
	aqm_html_table_begin(out, figure->title, "values");
	if (shared)
		put_shared_rows(out, figure, stride);
	else
		put_own_rows(out, figure, stride);
	aqm_html_table_end(out);
	fputs("</details>\n", out);
}

static int write_png(const struct aqm_page *page, const struct aqm_figure *figure)
{
	char *data = NULL, *name = aqm_strprintf("%s.png", figure->id);
	char *path = name ? aqm_path_join(page->options->png_folder, name) : NULL;
	size_t bytes;
	int code = path ? aqm_plot(figure, AQM_PLOT_PNG, &data, &bytes) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_file_write(path, data, bytes);
	free(data);
	free(name);
	free(path);
	return code;
}

/* The plot; or why there is none. */
static int put_plot(struct aqm_page *page, const struct aqm_figure *figure)
{
	char *svg = NULL, *clean = NULL;
	size_t bytes;

	if (page->plotless)
		return AQM_ENOTFOUND;
	int code = aqm_plot(figure, AQM_PLOT_SVG, &svg, &bytes);
	if (code == AQM_OK)
		code = aqm_svg_clean(svg, bytes, figure->id, figure->title, figure->alt ? figure->alt : figure->title, &clean);
	if (code == AQM_OK) {
		fputs(clean, page->out);
		fputc('\n', page->out);
		page->plots++;
	} else if (code == AQM_ENOTFOUND) {
		page->plotless = true;
	} else {
		fputs("<p class=\"note\">No plot: ", page->out);
		aqm_html_text(page->out, aqm_error_message());
		fputs(".</p>\n", page->out);
		aqm_log_warning("figure '%s': %s", figure->id, aqm_error_message());
	}
	free(svg);
	free(clean);
	if (code == AQM_OK && page->options->png_folder)
		return write_png(page, figure);
	return code == AQM_OK || code == AQM_ENOTFOUND ? code : AQM_EDATA;
}

int aqm_page_figure(struct aqm_page *page, struct aqm_figure *figure)
{
	FILE *out = page->out;
	int code = AQM_OK;

	aqm_figure_thin(figure, AQM_FIGURE_POINTS);
	bool drawable = aqm_figure_drawable(figure);
	if (figure->failed)
		code = aqm_error_set(AQM_ERUN, "no memory for figure '%s'", figure->id);
	if (drawable) {
		fprintf(out, "<figure id=\"%s\">\n<h3>", figure->id);
		aqm_html_text(out, figure->title);
		fputs("</h3>\n", out);
		if (!page->plotless)
			put_legend(out, figure);
		code = put_plot(page, figure);
		put_table(out, figure, code != AQM_OK);
		if (code == AQM_ENOTFOUND || code == AQM_EDATA)
			code = AQM_OK;
		fputs("<figcaption>", out);
		if (figure->source)
			aqm_html_text(out, figure->source);
		fputs("</figcaption>\n</figure>\n", out);
	}
	aqm_figure_release(figure);
	return code;
}

/* ---- the page ---- */

static void put_title(FILE *out, const struct aqm_page *page)
{
	if (page->options->title) {
		aqm_html_text(out, page->options->title);
		return;
	}
	for (size_t i = 0; i < page->run_count && i < 4; i++) {
		fputs(i ? ", " : "", out);
		aqm_html_text(out, page->runs[i].label);
	}
	if (page->run_count > 4)
		fprintf(out, " and %zu more", page->run_count - 4);
}

static void put_header(struct aqm_page *page)
{
	FILE *out = page->out;

	fputs("<header>\n<h1>", out);
	put_title(out, page);
	fprintf(out, "</h1>\n<p class=\"lead\">Learned queue management: %s, measured beside what needs no learning.</p>\n",
	        page->run_count == 1 ? "a run of aqmtrain" : "runs of aqmtrain side by side");
}

static void put_notes(struct aqm_page *page)
{
	FILE *out = page->out;

	if (page->plotless)
		fputs("<p class=\"note\" id=\"no-gnuplot\">There are no plots: gnuplot is not installed, or not on PATH. Their "
		      "figures stand in "
		      "the tables; with gnuplot (package gnuplot-nox) the same command draws them.</p>\n",
		      out);
	for (size_t i = 0; i < page->run_count; i++)
		for (size_t k = 0; k < page->runs[i].note_count; k++) {
			fputs("<p class=\"note\"><b>", out);
			aqm_html_text(out, page->runs[i].label);
			fputs("</b>: ", out);
			aqm_html_text(out, page->runs[i].notes[k]);
			fputs("</p>\n", out);
		}
}

static void put_footer(struct aqm_page *page)
{
	FILE *out = page->out;

	fputs("<footer>\n<p>Made by aqmtrain " AQM_VERSION, out);
	if (page->options->command) {
		fputs(" with <code>", out);
		aqm_html_text(out, page->options->command);
		fputs("</code>", out);
	}
	fputs(".</p>\n<p>Each figure names the folder and the command that it comes from. ", out);
	fputs("A <code>config.yaml</code> there is complete: training on it again gives the same run.</p>\n</footer>\n",
	      out);
}

/* A section into memory of its own, so that the contents are known before the head is written. */
static int write_section(struct aqm_page *page, int (*write)(struct aqm_page *), char **text)
{
	FILE *whole = page->out;
	size_t bytes;

	*text = NULL;
	page->out = open_memstream(text, &bytes);
	if (!page->out) {
		page->out = whole;
		return aqm_error_errno(AQM_ERUN, "cannot write the report");
	}
	int code = write(page);
	bool good = !ferror(page->out);
	if (fclose(page->out) != 0 || !good)
		code = aqm_error_set(AQM_ERUN, "no memory for the report");
	page->out = whole;
	return code;
}

/* In this order on the page: the verdict before anything that explains it. */
static const struct {
	const char *id, *name;
	int (*write)(struct aqm_page *page);
	bool paper; /* only when asked for */
} sections[] = {
	{"verdict", "Verdict", aqm_page_verdict, false},
	{"closed-loop", "In the closed loop", aqm_page_closed_loop, false},
	{"training", "Training", aqm_page_training, false},
	{"confusion", "What is taken for what", aqm_page_confusion, false},
	{"paper", "Beside the paper", aqm_page_paper, true},
	{"inputs", "What was run", aqm_page_inputs, false},
};

enum { SECTIONS = sizeof sections / sizeof *sections };

static void put_contents(FILE *out, char *const *texts)
{
	fputs("<nav aria-label=\"Sections\">", out);
	for (size_t i = 0; i < SECTIONS; i++)
		if (texts[i] && *texts[i]) {
			fprintf(out, "<a href=\"#%s\">", sections[i].id);
			aqm_html_text(out, sections[i].name);
			fputs("</a>", out);
		}
	fputs("</nav>\n</header>\n<main>\n", out);
}

int aqm_page_write(struct aqm_page *page)
{
	char *texts[SECTIONS] = {NULL};
	int code = AQM_OK;

	for (size_t i = 0; i < SECTIONS && code == AQM_OK; i++)
		if (!sections[i].paper || page->options->paper)
			code = write_section(page, sections[i].write, &texts[i]);
	if (code == AQM_OK) {
		char title[128];

		snprintf(title, sizeof title, "%s", page->options->title ? page->options->title : page->runs[0].label);
		aqm_html_head(page->out, title);
		put_header(page);
		put_contents(page->out, texts);
		put_notes(page);
		for (size_t i = 0; i < SECTIONS; i++)
			if (texts[i] && *texts[i]) {
				fprintf(page->out, "<section aria-labelledby=\"%s\">", sections[i].id);
				aqm_page_heading(page, sections[i].id, sections[i].name);
				fputs(texts[i], page->out);
				fputs("</section>\n", page->out);
			}
		fputs("</main>\n", page->out);
		put_footer(page);
		aqm_html_tail(page->out);
	}
	for (size_t i = 0; i < SECTIONS; i++)
		free(texts[i]);
	return code;
}
