/* SPDX-License-Identifier: BSD-2-Clause
 *
 * codel: RFC 8289, with marking of packets that can be marked.
 */
#include "sim/codel.h"

#include <math.h>

struct codel {
	struct aqm_codel_settings settings;
	struct aqm_codel codel;
	struct aqm_fifo queue;
	uint32_t limit;
};

void aqm_codel_settings_init(struct aqm_codel_settings *codel, const struct aqm_aqm_settings *settings)
{
	codel->target = aqm_ms(settings->target, 5);
	codel->interval = aqm_ms(settings->interval, 100);
	codel->ecn = aqm_or(settings->ecn, 1) > 0;
}

static aqm_time control_law(const struct aqm_codel *codel, const struct aqm_codel_settings *settings, aqm_time time)
{
	return time + (aqm_time)((double)settings->interval / sqrt((double)codel->count));
}

/* RFC 8289, 4.4: is the delay above the target for a whole interval? */
static struct aqm_packet *take(struct aqm_codel *codel, const struct aqm_codel_settings *settings,
                               struct aqm_fifo *queue, const struct aqm_bottleneck *b, bool *above)
{
	struct aqm_packet *packet = aqm_fifo_pop(queue);

	*above = false;
	if (!packet) {
		codel->first_above = 0;
		return NULL;
	}
	if (b->now - packet->queued < settings->target || (double)queue->bytes <= b->mtu)
		codel->first_above = 0;
	else if (codel->first_above == 0)
		codel->first_above = b->now + settings->interval;
	else
		*above = b->now >= codel->first_above;
	return packet;
}

/* Mark the packet and keep it, or drop it and take the next. */
static struct aqm_packet *punish(struct aqm_codel *codel, const struct aqm_codel_settings *settings,
                                 struct aqm_fifo *queue, struct aqm_bottleneck *b, struct aqm_packet *packet,
                                 bool *above, bool *marked)
{
	*marked = settings->ecn && aqm_can_mark(packet);
	if (*marked) {
		aqm_queue_mark(b, packet);
		return packet;
	}
	aqm_queue_drop(b, packet);
	return take(codel, settings, queue, b, above);
}

struct aqm_packet *aqm_codel_dequeue(struct aqm_codel *codel, const struct aqm_codel_settings *settings,
                                     struct aqm_fifo *queue, struct aqm_bottleneck *b)
{
	bool above, marked = false;
	struct aqm_packet *packet = take(codel, settings, queue, b, &above);

	if (!packet) {
		codel->dropping = false;
		return NULL;
	}
	if (codel->dropping) {
		if (!above)
			codel->dropping = false;
		while (packet && codel->dropping && !marked && b->now >= codel->drop_next) {
			codel->count++;
			packet = punish(codel, settings, queue, b, packet, &above, &marked);
			if (!marked && !above)
				codel->dropping = false;
			else
				codel->drop_next = control_law(codel, settings, codel->drop_next);
		}
	} else if (above) {
		packet = punish(codel, settings, queue, b, packet, &above, &marked);
		codel->dropping = true;
		/* Dropping that ended a moment ago goes on at the rate that it had. */
		uint32_t delta = codel->count - codel->last_count;
		codel->count = delta > 1 && b->now - codel->drop_next < 16 * settings->interval ? delta : 1;
		codel->drop_next = control_law(codel, settings, b->now);
		codel->last_count = codel->count;
	}
	if (packet)
		aqm_queue_leave(b, packet);
	return packet;
}

static int init(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	struct codel *c = state;

	(void)b;
	aqm_codel_settings_init(&c->settings, settings);
	c->limit = (uint32_t)aqm_or(settings->limit, 1000);
	return AQM_OK;
}

static void enqueue(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct codel *c = state;

	aqm_queue_arrive(b, packet, 0);
	if (c->queue.packets >= c->limit)
		aqm_queue_drop(b, packet);
	else
		aqm_fifo_push(&c->queue, packet);
}

static struct aqm_packet *dequeue(void *state, struct aqm_bottleneck *b)
{
	struct codel *c = state;

	return aqm_codel_dequeue(&c->codel, &c->settings, &c->queue, b);
}

static void backlog(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES])
{
	const struct codel *c = state;

	bytes[0] = c->queue.bytes;
	packets[0] = c->queue.packets;
}

const struct aqm_qdisc_type aqm_qdisc_codel = {
	.name = "codel",
	.help = "CoDel, RFC 8289",
	.queue_names = {"Q"},
	.bytes = sizeof(struct codel),
	.init = init,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.backlog = backlog,
};
