/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A figure before it is drawn: series of points, axes, and the words around them. gnuplot draws it (gnuplot.c), the
 * page shows it (page.c) with its legend, its figures as a table, and where they come from.
 */
#ifndef AQM_REPORT_FIGURE_H
#define AQM_REPORT_FIGURE_H

#include <stdbool.h>
#include <stddef.h>

#include "aqmtrain/error.h"

enum {
	AQM_FIGURE_SERIES_MAX = 96,
	AQM_FIGURE_COLOURS = 8,  /* --s1 to --s8 of the page */
	AQM_FIGURE_GREY = 8,     /* what stands for a trivial baseline */
	AQM_FIGURE_SHAPES = 6,   /* of points: a second sign beside the colour */
	AQM_FIGURE_POINTS = 400, /* of a line, on paper no more can be told apart */
};

enum aqm_mark {
	AQM_MARK_LINE,
	AQM_MARK_DASHES,
	AQM_MARK_DOTS,   /* a dotted line */
	AQM_MARK_STEPS,  /* level until the next point */
	AQM_MARK_POINTS, /* with a line between them, and error bars where they are known */
	AQM_MARK_ERRORS, /* a point with error bars */
	AQM_MARK_BARS,   /* of category x = 1, 2, ... */
	AQM_MARK_BOXES,  /* y the median, the box from y_low to y_high, whiskers from x_low to x_high */
};

struct aqm_point {
	double x, y, x_low, x_high, y_low, y_high;
};

struct aqm_series {
	char *name;
	enum aqm_mark mark;
	int colour; /* 1 to AQM_FIGURE_COLOURS */
	struct aqm_point *points;
	size_t count, room;
};

struct aqm_figure {
	const char *id;    /* of the element and of the PNG: lower case, digits, '-' */
	char *title, *alt; /* alt: what is to be seen, for those who cannot */
	char *x_label, *y_label;
	char *source; /* where the figures come from: the folder and the command */
	bool x_log, y_log, from_zero;
	double y_low, y_high; /* NAN: as the points want it */
	char **categories;    /* names of x = 1, 2, ...; NULL: x is a number */
	size_t category_count;
	struct aqm_series *series;
	size_t count;
	bool failed; /* memory ran out under way */
};

/* Texts are copied; the source is added later by printf, the alt text by aqm_figure_describe. */
void aqm_figure_init(struct aqm_figure *figure, const char *id, const char *title, const char *x_label,
                     const char *y_label);
void aqm_figure_release(struct aqm_figure *figure);
void aqm_figure_source(struct aqm_figure *figure, const char *format, ...) AQM_PRINTF(2, 3);
/* A further series; NULL when there is no room, and then `failed` is set. The pointer holds until the next. */
struct aqm_series *aqm_figure_add(struct aqm_figure *figure, enum aqm_mark mark, int colour, const char *format, ...)
	AQM_PRINTF(4, 5);
/* A point, if it can be drawn; harmless on NULL. */
void aqm_series_add(struct aqm_figure *figure, struct aqm_series *series, double x, double y);
void aqm_series_add_point(struct aqm_figure *figure, struct aqm_series *series, struct aqm_point point);
void aqm_figure_category(struct aqm_figure *figure, const char *name);
/* An alt text out of the series: "Lines of loss by epoch. held out: from 0.7 at 1 to 0.04 at 20." */
void aqm_figure_describe(struct aqm_figure *figure, const char *kind);
/* Lines with more than `most` points get the means of so many buckets. */
void aqm_figure_thin(struct aqm_figure *figure, size_t most);
/* Drop series without points; whether anything is left to draw. On a log axis only what is positive counts. */
bool aqm_figure_drawable(struct aqm_figure *figure);

/* ---- gnuplot ---- */

enum aqm_plot_kind { AQM_PLOT_SVG, AQM_PLOT_PNG };

/* The plot as `kind`, owned by the caller, NUL-terminated beyond its end; the SVG as gnuplot gives it. AQM_ENOTFOUND
 * when there is no gnuplot; AQM_ERUN with what it said. */
int aqm_plot(const struct aqm_figure *figure, enum aqm_plot_kind kind, char **data, size_t *bytes);
/* The text of the script, for tests. */
int aqm_plot_script(const struct aqm_figure *figure, enum aqm_plot_kind kind, char **script, size_t *bytes);

/* gnuplot's SVG for the page: only drawing elements and attributes are kept, colours become the page's variables, ids
 * begin with `id`, sizes go, and `title` and `desc` come in. Owned by the caller. AQM_EDATA for what is not
 * gnuplot's. */
int aqm_svg_clean(const char *svg, size_t bytes, const char *id, const char *title, const char *desc, char **clean);

#endif
