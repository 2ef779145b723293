/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An update interval in the making, packet by packet: what aqm_pool_updates() makes a row of, for whoever decides while
 * packets come.
 */
#ifndef AQM_POOL_INTERVAL_H
#define AQM_POOL_INTERVAL_H

#include "pool/fields.h"

/* Zeroed: an interval without packets. */
struct aqm_interval {
	size_t packets;
	double sums[AQM_LOG_FIELDS];
	uint64_t first[AQM_LOG_FIELDS], last[AQM_LOG_FIELDS];
	double peak_qdelay, marked, dropped;
	double time; /* of its start, s: whoever has a clock sets it */
};

/* A packet with this record, and what happened to it. */
void aqm_interval_add(struct aqm_interval *interval, const uint64_t fields[AQM_LOG_FIELDS], enum aqm_action happened);
/* A column of the interval's row by its name: constants and clocks of the first packet, counters of the last, means of
 * the rest, and what aqm_pool_updates() adds. At least one packet has come. NAN for an unknown name. */
double aqm_interval_feature(const struct aqm_interval *interval, const char *name);

#endif
