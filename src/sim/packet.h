/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Packets and queues of packets. A packet exists from when it is sent until it leaves the bottleneck.
 */
#ifndef AQM_SIM_PACKET_H
#define AQM_SIM_PACKET_H

#include <stdbool.h>

#include "sim/event.h"

enum aqm_codepoint { AQM_NOT_ECT, AQM_ECT1, AQM_ECT0, AQM_CE }; /* as in the IP header */

struct aqm_flow;

/* What a receiver tells its sender: counts since the start, so that a lost acknowledgement loses nothing. */
struct aqm_ack {
	aqm_time at;       /* when it arrives where it is going */
	aqm_time echo;     /* when the packet that it answers was sent */
	uint64_t number;   /* of that packet */
	uint64_t received; /* packets so far */
	uint64_t marked;   /* of those with CE */
};

struct aqm_packet {
	struct aqm_packet *next;
	struct aqm_flow *flow;
	aqm_time queued; /* when it came to the queue */
	uint32_t bytes;
	uint8_t codepoint;
	uint8_t queue; /* that it stands in */
	bool is_ack;
	uint8_t passed; /* how often through the queue, so far */
	struct aqm_ack ack; /* of a data packet: number, and echo = when it was sent */
};

struct aqm_fifo {
	struct aqm_packet *head, *tail;
	uint32_t packets;
	uint64_t bytes;
};

static inline void aqm_fifo_push(struct aqm_fifo *fifo, struct aqm_packet *packet)
{
	packet->next = NULL;
	if (fifo->tail)
		fifo->tail->next = packet;
	else
		fifo->head = packet;
	fifo->tail = packet;
	fifo->packets++;
	fifo->bytes += packet->bytes;
}

static inline struct aqm_packet *aqm_fifo_pop(struct aqm_fifo *fifo)
{
	struct aqm_packet *packet = fifo->head;

	if (!packet)
		return NULL;
	fifo->head = packet->next;
	if (!fifo->head)
		fifo->tail = NULL;
	fifo->packets--;
	fifo->bytes -= packet->bytes;
	return packet;
}

/* How long the first packet has waited; 0 of an empty queue. */
static inline aqm_time aqm_fifo_wait(const struct aqm_fifo *fifo, aqm_time now)
{
	return fifo->head ? now - fifo->head->queued : 0;
}

/* Packets are handed out from blocks and used again. */
struct aqm_packet_pool {
	struct aqm_packet *free;
	struct aqm_packet_block *blocks;
	size_t alive, peak;
};
/* NULL, with a message, without memory. */
struct aqm_packet *aqm_packet_new(struct aqm_packet_pool *pool);
void aqm_packet_pool_release(struct aqm_packet_pool *pool);

static inline void aqm_packet_free(struct aqm_packet_pool *pool, struct aqm_packet *packet)
{
	packet->next = pool->free;
	pool->free = packet;
	pool->alive--;
}

#endif
