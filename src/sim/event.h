/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The clock and what will happen: a 4-ary heap of timers. A timer lies with its owner and is in the heap at most
 * once, so that setting it again moves it. What is due at the same time happens in the order in which it was set.
 *
 * The heap holds timers, not packets: packets on their way lie in order in the rings of their flows (flow.h), each
 * ring with one timer for its first. So the heap stays small, however many packets fly.
 */
#ifndef AQM_SIM_EVENT_H
#define AQM_SIM_EVENT_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t aqm_time; /* ns since the start */
#define AQM_TIME_NEVER INT64_MAX
#define AQM_SECOND INT64_C(1000000000)
#define AQM_MS INT64_C(1000000)
#define AQM_US INT64_C(1000)

struct aqm_timer {
	uint32_t place; /* in the heap, from 1; 0 = not set */
	uint32_t kind;  /* for whoever dispatches */
	void *owner;
};

struct aqm_event {
	aqm_time time;
	uint64_t order;
	struct aqm_timer *timer;
};

struct aqm_events {
	aqm_time now;
	uint64_t order;
	struct aqm_event *heap; /* owned */
	uint32_t count, capacity, reserved;
	struct aqm_timer *running; /* the one that was handed out last, still at the top */
	uint64_t late;             /* set for a time that had passed: a defect; they happen now */
};

void aqm_events_release(struct aqm_events *events);
/* Room for `timers` more, so that setting one cannot fail; fewer if negative. 0 or AQM_ERUN. */
int aqm_events_reserve(struct aqm_events *events, int timers);
void aqm_events_set(struct aqm_events *events, struct aqm_timer *timer, aqm_time time);
void aqm_events_cancel(struct aqm_events *events, struct aqm_timer *timer);
/* The next timer, no longer set; the clock is moved. NULL when there is none before `end`, where the clock then
 * stands. */
struct aqm_timer *aqm_events_next(struct aqm_events *events, aqm_time end);

static inline void aqm_timer_init(struct aqm_timer *timer, uint32_t kind, void *owner)
{
	*timer = (struct aqm_timer){.kind = kind, .owner = owner};
}

#endif
