/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools of update intervals: what they hold, ranks within groups, actions of other runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "aqmtrain/utility.h"
#include "base/file.h"
#include "pool/store.h"
#include "sim/updates.h"

enum { TARGETS = 3, GROUPS = 4 };

/* Two rates and two seeds, three targets each. */
static struct aqm_grid *make_grid(const char *extra)
{
	static const char text[] = "base: {seconds: 3, warmup: 1, flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]}\n"
							   "axes: {link.rate: [8, 40], aqm.target: [2, 8, 30]}\n"
							   "seeds: 2\n";
	struct aqm_grid *grid;

	CHECK_OK(aqm_grid_parse(&grid, "t", text, sizeof text - 1, &extra, extra ? 1 : 0));
	return grid;
}

static aqm_pool *collect(struct aqm_collect_updates options, const char *extra)
{
	struct aqm_grid *grid = make_grid(extra);
	aqm_pool *pool;

	options.grid = grid;
	options.output = "u.h5";
	CHECK_OK(aqm_sim_collect_updates(&options));
	CHECK_OK(aqm_pool_open_file(&pool, "u.h5", false));
	aqm_grid_free(grid);
	return pool;
}

static double *column(const aqm_pool *pool, const char *name)
{
	double *values = test_calloc(aqm_pool_rows(pool), sizeof *values);

	CHECK_OK(aqm_pool_column(pool, name, values));
	return values;
}

static double would_set(double target, double now, double delay, double last)
{
	return fmin(fmax(now * 0x1p-31 + 0.15 * (delay - target * 1e3) * 1e-6 + 3 * (delay - last) * 1e-6, 0), 1) * 0x1p31;
}

/* One controller serves both queues: an episode a run. Each row's p' follows by the rule from what the row says. */
static void rows_tell_the_rule(void **state)
{
	aqm_pool *pool = collect((struct aqm_collect_updates){0}, NULL);
	double *now = column(pool, "drop_prob"), *next = column(pool, "next_drop_prob"),
		   *rule = column(pool, "rule_drop_prob"), *delay = column(pool, "controller_delay"),
		   *last = column(pool, "controller_delay_old"), *target = column(pool, "qdelay_ref"),
		   *elapsed = column(pool, "elapsed"), *slow = column(pool, "slow_bytes"),
		   *slow_other = column(pool, "slow_other_bytes");

	(void)state;
	assert_int_equal(aqm_pool_episodes(pool), TARGETS * GROUPS);
	assert_true(aqm_pool_has_updates(pool));
	for (size_t e = 0; e < aqm_pool_episodes(pool); e++) {
		size_t start, length;

		aqm_pool_episode(pool, e, &start, &length);
		assert_true(length > 150 && length <= 200);
		for (size_t i = start; i < start + length; i++) {
			assert_true(fabs(next[i] - would_set(target[i] / 1e3, now[i], delay[i], last[i])) < 3);
			assert_true(fabs(rule[i] - would_set(15, now[i], delay[i], last[i])) < 3);
			assert_true(fmod(elapsed[i], 15000) == 0);
			if (i > start && elapsed[i] == 15000)
				assert_true(fabs(now[i] - next[i - 1]) < 2 && last[i] == delay[i - 1]);
		}
		size_t end = start + length - 1; /* both flows run: the link's bytes of 15 ms */
		double rate = e < TARGETS * GROUPS / 2 ? 8 : 40;
		assert_true(target[start] < 30e3 ||
		            fabs(slow[end] + slow_other[end] - rate * 15e3 / 8) < 0.25 * rate * 15e3 / 8);
	}
	assert_string_equal(pool->provenance.inputs[0].path, "sim link.rate=8 aqm.target=2 seed=1: by the rules");
	test_free(now), test_free(next), test_free(rule), test_free(delay), test_free(last), test_free(target);
	test_free(elapsed), test_free(slow), test_free(slow_other);
	aqm_pool_free(pool);
}

/* In each group of three, ranks are 0, 1/2 and 1, in the order of the utilities. */
static void ranks_are_of_the_group(void **state)
{
	aqm_pool *pool = collect((struct aqm_collect_updates){.threads = 2}, NULL);
	double *utility = column(pool, "utility"), *rank = column(pool, "utility_rank");

	(void)state;
	for (size_t rate = 0; rate < 2; rate++)
		for (size_t seed = 0; seed < 2; seed++) {
			double of[TARGETS], ranks[TARGETS], sum = 0;

			for (size_t t = 0; t < TARGETS; t++) {
				size_t start, length;

				aqm_pool_episode(pool, (rate * TARGETS + t) * 2 + seed, &start, &length);
				of[t] = utility[start];
				ranks[t] = rank[start];
				sum += ranks[t];
				assert_true(rank[start + length - 1] == ranks[t]);
			}
			assert_true(sum == 1.5);
			for (size_t a = 0; a < TARGETS; a++)
				for (size_t b = 0; b < TARGETS; b++)
					assert_true(of[a] >= of[b] || ranks[a] < ranks[b]);
		}
	test_free(utility), test_free(rank);
	aqm_pool_free(pool);
}

/* Three runs have fewer than five neighbours: the action is the mean of what all three would have set, and the rank
 * that of the middle, whatever place was drawn. */
static void actions_of_other_runs(void **state)
{
	aqm_pool *pool = collect((struct aqm_collect_updates){.relabel = true}, NULL);
	double *now = column(pool, "drop_prob"), *next = column(pool, "next_drop_prob"),
		   *rank = column(pool, "utility_rank"), *delay = column(pool, "controller_delay"),
		   *last = column(pool, "controller_delay_old");

	(void)state;
	for (size_t i = 0; i < aqm_pool_rows(pool); i++) {
		double mean = (would_set(2, now[i], delay[i], last[i]) + would_set(8, now[i], delay[i], last[i]) +
		               would_set(30, now[i], delay[i], last[i])) /
		              3;

		assert_true(fabs(next[i] - mean) < 3);
		assert_true(fabs(rank[i] - 0.5) < 1e-12);
	}
	test_free(now), test_free(next), test_free(rank), test_free(delay), test_free(last);
	aqm_pool_free(pool);
}

static void threads_change_nothing(void **state)
{
	char one[65], several[65];

	(void)state;
	aqm_pool_free(collect((struct aqm_collect_updates){.threads = 1, .relabel = true}, "epsilon=0,0.1"));
	CHECK_OK(aqm_sha256_file("u.h5", one));
	aqm_pool_free(collect((struct aqm_collect_updates){.threads = 4, .relabel = true}, "epsilon=0,0.1"));
	CHECK_OK(aqm_sha256_file("u.h5", several));
	assert_string_equal(one, several);
}

/* Sets p' to 1/2 for good and says when it was asked. */
static int half(void *context, const struct aqm_update *update, double *next)
{
	(void)update;
	*next = 0.5;
	++*(int *)context;
	return AQM_OK;
}

static int first_half(void *context, double time, const uint64_t *fields, enum aqm_action action,
                      enum aqm_action logged)
{
	double *at = context;

	(void)action, (void)logged;
	if (*at == 0 && fields[AQM_FIELD_DROP_PROB] >= (UINT64_C(1) << 30) - 2)
		*at = time;
	return AQM_OK;
}

/* An answer is applied when it is there, not at the update after. */
static void answers_come_late(void **state)
{
	static const struct {
		const char *kind;
		double delay, from, to;
	} cases[] = {
		{"dualpi2", 0, 0.015, 0.018},
		{"dualpi2", 0.004, 0.019, 0.022},
		{"dualpi2", 0.04, 0.055, 0.058},
		{"freebsd-l4s", 0.004, 0.019, 0.036},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct aqm_scenario scenario;
		struct aqm_sim_result result = {0};
		double at = 0;
		int asked = 0;
		struct aqm_sim_hook hook = {&asked, NULL, half, cases[i].delay};
		struct aqm_sim_sink sink = {&at, first_half};
		struct aqm_sim_options options = {.hook = &hook, .sink = &sink};

		aqm_scenario_init(&scenario);
		assert_non_null(aqm_scenario_add_flows(&scenario, "udp", 1, 10));
		CHECK_OK(aqm_scenario_set(&scenario, "flows.rate=20"));
		CHECK_OK(aqm_scenario_set(&scenario, "link.rate=10"));
		CHECK_OK(aqm_scenario_set(&scenario, "seconds=0.2"));
		CHECK_OK(aqm_scenario_set(&scenario, "warmup=0"));
		snprintf(scenario.aqm.kind, sizeof scenario.aqm.kind, "%s", cases[i].kind);
		CHECK_OK(aqm_sim_run(&scenario, &options, &result));
		if (!(asked > 5 && at >= cases[i].from && at <= cases[i].to))
			fail_msg("%s, %g s: asked %d times, p' set at %g s", cases[i].kind, cases[i].delay, asked, at);
		aqm_sim_result_release(&result);
		aqm_scenario_release(&scenario);
	}
}

static void what_cannot_be_collected(void **state)
{
	struct aqm_grid *grid = make_grid("aqm.kind=pie");
	struct aqm_collect_updates options = {.grid = grid, .output = "no.h5"};

	(void)state;
	assert_int_equal(aqm_sim_collect_updates(&options), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "keeps records"));
	aqm_grid_free(grid);
	options.grid = grid = make_grid("aqm.kind=freebsd-l4s");
	options.relabel = true;
	assert_int_equal(aqm_sim_collect_updates(&options), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "what it would have done"));
	options.relabel = false;
	options.policy = "nowhere";
	options.policy_runs = 1;
	assert_true(aqm_sim_collect_updates(&options) < 0);
	aqm_grid_free(grid);
	assert_int_not_equal(access("no.h5", F_OK), 0);
}

static int setup(void **state)
{
	static char folder[] = "/tmp/test_sim_updates.XXXXXX";

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
		cmocka_unit_test(rows_tell_the_rule),    cmocka_unit_test(ranks_are_of_the_group),
		cmocka_unit_test(actions_of_other_runs), cmocka_unit_test(threads_change_nothing),
		cmocka_unit_test(answers_come_late),     cmocka_unit_test(what_cannot_be_collected),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
