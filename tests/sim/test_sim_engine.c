/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine: order of events, what goes in comes out, delay is backlog by rate, same seed same bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "aqmtrain/sim.h"
#include "base/random.h"
#include "sim/event.h"

static void events_come_in_order(void **state)
{
	enum { TIMERS = 200, STEPS = 20000 };
	struct aqm_events events = {0};
	struct aqm_timer timers[TIMERS], *timer;
	aqm_time due[TIMERS], last = 0;
	struct aqm_rng rng;
	int came = 0, set = 0;

	(void)state;
	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, 0);
	CHECK_OK(aqm_events_reserve(&events, TIMERS));
	for (uint32_t i = 0; i < TIMERS; i++) {
		aqm_timer_init(&timers[i], i, NULL);
		due[i] = aqm_rng_u32(&rng) % 50;
		aqm_events_set(&events, &timers[i], due[i]);
	}
	while ((timer = aqm_events_next(&events, 1000000))) {
		uint32_t i = timer->kind;

		assert_true(events.now >= last);
		assert_int_equal(events.now, due[i]);
		last = events.now;
		due[i] = -1;
		for (int n = 0; n < 2 && set < STEPS; n++, set++) { /* move others, itself too, or cancel them */
			uint32_t j = aqm_rng_u32(&rng) % TIMERS;

			if (aqm_rng_u32(&rng) % 8 == 0) {
				aqm_events_cancel(&events, &timers[j]);
				due[j] = -1;
			} else {
				due[j] = events.now + aqm_rng_u32(&rng) % 50;
				aqm_events_set(&events, &timers[j], due[j]);
			}
		}
		came++;
	}
	for (size_t i = 0; i < TIMERS; i++) {
		assert_int_equal(due[i], -1); /* none was forgotten */
		assert_int_equal(timers[i].place, 0);
	}
	assert_true(came > STEPS / 2);
	assert_int_equal(events.late, 0);
	aqm_events_set(&events, &timers[0], 1);
	assert_int_equal(events.late, 1); /* the past is noticed */
	aqm_events_release(&events);
}

static void same_time_in_order_of_setting(void **state)
{
	struct aqm_events events = {0};
	struct aqm_timer timers[50];

	(void)state;
	CHECK_OK(aqm_events_reserve(&events, 50));
	for (uint32_t i = 0; i < 50; i++) {
		aqm_timer_init(&timers[i], i, NULL);
		aqm_events_set(&events, &timers[i], 7);
	}
	aqm_events_set(&events, &timers[3], 7); /* set again: to the end */
	for (uint32_t i = 0; i < 49; i++)
		assert_int_equal(aqm_events_next(&events, 100)->kind, i < 3 ? i : i + 1);
	assert_int_equal(aqm_events_next(&events, 100)->kind, 3);
	assert_null(aqm_events_next(&events, 100));
	aqm_events_release(&events);
}

static void make(struct aqm_scenario *s, const char *aqm, double rate, double seconds)
{
	aqm_scenario_init(s);
	s->link.rate = rate;
	s->seconds = seconds;
	snprintf(s->aqm.kind, sizeof s->aqm.kind, "%s", aqm);
}

static void busy(struct aqm_scenario *s)
{
	assert_non_null(aqm_scenario_add_flows(s, "prague", 2, 10));
	assert_non_null(aqm_scenario_add_flows(s, "dctcp", 1, 30));
	assert_non_null(aqm_scenario_add_flows(s, "cubic", 2, 20));
	assert_non_null(aqm_scenario_add_flows(s, "reno", 1, 5));
	s->flows[2].ecn = AQM_ECN_ECT0;
	s->flows[3].stop = s->seconds / 2;
	struct aqm_flow_settings *udp = aqm_scenario_add_flows(s, "udp", 1, 10);
	assert_non_null(udp);
	udp->rate = s->link.rate * 0.7;
	udp->on = 20;
	udp->off = 30;
	struct aqm_flow_settings *web = aqm_scenario_add_flows(s, "cubic", 1, 10);
	assert_non_null(web);
	web->arrivals = 20;
}

/* Every queue of every discipline, with losses, marks, bursts, jitter, shared acknowledgements and rate changes. */
static void packets_are_conserved(void **state)
{
	const char *name;

	(void)state;
	for (size_t i = 0; (name = aqm_qdisc_name(i, NULL)); i++)
		for (int variant = 0; variant < 4; variant++) {
			struct aqm_scenario s;
			struct aqm_sim_result r;

			make(&s, name, variant & 1 ? 30 : 5, 3.3);
			busy(&s);
			s.link.acks = variant & 2 ? AQM_ACKS_SHARED : AQM_ACKS_FREE;
			s.link.jitter = variant & 1 ? 3 : 0;
			s.link.passes = variant == 2 ? 2 : 1;
			for (size_t f = 0; f < s.flow_count && variant == 0; f++) {
				s.flows[f].recovery = AQM_RECOVERY_DUPACKS;
				s.flows[f].hystart = s.flows[f].handshake = AQM_ON;
			}
			s.aqm.limit = variant == 3 ? 40 : NAN;
			s.link.changes = calloc(2, sizeof *s.link.changes);
			s.link.change_count = 2;
			s.link.changes[0] = (struct aqm_rate_change){1, 3};
			s.link.changes[1] = (struct aqm_rate_change){2, 20};
			CHECK_OK(aqm_sim_run(&s, NULL, &r));
			assert_int_equal(r.late_events, 0);
			uint64_t dropped = 0, marked = 0;
			for (size_t q = 0; q < r.queue_count; q++) {
				assert_int_equal(r.queues[q].all_arrived,
				                 r.queues[q].all_departed + r.queues[q].all_dropped + r.queues[q].queued);
				dropped += r.queues[q].all_dropped;
				marked += r.queues[q].marked;
			}
			if (dropped == 0 && (variant == 3 || strcmp(name, "fifo") != 0))
				fail_msg("%s, variant %d: nothing dropped", name, variant);
			assert_true(marked > 0 || variant != 1 || strcmp(name, "fifo") == 0);
			if (r.utilisation < 0.3 || r.utilisation > 1.02)
				fail_msg("%s, variant %d: utilisation %.3f", name, variant, r.utilisation);
			assert_int_equal(r.web_count, 1);
			assert_true(r.web[0].finished > 10 && r.web[0].finished <= r.web[0].started);
			for (size_t f = 0; f < r.flow_count; f++)
				assert_true(r.flows[f].received <= r.flows[f].sent);
			aqm_sim_result_release(&r);
			aqm_scenario_release(&s);
		}
}

/* Constant rates: a fifo fills at 2 Mb/s more than it drains; a packet waits backlog / rate. */
static void delay_is_backlog_by_rate(void **state)
{
	struct aqm_scenario s;
	struct aqm_sim_result r;

	(void)state;
	make(&s, "fifo", 10, 2);
	s.aqm.limit = 100000;
	s.series = 10;
	assert_non_null(aqm_scenario_add_flows(&s, "udp", 1, 10));
	s.flows[0].rate = 12;
	CHECK_OK(aqm_sim_run(&s, NULL, &r));
	assert_int_equal(r.point_count, 199);
	for (size_t i = 20; i < r.point_count; i++) {
		double backlog_ms = (double)r.series[i].backlog[0] * 8 / 10e6 * 1e3, sent_1500 = 1500 * 8 / 10e6 * 1e3;

		/* what leaves in these 10 ms came when the queue was shorter by what has come since */
		double grown = r.series[i].delay_peak[0] * 12 / 10;
		assert_true(fabs(backlog_ms - grown) < 3 * sent_1500);
	}
	assert_true(fabs(r.utilisation - 1) < 0.005);
	aqm_sim_result_release(&r);
	aqm_scenario_release(&s);
}

static void same_seed_same_bytes(void **state)
{
	const char *name;

	(void)state;
	for (size_t i = 0; (name = aqm_qdisc_name(i, NULL)); i++) {
		struct aqm_scenario s;
		struct aqm_sim_result a, b, other;

		make(&s, name, 20, 2);
		busy(&s);
		s.link.jitter = 2;
		CHECK_OK(aqm_sim_run(&s, NULL, &a));
		CHECK_OK(aqm_sim_run(&s, NULL, &b));
		s.seed++;
		CHECK_OK(aqm_sim_run(&s, NULL, &other));
		a.wall_s = b.wall_s = other.wall_s = 0;
		char *one, *two, *three;
		CHECK_OK(aqm_sim_format(&a, true, &one));
		CHECK_OK(aqm_sim_format(&b, true, &two));
		CHECK_OK(aqm_sim_format(&other, true, &three));
		assert_string_equal(one, two);
		assert_string_not_equal(one, three);
		assert_int_equal(a.point_count, b.point_count);
		assert_memory_equal(a.series, b.series, a.point_count * sizeof *a.series);
		free(one);
		free(two);
		free(three);
		aqm_sim_result_release(&a);
		aqm_sim_result_release(&b);
		aqm_sim_result_release(&other);
		aqm_scenario_release(&s);
	}
}

/* Ten times the time needs no more packets: memory follows what is under way. */
static void memory_follows_what_flies(void **state)
{
	size_t peaks[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct aqm_scenario s;
		struct aqm_sim_result r;

		make(&s, "dualpi2", 50, i ? 20 : 2);
		assert_non_null(aqm_scenario_add_flows(&s, "prague", 2, 10));
		assert_non_null(aqm_scenario_add_flows(&s, "reno", 2, 10));
		CHECK_OK(aqm_sim_run(&s, NULL, &r));
		peaks[i] = r.packets_peak;
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
	assert_true(peaks[1] <= peaks[0] + peaks[0] / 4);
	assert_true(peaks[1] < 2000);
}

/* A short flow of n packets on an idle link: handshake-free, slow start in rounds. */
static void short_flows_take_their_rounds(void **state)
{
	struct aqm_scenario s;
	struct aqm_sim_result r;

	(void)state;
	make(&s, "fifo", 1000, 20);
	struct aqm_flow_settings *web = aqm_scenario_add_flows(&s, "reno", 1, 100);
	assert_non_null(web);
	web->arrivals = 2;
	web->size_min = 30; /* 20 packets: 10, then 20 in a second round */
	web->size_max = 30.1;
	CHECK_OK(aqm_sim_run(&s, NULL, &r));
	assert_true(r.web[0].finished > 15);
	assert_true(r.web[0].time.p50 > 0.199 &&
	            r.web[0].time.p50 < 0.245); /* or the delayed acknowledgement of the last */
	aqm_sim_result_release(&r);
	aqm_scenario_release(&s);
}

/* One arrival in ten thousand years: longer than the clock can tell, and not at once. */
static void rare_flows_do_not_come_at_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct aqm_scenario s;
		struct aqm_sim_result r;

		make(&s, "fifo", 10, 20);
		s.seed = seed;
		assert_non_null(aqm_scenario_add_flows(&s, "reno", 1, 100));
		s.flows[0].arrivals = 3e-12;
		CHECK_OK(aqm_sim_run(&s, NULL, &r));
		assert_int_equal(r.web[0].started, 0);
		assert_int_equal(r.packets, 0);
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
}

/* With a handshake, a round more; it is one packet of 52 bytes each way. */
static void handshakes_take_a_round(void **state)
{
	struct aqm_sim_result r[2];

	(void)state;
	for (int handshake = 0; handshake < 2; handshake++) {
		struct aqm_scenario s;

		make(&s, "fifo", 1000, 20);
		struct aqm_flow_settings *web = aqm_scenario_add_flows(&s, "cubic", 1, 100);
		assert_non_null(web);
		web->arrivals = 2;
		web->size_min = 1;
		web->size_max = 20;
		web->handshake = handshake ? AQM_ON : AQM_OFF;
		CHECK_OK(aqm_sim_run(&s, NULL, &r[handshake]));
		aqm_scenario_release(&s);
	}
	assert_true(r[1].web[0].finished > 15);
	assert_true(fabs(r[1].web[0].time.p50 - r[0].web[0].time.p50 - 0.1) < 0.004);
	for (int i = 0; i < 2; i++)
		aqm_sim_result_release(&r[i]);
}

/* Slow start into a deep buffer: it overflows, unless HyStart++ ends it before. */
static void hystart_spares_the_buffer(void **state)
{
	uint64_t dropped[2];

	(void)state;
	for (int on = 0; on < 2; on++) {
		struct aqm_scenario s;
		struct aqm_sim_result r;

		make(&s, "fifo", 100, 6);
		s.aqm.limit = 4000;
		assert_non_null(aqm_scenario_add_flows(&s, "cubic", 1, 50));
		s.flows[0].hystart = on ? AQM_ON : AQM_OFF;
		CHECK_OK(aqm_sim_run(&s, NULL, &r));
		dropped[on] = r.queues[0].all_dropped;
		assert_true(r.utilisation > 0.8);
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
	assert_true(dropped[0] > 1000);
	assert_int_equal(dropped[1], 0);
}

/* Where a loss of a repeat waits for the timer, many flows lose less: they are silent more often. */
static void timers_silence_flows(void **state)
{
	double dropped[2];

	(void)state;
	for (int dupacks = 0; dupacks < 2; dupacks++) {
		struct aqm_scenario s;
		struct aqm_sim_result r;

		make(&s, "fifo", 10, 30);
		s.aqm.limit = 4;
		assert_non_null(aqm_scenario_add_flows(&s, "reno", 20, 40));
		s.flows[0].recovery = dupacks ? AQM_RECOVERY_DUPACKS : AQM_RECOVERY_QUICK;
		CHECK_OK(aqm_sim_run(&s, NULL, &r));
		dropped[dupacks] = r.queues[0].drop_probability;
		assert_true(r.utilisation > 0.8);
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
	assert_true(dropped[1] < 0.9 * dropped[0]);
	assert_true(dropped[1] > 0.5 * dropped[0]);
}

/* Packets that pass the queue twice have half of the link. */
static void two_passes_halve_the_link(void **state)
{
	struct aqm_scenario s;
	struct aqm_sim_result r;

	(void)state;
	make(&s, "dualpi2", 20, 10);
	s.link.passes = 2;
	s.link.delay = 5;
	s.link.acks = AQM_ACKS_SHARED;
	assert_non_null(aqm_scenario_add_flows(&s, "prague", 1, 10));
	assert_non_null(aqm_scenario_add_flows(&s, "cubic", 1, 10));
	CHECK_OK(aqm_sim_run(&s, NULL, &r));
	double goodput = r.flows[0].goodput_mbps + r.flows[1].goodput_mbps;
	assert_true(goodput > 6 && goodput < 10);
	assert_true(r.flows[0].rtt_ms >= 30); /* 10, and twice the pipe each way */
	for (size_t q = 0; q < r.queue_count; q++)
		assert_int_equal(r.queues[q].all_arrived,
		                 r.queues[q].all_departed + r.queues[q].all_dropped + r.queues[q].queued);
	aqm_sim_result_release(&r);
	aqm_scenario_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_come_in_order),          cmocka_unit_test(same_time_in_order_of_setting),
		cmocka_unit_test(packets_are_conserved),         cmocka_unit_test(delay_is_backlog_by_rate),
		cmocka_unit_test(same_seed_same_bytes),          cmocka_unit_test(memory_follows_what_flies),
		cmocka_unit_test(short_flows_take_their_rounds), cmocka_unit_test(handshakes_take_a_round),
		cmocka_unit_test(hystart_spares_the_buffer),     cmocka_unit_test(timers_silence_flows),
		cmocka_unit_test(two_passes_halve_the_link),     cmocka_unit_test(rare_flows_do_not_come_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
