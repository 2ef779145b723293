/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Turns of one rank and several threads. Several ranks: tests/cli/ranks_cells.sh.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "ranks/ranks.h"

enum { CELLS = 400, THREADS = 4, AHEAD = 6 };

struct work {
	aqm_turns *turns;
	size_t order[CELLS], taken, last_taken, fail_at;
	bool far;
};

static int take(void *context, size_t cell, const void *result, size_t bytes)
{
	struct work *w = context;

	assert_int_equal(bytes, sizeof cell);
	assert_memory_equal(result, &cell, bytes);
	if (cell == w->fail_at)
		return aqm_error_set(AQM_ERUN, "the disk is full at %zu", cell);
	w->order[w->taken++] = cell;
	__atomic_store_n(&w->last_taken, cell, __ATOMIC_SEQ_CST);
	return AQM_OK;
}

static void *work(void *context)
{
	struct work *w = context;
	size_t cell;

	while (aqm_turns_next(w->turns, &cell) == AQM_OK && cell < CELLS) {
		size_t *result = malloc(sizeof *result);

		if (cell > __atomic_load_n(&w->last_taken, __ATOMIC_SEQ_CST) + AHEAD)
			w->far = true;
		*result = cell;
		usleep((useconds_t)(cell * 7919 % 11) * 20);
		if (aqm_turns_deliver(w->turns, cell, result, sizeof *result) != AQM_OK)
			break;
	}
	return NULL;
}

static int run(struct work *w, size_t ahead, int own)
{
	pthread_t threads[THREADS];

	CHECK_OK(aqm_turns_new(&w->turns, NULL, CELLS, ahead, take, w));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, w), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return aqm_turns_finish(w->turns, own);
}

static void each_cell_once(void **state)
{
	struct work w = {.fail_at = CELLS};
	bool seen[CELLS] = {false};

	(void)state;
	assert_int_equal(run(&w, 0, AQM_OK), AQM_OK);
	assert_int_equal(w.taken, CELLS);
	for (size_t i = 0; i < CELLS; i++) {
		assert_false(seen[w.order[i]]);
		seen[w.order[i]] = true;
	}
}

static void in_order_and_none_far_ahead(void **state)
{
	struct work w = {.fail_at = CELLS};

	(void)state;
	assert_int_equal(run(&w, AHEAD, AQM_OK), AQM_OK);
	assert_int_equal(w.taken, CELLS);
	for (size_t i = 0; i < CELLS; i++)
		assert_int_equal(w.order[i], i);
	assert_false(w.far);
}

static void what_cannot_be_taken_ends_it(void **state)
{
	struct work w = {.fail_at = 50};

	(void)state;
	assert_int_equal(run(&w, AHEAD, AQM_OK), AQM_ERUN);
	assert_string_equal(aqm_error_message(), "the disk is full at 50");
	assert_int_equal(w.taken, 50);
}

/* Cells 0 and 1 are never delivered. */
static int skip_two(int own, struct work *w)
{
	size_t cell;

	CHECK_OK(aqm_turns_new(&w->turns, NULL, CELLS, AHEAD, take, w));
	for (size_t i = 0; i < AHEAD; i++) {
		CHECK_OK(aqm_turns_next(w->turns, &cell));
		assert_int_equal(cell, i);
	}
	for (size_t i = AHEAD - 1; i >= 2; i--) {
		size_t *result = malloc(sizeof *result);

		*result = i;
		CHECK_OK(aqm_turns_deliver(w->turns, i, result, sizeof i));
	}
	CHECK_OK(aqm_turns_stop(w->turns));
	CHECK_OK(aqm_turns_next(w->turns, &cell));
	assert_int_equal(cell, CELLS);
	aqm_error_set(own, "stopped");
	return aqm_turns_finish(w->turns, own);
}

static void an_interruption_keeps_what_is_there(void **state)
{
	struct work w = {.fail_at = CELLS}, failed = {.fail_at = CELLS};

	(void)state;
	assert_int_equal(skip_two(AQM_EINTERRUPTED, &w), AQM_EINTERRUPTED);
	assert_string_equal(aqm_error_message(), "stopped");
	assert_int_equal(w.taken, AHEAD - 2);
	for (size_t i = 0; i < w.taken; i++)
		assert_int_equal(w.order[i], i + 2);
	assert_int_equal(skip_two(AQM_ERUN, &failed), AQM_ERUN);
	assert_int_equal(failed.taken, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_cell_once),
		cmocka_unit_test(in_order_and_none_far_ahead),
		cmocka_unit_test(what_cannot_be_taken_ends_it),
		cmocka_unit_test(an_interruption_keeps_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
