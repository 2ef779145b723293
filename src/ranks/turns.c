/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Handing out pieces of work. Rank 0 has the counter, and a thread that answers the others while its first thread
 * works itself. Where MPI does not allow threads, pieces are dealt out like cards.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/size.h"
#include "ranks/ranks.h"

#ifdef AQM_HAVE_MPI
#include "ranks/mpi.h"
#endif

struct aqm_turns {
	aqm_ranks *ranks;
	size_t cells;
	atomic_size_t next; /* of rank 0's counter; of one's own cards */
	bool asks;          /* the counter is rank 0's, and this is another */
	bool serves;
	int waiting; /* ranks that have not been told that nothing is left */
	pthread_t server;
};

static size_t take(struct aqm_turns *turns)
{
	size_t cell = atomic_fetch_add(&turns->next, 1);

	return cell < turns->cells ? cell : turns->cells;
}

#ifdef AQM_HAVE_MPI

/* Until every other rank has been told that nothing is left. */
static void *serve(void *context)
{
	struct aqm_turns *turns = context;
	const struct timespec pause = {.tv_nsec = 200000};

	while (turns->waiting > 0) {
		int who;

		if (aqm_mpi_asked(&who) != AQM_OK)
			break;
		if (who < 0) {
			nanosleep(&pause, NULL); /* waiting inside MPI would spin */
			continue;
		}
		size_t cell = take(turns);
		if (cell == turns->cells)
			turns->waiting--;
		if (aqm_mpi_answer(who, cell) != AQM_OK)
			break;
	}
	return NULL;
}

static int start(struct aqm_turns *turns)
{
	int size = aqm_ranks_size(turns->ranks), code = AQM_OK;

	if (size == 1 || !aqm_mpi_has_threads())
		return AQM_OK;
	turns->asks = !aqm_ranks_first(turns->ranks);
	turns->waiting = size - 1;
	if (!turns->asks) {
		turns->serves = pthread_create(&turns->server, NULL, serve, turns) == 0;
		code = turns->serves ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot start a thread that hands out work");
	}
	return aqm_ranks_agree(turns->ranks, code);
}

static int ask(size_t *cell)
{
	return aqm_mpi_ask(cell);
}

static bool dealt(const struct aqm_turns *turns)
{
	return aqm_ranks_size(turns->ranks) > 1 && !aqm_mpi_has_threads();
}

#else

static int start(struct aqm_turns *turns)
{
	(void)turns;
	return AQM_OK;
}

static int ask(size_t *cell)
{
	(void)cell;
	return AQM_OK;
}

static bool dealt(const struct aqm_turns *turns)
{
	(void)turns;
	return false;
}

#endif

int aqm_turns_new(aqm_turns **out, aqm_ranks *ranks, size_t cells)
{
	struct aqm_turns *turns = aqm_calloc_array(1, sizeof *turns);

	*out = NULL;
	if (!turns)
		return AQM_ERUN;
	turns->ranks = ranks;
	turns->cells = cells;
	int code = start(turns);
	if (code != AQM_OK) {
		free(turns);
		return code;
	}
	*out = turns;
	return AQM_OK;
}

int aqm_turns_next(aqm_turns *turns, size_t *cell)
{
	if (dealt(turns)) {
		size_t card = atomic_fetch_add(&turns->next, 1);

		*cell = card * (size_t)aqm_ranks_size(turns->ranks) + (size_t)aqm_ranks_rank(turns->ranks);
		if (*cell > turns->cells)
			*cell = turns->cells;
		return AQM_OK;
	}
	if (!turns->asks) {
		*cell = take(turns);
		return AQM_OK;
	}
	if (turns->waiting == 0) { /* told already */
		*cell = turns->cells;
		return AQM_OK;
	}
	int code = ask(cell);
	if (code == AQM_OK && *cell >= turns->cells)
		turns->waiting = 0;
	return code;
}

void aqm_turns_free(aqm_turns *turns)
{
	if (!turns)
		return;
	/* A rank that stopped early has not been told yet, and rank 0 waits for it. */
	for (size_t cell; turns->asks && turns->waiting > 0;)
		if (ask(&cell) != AQM_OK || cell >= turns->cells)
			turns->waiting = 0;
	if (turns->serves)
		pthread_join(turns->server, NULL);
	free(turns);
}
