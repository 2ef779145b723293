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
	double target, left; /* return-to-go before mean and scale: at a window's start, and now */
	int64_t steps;       /* finished ones in the window */
	uint64_t seen;       /* finished ones since the last reset */
	bool decided;        /* waiting for observe() */
	struct aqm_rng rng;

	/* Of the window's steps, on the host. */
	struct aqm_arena host;
	float *returns, *states, *sequences, *action_values; /* action_values: as struct aqm_batch has them */
	int32_t *actions, *times;
	double *rewards;

	/* On the device. */
	void *memory;
	float *device_returns, *device_states, *device_sequences, *device_actions;
	float *embedded, *stream, *mean, *rstd; /* (w T, d) and (w T) */
	float *inner;                           /* (w, e) */
	float *skipped, *read, *logits;         /* (1, d), (1, d), (1, outputs) */
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
	decider->logits = take(arena, aqm_policy_outputs(decider->policy));
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
	return aqm_policy_time(decider->policy, decider->seen - (uint64_t)decider->steps, (size_t)step);
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
	memmove(decider->action_values, decider->action_values + from, kept * sizeof *decider->action_values);
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

	device->ops->upload(device, decider->device_actions, decider->action_values + first, (size_t)n * sizeof(float));
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
static int compute_logits(aqm_decider *decider, float *logits)
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
	int64_t outputs = aqm_policy_outputs(policy);
	aqm_linear_forward(&policy->params, policy->head, read, aqm_mat_f32(decider->logits, 1, outputs));
	device->ops->download(device, logits, decider->logits, (size_t)outputs * sizeof(float));
	code = aqm_device_check(device);
	for (int64_t i = 0; code == AQM_OK && i < outputs; i++)
		if (!isfinite(logits[i]))
			code = aqm_error_set(AQM_ERUN, "the policy's logits are not finite");
	return code;
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

/* The head's outputs for a new step with these features. */
static int decide(aqm_decider *decider, const double *features, float *outputs)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t row = aqm_encoder_sequence_width(encoder);

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
	int code = compute_logits(decider, outputs);
	decider->decided = code == AQM_OK;
	return code;
}

static int observe(aqm_decider *decider, int32_t action, float value, double reward)
{
	if (!decider->decided)
		return aqm_error_set(AQM_EUSAGE, "an observation must follow a decision");
	decider->actions[decider->steps] = action;
	decider->action_values[decider->steps] = value;
	decider->rewards[decider->steps] = aqm_policy_scale_reward(decider->policy, reward);
	decider->left = after_reward(decider, decider->left, decider->rewards[decider->steps]);
	decider->steps++;
	decider->seen++;
	decider->decided = false;
	return AQM_OK;
}

int aqm_decider_decide(aqm_decider *decider, const double *features, enum aqm_action *action, float *logits)
{
	float found[AQM_ACTIONS];
	int code = check_control(decider, AQM_CONTROL_PACKET);

	if (code == AQM_OK)
		code = decide(decider, features, found);
	if (code != AQM_OK)
		return code;
	bool sample = decider->policy->config.decide.sample;
	*action = (enum aqm_action)(sample ? draw(&decider->rng, found, AQM_ACTIONS) : likeliest(found, AQM_ACTIONS));
	if (logits)
		memcpy(logits, found, sizeof found);
	return AQM_OK;
}

int aqm_decider_observe(aqm_decider *decider, enum aqm_action action, double reward)
{
	if ((unsigned)action >= AQM_ACTIONS)
		return aqm_error_set(AQM_EUSAGE, "no action %d", (int)action);
	int code = check_control(decider, AQM_CONTROL_PACKET);
	return code == AQM_OK ? observe(decider, (int32_t)action, aqm_action_value((int32_t)action), reward) : code;
}

static int check_probability(double p)
{
	return p >= 0 && p <= 1 ? AQM_OK : aqm_error_set(AQM_EUSAGE, "a probability of %g, expected 0 to 1", p);
}

int aqm_decider_update(aqm_decider *decider, const double *features, double now, double *next)
{
	const struct aqm_level_fit *fit = &decider->policy->fit.levels;
	float outputs[AQM_BINS_MAX];
	int code = check_control(decider, AQM_CONTROL_UPDATE);

	if (code == AQM_OK)
		code = check_probability(now);
	if (code == AQM_OK)
		code = decide(decider, features, outputs);
	if (code != AQM_OK)
		return code;
	double change = decider->policy->config.decide.sample ? fit->value[draw(&decider->rng, outputs, fit->bins)]
	                                                      : aqm_level_change(fit, outputs);
	*next = aqm_update_probability(aqm_update_level(now * 0x1p31) + change);
	return AQM_OK;
}

int aqm_decider_observe_update(aqm_decider *decider, double next, double reward)
{
	const struct aqm_level_fit *fit = &decider->policy->fit.levels;
	int code = check_control(decider, AQM_CONTROL_UPDATE);

	if (code == AQM_OK)
		code = check_probability(next);
	return code == AQM_OK
	           ? observe(decider, 0, (float)((aqm_update_level(next * 0x1p31) - fit->mean) / fit->scale), reward)
	           : code;
}
