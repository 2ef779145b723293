/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/side.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "aqmtrain/error.h"
#include "base/size.h"
#include "base/thread.h"

struct crew {
	const struct aqm_side *side;
	size_t slots, next, taken; /* the run to begin next, and that to take next */
	bool *done;                /* by slot: worked on, not taken */
	bool taking;
	int code;
	char message[512];
	pthread_mutex_t lock;
	pthread_cond_t moved;
};

static int threads_of(const struct aqm_side *side)
{
	int threads = side->threads > 0 ? side->threads : aqm_threads();

	return (size_t)threads > side->count ? (int)side->count : threads;
}

size_t aqm_side_slots(const struct aqm_side *side)
{
	size_t slots = (size_t)threads_of(side) * AQM_SIDE_AHEAD;

	return slots < side->count ? slots : side->count;
}

/* With the lock held. */
static void fail(struct crew *crew, int code)
{
	if (crew->code == AQM_OK) {
		crew->code = code;
		snprintf(crew->message, sizeof crew->message, "%s", aqm_error_message());
	}
}

/* With the lock held: what is next in order and there, unless someone is at it. */
static void take_some(struct crew *crew)
{
	const struct aqm_side *side = crew->side;

	while (!crew->taking && crew->code == AQM_OK && crew->taken < crew->next && crew->done[crew->taken % crew->slots]) {
		crew->taking = true;
		pthread_mutex_unlock(&crew->lock);
		int code = side->take(side->context, crew->taken, side->slot(side->context, crew->taken % crew->slots));
		pthread_mutex_lock(&crew->lock);
		crew->taking = false;
		if (code != AQM_OK) {
			fail(crew, code);
		} else {
			crew->done[crew->taken % crew->slots] = false;
			crew->taken++;
		}
		pthread_cond_broadcast(&crew->moved);
	}
}

static void work(struct crew *crew)
{
	const struct aqm_side *side = crew->side;

	pthread_mutex_lock(&crew->lock);
	while (crew->code == AQM_OK && crew->next < side->count) {
		if (crew->next - crew->taken == crew->slots) {
			pthread_cond_wait(&crew->moved, &crew->lock);
			continue;
		}
		size_t index = crew->next++;
		pthread_mutex_unlock(&crew->lock);
		int code = aqm_interrupted() ? aqm_error_set(AQM_EINTERRUPTED, "interrupted")
		                             : side->work(side->context, index, side->slot(side->context, index % crew->slots));
		pthread_mutex_lock(&crew->lock);
		if (code == AQM_OK)
			crew->done[index % crew->slots] = true;
		else
			fail(crew, code);
		take_some(crew);
		pthread_cond_broadcast(&crew->moved);
	}
	pthread_mutex_unlock(&crew->lock);
}

int aqm_side_run(const struct aqm_side *side)
{
	struct crew crew = {.side = side, .slots = aqm_side_slots(side)};
	int threads = threads_of(side);

	if (side->count == 0)
		return AQM_OK;
	if (!(crew.done = aqm_calloc_array(crew.slots, sizeof *crew.done)))
		return AQM_ERUN;
	pthread_mutex_init(&crew.lock, NULL);
	pthread_cond_init(&crew.moved, NULL);
#pragma omp parallel num_threads(threads)
	work(&crew);
	for (size_t i = crew.taken; crew.code == AQM_EINTERRUPTED && i < crew.next; i++)
		if (crew.done[i % crew.slots])
			(void)side->take(side->context, i, side->slot(side->context, i % crew.slots));
	pthread_cond_destroy(&crew.moved);
	pthread_mutex_destroy(&crew.lock);
	free(crew.done);
	return crew.code == AQM_OK ? AQM_OK : aqm_error_set(crew.code, "%s", crew.message);
}
