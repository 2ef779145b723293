/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Decisions as streams, one a router. The cache holds the tokens of each window so far; a decision adds the last step's
 * action, the return that is left and the new state. A full window restarts from its newer part, as evaluation windows
 * do: its time and its return-to-go begin anew.
 *
 *   steps   0        1        2  = t
 *   tokens  R s..s a R s..s a R s..s         cached until decide(t): all before step 1's a
 *
 * All tokens of a window that begins anew are others than before. So that no decision waits for them, a second cache
 * holds them already: while two windows overlap each step goes to both, to the next one when the decision has been made.
 * A full window then gives way to the next.
 *
 *   steps   0  1  2  3  4  5  6  7
 *           #  #  #  #                       windows of four steps
 *                 #  #  #  #
 *                       #  #  #  #
 *
 * Streams that decide together and stand alike share one pass over the weights (decider_pass.c).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "policy/decider.h"

static float *take(struct aqm_arena *arena, int64_t count)
{
	return aqm_arena_take(arena, (size_t)count, sizeof(float));
}

static void carve_stream(const aqm_decider *decider, struct aqm_router *stream, struct aqm_arena *arena)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t w = encoder->window;

	stream->returns = take(arena, w);
	stream->next_returns = take(arena, w);
	stream->states = take(arena, w * aqm_encoder_state_width(encoder));
	stream->sequences = take(arena, w * aqm_encoder_sequence_width(encoder));
	stream->action_values = take(arena, w);
	stream->actions = aqm_arena_take(arena, (size_t)w, sizeof(int32_t));
	stream->rewards = aqm_arena_take(arena, (size_t)w, sizeof(double));
}

static int allocate(aqm_decider *decider)
{
	struct aqm_arena arena;

	decider->streams = aqm_calloc_array((size_t)decider->count, sizeof *decider->streams);
	if (!decider->streams)
		return AQM_ERUN;
	aqm_arena_plan(&arena);
	for (int64_t i = 0; i < decider->count; i++)
		carve_stream(decider, &decider->streams[i], &arena);
	decider->late = aqm_arena_take(&arena, (size_t)decider->count, sizeof *decider->late);
	int code = arena.overflowed ? aqm_error_set(AQM_ERUN, "%lld streams are too many", (long long)decider->count)
	                            : aqm_arena_init(&decider->host, arena.used);
	for (int64_t i = 0; code == AQM_OK && i < decider->count; i++)
		carve_stream(decider, &decider->streams[i], &decider->host);
	if (code == AQM_OK)
		decider->late = aqm_arena_take(&decider->host, (size_t)decider->count, sizeof *decider->late);
	return code == AQM_OK ? aqm_decider_allocate_pass(decider) : code;
}

/* Whether the next window is kept up to date. A window that sees its future is run as a whole each time; and a GPU runs
 * a window's tokens in little more time than those of a step. */
static bool overlaps(const aqm_policy *policy)
{
	return policy->config.model.causal && !policy->device->own_memory &&
	       aqm_policy_advance(policy) < policy->encoder.window;
}

int aqm_decider_new_streams(aqm_decider **out, aqm_policy *policy, double target_return, int64_t streams)
{
	*out = NULL;
	if (streams <= 0 || streams > AQM_STREAMS_MOST)
		return aqm_error_set(AQM_EUSAGE, "%lld streams of decisions; from 1 to %d are possible", (long long)streams,
		                     AQM_STREAMS_MOST);
	aqm_decider *decider = aqm_calloc_array(1, sizeof *decider);
	if (!decider)
		return AQM_ERUN;
	decider->policy = policy;
	decider->count = streams;
	decider->slots = overlaps(policy) ? 2 : 1;
	decider->target = isnan(target_return) ? aqm_policy_target(policy) : target_return;
	int code = allocate(decider);
	if (code != AQM_OK) {
		aqm_decider_free(decider);
		return code;
	}
	for (int64_t i = 0; i < streams; i++) {
		aqm_rng_init(&decider->streams[i].rng, policy->config.seed, AQM_STREAM_DECIDE, (uint32_t)i);
		aqm_decider_reset_stream(decider, i);
	}
	*out = decider;
	return AQM_OK;
}

int aqm_decider_new(aqm_decider **out, aqm_policy *policy, double target_return)
{
	return aqm_decider_new_streams(out, policy, target_return, 1);
}

void aqm_decider_free(aqm_decider *decider)
{
	if (!decider)
		return;
	aqm_decider_release_pass(decider);
	aqm_arena_release(&decider->host);
	free(decider->streams);
	free(decider);
}

/* ---- the window ---- */

static double after_reward(const aqm_decider *decider, double left, double reward)
{
	double gamma = decider->policy->config.reward.gamma;

	return gamma > 0 ? (left - reward) / gamma : left;
}

static void forget(aqm_decider *decider, const struct aqm_router *s, bool next)
{
	aqm_cache_truncate(decider->cache, aqm_decider_cache(decider, s - decider->streams, next), 0);
}

/* The window that follows begins anew, from what this one has of its steps. */
static void begin_next(aqm_decider *decider, struct aqm_router *s)
{
	int64_t from = aqm_policy_advance(decider->policy);

	s->next_left = decider->target;
	for (int64_t t = from; t < s->steps; t++) {
		s->next_returns[t - from] = aqm_policy_scale_return(decider->policy, s->next_left);
		s->next_left = after_reward(decider, s->next_left, s->rewards[t]);
	}
	if (decider->slots > 1)
		forget(decider, s, true);
}

void aqm_decider_reset_stream(aqm_decider *decider, int64_t stream)
{
	struct aqm_router *s = &decider->streams[stream];

	s->left = decider->target;
	s->steps = 0;
	s->seen = 0;
	s->decided = false;
	begin_next(decider, s);
	forget(decider, s, false);
	for (int64_t i = 0; i < decider->behind; i++)
		if (decider->late[i] == stream)
			decider->late[i] = decider->late[--decider->behind];
}

void aqm_decider_reset(aqm_decider *decider)
{
	aqm_decider_reset_stream(decider, 0);
}

/* Keep the newer part of a full window, as a new window. */
static void restart(aqm_decider *decider, struct aqm_router *s)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	size_t from = (size_t)aqm_policy_advance(decider->policy), kept = (size_t)s->steps - from;
	size_t states = (size_t)aqm_encoder_state_width(encoder), sequences = (size_t)aqm_encoder_sequence_width(encoder);

	memmove(s->states, s->states + from * states, kept * states * sizeof(float));
	memmove(s->sequences, s->sequences + from * sequences, kept * sequences * sizeof(float));
	memmove(s->actions, s->actions + from, kept * sizeof *s->actions);
	memmove(s->action_values, s->action_values + from, kept * sizeof *s->action_values);
	memmove(s->rewards, s->rewards + from, kept * sizeof *s->rewards);
	s->steps = (int64_t)kept;
	s->left = decider->target;
	for (size_t t = 0; t < kept; t++) {
		s->returns[t] = aqm_policy_scale_return(decider->policy, s->left);
		s->left = after_reward(decider, s->left, s->rewards[t]);
	}
	if (decider->slots > 1)
		s->slot ^= 1;
	else
		forget(decider, s, false);
	begin_next(decider, s);
}

/* The sequences of step t from those of the step before: one value further. */
static void extend_sequences(const aqm_decider *decider, const struct aqm_router *s, const float *previous,
                             float *values)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	size_t k = (size_t)encoder->kernel, v = (size_t)encoder->values;

	for (int64_t f = 0; f < encoder->features; f++) {
		const float *now = s->states + s->steps * aqm_encoder_state_width(encoder) + f * encoder->values;
		size_t place = (size_t)encoder->feature[f].sequence * k * v;

		if (encoder->feature[f].sequence < 0)
			continue;
		for (size_t i = 0; i < k; i++)
			memcpy(values + place + i * v, i + 1 == k || !previous ? now : previous + place + (i + 1) * v,
			       v * sizeof *values);
	}
}

/* Write step t = s->steps. `previous` holds the sequences of the step before, NULL at the stream's start. */
static void add_step(const aqm_decider *decider, struct aqm_router *s, const double *features, const float *previous)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t t = s->steps, from = aqm_policy_advance(decider->policy);

	if (t >= from)
		s->next_returns[t - from] = aqm_policy_scale_return(decider->policy, s->next_left);
	s->returns[t] = aqm_policy_scale_return(decider->policy, s->left);
	for (int64_t f = 0; f < encoder->features; f++)
		aqm_normaliser_apply(&decider->policy->fit.states, (size_t)f, features[f],
		                     s->states + t * aqm_encoder_state_width(encoder) + f * encoder->values);
	extend_sequences(decider, s, previous, s->sequences + t * aqm_encoder_sequence_width(encoder));
}

/* A new step of a stream, ready for its pass. */
static void begin_step(aqm_decider *decider, struct aqm_router *s, const double *features)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t row = aqm_encoder_sequence_width(encoder);
	/* The step before the new one stays the step before it when the window moves, unless w = 1: keep its sequences
	 * apart. */
	const float *previous = s->seen ? s->sequences + (s->steps - 1) * row : NULL;

	if (s->steps == encoder->window) {
		bool alone = encoder->window == 1;

		restart(decider, s);
		previous = alone ? s->sequences : s->sequences + (s->steps - 1) * row;
	}
	add_step(decider, s, features, previous);
}

/* ---- decisions ---- */

static size_t likeliest(const float *logits, size_t count)
{
	size_t best = 0;

	for (size_t i = 1; i < count; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

static size_t draw(struct aqm_rng *rng, const float *logits, size_t count)
{
	double weights[AQM_BINS_MAX], sum = 0, highest = (double)logits[likeliest(logits, count)];

	for (size_t i = 0; i < count; i++)
		sum += weights[i] = exp((double)logits[i] - highest);
	double place = (double)aqm_rng_uniform(rng) * sum;
	for (size_t i = 0; i + 1 < count; i++) {
		if (place < weights[i])
			return i;
		place -= weights[i];
	}
	return count - 1;
}

static int check_control(const aqm_decider *decider, enum aqm_control control)
{
	if (decider->policy->config.control == control)
		return AQM_OK;
	return aqm_error_set(AQM_EUSAGE, "this policy decides with control: %s",
	                     aqm_config_word("control", (int)decider->policy->config.control));
}

static int check_stream(const aqm_decider *decider, int64_t stream)
{
	return stream >= 0 && stream < decider->count ? AQM_OK
	                                              : aqm_error_set(AQM_EUSAGE, "no stream %lld; there are %lld",
	                                                              (long long)stream, (long long)decider->count);
}

/* Each of them exists, is there once, and waits for a decision. */
static int check_streams(aqm_decider *decider, int64_t count, const int64_t *streams)
{
	int code = AQM_OK;
	int64_t marked = 0;

	for (; code == AQM_OK && marked < count; marked++) {
		code = check_stream(decider, streams[marked]);
		if (code == AQM_OK && decider->streams[streams[marked]].decided)
			code = aqm_error_set(AQM_EUSAGE, "a decision must be followed by what was observed, and a stream decides "
			                                 "once at a time");
		if (code != AQM_OK)
			break;
		decider->streams[streams[marked]].decided = true;
	}
	for (int64_t i = 0; i < marked; i++)
		decider->streams[streams[i]].decided = false;
	return code;
}

/* The newest steps of the last decisions to their next windows as well. */
static int catch_up(aqm_decider *decider)
{
	int64_t count = decider->behind;
	int code = count > 0 ? aqm_decider_pass(decider, count, decider->late, true, NULL) : AQM_OK;

	decider->behind = 0;
	for (int64_t i = 0; code != AQM_OK && i < count; i++) /* where it stands is not known */
		aqm_decider_reset_stream(decider, decider->late[i]);
	return code;
}

/* The head's outputs (count, outputs) for new steps with these features (count, F). */
static int decide(aqm_decider *decider, int64_t count, const int64_t *streams, const double *features, float *outputs)
{
	int code = check_streams(decider, count, streams);

	if (code == AQM_OK)
		code = catch_up(decider);
	if (code != AQM_OK)
		return code;
	for (int64_t i = 0; i < count; i++)
		begin_step(decider, &decider->streams[streams[i]], features + i * decider->policy->encoder.features);
	code = aqm_decider_pass(decider, count, streams, false, outputs);
	for (int64_t i = 0; i < count; i++) {
		struct aqm_router *s = &decider->streams[streams[i]];

		s->decided = code == AQM_OK;
		if (code != AQM_OK)
			aqm_decider_reset_stream(decider, streams[i]);
		else if (decider->slots > 1 && s->steps >= aqm_policy_advance(decider->policy))
			decider->late[decider->behind++] = streams[i];
	}
	return code;
}

static int observe(aqm_decider *decider, int64_t stream, int32_t action, float value, double reward)
{
	int code = check_stream(decider, stream);

	if (code != AQM_OK)
		return code;
	struct aqm_router *s = &decider->streams[stream];
	if (!s->decided)
		return aqm_error_set(AQM_EUSAGE, "an observation must follow a decision");
	code = catch_up(decider);
	if (code != AQM_OK)
		return code;
	s->actions[s->steps] = action;
	s->action_values[s->steps] = value;
	s->rewards[s->steps] = aqm_policy_scale_reward(decider->policy, reward);
	s->left = after_reward(decider, s->left, s->rewards[s->steps]);
	if (s->steps >= aqm_policy_advance(decider->policy))
		s->next_left = after_reward(decider, s->next_left, s->rewards[s->steps]);
	s->steps++;
	s->seen++;
	s->decided = false;
	return AQM_OK;
}

int aqm_decider_outputs(aqm_decider *decider, const double *features, float *outputs)
{
	return decide(decider, 1, &(int64_t){0}, features, outputs);
}

int aqm_decider_happened(aqm_decider *decider, int32_t action, float value, double reward)
{
	return observe(decider, 0, action, value, reward);
}

int aqm_decider_decide_streams(aqm_decider *decider, int64_t count, const int64_t *streams, const double *features,
                               enum aqm_action *actions, float *logits)
{
	bool sample = decider->policy->config.decide.sample;
	int code = check_control(decider, AQM_CONTROL_PACKET);

	if (code == AQM_OK)
		code = decide(decider, count, streams, features, decider->outputs);
	for (int64_t i = 0; code == AQM_OK && i < count; i++) {
		const float *own = decider->outputs + i * AQM_ACTIONS;

		actions[i] = (enum aqm_action)(sample ? draw(&decider->streams[streams[i]].rng, own, AQM_ACTIONS)
		                                      : likeliest(own, AQM_ACTIONS));
	}
	if (code == AQM_OK && logits)
		memcpy(logits, decider->outputs, (size_t)(count * AQM_ACTIONS) * sizeof *logits);
	return code;
}

int aqm_decider_decide(aqm_decider *decider, const double *features, enum aqm_action *action, float *logits)
{
	return aqm_decider_decide_streams(decider, 1, &(int64_t){0}, features, action, logits);
}

int aqm_decider_observe_stream(aqm_decider *decider, int64_t stream, enum aqm_action action, double reward)
{
	if ((unsigned)action >= AQM_ACTIONS)
		return aqm_error_set(AQM_EUSAGE, "no action %d", (int)action);
	int code = check_control(decider, AQM_CONTROL_PACKET);
	return code == AQM_OK ? observe(decider, stream, (int32_t)action, aqm_action_value((int32_t)action), reward) : code;
}

int aqm_decider_observe(aqm_decider *decider, enum aqm_action action, double reward)
{
	return aqm_decider_observe_stream(decider, 0, action, reward);
}

static int check_probability(double p)
{
	return p >= 0 && p <= 1 ? AQM_OK : aqm_error_set(AQM_EUSAGE, "a probability of %g, expected 0 to 1", p);
}

int aqm_decider_update_streams(aqm_decider *decider, int64_t count, const int64_t *streams, const double *features,
                               const double *now, double *next)
{
	const struct aqm_level_fit *fit = &decider->policy->fit.levels;
	const struct aqm_config *config = &decider->policy->config;
	int64_t width = aqm_policy_outputs(decider->policy);
	int code = check_control(decider, AQM_CONTROL_UPDATE);

	for (int64_t i = 0; code == AQM_OK && i < count; i++)
		code = check_probability(now[i]);
	if (code == AQM_OK)
		code = decide(decider, count, streams, features, decider->outputs);
	for (int64_t i = 0; code == AQM_OK && i < count; i++) {
		const float *own = decider->outputs + i * width;
		double change = config->decide.sample ? fit->value[draw(&decider->streams[streams[i]].rng, own, fit->bins)]
		                                      : aqm_level_change(fit, own);

		next[i] = aqm_level_probability(config, aqm_level_of(config, now[i] * 0x1p31) + change);
	}
	return code;
}

int aqm_decider_update(aqm_decider *decider, const double *features, double now, double *next)
{
	return aqm_decider_update_streams(decider, 1, &(int64_t){0}, features, &now, next);
}

int aqm_decider_observe_update_stream(aqm_decider *decider, int64_t stream, double next, double reward)
{
	const struct aqm_level_fit *fit = &decider->policy->fit.levels;
	int code = check_control(decider, AQM_CONTROL_UPDATE);

	if (code == AQM_OK)
		code = check_probability(next);
	return code == AQM_OK
	           ? observe(decider, stream, 0,
	                     (float)((aqm_level_of(&decider->policy->config, next * 0x1p31) - fit->mean) / fit->scale),
	                     reward)
	           : code;
}

int aqm_decider_observe_update(aqm_decider *decider, double next, double reward)
{
	return aqm_decider_observe_update_stream(decider, 0, next, reward);
}
