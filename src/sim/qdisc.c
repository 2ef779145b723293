/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/qdisc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sim/flow.h"

extern const struct aqm_qdisc_type aqm_qdisc_fifo, aqm_qdisc_codel, aqm_qdisc_fq_codel, aqm_qdisc_pie,
	aqm_qdisc_dualpi2, aqm_qdisc_dualpi2_linux, aqm_qdisc_freebsd_l4s;

const struct aqm_qdisc_type *const aqm_qdisc_types[] = {
	&aqm_qdisc_fifo,    &aqm_qdisc_codel,         &aqm_qdisc_fq_codel,    &aqm_qdisc_pie,
	&aqm_qdisc_dualpi2, &aqm_qdisc_dualpi2_linux, &aqm_qdisc_freebsd_l4s, NULL,
};

const struct aqm_qdisc_type *aqm_qdisc_find(const char *name)
{
	for (size_t i = 0; aqm_qdisc_types[i]; i++)
		if (strcmp(aqm_qdisc_types[i]->name, name) == 0)
			return aqm_qdisc_types[i];
	return NULL;
}

const char *aqm_qdisc_name(size_t index, const char **help)
{
	const struct aqm_qdisc_type *type = aqm_qdisc_types[index];

	if (help)
		*help = type ? type->help : NULL;
	return type ? type->name : NULL;
}

static double largest_packet(const struct aqm_scenario *scenario)
{
	int64_t bytes = 64;

	for (size_t i = 0; i < scenario->flow_count; i++)
		if (scenario->flows[i].packet > bytes)
			bytes = scenario->flows[i].packet;
	return (double)bytes;
}

int aqm_bottleneck_init(struct aqm_bottleneck *b, const struct aqm_scenario *scenario, struct aqm_packet_pool *pool)
{
	*b = (struct aqm_bottleneck){
		.type = aqm_qdisc_find(scenario->aqm.kind),
		.pool = pool,
		.rate = scenario->link.rate * 1e6,
		.mtu = largest_packet(scenario),
		.next_update = AQM_TIME_NEVER,
		.answered = {-1, -1},
	};
	aqm_rng_init(&b->rng, scenario->seed, AQM_STREAM_SIM, 0);
	b->state = aqm_calloc_array(1, b->type->bytes);
	return b->state ? b->type->init(b->state, b, &scenario->aqm) : AQM_ERUN;
}

void aqm_bottleneck_release(struct aqm_bottleneck *b)
{
	if (b->state && b->type->release)
		b->type->release(b->state);
	free(b->state);
	b->state = NULL;
}

void aqm_queue_drop(struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	b->queues[packet->queue].dropped++;
	b->queues[packet->queue].point_dropped++;
	packet->flow->alive--;
	aqm_packet_free(b->pool, packet);
}

/* ---- packets ---- */

enum aqm_action aqm_queue_decide(struct aqm_bottleneck *b, uint64_t *fields, enum aqm_action rule)
{
	enum aqm_action action = rule;

	if (b->hook && b->hook->decide && b->code == AQM_OK) {
		fields[AQM_FIELD_ACTION_LOGGED] = AQM_ENQUEUE; /* no hint of what the rules would do */
		const struct aqm_decision decision = {(double)b->now * 1e-9, fields[AQM_FIELD_QUEUE_TYPE], fields, rule};

		b->code = b->hook->decide(b->hook->context, &decision, &action);
	}
	fields[AQM_FIELD_ACTION_LOGGED] = action;
	return action;
}

void aqm_queue_log(struct aqm_bottleneck *b, const uint64_t *fields, enum aqm_action happened)
{
	b->records++;
	for (size_t i = 0; i < sizeof b->sinks / sizeof *b->sinks; i++)
		if (b->sinks[i] && b->code == AQM_OK)
			b->code = b->sinks[i]->record(b->sinks[i]->context, (double)b->now * 1e-9, fields, happened,
			                              (enum aqm_action)fields[AQM_FIELD_ACTION_LOGGED]);
	if (b->hook && b->hook->update) {
		aqm_interval_add(&b->intervals[fields[AQM_FIELD_QUEUE_TYPE]], fields, happened);
		aqm_interval_add(&b->others[!fields[AQM_FIELD_QUEUE_TYPE]], fields, happened);
	}
}

/* ---- update intervals ---- */

/* Features of the other queue; pools that are made out of packets have none of them. */
static const struct {
	const char *name, *of;
} others[] = {
	{"other_packets", "packets"}, {"other_bytes", "arrived_bytes"},   {"other_dropped", "dropped"},
	{"other_marked", "marked"},   {"other_qdelay", "current_qdelay"},
};

struct question {
	const struct aqm_interval *interval, *other;
	const struct aqm_control_step *step;
	const struct aqm_slow *slow;
	double elapsed; /* us since the controller asked last */
};

/* Features of the controller, whatever queue it asks about. */
static double controller_feature(const struct question *q, const char *name)
{
	const struct {
		const char *name;
		double value;
	} of[] = {
		{"elapsed", q->elapsed},
		{"rule_drop_prob", floor(q->step->reference * 0x1p31)},
		{"controller_delay", (double)q->step->delay / AQM_US},
		{"controller_delay_old", (double)q->step->last_delay / AQM_US},
		{"slow_bytes", q->slow->bytes},
		{"slow_other_bytes", q->slow->other_bytes},
		{"slow_delay", q->slow->delay},
		{"slow_swing", q->slow->swing},
		{"slow_drop_prob", q->slow->drop_prob},
	};

	for (size_t i = 0; i < sizeof of / sizeof *of; i++)
		if (strcmp(name, of[i].name) == 0)
			return of[i].value;
	return NAN;
}

static double feature_of(const struct aqm_update *update, const char *name)
{
	const struct question *q = update->state;

	if (strncmp(name, "other_", 6) == 0) {
		for (size_t i = 0; i < sizeof others / sizeof *others; i++)
			if (strcmp(name, others[i].name) == 0)
				return q->other->packets ? aqm_interval_feature(q->other, others[i].of) : 0;
		return NAN;
	}
	double value = controller_feature(q, name);
	return isnan(value) ? aqm_interval_feature(q->interval, name) : value;
}

/* Bytes a controller's interval of 15 ms, of the classic queue and of the other one where it serves both. */
static void remember(struct aqm_bottleneck *b, const struct aqm_control_step *step, double elapsed)
{
	struct aqm_slow *slow = &b->slow[step->controller];
	const struct aqm_interval *own =
		step->queue == step->controller ? &b->intervals[step->queue] : &b->others[step->queue];
	const struct aqm_interval *other =
		step->queue == step->controller ? &b->others[step->queue] : &b->intervals[step->queue];
	double weight = b->asked[step->controller] ? 1 - exp(-elapsed / 1e6) : 1;
	double part = elapsed > 0 ? 15e3 / elapsed : 1;

	slow->bytes += weight * (part * own->sums[AQM_FIELD_PKT_LEN] - slow->bytes);
	slow->other_bytes += weight * (part * other->sums[AQM_FIELD_PKT_LEN] - slow->other_bytes);
	slow->delay += weight * ((double)step->delay / AQM_US - slow->delay);
	slow->swing += weight * (fabs((double)(step->delay - step->last_delay)) / AQM_US - slow->swing);
	slow->drop_prob += weight * (step->now * 0x1p31 - slow->drop_prob);
}

static void ask(struct aqm_bottleneck *b, const struct aqm_control_step *step)
{
	size_t controller = step->controller, queue = step->queue;
	const struct question question = {&b->intervals[queue], &b->others[queue], step, &b->slow[controller],
	                                  (double)(b->now - b->asked[controller]) / AQM_US};
	const struct aqm_update update = {
		.time = (double)b->now * 1e-9,
		.controller = controller,
		.queue = queue,
		.packets = b->intervals[queue].packets,
		.now = step->now,
		.rule = step->next,
		.reference = step->reference,
		.feature = feature_of,
		.state = &question,
	};
	struct aqm_answer answer = {b->now + (aqm_time)(b->hook->delay * 1e9), step->next};

	remember(b, step, question.elapsed);
	b->code = b->hook->update(b->hook->context, &update, &answer.value);
	answer.value = fmin(fmax(answer.value, 0), 1);
	if (b->answer_count[controller] < AQM_ANSWERS_MAX)
		b->answers[controller][b->answer_count[controller]++] = answer;
	b->asked[controller] = b->now;
	b->intervals[queue] = b->others[queue] = (struct aqm_interval){.time = update.time};
}

/* Take the answers that are there by now; whether there were any. */
static bool take_answers(struct aqm_bottleneck *b, size_t of)
{
	size_t due = 0;

	while (due < b->answer_count[of] && b->answers[of][due].at <= b->now)
		b->answered[of] = b->answers[of][due++].value;
	b->answer_count[of] -= due;
	if (due)
		memmove(b->answers[of], b->answers[of] + due, b->answer_count[of] * sizeof b->answers[of][0]);
	return due > 0;
}

double aqm_queue_late(struct aqm_bottleneck *b, size_t controller, double probability)
{
	return take_answers(b, controller) ? b->answered[controller] : probability;
}

double aqm_queue_set(struct aqm_bottleneck *b, const struct aqm_control_step *step)
{
	size_t of = step->controller;

	if (!b->hook || !b->hook->update || b->code != AQM_OK)
		return step->next;
	if (b->intervals[step->queue].packets)
		ask(b, step);
	take_answers(b, of);
	/* Until the first answer is there, and while nothing has come that could be asked about, the rules decide. */
	return b->answered[of] < 0 ? step->next : b->answered[of];
}
