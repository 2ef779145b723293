/* SPDX-License-Identifier: BSD-2-Clause */
/* Congestion controls against their steady-state laws, and disciplines against what they promise. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "aqmtrain/sim.h"

/* Mean packets under way of flow 0, and the probability that one is lost or marked: W and p of the laws. */
static void measure(const char *cc, double rtt, double rate, const char *aqm, double *window, double *probability,
                    struct aqm_sim_result *r, const struct aqm_sim_hook *hook)
{
	const struct aqm_sim_options options = {.hook = hook};
	struct aqm_scenario s;

	aqm_scenario_init(&s);
	s.link.rate = rate;
	s.seconds = 400;
	s.warmup = 50;
	snprintf(s.aqm.kind, sizeof s.aqm.kind, "%s", aqm);
	assert_non_null(aqm_scenario_add_flows(&s, cc, 1, rtt));
	s.flows[0].ack_every = 1;
	CHECK_OK(aqm_sim_run(&s, &options, r));
	const struct aqm_flow_result *f = &r->flows[0];
	*window = (double)f->received / (s.seconds - s.warmup) * f->rtt_mean_ms * 1e-3;
	*probability = (double)(f->lost + f->marked) / (double)f->sent;
	aqm_scenario_release(&s);
}

/* Marks or drops of a given probability, far from any queue. */
struct dice {
	uint64_t state;
	double probability;
	bool mark;
};

static int throw_dice(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct dice *d = context;

	(void)decision;
	d->state = d->state * 6364136223846793005ULL + 1442695040888963407ULL;
	bool hit = (double)(d->state >> 33) < d->probability * 0x1p31;
	*action = hit ? d->mark ? AQM_MARK : AQM_DROP : AQM_ENQUEUE;
	return AQM_OK;
}

/* Reno, Mathis et al.: W = sqrt(3 / 2p). */
static void reno_follows_the_root(void **state)
{
	(void)state;
	for (double p = 1e-4; p < 3e-3; p *= 5) {
		struct dice dice = {42, p, false};
		const struct aqm_sim_hook hook = {.context = &dice, .decide = throw_dice};
		struct aqm_sim_result r;
		double window, seen;

		measure("reno", 20, 1000, "dualpi2", &window, &seen, &r, &hook);
		assert_true(fabs(seen / p - 1) < 0.1);
		double law = 1.22 / sqrt(seen);
		if (fabs(window / law - 1) >= 0.1)
			fail_msg("p %g: window %.2f, the law says %.2f", p, window, law);
		aqm_sim_result_release(&r);
	}
}

/* CUBIC: 1.054 (RTT/p)^(3/4) above the Reno-friendly region, within which W = sqrt(alpha (1+b) / (2 (1-b) p)). */
static void cubic_follows_its_law(void **state)
{
	static const double cases[][2] = {{100, 2e-4}, {100, 1e-3}, {10, 1e-3}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		double rtt = cases[i][0], p = cases[i][1], window, seen;
		struct dice dice = {7, p, false};
		const struct aqm_sim_hook hook = {.context = &dice, .decide = throw_dice};
		struct aqm_sim_result r;

		measure("cubic", rtt, 1000, "dualpi2", &window, &seen, &r, &hook);
		double cubic = 1.054 * pow(rtt * 1e-3 / seen, 0.75), friendly = 1.22 / sqrt(seen);
		double law = fmax(cubic, friendly);
		if (window < law * 0.75 || window > law * 1.35)
			fail_msg("RTT %g ms, p %g: window %.2f, the law says %.2f", rtt, seen, window, law);
		aqm_sim_result_release(&r);
	}
}

/* Prague: W = 2/p min(RTT, 25 ms)/25 ms; DCTCP: W = 2/p. Random marks; a factor of 2 is allowed. */
static void scalable_controls_follow_the_reciprocal(void **state)
{
	static const struct {
		const char *cc;
		double rtt, share;
	} cases[] = {{"prague", 10, 0.4}, {"prague", 25, 1}, {"prague", 60, 1}, {"dctcp", 10, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (double p = 0.02; p < 0.1; p *= 3) {
			struct dice dice = {11, p, true};
			const struct aqm_sim_hook hook = {.context = &dice, .decide = throw_dice};
			struct aqm_sim_result r;
			double window, seen;

			measure(cases[i].cc, cases[i].rtt, 1000, "dualpi2", &window, &seen, &r, &hook);
			assert_true(fabs(seen / p - 1) < 0.1);
			double law = 2 / seen * cases[i].share;
			if (window < law / 1.5 || window > law * 1.5)
				fail_msg("%s, RTT %g, p %g: window %.2f, the law says %.2f", cases[i].cc, cases[i].rtt, seen, window,
				         law);
			aqm_sim_result_release(&r);
		}
}

static void run(const char *aqm, double rate, double rtt, struct aqm_sim_result *r)
{
	struct aqm_scenario s;

	aqm_scenario_init(&s);
	s.link.rate = rate;
	s.seconds = 60;
	s.warmup = 10;
	snprintf(s.aqm.kind, sizeof s.aqm.kind, "%s", aqm);
	assert_non_null(aqm_scenario_add_flows(&s, "prague", 1, rtt));
	assert_non_null(aqm_scenario_add_flows(&s, "reno", 1, rtt));
	CHECK_OK(aqm_sim_run(&s, NULL, r));
	aqm_scenario_release(&s);
}

/* The reference table of the testbed of dualpi2eval, 40 Mb/s, Prague and Reno, 5 ms; the rest of it is
 * tools/validate-sim.sh. */
static void dualpi2_as_measured(void **state)
{
	struct aqm_sim_result r;

	(void)state;
	run("dualpi2-linux", 40, 5, &r);
	const struct aqm_queue_result *c = &r.queues[0], *l = &r.queues[1];
	assert_string_equal(c->name, "C");
	assert_true(fabs(c->delay.mean / 13.42 - 1) < 0.25);
	assert_true(l->delay.mean < 1 && l->delay.p99 < 1.5);
	assert_true(r.utilisation > 0.98);
	assert_true(r.rate_ratio > 0.909 / 1.5 && r.rate_ratio < 0.909 * 1.5);
	assert_true(l->mark_probability > 0.0663 / 2 && l->mark_probability < 0.0663 * 2);
	assert_true(c->drop_probability > 0.00157 / 2 && c->drop_probability < 0.00157 * 2);
	/* the coupling: p_L = k sqrt(p_C) where the step marks little */
	assert_true(fabs(l->mark_probability / (2 * sqrt(c->drop_probability)) - 1) < 0.25);
	assert_int_equal(l->dropped, 0);
	aqm_sim_result_release(&r);
}

static void delays_are_kept(void **state)
{
	static const struct {
		const char *aqm;
		double low, high;
	} cases[] = {{"pie", 10, 18}, {"codel", 3, 10}, {"fq_codel", 3, 8}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct aqm_sim_result r;

		run(cases[i].aqm, 40, 5, &r);
		assert_true(r.queues[0].delay.mean > cases[i].low && r.queues[0].delay.mean < cases[i].high);
		assert_true(r.utilisation > 0.97);
		if (strcmp(cases[i].aqm, "fq_codel") == 0)
			assert_true(fabs(r.rate_ratio - 1) < 0.02); /* flow queueing is fair */
		aqm_sim_result_release(&r);
	}
}

/* The paper's kernel: delays in ticks, dead coupling (the L queue is not marked for what fills the classic one). */
static int look(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged)
{
	uint64_t *seen = context;

	(void)time;
	(void)action;
	assert_int_equal(fields[10] % 10000, 0); /* current_qdelay */
	seen[0]++;
	seen[1] += fields[0];
	seen[2] += logged == AQM_MARK;
	return AQM_OK;
}

static void freebsd_counts_in_ticks(void **state)
{
	uint64_t seen[3] = {0};
	const struct aqm_sim_sink sink = {seen, look};
	const struct aqm_sim_options options = {.sink = &sink};
	struct aqm_scenario s;
	struct aqm_sim_result r;

	(void)state;
	aqm_scenario_init(&s);
	s.link.rate = 8;
	s.link.delay = 10;
	s.link.acks = AQM_ACKS_SHARED;
	s.seconds = 30;
	snprintf(s.aqm.kind, sizeof s.aqm.kind, "freebsd-l4s");
	assert_non_null(aqm_scenario_add_flows(&s, "cubic", 2, 1));
	assert_non_null(aqm_scenario_add_flows(&s, "dctcp", 1, 1));
	CHECK_OK(aqm_sim_run(&s, &options, &r));
	assert_int_equal(seen[0], r.queues[0].all_arrived + r.queues[1].all_arrived);
	assert_int_equal(seen[1], r.queues[1].all_arrived);
	assert_true(seen[2] > 0);
	assert_true(r.utilisation > 0.95 && r.utilisation < 1.01);
	aqm_sim_result_release(&r);
	aqm_scenario_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reno_follows_the_root),
		cmocka_unit_test(cubic_follows_its_law),
		cmocka_unit_test(scalable_controls_follow_the_reciprocal),
		cmocka_unit_test(dualpi2_as_measured),
		cmocka_unit_test(delays_are_kept),
		cmocka_unit_test(freebsd_counts_in_ticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
