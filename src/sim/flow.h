/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A flow: its sender, its receiver, and what is on the way between them.
 *
 * Every transmission has a number of its own, and what is lost is sent again under a new one, so that
 * acknowledgements of counts say all that selective ones would: paths keep their order, so numbers that are skipped
 * are lost.
 *
 *   sender: next ──────────────► queue, link ──► receiver: received, marked
 *           settled ◄── back ring ◄── [ack ring ─► queue, link] ◄── acknowledgement
 */
#ifndef AQM_SIM_FLOW_H
#define AQM_SIM_FLOW_H

#include "sim/packet.h"
#include "sim/stats.h"

/* Acknowledgements on their way, in order; `timer` is set for the first. */
struct aqm_line {
	struct aqm_ack *ring;            /* owned */
	uint32_t first, count, capacity; /* a power of two */
	struct aqm_timer timer;
};

struct aqm_cubic {
	aqm_time epoch; /* start of the present growth; 0 = none yet */
	double k, w_max, w_est, prior;
};
struct aqm_scalable { /* dctcp and prague */
	double alpha;
	aqm_time alpha_at, reduced_at;
	uint64_t alpha_end; /* the round's last number */
	uint64_t round_received, round_marked;
	bool seen_mark;
};

/* HyStart++ (RFC 9406): shortest round trips of this round, the last one, and of when growth became gentle. */
struct aqm_hystart {
	aqm_time shortest, before, baseline; /* 0 = none */
	unsigned samples, rounds;            /* of this round; since growth is gentle */
	uint64_t end;                        /* the round's last number */
	bool gentle;
};

struct aqm_cc_type;

struct aqm_flow {
	const struct aqm_flow_settings *settings;
	const struct aqm_cc_type *cc; /* NULL: udp */
	uint32_t index, group;
	enum aqm_codepoint codepoint;
	uint32_t bytes, payload;
	aqm_time rtt; /* outside of the queue */
	aqm_time started, stop;
	bool running, stopped;
	uint32_t alive; /* packets of it that exist */

	/* sender */
	uint64_t next;                   /* number of the next transmission */
	uint64_t limit;                  /* packets to be delivered; UINT64_MAX: no end */
	uint64_t settled;                /* numbers below are known to be received or lost */
	uint64_t received, marked, lost; /* as the sender knows */
	uint64_t recover;                /* transmissions below have had their reduction */
	double cwnd, ssthresh;           /* packets */
	aqm_time srtt, rttvar, last_rtt;
	unsigned backoff;
	uint64_t held, held_after;       /* recovery: dupacks: skipped numbers that are not lost yet; packets behind them */
	uint64_t again_from, again_to;   /* numbers of what was last sent again */
	struct aqm_hystart hystart;
	bool opening;                    /* its first packet, without data, is not answered yet */
	aqm_time stuck;                  /* since when only the timer helps; 0 = it does not come to that */
	bool probed; /* a probe was sent since the last acknowledgement */
	aqm_time last_ack;
	double pace_gain;
	aqm_time next_send;
	unsigned burst_left;
	struct aqm_timer send_timer, timeout_timer, life_timer;
	union {
		struct aqm_cubic cubic;
		struct aqm_scalable scalable;
	};

	/* receiver */
	uint64_t rx_received, rx_marked, rx_number;
	aqm_time rx_echo; /* of the last packet */
	uint32_t unacked;
	aqm_time unacked_since;
	bool last_was_marked;
	struct aqm_timer delack_timer;
	struct aqm_line acks, back; /* to the queue, where they share it; to the sender */

	/* figures */
	uint64_t warm[4]; /* sent, received, marked, lost when the warm-up ended */
	double rtt_sum, cwnd_sum;
	uint64_t rtt_count;
	struct aqm_flow *next_free;
};

/* ---- congestion controls ---- */

struct aqm_news {
	aqm_time now;
	uint64_t received, marked; /* by this acknowledgement */
};

struct aqm_cc_type {
	const char *name, *help;
	enum aqm_ecn ecn; /* unless the scenario says otherwise */
	bool accurate;    /* answers the extent of marking itself; else a mark is a loss without the loss */
	bool paced;
	void (*init)(struct aqm_flow *flow);
	/* Packets arrived; not called while a reduction has not come through, unless accurate. */
	void (*acked)(struct aqm_flow *flow, const struct aqm_news *news);
	/* Loss or, unless accurate, a mark: once a round. */
	void (*congested)(struct aqm_flow *flow, aqm_time now);
};
extern const struct aqm_cc_type *const aqm_cc_types[]; /* NULL-terminated */
const struct aqm_cc_type *aqm_cc_find(const char *name);

enum { AQM_CWND_MIN = 2 };

/* Slow start by `received`, up to ssthresh; what is left of it. */
static inline double aqm_slow_start(struct aqm_flow *flow, double received)
{
	if (flow->cwnd >= flow->ssthresh)
		return received;
	double room = flow->ssthresh - flow->cwnd, grown = flow->hystart.gentle ? received / 4 : received;

	flow->cwnd += grown < room ? grown : room;
	return grown < room ? 0 : received - room;
}

static inline void aqm_set_window(struct aqm_flow *flow, double window)
{
	flow->cwnd = flow->ssthresh = window > AQM_CWND_MIN ? window : AQM_CWND_MIN;
}

#endif
