/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/clock.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { STAMP_BYTES = 15, DAY = 86400 }; /* "Aug 12 10:00:00" */

void aqm_clock_init(struct aqm_clock *clock)
{
	*clock = (struct aqm_clock){.stamp_time = NAN};
}

/* What is left to read of a line's head. */
struct text {
	const char *at, *end;
};

static bool take(struct text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

/* 1 to `digits` decimal digits. */
static bool take_number(struct text *t, int digits, int64_t *value)
{
	const char *first = t->at;

	*value = 0;
	while (t->at < t->end && t->at - first < digits && *t->at >= '0' && *t->at <= '9')
		*value = *value * 10 + (*t->at++ - '0');
	return t->at > first;
}

/* ".25" if it is there, else 0. */
static double take_fraction(struct text *t)
{
	int64_t value;

	if (!take(t, '.'))
		return 0;
	const char *first = t->at;
	if (!take_number(t, 9, &value))
		return 0;
	double fraction = (double)value / pow(10, (double)(t->at - first));
	while (t->at < t->end && *t->at >= '0' && *t->at <= '9')
		t->at++;
	return fraction;
}

/* "10:00:00" and a fraction, as seconds of the day. */
static bool take_time_of_day(struct text *t, double *seconds)
{
	int64_t hour, minute, second;

	if (!take_number(t, 2, &hour) || !take(t, ':') || !take_number(t, 2, &minute) || !take(t, ':') ||
	    !take_number(t, 2, &second) || hour > 23 || minute > 59 || second > 60)
		return false;
	*seconds = (double)(hour * 3600 + minute * 60 + second) + take_fraction(t);
	return true;
}

/* 1 to 12 from "Jan" to "Dec"; 0 for anything else. */
static int take_month(struct text *t)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	if (t->end - t->at < 3)
		return 0;
	for (int i = 0; i < 12; i++)
		if (memcmp(t->at, names + 3 * i, 3) == 0) {
			t->at += 3;
			return i + 1;
		}
	return 0;
}

/* A year is not in the stamp. Days are counted as in a leap year, so a log that runs over the end of an ordinary
 * February seems to pause for a day there; that costs it one episode's start. */
static bool take_syslog_stamp(struct aqm_clock *clock, struct text *t, double *time)
{
	static const short days_before[12] = {0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335};
	int64_t day;
	double seconds;

	if (t->end - t->at >= STAMP_BYTES && memcmp(t->at, clock->stamp, STAMP_BYTES) == 0) {
		t->at += STAMP_BYTES;
		*time = clock->stamp_time + take_fraction(t);
		return true;
	}
	struct text rest = *t;
	int month = take_month(&rest);
	if (!month || !take(&rest, ' '))
		return false;
	take(&rest, ' '); /* days below 10 are padded */
	if (!take_number(&rest, 2, &day) || day < 1 || day > 31 || !take(&rest, ' '))
		return false;
	const char *stamp = t->at;
	if (!take_time_of_day(&rest, &seconds))
		return false;
	int day_of_year = days_before[month - 1] + (int)day - 1;
	if (day_of_year < clock->last_day - 300)
		clock->year_start += 366.0 * DAY;
	clock->last_day = day_of_year;
	*time = clock->year_start + (double)day_of_year * DAY + seconds;
	if (t->end - stamp >= STAMP_BYTES && stamp[STAMP_BYTES - 3] == ':') {
		memcpy(clock->stamp, stamp, STAMP_BYTES);
		clock->stamp_time = floor(*time);
	}
	t->at = rest.at;
	return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar, the leap day coming last: years begin in March. */
static int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = year / 400, of_era = year % 400, of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "2024-08-12T10:00:00.25+02:00"; no zone is taken for UTC. */
static bool take_iso_stamp(struct text *t, double *time)
{
	struct text rest = *t;
	int64_t year, month, day, hours = 0, minutes = 0;
	double seconds;

	if (!take_number(&rest, 4, &year) || rest.at - t->at != 4 || !take(&rest, '-') || !take_number(&rest, 2, &month) ||
	    !take(&rest, '-') || !take_number(&rest, 2, &day) || !(take(&rest, 'T') || take(&rest, ' ')) ||
	    !take_time_of_day(&rest, &seconds) || month < 1 || month > 12 || day < 1 || day > 31 || year < 1)
		return false;
	if (!take(&rest, 'Z')) {
		int64_t sign = take(&rest, '+') ? 1 : take(&rest, '-') ? -1 : 0;

		if (sign && take_number(&rest, 2, &hours)) {
			take(&rest, ':');
			if (!take_number(&rest, 2, &minutes))
				minutes = 0;
		}
		hours *= sign;
		minutes *= sign;
	}
	*time = (double)(days_since_1970(year, month, day) * DAY - hours * 3600 - minutes * 60) + seconds;
	t->at = rest.at;
	return true;
}

/* The last "[12345.678]" or "[12345]" of the head; not the "[812]" of a process. */
static bool find_boot_stamp(const struct text *t, double *time)
{
	const char *open = memrchr(t->at, '[', (size_t)(t->end - t->at));
	int64_t seconds;

	if (!open || (open > t->at && open[-1] != ' '))
		return false;
	struct text rest = {open + 1, t->end};
	while (take(&rest, ' '))
		;
	if (!take_number(&rest, 12, &seconds))
		return false;
	*time = (double)seconds + take_fraction(&rest);
	return take(&rest, ']');
}

/* "<6>" or "<6>1 " before the stamp. */
static void skip_priority(struct text *t)
{
	struct text rest = *t;
	int64_t number;

	if (!take(&rest, '<') || !take_number(&rest, 3, &number) || !take(&rest, '>'))
		return;
	*t = rest;
	if (take_number(&rest, 2, &number) && take(&rest, ' '))
		*t = rest;
}

double aqm_clock_read(struct aqm_clock *clock, const char *head, size_t bytes, enum aqm_clock_kind *kind)
{
	struct text t = {head, head + bytes};
	double time = NAN, boot;

	*kind = AQM_CLOCK_NONE;
	skip_priority(&t);
	if (take_syslog_stamp(clock, &t, &time))
		*kind = AQM_CLOCK_SYSLOG;
	else if (take_iso_stamp(&t, &time))
		*kind = AQM_CLOCK_UTC;
	if (find_boot_stamp(&t, &boot)) {
		time = boot;
		*kind = AQM_CLOCK_BOOT;
	}
	return time;
}
