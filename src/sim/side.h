/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Work on many runs side by side, on threads and ranks, whose results are taken one by one and in order on rank 0: what
 * comes of it does not depend on the number of either.
 */
#ifndef AQM_SIM_SIDE_H
#define AQM_SIM_SIDE_H

#include <stddef.h>
#include <stdint.h>

#include "ranks/ranks.h"

/* Each thread may be so many runs ahead of the one that is taken next. */
enum { AQM_SIDE_AHEAD = 4 };

struct aqm_side {
	size_t count;     /* runs */
	int threads;      /* of each rank; 0: all it has */
	aqm_ranks *ranks; /* NULL: alone */
	void *context;
	/* On any thread of any rank: *result, from malloc, holds no pointers, for it may be sent. */
	int (*work)(void *context, size_t index, void **result, size_t *bytes);
	aqm_turns_take take; /* on rank 0, one at a time, in order, on any thread */
};

/* All ranks. The first error of work or take stops all, and is returned. When it is an interruption, results that are
 * there, but not in order, are still taken. */
int aqm_side_run(const struct aqm_side *side);

#endif
