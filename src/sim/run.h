/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A run: the clock, the bottleneck, the link behind it, the flows.
 */
#ifndef AQM_SIM_RUN_H
#define AQM_SIM_RUN_H

#include "base/progress.h"
#include "sim/flow.h"
#include "sim/qdisc.h"

enum aqm_timer_kind {
	AQM_TIMER_LINK,
	AQM_TIMER_BACK, /* an acknowledgement reaches its sender */
	AQM_TIMER_ACKS, /* one reaches the queue */
	AQM_TIMER_SEND,
	AQM_TIMER_TIMEOUT,
	AQM_TIMER_DELACK,
	AQM_TIMER_LIFE,   /* a flow starts or stops */
	AQM_TIMER_UPDATE, /* of the queue discipline */
	AQM_TIMER_RATE,
	AQM_TIMER_WEB,
	AQM_TIMER_POINT,
	AQM_TIMER_WARM,
};

/* A source of short flows. */
struct aqm_web {
	const struct aqm_flow_settings *settings;
	size_t group;
	struct aqm_timer timer;
	uint64_t started, finished;
	struct aqm_histogram times;
};

struct aqm_run {
	const struct aqm_scenario *scenario;
	struct aqm_events events;
	struct aqm_packet_pool pool;
	struct aqm_bottleneck bottleneck;
	struct aqm_rng jitter_rng, start_rng, web_rng;
	aqm_time end, warm, jitter;
	bool warmed;

	/* link */
	struct aqm_timer link_timer;
	struct aqm_packet *sending; /* at its far end when link_timer comes */
	bool busy;
	uint64_t rate, remainder; /* bit/s; of the division, carried over */
	double credit;            /* bits, where the link serves in ticks */
	aqm_time served;
	struct aqm_timer update_timer, rate_timer, point_timer, warm_timer;
	aqm_time update_set;
	size_t next_change;
	double capacity, warm_capacity, capacity_since; /* bits the link could have sent */

	struct aqm_flow **flows; /* owned, all there have been */
	size_t flow_count, flow_capacity, lasting;
	struct aqm_flow *free_flows;
	struct aqm_web **webs; /* owned */
	size_t web_count;

	struct aqm_sim_point *points; /* owned */
	size_t point_count, point_capacity;
	struct aqm_progress progress;
	bool show_progress;
	int code; /* ends the run */
};

static inline aqm_time aqm_run_now(const struct aqm_run *run)
{
	return run->events.now;
}

/* A packet comes to the bottleneck (run.c). */
void aqm_run_enqueue(struct aqm_run *run, struct aqm_packet *packet);

/* ---- flows (flow.c) ---- */

/* A new flow of a group; it starts at `start`. NULL without memory. `limit` packets are to be delivered. */
struct aqm_flow *aqm_flow_new(struct aqm_run *run, size_t group, uint64_t limit, aqm_time start);
void aqm_flow_free(struct aqm_flow *flow);
void aqm_flow_life(struct aqm_run *run, struct aqm_flow *flow);
void aqm_flow_send(struct aqm_run *run, struct aqm_flow *flow);
void aqm_flow_timeout(struct aqm_run *run, struct aqm_flow *flow);
void aqm_flow_delack(struct aqm_run *run, struct aqm_flow *flow);
void aqm_flow_back(struct aqm_run *run, struct aqm_flow *flow);
void aqm_flow_acks(struct aqm_run *run, struct aqm_flow *flow);
/* A packet has left the link: to the receiver, or, an acknowledgement, on to the sender. Frees it. */
void aqm_flow_deliver(struct aqm_run *run, struct aqm_packet *packet);

/* ---- short flows (web.c) ---- */

int aqm_web_start(struct aqm_run *run, size_t group);
void aqm_web_arrival(struct aqm_run *run, struct aqm_web *web);
void aqm_web_finished(struct aqm_run *run, struct aqm_flow *flow);

/* ---- what came of it (result.c) ---- */

int aqm_result_fill(struct aqm_run *run, struct aqm_sim_result *result);

#endif
