/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static const double delay_seconds = 1.0, interval_seconds = 0.2;
static const double first_line = 20.0, longest_pause = 600.0;

static FILE *terminal, *lines;
static const char *prefix;
static struct aqm_progress *on_screen;
static struct aqm_progress *_Atomic outermost;

double aqm_clock_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void aqm_progress_set_output(FILE *output)
{
	terminal = output;
}

void aqm_progress_set_lines(FILE *file, const char *line_prefix)
{
	lines = file;
	prefix = line_prefix;
}

void aqm_progress_hide(void)
{
	if (!terminal || !on_screen)
		return;
	fputs("\r\033[K", terminal);
	fflush(terminal);
	on_screen->visible = false;
	on_screen->drawn = 0; /* drawn again at the next update */
	on_screen = NULL;
}

void aqm_progress_start(struct aqm_progress *p, const char *what, uint64_t total, uint64_t already_done)
{
	struct aqm_progress *none = NULL;

	*p = (struct aqm_progress){.what = what, .total = total, .done = already_done, .first = already_done};
	p->started = p->told = aqm_clock_seconds();
	p->pause = first_line;
	p->within = !atomic_compare_exchange_strong(&outermost, &none, p);
}

double aqm_progress_seconds_left(const struct aqm_progress *p, double now)
{
	if (p->total == 0 || p->done <= p->first || now <= p->started)
		return -1.0;
	if (p->done >= p->total)
		return 0.0;
	return (now - p->started) / (double)(p->done - p->first) * (double)(p->total - p->done);
}

static void format_seconds(char *text, size_t bytes, double seconds)
{
	unsigned long s = (unsigned long)fmin(seconds + 0.5, 1e9);

	if (s < 3600)
		snprintf(text, bytes, "%lu:%02lu", s / 60, s % 60);
	else
		snprintf(text, bytes, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
}

/* training [########------------]  41%  0:12 left  loss 0.31 */
static void draw(struct aqm_progress *p, double now)
{
	enum { CELLS = 24 };
	char bar[CELLS + 1], left[32];

	if (p->total) {
		double part = fmin((double)p->done / (double)p->total, 1.0);
		size_t full = (size_t)(part * CELLS);
		double seconds = aqm_progress_seconds_left(p, now);

		memset(bar, '#', full);
		memset(bar + full, '-', CELLS - full);
		bar[CELLS] = '\0';
		fprintf(terminal, "\r%s [%s] %3d%%", p->what, bar, (int)(part * 100.0));
		format_seconds(left, sizeof left, seconds >= 0.0 ? seconds : now - p->started);
		fprintf(terminal, "  %s %s", left, seconds >= 0.0 ? "left" : "so far");
	} else {
		format_seconds(left, sizeof left, now - p->started);
		fprintf(terminal, "\r%s %llu  %s", p->what, (unsigned long long)p->done, left);
	}
	fprintf(terminal, "%s%s\033[K", p->note[0] ? "  " : "", p->note);
	fflush(terminal);
	p->drawn = now;
	p->visible = true;
	on_screen = p;
}

/* aqmtrain: training 41 %, 1:12:00 left, loss 0.31 */
static void print_line(struct aqm_progress *p, double now)
{
	double seconds = aqm_progress_seconds_left(p, now);
	char time[32];

	format_seconds(time, sizeof time, seconds >= 0.0 ? seconds : now - p->started);
	if (p->total)
		fprintf(lines, "%s%s %d %%, ", prefix, p->what, (int)(100.0 * fmin((double)p->done / (double)p->total, 1.0)));
	else
		fprintf(lines, "%s%s %llu, ", prefix, p->what, (unsigned long long)p->done);
	fprintf(lines, "%s %s%s%s\n", time, seconds >= 0.0 ? "left" : "so far", p->note[0] ? ", " : "", p->note);
	fflush(lines);
	p->told = now;
	p->pause = fmin(2.0 * p->pause, longest_pause);
}

/* If it is time to. */
static void tell(struct aqm_progress *p)
{
	double now = aqm_clock_seconds();

	if (terminal && now - p->started >= delay_seconds && now - p->drawn >= interval_seconds)
		draw(p, now);
	else if (!terminal && now - p->told >= p->pause)
		print_line(p, now);
}

void aqm_progress_update(struct aqm_progress *p, uint64_t done)
{
	static atomic_flag busy = ATOMIC_FLAG_INIT; /* results may come on another thread than what is within */

	p->done = done;
	if ((!terminal && !lines) || atomic_flag_test_and_set(&busy))
		return;
	struct aqm_progress *told = p->within ? outermost : p;
	if (told)
		tell(told);
	atomic_flag_clear(&busy);
}

void aqm_progress_note(struct aqm_progress *p, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(p->note, sizeof p->note, format, arguments);
	va_end(arguments);
}

void aqm_progress_end(struct aqm_progress *p)
{
	struct aqm_progress *mine = p;

	if (on_screen == p)
		aqm_progress_hide();
	p->visible = false;
	atomic_compare_exchange_strong(&outermost, &mine, NULL);
}
