/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Progress of a long operation, with an estimate of the time left, where cli/ has enabled it. On a terminal a bar,
 * delayed by a second and drawn at most five times a second. Into a file, or through a launcher's pipe, plain lines:
 * the first after 20 seconds, each next one after twice the time, up to ten minutes. Of operations within operations
 * only the outermost is told, also when one within it gets on.
 */
#ifndef AQM_BASE_PROGRESS_H
#define AQM_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "aqmtrain/error.h"

struct aqm_progress {
	const char *what;  /* "parsing", "training"; not owned */
	uint64_t total;    /* 0: unknown */
	uint64_t done;
	double started;    /* aqm_clock_seconds() */
	double drawn;
	double told, pause; /* when the last line was, and for how long there is none after it */
	uint64_t first;    /* `done` at the start: work of an earlier run does not count for the rate */
	char note[96];     /* shown behind the bar: loss, rate */
	bool visible;
	bool within;       /* another one */
};

/* cli/ names the terminal to draw on; NULL (the default) draws nothing. */
void aqm_progress_set_output(FILE *terminal);
/* Or where lines go, and what they begin with; NULL (the default): nowhere. */
void aqm_progress_set_lines(FILE *file, const char *prefix);
/* While a bar is on the screen, clear it before printing something else there. */
void aqm_progress_hide(void);

/* Ended by whoever started it, before it goes out of scope. */
void aqm_progress_start(struct aqm_progress *p, const char *what, uint64_t total, uint64_t already_done);
void aqm_progress_update(struct aqm_progress *p, uint64_t done);
void aqm_progress_note(struct aqm_progress *p, const char *format, ...) AQM_PRINTF(2, 3);
void aqm_progress_end(struct aqm_progress *p);
/* Seconds left, from the rate so far; negative while unknown. */
double aqm_progress_seconds_left(const struct aqm_progress *p, double now);

/* Monotonic seconds. */
double aqm_clock_seconds(void);

#endif
