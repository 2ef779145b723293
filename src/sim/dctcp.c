/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dctcp: RFC 8257. The share of marked packets, averaged over rounds, is the share of the reduction; once a round.
 */
#include "sim/flow.h"

static void init(struct aqm_flow *flow)
{
	flow->scalable.alpha = 1;
}

static void acked(struct aqm_flow *flow, const struct aqm_news *news)
{
	struct aqm_scalable *s = &flow->scalable;

	s->round_received += news->received;
	s->round_marked += news->marked;
	if (news->marked && flow->settled > flow->recover) {
		aqm_set_window(flow, flow->cwnd * (1 - s->alpha / 2));
		flow->recover = flow->next;
	} else if (flow->settled > flow->recover) {
		flow->cwnd += aqm_slow_start(flow, (double)news->received) / flow->cwnd;
	}
	if (flow->settled > s->alpha_end && s->round_received) {
		s->alpha += ((double)s->round_marked / (double)s->round_received - s->alpha) / 16;
		s->round_received = s->round_marked = 0;
		s->alpha_end = flow->next;
	}
}

static void congested(struct aqm_flow *flow, aqm_time now)
{
	(void)now;
	aqm_set_window(flow, flow->cwnd / 2);
}

const struct aqm_cc_type aqm_cc_dctcp = {
	.name = "dctcp",
	.help = "DCTCP, RFC 8257",
	.ecn = AQM_ECN_ECT1,
	.accurate = true,
	.init = init,
	.acked = acked,
	.congested = congested,
};
