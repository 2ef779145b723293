/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Queue disciplines: a descriptor each, a row each in the table of qdisc.c.
 *
 * A discipline keeps its packets in queues that it owns and says what happens to each through aqm_queue_mark, _drop
 * and _leave, which count and keep the books. Whoever decides in its place (a policy, random actions) is asked by
 * aqm_queue_decide for a packet, and by aqm_queue_set for p'.
 */
#ifndef AQM_SIM_QDISC_H
#define AQM_SIM_QDISC_H

#include "base/random.h"
#include "pool/fields.h"
#include "pool/interval.h"
#include "sim/packet.h"
#include "sim/stats.h"

enum { AQM_CLASSIC, AQM_L4S, AQM_QUEUES };

/* An answer that is not applied yet. */
struct aqm_answer {
	aqm_time at;
	double value;
};
enum { AQM_ANSWERS_MAX = 64 };

/* A controller at work: its rules would set p' from `now` to `next`. */
struct aqm_control_step {
	size_t controller; /* the number of its queue; one that serves both is 0 */
	size_t queue;      /* whose interval it asks about, and which then begins anew */
	double now, next, reference; /* reference: what the same rules would set with their default settings */
	aqm_time delay, last_delay; /* the delay that it looks at, and looked at before */
};

/* What a controller sees in the long run: means that forget in a second. */
struct aqm_slow {
	double bytes, other_bytes, delay, swing, drop_prob;
};

struct aqm_bottleneck;

struct aqm_qdisc_type {
	const char *name, *help;
	const char *queue_names[AQM_QUEUES]; /* by queue; the second NULL where there is one */
	bool keeps_records;
	size_t bytes; /* of its state */
	int (*init)(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings);
	void (*release)(void *state); /* NULL: nothing to do. Packets are the pool's */
	void (*enqueue)(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet);
	struct aqm_packet *(*dequeue)(void *state, struct aqm_bottleneck *b);
	/* NULL, or the work of a timer, called at b->next_update; returns when it wants to be called next. */
	aqm_time (*update)(void *state, struct aqm_bottleneck *b);
	/* NULL, or the p' that a discipline with these settings would set: its rules as a function. */
	double (*would_set)(const struct aqm_aqm_settings *settings, const struct aqm_control_step *step);
	double (*probability)(const void *state, size_t queue); /* NULL: none */
	void (*backlog)(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES]);
};
extern const struct aqm_qdisc_type *const aqm_qdisc_types[]; /* NULL-terminated */
const struct aqm_qdisc_type *aqm_qdisc_find(const char *name);

/* The place where a discipline works. */
struct aqm_bottleneck {
	const struct aqm_qdisc_type *type;
	void *state; /* owned */
	struct aqm_packet_pool *pool;
	aqm_time now;
	double rate;          /* bit/s, now */
	double mtu;           /* bytes of the largest packet */
	aqm_time tick;        /* of the discipline's clock; 0 = continuous */
	aqm_time next_update; /* when the discipline wants to be called; it may lower it at any time. NEVER: no timer */
	struct aqm_rng rng;
	struct aqm_queue_stats queues[AQM_QUEUES];
	const struct aqm_sim_hook *hook;
	const struct aqm_sim_sink *sinks[2];
	bool wants_records; /* someone reads them */
	uint64_t records;
	struct aqm_interval intervals[AQM_QUEUES]; /* of each queue since it was last asked about */
	struct aqm_interval others[AQM_QUEUES];    /* and of the other queue since then */
	struct aqm_answer answers[AQM_QUEUES][AQM_ANSWERS_MAX]; /* by controller */
	size_t answer_count[AQM_QUEUES];
	aqm_time asked[AQM_QUEUES];  /* when the controller asked last */
	struct aqm_slow slow[AQM_QUEUES];
	double answered[AQM_QUEUES]; /* the p' that a hook has set last; negative: none */
	int code;                    /* what went wrong; ends the run */
};

int aqm_bottleneck_init(struct aqm_bottleneck *b, const struct aqm_scenario *scenario, struct aqm_packet_pool *pool);
void aqm_bottleneck_release(struct aqm_bottleneck *b);

/* ---- for disciplines ---- */

/* The packet came to queue `queue`. */
static inline void aqm_queue_arrive(struct aqm_bottleneck *b, struct aqm_packet *packet, size_t queue)
{
	packet->queue = (uint8_t)queue;
	b->queues[queue].arrived++;
}

/* It is dropped, and gone. */
void aqm_queue_drop(struct aqm_bottleneck *b, struct aqm_packet *packet);

static inline bool aqm_can_mark(const struct aqm_packet *packet)
{
	return packet->codepoint != AQM_NOT_ECT;
}

/* It gets CE; the caller knows that it can be marked. */
static inline void aqm_queue_mark(struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	packet->codepoint = AQM_CE;
	b->queues[packet->queue].marked++;
	b->queues[packet->queue].point_marked++;
}

/* It leaves for the link. */
static inline void aqm_queue_leave(struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct aqm_queue_stats *stats = &b->queues[packet->queue];
	aqm_time delay = b->now - packet->queued;

	stats->departed++;
	stats->departed_bytes += packet->bytes;
	stats->point_departed++;
	stats->point_bytes += packet->bytes;
	stats->delay_sum += (double)delay;
	if (delay > stats->delay_peak)
		stats->delay_peak = delay;
	aqm_histogram_add(&stats->delay, delay);
}

/* Uniform in [0, 1), 32 bits. */
static inline double aqm_roll(struct aqm_bottleneck *b)
{
	return aqm_rng_u32(&b->rng) * 0x1p-32;
}

/* A setting, or its default where it is NAN; and one in ms as time. */
static inline double aqm_or(double value, double initial)
{
	return value == value ? value : initial;
}

static inline aqm_time aqm_ms(double value, double initial)
{
	return (aqm_time)(aqm_or(value, initial) * 1e6 + 0.5);
}

/* The rules came to `action` for a packet whose record is in `fields` (all but action_logged, which is filled in
 * here). Returns what is to be done: the same, or what the hook says. */
enum aqm_action aqm_queue_decide(struct aqm_bottleneck *b, uint64_t *fields, enum aqm_action rule);
/* What then happened to it: to the sinks, and to the sums of the update interval. */
void aqm_queue_log(struct aqm_bottleneck *b, const uint64_t *fields, enum aqm_action happened);
/* What p' is to be. */
double aqm_queue_set(struct aqm_bottleneck *b, const struct aqm_control_step *step);
/* p' that is in force now: an answer may have come since the last update. */
double aqm_queue_late(struct aqm_bottleneck *b, size_t controller, double probability);

static inline double aqm_queue_in_force(struct aqm_bottleneck *b, size_t controller, double probability)
{
	return b->answer_count[controller] ? aqm_queue_late(b, controller, probability) : probability;
}

#endif
