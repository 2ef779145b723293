/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
 *
 * A virtual DualPI2 queue in integers: what the queue of a slower link would be, were the packets that pass to wait
 * there. It keeps the numbers that a student reads; the student decides, the caller marks or drops.
 *
 * Two queues, classic and L4S, share the configured rate as a fluid: while both are backlogged the classic one gets
 * 1/16 (RFC 9332, appendix A), else all goes to the one that is. A queue's delay is the time until a packet that
 * arrives now would leave. Every tupdate p' follows the longer delay (PI2); updates that are due are made up for when a
 * packet comes.
 *
 * Freestanding C for any compiler, eBPF's among them: no library, no loop, no signed division. The caller
 * has included the student's header.
 */
#ifndef AQM_VIRTUAL_QUEUE_H
#define AQM_VIRTUAL_QUEUE_H

#if !AQM_STUDENT_PACKET
#error "wants a student that decides on packets (control: packet)"
#endif

#define VIRTUAL_INLINE static inline __attribute__((always_inline))

enum { VIRTUAL_CLASSIC, VIRTUAL_L4S, VIRTUAL_QUEUES };
enum { VIRTUAL_NOT_ECT, VIRTUAL_ECT1, VIRTUAL_ECT0, VIRTUAL_CE }; /* the two ECN bits */

/* All 64 bits wide, so that they are easy to write from outside. Rate 0: not set up, everything passes. Other zeros are
 * defaults. */
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
	uint64_t backlog;        /* bytes */
	uint64_t accumulated;    /* 1/2^31: of p' since the last drop or mark */
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
	struct aqm_student_record record; /* of the packet at hand */
};

struct virtual_packet {
	uint32_t bytes;     /* that it takes on the link */
	uint32_t pkt_len;   /* bytes from the IP header on, as logs have it */
	uint32_t codepoint; /* VIRTUAL_NOT_ECT ... */
};

#define VIRTUAL_SECOND 1000000000ull
/* What was computed is read from memory again. The verifier of eBPF follows every way through the code, as long as they
 * differ in what it knows of registers and stack: of a map's contents it knows nothing, and ways that meet here go on
 * as one. */
#define VIRTUAL_MEET() __asm__ volatile("" ::: "memory")
#define VIRTUAL_ONE 0x7fffffffu /* the largest p' */

/* A setting, or its default; within what keeps products in 64 bits. */
VIRTUAL_INLINE uint32_t virtual_or(uint64_t value, uint32_t initial)
{
	return value == 0 ? initial : value < 1 << 24 ? (uint32_t)value : 1 << 24;
}

/* Serve both queues for `ns` nanoseconds, at most one second of which counts: by then, everything within the limit is
 * gone. */
VIRTUAL_INLINE void virtual_drain(struct virtual_port *port, uint64_t rate, uint64_t ns)
{
	struct virtual_queue *classic = &port->queues[VIRTUAL_CLASSIC], *l4s = &port->queues[VIRTUAL_L4S];
	uint64_t credit = (ns < VIRTUAL_SECOND ? ns : VIRTUAL_SECOND) * rate + port->leftover,
			 bytes = credit / VIRTUAL_SECOND;
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

/* us that the link takes for so many bytes. */
VIRTUAL_INLINE uint32_t virtual_us(uint64_t bytes, uint64_t rate)
{
	uint64_t us = bytes * 1000000 / rate;

	return us < 0xffffffffu ? (uint32_t)us : 0xffffffffu;
}

/* us until a packet that comes to `queue` now would leave: behind both backlogs, unless its own queue is empty before
 * the other, by its share of the rate. */
VIRTUAL_INLINE uint32_t virtual_delay(const struct virtual_port *port, uint64_t rate, uint32_t queue)
{
	uint64_t classic = port->queues[VIRTUAL_CLASSIC].backlog, l4s = port->queues[VIRTUAL_L4S].backlog,
			 bytes = classic + l4s;

	if (queue == VIRTUAL_CLASSIC && classic * 15 < l4s)
		bytes = classic * 16;
	if (queue == VIRTUAL_L4S && l4s < classic * 15)
		bytes = l4s * 16 / 15;
	return virtual_us(bytes, rate);
}

VIRTUAL_INLINE int64_t virtual_bound(int64_t x, int64_t bound)
{
	return x < -bound ? -bound : x > bound ? bound : x;
}

/* PI2 at `due` updates, the first `until` us from now, of which no packet came in between: p' += alpha (delay - target)
 * + beta (delay - delay before) at each. The longer delay of both queues is what all bytes take, which falls by a us a
 * us: so the first parts are an arithmetic series over the updates that still find a delay, and the second ones all but
 * cancel out. */
VIRTUAL_INLINE void virtual_update(struct virtual_port *port, const struct virtual_settings *s, uint64_t until,
                                   uint64_t due)
{
	uint64_t tupdate = virtual_or(s->tupdate, 15000), target = virtual_or(s->target, 15000);
	uint64_t longest = virtual_us(port->queues[VIRTUAL_CLASSIC].backlog + port->queues[VIRTUAL_L4S].backlog, s->rate);
	uint64_t first = longest > until ? longest - until : 0, last = 0, delayed = (first + tupdate - 1) / tupdate, sum;

	due = due < 1 << 20 ? due : 1 << 20;
	delayed = delayed < due ? delayed : due;
	sum = delayed * first - (delayed ? tupdate * (delayed - 1) / 2 * delayed : 0);
	if (first > (due - 1) * tupdate)
		last = first - (due - 1) * tupdate;

	/* From 1/8192 and us to 1/2^31: times 2^18 / 10^6. Bounds are far beyond p' = 1, and keep products in 64 bits. */
	int64_t step = virtual_or(s->alpha, 1229) * virtual_bound((int64_t)(sum - due * target), 1ll << 38) +
	               (int64_t)virtual_or(s->beta, 24576) * ((int64_t)last - port->delay_old);
	int64_t next = port->probability + ((virtual_bound(step, 1ll << 40) * 17180) >> 16);
	port->probability = next < 0 ? 0 : next > VIRTUAL_ONE ? VIRTUAL_ONE : (uint32_t)next;
	port->delay_old = (uint32_t)last;
}

/* Bring the port to `now` (ns, monotonic; another CPU may have been here a moment later). */
VIRTUAL_INLINE void virtual_advance(struct virtual_port *port, const struct virtual_settings *s, uint64_t now)
{
	uint64_t tupdate = virtual_or(s->tupdate, 15000) * 1000ull;

	if (port->clock == 0) {
		port->clock = now;
		port->next_update = now + tupdate;
	}
	if (now <= port->clock)
		return;
	if (port->next_update <= now) {
		uint64_t due = (now - port->next_update) / tupdate + 1, last = port->next_update + (due - 1) * tupdate;

		uint64_t until = port->next_update > port->clock ? (port->next_update - port->clock) / 1000 : 0;

		virtual_update(port, s, until, 1); /* which may rise beyond p' = 1; then, with no packets, p' falls */
		VIRTUAL_MEET();
		if (due > 1)
			virtual_update(port, s, until + tupdate / 1000, due - 1);
		VIRTUAL_MEET();
		if (last > port->clock) {
			virtual_drain(port, s->rate, last - port->clock);
			port->clock = last;
		}
		VIRTUAL_MEET();
		port->queues[VIRTUAL_CLASSIC].delay_old = virtual_delay(port, s->rate, VIRTUAL_CLASSIC);
		port->queues[VIRTUAL_L4S].delay_old = virtual_delay(port, s->rate, VIRTUAL_L4S);
		port->next_update = last + tupdate;
	}
	VIRTUAL_MEET();
	virtual_drain(port, s->rate, now - port->clock);
	port->clock = now;
}

VIRTUAL_INLINE void virtual_record(struct virtual_port *port, const struct virtual_settings *s,
                                   const struct virtual_packet *packet, uint32_t queue)
{
	const struct virtual_queue *q = &port->queues[queue];
	struct aqm_student_record *record = &port->record; /* what is not set is 0, for ever */

	record->queue_type = queue;
	record->qdelay_ref = virtual_or(s->target, 15000);
	record->tupdate = virtual_or(s->tupdate, 15000);
	record->max_ecnth = virtual_or(s->max_ecnth, 2048);
	record->alpha = virtual_or(s->alpha, 1229);
	record->beta = virtual_or(s->beta, 24576);
	record->flags = 1;
	record->drop_prob = port->probability;
	record->current_qdelay = virtual_delay(port, s->rate, queue);
	record->qdelay_old = q->delay_old;
	record->accu_prob = q->accumulated + port->probability;
	record->measurement_start = (uint32_t)(port->clock / 1000);
	record->sflags = 1;
	record->tot_pkts = q->packets;
	record->tot_bytes = q->bytes;
	record->length = q->mean_bytes ? (uint32_t)((q->backlog * 16 + q->mean_bytes - 1) / q->mean_bytes) : 0;
	record->len_bytes = q->backlog < 0xffffffffu ? (uint32_t)q->backlog : 0xffffffffu;
	record->drops = q->drops;
	record->pkt_len = packet->pkt_len;
}

/* Never more than a second's worth, so that a second empties the queues. */
VIRTUAL_INLINE uint64_t virtual_limit(const struct virtual_settings *s)
{
	uint64_t limit = s->limit ? s->limit : s->rate / 4 + 3000;

	return limit < s->rate ? limit : s->rate;
}

/* A packet has come at `now`: what to do with it. */
VIRTUAL_INLINE uint32_t virtual_arrive(struct virtual_port *port, const struct virtual_settings *s, uint64_t now,
                                       const struct virtual_packet *packet)
{
	uint32_t queue =
		packet->codepoint == VIRTUAL_ECT1 || packet->codepoint == VIRTUAL_CE ? VIRTUAL_L4S : VIRTUAL_CLASSIC;
	struct virtual_queue *q = &port->queues[queue];

	virtual_advance(port, s, now);
	VIRTUAL_MEET();
	virtual_record(port, s, packet, queue);
	VIRTUAL_MEET();
	uint32_t action = (uint32_t)aqm_student_decide(&q->student, &port->record);

	if (action == AQM_STUDENT_MARK && packet->codepoint == VIRTUAL_NOT_ECT)
		action = AQM_STUDENT_DROP;
	if (port->queues[VIRTUAL_CLASSIC].backlog + port->queues[VIRTUAL_L4S].backlog + packet->bytes > virtual_limit(s))
		action = AQM_STUDENT_DROP;
	q->accumulated = action == AQM_STUDENT_ENQUEUE ? port->record.accu_prob : 0;
	q->packets++;
	q->bytes += packet->bytes;
	q->mean_bytes += packet->bytes - (q->mean_bytes >> 4);
	if (action == AQM_STUDENT_DROP)
		q->drops++;
	else
		q->backlog += packet->bytes;
	return action;
}

#endif
