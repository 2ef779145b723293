/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Decisions as a stream. The cache holds the tokens of the window so far; a decision adds the last step's action,
 * the return that is left and the new state. A full window restarts from its newer part, as evaluation windows do:
 * its time and its return-to-go begin anew.
 *
 *   steps   0        1        2  = t
 *   tokens  R s..s a R s..s a R s..s         cached until decide(t): all before step 1's a
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"
#include "policy/internal.h"

struct aqm_decider {
	aqm_policy *policy;
	aqm_cache *cache;
	double target, left; /* return-to-go in reward units: at a window's start, and now */
	int64_t steps;       /* finished ones in the window */
	uint64_t seen;       /* finished ones since the last reset */
	bool decided;        /* waiting for observe() */
	struct aqm_rng rng;

	/* Of the window's steps, on the host. */
	struct aqm_arena host;
	float *returns, *states, *sequences, *action_values;
	int32_t *actions, *times;
	double *rewards;

	/* On the device. */
	void *memory;
	float *device_returns, *device_states, *device_sequences, *device_actions;
	float *embedded, *stream, *mean, *rstd; /* (w T, d) and (w T) */
	float *inner;                           /* (w, e) */
	float *skipped, *read, *logits;         /* (1, d), (1, d), (1, 3) */
};

static float *take(struct aqm_arena *arena, int64_t count)
{
	return aqm_arena_take(arena, (size_t)count, sizeof(float));
}

static void carve_host(aqm_decider *decider, struct aqm_arena *arena)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t w = encoder->window;

	decider->returns = take(arena, w);
	decider->states = take(arena, w * aqm_encoder_state_width(encoder));
	decider->sequences = take(arena, w * aqm_encoder_sequence_width(encoder));
	decider->action_values = take(arena, w);
	decider->actions = aqm_arena_take(arena, (size_t)w, sizeof(int32_t));
	decider->times = aqm_arena_take(arena, (size_t)w, sizeof(int32_t));
	decider->rewards = aqm_arena_take(arena, (size_t)w, sizeof(double));
}

static void carve_device(aqm_decider *decider, struct aqm_arena *arena)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t w = encoder->window, tokens = w * aqm_encoder_tokens(encoder), d = encoder->width;

	decider->device_returns = take(arena, w);
	decider->device_states = take(arena, w * aqm_encoder_state_width(encoder));
	decider->device_sequences = take(arena, w * aqm_encoder_sequence_width(encoder));
	decider->device_actions = take(arena, w);
	decider->embedded = take(arena, tokens * d);
	decider->stream = take(arena, tokens * d);
	decider->mean = take(arena, tokens);
	decider->rstd = take(arena, tokens);
	decider->inner = take(arena, w * encoder->hidden);
	decider->skipped = take(arena, d);
	decider->read = take(arena, d);
	decider->logits = take(arena, AQM_ACTIONS);
}

static int allocate(aqm_decider *decider)
{
	aqm_device *device = decider->policy->device;
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	struct aqm_arena arena;

	aqm_arena_plan(&arena);
	carve_host(decider, &arena);
	int code = aqm_arena_init(&decider->host, arena.used);
	if (code != AQM_OK)
		return code;
	carve_host(decider, &decider->host);

	aqm_arena_plan(&arena);
	carve_device(decider, &arena);
	code = device->ops->allocate(device, arena.used, &decider->memory);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = decider->memory, .capacity = arena.used};
	carve_device(decider, &arena);
	return aqm_cache_new(&decider->cache, decider->policy->model, encoder->window * aqm_encoder_tokens(encoder));
}

int aqm_decider_new(aqm_decider **out, aqm_policy *policy, double target_return)
{
	aqm_decider *decider = aqm_calloc_array(1, sizeof *decider);

	*out = NULL;
	if (!decider)
		return AQM_ERUN;
	decider->policy = policy;
	decider->target = isnan(target_return) ? aqm_policy_target(policy) : target_return;
	aqm_rng_init(&decider->rng, policy->config.seed, AQM_STREAM_DECIDE, 0);
	int code = allocate(decider);
	if (code != AQM_OK) {
		aqm_decider_free(decider);
		return code;
	}
	aqm_decider_reset(decider);
	*out = decider;
	return AQM_OK;
}

void aqm_decider_free(aqm_decider *decider)
{
	if (!decider)
		return;
	aqm_cache_free(decider->cache);
	if (decider->memory)
		decider->policy->device->ops->release(decider->policy->device, decider->memory);
	aqm_arena_release(&decider->host);
	free(decider);
}

void aqm_decider_reset(aqm_decider *decider)
{
	decider->left = decider->target;
	decider->steps = 0;
	decider->seen = 0;
	decider->decided = false;
	aqm_cache_truncate(decider->cache, 0);
}

/* ---- the window ---- */

static double after_reward(const aqm_decider *decider, double left, double reward)
{
	double gamma = decider->policy->config.reward.gamma;

	return gamma > 0 ? (left - reward) / gamma : left;
}

/* Index of the step's time embedding. */
static int32_t time_of(const aqm_decider *decider, int64_t step)
{
	uint64_t w = (uint64_t)decider->policy->encoder.window;

	if (decider->policy->config.policy.time_embedding != AQM_TIME_EPISODE)
		return (int32_t)step;
	return (int32_t)((decider->seen - (uint64_t)decider->steps + (uint64_t)step) % w);
}

/* Keep the newer part of a full window, as a new window. */
static void restart(aqm_decider *decider)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	size_t from = (size_t)aqm_policy_advance(decider->policy), kept = (size_t)decider->steps - from;
	size_t states = (size_t)aqm_encoder_state_width(encoder), sequences = (size_t)aqm_encoder_sequence_width(encoder);

	memmove(decider->states, decider->states + from * states, kept * states * sizeof(float));
	memmove(decider->sequences, decider->sequences + from * sequences, kept * sequences * sizeof(float));
	memmove(decider->actions, decider->actions + from, kept * sizeof *decider->actions);
	memmove(decider->rewards, decider->rewards + from, kept * sizeof *decider->rewards);
	decider->steps = (int64_t)kept;
	decider->left = decider->target;
	for (size_t t = 0; t < kept; t++) {
		decider->returns[t] = aqm_policy_scale_return(decider->policy, decider->left);
		decider->left = after_reward(decider, decider->left, decider->rewards[t]);
		decider->times[t] = time_of(decider, (int64_t)t);
	}
	aqm_cache_truncate(decider->cache, 0);
}

/* The sequences of step t from those of the step before: one value further. */
static void extend_sequences(aqm_decider *decider, int64_t t, const float *previous, float *values)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	size_t k = (size_t)encoder->kernel, v = (size_t)encoder->values;

	for (int64_t f = 0; f < encoder->features; f++) {
		const float *now = decider->states + t * aqm_encoder_state_width(encoder) + f * encoder->values;
		size_t place = (size_t)encoder->feature[f].sequence * k * v;

		if (encoder->feature[f].sequence < 0)
			continue;
		for (size_t i = 0; i < k; i++)
			memcpy(values + place + i * v, i + 1 == k || !previous ? now : previous + place + (i + 1) * v,
			       v * sizeof *values);
	}
}

/* Write step t = decider->steps. `previous` holds the sequences of the step before, NULL at the stream's start. */
static void add_step(aqm_decider *decider, const double *features, const float *previous)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t t = decider->steps;

	decider->returns[t] = aqm_policy_scale_return(decider->policy, decider->left);
	for (int64_t f = 0; f < encoder->features; f++)
		aqm_normaliser_apply(&decider->policy->fit.states, (size_t)f, features[f],
		                     decider->states + t * aqm_encoder_state_width(encoder) + f * encoder->values);
	extend_sequences(decider, t, previous, decider->sequences + t * aqm_encoder_sequence_width(encoder));
	decider->times[t] = time_of(decider, t);
}

/* ---- tokens ---- */

/* Bring steps [first, first + n) to the device. */
static struct aqm_inputs upload_steps(aqm_decider *decider, int64_t first, int64_t n)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	aqm_device *device = decider->policy->device;
	int64_t states = aqm_encoder_state_width(encoder), sequences = aqm_encoder_sequence_width(encoder);
	size_t bytes = (size_t)n * sizeof(float);

	device->ops->upload(device, decider->device_returns, decider->returns + first, bytes);
	device->ops->upload(device, decider->device_states, decider->states + first * states, bytes * (size_t)states);
	if (sequences)
		device->ops->upload(device, decider->device_sequences, decider->sequences + first * sequences,
		                    bytes * (size_t)sequences);
	return (struct aqm_inputs){
		.returns = aqm_mat_f32(decider->device_returns, n, 1),
		.states = aqm_mat_f32(decider->device_states, n, states),
		.sequences = aqm_mat_f32(decider->device_sequences, n, sequences),
		.time = decider->times + first,
	};
}

static struct aqm_inputs upload_actions(aqm_decider *decider, int64_t first, int64_t n)
{
	aqm_device *device = decider->policy->device;

	for (int64_t i = 0; i < n; i++)
		decider->action_values[i] = (float)(decider->actions[first + i] + 1) / (float)AQM_ACTIONS;
	device->ops->upload(device, decider->device_actions, decider->action_values, (size_t)n * sizeof(float));
	return (struct aqm_inputs){
		.actions = aqm_mat_f32(decider->device_actions, n, 1),
		.action = decider->actions + first,
		.time = decider->times + first,
	};
}

/* Embed what the cache lacks of steps 0 .. t: returns the rows of `stream` to extend it with. */
static struct aqm_mat embed_new(aqm_decider *decider, int64_t t)
{
	const struct aqm_policy *policy = decider->policy;
	const struct aqm_encoder *encoder = &policy->encoder;
	int64_t per_step = aqm_encoder_tokens(encoder), d = encoder->width, cached = aqm_cache_length(decider->cache);
	int64_t first_state = (cached + per_step - 1) / per_step, first_action = cached / per_step;
	struct aqm_mat embedded = aqm_mat_f32(decider->embedded, (t + 1) * per_step, d);

	struct aqm_inputs inputs = upload_steps(decider, first_state, t + 1 - first_state);
	aqm_encoder_embed_states(encoder, &policy->params, &inputs,
	                         aqm_mat_rows(embedded, first_state * per_step, (t + 1 - first_state) * per_step),
	                         decider->inner, 0);
	if (first_action < t) {
		inputs = upload_actions(decider, first_action, t - first_action);
		aqm_encoder_embed_actions(encoder, &policy->params, &inputs,
		                          aqm_mat_rows(embedded, first_action * per_step, (t - first_action) * per_step));
	}
	int64_t count = t * per_step + encoder->features + 1 - cached;
	struct aqm_mat fresh = aqm_mat_rows(aqm_mat_f32(decider->stream, (t + 1) * per_step, d), cached, count);
	aqm_encoder_norm(encoder, &policy->params, aqm_mat_rows(embedded, cached, count), fresh,
	                 aqm_mat_f32(decider->mean, 1, count), aqm_mat_f32(decider->rstd, 1, count));
	return fresh;
}

/* Extend the cache to the token of s_t^F and read the logits there. */
static int compute_logits(aqm_decider *decider, float logits[AQM_ACTIONS])
{
	aqm_policy *policy = decider->policy;
	aqm_device *device = policy->device;
	bool residual = policy->config.policy.residual;
	struct aqm_mat fresh = embed_new(decider, decider->steps), last = aqm_mat_rows(fresh, fresh.rows - 1, 1);
	struct aqm_mat read = aqm_mat_f32(decider->read, 1, last.cols),
				   skipped = aqm_mat_f32(decider->skipped, 1, last.cols);

	if (residual)
		device->ops->copy(device, last, skipped);
	int code = aqm_model_extend(policy->model, decider->cache, fresh);
	if (code != AQM_OK)
		return code;
	device->ops->copy(device, last, read);
	if (residual)
		device->ops->axpy(device, 1.0f, skipped, read);
	aqm_linear_forward(&policy->params, policy->head, read, aqm_mat_f32(decider->logits, 1, AQM_ACTIONS));
	device->ops->download(device, logits, decider->logits, AQM_ACTIONS * sizeof(float));
	return aqm_device_check(device);
}

/* ---- decisions ---- */

static enum aqm_action likeliest(const float logits[AQM_ACTIONS])
{
	int best = 0;

	for (int a = 1; a < AQM_ACTIONS; a++)
		if (logits[a] > logits[best])
			best = a;
	return (enum aqm_action)best;
}

static enum aqm_action draw(struct aqm_rng *rng, const float logits[AQM_ACTIONS])
{
	double weights[AQM_ACTIONS], sum = 0, highest = (double)logits[likeliest(logits)];

	for (int a = 0; a < AQM_ACTIONS; a++)
		sum += weights[a] = exp((double)logits[a] - highest);
	double place = (double)aqm_rng_uniform(rng) * sum;
	for (int a = 0; a < AQM_ACTIONS - 1; a++) {
		if (place < weights[a])
			return (enum aqm_action)a;
		place -= weights[a];
	}
	return (enum aqm_action)(AQM_ACTIONS - 1);
}

int aqm_decider_decide(aqm_decider *decider, const double *features, enum aqm_action *action, float *logits)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t row = aqm_encoder_sequence_width(encoder);
	float found[AQM_ACTIONS];

	if (decider->decided)
		return aqm_error_set(AQM_EUSAGE, "a decision must be followed by what was observed");
	/* The step before the new one stays the step before it when the window moves, unless w = 1: keep its sequences
	 * apart. */
	const float *previous = decider->seen ? decider->sequences + (decider->steps - 1) * row : NULL;
	if (decider->steps == encoder->window) {
		bool alone = encoder->window == 1;

		restart(decider);
		previous = alone ? decider->sequences : decider->sequences + (decider->steps - 1) * row;
	}
	add_step(decider, features, previous);
	int code = compute_logits(decider, found);
	if (code != AQM_OK)
		return code;
	for (int a = 0; a < AQM_ACTIONS; a++)
		if (!isfinite(found[a]))
			return aqm_error_set(AQM_ERUN, "the policy's logits are not finite");
	*action = decider->policy->config.decide.sample ? draw(&decider->rng, found) : likeliest(found);
	if (logits)
		memcpy(logits, found, sizeof found);
	decider->decided = true;
	return AQM_OK;
}

int aqm_decider_observe(aqm_decider *decider, enum aqm_action action, double reward)
{
	if (!decider->decided)
		return aqm_error_set(AQM_EUSAGE, "an observation must follow a decision");
	if ((unsigned)action >= AQM_ACTIONS)
		return aqm_error_set(AQM_EUSAGE, "no action %d", (int)action);
	decider->actions[decider->steps] = (int32_t)action;
	decider->rewards[decider->steps] = reward;
	decider->left = after_reward(decider, decider->left, reward);
	decider->steps++;
	decider->seen++;
	decider->decided = false;
	return AQM_OK;
}
