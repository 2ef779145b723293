/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios: what is read is printed back, what is wrong ends in one clear line. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "aqmtrain/sim.h"

static void reads_and_prints_back(void **state)
{
	static const char text[] = "name: a test\nseconds: 12.5\nwarmup: 1\nseed: 18446744073709551615\n"
							   "link:\n  rate: 0.1\n  jitter: 3\n  acks: shared\n  changes:\n    - at: 1\n      rate: "
	                           "5\n    - {rate: 7, at: 2}\n"
							   "aqm: {kind: pie, target: 7}\n"
							   "flows:\n  - cc: cubic\n    count: 3\n    rtt: 20\n    ecn: ect0\n  - {cc: udp, rate: "
	                           "2, on: 5, off: 6, ecn: ect1}\n";
	struct aqm_scenario a, b;
	char *first, *second;

	(void)state;
	aqm_scenario_init(&a);
	CHECK_OK(aqm_scenario_parse(&a, "text", text, sizeof text - 1));
	CHECK_OK(aqm_scenario_check(&a));
	assert_string_equal(a.name, "a test");
	assert_true(a.seconds == 12.5 && a.link.rate == 0.1 && a.seed == UINT64_MAX);
	assert_int_equal(a.link.acks, AQM_ACKS_SHARED);
	assert_int_equal(a.link.change_count, 2);
	assert_true(a.link.changes[1].at == 2 && a.link.changes[1].rate == 7);
	assert_string_equal(a.aqm.kind, "pie");
	assert_true(a.aqm.target == 7 && isnan(a.aqm.tupdate));
	assert_int_equal(a.flow_count, 2);
	assert_int_equal(a.flows[0].count, 3);
	assert_int_equal(a.flows[0].ecn, AQM_ECN_ECT0);
	assert_int_equal(a.flows[1].ecn, AQM_ECN_ECT1);
	assert_true(a.flows[1].on == 5 && a.flows[1].off == 6);
	CHECK_OK(aqm_scenario_dump(&a, &first));
	aqm_scenario_init(&b);
	CHECK_OK(aqm_scenario_parse(&b, "dump", first, strlen(first)));
	CHECK_OK(aqm_scenario_dump(&b, &second));
	assert_string_equal(first, second);
	CHECK_OK(aqm_scenario_set(&b, "link.rate=9"));
	CHECK_OK(aqm_scenario_set(&b, "flows.rtt=33"));
	CHECK_OK(aqm_scenario_set(&b, "seconds=3"));
	assert_true(b.link.rate == 9 && b.flows[0].rtt == 33 && b.flows[1].rtt == 33 && b.seconds == 3);
	free(first);
	free(second);
	aqm_scenario_release(&a);
	aqm_scenario_release(&b);
}

static void wrong_scenarios_say_so(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"link: {rate: 0}\nflows: [{cc: reno, rtt: 5}]", "t:1:14: 'rate' wants a number from 0.001"},
		{"link: {delay: -1}\n", "'delay' wants a number from 0"},
		{"link: {rate: nan}\n", "'rate' wants"},
		{"link: {acks: never}\n", "one of free shared"},
		{"aqm: {kind: red}\nflows: [{cc: reno, rtt: 5}]", "no AQM 'red'; there are fifo, codel"},
		{"aqm: {kind: pie, sorget: 5}", "t:1:18: a scenario has no 'sorget' here"},
		{"flows: [{cc: bbr, rtt: 5}]", "no congestion control 'bbr'; there are reno, cubic"},
		{"flows: [{rtt: 5}]", "these flows lack 'cc'"},
		{"flows: []", "the scenario has no flows"},
		{"seconds: 5", "the scenario has no flows"},
		{"flows: {cc: reno}", "'flows' wants a list"},
		{"flows: [{cc: reno}]", "the round trip must take some time"},
		{"flows: [{cc: udp}]", "udp wants a rate"},
		{"flows: [{cc: udp, rate: 3, arrivals: 1}]", "udp flows have no end"},
		{"flows: [{cc: udp, rate: 3, off: 1}]", "'off' wants 'on'"},
		{"flows: [{cc: reno, rtt: 5, start: 9, stop: 3}]", "stop before they start"},
		{"flows: [{cc: reno, rtt: 5, start: 99}]", "when all is over"},
		{"flows: [{cc: reno, rtt: 5, arrivals: 1, size_min: 5, size_max: 5}]", "size_max must be above"},
		{"flows: [{cc: reno, rtt: 5, count: 0}]", "a whole number from 1"},
		{"flows: [{cc: reno, rtt: 5, count: 3000}, {cc: reno, rtt: 5, count: 3000}]", "6000 flows are too many"},
		{"flows: [{cc: reno, rtt: 5, rtt: 6}]", "a second time"},
		{"seconds: 5\nwarmup: 5\nflows: [{cc: reno, rtt: 5}]", "takes the whole run"},
		{"link: {changes: [{at: 5, rate: 1}, {at: 4, rate: 1}]}\nflows: [{cc: reno, rtt: 5}]", "follow each other"},
		{"link: {changes: [{at: 5}]}", "a change wants 'at' and 'rate'"},
		{"link: {changes: [{at: 5, rate: 1}], changes: [{at: 6, rate: 1}]}", "no 'changes' here"},
		{"link: 5", "'link' wants settings"},
		{"seconds: [1]", "wants a single value"},
		{"a: &x 1", "anchors"},
		{"- 1", "a mapping of settings"},
		{"seconds: 1\n---\nseconds: 2", "a second document"},
		{"link: {rate: 5", "not YAML"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct aqm_scenario s;

		aqm_scenario_init(&s);
		int code = aqm_scenario_parse(&s, "t", cases[i].text, strlen(cases[i].text));
		if (code == AQM_OK)
			code = aqm_scenario_check(&s);
		if (code != AQM_EUSAGE || !strstr(aqm_error_message(), cases[i].says) || strchr(aqm_error_message(), '\n'))
			fail_msg("'%s': %d, '%s', expected '%s'", cases[i].text, code, aqm_error_message(), cases[i].says);
		aqm_scenario_release(&s);
	}
}

static void our_scenarios_run(void **state)
{
	static const char *const names[] = {"paper",    "steady",     "unequal-rtt", "capacity-step",
	                                    "overload", "bursty-l4s", "web"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct aqm_scenario s;
		struct aqm_sim_result r;
		char path[512];

		snprintf(path, sizeof path, "%s/configs/scenarios/%s.yaml", AQM_SOURCE_DIR, names[i]);
		aqm_scenario_init(&s);
		CHECK_OK(aqm_scenario_read(&s, path));
		assert_true(s.seconds >= 30);
		s.seconds = s.warmup + 1;
		CHECK_OK(aqm_sim_run(&s, NULL, &r));
		assert_true(r.packets > 100);
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_prints_back),
		cmocka_unit_test(wrong_scenarios_say_so),
		cmocka_unit_test(our_scenarios_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
