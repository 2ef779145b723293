/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The run: what is due, one after the other.
 */
#include "sim/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/thread.h"
#include "sim/log.h"

/* ---- link ---- */

/* ns that a packet takes, without drift: what the division leaves is carried over. */
static aqm_time transmission(struct aqm_run *run, uint32_t bytes)
{
	uint64_t bits = (uint64_t)bytes * 8 * (uint64_t)AQM_SECOND + run->remainder;

	run->remainder = bits % run->rate;
	return (aqm_time)(bits / run->rate);
}

static void start_link(struct aqm_run *run)
{
	struct aqm_bottleneck *b = &run->bottleneck;

	b->now = aqm_run_now(run);
	run->sending = b->type->dequeue(b->state, b);
	run->busy = run->sending != NULL;
	if (run->busy)
		aqm_events_set(&run->events, &run->link_timer, b->now + transmission(run, run->sending->bytes));
}

/* A link that serves in ticks sends as long as it has credit, the last packet on credit; the rest waits for the tick
 * by which that is earned. */
static void serve_tick(struct aqm_run *run)
{
	struct aqm_bottleneck *b = &run->bottleneck;
	aqm_time now = aqm_run_now(run), tick = b->tick;
	struct aqm_packet *packet;

	run->credit += (double)(now / tick - run->served) * (double)tick * 1e-9 * (double)run->rate;
	run->served = now / tick;
	b->now = now;
	run->busy = true; /* what is sent here may make others enqueue */
	while (run->credit >= 0) {
		if (!(packet = b->type->dequeue(b->state, b))) {
			run->busy = false;
			return;
		}
		run->credit -= packet->bytes * 8.0;
		aqm_flow_deliver(run, packet);
	}
	double ticks = ceil(-run->credit / ((double)tick * 1e-9 * (double)run->rate));
	aqm_events_set(&run->events, &run->link_timer, (now / tick + (aqm_time)ticks) * tick);
}

static void link_free(struct aqm_run *run)
{
	if (run->bottleneck.tick) {
		serve_tick(run);
		return;
	}
	struct aqm_packet *packet = run->sending;
	start_link(run);
	aqm_flow_deliver(run, packet);
}

static void set_update(struct aqm_run *run)
{
	struct aqm_bottleneck *b = &run->bottleneck;

	if (b->next_update != AQM_TIME_NEVER)
		aqm_events_set(&run->events, &run->update_timer, b->next_update);
	run->update_set = b->next_update;
}

void aqm_run_enqueue(struct aqm_run *run, struct aqm_packet *packet)
{
	struct aqm_bottleneck *b = &run->bottleneck;

	b->now = packet->queued = aqm_run_now(run);
	b->type->enqueue(b->state, b, packet);
	if (b->next_update < run->update_set)
		set_update(run);
	if (run->busy)
		return;
	if (!b->tick) {
		start_link(run);
		return;
	}
	run->credit = 0;
	run->served = b->now / b->tick;
	serve_tick(run);
}

static void update(struct aqm_run *run)
{
	struct aqm_bottleneck *b = &run->bottleneck;

	b->now = aqm_run_now(run);
	b->next_update = AQM_TIME_NEVER; /* the discipline may ask for less than it returns */
	aqm_time next = b->type->update(b->state, b);
	if (next < b->next_update)
		b->next_update = next;
	set_update(run);
}

/* ---- schedule of the run ---- */

static void count_capacity(struct aqm_run *run)
{
	double now = (double)aqm_run_now(run);

	run->capacity += (now - run->capacity_since) * 1e-9 * (double)run->rate;
	run->capacity_since = now;
}

static void change_rate(struct aqm_run *run)
{
	const struct aqm_rate_change *change = &run->scenario->link.changes[run->next_change++];

	count_capacity(run);
	run->rate = (uint64_t)(change->rate * 1e6 + 0.5);
	run->remainder = 0;
	run->bottleneck.rate = (double)run->rate;
	if (run->next_change < run->scenario->link.change_count)
		aqm_events_set(&run->events, &run->rate_timer,
		               (aqm_time)(run->scenario->link.changes[run->next_change].at * 1e9));
}

static void warm_up_ends(struct aqm_run *run)
{
	count_capacity(run);
	run->warm_capacity = run->capacity;
	run->warmed = true;
	for (size_t i = 0; i < AQM_QUEUES; i++)
		aqm_queue_stats_warm(&run->bottleneck.queues[i]);
	for (size_t i = 0; i < run->flow_count; i++) {
		struct aqm_flow *flow = run->flows[i];

		flow->warm[0] = flow->next;
		flow->warm[1] = flow->rx_received;
		flow->warm[2] = flow->rx_marked;
		flow->warm[3] = flow->lost;
		flow->rtt_sum = flow->cwnd_sum = 0;
		flow->rtt_count = 0;
	}
}

/* A point of the time series; also where the user is told, and may interrupt. */
static void add_point(struct aqm_run *run)
{
	struct aqm_bottleneck *b = &run->bottleneck;
	aqm_time now = aqm_run_now(run);
	uint64_t bytes[AQM_QUEUES] = {0}, packets[AQM_QUEUES] = {0}, left = 0;

	if (run->point_count == run->point_capacity) {
		size_t capacity = run->point_capacity ? 2 * run->point_capacity : 256;
		struct aqm_sim_point *grown = aqm_realloc_array(run->points, capacity, sizeof *grown);

		if (!grown) {
			run->code = AQM_ERUN;
			return;
		}
		run->points = grown;
		run->point_capacity = capacity;
	}
	struct aqm_sim_point *point = &run->points[run->point_count++];
	*point = (struct aqm_sim_point){.time = (double)now * 1e-9};
	b->type->backlog(b->state, bytes, packets);
	for (size_t i = 0; i < AQM_QUEUES && b->type->queue_names[i]; i++) {
		struct aqm_queue_stats *s = &b->queues[i];

		point->delay[i] = s->point_departed ? s->delay_sum / s->point_departed * 1e-6 : 0;
		point->delay_peak[i] = (double)s->delay_peak * 1e-6;
		point->probability[i] = b->type->probability ? b->type->probability(b->state, i) : NAN;
		point->backlog[i] = (uint32_t)bytes[i];
		point->marked[i] = s->point_marked;
		point->dropped[i] = s->point_dropped;
		point->departed[i] = s->point_departed;
		left += s->point_bytes;
		s->delay_sum = 0;
		s->delay_peak = 0;
		s->point_departed = s->point_dropped = s->point_marked = 0;
		s->point_bytes = 0;
	}
	point->rate = (double)left * 8 / (run->scenario->series * 1e-3) * 1e-6;
	aqm_events_set(&run->events, &run->point_timer, now + (aqm_time)(run->scenario->series * 1e6));
	if (run->show_progress) {
		aqm_progress_note(&run->progress, "%.0f of %.0f s simulated", point->time, run->scenario->seconds);
		aqm_progress_update(&run->progress, (uint64_t)(now / AQM_MS));
	}
	if (aqm_interrupted())
		run->code = aqm_error_set(AQM_EINTERRUPTED, "interrupted after %.1f simulated seconds", point->time);
}

static void dispatch(struct aqm_run *run, struct aqm_timer *timer)
{
	switch ((enum aqm_timer_kind)timer->kind) {
	case AQM_TIMER_LINK:
		link_free(run);
		break;
	case AQM_TIMER_BACK:
		aqm_flow_back(run, timer->owner);
		break;
	case AQM_TIMER_ACKS:
		aqm_flow_acks(run, timer->owner);
		break;
	case AQM_TIMER_SEND:
		aqm_flow_send(run, timer->owner);
		break;
	case AQM_TIMER_TIMEOUT:
		aqm_flow_timeout(run, timer->owner);
		break;
	case AQM_TIMER_DELACK:
		aqm_flow_delack(run, timer->owner);
		break;
	case AQM_TIMER_LIFE:
		aqm_flow_life(run, timer->owner);
		break;
	case AQM_TIMER_UPDATE:
		update(run);
		break;
	case AQM_TIMER_RATE:
		change_rate(run);
		break;
	case AQM_TIMER_WEB:
		aqm_web_arrival(run, timer->owner);
		break;
	case AQM_TIMER_POINT:
		add_point(run);
		break;
	case AQM_TIMER_WARM:
		warm_up_ends(run);
		break;
	}
}

/* ---- from scenario to result ---- */

static int add_flows(struct aqm_run *run)
{
	for (size_t g = 0; g < run->scenario->flow_count; g++) {
		const struct aqm_flow_settings *s = &run->scenario->flows[g];

		for (int64_t i = 0; s->arrivals <= 0 && i < s->count; i++) {
			/* Flows that begin together begin within one round trip, not in step. */
			double late = aqm_rng_u32(&run->start_rng) * 0x1p-32 * fmax(s->rtt, 1) * 1e6;

			if (!aqm_flow_new(run, g, UINT64_MAX, (aqm_time)(s->start * 1e9 + late)))
				return AQM_ERUN;
			run->lasting++;
		}
	}
	for (size_t g = 0; g < run->scenario->flow_count; g++)
		if (run->scenario->flows[g].arrivals > 0 && aqm_web_start(run, g) != AQM_OK)
			return AQM_ERUN;
	return AQM_OK;
}

static int begin(struct aqm_run *run)
{
	const struct aqm_scenario *s = run->scenario;

	run->end = (aqm_time)(s->seconds * 1e9);
	run->warm = (aqm_time)(s->warmup * 1e9);
	run->jitter = (aqm_time)(s->link.jitter * 1e6);
	run->rate = (uint64_t)(s->link.rate * 1e6 + 0.5);
	aqm_rng_init(&run->jitter_rng, s->seed, AQM_STREAM_SIM, 1);
	aqm_rng_init(&run->start_rng, s->seed, AQM_STREAM_SIM, 2);
	aqm_rng_init(&run->web_rng, s->seed, AQM_STREAM_SIM, 3);
	aqm_timer_init(&run->link_timer, AQM_TIMER_LINK, run);
	aqm_timer_init(&run->update_timer, AQM_TIMER_UPDATE, run);
	aqm_timer_init(&run->rate_timer, AQM_TIMER_RATE, run);
	aqm_timer_init(&run->point_timer, AQM_TIMER_POINT, run);
	aqm_timer_init(&run->warm_timer, AQM_TIMER_WARM, run);
	int code = aqm_events_reserve(&run->events, 8);
	if (code == AQM_OK)
		code = aqm_bottleneck_init(&run->bottleneck, s, &run->pool);
	if (code != AQM_OK)
		return code;
	set_update(run);
	if (s->link.change_count)
		aqm_events_set(&run->events, &run->rate_timer, (aqm_time)(s->link.changes[0].at * 1e9));
	aqm_events_set(&run->events, &run->warm_timer, run->warm);
	aqm_events_set(&run->events, &run->point_timer, (aqm_time)(s->series * 1e6));
	return add_flows(run);
}

static void release(struct aqm_run *run)
{
	for (size_t i = 0; i < run->flow_count; i++)
		aqm_flow_free(run->flows[i]);
	for (size_t i = 0; i < run->web_count; i++)
		free(run->webs[i]);
	free(run->flows);
	free(run->webs);
	free(run->points);
	aqm_bottleneck_release(&run->bottleneck);
	aqm_packet_pool_release(&run->pool);
	aqm_events_release(&run->events);
}

int aqm_sim_run(const struct aqm_scenario *scenario, const struct aqm_sim_options *options,
                struct aqm_sim_result *result)
{
	struct aqm_run *run = aqm_calloc_array(1, sizeof *run); /* histograms are large */
	struct aqm_log_writer *log = NULL;
	struct aqm_sim_sink log_sink;
	struct aqm_timer *timer;
	double started = aqm_clock_seconds();

	*result = (struct aqm_sim_result){0};
	if (!run)
		return AQM_ERUN;
	run->scenario = scenario;
	int code = aqm_scenario_check(scenario);
	if (code == AQM_OK)
		code = begin(run);
	if (code == AQM_OK && options) {
		struct aqm_bottleneck *b = &run->bottleneck;

		b->hook = options->hook;
		b->sinks[0] = options->sink;
		if (options->log_path) {
			code = aqm_log_writer_open(&log, &log_sink, options->log_path, options->chatter, scenario->seed);
			b->sinks[1] = &log_sink;
		}
		b->wants_records = options->hook || options->sink || log;
		if (b->wants_records && !b->type->keeps_records && code == AQM_OK)
			code = aqm_error_set(AQM_EUSAGE, "'%s' keeps no records to log or decide on", b->type->name);
		run->show_progress = options->progress;
	}
	if (run->show_progress)
		aqm_progress_start(&run->progress, "simulating", (uint64_t)(run->end / AQM_MS), 0);
	while (code == AQM_OK && (timer = aqm_events_next(&run->events, run->end))) {
		dispatch(run, timer);
		code = run->code != AQM_OK ? run->code : run->bottleneck.code;
	}
	if (run->show_progress)
		aqm_progress_end(&run->progress);
	if (code == AQM_OK)
		count_capacity(run);
	if (code == AQM_OK)
		code = aqm_result_fill(run, result);
	if (code == AQM_OK && log)
		code = aqm_log_writer_commit(log);
	aqm_log_writer_free(log);
	release(run);
	free(run);
	if (code != AQM_OK)
		aqm_sim_result_release(result);
	result->wall_s = aqm_clock_seconds() - started;
	return code;
}
