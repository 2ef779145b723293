/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fifo: drops what does not fit.
 */
#include "sim/qdisc.h"

struct fifo {
	struct aqm_fifo queue;
	uint32_t limit;
};

static int init(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	struct fifo *f = state;

	(void)b;
	f->limit = (uint32_t)aqm_or(settings->limit, 1000);
	return AQM_OK;
}

static void enqueue(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct fifo *f = state;

	aqm_queue_arrive(b, packet, 0);
	if (f->queue.packets >= f->limit)
		aqm_queue_drop(b, packet);
	else
		aqm_fifo_push(&f->queue, packet);
}

static struct aqm_packet *dequeue(void *state, struct aqm_bottleneck *b)
{
	struct fifo *f = state;
	struct aqm_packet *packet = aqm_fifo_pop(&f->queue);

	if (packet)
		aqm_queue_leave(b, packet);
	return packet;
}

static void backlog(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES])
{
	const struct fifo *f = state;

	bytes[0] = f->queue.bytes;
	packets[0] = f->queue.packets;
}

const struct aqm_qdisc_type aqm_qdisc_fifo = {
	.name = "fifo",
	.help = "one queue that drops what does not fit",
	.queue_names = {"Q"},
	.bytes = sizeof(struct fifo),
	.init = init,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.backlog = backlog,
};
