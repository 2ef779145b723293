/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Short flows: Poisson arrivals, sizes from a bounded Pareto distribution, completion times.
 */
#include <math.h>

#include "base/size.h"
#include "sim/run.h"

static double uniform(struct aqm_run *run)
{
	return (aqm_rng_u32(&run->web_rng) + 0.5) * 0x1p-32; /* never 0 */
}

static void schedule(struct aqm_run *run, struct aqm_web *web, aqm_time from)
{
	const struct aqm_flow_settings *s = web->settings;
	double gap = -log(uniform(run)) / (s->arrivals * (double)s->count) * 1e9;

	if (gap >= (double)(run->end - from)) /* which may be more than a time can hold */
		return;
	aqm_time next = from + (aqm_time)gap;
	if (s->stop <= 0 || (double)next < s->stop * 1e9)
		aqm_events_set(&run->events, &web->timer, next);
}

int aqm_web_start(struct aqm_run *run, size_t group)
{
	struct aqm_web **grown = aqm_realloc_array(run->webs, run->web_count + 1, sizeof(struct aqm_web *));
	struct aqm_web *web;

	if (!grown)
		return AQM_ERUN;
	run->webs = grown;
	if (!(web = aqm_calloc_array(1, sizeof *web)) || aqm_events_reserve(&run->events, 1) != AQM_OK)
		return AQM_ERUN;
	run->webs[run->web_count++] = web;
	web->settings = &run->scenario->flows[group];
	web->group = group;
	aqm_timer_init(&web->timer, AQM_TIMER_WEB, web);
	schedule(run, web, (aqm_time)(web->settings->start * 1e9));
	return AQM_OK;
}

void aqm_web_arrival(struct aqm_run *run, struct aqm_web *web)
{
	const struct aqm_flow_settings *s = web->settings;
	double u = uniform(run), ratio = pow(s->size_min / s->size_max, s->size_shape);
	double kilobytes = s->size_min / pow(1 - u * (1 - ratio), 1 / s->size_shape);
	uint64_t packets = 1 + (uint64_t)(kilobytes * 1000 / (double)s->packet);

	if (!aqm_flow_new(run, web->group, packets, aqm_run_now(run)))
		run->code = AQM_ERUN;
	web->started += aqm_run_now(run) >= run->warm;
	schedule(run, web, aqm_run_now(run));
}

void aqm_web_finished(struct aqm_run *run, struct aqm_flow *flow)
{
	for (size_t i = 0; i < run->web_count; i++)
		if (run->webs[i]->group == flow->group && flow->started >= run->warm) {
			run->webs[i]->finished++;
			aqm_histogram_add(&run->webs[i]->times, aqm_run_now(run) - flow->started);
		}
}
