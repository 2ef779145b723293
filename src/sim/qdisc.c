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
	double elapsed; /* us since the controller asked last */
};

/* Beside what is known of the queue that is asked about: what the other one did meanwhile. */
static double feature_of(const struct aqm_update *update, const char *name)
{
	const struct question *question = update->state;
	const struct aqm_interval *other = question->other;

	if (strcmp(name, "elapsed") == 0)
		return question->elapsed;
	if (strncmp(name, "other_", 6) != 0)
		return aqm_interval_feature(question->interval, name);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(name, others[i].name) == 0)
			return other->packets ? aqm_interval_feature(other, others[i].of) : 0;
	return NAN;
}

static void ask(struct aqm_bottleneck *b, size_t controller, size_t queue, double now, double next)
{
	struct aqm_interval *interval = &b->intervals[queue];
	const struct question question = {interval, &b->others[queue], (double)(b->now - b->asked[controller]) * 1e-3};
	const struct aqm_update update = {
		.time = (double)b->now * 1e-9,
		.controller = controller,
		.queue = queue,
		.packets = interval->packets,
		.now = now,
		.rule = next,
		.feature = feature_of,
		.state = &question,
	};
	struct aqm_answer answer = {b->now + (aqm_time)(b->hook->delay * 1e9), next};

	b->code = b->hook->update(b->hook->context, &update, &answer.value);
	answer.value = fmin(fmax(answer.value, 0), 1);
	if (b->answer_count[controller] < AQM_ANSWERS_MAX)
		b->answers[controller][b->answer_count[controller]++] = answer;
	b->asked[controller] = b->now;
	*interval = b->others[queue] = (struct aqm_interval){.time = update.time};
}

double aqm_queue_set(struct aqm_bottleneck *b, size_t controller, size_t queue, double now, double next)
{
	if (!b->hook || !b->hook->update || b->code != AQM_OK)
		return next;
	if (b->intervals[queue].packets)
		ask(b, controller, queue, now, next);
	size_t due = 0;
	while (due < b->answer_count[controller] && b->answers[controller][due].at <= b->now)
		b->answered[controller] = b->answers[controller][due++].value;
	if (due) {
		b->answer_count[controller] -= due;
		memmove(b->answers[controller], b->answers[controller] + due, b->answer_count[controller] * sizeof b->answers[controller][0]);
	}
	/* Until the first answer is there, and while nothing has come that could be asked about, the rules decide. */
	return b->answered[controller] < 0 ? next : b->answered[controller];
}
