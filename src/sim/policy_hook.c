/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A trained policy in the queue. control: packet asks for the action of one packet in `every`; control: update asks,
 * a controller for itself, for the next p' at the end of each update interval.
 *
 * A decision takes time. Of packets: until the answer is there the rules decide, then the first packet that comes gets
 * it, and only then is the next question asked: the policy is one server without a queue. Of updates: p' changes late.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/size.h"
#include "policy/internal.h"
#include "sim/qdisc.h"

/* What a controller was rewarded with, decision by decision. */
struct rewards {
	double *times, *values; /* owned; s, and as the policy scales them */
	size_t count, capacity;
};

struct aqm_sim_policy {
	aqm_policy *policy;
	bool owned; /* the policy */
	aqm_decider *deciders[AQM_QUEUES]; /* packets: the first decides for both queues, as pools of packets have them */
	const struct aqm_config *config;
	int64_t every, counted;
	double delay; /* s; negative: as measured */
	bool waiting; /* for `answer`, which is there at `ready` */
	double ready;
	enum aqm_action answer;
	uint64_t asked, differed;
	struct rewards rewards[AQM_QUEUES];
	uint64_t watch, watched[AQM_QUEUES]; /* decisions of the rules to look at, and looked at; 0: it decides itself */
	double watch_from;                   /* s */
};

/* ---- what decisions earned ---- */

static int note_reward(struct aqm_sim_policy *p, size_t controller, double time, double reward)
{
	struct rewards *r = &p->rewards[controller];

	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? 2 * r->capacity : 1024;
		double *times = aqm_realloc_array(r->times, capacity, sizeof *times);

		r->times = times ? times : r->times;
		double *values = times ? aqm_realloc_array(r->values, capacity, sizeof *values) : NULL;
		if (!values)
			return AQM_ERUN;
		r->values = values;
		r->capacity = capacity;
	}
	r->times[r->count] = time;
	r->values[r->count++] = aqm_policy_scale_reward(p->policy, reward);
	return AQM_OK;
}

/* Sum and number of the returns-to-go of a controller's decisions that have their whole horizon ahead; of all, where
 * none has. From the last decision back: R_t = r_t + gamma R_t+1, less what leaves the horizon. */
static double sum_returns(const struct rewards *r, const struct aqm_config *config, uint64_t *number)
{
	double gamma = config->reward.gamma, sum = 0, of_all = 0, left = 0;
	bool in_ms = config->reward.horizon_unit == AQM_HORIZON_MS;
	double horizon = (double)config->reward.horizon, last = r->count ? r->times[r->count - 1] : 0;

	*number = 0;
	for (size_t t = r->count, end = r->count; t-- > 0;) {
		left = r->values[t] + gamma * left;
		while (horizon > 0 && end > t + 1 &&
		       (in_ms ? (r->times[end - 1] - r->times[t]) * 1e3 >= horizon : (double)(end - t) > horizon)) {
			end--;
			left -= pow(gamma, (double)(end - t)) * r->values[end];
		}
		of_all += left;
		if (horizon > 0 && (in_ms ? (last - r->times[t]) * 1e3 >= horizon : (double)(r->count - t) >= horizon)) {
			sum += left;
			++*number;
		}
	}
	if (*number)
		return sum;
	*number = r->count;
	return of_all;
}

double aqm_sim_policy_return(const struct aqm_sim_policy *policy)
{
	double sum = 0;
	uint64_t number = 0;

	if (policy->config->reward.kind == AQM_REWARD_UTILITY) /* known when the run is over, and not of decisions */
		return NAN;
	for (size_t i = 0; i < AQM_QUEUES; i++) {
		uint64_t of_one;

		sum += sum_returns(&policy->rewards[i], policy->config, &of_one);
		number += of_one;
	}
	return number ? sum / (double)number : NAN;
}

/* ---- looking on ---- */

void aqm_sim_policy_watch(struct aqm_sim_policy *policy, uint64_t decisions, double from)
{
	policy->watch = decisions;
	policy->watch_from = from;
	memset(policy->watched, 0, sizeof policy->watched);
	policy->asked = policy->differed = 0;
	policy->counted = 0;
	policy->waiting = false;
	for (size_t i = 0; i < AQM_QUEUES; i++)
		policy->rewards[i].count = 0;
}

uint64_t aqm_sim_policy_watched(const struct aqm_sim_policy *policy)
{
	uint64_t most = 0;

	for (size_t i = 0; i < AQM_QUEUES; i++)
		most = policy->watched[i] > most ? policy->watched[i] : most;
	return most;
}

/* Whether this decision of the rules is one to look at. */
static bool looks(struct aqm_sim_policy *p, size_t controller, double time)
{
	return time >= p->watch_from && p->watched[controller] < p->watch && ++p->watched[controller];
}

/* ---- packets ---- */

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

/* Ask about this packet, which itself gets the answer only if that takes no time. One that looks on only remembers what
 * the rules do. */
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
	double reward = aqm_pool_reward(p->config, (double)decision->fields[AQM_FIELD_PKT_LEN],
	                                (double)decision->fields[AQM_FIELD_CURRENT_QDELAY]);
	if (p->watch)
		return aqm_decider_observe(p->deciders[0], decision->rule, reward);
	double delay = p->delay < 0 ? aqm_clock_seconds() - began : p->delay;
	p->asked++;
	p->differed += p->answer != decision->rule;
	p->waiting = delay > 0;
	p->ready = decision->time + delay;
	if (!p->waiting)
		*action = p->answer;
	code = note_reward(p, 0, decision->time, reward);
	return code == AQM_OK ? aqm_decider_observe(p->deciders[0], *action, reward) : code;
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
	if (p->counted++ % p->every != 0 || (p->watch && !looks(p, 0, decision->time)))
		return AQM_OK;
	return ask(p, decision, action);
}

/* ---- update intervals ---- */

static int update(void *context, const struct aqm_update *update, double *next)
{
	struct aqm_sim_policy *p = context;
	const struct aqm_strings *names = &p->config->policy.features;
	aqm_decider *decider = p->deciders[update->controller];
	double features[AQM_FEATURES_MAX], wanted;

	*next = update->rule;
	if (p->watch && !looks(p, update->controller, update->time))
		return AQM_OK;
	for (size_t i = 0; i < names->count; i++) {
		features[i] = update->feature(update, names->items[i]);
		if (features[i] != features[i])
			return aqm_error_set(AQM_EUSAGE, "the policy wants '%s', which no interval in the simulator has",
			                     names->items[i]);
	}
	double from = p->config->policy.from == AQM_FROM_RULE ? update->reference : update->now;
	int code = aqm_decider_update(decider, features, from, &wanted);
	if (code != AQM_OK)
		return code;
	double reward =
		aqm_pool_reward(p->config, update->feature(update, "arrived_bytes"), update->feature(update, "current_qdelay"));
	if (p->watch)
		return aqm_decider_observe_update(decider, update->rule, reward);
	p->asked++;
	p->differed += wanted > 1.1 * update->rule || wanted < update->rule / 1.1;
	*next = wanted;
	code = note_reward(p, update->controller, update->time, reward);
	return code == AQM_OK ? aqm_decider_observe_update(decider, wanted, reward) : code;
}

/* ---- making one ---- */

int aqm_sim_policy_share(struct aqm_sim_policy **out, struct aqm_sim_hook *hook, aqm_policy *policy, int64_t every,
                         double delay, double target_return)
{
	struct aqm_sim_policy *p = aqm_calloc_array(1, sizeof *p);
	int code = AQM_OK;

	*out = NULL;
	if (!p)
		return AQM_ERUN;
	p->policy = policy;
	p->config = aqm_policy_config(policy);
	p->every = every > 0 ? every : 1;
	p->delay = delay < 0 ? -1 : delay * 1e-3;
	bool updates = p->config->control == AQM_CONTROL_UPDATE;
	for (size_t i = 0; code == AQM_OK && i < (updates ? AQM_QUEUES : 1); i++)
		code = aqm_decider_new(&p->deciders[i], policy, target_return);
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

int aqm_sim_policy_new(struct aqm_sim_policy **out, struct aqm_sim_hook *hook, const char *path, const char *base_path,
                       enum aqm_device_kind device, int64_t every, double delay)
{
	aqm_policy *policy;
	int code = aqm_policy_load(&policy, path, base_path, device);

	*out = NULL;
	if (code != AQM_OK)
		return code;
	code = aqm_sim_policy_share(out, hook, policy, every, delay, NAN);
	if (code == AQM_OK)
		(*out)->owned = true;
	else
		aqm_policy_free(policy);
	return code;
}

void aqm_sim_policy_free(struct aqm_sim_policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < AQM_QUEUES; i++)
		if (policy->deciders[i])
			aqm_decider_free(policy->deciders[i]);
	for (size_t i = 0; i < AQM_QUEUES; i++) {
		free(policy->rewards[i].times);
		free(policy->rewards[i].values);
	}
	if (policy->owned)
		aqm_policy_free(policy->policy);
	free(policy);
}

void aqm_sim_policy_counts(const struct aqm_sim_policy *policy, uint64_t *asked, uint64_t *differed)
{
	*asked = policy->asked;
	*differed = policy->differed;
}
