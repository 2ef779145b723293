/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Windows of epochs and of evaluations.
 */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "helper.h"

enum { ROWS = 2000 };
static const size_t starts[] = {0, 1, 8, 300, 310, 1200};
enum { EPISODES = sizeof starts / sizeof *starts };
static uint8_t actions[ROWS];
static aqm_pool *pool;

static int make(void **state)
{
	static double delay[ROWS];
	const char *names[] = {"current_qdelay"};
	const double *columns[] = {delay};
	struct aqm_rng rng;

	(void)state;
	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < ROWS; i++) {
		uint64_t roll = aqm_rng_below(&rng, 100);
		actions[i] = roll < 3 ? AQM_MARK : roll < 12 ? AQM_DROP : AQM_ENQUEUE;
	}
	return aqm_pool_from_columns(&pool, ROWS, 1, names, columns, actions, actions, EPISODES, starts);
}

static int drop(void **state)
{
	(void)state;
	aqm_pool_free(pool);
	return 0;
}

static size_t episode_of(size_t row)
{
	size_t e = 0;

	while (e + 1 < EPISODES && starts[e + 1] <= row)
		e++;
	return e;
}

/* Inside one episode, and short only where that is. */
static void check_window(struct aqm_window w, size_t size)
{
	size_t e = episode_of(w.start), end = e + 1 < EPISODES ? starts[e + 1] : ROWS;

	assert_in_range(w.length, 1, size);
	assert_true(w.start + w.length <= end);
	assert_int_equal(w.episode_offset, w.start - starts[e]);
	if (w.length < size)
		assert_int_equal(w.length, end - starts[e]);
}

static void test_windows_stay_in_their_episodes(void **state)
{
	static const size_t sizes[] = {1, 2, 7, 20, 500, 3000};

	(void)state;
	for (int kind = 0; kind < 3; kind++)
		for (size_t s = 0; s < 6; s++) {
			aqm_sampler *sampler;
			assert_int_equal(aqm_sampler_new(&sampler, (enum aqm_sampler_kind)kind, pool, actions, sizes[s], 0, 1),
			                 AQM_OK);
			assert_int_equal(aqm_sampler_windows(sampler), (ROWS + sizes[s] - 1) / sizes[s]);
			for (uint32_t epoch = 0; epoch < 5; epoch++) {
				assert_int_equal(aqm_sampler_start_epoch(sampler, epoch), AQM_OK);
				for (size_t i = 0; i < aqm_sampler_windows(sampler); i++)
					check_window(aqm_sampler_window(sampler, i), sizes[s]);
			}
			aqm_sampler_free(sampler);
		}
}

/* A function of seed, epoch and index, whatever was asked before. */
static void test_epochs_can_be_taken_up_again(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		aqm_sampler *a, *b, *c;
		unsigned differ_by_epoch = 0, differ_by_seed = 0;

		assert_int_equal(aqm_sampler_new(&a, (enum aqm_sampler_kind)kind, pool, actions, 20, 300, 7), AQM_OK);
		assert_int_equal(aqm_sampler_new(&b, (enum aqm_sampler_kind)kind, pool, actions, 20, 300, 7), AQM_OK);
		assert_int_equal(aqm_sampler_new(&c, (enum aqm_sampler_kind)kind, pool, actions, 20, 300, 8), AQM_OK);
		for (uint32_t epoch = 0; epoch < 4; epoch++)
			aqm_sampler_start_epoch(a, epoch);
		aqm_sampler_start_epoch(b, 3);
		aqm_sampler_start_epoch(c, 3);
		for (size_t i = 0; i < 300; i++) {
			struct aqm_window x = aqm_sampler_window(a, i), y = aqm_sampler_window(b, i), z = aqm_sampler_window(c, i);
			assert_memory_equal(&x, &y, sizeof x);
			differ_by_seed += x.start != z.start;
		}
		aqm_sampler_start_epoch(b, 2);
		for (size_t i = 0; i < 300; i++)
			differ_by_epoch += aqm_sampler_window(a, i).start != aqm_sampler_window(b, i).start;
		assert_true(differ_by_epoch > 200);
		assert_true(differ_by_seed > 200);
		aqm_sampler_free(a);
		aqm_sampler_free(b);
		aqm_sampler_free(c);
	}
}

static int compare_sizes(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

/* Whole windows side by side from each episode's first row on; the same in every epoch, in another order. */
static void test_tiles_are_the_same_in_every_epoch(void **state)
{
	enum { W = 20 };
	size_t expected[ROWS], found[ROWS], count = 0, moved = 0, before = 0;
	aqm_sampler *sampler;

	(void)state;
	for (size_t e = 0; e < EPISODES; e++) {
		size_t end = e + 1 < EPISODES ? starts[e + 1] : ROWS, at = starts[e];

		do
			expected[count++] = at;
		while ((at += W) + W <= end);
	}
	assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_TILES, pool, actions, W, 0, 9), AQM_OK);
	assert_int_equal(aqm_sampler_windows(sampler), count);
	for (uint32_t epoch = 0; epoch < 4; epoch++) {
		aqm_sampler_start_epoch(sampler, epoch);
		for (size_t i = 0; i < count; i++) {
			struct aqm_window window = aqm_sampler_window(sampler, i);

			check_window(window, W);
			found[i] = window.start;
		}
		moved += epoch > 0 && found[0] != before;
		before = found[0];
		qsort(found, count, sizeof *found, compare_sizes);
		assert_memory_equal(found, expected, count * sizeof *found);
	}
	assert_true(moved > 0);
	aqm_sampler_free(sampler);
}

/* With room for a whole tiling every row is seen, and few of them twice. */
static void test_uniform_sees_every_row_about_once(void **state)
{
	static unsigned seen[ROWS];
	aqm_sampler *sampler;
	size_t w = 20, most = 0, total = 0;

	(void)state;
	for (size_t e = 0; e < EPISODES; e++) /* no tiling has more than two windows more than the rows need */
		most += ((e + 1 < EPISODES ? starts[e + 1] : ROWS) - starts[e]) / w + 2;
	for (uint32_t epoch = 0; epoch < 20; epoch++) {
		memset(seen, 0, sizeof seen);
		assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_UNIFORM, pool, actions, w, most, 3), AQM_OK);
		aqm_sampler_start_epoch(sampler, epoch);
		for (size_t i = 0; i < most; i++) {
			struct aqm_window window = aqm_sampler_window(sampler, i);
			for (size_t r = window.start; r < window.start + window.length; r++)
				seen[r]++;
		}
		for (size_t r = 0; r < ROWS; r++) {
			assert_true(seen[r] >= 1);
			total += seen[r];
		}
		aqm_sampler_free(sampler);
	}
	assert_true((double)total / 20 / ROWS < 1.2);
}

/* In the default number of windows no row is favoured: over many epochs all are seen nearly as often. */
static void test_uniform_favours_no_row(void **state)
{
	static unsigned seen[ROWS];
	aqm_sampler *sampler;
	enum { EPOCHS = 3000 };

	(void)state;
	assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_UNIFORM, pool, actions, 20, 0, 3), AQM_OK);
	for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
		aqm_sampler_start_epoch(sampler, epoch);
		for (size_t i = 0; i < aqm_sampler_windows(sampler); i++)
			for (size_t r = aqm_sampler_window(sampler, i).start, k = 0; k < aqm_sampler_window(sampler, i).length; k++)
				seen[r + k]++;
	}
	for (size_t r = 0; r < ROWS; r++)
		assert_in_range(seen[r], EPOCHS * 8 / 10, EPOCHS * 2);
	aqm_sampler_free(sampler);
}

static void test_transitions_are_inside(void **state)
{
	aqm_sampler *sampler;
	unsigned places[20] = {0};

	(void)state;
	assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_TRANSITIONS, pool, actions, 5, 5000, 3), AQM_OK);
	for (size_t i = 0; i < 5000; i++) {
		struct aqm_window w = aqm_sampler_window(sampler, i);
		unsigned changes = 0;
		for (size_t r = w.start + 1; r < w.start + w.length; r++)
			if (actions[r] != actions[r - 1]) {
				changes++;
				places[r - w.start]++;
			}
		assert_true(changes > 0);
	}
	for (size_t k = 1; k < 5; k++)
		assert_true(places[k] > 500); /* anywhere inside */
	aqm_sampler_free(sampler);
}

static void test_a_pool_without_changes_has_no_transitions(void **state)
{
	static uint8_t still[ROWS];
	aqm_sampler *sampler;

	(void)state;
	assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_TRANSITIONS, pool, still, 5, 0, 3), AQM_EDATA);
	assert_null(sampler);
	/* Balanced draws from the classes that are there. */
	assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_BALANCED, pool, still, 5, 0, 3), AQM_OK);
	aqm_sampler_free(sampler);
}

/* With windows of one row the row drawn is the window: classes come out even. */
static void test_balanced_classes_are_even(void **state)
{
	aqm_sampler *sampler;
	unsigned counts[AQM_ACTIONS] = {0};

	(void)state;
	assert_int_equal(aqm_sampler_new(&sampler, AQM_SAMPLER_BALANCED, pool, actions, 1, 9000, 3), AQM_OK);
	for (size_t i = 0; i < 9000; i++)
		counts[actions[aqm_sampler_window(sampler, i).start]]++;
	for (int a = 0; a < AQM_ACTIONS; a++)
		assert_in_range(counts[a], 2800, 3200);
	aqm_sampler_free(sampler);
}

static void test_evaluation_scores_every_row_once(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 7, 20, 500, 3000};

	(void)state;
	for (size_t s = 0; s < 7; s++) {
		unsigned scored[ROWS] = {0};
		size_t w = sizes[s], n = aqm_eval_windows(pool, w, 0, NULL, NULL);
		struct aqm_window *windows = calloc(n, sizeof *windows);
		size_t *from = calloc(n, sizeof *from);

		assert_int_equal(aqm_eval_windows(pool, w, n, windows, from), n);
		for (size_t i = 0; i < n; i++) {
			size_t e = episode_of(windows[i].start), end = e + 1 < EPISODES ? starts[e + 1] : ROWS;

			assert_in_range(windows[i].length, 1, w);
			assert_true(windows[i].start + windows[i].length <= end);
			assert_int_equal(windows[i].episode_offset, windows[i].start - starts[e]);
			if (windows[i].start == starts[e])
				assert_int_equal(from[i], 0);
			else
				assert_true(from[i] >= w - w / 2 || w == 1); /* as much past as a cache that restarted has */
			for (size_t k = from[i]; k < windows[i].length; k++)
				scored[windows[i].start + k]++;
		}
		for (size_t r = 0; r < ROWS; r++)
			assert_int_equal(scored[r], 1);
		/* Less room: the same windows, as far as they go. */
		struct aqm_window first;
		assert_int_equal(aqm_eval_windows(pool, w, 1, &first, NULL), n);
		assert_memory_equal(&first, &windows[0], sizeof first);
		free(windows);
		free(from);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows_stay_in_their_episodes),
		cmocka_unit_test(test_epochs_can_be_taken_up_again),
		cmocka_unit_test(test_tiles_are_the_same_in_every_epoch),
		cmocka_unit_test(test_uniform_sees_every_row_about_once),
		cmocka_unit_test(test_uniform_favours_no_row),
		cmocka_unit_test(test_transitions_are_inside),
		cmocka_unit_test(test_a_pool_without_changes_has_no_transitions),
		cmocka_unit_test(test_balanced_classes_are_even),
		cmocka_unit_test(test_evaluation_scores_every_row_once),
	};
	return cmocka_run_group_tests(tests, make, drop);
}
