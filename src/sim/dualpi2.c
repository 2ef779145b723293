/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dualpi2: two queues, one controller. p' follows the longer delay; the classic queue is marked or dropped with p'^2,
 * the L4S queue marked with k p' or by its own threshold, whichever is more.
 *
 * Two variants in one file: `dualpi2` as RFC 9332, appendix A (a ramp in the L queue, marks spread evenly by
 * recur()), and `dualpi2-linux` as the qdisc of Linux (a step, random marks, its defaults). Both serve by weighted
 * credit.
 */
#include <math.h>

#include "sim/qdisc.h"

struct control {
	aqm_time target;
	double alpha, beta; /* Hz */
};
static const struct control rfc_control = {15 * AQM_MS, 0.15, 3},
							linux_control = {15 * AQM_MS, 41.0 / 256, 819.0 / 256};

struct dualpi2 {
	struct aqm_fifo queues[AQM_QUEUES];
	bool linux_variant;
	struct control control;
	aqm_time tupdate, step, range;
	double coupling;
	bool ecn;
	uint32_t limit;
	double weights[AQM_QUEUES], credit, first_credit; /* credit > 0: the classic queue's turn */
	double probability;                               /* p' */
	aqm_time last_delay, seen_delay[AQM_QUEUES];
	double recur[AQM_QUEUES];
	uint64_t packets[AQM_QUEUES], bytes[AQM_QUEUES], drops[AQM_QUEUES];
};

static struct control control_of(const struct control *initial, const struct aqm_aqm_settings *settings)
{
	return (struct control){
		.target = aqm_ms(settings->target, (double)initial->target / AQM_MS),
		.alpha = aqm_or(settings->alpha, initial->alpha),
		.beta = aqm_or(settings->beta, initial->beta),
	};
}

static int prepare(struct dualpi2 *d, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	double share = aqm_or(settings->classic_share, d->linux_variant ? 0.1 : 1.0 / 16);

	d->control = control_of(d->linux_variant ? &linux_control : &rfc_control, settings);
	d->tupdate = aqm_ms(settings->tupdate, d->linux_variant ? 16 : 15);
	d->coupling = aqm_or(settings->coupling, 2);
	d->step = aqm_ms(settings->step, d->linux_variant ? 1 : 0.8);
	d->range = aqm_ms(settings->range, 0.4);
	d->limit = (uint32_t)aqm_or(settings->limit, 10000);
	d->ecn = aqm_or(settings->ecn, 1) > 0;
	d->weights[AQM_CLASSIC] = share;
	d->weights[AQM_L4S] = 1 - share;
	d->credit = d->first_credit = b->mtu * (2 * share - 1);
	b->next_update = d->tupdate;
	return AQM_OK;
}

static int init_rfc(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	return prepare(state, b, settings);
}

static int init_linux(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	((struct dualpi2 *)state)->linux_variant = true;
	return prepare(state, b, settings);
}

static void enqueue(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct dualpi2 *d = state;
	size_t queue = packet->codepoint == AQM_ECT1 || packet->codepoint == AQM_CE ? AQM_L4S : AQM_CLASSIC;

	aqm_queue_arrive(b, packet, queue);
	if (d->queues[AQM_CLASSIC].packets + d->queues[AQM_L4S].packets >= d->limit) {
		d->drops[queue]++;
		aqm_queue_drop(b, packet);
		return;
	}
	d->packets[queue]++;
	d->bytes[queue] += packet->bytes;
	aqm_fifo_push(&d->queues[queue], packet);
}

/* L unless it is empty or the classic queue has earned its turn. */
static struct aqm_packet *schedule(struct dualpi2 *d)
{
	bool classic = d->queues[AQM_CLASSIC].head, l4s = d->queues[AQM_L4S].head;
	struct aqm_packet *packet;

	if (l4s && (!classic || d->credit <= 0)) {
		packet = aqm_fifo_pop(&d->queues[AQM_L4S]);
		if (classic)
			d->credit += d->weights[AQM_CLASSIC] * packet->bytes;
	} else if (classic) {
		packet = aqm_fifo_pop(&d->queues[AQM_CLASSIC]);
		if (l4s)
			d->credit -= d->weights[AQM_L4S] * packet->bytes;
	} else {
		d->credit = d->first_credit;
		return NULL;
	}
	return packet;
}

/* RFC 9332: marks as even as they can be. */
static bool recur(struct dualpi2 *d, size_t queue, double likelihood)
{
	d->recur[queue] += likelihood;
	if (d->recur[queue] <= 1)
		return false;
	d->recur[queue] -= 1;
	return true;
}

static enum aqm_action rule_rfc(struct dualpi2 *d, const struct aqm_packet *packet, aqm_time delay)
{
	double classic = d->probability * d->probability, coupled = d->coupling * d->probability;
	bool can_mark = d->ecn && aqm_can_mark(packet);

	if (packet->queue == AQM_CLASSIC) {
		if (!recur(d, AQM_CLASSIC, classic))
			return AQM_ENQUEUE;
		return can_mark && classic < fmin(1 / (d->coupling * d->coupling), 1) ? AQM_MARK : AQM_DROP;
	}
	if (coupled >= 1)
		return recur(d, AQM_L4S, classic) ? AQM_DROP : AQM_MARK;
	double native = 0;
	if (d->queues[AQM_L4S].packets > 0) /* another one waits: a queue, not just a packet */
		native = fmin(fmax((double)(delay - d->step) / (double)(d->range > 0 ? d->range : 1), 0), 1);
	return recur(d, AQM_L4S, fmax(native, coupled)) ? AQM_MARK : AQM_ENQUEUE;
}

static enum aqm_action rule_linux(struct dualpi2 *d, struct aqm_bottleneck *b, const struct aqm_packet *packet,
                                  aqm_time delay)
{
	bool overload = d->coupling * d->probability > 1, can_mark = d->ecn && aqm_can_mark(packet);
	bool quiet = (double)(d->queues[AQM_CLASSIC].bytes + d->queues[AQM_L4S].bytes) + packet->bytes < 2 * b->mtu;
	bool squared = !quiet && (packet->queue == AQM_CLASSIC || overload) && aqm_roll(b) < d->probability &&
	               aqm_roll(b) < d->probability;

	if (packet->queue == AQM_CLASSIC)
		return !squared ? AQM_ENQUEUE : overload || !can_mark ? AQM_DROP : AQM_MARK;
	if (overload && squared)
		return AQM_DROP;
	if (delay > d->step || (!quiet && (overload || aqm_roll(b) < d->coupling * d->probability)))
		return AQM_MARK;
	return AQM_ENQUEUE;
}

/* The packet as the kernel's record would show it: queues without it. */
static void fill_record(const struct dualpi2 *d, const struct aqm_bottleneck *b, const struct aqm_packet *packet,
                        uint64_t fields[AQM_LOG_FIELDS])
{
	size_t queue = packet->queue;

	for (size_t i = 0; i < AQM_LOG_FIELDS; i++)
		fields[i] = 0;
	fields[AQM_FIELD_QUEUE_TYPE] = queue;
	fields[AQM_FIELD_QDELAY_REF] = (uint64_t)(d->control.target / AQM_US);
	fields[AQM_FIELD_TUPDATE] = (uint64_t)(d->tupdate / AQM_US);
	fields[AQM_FIELD_MAX_ECNTH] = (uint64_t)(8192 / (d->coupling * d->coupling));
	fields[AQM_FIELD_ALPHA] = (uint64_t)(d->control.alpha * 8192 + 0.5);
	fields[AQM_FIELD_BETA] = (uint64_t)(d->control.beta * 8192 + 0.5);
	fields[AQM_FIELD_FLAGS] = 1;
	fields[AQM_FIELD_DROP_PROB] = (uint64_t)(d->probability * 0x1p31);
	fields[AQM_FIELD_CURRENT_QDELAY] = (uint64_t)((b->now - packet->queued) / AQM_US);
	fields[AQM_FIELD_QDELAY_OLD] = (uint64_t)(d->seen_delay[queue] / AQM_US);
	fields[AQM_FIELD_ACCU_PROB] = (uint64_t)(d->recur[queue] * 0x1p31);
	fields[AQM_FIELD_MEASUREMENT_START] = (uint32_t)(b->now / AQM_US);
	fields[AQM_FIELD_SFLAGS] = 1;
	fields[AQM_FIELD_TOT_PKTS] = d->packets[queue];
	fields[AQM_FIELD_TOT_BYTES] = d->bytes[queue];
	fields[AQM_FIELD_LENGTH] = d->queues[queue].packets;
	fields[AQM_FIELD_LEN_BYTES] = d->queues[queue].bytes;
	fields[AQM_FIELD_DROPS] = d->drops[queue];
	fields[AQM_FIELD_PKT_LEN] = packet->bytes;
}

static struct aqm_packet *dequeue(void *state, struct aqm_bottleneck *b)
{
	struct dualpi2 *d = state;
	struct aqm_packet *packet;

	d->probability = aqm_queue_in_force(b, AQM_CLASSIC, d->probability);
	while ((packet = schedule(d))) {
		uint64_t fields[AQM_LOG_FIELDS];
		aqm_time delay = b->now - packet->queued;

		if (b->wants_records)
			fill_record(d, b, packet, fields);
		enum aqm_action action = d->linux_variant ? rule_linux(d, b, packet, delay) : rule_rfc(d, packet, delay);
		if (b->wants_records) {
			action = aqm_queue_decide(b, fields, action);
			if (action == AQM_MARK && !aqm_can_mark(packet))
				action = fields[AQM_FIELD_ACTION_LOGGED] = AQM_DROP;
			aqm_queue_log(b, fields, action);
		}
		d->seen_delay[packet->queue] = delay;
		if (action != AQM_DROP) {
			if (action == AQM_MARK)
				aqm_queue_mark(b, packet);
			aqm_queue_leave(b, packet);
			return packet;
		}
		d->drops[packet->queue]++;
		aqm_queue_drop(b, packet);
	}
	return NULL;
}

static double next_probability(const struct control *c, const struct aqm_control_step *step)
{
	double change = c->alpha * (double)(step->delay - c->target) + c->beta * (double)(step->delay - step->last_delay);

	return fmin(fmax(step->now + change * 1e-9, 0), 1);
}

static double would_set_rfc(const struct aqm_aqm_settings *settings, const struct aqm_control_step *step)
{
	const struct control control = control_of(&rfc_control, settings);

	return next_probability(&control, step);
}

static double would_set_linux(const struct aqm_aqm_settings *settings, const struct aqm_control_step *step)
{
	const struct control control = control_of(&linux_control, settings);

	return next_probability(&control, step);
}

static aqm_time update(void *state, struct aqm_bottleneck *b)
{
	struct dualpi2 *d = state;
	aqm_time classic = aqm_fifo_wait(&d->queues[AQM_CLASSIC], b->now), l4s = aqm_fifo_wait(&d->queues[AQM_L4S], b->now);
	aqm_time delay = classic > l4s ? classic : l4s;
	struct aqm_control_step step = {
		.controller = AQM_CLASSIC, .now = d->probability, .delay = delay, .last_delay = d->last_delay};

	step.queue = b->intervals[AQM_CLASSIC].packets ? AQM_CLASSIC : AQM_L4S;
	step.next = next_probability(&d->control, &step);
	step.reference = next_probability(d->linux_variant ? &linux_control : &rfc_control, &step);
	d->probability = aqm_queue_set(b, &step);
	b->intervals[!step.queue] = b->others[!step.queue] = (struct aqm_interval){0};
	d->last_delay = delay;
	return b->now + d->tupdate;
}

static double probability(const void *state, size_t queue)
{
	(void)queue;
	return ((const struct dualpi2 *)state)->probability;
}

static void backlog(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES])
{
	const struct dualpi2 *d = state;

	for (size_t i = 0; i < AQM_QUEUES; i++) {
		bytes[i] = d->queues[i].bytes;
		packets[i] = d->queues[i].packets;
	}
}

const struct aqm_qdisc_type aqm_qdisc_dualpi2 = {
	.name = "dualpi2",
	.help = "DualPI2, RFC 9332 appendix A",
	.queue_names = {"C", "L"},
	.keeps_records = true,
	.bytes = sizeof(struct dualpi2),
	.init = init_rfc,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.update = update,
	.would_set = would_set_rfc,
	.probability = probability,
	.backlog = backlog,
};

const struct aqm_qdisc_type aqm_qdisc_dualpi2_linux = {
	.name = "dualpi2-linux",
	.help = "DualPI2 as the qdisc of Linux, with its defaults",
	.queue_names = {"C", "L"},
	.keeps_records = true,
	.bytes = sizeof(struct dualpi2),
	.init = init_linux,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.update = update,
	.would_set = would_set_linux,
	.probability = probability,
	.backlog = backlog,
};
