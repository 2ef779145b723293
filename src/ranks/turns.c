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

/* Not taken yet. */
struct result {
	struct result *next;
	size_t cell, bytes;
	void *data; /* owned */
};

struct aqm_turns {
	aqm_ranks *ranks;
	size_t cells, ahead;
	aqm_turns_take take;
	void *context;
	bool asks, serves; /* rank 0 is another; a thread listens */
	/* on rank 0, with the lock held: */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	size_t next, taken;     /* the cell to begin next; how many results are taken */
	struct result *results; /* in no order */
	bool taking;
	int code; /* the first failure of take */
	char message[512];
	pthread_t server;
	/* elsewhere: one question at a time, and head and bytes of a message stay together */
	pthread_mutex_t question, message_lock;
};

/* ---- on rank 0 ---- */

/* Whether there is an answer to who asks for a cell. */
static bool may_begin(const struct aqm_turns *turns)
{
	return turns->next == turns->cells || turns->ahead == 0 || turns->next - turns->taken < turns->ahead;
}

static size_t begin(struct aqm_turns *turns)
{
	return turns->next < turns->cells ? turns->next++ : turns->cells;
}

static void stop(struct aqm_turns *turns)
{
	pthread_mutex_lock(&turns->lock);
	turns->next = turns->cells;
	pthread_cond_broadcast(&turns->moved);
	pthread_mutex_unlock(&turns->lock);
}

/* Unlinks the result that is taken next; NULL: it is not there. */
static struct result *pick(struct aqm_turns *turns)
{
	struct result **at = &turns->results, *found;

	while (*at && turns->ahead && (*at)->cell != turns->taken)
		at = &(*at)->next;
	found = *at;
	if (found)
		*at = found->next;
	return found;
}

static void free_result(struct result *result)
{
	free(result->data);
	free(result);
}

/* With the lock held, which is let go while a result is taken. */
static void take_some(struct aqm_turns *turns)
{
	struct result *result;

	while (!turns->taking && turns->code == AQM_OK && (result = pick(turns))) {
		turns->taking = true;
		pthread_mutex_unlock(&turns->lock);
		int code = turns->take(turns->context, result->cell, result->data, result->bytes);
		free_result(result);
		pthread_mutex_lock(&turns->lock);
		turns->taking = false;
		turns->taken++;
		if (code != AQM_OK) {
			turns->code = code;
			turns->next = turns->cells;
			snprintf(turns->message, sizeof turns->message, "%s", aqm_error_message());
		}
		pthread_cond_broadcast(&turns->moved);
	}
}

static int add_result(struct aqm_turns *turns, size_t cell, void *data, size_t bytes)
{
	struct result *result = aqm_malloc_array(1, sizeof *result);

	if (!result) {
		free(data);
		stop(turns);
		return AQM_ERUN;
	}
	pthread_mutex_lock(&turns->lock);
	*result = (struct result){turns->results, cell, bytes, data};
	turns->results = result;
	take_some(turns);
	int code = turns->code;
	pthread_mutex_unlock(&turns->lock);
	return code == AQM_OK ? AQM_OK : aqm_error_set(code, "%s", turns->message);
}

#ifdef AQM_HAVE_MPI

/* Ranks that have asked, and have no answer yet. */
struct asking {
	int *ranks; /* owned */
	int count;
};

static int answer_some(struct aqm_turns *turns, struct asking *asking)
{
	int code = AQM_OK;

	while (code == AQM_OK && asking->count) {
		pthread_mutex_lock(&turns->lock);
		bool may = may_begin(turns);
		size_t cell = may ? begin(turns) : 0;
		pthread_mutex_unlock(&turns->lock);
		if (!may)
			break;
		code = aqm_mpi_answer(asking->ranks[0], cell);
		asking->count--;
		for (int i = 0; i < asking->count; i++)
			asking->ranks[i] = asking->ranks[i + 1];
	}
	return code;
}

/* Until every other rank has said goodbye. */
static void *serve(void *context)
{
	struct aqm_turns *turns = context;
	const struct timespec pause = {.tv_nsec = AQM_MPI_PAUSE};
	int waiting = aqm_ranks_size(turns->ranks) - 1;
	struct asking asking = {.ranks = aqm_malloc_array((size_t)waiting, sizeof(int))};
	int code = asking.ranks ? AQM_OK : AQM_ERUN, failed = AQM_OK;

	while (code == AQM_OK && waiting > 0) {
		enum aqm_mpi_kind kind;
		uint64_t number;
		size_t bytes;
		void *data;
		int who;

		code = aqm_mpi_hear(&who, &kind, &number, &data, &bytes);
		if (code == AQM_OK && who < 0)
			nanosleep(&pause, NULL);
		else if (code == AQM_OK && kind == AQM_MPI_ASK)
			asking.ranks[asking.count++] = who; /* of each rank one question at a time */
		else if (code == AQM_OK && kind == AQM_MPI_RESULT)
			failed |= add_result(turns, (size_t)number, data, bytes); /* what take says is kept, and told at the end */
		else if (code == AQM_OK && kind == AQM_MPI_STOP)
			stop(turns);
		else if (code == AQM_OK)
			waiting--;
		if (code == AQM_OK)
			code = answer_some(turns, &asking);
	}
	code = code == AQM_OK && failed ? AQM_ERUN : code;
	pthread_mutex_lock(&turns->lock);
	if (code != AQM_OK && turns->code == AQM_OK) { /* MPI itself has failed, or there is no memory */
		turns->code = code;
		turns->next = turns->cells;
		snprintf(turns->message, sizeof turns->message, "%s", aqm_error_message());
		pthread_cond_broadcast(&turns->moved);
	}
	pthread_mutex_unlock(&turns->lock);
	free(asking.ranks);
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

static int tell(struct aqm_turns *turns, enum aqm_mpi_kind kind, size_t cell, const void *result, size_t bytes)
{
	pthread_mutex_lock(&turns->message_lock);
	int code = aqm_mpi_tell(kind, cell, result, bytes);
	pthread_mutex_unlock(&turns->message_lock);
	return code;
}

static int ask(struct aqm_turns *turns, size_t *cell)
{
	uint64_t number = turns->cells;

	pthread_mutex_lock(&turns->question);
	int code = tell(turns, AQM_MPI_ASK, 0, NULL, 0);
	if (code == AQM_OK)
		code = aqm_mpi_await_answer(&number);
	pthread_mutex_unlock(&turns->question);
	*cell = (size_t)number;
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

static void free_turns(struct aqm_turns *turns)
{
	for (struct result *result = turns->results, *next; result; result = next) {
		next = result->next;
		free_result(result);
	}
	pthread_mutex_destroy(&turns->message_lock);
	pthread_mutex_destroy(&turns->question);
	pthread_cond_destroy(&turns->moved);
	pthread_mutex_destroy(&turns->lock);
	free(turns);
}

int aqm_turns_new(aqm_turns **out, aqm_ranks *ranks, size_t cells, size_t ahead, aqm_turns_take take, void *context)
{
	struct aqm_turns *turns = aqm_calloc_array(1, sizeof *turns);
	int code = aqm_ranks_agree(ranks, turns ? AQM_OK : AQM_ERUN);

	*out = NULL;
	if (code != AQM_OK) {
		free(turns);
		return code;
	}
	*turns = (struct aqm_turns){.ranks = ranks, .cells = cells, .ahead = ahead, .take = take, .context = context};
	pthread_mutex_init(&turns->lock, NULL);
	pthread_cond_init(&turns->moved, NULL);
	pthread_mutex_init(&turns->question, NULL);
	pthread_mutex_init(&turns->message_lock, NULL);
	code = start(turns);
	if (code != AQM_OK) {
		free_turns(turns);
		return code;
	}
	*out = turns;
	return AQM_OK;
}

int aqm_turns_next(aqm_turns *turns, size_t *cell)
{
	if (turns->asks)
		return ask(turns, cell);
	pthread_mutex_lock(&turns->lock);
	while (!may_begin(turns))
		pthread_cond_wait(&turns->moved, &turns->lock);
	*cell = begin(turns);
	pthread_mutex_unlock(&turns->lock);
	return AQM_OK;
}

int aqm_turns_deliver(aqm_turns *turns, size_t cell, void *result, size_t bytes)
{
	if (!turns->asks)
		return add_result(turns, cell, result, bytes);
	int code = tell(turns, AQM_MPI_RESULT, cell, result, bytes);

	free(result);
	return code;
}

int aqm_turns_stop(aqm_turns *turns)
{
	if (turns->asks)
		return tell(turns, AQM_MPI_STOP, 0, NULL, 0);
	stop(turns);
	return AQM_OK;
}

/* What an interruption has left out of order: the earliest first. */
static int take_rest(struct aqm_turns *turns)
{
	while (turns->results) {
		size_t first = turns->results->cell;

		for (const struct result *result = turns->results; result; result = result->next)
			first = result->cell < first ? result->cell : first;
		turns->taken = first;
		struct result *result = pick(turns);
		int code = turns->take(turns->context, result->cell, result->data, result->bytes);

		free_result(result);
		if (code != AQM_OK)
			return code;
	}
	return AQM_OK;
}

int aqm_turns_finish(aqm_turns *turns, int code)
{
	char message[1024];

	if (!turns)
		return code;
	snprintf(message, sizeof message, "%s", aqm_error_message());
	if (turns->asks)
		(void)tell(turns, AQM_MPI_BYE, 0, NULL, 0);
	if (turns->serves)
		pthread_join(turns->server, NULL);
	if (code == AQM_OK && turns->code != AQM_OK) {
		code = turns->code;
		snprintf(message, sizeof message, "%s", turns->message);
	}
	if (code != AQM_OK)
		aqm_error_set(code, "%s", message);
	code = aqm_ranks_agree(turns->ranks, code);
	if (code == AQM_EINTERRUPTED) {
		snprintf(message, sizeof message, "%s", aqm_error_message());
		int rest = aqm_ranks_agree(turns->ranks, take_rest(turns));

		if (rest != AQM_OK)
			code = rest;
		else
			aqm_error_set(code, "%s", message);
	}
	free_turns(turns);
	return code;
}
