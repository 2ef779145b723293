/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fq_codel: RFC 8290. Flows in 1024 queues, new ones before old ones, by deficit round robin; CoDel in each.
 */
#include <stdlib.h>

#include "base/size.h"
#include "sim/codel.h"
#include "sim/flow.h"

enum { QUEUES = 1024 };

struct queue {
	struct aqm_fifo fifo;
	struct aqm_codel codel;
	struct queue *next;
	int64_t deficit;
	bool listed;
};

struct list {
	struct queue *head, *tail;
};

struct fq_codel {
	struct aqm_codel_settings settings;
	struct queue *queues; /* owned */
	struct list fresh, old;
	uint64_t bytes;
	uint32_t packets, limit;
	int64_t quantum;
};

static void append(struct list *list, struct queue *queue)
{
	queue->next = NULL;
	if (list->tail)
		list->tail->next = queue;
	else
		list->head = queue;
	list->tail = queue;
}

static struct queue *behead(struct list *list)
{
	struct queue *queue = list->head;

	list->head = queue->next;
	if (!list->head)
		list->tail = NULL;
	return queue;
}

static int init(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	struct fq_codel *f = state;

	(void)b;
	aqm_codel_settings_init(&f->settings, settings);
	f->limit = (uint32_t)aqm_or(settings->limit, 10240);
	f->quantum = (int64_t)aqm_or(settings->quantum, 1514);
	f->queues = aqm_calloc_array(QUEUES, sizeof *f->queues);
	return f->queues ? AQM_OK : AQM_ERUN;
}

static void release(void *state)
{
	struct fq_codel *f = state;

	free(f->queues);
}

/* Full: the fattest queue loses its head. */
static void make_room(struct fq_codel *f, struct aqm_bottleneck *b)
{
	struct queue *fattest = &f->queues[0];

	for (size_t i = 1; i < QUEUES; i++)
		if (f->queues[i].fifo.bytes > fattest->fifo.bytes)
			fattest = &f->queues[i];
	struct aqm_packet *packet = aqm_fifo_pop(&fattest->fifo);
	f->bytes -= packet->bytes;
	f->packets--;
	aqm_queue_drop(b, packet);
}

static void enqueue(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct fq_codel *f = state;
	/* A data flow and its acknowledgements are two flows. */
	uint32_t hash = (packet->flow->index * 2 + packet->is_ack) * 2654435761U;
	struct queue *queue = &f->queues[hash >> 22];

	aqm_queue_arrive(b, packet, 0);
	aqm_fifo_push(&queue->fifo, packet);
	f->bytes += packet->bytes;
	f->packets++;
	if (!queue->listed) {
		queue->listed = true;
		queue->deficit = f->quantum;
		append(&f->fresh, queue);
	}
	if (f->packets > f->limit)
		make_room(f, b);
}

static struct aqm_packet *dequeue(void *state, struct aqm_bottleneck *b)
{
	struct fq_codel *f = state;

	for (;;) {
		struct list *list = f->fresh.head ? &f->fresh : &f->old;
		struct queue *queue = list->head;

		if (!queue)
			return NULL;
		if (queue->deficit <= 0) {
			queue->deficit += f->quantum;
			append(&f->old, behead(list));
			continue;
		}
		uint32_t packets = queue->fifo.packets;
		uint64_t bytes = queue->fifo.bytes;
		struct aqm_packet *packet = aqm_codel_dequeue(&queue->codel, &f->settings, &queue->fifo, b);

		f->packets -= packets - queue->fifo.packets;
		f->bytes -= bytes - queue->fifo.bytes;
		if (packet) {
			queue->deficit -= packet->bytes;
			return packet;
		}
		behead(list);
		if (list == &f->fresh && f->old.head)
			append(&f->old, queue); /* it must not come first again at once */
		else
			queue->listed = false;
	}
}

static void backlog(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES])
{
	const struct fq_codel *f = state;

	bytes[0] = f->bytes;
	packets[0] = f->packets;
}

const struct aqm_qdisc_type aqm_qdisc_fq_codel = {
	.name = "fq_codel",
	.help = "FlowQueue-CoDel, RFC 8290",
	.queue_names = {"Q"},
	.bytes = sizeof(struct fq_codel),
	.init = init,
	.release = release,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.backlog = backlog,
};
