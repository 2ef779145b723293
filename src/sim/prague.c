/* SPDX-License-Identifier: BSD-2-Clause
 *
 * prague: the scalable control of the L4S testbeds. As DCTCP, but below a round trip of 25 ms it grows, averages and
 * reduces as if it had one of 25 ms; a mark stops no growth but that of its own packet; paced.
 */
#include <math.h>

#include "sim/flow.h"

static const aqm_time REFERENCE = 25 * AQM_MS;

static void average(struct aqm_flow *flow, aqm_time now, aqm_time round)
{
	struct aqm_scalable *s = &flow->scalable;

	if (flow->settled <= s->alpha_end || now - s->alpha_at < round || !s->round_received)
		return;
	s->alpha += ((double)s->round_marked / (double)s->round_received - s->alpha) / 16;
	s->round_received = s->round_marked = 0;
	s->alpha_end = flow->next;
	s->alpha_at = now;
	flow->pace_gain = flow->pace_gain > 1 ? 0.97 : 1.03;
}

static void acked(struct aqm_flow *flow, const struct aqm_news *news)
{
	struct aqm_scalable *s = &flow->scalable;
	aqm_time round = flow->srtt > REFERENCE ? flow->srtt : REFERENCE;
	double share = (double)flow->srtt / (double)round;

	s->round_received += news->received;
	s->round_marked += news->marked;
	if (news->marked && !s->seen_mark) {
		s->seen_mark = true;
		s->alpha = 1;
	}
	average(flow, news->now, round);
	if (flow->settled > flow->recover) /* no growth in recovery from a loss */
		flow->cwnd += aqm_slow_start(flow, (double)(news->received - news->marked)) / flow->cwnd * share * share;
	if (news->marked && news->now - s->reduced_at >= round) {
		aqm_set_window(flow, flow->cwnd * (1 - s->alpha / 2));
		s->reduced_at = news->now;
	}
}

static void congested(struct aqm_flow *flow, aqm_time now)
{
	flow->scalable.reduced_at = now;
	aqm_set_window(flow, flow->cwnd / 2);
}

static void init(struct aqm_flow *flow)
{
	flow->pace_gain = 1.03;
	flow->scalable.reduced_at = -AQM_SECOND;
}

const struct aqm_cc_type aqm_cc_prague = {
	.name = "prague",
	.help = "Prague: scalable, independent of round trips below 25 ms, paced",
	.ecn = AQM_ECN_ECT1,
	.accurate = true,
	.paced = true,
	.init = init,
	.acked = acked,
	.congested = congested,
};
