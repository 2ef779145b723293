/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Figures: series of points and the words around them.
 */
#include "report/figure.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

static void set_text(struct aqm_figure *figure, char **place, const char *format, va_list arguments)
{
	free(*place);
	if (vasprintf(place, format, arguments) < 0) {
		*place = NULL;
		figure->failed = true;
	}
}

void aqm_figure_init(struct aqm_figure *figure, const char *id, const char *title, const char *x_label,
                     const char *y_label)
{
	*figure = (struct aqm_figure){
		.id = id,
		.title = aqm_strdup(title),
		.x_label = aqm_strdup(x_label),
		.y_label = aqm_strdup(y_label),
		.y_low = NAN,
		.y_high = NAN,
	};
	figure->failed = !figure->title || !figure->x_label || !figure->y_label;
}

void aqm_figure_release(struct aqm_figure *figure)
{
	for (size_t i = 0; i < figure->count; i++) {
		free(figure->series[i].name);
		free(figure->series[i].points);
	}
	for (size_t i = 0; i < figure->category_count; i++)
		free(figure->categories[i]);
	free(figure->categories);
	free(figure->series);
	free(figure->title);
	free(figure->alt);
	free(figure->x_label);
	free(figure->y_label);
	free(figure->source);
	*figure = (struct aqm_figure){0};
}

void aqm_figure_source(struct aqm_figure *figure, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	set_text(figure, &figure->source, format, arguments);
	va_end(arguments);
}

struct aqm_series *aqm_figure_add(struct aqm_figure *figure, enum aqm_mark mark, int colour, const char *format, ...)
{
	va_list arguments;

	if (figure->count == AQM_FIGURE_SERIES_MAX)
		return NULL;
	struct aqm_series *grown = aqm_realloc_array(figure->series, figure->count + 1, sizeof *grown);
	if (!grown) {
		figure->failed = true;
		return NULL;
	}
	figure->series = grown;
	struct aqm_series *series = &grown[figure->count++];
	*series = (struct aqm_series){.mark = mark, .colour = colour};
	va_start(arguments, format);
	set_text(figure, &series->name, format, arguments);
	va_end(arguments);
	return series;
}

void aqm_series_add_point(struct aqm_figure *figure, struct aqm_series *series, struct aqm_point point)
{
	if (!series || !isfinite(point.x) || !isfinite(point.y))
		return;
	if (series->count == series->room) {
		size_t room = series->room ? 2 * series->room : 64;
		struct aqm_point *grown = aqm_realloc_array(series->points, room, sizeof *grown);

		if (!grown) {
			figure->failed = true;
			return;
		}
		series->points = grown;
		series->room = room;
	}
	series->points[series->count++] = point;
}

void aqm_series_add(struct aqm_figure *figure, struct aqm_series *series, double x, double y)
{
	aqm_series_add_point(figure, series, (struct aqm_point){x, y, NAN, NAN, NAN, NAN});
}

void aqm_figure_category(struct aqm_figure *figure, const char *name)
{
	char **grown = aqm_realloc_array(figure->categories, figure->category_count + 1, sizeof *grown);

	if (grown) {
		figure->categories = grown;
		grown[figure->category_count] = aqm_strdup(name);
	}
	if (!grown || !grown[figure->category_count])
		figure->failed = true;
	else
		figure->category_count++;
}

static void thin(struct aqm_series *series, size_t kept)
{
	size_t n = series->count;

	for (size_t i = 0; i < kept; i++) {
		size_t from = i * n / kept, to = (i + 1) * n / kept;
		double x = 0, y = 0;

		for (size_t k = from; k < to; k++) {
			x += series->points[k].x / (double)(to - from);
			y += series->points[k].y / (double)(to - from);
		}
		series->points[i] = (struct aqm_point){x, y, NAN, NAN, NAN, NAN}; /* i <= from: not read again */
	}
	series->count = kept;
}

void aqm_figure_thin(struct aqm_figure *figure, size_t most)
{
	for (size_t i = 0; i < figure->count; i++)
		if (figure->series[i].mark <= AQM_MARK_POINTS && figure->series[i].count > most)
			thin(&figure->series[i], most);
}

static void drop_what_no_logarithm_has(const struct aqm_figure *figure, struct aqm_series *series)
{
	size_t kept = 0;

	for (size_t i = 0; i < series->count; i++)
		if ((!figure->x_log || series->points[i].x > 0) && (!figure->y_log || series->points[i].y > 0))
			series->points[kept++] = series->points[i];
	series->count = kept;
}

bool aqm_figure_drawable(struct aqm_figure *figure)
{
	size_t kept = 0;

	for (size_t i = 0; i < figure->count; i++) {
		drop_what_no_logarithm_has(figure, &figure->series[i]);
		if (figure->series[i].count && figure->series[i].name) {
			figure->series[kept++] = figure->series[i];
		} else {
			free(figure->series[i].name);
			free(figure->series[i].points);
		}
	}
	figure->count = kept;
	return kept > 0 && !figure->failed;
}

/* ---- alt texts ---- */

static void describe_series(FILE *out, const struct aqm_figure *figure, const struct aqm_series *s)
{
	const struct aqm_point *first = &s->points[0], *last = &s->points[s->count - 1];

	fprintf(out, " %s: ", s->name);
	if (s->mark == AQM_MARK_BOXES || s->mark == AQM_MARK_BARS || s->mark == AQM_MARK_ERRORS)
		for (size_t i = 0; i < s->count; i++) {
			size_t place =
				s->points[i].x >= 1 && s->points[i].x <= (double)figure->category_count ? (size_t)s->points[i].x : 0;

			fprintf(out, "%s%.4g", i ? ", " : "", s->points[i].y);
			if (place)
				fprintf(out, " for %s", figure->categories[place - 1]);
			else
				fprintf(out, " at %.4g", s->points[i].x);
		}
	else if (s->count > 1)
		fprintf(out, "from %.4g at %.4g to %.4g at %.4g", first->y, first->x, last->y, last->x);
	else
		fprintf(out, "%.4g at %.4g", first->y, first->x);
	fputc('.', out);
}

void aqm_figure_describe(struct aqm_figure *figure, const char *kind)
{
	enum { SERIES_MAX = 12 };
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out) {
		figure->failed = true;
		return;
	}
	fprintf(out, "%s of %s by %s.", kind, figure->y_label, figure->x_label);
	for (size_t i = 0; i < figure->count && i < SERIES_MAX; i++)
		if (figure->series[i].count && figure->series[i].name)
			describe_series(out, figure, &figure->series[i]);
	if (figure->count > SERIES_MAX)
		fprintf(out, " And %zu more.", figure->count - SERIES_MAX);
	bool good = !ferror(out);
	if (fclose(out) != 0 || !good)
		figure->failed = true;
	free(figure->alt);
	figure->alt = text;
}
