/* SPDX-License-Identifier: BSD-2-Clause */
/* Collected pools: an episode a run, named; the same for any number of threads, and after an interruption. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "aqmtrain/sim.h"
#include "base/file.h"
#include "base/thread.h"
#include "pool/store.h"
#include "sim/side.h"

static struct aqm_grid *make_grid(const char *const *overrides, size_t count)
{
	static const char text[] = "base: {seconds: 3, series: 1, flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]}\n"
							   "axes: {aqm.kind: [dualpi2, freebsd-l4s], epsilon: [0, 0.2], link.rate: [5, 20]}\n"
							   "draws: 2\n"
							   "random: {aqm.target: [5, 30]}\n";
	struct aqm_grid *grid;

	CHECK_OK(aqm_grid_parse(&grid, "t", text, sizeof text - 1, overrides, count));
	return grid;
}

static void hash(const char *path, char hex[65])
{
	CHECK_OK(aqm_sha256_file(path, hex));
}

static void threads_change_nothing(void **state)
{
	struct aqm_grid *grid = make_grid(NULL, 0);
	char one[65], several[65];

	(void)state;
	CHECK_OK(aqm_sim_collect(&(struct aqm_collect_options){.output = "a.h5", .grid = grid, .threads = 1}));
	CHECK_OK(aqm_sim_collect(&(struct aqm_collect_options){.output = "b.h5", .grid = grid, .threads = 5}));
	hash("a.h5", one);
	hash("b.h5", several);
	assert_string_equal(one, several);
	aqm_grid_free(grid);
}

static void episodes_are_named(void **state)
{
	struct aqm_grid *grid = make_grid(NULL, 0);
	aqm_pool *pool;

	(void)state;
	CHECK_OK(aqm_sim_collect(&(struct aqm_collect_options){.output = "a.h5", .grid = grid}));
	CHECK_OK(aqm_pool_open_file(&pool, "a.h5", false));
	assert_int_equal(aqm_pool_episodes(pool), aqm_grid_cells(grid));
	for (size_t i = 0; i < aqm_grid_cells(grid); i++) {
		struct aqm_cell cell;
		char target[32];

		CHECK_OK(aqm_grid_cell(grid, i, &cell));
		assert_int_equal(pool->episodes[i].source, i);
		assert_non_null(strstr(pool->provenance.inputs[i].path, cell.name));
		const char *behaviour = aqm_pool_behaviour(pool, i);
		assert_int_equal(strncmp(behaviour, cell.scenario.aqm.kind, strlen(cell.scenario.aqm.kind)), 0);
		snprintf(target, sizeof target, "target=%.3g", cell.scenario.aqm.target);
		assert_non_null(strstr(behaviour, target));
		assert_true((strstr(behaviour, "epsilon=0.2") != NULL) == (cell.epsilon > 0));
		aqm_cell_release(&cell);
	}
	/* What rewrites pools keeps the names. */
	CHECK_OK(aqm_pool_write_rows(pool, "part.h5", pool->episodes[3].start + 5, 500, NULL));
	aqm_pool *updates, *part;
	CHECK_OK(aqm_pool_open_file(&part, "part.h5", false));
	assert_string_equal(aqm_pool_behaviour(part, 0), aqm_pool_behaviour(pool, 3));
	CHECK_OK(aqm_pool_updates(&updates, pool));
	assert_string_equal(aqm_pool_behaviour(updates, updates->episode_count - 1),
	                    aqm_pool_behaviour(pool, pool->episode_count - 1));
	aqm_pool_free(updates);
	aqm_pool_free(part);
	aqm_pool_free(pool);
	CHECK_OK(aqm_pool_export("part.h5", "part.csv"));
	CHECK_OK(aqm_pool_import("part.csv", "again.h5"));
	CHECK_OK(aqm_pool_open_file(&part, "again.h5", false));
	CHECK_OK(aqm_pool_open_file(&pool, "a.h5", false));
	assert_string_equal(aqm_pool_behaviour(part, 0), aqm_pool_behaviour(pool, 3));
	aqm_pool_free(part);
	aqm_pool_free(pool);
	aqm_grid_free(grid);
}

static void *interrupt_soon(void *unused)
{
	usleep(10000);
	aqm_interrupt_raise(true);
	return unused;
}

static size_t unfinished_episodes(void)
{
	aqm_pool *pool;

	CHECK_OK(aqm_pool_open_file(&pool, "b.h5.unfinished", false));
	size_t episodes = aqm_pool_episodes(pool);
	aqm_pool_free(pool);
	return episodes;
}

/* What an interruption leaves is neither lost nor simulated again, and in the end the bytes are the same. */
static void goes_on_after_interruptions(void **state)
{
	static const char *const some[] = {"aqm.target=7", "link.rate=5"}, *const all[] = {"aqm.target=7"};
	struct aqm_grid *part = make_grid(some, 2), *grid = make_grid(all, 1);
	const struct aqm_collect_options options = {.output = "b.h5", .grid = grid, .threads = 2};
	size_t done = aqm_grid_cells(part);
	char whole[65], pieces[65];
	pthread_t thread;
	int code;

	(void)state;
	CHECK_OK(aqm_sim_collect(&(struct aqm_collect_options){.output = "a.h5", .grid = grid}));
	CHECK_OK(aqm_sim_collect(&(struct aqm_collect_options){.output = "b.h5", .grid = part}));
	assert_int_equal(rename("b.h5", "b.h5.unfinished"), 0);
	aqm_interrupt_raise(true); /* at once: what is there stays */
	assert_int_equal(aqm_sim_collect(&options), AQM_EINTERRUPTED);
	assert_non_null(strstr(aqm_error_message(), "8 of 16 runs are kept in 'b.h5.unfinished'"));
	assert_int_equal(unfinished_episodes(), done);
	for (int round = 0; round < 2; round++) { /* at any time: if that was too late, all is there */
		aqm_interrupt_raise(false);
		assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, NULL), 0);
		code = aqm_sim_collect(&options);
		pthread_join(thread, NULL);
		if (code == AQM_OK)
			break;
		assert_int_equal(code, AQM_EINTERRUPTED);
		assert_false(aqm_path_exists("b.h5"));
		assert_true(unfinished_episodes() >= done);
		done = unfinished_episodes();
	}
	aqm_interrupt_raise(false);
	if (code != AQM_OK)
		CHECK_OK(aqm_sim_collect(&options));
	assert_false(aqm_path_exists("b.h5.unfinished"));
	hash("a.h5", whole);
	hash("b.h5", pieces);
	assert_string_equal(whole, pieces);
	aqm_grid_free(part);
	aqm_grid_free(grid);
}

static void what_cannot_be_collected(void **state)
{
	static const char text[] = "base: {seconds: 1, flows: [{cc: reno, rtt: 5}]}\naxes: {aqm.kind: [pie]}";
	struct aqm_grid *grid;

	(void)state;
	CHECK_OK(aqm_grid_parse(&grid, "t", text, strlen(text), NULL, 0));
	assert_int_equal(aqm_sim_collect(&(struct aqm_collect_options){.output = "x.h5", .grid = grid}), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "'pie' is no AQM that keeps records"));
	aqm_grid_free(grid);
	grid = make_grid(NULL, 0);
	CHECK_OK(aqm_file_write("x.h5.unfinished", "not a pool", 10));
	assert_int_equal(aqm_sim_collect(&(struct aqm_collect_options){.output = "x.h5", .grid = grid}), AQM_EDATA);
	remove("x.h5.unfinished");
	assert_false(aqm_path_exists("x.h5"));
	aqm_grid_free(grid);
}

/* ---- side by side ---- */

enum { RUNS = 500 };

struct tally {
	int next, stop_at, code;
	bool worked[RUNS];
};

static int tally_work(void *context, size_t index, void **result, size_t *bytes)
{
	struct tally *t = context;

	for (size_t i = 0; i + AQM_SIDE_AHEAD * 8 <= index; i++)
		assert_true(t->worked[i]); /* none is far ahead */
	usleep((useconds_t)(index * 7919 % 13) * 20);
	t->worked[index] = true;
	*result = malloc(sizeof index);
	*bytes = sizeof index;
	memcpy(*result, &index, sizeof index);
	return t->stop_at == (int)index ? aqm_error_set(t->code, "stopped at %zu", index) : AQM_OK;
}

static int tally_take(void *context, size_t index, const void *result, size_t bytes)
{
	struct tally *t = context;

	assert_int_equal(bytes, sizeof index);
	assert_memory_equal(result, &index, sizeof index);
	assert_true(t->worked[index]);
	if (t->code == AQM_OK)
		assert_int_equal(t->next, index);
	t->next++;
	return AQM_OK;
}

static void side_by_side_in_order(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 8; threads *= 2) {
		struct tally t = {.stop_at = -1};
		struct aqm_side side = {RUNS, threads, NULL, &t, tally_work, tally_take};

		CHECK_OK(aqm_side_run(&side));
		assert_int_equal(t.next, RUNS);
		t = (struct tally){.stop_at = 100, .code = AQM_ERUN};
		assert_int_equal(aqm_side_run(&side), AQM_ERUN);
		assert_string_equal(aqm_error_message(), "stopped at 100");
		assert_true(t.next <= 100);
		t = (struct tally){.stop_at = 100, .code = AQM_EINTERRUPTED};
		assert_int_equal(aqm_side_run(&side), AQM_EINTERRUPTED);
		size_t worked = 0;
		for (size_t i = 0; i < RUNS; i++)
			worked += t.worked[i];
		assert_int_equal(t.next, worked - 1); /* all but the one that stopped it */
	}
}

static int setup(void **state)
{
	static char folder[] = "/tmp/test_sim_collect.XXXXXX";

	*state = folder;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	return chdir("/") == 0 && aqm_remove_tree(*state) == AQM_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_change_nothing),      cmocka_unit_test(episodes_are_named),
		cmocka_unit_test(goes_on_after_interruptions), cmocka_unit_test(what_cannot_be_collected),
		cmocka_unit_test(side_by_side_in_order),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
