/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where an episode starts: at a new run of the experiment, which shows as a new set of files, as counters that start
 * over, or as a pause of the log's clock.
 *
 * Real logs are not tidy, and must not fall to pieces over it:
 *   - lines of two processors change places, and pools that others have made hold overlapping windows: a counter then
 *     falls by a few packets. Only a fall by three or more packets to less than half of what it was is a new run.
 *   - each queue type has its own counter, and all of them start over: after one has fallen, the others begin anew too.
 *   - where several queues share a type (flow queueing), their counters alternate. When the old count goes on where
 *     it was, nothing had started over; that type's counter is then no longer listened to.
 *   - syslog's clock has a resolution of a second, and idle links and syslogd's own delays stretch to half a minute.
 *     A clock that jumps back by more than the gap, or another kind of clock, is another run as well.
 */
#ifndef AQM_POOL_EPISODES_H
#define AQM_POOL_EPISODES_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/clock.h"

#define AQM_EPISODE_GAP_SECONDS 30.0

struct aqm_episode_judge {
	double gap_seconds;
	uint64_t unit; /* of the counter, for a packet: 1, or 1500 where only bytes are known */
	bool new_set;
	enum aqm_clock_kind clock;
	double time;
	struct {
		bool known, shared;
		uint64_t count, before; /* `before`: what it was when it fell */
	} queues[256];
};

/* gap_seconds 0 = default. */
void aqm_episode_judge_init(struct aqm_episode_judge *judge, double gap_seconds, uint64_t unit);
/* The next record comes from a new set of files. */
void aqm_episode_judge_start_set(struct aqm_episode_judge *judge);
/* Whether this record starts an episode; the first one does. `count`: tot_pkts (or tot_bytes); NULL when unknown.
 * time may be NaN. */
bool aqm_episode_starts(struct aqm_episode_judge *judge, enum aqm_clock_kind clock, double time, uint8_t queue,
                        const uint64_t *count);

#endif
