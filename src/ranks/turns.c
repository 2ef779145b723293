/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Handing out pieces of work. Rank 0 has the counter and takes the results; a thread there listens to the other ranks
 * while its own threads work.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/size.h"
#include "ranks/ranks.h"

#ifdef AQM_HAVE_MPI
#include "ranks/mpi.h"
#endif

struct aqm_turns {
	aqm_ranks *ranks;
	size_t cells, next;
	aqm_turns_take take;
	void *context;
	bool asks, serves;    /* rank 0 is another; a thread listens */
	pthread_mutex_t lock; /* counter and results on rank 0; a question and its answer elsewhere */
	pthread_t server;
	int code; /* the first failure of take */
	char message[512];
};

/* ---- on rank 0 ---- */

static size_t next_cell(struct aqm_turns *turns)
{
	pthread_mutex_lock(&turns->lock);
	size_t cell = turns->next < turns->cells ? turns->next++ : turns->cells;
	pthread_mutex_unlock(&turns->lock);
	return cell;
}

static void stop(struct aqm_turns *turns)
{
	pthread_mutex_lock(&turns->lock);
	turns->next = turns->cells;
	pthread_mutex_unlock(&turns->lock);
}

static int take(struct aqm_turns *turns, size_t cell, const void *result, size_t bytes)
{
	pthread_mutex_lock(&turns->lock);
	int code = turns->code == AQM_OK ? turns->take(turns->context, cell, result, bytes) : turns->code;
	if (code != AQM_OK && turns->code == AQM_OK) {
		turns->code = code;
		turns->next = turns->cells;
		snprintf(turns->message, sizeof turns->message, "%s", aqm_error_message());
	}
	pthread_mutex_unlock(&turns->lock);
	return code;
}

#ifdef AQM_HAVE_MPI

/* Until every other rank has said goodbye. */
static void *serve(void *context)
{
	struct aqm_turns *turns = context;
	const struct timespec pause = {.tv_nsec = 200000};

	for (int waiting = aqm_ranks_size(turns->ranks) - 1; waiting > 0;) {
		enum aqm_mpi_kind kind;
		uint64_t number;
		size_t bytes;
		void *data;
		int who, code = aqm_mpi_hear(&who, &kind, &number, &data, &bytes);

		if (code == AQM_OK && who < 0)
			nanosleep(&pause, NULL); /* waiting inside MPI would spin */
		else if (code == AQM_OK && kind == AQM_MPI_ASK)
			code = aqm_mpi_answer(who, next_cell(turns));
		else if (code == AQM_OK && kind == AQM_MPI_RESULT)
			(void)take(turns, (size_t)number, data, bytes); /* its failure is kept, and told at the end */
		else if (code == AQM_OK && kind == AQM_MPI_STOP)
			stop(turns);
		else if (code == AQM_OK)
			waiting--;
		free(data);
		if (code != AQM_OK) { /* MPI itself has failed: nobody can be told */
			stop(turns);
			break;
		}
	}
	return NULL;
}

static int start(struct aqm_turns *turns)
{
	int code = AQM_OK;

	if (aqm_ranks_size(turns->ranks) == 1)
		return AQM_OK;
	turns->asks = !aqm_ranks_first(turns->ranks);
	if (!aqm_mpi_has_threads())
		code = aqm_error_set(AQM_ERUN, "this MPI allows no threads, which handing out work needs");
	code = aqm_ranks_agree(turns->ranks, code);
	if (code == AQM_OK && !turns->asks) {
		turns->serves = pthread_create(&turns->server, NULL, serve, turns) == 0;
		code = turns->serves ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot start a thread that hands out work");
	}
	return aqm_ranks_agree(turns->ranks, code);
}

static int ask(struct aqm_turns *turns, size_t *cell)
{
	uint64_t number = turns->cells;

	pthread_mutex_lock(&turns->lock);
	int code = aqm_mpi_tell(AQM_MPI_ASK, 0, NULL, 0);
	if (code == AQM_OK)
		code = aqm_mpi_await_answer(&number);
	pthread_mutex_unlock(&turns->lock);
	*cell = (size_t)number;
	return code;
}

/* Head and bytes of a message stay together. */
static int tell(struct aqm_turns *turns, enum aqm_mpi_kind kind, size_t cell, const void *result, size_t bytes)
{
	pthread_mutex_lock(&turns->lock);
	int code = aqm_mpi_tell(kind, cell, result, bytes);
	pthread_mutex_unlock(&turns->lock);
	return code;
}

#else

enum aqm_mpi_kind { AQM_MPI_RESULT, AQM_MPI_STOP, AQM_MPI_BYE };

static int start(struct aqm_turns *turns)
{
	(void)turns;
	return AQM_OK;
}

static int ask(struct aqm_turns *turns, size_t *cell)
{
	*cell = turns->cells;
	return AQM_OK;
}

static int tell(struct aqm_turns *turns, enum aqm_mpi_kind kind, size_t cell, const void *result, size_t bytes)
{
	(void)turns, (void)kind, (void)cell, (void)result, (void)bytes;
	return AQM_OK;
}

#endif

/* ---- on all ---- */

int aqm_turns_new(aqm_turns **out, aqm_ranks *ranks, size_t cells, aqm_turns_take take_result, void *context)
{
	struct aqm_turns *turns = aqm_calloc_array(1, sizeof *turns);

	*out = NULL;
	if (!turns)
		return AQM_ERUN;
	*turns = (struct aqm_turns){.ranks = ranks, .cells = cells, .take = take_result, .context = context};
	pthread_mutex_init(&turns->lock, NULL);
	int code = start(turns);
	if (code != AQM_OK) {
		pthread_mutex_destroy(&turns->lock);
		free(turns);
		return code;
	}
	*out = turns;
	return AQM_OK;
}

int aqm_turns_next(aqm_turns *turns, size_t *cell)
{
	if (turns->asks)
		return ask(turns, cell);
	*cell = next_cell(turns);
	return AQM_OK;
}

int aqm_turns_deliver(aqm_turns *turns, size_t cell, const void *result, size_t bytes)
{
	return turns->asks ? tell(turns, AQM_MPI_RESULT, cell, result, bytes) : take(turns, cell, result, bytes);
}

int aqm_turns_stop(aqm_turns *turns)
{
	if (turns->asks)
		return tell(turns, AQM_MPI_STOP, 0, NULL, 0);
	stop(turns);
	return AQM_OK;
}

int aqm_turns_finish(aqm_turns *turns, int code)
{
	char message[512];

	if (!turns)
		return code;
	aqm_ranks *ranks = turns->ranks;

	snprintf(message, sizeof message, "%s", aqm_error_message());
	if (turns->asks)
		(void)tell(turns, AQM_MPI_BYE, 0, NULL, 0);
	if (turns->serves)
		pthread_join(turns->server, NULL);
	if (code == AQM_OK && turns->code != AQM_OK) {
		code = turns->code;
		snprintf(message, sizeof message, "%s", turns->message);
	}
	pthread_mutex_destroy(&turns->lock);
	free(turns);
	if (code != AQM_OK)
		aqm_error_set(code, "%s", message);
	return aqm_ranks_agree(ranks, code);
}
