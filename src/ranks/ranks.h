/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Several processes at one piece of work, started by an MPI launcher (mpirun, srun). A process that was not is alone:
 * every function then works, and costs nothing.
 *
 * Functions marked "all" are called by every rank, in the same order. Whatever they return is the same on all of them,
 * so that ranks never part ways. One thread calls them.
 */
#ifndef AQM_RANKS_RANKS_H
#define AQM_RANKS_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/error.h"

typedef struct aqm_ranks aqm_ranks;

/* How many processes an MPI launcher has started; 0: none did. */
int aqm_ranks_launched(void);
/* Join the job that the launcher has started; alone without one. Once a process. AQM_ERUN: MPI failed, or there is a
 * launcher but the program was built without MPI. */
int aqm_ranks_join(aqm_ranks **out);
/* All, when done with everything; NULL is fine. */
void aqm_ranks_leave(aqm_ranks *ranks);

/* NULL counts as alone. */
int aqm_ranks_rank(const aqm_ranks *ranks);
int aqm_ranks_size(const aqm_ranks *ranks);
/* Place among the ranks of the same host, and how many those are: what GPUs are chosen by. */
int aqm_ranks_local_rank(const aqm_ranks *ranks);
int aqm_ranks_local_size(const aqm_ranks *ranks);
/* Threads for this rank where nobody has said how many: one a core that the launcher has bound it to; where it has not
 * bound them, its share of the host's. */
int aqm_ranks_threads(const aqm_ranks *ranks);
static inline bool aqm_ranks_first(const aqm_ranks *ranks)
{
	return aqm_ranks_rank(ranks) == 0;
}

/* All: AQM_OK if every rank brings it; else the code of the first rank that does not, with its message and its name
 * before it. */
int aqm_ranks_agree(aqm_ranks *ranks, int code);
/* All: whether any rank says so. */
int aqm_ranks_any(aqm_ranks *ranks, bool mine, bool *any);
/* All: `text` is the same on every rank; else AQM_EUSAGE, saying that `what` differs, where, and how. */
int aqm_ranks_same(aqm_ranks *ranks, const char *what, const char *text);
/* All: wait for the others, asleep, while they may work. */
int aqm_ranks_pause(aqm_ranks *ranks);
/* All: values of rank 0 on every rank. */
int aqm_ranks_broadcast(aqm_ranks *ranks, void *data, size_t bytes);
/* All: each value becomes the sum over the ranks, with the same bits on all; the same ranks give the same bits. */
int aqm_ranks_sum(aqm_ranks *ranks, double *values, size_t count);
int aqm_ranks_sum_floats(aqm_ranks *ranks, float *values, size_t count);

/* Sums that go on while other work is done. */
enum { AQM_SUMS_MAX = 256 };
struct aqm_sums {
	aqm_ranks *ranks;
	size_t count;
	void *requests[AQM_SUMS_MAX];
};
/* All: begin to sum; `values` is not to be touched until aqm_sums_finish(). When AQM_SUMS_MAX are under way this one is
 * waited for. */
int aqm_sums_begin(struct aqm_sums *sums, float *values, size_t count);
/* Let what is under way get on: MPI works while it is called. */
int aqm_sums_progress(struct aqm_sums *sums);
int aqm_sums_finish(struct aqm_sums *sums);

/* A share of `count` things in a row for each rank: the first of mine; of rank + 1: their end. */
static inline size_t aqm_ranks_share(size_t count, int rank, int size)
{
	size_t n = (size_t)size, r = (size_t)rank;

	return count / n * r + (count % n < r ? count % n : r);
}

/* ---- handing out ---- */

/* `cells` pieces of work, done by whoever is free, whose results come together on rank 0. Rank 0 works too: a thread of
 * its own answers the others. Functions but new and finish may be called from several threads. */
typedef struct aqm_turns aqm_turns;
/* What rank 0 does with a result, one at a time, on any thread. Another code than AQM_OK stops the work. */
typedef int (*aqm_turns_take)(void *context, size_t cell, const void *result, size_t bytes);

/* All. ahead: 0: results are taken as they come; else in the order of the cells, and no cell is begun that lies so many
 * or more behind the one that is taken next. AQM_ERUN where MPI allows no threads. */
int aqm_turns_new(aqm_turns **out, aqm_ranks *ranks, size_t cells, size_t ahead, aqm_turns_take take, void *context);
/* The next piece for this rank, once there may be one; `cells` when there are none left. */
int aqm_turns_next(aqm_turns *turns, size_t *cell);
/* The result of a piece, to rank 0. It comes from malloc, and is not the caller's any more, whatever is returned. */
int aqm_turns_deliver(aqm_turns *turns, size_t cell, void *result, size_t bytes);
/* Hand out no more, on any rank. */
int aqm_turns_stop(aqm_turns *turns);
/* All, each with what became of its work: the first failure of any rank, once all results are taken. When it is an
 * interruption, results that are there, but not in order, are taken too. NULL is fine. */
int aqm_turns_finish(aqm_turns *turns, int code);

#endif
