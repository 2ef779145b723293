/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The classifier of deploy/linux-bpf as plain C: its virtual queue beside one computed in floating point, and what it
 * does to packets.
 */
#include "../check.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define aqm_student_decide decide_by_delay
#include "by_delay.h"
#undef aqm_student_decide

/* What the student saw last, and what it says. */
static struct aqm_student_record seen;
static int says; /* -1: by delay */

static inline int aqm_student_decide(struct aqm_student_state *state, const struct aqm_student_record *record)
{
	seen = *record;
	return says < 0 ? decide_by_delay(state, record) : says;
}

struct __sk_buff;
int student(struct __sk_buff *skb);
#include "student_tc.bpf.c"

enum { NOT_ECT, ECT1, ECT0, CE, NOT_IP, HEADER = 14 };
static const uint64_t ms = 1000000;

static struct virtual_settings *the_settings(void)
{
	return shim_value(&settings, sizeof(struct virtual_settings));
}

static struct virtual_port *the_port(void)
{
	return &((struct port *)shim_value(&ports, sizeof(struct port)))->queues;
}

static struct counters *the_counters(void)
{
	return shim_value(&counters, sizeof(struct counters));
}

/* cmocka's setup: an interface that nothing has passed. */
static int begin(void **state)
{
	(void)state;
	memset(the_settings(), 0, sizeof *the_settings());
	memset(the_port(), 0, sizeof *the_port());
	memset(the_counters(), 0, sizeof *the_counters());
	shim_clock = 5000 * ms;
	shim_marks = 0;
	says = AQM_STUDENT_ENQUEUE;
	return 0;
}

/* A packet of so many bytes on the link at the clock's time: the program's answer. */
static int packet(uint32_t bytes, int codepoint)
{
	struct __sk_buff skb = {.len = bytes, .wire_len = bytes, .protocol = htons(codepoint == NOT_IP ? 0x0806 : 0x0800)};

	shim_header[0] = 0x45;
	shim_header[1] = (uint8_t)(0xa0 | (codepoint & 3));
	int answer = student(&skb);
	assert_int_equal(shim_locked, 0);
	return answer;
}

/* ---- what is done to packets ---- */

static void test_nothing_before_it_is_set_up(void **state)
{
	(void)state;
	says = AQM_STUDENT_DROP;
	assert_int_equal(packet(1514, ECT0), TC_ACT_UNSPEC);
	assert_int_equal(the_counters()->passed, 1);
	the_settings()->rate = 1000000;
	assert_int_equal(packet(60, NOT_IP), TC_ACT_UNSPEC);
	assert_int_equal(the_counters()->passed, 2);
	assert_int_equal(the_counters()->packets[0] + the_counters()->packets[1], 0);
	assert_int_equal(packet(1514, ECT0), TC_ACT_SHOT);
}

static void test_marks_and_drops(void **state)
{
	const struct counters *c = the_counters();

	(void)state;
	the_settings()->rate = 1000000;
	says = AQM_STUDENT_MARK;
	for (int codepoint = NOT_ECT; codepoint <= CE; codepoint++) {
		assert_int_equal(packet(1514, codepoint), codepoint == NOT_ECT ? TC_ACT_SHOT : TC_ACT_UNSPEC);
		assert_int_equal(shim_header[1], codepoint == NOT_ECT ? 0xa0 : 0xa3);
	}
	assert_int_equal(c->packets[VIRTUAL_CLASSIC], 2);
	assert_int_equal(c->packets[VIRTUAL_L4S], 2); /* ECT(1) and CE */
	assert_int_equal(c->marked[VIRTUAL_CLASSIC], 1);
	assert_int_equal(c->marked[VIRTUAL_L4S], 2);
	assert_int_equal(c->dropped[VIRTUAL_CLASSIC], 1);
	says = AQM_STUDENT_DROP;
	assert_int_equal(packet(1514, ECT1), TC_ACT_SHOT);
	assert_int_equal(shim_header[1], 0xa1);
	assert_int_equal(c->dropped[VIRTUAL_L4S], 1);
	assert_int_equal(c->bytes[VIRTUAL_L4S], 3 * 1514);

	the_settings()->watch = 1; /* counted, but untouched */
	assert_int_equal(packet(1514, ECT1), TC_ACT_UNSPEC);
	says = AQM_STUDENT_MARK;
	assert_int_equal(packet(1514, ECT1), TC_ACT_UNSPEC);
	assert_int_equal(shim_header[1], 0xa1);
	assert_int_equal(c->dropped[VIRTUAL_L4S], 2);
	assert_int_equal(c->marked[VIRTUAL_L4S], 3);
	assert_int_equal(c->unmarkable[VIRTUAL_CLASSIC] + c->unmarkable[VIRTUAL_L4S], 0);
}

/* Traffic class: the low half of the first byte and the high one of the second. */
static void test_ipv6(void **state)
{
	struct __sk_buff skb = {.len = 1514, .wire_len = 1514, .protocol = htons(0x86dd)};

	(void)state;
	the_settings()->rate = 1000000;
	says = AQM_STUDENT_MARK;
	shim_header[0] = 0x60;
	shim_header[1] = 0x15; /* ECT(1), and some flow label */
	assert_int_equal(student(&skb), TC_ACT_UNSPEC);
	assert_int_equal(shim_header[1], 0x35);
	assert_int_equal(the_counters()->marked[VIRTUAL_L4S], 1);
	skb.len = 10; /* ends before its header does */
	assert_int_equal(student(&skb), TC_ACT_UNSPEC);
	assert_int_equal(the_counters()->passed, 1);
}

static void test_segmented_packets(void **state)
{
	struct __sk_buff skb = {
		.len = 30014, .wire_len = 31000, .gso_segs = 20, .gso_size = 1448, .protocol = htons(0x0800)};

	(void)state;
	the_settings()->rate = 1000000;
	shim_header[0] = 0x45;
	shim_header[1] = 2;
	assert_int_equal(student(&skb), TC_ACT_UNSPEC);
	assert_int_equal(seen.pkt_len, 1500);
	assert_int_equal(the_port()->queues[VIRTUAL_CLASSIC].backlog, 31000);
}

/* ---- the queue ---- */

static double uniform(void)
{
	return (double)rand() / ((double)RAND_MAX + 1);
}

/* Two queues as a fluid, and PI2, in floating point. */
struct reference {
	double rate, backlog[2], time, next_update, probability, delay_old;
};

static double reference_delay(const struct reference *r, int queue)
{
	double classic = r->backlog[0], l4s = r->backlog[1];

	if (queue == 0)
		return (classic * 15 < l4s ? classic * 16 : classic + l4s) / r->rate;
	return (l4s < classic * 15 ? l4s * 16 / 15 : classic + l4s) / r->rate;
}

static void reference_drain(struct reference *r, double to)
{
	while (r->time < to && r->backlog[0] + r->backlog[1] > 0) {
		double share = r->backlog[1] <= 0 ? 1 : r->backlog[0] <= 0 ? 0 : 1.0 / 16, until = to;

		for (int q = 0; q < 2; q++) {
			double rate = r->rate * (q == 0 ? share : 1 - share);

			if (rate > 0 && r->backlog[q] > 0)
				until = fmin(until, r->time + r->backlog[q] / rate);
		}
		double served = (until - r->time) * r->rate;
		r->backlog[0] = fmax(r->backlog[0] - served * share, 0);
		r->backlog[1] = fmax(r->backlog[1] - served * (1 - share), 0);
		for (int q = 0; q < 2; q++)
			if (r->backlog[q] < 1e-3)
				r->backlog[q] = 0;
		r->time = until;
	}
	r->time = to;
}

static void reference_advance(struct reference *r, double to)
{
	while (r->next_update <= to) {
		reference_drain(r, r->next_update);
		double delay = fmax(reference_delay(r, 0), reference_delay(r, 1));

		r->probability += 0.15 * (delay - 0.015) + 3 * (delay - r->delay_old);
		r->probability = fmin(fmax(r->probability, 0), 1);
		r->delay_old = delay;
		r->next_update += 0.015;
	}
	reference_drain(r, to);
}

/* A trace of bursts and silences: the student sees what floating point says. */
static void check_trace(uint64_t rate, unsigned seed, int packets)
{
	struct reference r = {.rate = (double)rate};
	double began = (double)shim_clock * 1e-9, load = 1;

	srand(seed);
	the_settings()->rate = rate;
	says = AQM_STUDENT_ENQUEUE;
	r.next_update = 0.015;
	for (int i = 0; i < packets; i++) {
		uint32_t bytes = uniform() < 0.3 ? 66 : 1514;
		int queue = uniform() < 0.5;

		if (i % 200 == 0)
			load = 0.3 + 1.4 * uniform();
		if (i > 0)
			shim_clock += (uint64_t)(-log(1 - uniform()) * bytes / (double)rate / load * 1e9);
		if (i % 1500 == 1499)
			shim_clock += (uint64_t)(2000 * uniform() * (double)ms);
		double now = (double)shim_clock * 1e-9 - began;
		reference_advance(&r, now);
		int answer = packet(bytes, queue ? ECT1 : ECT0);
		double slack = 4 / (double)rate + 3e-6; /* a few bytes, a few us */
		if (fabs(seen.current_qdelay * 1e-6 - reference_delay(&r, queue)) > 16 * slack)
			fail_msg("packet %d: delay %u us, %.1f expected", i, seen.current_qdelay, reference_delay(&r, queue) * 1e6);
		if (fabs(seen.len_bytes - r.backlog[queue]) > 16)
			fail_msg("packet %d: backlog %u, %.1f expected", i, seen.len_bytes, r.backlog[queue]);
		if (fabs(seen.drop_prob * 0x1p-31 - r.probability) > 2e-4 + 60 * slack)
			fail_msg("packet %d: p' %g, %g expected", i, seen.drop_prob * 0x1p-31, r.probability);
		assert_int_equal(seen.queue_type, queue);
		assert_int_equal(seen.pkt_len, bytes - HEADER);
		double over = r.backlog[0] + r.backlog[1] + bytes - (double)(rate / 4 + 3000);
		if (fabs(over) > 16)
			assert_int_equal(answer, over > 0 ? TC_ACT_SHOT : TC_ACT_UNSPEC);
		if (answer == TC_ACT_UNSPEC)
			r.backlog[queue] += bytes;
	}
}

static void test_as_in_floating_point(void **state)
{
	const uint64_t rates[] = {125000, 1250000, 6250000, 125000000, 12500000000};

	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		begin(state);
		check_trace(rates[i], (unsigned)i + 1, 6000);
	}
}

static void test_record(void **state)
{
	(void)state;
	the_settings()->rate = 1250000;
	the_settings()->target = 20000;
	the_settings()->alpha = 777;
	for (int i = 0; i < 60; i++)
		packet(1514, ECT0); /* 91 KB at once: 73 ms */
	shim_clock += 30 * ms;
	says = AQM_STUDENT_DROP;
	packet(514, ECT0);
	assert_int_equal(seen.queue_type, 0);
	assert_int_equal(seen.qdelay_ref, 20000);
	assert_int_equal(seen.tupdate, 15000);
	assert_int_equal(seen.alpha, 777);
	assert_int_equal(seen.beta, 24576);
	assert_int_equal(seen.len_bytes, 60 * 1514 - 37500);
	assert_int_equal(seen.current_qdelay, (60 * 1514 - 37500) * 4 / 5);
	assert_int_equal(seen.qdelay_old, seen.current_qdelay); /* the update is due now */
	assert_int_equal(seen.tot_pkts, 60);
	assert_int_equal(seen.tot_bytes, 60 * 1514);
	assert_in_range(seen.length, 34, 38);
	assert_int_equal(seen.drops, 0);
	assert_int_equal(seen.measurement_start, (uint32_t)(shim_clock / 1000));
	assert_int_equal(seen.sflags, 1);
	assert_true(seen.drop_prob > 0);
	uint64_t p = seen.drop_prob;
	assert_int_equal(seen.accu_prob, p);
	says = AQM_STUDENT_ENQUEUE;
	packet(514, ECT0);
	assert_int_equal(seen.accu_prob, p); /* begun anew by the drop */
	assert_int_equal(seen.drops, 1);
	assert_int_equal(seen.tot_pkts, 61);
	assert_int_equal(seen.len_bytes, 60 * 1514 - 37500); /* what was dropped is not in the queue */
	packet(514, ECT0);
	assert_int_equal(seen.accu_prob, 2 * p);
	packet(514, ECT1);
	assert_int_equal(seen.queue_type, 1);
	assert_int_equal(seen.tot_pkts, 0);
	assert_int_equal(seen.accu_prob, p);
}

/* The limit drops whatever the student says, and what is over it is served within a second. */
static void test_limit(void **state)
{
	uint32_t dropped = 0;

	(void)state;
	the_settings()->rate = 1000000;
	the_settings()->limit = 50000;
	for (int i = 0; i < 100; i++)
		dropped += packet(1000, i % 2 ? ECT1 : ECT0) == TC_ACT_SHOT;
	assert_int_equal(dropped, 50);
	the_settings()->limit = 1ull << 60; /* a second's worth at most */
	dropped = 0;
	for (int i = 0; i < 2000; i++)
		dropped += packet(1000, ECT1) == TC_ACT_SHOT;
	assert_int_equal(dropped, 1050);
	shim_clock += 3000 * ms;
	packet(1000, ECT1);
	assert_int_equal(seen.len_bytes, 0);
}

/* Hostile settings and clocks: numbers stay in their bounds (and UBSan silent). */
static void test_extremes(void **state)
{
	const uint64_t ends[] = {0, 1, 1000, UINT32_MAX, 1ull << 40, INT64_MAX, UINT64_MAX};

	(void)state;
	srand(77);
	says = -1;
	for (int i = 0; i < 200000; i++) {
		struct virtual_settings *s = the_settings();

		if (i % 10 == 0) {
			uint64_t *field = (uint64_t *)s + rand() % 7;

			*field = ends[rand() % 7];
			if (s->rate > 12500000000ull) /* the loader's bound */
				s->rate = 12500000000ull;
		}
		if (i % 3 == 0)
			shim_clock = rand() % 50 ? shim_clock + (uint64_t)rand() % (20 * ms) : shim_clock - 5 * ms;
		if (i % 1000 == 0)
			shim_clock += 1ull << (rand() % 60 % 50);
		packet((uint32_t)rand() % 65536 + 20, rand() % 5);
		assert_true(the_port()->probability <= VIRTUAL_ONE);
		assert_true(!s->rate ||
		            the_port()->queues[0].backlog + the_port()->queues[1].backlog <= 12500000000ull + 65556);
	}
}

/* After a silence p' is what updates one by one would have made it. */
static void test_silence(void **state)
{
	(void)state;
	for (int seconds = 1; seconds < 8; seconds++) {
		begin(state);
		the_settings()->rate = 1000000;
		for (int i = 0; i < 3000; i++) {
			shim_clock += ms / 2;
			packet(1000, ECT0);
		}
		packet(1000, ECT0);
		double high = seen.drop_prob * 0x1p-31;
		assert_true(high > 0.3);
		struct reference r = {.rate = 1e6, .probability = high, .next_update = 0.015};
		r.delay_old = the_port()->delay_old * 1e-6;
		r.backlog[0] = (double)the_port()->queues[0].backlog;
		r.next_update = (double)(the_port()->next_update - shim_clock) * 1e-9;
		shim_clock += (uint64_t)seconds * 1000 * ms;
		reference_advance(&r, seconds);
		packet(1000, ECT0);
		if (fabs(seen.drop_prob * 0x1p-31 - r.probability) > 1e-3)
			fail_msg("%d s: p' %g, %g expected", seconds, seen.drop_prob * 0x1p-31, r.probability);
		if (seconds == 7)
			assert_int_equal(seen.drop_prob, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_before_it_is_set_up, begin),
		cmocka_unit_test_setup(test_marks_and_drops, begin),
		cmocka_unit_test_setup(test_ipv6, begin),
		cmocka_unit_test_setup(test_segmented_packets, begin),
		cmocka_unit_test_setup(test_as_in_floating_point, begin),
		cmocka_unit_test_setup(test_record, begin),
		cmocka_unit_test_setup(test_limit, begin),
		cmocka_unit_test_setup(test_extremes, begin),
		cmocka_unit_test_setup(test_silence, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
