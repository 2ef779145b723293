/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cubic: RFC 9438, with its Reno-friendly region and fast convergence. Windows in packets, times in seconds.
 */
#include <math.h>

#include "sim/flow.h"

static const double C = 0.4, BETA = 0.7, ALPHA = 3 * (1 - 0.7) / (1 + 0.7);

static void begin_epoch(struct aqm_flow *flow, aqm_time now)
{
	struct aqm_cubic *c = &flow->cubic;

	c->epoch = now;
	if (c->w_max < flow->cwnd) /* slow start ended without a reduction */
		c->w_max = c->prior = flow->cwnd;
	c->k = cbrt((c->w_max - flow->cwnd) / C);
	c->w_est = flow->cwnd;
}

static void acked(struct aqm_flow *flow, const struct aqm_news *news)
{
	struct aqm_cubic *c = &flow->cubic;
	double received = aqm_slow_start(flow, (double)news->received);

	if (received <= 0)
		return;
	if (!c->epoch)
		begin_epoch(flow, news->now);
	double t = (double)(news->now - c->epoch + flow->srtt) * 1e-9, x = t - c->k;
	double target = fmin(fmax(C * x * x * x + c->w_max, flow->cwnd), 1.5 * flow->cwnd);
	c->w_est += (c->w_est >= c->prior ? 1 : ALPHA) * received / flow->cwnd;
	/* The window as a Reno flow would have it where that is larger (4.3), else a step towards the curve (4.4, 4.5). */
	x = t - (double)flow->srtt * 1e-9 - c->k;
	if (C * x * x * x + c->w_max < c->w_est)
		flow->cwnd = fmax(flow->cwnd, c->w_est);
	else
		flow->cwnd += (target - flow->cwnd) / flow->cwnd * received;
}

static void congested(struct aqm_flow *flow, aqm_time now)
{
	struct aqm_cubic *c = &flow->cubic;

	(void)now;
	c->prior = flow->cwnd;
	c->w_max = flow->cwnd < c->w_max ? flow->cwnd * (1 + BETA) / 2 : flow->cwnd;
	c->epoch = 0;
	aqm_set_window(flow, flow->cwnd * BETA);
}

const struct aqm_cc_type aqm_cc_cubic = {
	.name = "cubic",
	.help = "CUBIC, RFC 9438",
	.ecn = AQM_ECN_OFF,
	.acked = acked,
	.congested = congested,
};
