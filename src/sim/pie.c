/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pie: RFC 8033 with delays from time stamps, derandomised.
 */
#include <math.h>

#include "sim/qdisc.h"

struct pie {
	struct aqm_fifo queue;
	aqm_time target, tupdate, max_burst;
	double alpha, beta; /* Hz */
	double max_ecnth;
	bool ecn;
	uint32_t limit;
	double probability, accumulated;
	aqm_time delay, old_delay, burst;
};

static int init(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	struct pie *p = state;

	p->target = aqm_ms(settings->target, 15);
	p->tupdate = aqm_ms(settings->tupdate, 15);
	p->max_burst = aqm_ms(settings->max_burst, 150);
	p->alpha = aqm_or(settings->alpha, 0.125);
	p->beta = aqm_or(settings->beta, 1.25);
	p->max_ecnth = aqm_or(settings->max_ecnth, 0.1);
	p->ecn = aqm_or(settings->ecn, 1) > 0;
	p->limit = (uint32_t)aqm_or(settings->limit, 1000);
	p->burst = p->max_burst;
	b->next_update = p->tupdate;
	return AQM_OK;
}

/* RFC 8033, 4.1 and 5.1. */
static bool punish(struct pie *p, struct aqm_bottleneck *b)
{
	if (p->burst > 0 || (p->old_delay < p->target / 2 && p->probability < 0.2) || (double)p->queue.bytes <= 2 * b->mtu)
		return false;
	if (p->probability == 0)
		p->accumulated = 0;
	p->accumulated += p->probability;
	if (p->accumulated < 0.85)
		return false;
	if (p->accumulated < 8.5 && aqm_roll(b) >= p->probability)
		return false;
	p->accumulated = 0;
	return true;
}

static void enqueue(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct pie *p = state;

	aqm_queue_arrive(b, packet, 0);
	if (p->queue.packets >= p->limit) {
		aqm_queue_drop(b, packet);
		return;
	}
	if (punish(p, b)) {
		if (!p->ecn || !aqm_can_mark(packet) || p->probability > p->max_ecnth) {
			aqm_queue_drop(b, packet);
			return;
		}
		aqm_queue_mark(b, packet);
	}
	aqm_fifo_push(&p->queue, packet);
}

static struct aqm_packet *dequeue(void *state, struct aqm_bottleneck *b)
{
	struct pie *p = state;
	struct aqm_packet *packet = aqm_fifo_pop(&p->queue);

	if (packet)
		aqm_queue_leave(b, packet);
	return packet;
}

/* RFC 8033, 4.2: steps are smaller where the probability is small. */
static double tune(double probability)
{
	double threshold = 1e-6;

	for (int shift = 11; shift > 0; shift -= 2, threshold *= 10)
		if (probability < threshold)
			return ldexp(1, -shift);
	return 1;
}

static aqm_time update(void *state, struct aqm_bottleneck *b)
{
	struct pie *p = state;

	p->delay = aqm_fifo_wait(&p->queue, b->now);
	double step = (p->alpha * (double)(p->delay - p->target) + p->beta * (double)(p->delay - p->old_delay)) * 1e-9;
	step *= tune(p->probability);
	if (p->probability >= 0.1)
		step = fmin(step, 0.02);
	double next = p->probability + step;
	if (p->delay == 0 && p->old_delay == 0)
		next *= 0.98;
	p->probability = fmin(fmax(next, 0), 1);
	p->burst = p->burst > p->tupdate ? p->burst - p->tupdate : 0;
	if (p->probability == 0 && p->delay < p->target / 2 && p->old_delay < p->target / 2)
		p->burst = p->max_burst;
	p->old_delay = p->delay;
	return b->now + p->tupdate;
}

static double probability(const void *state, size_t queue)
{
	(void)queue;
	return ((const struct pie *)state)->probability;
}

static void backlog(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES])
{
	const struct pie *p = state;

	bytes[0] = p->queue.bytes;
	packets[0] = p->queue.packets;
}

const struct aqm_qdisc_type aqm_qdisc_pie = {
	.name = "pie",
	.help = "PIE, RFC 8033",
	.queue_names = {"Q"},
	.bytes = sizeof(struct pie),
	.init = init,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.update = update,
	.probability = probability,
	.backlog = backlog,
};
