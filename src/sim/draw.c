/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs without a grid: what one is like is a function of (seed, number of the run).
 */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"
#include "sim/collect.h"

static double between(struct aqm_rng *rng, double low, double high)
{
	return low + (high - low) * (aqm_rng_u32(rng) * 0x1p-32);
}

/* Evenly on a logarithmic scale. */
static double around(struct aqm_rng *rng, double low, double high)
{
	return low * pow(high / low, aqm_rng_u32(rng) * 0x1p-32);
}

static bool chance(struct aqm_rng *rng, double probability)
{
	return aqm_rng_u32(rng) * 0x1p-32 < probability;
}

static int draw_flows(struct aqm_scenario *s, struct aqm_rng *rng)
{
	static const struct {
		const char *cc;
		double likely;
	} kinds[] = {{"prague", 0.5}, {"dctcp", 0.3}, {"cubic", 0.7}, {"reno", 0.5}};
	double common = around(rng, 5, 100);

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds || s->flow_count == 0; i++) {
		size_t kind = i % (sizeof kinds / sizeof *kinds);
		bool takes_part = chance(rng, kinds[kind].likely), ect0 = chance(rng, 0.3), own = chance(rng, 0.3);
		int64_t count = 1 + (int64_t)aqm_rng_below(rng, 4);
		double rtt = around(rng, 5, 100), start = chance(rng, 0.3) ? between(rng, 0, s->seconds / 2) : 0;

		if (!takes_part)
			continue;
		struct aqm_flow_settings *f = aqm_scenario_add_flows(s, kinds[kind].cc, count, own ? rtt : common);
		if (!f)
			return AQM_ERUN;
		f->start = start;
		if (kind >= 2 && ect0)
			f->ecn = AQM_ECN_ECT0;
	}
	if (chance(rng, 0.15)) {
		struct aqm_flow_settings *f = aqm_scenario_add_flows(s, "udp", 1, 10);

		if (!f)
			return AQM_ERUN;
		f->rate = s->link.rate * between(rng, 0.1, 1.3);
		f->ecn = chance(rng, 0.5) ? AQM_ECN_ECT1 : AQM_ECN_OFF;
		f->on = f->off = chance(rng, 0.5) ? between(rng, 5, 200) : 0;
	}
	if (chance(rng, 0.2)) {
		struct aqm_flow_settings *f = aqm_scenario_add_flows(s, "cubic", 1, common);

		if (!f)
			return AQM_ERUN;
		f->arrivals = s->link.rate / 4 * between(rng, 0.2, 1);
	}
	return AQM_OK;
}

/* Settings around the defaults of DualPI2 and PIE, good ones and bad ones. */
static void draw_settings(struct aqm_aqm_settings *a, struct aqm_rng *rng)
{
	bool freebsd = strcmp(a->kind, "freebsd-l4s") == 0;

	a->target = 15 * around(rng, 0.25, 4);
	a->tupdate = 15 * around(rng, 0.5, 2);
	a->alpha = (freebsd ? 0.125 : 0.15) * around(rng, 0.2, 5);
	a->beta = (freebsd ? 1.25 : 3) * around(rng, 0.2, 5);
	if (freebsd) {
		a->max_burst = 150 * around(rng, 0.1, 1);
		a->max_ecnth = around(rng, 0.02, 0.5);
		a->tick = chance(rng, 0.5) ? 10 : 1;
	} else {
		a->coupling = around(rng, 1, 4);
		a->step = around(rng, 0.3, 3);
	}
}

static const char *const recorded[] = {"freebsd-l4s", "dualpi2", "dualpi2-linux"};

int aqm_collect_draw(const struct aqm_collect_options *o, uint64_t run, struct aqm_cell *cell)
{
	struct aqm_scenario *s = &cell->scenario;
	struct aqm_rng rng;
	size_t kinds = o->aqms ? o->aqm_count : sizeof recorded / sizeof *recorded;

	snprintf(cell->name, sizeof cell->name, "run %llu", (unsigned long long)run);
	aqm_rng_init(&rng, o->seed, AQM_STREAM_COLLECT, (uint32_t)run);
	aqm_scenario_init(s);
	s->seconds = o->seconds > 0 ? o->seconds : 10;
	s->seed = (uint64_t)aqm_rng_u32(&rng) << 32 | aqm_rng_u32(&rng);
	s->link.rate = around(&rng, 4, 100);
	s->link.acks = chance(&rng, 0.25) ? AQM_ACKS_SHARED : AQM_ACKS_FREE;
	snprintf(s->aqm.kind, sizeof s->aqm.kind, "%s", (o->aqms ? o->aqms : recorded)[run % kinds]);
	if (o->randomise)
		draw_settings(&s->aqm, &rng);
	cell->epsilon = chance(&rng, 0.5) ? between(&rng, 0, o->epsilon) : 0;
	if (chance(&rng, 0.2)) {
		s->link.changes = aqm_malloc_array(2, sizeof *s->link.changes);
		if (!s->link.changes)
			return AQM_ERUN;
		s->link.change_count = 2;
		s->link.changes[0] = (struct aqm_rate_change){s->seconds / 3, s->link.rate * around(&rng, 0.2, 2)};
		s->link.changes[1] = (struct aqm_rate_change){s->seconds * 2 / 3, s->link.rate};
	}
	int code = draw_flows(s, &rng);
	return code == AQM_OK ? aqm_scenario_check(s) : code;
}
