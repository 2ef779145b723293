/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Packets into update intervals.
 */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "helper.h"

/* Two queues whose packets alternate; the second episode has one interval of queue 0, which has no successor, and two
 * of queue 1. */
enum { ROWS = 14 };
static const double queue[ROWS] = {0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1};
static const double prob[ROWS] = {100, 100, 7, 100, 7, 300, 9, 300, 200, 9, 50, 5, 50, 6};
static const double burst[ROWS] = {0, 0, 5, 0, 4, 0, 4, 0, 0, 4, 0, 0, 0, 0};
static const double delay[ROWS] = {10, 30, 1, 20, 2, 5, 3, 7, 9, 4, 8, 8, 8, 2};
static const double bytes[ROWS] = {100, 200, 50, 300, 60, 1500, 70, 52, 40, 80, 10, 11, 12, 13};
static const double drops[ROWS] = {1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 0, 0, 0, 1};
static const uint8_t actions[ROWS] = {0, 1, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
static const size_t starts[] = {0, 10};

static aqm_pool *packets(bool with_probability)
{
	const char *names[] = {"queue_type", "burst_allowance", "current_qdelay", "pkt_len", "drops", "drop_prob"};
	const double *columns[] = {queue, burst, delay, bytes, drops, prob};
	aqm_pool *pool = NULL;

	CHECK_OK(aqm_pool_from_columns(&pool, ROWS, with_probability ? 6 : 5, names, columns, actions, actions, 2, starts));
	return pool;
}

static void expect(const aqm_pool *pool, const char *name, const double *values, size_t n)
{
	double column[ROWS];

	assert_int_equal(aqm_pool_rows(pool), n);
	CHECK_OK(aqm_pool_column(pool, name, column));
	for (size_t i = 0; i < n; i++)
		if (fabs(column[i] - values[i]) > 1e-12 * fabs(values[i]))
			fail_msg("%s[%zu] is %g, expected %g", name, i, column[i], values[i]);
}

/* Queue 0: [100 100 100] [300 300] (200); queue 1: [7 burst 5] [7 burst 4] (9 9); then queue 1: [5] (6). */
static void test_intervals(void **state)
{
	aqm_pool *source = packets(true), *pool = NULL;
	size_t start, length;

	(void)state;
	CHECK_OK(aqm_pool_updates(&pool, source));
	aqm_pool_free(source);
	expect(pool, "queue_type", (double[]){0, 0, 1, 1, 1}, 5);
	expect(pool, "drop_prob", (double[]){100, 300, 7, 7, 5}, 5);
	expect(pool, "next_drop_prob", (double[]){300, 200, 7, 9, 6}, 5);
	expect(pool, "burst_allowance", (double[]){0, 0, 5, 4, 0}, 5);
	expect(pool, "packets", (double[]){3, 2, 1, 1, 1}, 5);
	expect(pool, "current_qdelay", (double[]){20, 6, 1, 2, 8}, 5);
	expect(pool, "qdelay_end", (double[]){20, 7, 1, 2, 8}, 5);
	expect(pool, "qdelay_peak", (double[]){30, 7, 1, 2, 8}, 5);
	expect(pool, "arrived_bytes", (double[]){600, 1552, 50, 60, 11}, 5);
	expect(pool, "pkt_len", (double[]){200, 776, 50, 60, 11}, 5);
	expect(pool, "drops", (double[]){3, 4, 2, 3, 0}, 5);
	expect(pool, "dropped", (double[]){1, 1, 0, 0, 0}, 5);
	expect(pool, "marked", (double[]){1, 0, 0, 0, 0}, 5);
	assert_false(aqm_pool_has(pool, "action"));
	assert_true(aqm_pool_has_updates(pool));
	assert_int_equal(aqm_pool_episodes(pool), 3);
	aqm_pool_episode(pool, 1, &start, &length);
	assert_int_equal(start, 2);
	assert_int_equal(length, 2);
	aqm_pool_free(pool);
}

static void test_rewards_are_of_all_bytes(void **state)
{
	aqm_pool *source = packets(true), *pool = NULL;
	struct aqm_config config;
	float rewards[5], returns[5];

	(void)state;
	CHECK_OK(aqm_pool_updates(&pool, source));
	CHECK_OK(aqm_config_init(&config));
	config.reward.unit = AQM_UNIT_US;
	CHECK_OK(aqm_pool_returns(pool, &config, NULL, rewards, returns));
	assert_true(fabs((double)rewards[1] - 1552.0 / 7.0) < 1e-4);
	assert_true(fabs((double)returns[0] - (600.0 / 21.0 + 0.99 * 1552.0 / 7.0)) < 1e-3); /* ends with the queue's episode */
	aqm_config_release(&config);
	aqm_pool_free(pool);
	aqm_pool_free(source);
}

static void test_files(void **state)
{
	aqm_pool *source = packets(true), *pool = NULL, *again = NULL;

	(void)state;
	CHECK_OK(aqm_pool_save(source, helper_path("packets.h5")));
	CHECK_OK(aqm_pool_open_for(&pool, helper_path("packets.h5"), AQM_CONTROL_UPDATE));
	CHECK_OK(aqm_pool_save(pool, helper_path("updates.h5")));
	CHECK_OK(aqm_pool_open_for(&again, helper_path("updates.h5"), AQM_CONTROL_UPDATE));
	expect(again, "next_drop_prob", (double[]){300, 200, 7, 9, 6}, 5);
	expect(again, "packets", (double[]){3, 2, 1, 1, 1}, 5);
	assert_int_equal(aqm_pool_episodes(again), aqm_pool_episodes(pool));
	aqm_pool_free(pool);
	aqm_pool_free(again);
	assert_int_equal(aqm_pool_open_for(&pool, helper_path("updates.h5"), AQM_CONTROL_PACKET), AQM_EDATA);
	assert_null(pool);
	assert_int_equal(aqm_pool_split(helper_path("updates.h5"), helper_path("a.h5"), helper_path("b.h5"), AQM_SPLIT_ORDER, 0.5), AQM_EDATA);
	aqm_pool_free(source);
}

static void test_nothing_to_learn(void **state)
{
	aqm_pool *source = packets(false), *pool = NULL;
	const char *names[] = {"drop_prob"};
	const double constant[3] = {5, 5, 5}, *columns[] = {constant};

	(void)state;
	assert_int_equal(aqm_pool_updates(&pool, source), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "drop_prob"));
	aqm_pool_free(source);
	CHECK_OK(aqm_pool_from_columns(&source, 3, 1, names, columns, NULL, NULL, 0, NULL));
	assert_int_equal(aqm_pool_updates(&pool, source), AQM_EDATA);
	assert_null(pool);
	aqm_pool_free(source);
}

static void test_levels(void **state)
{
	(void)state;
	assert_true(aqm_update_probability(aqm_update_level(0)) == 0);
	assert_true(aqm_update_probability(aqm_update_level(100)) == 0); /* 5e-8 */
	assert_true(fabs(aqm_update_probability(aqm_update_level(0x1p30)) - 0.5) < 1e-12);
	assert_true(aqm_update_probability(1) == 1);
	assert_true(isfinite(aqm_update_level((double)NAN)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_intervals), cmocka_unit_test(test_rewards_are_of_all_bytes),
		cmocka_unit_test(test_files),     cmocka_unit_test(test_nothing_to_learn),
		cmocka_unit_test(test_levels),
	};

	return cmocka_run_group_tests(tests, helper_setup, helper_teardown);
}
