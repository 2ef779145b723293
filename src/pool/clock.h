/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Clocks of log lines.
 *
 *   Aug 12 10:00:00 host kernel: ...            syslog (RFC 3164), no year: since the log's first year began
 *   <6>1 2024-08-12T10:00:00.25+02:00 host ...  RFC 5424, or its stamp alone: since 1970, UTC
 *   [12345.678] ...                             dmesg: since boot; wins where it follows another, being finer
 */
#ifndef AQM_POOL_CLOCK_H
#define AQM_POOL_CLOCK_H

#include <stddef.h>
#include <stdint.h>

enum aqm_clock_kind { AQM_CLOCK_NONE, AQM_CLOCK_SYSLOG, AQM_CLOCK_UTC, AQM_CLOCK_BOOT };

struct aqm_clock {
	char stamp[16];      /* the syslog stamp read last: most lines repeat it */
	double stamp_time;
	int last_day;        /* of the year, to notice the turn of a year */
	double year_start;   /* seconds of the years that have passed in this log */
};

/* Before the first line of a log. */
void aqm_clock_init(struct aqm_clock *clock);
/* Read the clock at the head of a line: `bytes` of text before its message. *kind tells which clock it was; NaN with
 * AQM_CLOCK_NONE when there is none. Lines come in the order of the log. */
double aqm_clock_read(struct aqm_clock *clock, const char *head, size_t bytes, enum aqm_clock_kind *kind);

#endif
