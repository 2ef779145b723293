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

/* All, when `cells` pieces of work are to be done by whoever is free: a counter. Rank 0 answers the others from a
 * thread of its own. */
typedef struct aqm_turns aqm_turns;
int aqm_turns_new(aqm_turns **out, aqm_ranks *ranks, size_t cells);
/* The next piece for this rank; `cells` when there are none left. From any one thread at a time. */
int aqm_turns_next(aqm_turns *turns, size_t *cell);
/* All. */
void aqm_turns_free(aqm_turns *turns);

#endif
