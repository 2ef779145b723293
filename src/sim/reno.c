/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reno: NewReno (RFC 5681, 6582), by packets that arrived.
 */
#include "sim/flow.h"

static void acked(struct aqm_flow *flow, const struct aqm_news *news)
{
	flow->cwnd += aqm_slow_start(flow, (double)news->received) / flow->cwnd;
}

static void congested(struct aqm_flow *flow, aqm_time now)
{
	(void)now;
	aqm_set_window(flow, flow->cwnd / 2);
}

const struct aqm_cc_type aqm_cc_reno = {
	.name = "reno",
	.help = "NewReno: one packet a round trip more, half after a loss or mark",
	.ecn = AQM_ECN_OFF,
	.acked = acked,
	.congested = congested,
};
