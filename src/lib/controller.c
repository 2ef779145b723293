/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The API of libaqmtrain, over the decider of a policy or over a student: records in, features out of them, and what
 * was done fed back.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/policy.h"
#include "aqmtrain/student.h"
#include "base/size.h"
#include "pool/interval.h"

struct aqm_controller {
	aqm_student *student; /* either a student */
	struct aqm_student_state state;
	aqm_policy *policy; /* or a policy */
	aqm_decider *decider;
	const struct aqm_config *config; /* of the policy */
	double reward;                   /* of the last decision */

	struct aqm_interval interval; /* control: update: the present one */
	bool decided;                 /* a decision waits for what happened */
	enum aqm_action action;
};

/* libhdf5 may have been built without locks; controllers that are opened at the same time must not meet in it. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

const char *aqm_version(void)
{
	return AQM_VERSION;
}

/* ---- records ---- */

static void read_fields(const struct aqm_record *record, uint64_t fields[AQM_LOG_FIELDS])
{
	fields[AQM_FIELD_QUEUE_TYPE] = record->queue_type;
	fields[AQM_FIELD_QDELAY_REF] = record->qdelay_ref;
	fields[AQM_FIELD_TUPDATE] = record->tupdate;
	fields[AQM_FIELD_MAX_BURST] = record->max_burst;
	fields[AQM_FIELD_MAX_ECNTH] = record->max_ecnth;
	fields[AQM_FIELD_ALPHA] = record->alpha;
	fields[AQM_FIELD_BETA] = record->beta;
	fields[AQM_FIELD_FLAGS] = record->flags;
	fields[AQM_FIELD_BURST_ALLOWANCE] = record->burst_allowance;
	fields[AQM_FIELD_DROP_PROB] = record->drop_prob;
	fields[AQM_FIELD_CURRENT_QDELAY] = record->current_qdelay;
	fields[AQM_FIELD_QDELAY_OLD] = record->qdelay_old;
	fields[AQM_FIELD_ACCU_PROB] = record->accu_prob;
	fields[AQM_FIELD_MEASUREMENT_START] = record->measurement_start;
	fields[AQM_FIELD_AVG_DQ_TIME] = record->avg_dq_time;
	fields[AQM_FIELD_DQ_COUNT] = record->dq_count;
	fields[AQM_FIELD_SFLAGS] = record->sflags;
	fields[AQM_FIELD_TOT_PKTS] = record->tot_pkts;
	fields[AQM_FIELD_TOT_BYTES] = record->tot_bytes;
	fields[AQM_FIELD_LENGTH] = record->length;
	fields[AQM_FIELD_LEN_BYTES] = record->len_bytes;
	fields[AQM_FIELD_DROPS] = record->drops;
	fields[AQM_FIELD_PKT_LEN] = record->pkt_len;
	fields[AQM_FIELD_ACTION_LOGGED] = record->action_logged;
}

/* What is read is what records, or intervals of them, have: the simulator knows more. */
static int check_feature(const aqm_controller *controller, const char *name)
{
	const struct aqm_interval any = {.packets = 1};
	bool updates = aqm_controller_updates(controller);

	if (strcmp(name, "time") != 0 && (updates ? !isnan(aqm_interval_feature(&any, name)) : aqm_field_find(name) != NULL))
		return AQM_OK;
	return aqm_error_set(AQM_EUSAGE, "the %s wants '%s', which %s not have", controller->student ? "student" : "policy",
	                     name, updates ? "update intervals do" : "records do");
}

static int check_features(const aqm_controller *controller)
{
	const aqm_student *student = controller->student;
	size_t count = student ? aqm_student_inputs(student) : controller->config->policy.features.count;
	int code = AQM_OK;

	for (size_t i = 0; i < count && code == AQM_OK; i++)
		code = check_feature(controller, student ? aqm_student_input(student, i)
		                                         : controller->config->policy.features.items[i]);
	return code;
}

/* ---- from file to controller ---- */

/* One that moves what the rules would set next needs the rules beside it, which whoever embeds this does not tell us. */
static int check_change(enum aqm_change_from from)
{
	return from == AQM_FROM_RULE ? aqm_error_set(AQM_EUSAGE, "it corrects the p' of a rule (policy.change_from: rule), "
	                                                         "which only the simulator has")
	                             : AQM_OK;
}

static int load(aqm_controller *controller, const char *path, const char *base_path)
{
	if (aqm_student_is(path)) {
		int read = aqm_student_load(&controller->student, path);

		if (read == AQM_OK)
			read = check_change(aqm_student_from(controller->student));
		return read == AQM_OK ? check_features(controller) : read;
	}
	pthread_mutex_lock(&opening);
	int code = aqm_policy_load(&controller->policy, path, base_path, AQM_DEVICE_CPU);
	pthread_mutex_unlock(&opening);
	if (code != AQM_OK)
		return code;
	controller->config = aqm_policy_config(controller->policy);
	code = controller->config->control == AQM_CONTROL_UPDATE ? check_change(controller->config->policy.from) : AQM_OK;
	if (code == AQM_OK)
		code = check_features(controller);
	return code == AQM_OK ? aqm_decider_new(&controller->decider, controller->policy, NAN) : code;
}

int aqm_controller_open(aqm_controller **out, const char *path, const char *base_path)
{
	aqm_controller *controller = aqm_calloc_array(1, sizeof *controller);

	*out = NULL;
	if (!controller)
		return AQM_ERUN;
	int code = load(controller, path, base_path);
	if (code != AQM_OK) {
		aqm_controller_close(controller);
		return code;
	}
	*out = controller;
	return AQM_OK;
}

void aqm_controller_close(aqm_controller *controller)
{
	if (!controller)
		return;
	aqm_decider_free(controller->decider);
	aqm_policy_free(controller->policy);
	aqm_student_free(controller->student);
	free(controller);
}

void aqm_controller_reset(aqm_controller *controller)
{
	if (controller->decider)
		aqm_decider_reset(controller->decider);
	controller->state = (struct aqm_student_state){0};
	controller->decided = false;
	controller->interval = (struct aqm_interval){0};
}

int aqm_controller_aim(aqm_controller *controller, double target_return)
{
	aqm_decider *decider;

	if (controller->student)
		return aqm_error_set(AQM_EUSAGE, "a student aims at what its teacher aimed at");
	if (isinf(target_return))
		return aqm_error_set(AQM_EUSAGE, "a target return of %g, expected a number", target_return);
	int code = aqm_decider_new(&decider, controller->policy, target_return);
	if (code != AQM_OK)
		return code;
	aqm_decider_free(controller->decider);
	controller->decider = decider;
	aqm_controller_reset(controller);
	return AQM_OK;
}

bool aqm_controller_updates(const aqm_controller *controller)
{
	return (controller->student ? aqm_student_control(controller->student) : controller->config->control) ==
	       AQM_CONTROL_UPDATE;
}

/* ---- control: packet ---- */

static void softmax(const float logits[AQM_ACTIONS], double probabilities[AQM_ACTIONS])
{
	double highest = fmax(fmax((double)logits[0], (double)logits[1]), (double)logits[2]), sum = 0;

	for (size_t i = 0; i < AQM_ACTIONS; i++)
		sum += probabilities[i] = exp((double)logits[i] - highest);
	for (size_t i = 0; i < AQM_ACTIONS; i++)
		probabilities[i] /= sum;
}

/* The last decision was carried out, if nothing else was said. */
static int settle(aqm_controller *controller)
{
	return controller->decided ? aqm_controller_observe(controller, controller->action) : AQM_OK;
}

static int ask_policy(aqm_controller *controller, const struct aqm_record *record, double probabilities[AQM_ACTIONS])
{
	const struct aqm_strings *names = &controller->config->policy.features;
	uint64_t fields[AQM_LOG_FIELDS];
	double features[AQM_FEATURES_MAX];
	float logits[AQM_ACTIONS];

	read_fields(record, fields);
	for (size_t i = 0; i < names->count; i++) {
		const struct aqm_field *field = aqm_field_find(names->items[i]);

		features[i] = field ? (double)fields[field - aqm_fields(NULL)] : 0;
	}
	int code = aqm_decider_decide(controller->decider, features, &controller->action, logits);
	if (code != AQM_OK)
		return code;
	controller->reward = aqm_pool_reward(controller->config, (double)record->pkt_len, (double)record->current_qdelay);
	softmax(logits, probabilities);
	return AQM_OK;
}

static int ask_student(aqm_controller *controller, const struct aqm_record *record, double probabilities[AQM_ACTIONS])
{
	int32_t scores[AQM_ACTIONS];

	if (aqm_controller_updates(controller))
		return aqm_error_set(AQM_EUSAGE, "this student decides with control: update");
	controller->action = aqm_student_decide(controller->student, &controller->state, record, scores);
	aqm_student_probabilities(controller->student, scores, probabilities);
	return AQM_OK;
}

int aqm_controller_decide(aqm_controller *controller, const struct aqm_record *record, enum aqm_action *action,
                          double probabilities[AQM_ACTIONS])
{
	double found[AQM_ACTIONS];
	int code = settle(controller);

	if (code == AQM_OK)
		code = controller->student ? ask_student(controller, record, found) : ask_policy(controller, record, found);
	if (code != AQM_OK)
		return code;
	controller->decided = true;
	*action = controller->action;
	if (probabilities)
		memcpy(probabilities, found, sizeof found);
	return AQM_OK;
}

int aqm_controller_observe(aqm_controller *controller, enum aqm_action happened)
{
	int code = AQM_OK;

	if ((unsigned)happened >= AQM_ACTIONS)
		return aqm_error_set(AQM_EUSAGE, "no action %d", (int)happened);
	if (controller->decider) /* students do not look back at actions */
		code = aqm_decider_observe(controller->decider, happened, controller->reward);
	else if (!controller->decided)
		code = aqm_error_set(AQM_EUSAGE, "an observation must follow a decision");
	if (code == AQM_OK)
		controller->decided = false;
	return code;
}

/* ---- control: update ---- */

int aqm_controller_count(aqm_controller *controller, const struct aqm_record *record, enum aqm_action happened)
{
	uint64_t fields[AQM_LOG_FIELDS];

	if (!aqm_controller_updates(controller))
		return aqm_error_set(AQM_EUSAGE, "this controller decides on packets, and counts none");
	read_fields(record, fields);
	aqm_interval_add(&controller->interval, fields, happened);
	return AQM_OK;
}

static int update_policy(aqm_controller *controller, double now, double *next)
{
	const struct aqm_strings *names = &controller->config->policy.features;
	const struct aqm_interval *interval = &controller->interval;
	double features[AQM_FEATURES_MAX];

	for (size_t i = 0; i < names->count; i++)
		features[i] = aqm_interval_feature(interval, names->items[i]);
	int code = aqm_decider_update(controller->decider, features, now, next);
	if (code != AQM_OK)
		return code;
	double reward = aqm_pool_reward(controller->config, aqm_interval_feature(interval, "arrived_bytes"),
	                                aqm_interval_feature(interval, "current_qdelay"));
	return aqm_decider_observe_update(controller->decider, *next, reward);
}

static int update_student(aqm_controller *controller, double now, double *next)
{
	uint64_t features[AQM_STUDENT_INPUTS_MAX];

	for (size_t i = 0; i < aqm_student_inputs(controller->student); i++) {
		double value = aqm_interval_feature(&controller->interval, aqm_student_input(controller->student, i));

		features[i] = value > 0 ? (uint64_t)(value + 0.5) : 0;
	}
	uint32_t in_force = (uint32_t)fmin(now * 0x1p32, 0x1p32 - 1);
	*next = aqm_student_update(controller->student, &controller->state, features, in_force) * 0x1p-32;
	return AQM_OK;
}

int aqm_controller_update(aqm_controller *controller, double *next)
{
	struct aqm_interval *interval = &controller->interval;
	double now = fmin((double)interval->first[AQM_FIELD_DROP_PROB] * 0x1p-31, 1);

	if (!aqm_controller_updates(controller))
		return aqm_error_set(AQM_EUSAGE, "this controller decides on packets, and updates nothing");
	if (interval->packets == 0)
		return aqm_error_set(AQM_EUSAGE, "no packet was counted in this update interval");
	int code = controller->student ? update_student(controller, now, next) : update_policy(controller, now, next);
	if (code == AQM_OK)
		*interval = (struct aqm_interval){0};
	return code;
}
