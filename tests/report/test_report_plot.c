/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scripts for gnuplot, its process, and what is kept of its SVG. Stand-ins for gnuplot show what happens when it misbehaves; with a real one
 * on PATH, real plots are made too.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../check.h"
#include "base/file.h"
#include "helper_html.h"
#include "report/figure.h"

static char *real_path;

static struct aqm_figure sample(void)
{
	struct aqm_figure figure;

	aqm_figure_init(&figure, "sample", "A sample", "time, s", "delay, ms");
	struct aqm_series *s = aqm_figure_add(&figure, AQM_MARK_LINE, 1, "%s", "a line");
	for (int i = 0; i < 5; i++)
		aqm_series_add(&figure, s, i, i * i);
	s = aqm_figure_add(&figure, AQM_MARK_ERRORS, 2, "%s", "a point");
	aqm_series_add_point(&figure, s, (struct aqm_point){2, 3, 1, 3, 2, 5});
	return figure;
}

/* PATH gets a folder with only this script as gnuplot. */
static void pretend(const char *script)
{
	CHECK_OK(aqm_make_folders("bin"));
	CHECK_OK(aqm_file_write("bin/gnuplot", script, strlen(script)));
	assert_int_equal(chmod("bin/gnuplot", 0755), 0);
	char *folder = realpath("bin", NULL), path[4096];
	snprintf(path, sizeof path, "%s:%s", folder, real_path);
	free(folder);
	setenv("PATH", path, 1);
}

static int restore(void **state)
{
	(void)state;
	setenv("PATH", real_path, 1);
	return 0;
}

static bool have_gnuplot(void)
{
	return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

static void names_cannot_reach_gnuplot(void **state)
{
	struct aqm_figure figure;
	char *script;
	size_t bytes;

	(void)state;
	aqm_figure_init(&figure, "x", "t", "'; system(\"touch pwned\"); '", "`touch pwned`\n!touch pwned");
	struct aqm_series *s =
		aqm_figure_add(&figure, AQM_MARK_BARS, 1, "%s", "a'\nEND_OF_DATA\n`touch pwned` $(touch pwned) @M \\ \"\xff");
	aqm_series_add(&figure, s, 1, 2);
	aqm_figure_category(&figure, "100 %d '`touch pwned`'");
	CHECK_OK(aqm_plot_script(&figure, AQM_PLOT_PNG, &script, &bytes));
	assert_null(strpbrk(script, "`\"\\@"));
	assert_null(strstr(script, "$("));
	assert_null(strstr(script, "\n!"));
	assert_non_null(strstr(script, "set xlabel '\xe2\x80\x99; system(_touch pwned_); \xe2\x80\x99' "));
	assert_non_null(strstr(script, "100 %%d "));
	free(script);
	if (have_gnuplot()) {
		char *data;

		CHECK_OK(aqm_plot(&figure, AQM_PLOT_SVG, &data, &bytes));
		free(data);
		assert_false(aqm_path_exists("pwned"));
	}
	aqm_figure_release(&figure);
}

static void real_plots_are_clean(void **state)
{
	static const enum aqm_mark marks[] = {AQM_MARK_LINE,   AQM_MARK_DASHES, AQM_MARK_DOTS, AQM_MARK_STEPS,
	                                      AQM_MARK_POINTS, AQM_MARK_ERRORS, AQM_MARK_BARS, AQM_MARK_BOXES};
	char *svg, *clean, *whole;
	size_t bytes;

	(void)state;
	if (!have_gnuplot())
		skip();
	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
		struct aqm_figure figure = sample();
		struct aqm_series *s = aqm_figure_add(&figure, marks[i], 3, "of mark %zu", i);

		for (int k = 1; k < 4; k++)
			aqm_series_add_point(&figure, s, (struct aqm_point){k, 2 * k, k, 3 * k, 1.5 * k, 2.5 * k});
		figure.x_log = figure.y_log = i % 2;
		assert_true(aqm_figure_drawable(&figure));
		CHECK_OK(aqm_plot(&figure, AQM_PLOT_SVG, &svg, &bytes));
		CHECK_OK(aqm_svg_clean(svg, bytes, "sample", "A <b>title</b>", "what is seen", &clean));
		assert_non_null(strstr(clean, "var(--s1)"));
		assert_non_null(strstr(clean, "var(--s3)"));
		assert_non_null(strstr(clean, "<title id=\"sample-t\">A &lt;b&gt;title"));
		assert_null(strstr(clean, "rgb("));
		assert_null(strstr(clean, "font-family"));
		assert_null(strstr(clean, "Gnuplot"));
		assert_true(asprintf(&whole, "<!DOCTYPE html>\n<html>%s</html>", clean) > 0);
		const char *fault = html_fault(whole);
		if (fault)
			fail_msg("mark %zu: %s", i, fault);
		free(whole);
		free(clean);
		free(svg);
		aqm_figure_release(&figure);
	}
}

static void png_is_png(void **state)
{
	struct aqm_figure figure = sample();
	char *data;
	size_t bytes;

	(void)state;
	if (!have_gnuplot()) {
		aqm_figure_release(&figure);
		skip();
	}
	CHECK_OK(aqm_plot(&figure, AQM_PLOT_PNG, &data, &bytes));
	assert_true(bytes > 1000);
	assert_memory_equal(data, "\x89PNG\r\n", 6);
	free(data);
	aqm_figure_release(&figure);
}

static void expect_plot(const char *script, int code, const char *message)
{
	struct aqm_figure figure = sample();
	char *data;
	size_t bytes;

	pretend(script);
	assert_int_equal(aqm_plot(&figure, AQM_PLOT_SVG, &data, &bytes), code);
	if (code != AQM_OK && !strstr(aqm_error_message(), message))
		fail_msg("'%s' does not say '%s'", aqm_error_message(), message);
	free(data);
	aqm_figure_release(&figure);
}

static void a_bad_gnuplot_is_an_error(void **state)
{
	(void)state;
	expect_plot("#!/bin/sh\ncat >/dev/null\necho picture\n", AQM_OK, "");
	expect_plot("#!/bin/sh\nexit 3\n", AQM_ERUN, "gnuplot failed"); /* it never read its script */
	expect_plot("#!/bin/sh\ncat >/dev/null\necho 'line 7: no such thing' >&2\nexit 1\n", AQM_ERUN,
	            "line 7: no such thing");
	expect_plot("#!/bin/sh\ncat >/dev/null\n", AQM_ERUN, "gnuplot failed"); /* silent */
	expect_plot("#!/bin/sh\nkill -9 $$\n", AQM_ERUN, "gnuplot failed");
}

static void no_gnuplot_is_not_found(void **state)
{
	struct aqm_figure figure = sample();
	char *data;
	size_t bytes;

	(void)state;
	setenv("PATH", "/nowhere", 1);
	assert_int_equal(aqm_plot(&figure, AQM_PLOT_SVG, &data, &bytes), AQM_ENOTFOUND);
	assert_null(data);
	aqm_figure_release(&figure);
}

static void check_clean(const char *svg, const char *wanted)
{
	char *clean;
	int code = aqm_svg_clean(svg, strlen(svg), "f", "t", "d", &clean);

	if (!wanted) {
		assert_int_equal(code, AQM_EDATA);
		return;
	}
	CHECK_OK(code);
	const char *body = strstr(clean, "</desc>");
	assert_non_null(body);
	assert_string_equal(body + strlen("</desc>"), wanted);
	free(clean);
}

static void only_drawing_is_kept(void **state)
{
	(void)state;
	check_clean("<svg><g><g></g></g></svg>", "</svg>");
	check_clean("<svg><script>alert(1)</script><path d='M0,0' onload='x' stroke='rgb(161, 0, 2)'/></svg>",
	            "<path d=\"M0,0\" stroke=\"var(--s2)\"/></svg>");
	check_clean("<svg><style>*{x}</style><foreignObject><p>x</p></foreignObject></svg>", "</svg>");
	check_clean("<svg><use xlink:href='http://x'/><use xlink:href='#a' id='b'/></svg>",
	            "<use/><use href=\"#f-a\" id=\"f-b\"/></svg>");
	check_clean("<svg><g fill='black'><text x='1'> a &lt;b> </text></g></svg>",
	            "<g fill=\"var(--ink)\"><text x=\"1\"> a &lt;b&gt; </text></g></svg>");
	check_clean("<svg><path d='  M0,0\n\t L1,1 '/></svg>", "<path d=\"M0,0 L1,1\"/></svg>");
	check_clean("<svg><path d='\"><script>'/></svg>", NULL);
	check_clean("<svg><g></svg>", NULL);
	check_clean("<svg>", NULL);
	check_clean("<p></p>", NULL);
	check_clean("<svg></svg></svg>", NULL);
	check_clean("", NULL);
	check_clean("<svg", NULL);
	check_clean("<>", NULL);
	check_clean("< svg>", NULL);
}

static void lines_are_thinned_to_means(void **state)
{
	struct aqm_figure figure;

	(void)state;
	aqm_figure_init(&figure, "x", "t", "x", "y");
	struct aqm_series *s = aqm_figure_add(&figure, AQM_MARK_LINE, 1, "s");
	for (int i = 0; i < 1000; i++)
		aqm_series_add(&figure, s, i, 2 * i);
	aqm_series_add(&figure, s, NAN, 1);
	aqm_series_add(&figure, s, 1, INFINITY);
	assert_int_equal(s->count, 1000);
	aqm_figure_thin(&figure, 100);
	assert_int_equal(s->count, 100);
	assert_float_equal(s->points[0].x, 4.5, 1e-9);
	assert_float_equal(s->points[99].y, 2 * 994.5, 1e-9);
	figure.y_log = true;
	aqm_figure_thin(&figure, 100);
	assert_int_equal(s->count, 100);
	aqm_figure_describe(&figure, "Lines");
	assert_string_equal(figure.alt, "Lines of y by x. s: from 9 at 4.5 to 1989 at 994.5.");
	aqm_figure_add(&figure, AQM_MARK_LINE, 1, "empty");
	assert_true(aqm_figure_drawable(&figure));
	assert_int_equal(figure.count, 1);
	aqm_figure_release(&figure);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_cannot_reach_gnuplot),
		cmocka_unit_test(real_plots_are_clean),
		cmocka_unit_test(png_is_png),
		cmocka_unit_test_teardown(a_bad_gnuplot_is_an_error, restore),
		cmocka_unit_test_teardown(no_gnuplot_is_not_found, restore),
		cmocka_unit_test(only_drawing_is_kept),
		cmocka_unit_test(lines_are_thinned_to_means),
	};

	real_path = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(real_path);
	return failed;
}
