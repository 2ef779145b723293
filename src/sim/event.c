/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/event.h"

#include <stdlib.h>

#include "base/size.h"
#include "aqmtrain/error.h"

enum { WAYS = 4 };

void aqm_events_release(struct aqm_events *events)
{
	free(events->heap);
	*events = (struct aqm_events){0};
}

int aqm_events_reserve(struct aqm_events *events, int timers)
{
	uint32_t reserved = events->reserved + (uint32_t)timers;

	if (reserved > events->capacity) {
		uint32_t capacity = reserved + reserved / 2;
		struct aqm_event *heap = aqm_realloc_array(events->heap, capacity, sizeof *heap);

		if (!heap)
			return AQM_ERUN;
		events->heap = heap;
		events->capacity = capacity;
	}
	events->reserved = reserved;
	return AQM_OK;
}

static inline int before(const struct aqm_event *a, const struct aqm_event *b)
{
	return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static inline void put(struct aqm_events *events, uint32_t at, struct aqm_event event)
{
	events->heap[at] = event;
	event.timer->place = at + 1;
}

static void rise(struct aqm_events *events, uint32_t at, struct aqm_event event)
{
	while (at > 0) {
		uint32_t parent = (at - 1) / WAYS;

		if (!before(&event, &events->heap[parent]))
			break;
		put(events, at, events->heap[parent]);
		at = parent;
	}
	put(events, at, event);
}

static void sink(struct aqm_events *events, uint32_t at, struct aqm_event event)
{
	for (;;) {
		uint32_t child = at * WAYS + 1, end = child + WAYS < events->count ? child + WAYS : events->count,
				 least = child;

		if (child >= events->count)
			break;
		for (uint32_t i = child + 1; i < end; i++)
			if (before(&events->heap[i], &events->heap[least]))
				least = i;
		if (!before(&events->heap[least], &event))
			break;
		put(events, at, events->heap[least]);
		at = least;
	}
	put(events, at, event);
}

static void take_out(struct aqm_events *events, uint32_t at)
{
	struct aqm_event last = events->heap[--events->count];

	if (at == events->count)
		return;
	if (at > 0 && before(&last, &events->heap[(at - 1) / WAYS]))
		rise(events, at, last);
	else
		sink(events, at, last);
}

void aqm_events_set(struct aqm_events *events, struct aqm_timer *timer, aqm_time time)
{
	struct aqm_event event = {time, events->order++, timer};

	if (time < events->now) {
		events->late++;
		event.time = events->now;
	}
	if (timer == events->running) { /* it still holds the top */
		events->running = NULL;
		sink(events, 0, event);
	} else if (timer->place) {
		uint32_t at = timer->place - 1;

		if (before(&event, &events->heap[at]))
			rise(events, at, event);
		else
			sink(events, at, event);
	} else {
		rise(events, events->count++, event);
	}
}

void aqm_events_cancel(struct aqm_events *events, struct aqm_timer *timer)
{
	if (timer == events->running) {
		events->running = NULL;
		timer->place = 1;
	}
	if (!timer->place)
		return;
	uint32_t at = timer->place - 1;
	timer->place = 0;
	take_out(events, at);
}

struct aqm_timer *aqm_events_next(struct aqm_events *events, aqm_time end)
{
	if (events->running) {
		events->running = NULL;
		take_out(events, 0);
	}
	if (events->count == 0 || events->heap[0].time >= end) {
		events->now = end;
		return NULL;
	}
	struct aqm_timer *timer = events->heap[0].timer;
	events->now = events->heap[0].time;
	events->running = timer;
	timer->place = 0;
	return timer;
}
