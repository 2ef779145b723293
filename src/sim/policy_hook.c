/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A trained policy in the queue. control: packet asks for the action of one packet in `every`; control: update asks,
 * a queue for itself, for the next p' at the end of each update interval.
 *
 * A decision takes time. Of packets: until the answer is there the rules decide, then the first packet that comes gets
 * it, and only then is the next question asked: the policy is one server without a queue. Of updates: p' changes late.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/policy.h"
#include "base/progress.h"
#include "base/size.h"
#include "sim/qdisc.h"

struct aqm_sim_policy {
	aqm_policy *policy;
	aqm_decider *deciders[AQM_QUEUES]; /* packets: the first decides for both queues, as pools of packets have them */
	const struct aqm_config *config;
	int64_t every, counted;
	double delay; /* s; negative: as measured */
	bool waiting; /* for `answer`, which is there at `ready` */
	double ready;
	enum aqm_action answer;
	uint64_t asked, differed;
};

static int field_value(const char *name, const struct aqm_decision *decision, double *value)
{
	const struct aqm_field *field = aqm_field_find(name);

	if (field)
		*value = (double)decision->fields[field - aqm_fields(NULL)];
	else if (strcmp(name, "time") == 0)
		*value = decision->time;
	else
		return aqm_error_set(AQM_EUSAGE, "the policy wants '%s', which no record in the simulator has", name);
	return AQM_OK;
}

/* Ask about this packet, which itself gets the answer only if that takes no time. */
static int ask(struct aqm_sim_policy *p, const struct aqm_decision *decision, enum aqm_action *action)
{
	double features[AQM_FEATURES_MAX], began = aqm_clock_seconds();
	const struct aqm_strings *names = &p->config->policy.features;
	int code = AQM_OK;

	for (size_t i = 0; i < names->count && code == AQM_OK; i++)
		code = field_value(names->items[i], decision, &features[i]);
	if (code == AQM_OK)
		code = aqm_decider_decide(p->deciders[0], features, &p->answer, NULL);
	if (code != AQM_OK)
		return code;
	double delay = p->delay < 0 ? aqm_clock_seconds() - began : p->delay;
	p->asked++;
	p->differed += p->answer != decision->rule;
	p->waiting = delay > 0;
	p->ready = decision->time + delay;
	if (!p->waiting)
		*action = p->answer;
	double reward = aqm_pool_reward(p->config, (double)decision->fields[AQM_FIELD_PKT_LEN],
	                                (double)decision->fields[AQM_FIELD_CURRENT_QDELAY]);
	return aqm_decider_observe(p->deciders[0], *action, reward);
}

static int decide(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct aqm_sim_policy *p = context;

	*action = decision->rule;
	if (p->waiting) {
		if (decision->time >= p->ready) {
			p->waiting = false;
			*action = p->answer;
		}
		return AQM_OK;
	}
	if (p->counted++ % p->every != 0)
		return AQM_OK;
	return ask(p, decision, action);
}

static int update(void *context, const struct aqm_update *update, double *next)
{
	struct aqm_sim_policy *p = context;
	const struct aqm_strings *names = &p->config->policy.features;
	double features[AQM_FEATURES_MAX];

	for (size_t i = 0; i < names->count; i++) {
		features[i] = update->feature(update, names->items[i]);
		if (features[i] != features[i])
			return aqm_error_set(AQM_EUSAGE, "the policy wants '%s', which no interval in the simulator has",
			                     names->items[i]);
	}
	int code = aqm_decider_update(p->deciders[update->queue], features, update->now, next);
	if (code != AQM_OK)
		return code;
	p->asked++;
	p->differed += *next > 1.1 * update->rule || *next < update->rule / 1.1;
	double reward =
		aqm_pool_reward(p->config, update->feature(update, "arrived_bytes"), update->feature(update, "current_qdelay"));
	return aqm_decider_observe_update(p->deciders[update->queue], *next, reward);
}

int aqm_sim_policy_new(struct aqm_sim_policy **out, struct aqm_sim_hook *hook, const char *path, const char *base_path,
                       enum aqm_device_kind device, int64_t every, double delay)
{
	struct aqm_sim_policy *p = aqm_calloc_array(1, sizeof *p);

	*out = NULL;
	if (!p)
		return AQM_ERUN;
	p->every = every > 0 ? every : 1;
	p->delay = delay < 0 ? -1 : delay * 1e-3;
	int code = aqm_policy_load(&p->policy, path, base_path, device);
	if (code == AQM_OK)
		p->config = aqm_policy_config(p->policy);
	bool updates = code == AQM_OK && p->config->control == AQM_CONTROL_UPDATE;
	for (size_t i = 0; code == AQM_OK && i < (updates ? AQM_QUEUES : 1); i++)
		code = aqm_decider_new(&p->deciders[i], p->policy, NAN);
	if (code == AQM_OK && updates && (every > 1 || delay < 0))
		code = aqm_error_set(AQM_EUSAGE, "a policy of updates decides every interval, after a delay that is given");
	if (code != AQM_OK) {
		aqm_sim_policy_free(p);
		return code;
	}
	*hook = (struct aqm_sim_hook){p, updates ? NULL : decide, updates ? update : NULL, updates ? p->delay : 0};
	*out = p;
	return AQM_OK;
}

void aqm_sim_policy_free(struct aqm_sim_policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < AQM_QUEUES; i++)
		if (policy->deciders[i])
			aqm_decider_free(policy->deciders[i]);
	if (policy->policy)
		aqm_policy_free(policy->policy);
	free(policy);
}

void aqm_sim_policy_counts(const struct aqm_sim_policy *policy, uint64_t *asked, uint64_t *differed)
{
	*asked = policy->asked;
	*differed = policy->differed;
}
