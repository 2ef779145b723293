/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/side.h"

#include <stdio.h>
#include <stdlib.h>

#include "aqmtrain/error.h"
#include "base/thread.h"

struct crew {
	const struct aqm_side *side;
	aqm_turns *turns;
	int code; /* the first failure of this rank */
	char message[1024];
};

static void fail(struct crew *crew, int code)
{
#pragma omp critical(side_crew)
	if (crew->code == AQM_OK) {
		crew->code = code;
		snprintf(crew->message, sizeof crew->message, "%s", aqm_error_message());
	}
	(void)aqm_turns_stop(crew->turns);
}

/* One run; `done` when there are none left. */
static int work_on_next(struct crew *crew, bool *done)
{
	const struct aqm_side *side = crew->side;
	void *result = NULL;
	size_t index, bytes = 0;
	int code = aqm_turns_next(crew->turns, &index);

	*done = index >= side->count;
	if (code != AQM_OK || *done)
		return code;
	if (aqm_interrupted())
		return aqm_error_set(AQM_EINTERRUPTED, "interrupted");
	code = side->work(side->context, index, &result, &bytes);
	if (code == AQM_OK)
		return aqm_turns_deliver(crew->turns, index, result, bytes);
	free(result);
	return code;
}

static void work(struct crew *crew)
{
	int code = AQM_OK;

	for (bool done = false; code == AQM_OK && !done;)
		code = work_on_next(crew, &done);
	if (code != AQM_OK)
		fail(crew, code);
}

int aqm_side_run(const struct aqm_side *side)
{
	struct crew crew = {.side = side};
	int threads = side->threads > 0 ? side->threads : aqm_threads();
	double all = 0;

	if ((size_t)threads > side->count)
		threads = (int)side->count;
	all = threads;
	int code = aqm_ranks_sum(side->ranks, &all, 1);
	if (code != AQM_OK || side->count == 0)
		return code;
	code = aqm_turns_new(&crew.turns, side->ranks, side->count, (size_t)all * AQM_SIDE_AHEAD, side->take, side->context);
	if (code != AQM_OK)
		return code;
#pragma omp parallel num_threads(threads)
	work(&crew);
	if (crew.code != AQM_OK)
		aqm_error_set(crew.code, "%s", crew.message);
	return aqm_turns_finish(crew.turns, crew.code);
}
