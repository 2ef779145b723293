/* SPDX-License-Identifier: BSD-2-Clause
 *
 * gnuplot, as a process at the other end of pipes: a script with its data goes in, the picture comes out, nothing
 * touches the disk.
 *
 * Its strings can run commands (backquotes in double ones), so names from files go in single quotes, and only with
 * characters that mean nothing there. Colours are the red a1 with the number of a page's colour in the blue: svg.c
 * makes variables of them.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/size.h"
#include "base/utf8.h"
#include "report/figure.h"

enum {
	WIDTH = 480, /* of the SVG: large letters on a phone, two figures side by side on a desk */
	HEIGHT = 310,
	PATIENCE_MS = 30000,
	ANSWER_MAX = 16 << 20,
	COLOUR_TEXT = 0x0a,
	COLOUR_AXIS = 0x0b,
	COLOUR_GRID = 0x0c,
};

/* ---- the script ---- */

static const char *const png_colours[AQM_FIGURE_COLOURS] = {"#2a78d6", "#d1591f", "#158a60", "#7a4fc9",
                                                            "#b8860b", "#c63d6f", "#00838f", "#6f6e69"};

static void put_colour(FILE *out, enum aqm_plot_kind kind, int colour)
{
	if (kind == AQM_PLOT_SVG)
		fprintf(out, " rgb '#a100%02x'", (unsigned)colour);
	else
		fprintf(out, " rgb '%s'",
		        colour == COLOUR_GRID   ? "#e0e0e0"
		        : colour >= COLOUR_TEXT ? "#333333"
		                                : png_colours[(colour - 1) % AQM_FIGURE_COLOURS]);
}

/* What gnuplot may see of a text, in single quotes; it does not read two of them as one everywhere, so an apostrophe is
 * U+2019. A label of a tic is a format. */
static void put_string(FILE *out, const char *text, bool tic)
{
	fputc('\'', out);
	while (*text) {
		size_t n = aqm_utf8_length(text);

		if (*text == '\'')
			fputs("\xe2\x80\x99", out);
		else if (*text == '%' && tic)
			fputs("%%", out);
		else if (n > 1 || (n == 1 && *text >= ' ' && *text != 0x7f && !strchr("\"`\\@$", *text)))
			fwrite(text, 1, n, out);
		else
			fputc('_', out);
		text += n ? n : 1;
	}
	fputc('\'', out);
}

static void put_number(FILE *out, double value)
{
	if (isfinite(value))
		fprintf(out, " %.7g", value);
	else
		fputs(" NaN", out);
}

/* x y x_low x_high y_low y_high; what is not known of an interval is the point itself. */
static void put_data(FILE *out, const struct aqm_series *series, size_t number)
{
	fprintf(out, "$s%zu << END_OF_DATA\n", number);
	for (size_t i = 0; i < series->count; i++) {
		const struct aqm_point *p = &series->points[i];

		put_number(out, p->x);
		put_number(out, p->y);
		put_number(out, isfinite(p->x_low) ? p->x_low : p->x);
		put_number(out, isfinite(p->x_high) ? p->x_high : p->x);
		put_number(out, isfinite(p->y_low) ? p->y_low : p->y);
		put_number(out, isfinite(p->y_high) ? p->y_high : p->y);
		fputc('\n', out);
	}
	fputs("END_OF_DATA\n", out);
}

static void put_axes(FILE *out, const struct aqm_figure *figure, enum aqm_plot_kind kind)
{
	fputs("set border 3 lw 1 lc", out);
	put_colour(out, kind, COLOUR_AXIS);
	fputs("\nset tics nomirror scale 0.5 textcolor", out);
	put_colour(out, kind, COLOUR_TEXT);
	fputs("\nset grid ytics", out);
	fputs(figure->x_log ? " xtics lw 1 dt solid lc" : " lw 1 dt solid lc", out);
	put_colour(out, kind, COLOUR_GRID);
	fputs("\nset xlabel ", out);
	put_string(out, figure->x_label, false);
	fputs(" textcolor", out);
	put_colour(out, kind, COLOUR_TEXT);
	fputs("\nset ylabel ", out);
	put_string(out, figure->y_label, false);
	fputs(" textcolor", out);
	put_colour(out, kind, COLOUR_TEXT);
	fprintf(out, "\n%s%sset format '%%g'\n", figure->x_log ? "set logscale x\n" : "",
	        figure->y_log ? "set logscale y\n" : "");
	if (isfinite(figure->y_low) || isfinite(figure->y_high) || (figure->from_zero && !figure->y_log)) {
		fputs("set yrange [", out);
		if (isfinite(figure->y_low))
			fprintf(out, "%.7g", figure->y_low);
		else if (figure->from_zero)
			fputs("0", out);
		fputs(":", out);
		if (isfinite(figure->y_high))
			fprintf(out, "%.7g", figure->y_high);
		fputs("]\n", out);
	}
	if (figure->category_count) {
		fprintf(out, "set xrange [0.4:%g]\nset xtics (", (double)figure->category_count + 0.6);
		for (size_t i = 0; i < figure->category_count; i++) {
			fputs(i ? ", " : "", out);
			put_string(out, figure->categories[i], true);
			fprintf(out, " %zu", i + 1);
		}
		fputs(")\n", out);
	}
}

static size_t count_of(const struct aqm_figure *figure, enum aqm_mark mark, size_t before)
{
	size_t n = 0;

	for (size_t i = 0; i < before; i++)
		n += figure->series[i].mark == mark;
	return n;
}

/* Bars and boxes of several series stand beside each other. */
static void put_place(FILE *out, const struct aqm_figure *figure, size_t i, double *width)
{
	enum aqm_mark mark = figure->series[i].mark;
	double n = (double)count_of(figure, mark, figure->count), k = (double)count_of(figure, mark, i);

	*width = 0.8 / n;
	fprintf(out, "($1%+g)", (k - (n - 1) / 2) * *width);
}

static void put_title(FILE *out, const struct aqm_figure *figure, size_t i, enum aqm_plot_kind kind)
{
	if (kind == AQM_PLOT_SVG) {
		fputs(" notitle", out);
		return;
	}
	fputs(" title ", out);
	put_string(out, figure->series[i].name, false);
}

static bool has_intervals(const struct aqm_series *series)
{
	for (size_t i = 0; i < series->count; i++)
		if (isfinite(series->points[i].y_low))
			return true;
	return false;
}

/* The series' part of the plot command. */
static void put_plot(FILE *out, const struct aqm_figure *figure, size_t i, enum aqm_plot_kind kind)
{
	static const char *const dashes[] = {"solid", "(10,6)", "(2,4)"};
	static const int shapes[AQM_FIGURE_SHAPES] = {7, 5, 9, 11, 13, 15};
	const struct aqm_series *s = &figure->series[i];
	int shape = shapes[i % AQM_FIGURE_SHAPES];
	double width;

	fprintf(out, "%s$s%zu using ", i ? ", " : "plot ", i);
	switch (s->mark) {
	case AQM_MARK_LINE:
	case AQM_MARK_DASHES:
	case AQM_MARK_DOTS:
		fprintf(out, "1:2 with lines lw 2 dt %s lc", dashes[s->mark]);
		break;
	case AQM_MARK_STEPS:
		fputs("1:2 with steps lw 2 lc", out);
		break;
	case AQM_MARK_POINTS:
		fprintf(out, "%s lw 2 pt %d ps 0.6 lc", has_intervals(s) ? "1:2:5:6 with yerrorlines" : "1:2 with linespoints",
		        shape);
		break;
	case AQM_MARK_ERRORS:
		fprintf(out, "1:2:3:4:5:6 with xyerrorbars lw 1.5 pt %d ps 0.9 lc", shape);
		break;
	case AQM_MARK_BARS:
		put_place(out, figure, i, &width);
		fprintf(out, ":2:(%g) with boxes fs solid noborder lc", 0.9 * width);
		break;
	case AQM_MARK_BOXES:
		put_place(out, figure, i, &width);
		fprintf(out, ":5:3:4:6:(%g) with candlesticks fs transparent solid 0.25 lw 1.5 lc", 0.7 * width);
		break;
	}
	put_colour(out, kind, s->colour);
	put_title(out, figure, i, kind);
	if (s->mark == AQM_MARK_BOXES) { /* and the median as a box without height */
		fprintf(out, " whiskerbars 0.5, $s%zu using ", i);
		put_place(out, figure, i, &width);
		fprintf(out, ":2:2:2:2:(%g) with candlesticks lw 3 lc", 0.7 * width);
		put_colour(out, kind, s->colour);
		fputs(" notitle", out);
	}
}

int aqm_plot_script(const struct aqm_figure *figure, enum aqm_plot_kind kind, char **script, size_t *bytes)
{
	FILE *out = open_memstream(script, bytes);

	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot plot '%s'", figure->id);
	fputs("set encoding utf8\n", out);
	if (kind == AQM_PLOT_SVG)
		fprintf(out, "set terminal svg size %d,%d dynamic noenhanced font 'sans,13'\nunset key\n", WIDTH, HEIGHT);
	else
		fprintf(out,
		        "set terminal pngcairo size %d,%d noenhanced font 'sans,26' linewidth 2 background '#ffffff'\n"
		        "set key outside bottom center horizontal\n",
		        3 * WIDTH, 3 * HEIGHT);
	put_axes(out, figure, kind);
	for (size_t i = 0; i < figure->count; i++)
		put_data(out, &figure->series[i], i);
	for (size_t i = 0; i < figure->count; i++)
		put_plot(out, figure, i, kind);
	fputs("\nunset output\n", out);
	bool good = !ferror(out);
	if (fclose(out) == 0 && good)
		return AQM_OK;
	free(*script);
	*script = NULL;
	return aqm_error_set(AQM_ERUN, "no memory to plot '%s'", figure->id);
}

/* ---- the process ---- */

struct process {
	pid_t pid;
	int in, out, errors; /* our ends; -1 when closed */
};

static void shut(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

/* A socket for its input: writing to one whose reader has died is an error, not a signal. */
static int start(struct process *process)
{
	char *const arguments[] = {"gnuplot", "-d", NULL}; /* no settings of the user's */
	int in[2] = {-1, -1}, out[2] = {-1, -1}, errors[2] = {-1, -1}, code = AQM_OK;
	posix_spawn_file_actions_t actions;

	*process = (struct process){.pid = -1, .in = -1, .out = -1, .errors = -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
	    pipe2(errors, O_CLOEXEC) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot start gnuplot");
	if (code == AQM_OK && (errno = posix_spawn_file_actions_init(&actions)) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot start gnuplot");
	if (code == AQM_OK) {
		int number = posix_spawn_file_actions_adddup2(&actions, in[1], 0);

		if (number == 0)
			number = posix_spawn_file_actions_adddup2(&actions, out[1], 1);
		if (number == 0)
			number = posix_spawn_file_actions_adddup2(&actions, errors[1], 2);
		if (number == 0)
			number = posix_spawnp(&process->pid, "gnuplot", &actions, NULL, arguments, environ);
		posix_spawn_file_actions_destroy(&actions);
		errno = number;
		if (number == ENOENT || number == EACCES || number == ENOTDIR)
			code = aqm_error_set(AQM_ENOTFOUND, "no gnuplot on PATH");
		else if (number)
			code = aqm_error_errno(AQM_ERUN, "cannot start gnuplot");
	}
	shut(&in[1]);
	shut(&out[1]);
	shut(&errors[1]);
	process->in = in[0];
	process->out = out[0];
	process->errors = errors[0];
	return code;
}

struct answer {
	char *data;
	size_t bytes, room;
};

/* Take what is there to read; the descriptor is shut at its end. */
static int take(int *descriptor, struct answer *answer)
{
	if (answer->room - answer->bytes < 2) {
		size_t room = answer->room ? 2 * answer->room : 1 << 16;
		char *grown = room <= ANSWER_MAX ? aqm_realloc_array(answer->data, room, 1) : NULL;

		if (!grown)
			return aqm_error_set(AQM_ERUN, "gnuplot's answer is too large");
		answer->data = grown;
		answer->room = room;
	}
	ssize_t n = read(*descriptor, answer->data + answer->bytes, answer->room - answer->bytes - 1);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot read from gnuplot");
	if (n == 0)
		shut(descriptor);
	answer->bytes += (size_t)n;
	answer->data[answer->bytes] = '\0';
	return AQM_OK;
}

static void give(int *descriptor, const char *script, size_t bytes, size_t *sent)
{
	ssize_t n = send(*descriptor, script + *sent, bytes - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0)
		*sent += (size_t)n;
	if (*sent == bytes || (n < 0 && errno != EINTR && errno != EAGAIN)) /* its exit status tells why it does not read */
		shut(descriptor);
}

/* Feed and drain it until it has closed its outputs. */
static int converse(struct process *process, const char *script, size_t bytes, struct answer *answer,
                    struct answer *errors)
{
	size_t sent = 0;
	int code = AQM_OK;

	while (code == AQM_OK && (process->out >= 0 || process->errors >= 0)) {
		struct pollfd wait[3] = {{process->in, POLLOUT, 0}, {process->out, POLLIN, 0}, {process->errors, POLLIN, 0}};
		int ready = poll(wait, 3, PATIENCE_MS);

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready < 0 ? aqm_error_errno(AQM_ERUN, "cannot wait for gnuplot")
			                 : aqm_error_set(AQM_ERUN, "gnuplot gave no answer for %d s", PATIENCE_MS / 1000);
		if (wait[0].revents)
			give(&process->in, script, bytes, &sent);
		if (wait[1].revents)
			code = take(&process->out, answer);
		if (code == AQM_OK && wait[2].revents)
			code = take(&process->errors, errors);
	}
	return code;
}

/* The line of its complaint that says something. */
static int complaint(const struct answer *errors)
{
	const char *text = errors->data ? errors->data : "", *at = strstr(text, "line ");

	at = at ? at : text;
	at += strspn(at, " \t\r\n^");
	return aqm_error_set(AQM_ERUN, "gnuplot failed: %.*s", (int)strcspn(at, "\r\n"), at);
}

static int finish(struct process *process, int code, const struct answer *answer, const struct answer *errors)
{
	int status = 0;

	shut(&process->in);
	shut(&process->out);
	shut(&process->errors);
	if (process->pid < 0)
		return code;
	if (code != AQM_OK)
		kill(process->pid, SIGKILL);
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (code != AQM_OK)
		return code;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return aqm_error_set(AQM_ENOTFOUND, "no gnuplot on PATH");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !answer->bytes)
		return complaint(errors);
	return AQM_OK;
}

int aqm_plot(const struct aqm_figure *figure, enum aqm_plot_kind kind, char **data, size_t *bytes)
{
	struct answer answer = {0}, errors = {0};
	struct process process;
	char *script;
	size_t length;

	*data = NULL;
	int code = aqm_plot_script(figure, kind, &script, &length);
	if (code != AQM_OK)
		return code;
	code = start(&process);
	if (code == AQM_OK)
		code = converse(&process, script, length, &answer, &errors);
	code = finish(&process, code, &answer, &errors);
	free(script);
	free(errors.data);
	if (code != AQM_OK) {
		free(answer.data);
		return code;
	}
	*data = answer.data;
	*bytes = answer.bytes;
	return AQM_OK;
}
