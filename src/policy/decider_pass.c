/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The passes of decisions. Streams that stand alike go together, each as a window of the same number of tokens:
 *
 *   one step on    a R s..s | a R s..s | ...              the action of the step before, the new return and state
 *   anew           R s..s a R s..s a .. R s..s (a) | ...  all steps of windows of the same length that have nothing
 *                                                         cached; (a) is not known yet, and forgotten again
 *
 * In steps of T tokens R s..s a, as the encoder writes them, the first is all but the ends of one step more:
 *
 *             block 0       block 1       block 2
 *             . . . . a     R s s s a     R s s s .        . is not used
 *
 * One step on is always the same work on the same memory, whatever has been cached, and is recorded on devices that
 * can.
 */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "policy/decider.h"

/* Streams that stand alike, and where the numbers of their n new steps lie in the inputs. */
struct group {
	int64_t count, steps;        /* of each: new steps */
	int64_t n, actions;          /* all steps; those whose action is known (or left open) */
	bool fresh, next;            /* nothing cached; windows that follow */
	int64_t tokens, first, last; /* of each window; row of the first token; the state's last token in its window */
	size_t returns, states, sequences, action_values, action, action_time, time, bytes;
};

/* ---- memory ---- */

static size_t part(size_t *bytes, int64_t count)
{
	size_t offset = *bytes;

	*bytes = aqm_size_align(offset + (size_t)count * sizeof(float), AQM_ARENA_ALIGNMENT);
	return offset;
}

static void lay_out_inputs(const struct aqm_encoder *encoder, struct group *g)
{
	g->bytes = 0;
	g->returns = part(&g->bytes, g->n);
	g->states = part(&g->bytes, g->n * aqm_encoder_state_width(encoder));
	g->sequences = part(&g->bytes, g->n * aqm_encoder_sequence_width(encoder));
	g->action_values = part(&g->bytes, g->n);
	g->action = part(&g->bytes, g->n);
	g->action_time = part(&g->bytes, g->n);
	g->time = part(&g->bytes, g->n);
}

static float *take(struct aqm_arena *arena, int64_t count)
{
	return aqm_arena_take(arena, (size_t)count, sizeof(float));
}

static size_t most_inputs(const aqm_decider *decider)
{
	struct group all = {.n = decider->most};

	lay_out_inputs(&decider->policy->encoder, &all);
	return all.bytes;
}

static void carve_device(aqm_decider *decider, struct aqm_arena *arena)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t tokens = (decider->most + 1) * aqm_encoder_tokens(encoder), d = encoder->width;

	decider->inputs = aqm_arena_take(arena, most_inputs(decider), 1);
	decider->embedded = take(arena, tokens * d);
	decider->stream = take(arena, tokens * d);
	decider->mean = take(arena, tokens);
	decider->rstd = take(arena, tokens);
	decider->inner = take(arena, decider->most * encoder->hidden);
	decider->skipped = take(arena, decider->count * d);
	decider->read = take(arena, decider->count * d);
	decider->logits = take(arena, decider->count * aqm_policy_outputs(decider->policy));
}

static void carve_host(aqm_decider *decider, struct aqm_arena *arena)
{
	size_t count = (size_t)decider->count;

	decider->host_inputs = aqm_arena_take(arena, most_inputs(decider), 1);
	decider->outputs = take(arena, decider->count * aqm_policy_outputs(decider->policy));
	decider->found = take(arena, decider->count * aqm_policy_outputs(decider->policy));
	decider->places = aqm_arena_take(arena, count, sizeof *decider->places);
	decider->members = aqm_arena_take(arena, count, sizeof *decider->members);
	decider->caches = aqm_arena_take(arena, count, sizeof *decider->caches);
	decider->done = aqm_arena_take(arena, count, sizeof *decider->done);
	decider->recordings = aqm_arena_take(arena, count + 1, sizeof *decider->recordings);
}

int aqm_decider_allocate_pass(aqm_decider *decider)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	aqm_device *device = decider->policy->device;
	struct aqm_arena arena;

	decider->most = decider->count > encoder->window ? decider->count : encoder->window;
	aqm_arena_plan(&arena);
	carve_host(decider, &arena);
	int code = aqm_arena_init(&decider->pass_host, arena.used); /* zeros */
	if (code != AQM_OK)
		return code;
	carve_host(decider, &decider->pass_host);

	aqm_arena_plan(&arena);
	carve_device(decider, &arena);
	code = device->ops->allocate(device, arena.used, &decider->memory);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = decider->memory, .capacity = arena.used};
	carve_device(decider, &arena);
	return aqm_cache_new(&decider->cache, decider->policy->model, decider->slots * decider->count,
	                     encoder->window * aqm_encoder_tokens(encoder));
}

void aqm_decider_release_pass(aqm_decider *decider)
{
	aqm_device *device = decider->policy->device;

	for (int64_t i = 0; decider->recordings && i <= decider->count; i++)
		if (decider->recordings[i].handle)
			device->ops->forget(device, decider->recordings[i].handle);
	aqm_cache_free(decider->cache);
	if (decider->memory)
		device->ops->release(device, decider->memory);
	aqm_arena_release(&decider->pass_host);
}

/* ---- inputs ---- */

static bool is_fresh(const aqm_decider *decider, int64_t stream, bool next)
{
	return aqm_cache_length(decider->cache, aqm_decider_cache(decider, stream, next)) == 0;
}

/* The stream's step at which the window begins. */
static int64_t begin_of(const aqm_decider *decider, bool next)
{
	return next ? aqm_policy_advance(decider->policy) : 0;
}

static int64_t new_steps(const aqm_decider *decider, int64_t stream, bool next)
{
	return is_fresh(decider, stream, next) ? decider->streams[stream].steps + 1 - begin_of(decider, next) : 1;
}

/* Numbers of a stream's new steps, the group's from `at` on. */
static void fill(const aqm_decider *decider, const struct group *g, const struct aqm_router *s, int64_t at)
{
	const aqm_policy *policy = decider->policy;
	const struct aqm_encoder *encoder = &policy->encoder;
	const float *returns = g->next ? s->next_returns : s->returns;
	char *to = decider->host_inputs;
	size_t states = (size_t)aqm_encoder_state_width(encoder), sequences = (size_t)aqm_encoder_sequence_width(encoder);
	int64_t begin = begin_of(decider, g->next), from = s->steps + 1 - g->steps; /* of the window; the first new step */
	uint64_t since = s->seen - (uint64_t)(s->steps - begin);

	for (int64_t i = 0; i < g->steps; i++, at++) {
		int64_t step = from + i, acted = g->fresh ? step : step - 1;
		bool open = acted == s->steps; /* it is what is being decided */

		((float *)(to + g->returns))[at] = returns[step - begin];
		memcpy((float *)(to + g->states) + (size_t)at * states, s->states + (size_t)step * states,
		       states * sizeof(float));
		memcpy((float *)(to + g->sequences) + (size_t)at * sequences, s->sequences + (size_t)step * sequences,
		       sequences * sizeof(float));
		((int32_t *)(to + g->time))[at] = aqm_policy_time(policy, since, (size_t)(step - begin));
		((float *)(to + g->action_values))[at] = open ? 0 : s->action_values[acted];
		((int32_t *)(to + g->action))[at] = open ? 0 : s->actions[acted];
		((int32_t *)(to + g->action_time))[at] = aqm_policy_time(policy, since, (size_t)(acted - begin));
	}
}

static void upload(aqm_decider *decider, const struct group *g)
{
	aqm_device *device = decider->policy->device;

	for (int64_t i = 0; i < g->count; i++)
		fill(decider, g, &decider->streams[decider->members[i]], i * g->steps);
	device->ops->upload(device, decider->inputs, decider->host_inputs, g->bytes);
}

/* ---- the pass ---- */

static struct aqm_mat rows_of(const aqm_decider *decider, float *data, int64_t first, int64_t count)
{
	int64_t d = decider->policy->encoder.width;

	return aqm_mat_f32(data + first * d, count, d);
}

/* The state's last token of each window. */
static struct aqm_mat last_rows(const aqm_decider *decider, const struct group *g)
{
	struct aqm_mat rows = rows_of(decider, decider->stream, g->first + g->last, g->count);

	rows.ld = g->tokens * rows.cols;
	return rows;
}

/* Embed all new steps; windows behind the norm are in `stream`. */
static void embed(const aqm_decider *decider, const struct group *g)
{
	const struct aqm_policy *policy = decider->policy;
	const struct aqm_encoder *encoder = &policy->encoder;
	int64_t per_step = aqm_encoder_tokens(encoder), rows = g->count * g->tokens;
	char *in = decider->inputs;
	const struct aqm_inputs states = {
		.returns = aqm_mat_f32((float *)(in + g->returns), g->n, 1),
		.states = aqm_mat_f32((float *)(in + g->states), g->n, aqm_encoder_state_width(encoder)),
		.sequences = aqm_mat_f32((float *)(in + g->sequences), g->n, aqm_encoder_sequence_width(encoder)),
		.time = (int32_t *)(in + g->time),
	};
	const struct aqm_inputs actions = {
		.actions = aqm_mat_f32((float *)(in + g->action_values), g->actions, 1),
		.action = (int32_t *)(in + g->action),
		.time = (int32_t *)(in + g->action_time),
	};

	aqm_encoder_embed_states(encoder, &policy->params, &states,
	                         rows_of(decider, decider->embedded, g->fresh ? 0 : per_step, g->n * per_step),
	                         decider->inner, 0);
	if (g->actions > 0)
		aqm_encoder_embed_actions(encoder, &policy->params, &actions,
		                          rows_of(decider, decider->embedded, 0, g->actions * per_step));
	aqm_encoder_norm(encoder, &policy->params, rows_of(decider, decider->embedded, g->first, rows),
	                 rows_of(decider, decider->stream, g->first, rows), aqm_mat_f32(decider->mean, 1, rows),
	                 aqm_mat_f32(decider->rstd, 1, rows));
	if (policy->config.policy.residual)
		policy->device->ops->copy(policy->device, last_rows(decider, g),
		                          rows_of(decider, decider->skipped, 0, g->count));
}

static void read_head(const aqm_decider *decider, const struct group *g)
{
	const struct aqm_policy *policy = decider->policy;
	struct aqm_mat read = rows_of(decider, decider->read, 0, g->count);

	policy->device->ops->copy(policy->device, last_rows(decider, g), read);
	if (policy->config.policy.residual)
		policy->device->ops->axpy(policy->device, 1.0f, rows_of(decider, decider->skipped, 0, g->count), read);
	aqm_linear_forward(&policy->params, policy->head, read,
	                   aqm_mat_f32(decider->logits, g->count, aqm_policy_outputs(policy)));
}

/* What is the same work for every group of this size that goes one step on. */
static void run_once(const aqm_decider *decider, const struct group *g)
{
	embed(decider, g);
	aqm_cache_run(decider->cache, g->count, rows_of(decider, decider->stream, g->first, g->count * g->tokens));
	read_head(decider, g);
}

/* The same from a recording, which is made when this has run before. */
static void run_recorded(aqm_decider *decider, const struct group *g)
{
	struct aqm_recording *recording = &decider->recordings[g->count];
	aqm_device *device = decider->policy->device;

	if (!recording->handle && recording->ran && !recording->failed && device->ops->record) {
		int code = device->ops->record(device);

		if (code == AQM_OK) {
			run_once(decider, g);
			code = device->ops->recorded(device, &recording->handle);
		}
		recording->failed = code != AQM_OK;
	}
	if (recording->handle)
		device->ops->replay(device, recording->handle);
	else
		run_once(decider, g);
	recording->ran = true;
}

/* Windows that one pass does not take. */
static int run_in_parts(aqm_decider *decider, const struct group *g)
{
	embed(decider, g);
	int code = aqm_model_extend(decider->policy->model, decider->cache, decider->caches, g->count,
	                            rows_of(decider, decider->stream, g->first, g->count * g->tokens));

	if (code == AQM_OK)
		read_head(decider, g);
	return code;
}

static int run_group(aqm_decider *decider, const struct group *g)
{
	bool at_once = aqm_cache_takes(decider->cache, g->count, g->tokens);
	int code = at_once ? aqm_cache_aim(decider->cache, decider->caches, g->count, g->tokens) : AQM_OK;

	if (code != AQM_OK)
		return code;
	upload(decider, g);
	if (!at_once)
		code = run_in_parts(decider, g);
	else if (g->fresh)
		run_once(decider, g);
	else
		run_recorded(decider, g);
	if (code != AQM_OK)
		return code;
	if (at_once)
		aqm_cache_advance(decider->cache, decider->caches, g->count, g->tokens);
	for (int64_t i = 0; i < g->count; i++) /* without an action that is left open */
		aqm_cache_truncate(decider->cache, decider->caches[i],
		                   aqm_cache_length(decider->cache, decider->caches[i]) - (g->tokens - 1 - g->last));
	return AQM_OK;
}

/* ---- all streams ---- */

static struct group describe(const aqm_decider *decider, int64_t count, bool fresh, int64_t steps)
{
	const struct aqm_encoder *encoder = &decider->policy->encoder;
	int64_t per_step = aqm_encoder_tokens(encoder);
	struct group g = {.count = count, .steps = steps, .n = count * steps, .actions = count * steps, .fresh = fresh};

	g.tokens = steps * per_step;
	g.first = fresh ? 0 : per_step - 1;
	g.last = fresh ? g.tokens - 2 : g.tokens - 1;
	if (fresh && count == 1) { /* the open action is the end of all: leave it out */
		g.tokens--;
		g.actions--;
	}
	lay_out_inputs(encoder, &g);
	return g;
}

/* Collect streams like the first that is not done, as many as go together. */
static struct group next_group(aqm_decider *decider, int64_t count, const int64_t *streams, bool next, int64_t first)
{
	bool fresh = is_fresh(decider, streams[first], next);
	int64_t steps = new_steps(decider, streams[first], next), found = 0, most = decider->most / steps;

	if (fresh && !decider->policy->config.model.causal)
		most = 1; /* an open action would be seen */
	for (int64_t i = first; i < count && found < most; i++) {
		if (decider->done[i] || is_fresh(decider, streams[i], next) != fresh ||
		    new_steps(decider, streams[i], next) != steps)
			continue;
		decider->done[i] = true;
		decider->members[found] = streams[i];
		decider->caches[found] = aqm_decider_cache(decider, streams[i], next);
		decider->places[found++] = i;
	}
	struct group g = describe(decider, found, fresh, steps);

	g.next = next;
	return g;
}

/* The group's outputs to where the caller wants them. */
static int deliver(const aqm_decider *decider, const struct group *g, float *outputs)
{
	aqm_device *device = decider->policy->device;
	int64_t width = aqm_policy_outputs(decider->policy);

	device->ops->download(device, decider->found, decider->logits, (size_t)(g->count * width) * sizeof(float));
	int code = aqm_device_check(device);

	for (int64_t i = 0; code == AQM_OK && i < g->count * width; i++) {
		outputs[decider->places[i / width] * width + i % width] = decider->found[i];
		if (!isfinite(decider->found[i]))
			code = aqm_error_set(AQM_ERUN, "the policy's logits are not finite");
	}
	return code;
}

int aqm_decider_pass(aqm_decider *decider, int64_t count, const int64_t *streams, bool next, float *outputs)
{
	int code = AQM_OK;

	memset(decider->done, 0, (size_t)decider->count * sizeof *decider->done);
	for (int64_t first = 0; code == AQM_OK && first < count; first++) {
		if (decider->done[first])
			continue;
		struct group g = next_group(decider, count, streams, next, first);

		code = run_group(decider, &g);
		if (code == AQM_OK)
			code = outputs ? deliver(decider, &g, outputs) : aqm_device_check(decider->policy->device);
	}
	return code;
}
