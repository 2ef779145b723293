/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
 *
 * A virtual DualPI2 queue in integers: what the queue of a slower link would be, were the packets that pass to wait there. It
 * keeps the numbers that a student reads; the student decides, the caller marks or drops.
 *
 * Two queues, classic and L4S, share the configured rate as a fluid: while both are backlogged the classic one gets 1/16
 * (RFC 9332, appendix A), else all goes to the one that is. A queue's delay is the time until a packet that arrives now would
 * leave. Every tupdate p' follows the longer delay (PI2); updates that are due are made up for when a packet comes.
 *
 * Freestanding C for any compiler, eBPF's among them: no library, no loop without a bound, no signed division. The caller
 * has included the student's header.
 */
#ifndef AQM_VIRTUAL_QUEUE_H
#define AQM_VIRTUAL_QUEUE_H

#define VIRTUAL_INLINE static inline __attribute__((always_inline))

enum { VIRTUAL_CLASSIC, VIRTUAL_L4S, VIRTUAL_QUEUES };
enum { VIRTUAL_ENQUEUE, VIRTUAL_DROP, VIRTUAL_MARK }; /* what students answer */
enum { VIRTUAL_NOT_ECT, VIRTUAL_ECT1, VIRTUAL_ECT0, VIRTUAL_CE }; /* the two ECN bits */

/* All 64 bits wide, so that they are easy to write from outside. Rate 0: not set up, everything passes. Other zeros are defaults. */
struct virtual_settings {
	uint64_t rate;      /* bytes a second */
	uint64_t limit;     /* bytes that both queues hold; default 250 ms at the rate */
	uint64_t target;    /* us; default 15000 */
	uint64_t tupdate;   /* us; default 15000 */
	uint64_t alpha;     /* Hz / 8192; default 1229 (0.15) */
	uint64_t beta;      /* Hz / 8192; default 24576 (3) */
	uint64_t max_ecnth; /* 1/8192; default 2048 (25 %): only shown to the student */
	uint64_t watch;     /* 1: decide and count, but touch no packet */
};

struct virtual_queue {
	uint64_t backlog;    /* bytes */
	uint64_t accumulated; /* 1/2^31: of p' since the last drop or mark */
	uint64_t packets, bytes; /* that came in */
	uint32_t drops;
	uint32_t delay_old;  /* us, at the last update */
	uint32_t mean_bytes; /* of a packet, times 16 */
	struct aqm_student_state student;
};

struct virtual_port {
	uint64_t clock;       /* ns: until here the queues are drained */
	uint64_t leftover;    /* of the drain, bytes times 10^9 */
	uint64_t next_update; /* ns */
	uint32_t shared;      /* bytes drained, of which the classic queue has not had its sixteenth */
	uint32_t probability; /* p', 1/2^31 */
	uint32_t delay_old;   /* us: the longer one at the last update */
	struct virtual_queue queues[VIRTUAL_QUEUES];
};

struct virtual_packet {
	uint32_t bytes;     /* that it takes on the link */
	uint32_t pkt_len;   /* bytes from the IP header on, as logs have it */
	uint32_t codepoint; /* VIRTUAL_NOT_ECT ... */
};

#define VIRTUAL_SECOND 1000000000ull
#define VIRTUAL_ONE 0x7fffffffu /* the largest p' */
#define VIRTUAL_CATCH_UP 8      /* updates made up for one by one */

VIRTUAL_INLINE uint64_t virtual_or(uint64_t value, uint64_t initial)
{
	return value ? value : initial;
}

/* Serve both queues for `ns` nanoseconds, at most one second of which counts: by then, everything within the limit is gone. */
VIRTUAL_INLINE void virtual_drain(struct virtual_port *port, uint64_t rate, uint64_t ns)
{
	struct virtual_queue *classic = &port->queues[VIRTUAL_CLASSIC], *l4s = &port->queues[VIRTUAL_L4S];
	uint64_t credit = (ns < VIRTUAL_SECOND ? ns : VIRTUAL_SECOND) * rate + port->leftover, bytes = credit / VIRTUAL_SECOND;
	uint64_t backlog = classic->backlog + l4s->backlog, share = (bytes + port->shared) >> 4;

	if (bytes >= backlog) { /* an idle link saves nothing up */
		classic->backlog = l4s->backlog = port->leftover = 0;
		return;
	}
	port->leftover = credit - bytes * VIRTUAL_SECOND;
	port->shared = (uint32_t)(bytes + port->shared) & 15;
	if (classic->backlog < share)
		share = classic->backlog;
	if (l4s->backlog < bytes - share)
		share = bytes - l4s->backlog;
	classic->backlog -= share;
	l4s->backlog -= bytes - share;
}

/* us until a packet that comes to `queue` now would leave: behind both backlogs, unless its own queue is empty before the
 * other, by its share of the rate. */
VIRTUAL_INLINE uint32_t virtual_delay(const struct virtual_port *port, uint64_t rate, uint32_t queue)
{
	uint64_t classic = port->queues[VIRTUAL_CLASSIC].backlog, l4s = port->queues[VIRTUAL_L4S].backlog, bytes = classic + l4s;

	if (queue == VIRTUAL_CLASSIC && classic * 15 < l4s)
		bytes = classic * 16;
	if (queue == VIRTUAL_L4S && l4s < classic * 15)
		bytes = l4s * 16 / 15;
	uint64_t us = bytes * 1000000 / rate;
	return us < 0xffffffffu ? (uint32_t)us : 0xffffffffu;
}

VIRTUAL_INLINE int64_t virtual_bound(int64_t x, int64_t bound)
{
	return x < -bound ? -bound : x > bound ? bound : x;
}

/* PI2: p' += alpha (delay - target) + beta (delay - delay before), the first part once for each of `intervals`. */
VIRTUAL_INLINE void virtual_update(struct virtual_port *port, const struct virtual_settings *s, uint64_t intervals)
{
	uint32_t classic = virtual_delay(port, s->rate, VIRTUAL_CLASSIC), l4s = virtual_delay(port, s->rate, VIRTUAL_L4S);
	int64_t delay = classic > l4s ? classic : l4s;
	int64_t alpha = (int64_t)virtual_or(s->alpha, 1229), beta = (int64_t)virtual_or(s->beta, 24576);
	int64_t distance = alpha * (delay - (int64_t)virtual_or(s->target, 15000)), change = beta * (delay - port->delay_old);

	/* From 1/8192 and us to 1/2^31: times 2^18 / 10^6. The bound is far beyond p' = 1, and keeps the products in 64 bits. */
	int64_t next = virtual_bound(distance, 1ll << 40) * (int64_t)intervals + virtual_bound(change, 1ll << 40);
	next = port->probability + ((virtual_bound(next, 1ll << 40) * 17180) >> 16);
	port->probability = next < 0 ? 0 : next > VIRTUAL_ONE ? VIRTUAL_ONE : (uint32_t)next;
	port->delay_old = (uint32_t)delay;
	port->queues[VIRTUAL_CLASSIC].delay_old = classic;
	port->queues[VIRTUAL_L4S].delay_old = l4s;
}

/* Bring the port to `now` (ns, monotonic; another CPU may have been here a moment later). */
VIRTUAL_INLINE void virtual_advance(struct virtual_port *port, const struct virtual_settings *s, uint64_t now)
{
	uint64_t tupdate = virtual_or(s->tupdate, 15000) * 1000;

	if (port->clock == 0) {
		port->clock = now;
		port->next_update = now + tupdate;
	}
	for (int i = 0; i < VIRTUAL_CATCH_UP && port->next_update <= now; i++) {
		if (port->next_update > port->clock) {
			virtual_drain(port, s->rate, port->next_update - port->clock);
			port->clock = port->next_update;
		}
		virtual_update(port, s, 1);
		port->next_update += tupdate;
	}
	if (now > port->clock) {
		virtual_drain(port, s->rate, now - port->clock);
		port->clock = now;
	}
	if (port->next_update <= now) { /* a long silence, most of it with empty queues */
		uint64_t due = (now - port->next_update) / tupdate + 1;

		virtual_update(port, s, due < 1 << 20 ? due : 1 << 20);
		port->next_update += due * tupdate;
	}
}

VIRTUAL_INLINE struct aqm_student_record virtual_record(const struct virtual_port *port, const struct virtual_settings *s,
                                                        const struct virtual_packet *packet, uint32_t queue)
{
	const struct virtual_queue *q = &port->queues[queue];
	struct aqm_student_record record = {0};

	record.queue_type = queue;
	record.qdelay_ref = (uint32_t)virtual_or(s->target, 15000);
	record.tupdate = (uint32_t)virtual_or(s->tupdate, 15000);
	record.max_ecnth = (uint32_t)virtual_or(s->max_ecnth, 2048);
	record.alpha = (uint32_t)virtual_or(s->alpha, 1229);
	record.beta = (uint32_t)virtual_or(s->beta, 24576);
	record.flags = 1;
	record.drop_prob = port->probability;
	record.current_qdelay = virtual_delay(port, s->rate, queue);
	record.qdelay_old = q->delay_old;
	record.accu_prob = q->accumulated + port->probability;
	record.measurement_start = (uint32_t)(port->clock / 1000);
	record.sflags = 1;
	record.tot_pkts = q->packets;
	record.tot_bytes = q->bytes;
	record.length = q->mean_bytes ? (uint32_t)((q->backlog * 16 + q->mean_bytes - 1) / q->mean_bytes) : 0;
	record.len_bytes = q->backlog < 0xffffffffu ? (uint32_t)q->backlog : 0xffffffffu;
	record.drops = q->drops;
	record.pkt_len = packet->pkt_len;
	return record;
}

/* Never more than a second's worth, so that a second empties the queues. */
VIRTUAL_INLINE uint64_t virtual_limit(const struct virtual_settings *s)
{
	uint64_t limit = virtual_or(s->limit, s->rate / 4 + 3000);

	return limit < s->rate ? limit : s->rate;
}

/* A packet has come at `now`: what to do with it. */
VIRTUAL_INLINE uint32_t virtual_arrive(struct virtual_port *port, const struct virtual_settings *s, uint64_t now,
                                       const struct virtual_packet *packet)
{
	uint32_t queue = packet->codepoint == VIRTUAL_ECT1 || packet->codepoint == VIRTUAL_CE ? VIRTUAL_L4S : VIRTUAL_CLASSIC;
	struct virtual_queue *q = &port->queues[queue];

	virtual_advance(port, s, now);
	struct aqm_student_record record = virtual_record(port, s, packet, queue);
	uint32_t action = (uint32_t)aqm_student_decide(&q->student, &record);

	if (action == VIRTUAL_MARK && packet->codepoint == VIRTUAL_NOT_ECT)
		action = VIRTUAL_DROP;
	if (port->queues[VIRTUAL_CLASSIC].backlog + port->queues[VIRTUAL_L4S].backlog + packet->bytes >
	    virtual_limit(s))
		action = VIRTUAL_DROP;
	q->accumulated = action == VIRTUAL_ENQUEUE ? record.accu_prob : 0;
	q->packets++;
	q->bytes += packet->bytes;
	q->mean_bytes += packet->bytes - (q->mean_bytes >> 4);
	if (action == VIRTUAL_DROP)
		q->drops++;
	else
		q->backlog += packet->bytes;
	return action;
}

#endif
