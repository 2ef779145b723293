/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Progress of a long operation, with an estimate of the time left. Drawn only where cli/ has enabled it (a terminal),
 * delayed by a second, at most five times a second.
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
	uint64_t first;    /* `done` at the start: work of an earlier run does not count for the rate */
	char note[96];     /* shown behind the bar: loss, rate */
	bool visible;
};

/* cli/ names the terminal to draw on; NULL (the default) draws nothing. */
void aqm_progress_set_output(FILE *terminal);
/* While a bar is on the screen, clear it before printing something else there. */
void aqm_progress_hide(void);

void aqm_progress_start(struct aqm_progress *p, const char *what, uint64_t total, uint64_t already_done);
void aqm_progress_update(struct aqm_progress *p, uint64_t done);
void aqm_progress_note(struct aqm_progress *p, const char *format, ...) AQM_PRINTF(2, 3);
void aqm_progress_end(struct aqm_progress *p);
/* Seconds left, from the rate so far; negative while unknown. */
double aqm_progress_seconds_left(const struct aqm_progress *p, double now);

/* Monotonic seconds. */
double aqm_clock_seconds(void);

#endif
