/* SPDX-License-Identifier: BSD-2-Clause */
/* Named utilities on made-up results. */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "aqmtrain/utility.h"

static struct aqm_flow_result flows[2];

/* Utilisation 90 %, P99 of 3 ms in L and 20 ms in C, means of 1 and 9 ms over as many packets. */
static struct aqm_sim_result result_of(double rate_ratio)
{
	flows[0] = (struct aqm_flow_result){.l4s = true, .rtt_mean_ms = 10};
	flows[1] = (struct aqm_flow_result){.l4s = false, .rtt_mean_ms = 10};
	return (struct aqm_sim_result){
		.utilisation = 0.9,
		.rate_ratio = rate_ratio,
		.queues = {{.name = "C", .delay = {.mean = 9, .p99 = 20}, .departed = 100},
	               {.name = "L", .delay = {.mean = 1, .p99 = 3}, .departed = 100}},
		.queue_count = 2,
		.flows = flows,
		.flow_count = 2,
	};
}

static double value(const char *name, const struct aqm_sim_result *result)
{
	size_t index;

	CHECK_OK(aqm_utility_find(name, &index));
	return aqm_utility(index, result);
}

static void near(double found, double expected)
{
	if (!(fabs(found - expected) < 1e-9))
		fail_msg("%.12g, expected %.12g", found, expected);
}

static void sums_its_terms(void **state)
{
	struct aqm_sim_result r = result_of(1);

	(void)state;
	near(value("balanced", &r), 90 - 6 - 10);
	near(value("l4s", &r), 90 - 6);
	near(value("power", &r), 90.0 / 6);
}

static void counts_doublings_beyond_two(void **state)
{
	struct aqm_sim_result twice = result_of(2), eight = result_of(8), quarter = result_of(0.25), none = result_of(0);

	(void)state;
	near(value("balanced", &twice), 74);
	near(value("balanced", &eight), 74 - 40);
	near(value("balanced", &quarter), 74 - 20);
	near(value("l4s", &eight), 84); /* too much for L4S flows is no fault of theirs there */
	near(value("l4s", &quarter), 84 - 20);
	near(value("balanced", &none), 74 - 120);
}

/* A class without a byte, of which no ratio can be told, is as bad as it gets; a class that is not there is not. */
static void starving_is_worst(void **state)
{
	struct aqm_sim_result starved = result_of((double)NAN), alone = result_of((double)NAN);

	(void)state;
	near(value("balanced", &starved), 74 - 120);
	alone.flow_count = 1;
	near(value("balanced", &alone), 74);
}

static void one_queue_is_both(void **state)
{
	struct aqm_sim_result r = result_of(1);

	(void)state;
	r.queue_count = 1;
	r.queues[0].name = "Q";
	near(value("balanced", &r), 90 - 40 - 10);
	r.queues[0].departed = 0;
	near(value("balanced", &r), 90);
}

static void names_and_faults(void **state)
{
	const char *help = NULL;
	size_t index;

	(void)state;
	for (size_t i = 0; aqm_utility_name(i, &help); i++) {
		assert_non_null(help);
		CHECK_OK(aqm_utility_find(aqm_utility_name(i, NULL), &index));
		assert_int_equal(index, i);
	}
	assert_int_equal(aqm_utility_find("best", &index), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "no utility 'best'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_its_terms),    cmocka_unit_test(counts_doublings_beyond_two),
		cmocka_unit_test(starving_is_worst), cmocka_unit_test(one_queue_is_both),
		cmocka_unit_test(names_and_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
