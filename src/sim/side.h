/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Work on many runs side by side, whose results are taken one by one and in order: what comes of it does not depend on
 * the number of threads.
 */
#ifndef AQM_SIM_SIDE_H
#define AQM_SIM_SIDE_H

#include <stddef.h>
#include <stdint.h>

/* Threads may be some runs ahead of the one that is taken next: so many slots for each. */
enum { AQM_SIDE_AHEAD = 4 };

struct aqm_side {
	size_t count;                                             /* runs */
	int threads;                                              /* 0: all cores */
	void *context;
	int (*work)(void *context, size_t index, void *slot);     /* on any thread */
	int (*take)(void *context, size_t index, void *slot);     /* one at a time, in order, on any thread */
	void *(*slot)(void *context, size_t place);               /* of aqm_side_slots(): where a run's result lies */
};

/* How many results may lie about. */
size_t aqm_side_slots(const struct aqm_side *side);
/* The first error of work or take stops all, and is returned. When it is an interruption, results that are there, but
 * not in order, are still taken. */
int aqm_side_run(const struct aqm_side *side);

#endif
