/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where episodes start, and where they do not.
 */
#include <math.h>

#include "helper.h"
#include "pool/episodes.h"

static struct aqm_episode_judge judge;

static int setup(void **state)
{
	(void)state;
	aqm_episode_judge_init(&judge, 0, 1);
	return 0;
}

static bool at(double time, uint8_t queue, uint64_t count)
{
	return aqm_episode_starts(&judge, AQM_CLOCK_SYSLOG, time, queue, &count);
}

static void test_only_the_first_of_a_steady_log(void **state)
{
	(void)state;
	assert_true(at(0, 0, 5));
	for (unsigned i = 0; i < 1000; i++) {
		assert_false(at(i * 0.5, 0, 5 + i));
		assert_false(at(i * 0.5, 1, i / 2));
	}
}

static void test_new_set(void **state)
{
	(void)state;
	assert_true(at(0, 0, 5));
	aqm_episode_judge_start_set(&judge);
	assert_true(at(0, 0, 6));
	assert_false(at(0, 0, 7));
}

static void test_counter_starts_over_once_for_all_queues(void **state)
{
	(void)state;
	assert_true(at(0, 0, 10));
	assert_false(at(0, 1, 20));
	assert_false(at(0, 0, 11));
	assert_true(at(0, 0, 0));
	assert_false(at(0, 1, 0));
	assert_false(at(0, 0, 1));
}

static void test_small_falls_are_disorder(void **state)
{
	(void)state;
	assert_true(at(0, 0, 0));
	assert_false(at(0, 0, 2));
	assert_false(at(0, 0, 1));
	assert_false(at(0, 0, 0));
	for (unsigned i = 100; i < 200; i++) /* overlapping windows */
		assert_false(at(0, 0, i % 10 ? i : i - 5));
	assert_false(at(0, 0, 120));
	assert_true(at(0, 0, 59));
}

static void test_pauses(void **state)
{
	(void)state;
	assert_true(at(0, 0, 0));
	assert_false(at(30, 0, 1));
	assert_true(at(60.5, 0, 2));
	assert_true(at(10, 0, 3)); /* back by more than the gap */
	assert_false(at(NAN, 0, 4));
	assert_false(at(11, 0, 5));
	aqm_episode_judge_init(&judge, 2.0, 1);
	assert_true(at(0, 0, 0));
	assert_true(at(3, 0, 1));
}

static void test_another_clock_is_another_run(void **state)
{
	uint64_t count = 1;

	(void)state;
	assert_true(at(5, 0, 0));
	assert_true(aqm_episode_starts(&judge, AQM_CLOCK_BOOT, 6, 0, &count));
	assert_false(aqm_episode_starts(&judge, AQM_CLOCK_BOOT, 7, 0, &count));
}

/* Two flows of one type, each with its own counter, taking turns: one false start, no more. */
static void test_shared_types_do_not_fall_to_pieces(void **state)
{
	unsigned starts = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		starts += at(0, 0, 100000 + i);
		starts += at(0, 0, 100 + i);
	}
	assert_int_equal(starts, 2);
}

static void test_no_counter_no_clock(void **state)
{
	(void)state;
	assert_true(aqm_episode_starts(&judge, AQM_CLOCK_NONE, NAN, 0, NULL));
	assert_false(aqm_episode_starts(&judge, AQM_CLOCK_NONE, NAN, 0, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_only_the_first_of_a_steady_log, setup),
		cmocka_unit_test_setup(test_new_set, setup),
		cmocka_unit_test_setup(test_counter_starts_over_once_for_all_queues, setup),
		cmocka_unit_test_setup(test_small_falls_are_disorder, setup),
		cmocka_unit_test_setup(test_pauses, setup),
		cmocka_unit_test_setup(test_another_clock_is_another_run, setup),
		cmocka_unit_test_setup(test_shared_types_do_not_fall_to_pieces, setup),
		cmocka_unit_test_setup(test_no_counter_no_clock, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
