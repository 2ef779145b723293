/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The policy put together: encoder, base transformer, head; its memory, forward and backward.
 */
#include "policy/policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "policy/internal.h"

/* ---- making one ---- */

/* Through its text: the one representation that is complete by construction. */
static int copy_config(struct aqm_config *to, const struct aqm_config *from)
{
	char *yaml = NULL;
	int code = aqm_config_dump(from, &yaml);

	if (code != AQM_OK)
		return code;
	code = aqm_config_init(to);
	if (code == AQM_OK)
		code = aqm_config_parse(to, "configuration", yaml, strlen(yaml));
	free(yaml);
	return code;
}

/* planning: NULL, or how. */
static int open_base(aqm_policy *policy, const char *base_path, const struct aqm_plan_settings *planning)
{
	struct aqm_model_options options;
	int code = aqm_gguf_open(&policy->gguf, base_path);

	if (code == AQM_OK && !planning)
		code = aqm_gguf_digest(policy->gguf, policy->base_digest);
	if (code == AQM_OK)
		code = aqm_model_options_from(&options, &policy->config);
	if (code == AQM_OK && planning) {
		options.planning = true;
		options.checkpoints = planning->checkpoints;
		options.plan_type = planning->base;
	}
	if (code == AQM_OK)
		code = aqm_model_open(&policy->model, policy->device, policy->gguf, &options, &policy->params);
	return code;
}

static int add_head(aqm_policy *policy, int64_t width)
{
	struct aqm_params *params = &policy->params;
	int64_t outputs = aqm_policy_outputs(policy);
	/* A single output starts from "p' stays as it is". */
	enum aqm_init init = outputs == 1 ? AQM_INIT_ZERO : AQM_INIT_KAIMING_UNIFORM;

	policy->head.weight = aqm_params_add(params, "policy.head.weight", outputs, width, init, (float)width, true);
	policy->head.bias = aqm_params_add(params, "policy.head.bias", 1, outputs, init, (float)width, false);
	return policy->head.weight < 0 || policy->head.bias < 0 ? AQM_ERUN : AQM_OK;
}

static int check_context(const aqm_policy *policy)
{
	const struct aqm_model_shape *shape = aqm_model_shape(policy->model);
	int64_t tokens = policy->encoder.window * aqm_encoder_tokens(&policy->encoder);

	if (tokens <= shape->context)
		return AQM_OK;
	return aqm_error_set(
		AQM_EUSAGE,
		"policy.window is %lld: its %lld tokens do not fit into the %lld that '%s' can take; at most %lld do",
		(long long)policy->encoder.window, (long long)tokens, (long long)shape->context, policy->base_path,
		(long long)(shape->context / aqm_encoder_tokens(&policy->encoder)));
}

static int open_device(aqm_policy *policy)
{
	int code = aqm_device_open(&policy->device, policy->config.device);

	return code == AQM_OK ? aqm_device_choose(policy->device, policy->config.dtype) : code;
}

/* device, planning: of a policy that is made to be planned; else NULL. */
static int make(aqm_policy **out, const struct aqm_config *config, const struct aqm_fit *fit, const char *base_path,
                bool training, aqm_device *device, const struct aqm_plan_settings *planning)
{
	aqm_policy *policy = aqm_calloc_array(1, sizeof *policy);

	*out = NULL;
	if (!policy)
		return AQM_ERUN;
	policy->fit = *fit;
	policy->training = training;
	policy->base_path = aqm_strdup(base_path);
	policy->device = device;
	policy->planned_only = planning != NULL;
	int code = policy->base_path ? copy_config(&policy->config, config) : AQM_ERUN;
	if (code == AQM_OK && !device)
		code = open_device(policy);
	if (code == AQM_OK) {
		aqm_params_init(&policy->params, policy->device);
		code = open_base(policy, base_path, planning);
	}
	if (code == AQM_OK) {
		int64_t width = aqm_model_shape(policy->model)->width;

		code = aqm_encoder_init(&policy->encoder, &policy->config, fit->longest_episode, width, &policy->params);
		if (code == AQM_OK)
			code = add_head(policy, width);
	}
	if (code == AQM_OK)
		code = check_context(policy);
	if (code != AQM_OK) {
		aqm_policy_free(policy);
		return code;
	}
	*out = policy;
	return AQM_OK;
}

int aqm_policy_new(aqm_policy **out, const struct aqm_config *config, const struct aqm_fit *fit, const char *base_path,
                   bool training)
{
	return make(out, config, fit, base_path, training, NULL, NULL);
}

static void release_buffers(aqm_policy *policy)
{
	if (policy->memory)
		policy->device->ops->release(policy->device, policy->memory);
	policy->memory = NULL;
	policy->windows = 0;
	aqm_arena_release(&policy->host);
}

void aqm_policy_free(aqm_policy *policy)
{
	if (!policy)
		return;
	if (policy->device) {
		release_buffers(policy);
		aqm_model_free(policy->model);
		aqm_params_release(&policy->params);
		if (!policy->planned_only)
			aqm_device_close(policy->device);
	}
	aqm_gguf_free(policy->gguf);
	aqm_config_release(&policy->config);
	free(policy->base_path);
	free(policy);
}

/* ---- memory ---- */

static float *take(struct aqm_arena *arena, int64_t count)
{
	return aqm_arena_take(arena, (size_t)count, sizeof(float));
}

/* Device buffers for `windows` windows, and the model's; planning or real. */
static int carve(aqm_policy *policy, struct aqm_arena *arena, int64_t windows)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	int64_t n = windows * encoder->window, tokens = n * aqm_encoder_tokens(encoder), d = encoder->width;
	bool training = policy->training;

	policy->returns = take(arena, n);
	policy->states = take(arena, n * aqm_encoder_state_width(encoder));
	policy->sequences = take(arena, n * aqm_encoder_sequence_width(encoder));
	policy->actions = take(arena, n);
	policy->action = aqm_arena_take(arena, (size_t)n, sizeof(int32_t));
	policy->time = aqm_arena_take(arena, (size_t)n, sizeof(int32_t));
	policy->embedded = take(arena, tokens * d);
	policy->stream = take(arena, tokens * d);
	policy->mean = take(arena, tokens);
	policy->rstd = take(arena, tokens);
	policy->inner = take(arena, n * encoder->hidden * (training ? encoder->features : 1));
	policy->skipped = take(arena, policy->config.policy.residual ? n * d : 0);
	policy->read = take(arena, n * d);
	policy->logits = take(arena, n * aqm_policy_outputs(policy));
	policy->dembedded = take(arena, training ? tokens * d : 0);
	policy->dinner = take(arena, training ? n * encoder->hidden : 0);
	policy->dread = take(arena, training ? n * d : 0);
	int code = aqm_model_carve(policy->model, arena, windows, encoder->window * aqm_encoder_tokens(encoder), training);
	if (code == AQM_OK && arena->overflowed)
		code = aqm_error_set(AQM_ERUN, "the activations of %lld windows do not fit into the address space",
		                     (long long)windows);
	return code;
}

static void carve_batch(aqm_policy *policy, struct aqm_arena *arena, int64_t windows)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	int64_t n = windows * encoder->window;
	struct aqm_batch *batch = &policy->batch;

	batch->windows = 0;
	batch->steps = encoder->window;
	batch->returns = take(arena, n);
	batch->states = take(arena, n * aqm_encoder_state_width(encoder));
	batch->sequences = take(arena, n * aqm_encoder_sequence_width(encoder));
	batch->actions = aqm_arena_take(arena, (size_t)n, sizeof(int32_t));
	batch->labels = aqm_arena_take(arena, (size_t)n, sizeof(int32_t));
	batch->times = aqm_arena_take(arena, (size_t)n, sizeof(int32_t));
	batch->action_values = take(arena, n);
	batch->targets = take(arena, n);
}

int aqm_policy_plan(aqm_policy *policy, int64_t windows, struct aqm_memory_plan *plan)
{
	struct aqm_arena arena, host;

	*plan = (struct aqm_memory_plan){0};
	if (policy->windows)
		return aqm_error_set(AQM_EUSAGE, "memory is planned before it is allocated");
	aqm_arena_plan(&arena);
	int code = carve(policy, &arena, windows);
	if (code != AQM_OK)
		return code;
	aqm_arena_plan(&host);
	carve_batch(policy, &host, windows);
	aqm_model_plan(policy->model, plan);
	plan->trainables = aqm_params_bytes(&policy->params, policy->training);
	plan->optimizer = policy->training ? 2 * policy->params.floats * sizeof(float) : 0;
	plan->activations = arena.used - aqm_model_expanded(policy->model);
	plan->host = host.used;
	return AQM_OK;
}

int aqm_policy_estimate(aqm_device *device, const struct aqm_config *config, const struct aqm_fit *fit,
                        const char *base_path, const struct aqm_plan_settings *settings, struct aqm_memory_plan *plan)
{
	aqm_policy *policy;
	int code = make(&policy, config, fit, base_path, true, device, settings);

	if (code != AQM_OK)
		return code;
	code = aqm_policy_plan(policy, settings->windows, plan);
	aqm_policy_free(policy);
	return code;
}

int aqm_policy_bind(aqm_policy *policy, bool load_base)
{
	if (policy->params_ready)
		return AQM_OK;
	int code = aqm_params_allocate(&policy->params, policy->training, policy->config.seed);
	if (code == AQM_OK)
		code = aqm_model_bind(policy->model, load_base);
	policy->params_ready = code == AQM_OK;
	return code;
}

int aqm_policy_allocate(aqm_policy *policy, int64_t windows)
{
	struct aqm_arena arena;
	int code = aqm_policy_bind(policy, true);

	if (code != AQM_OK || policy->windows == windows)
		return code;
	release_buffers(policy);
	aqm_arena_plan(&arena);
	code = carve(policy, &arena, windows);
	if (code == AQM_OK)
		code = policy->device->ops->allocate(policy->device, arena.used, &policy->memory);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = policy->memory, .capacity = arena.used};
	code = carve(policy, &arena, windows);
	if (code != AQM_OK)
		return code;
	aqm_arena_plan(&arena);
	carve_batch(policy, &arena, windows);
	code = aqm_arena_init(&policy->host, arena.used);
	if (code != AQM_OK)
		return code;
	carve_batch(policy, &policy->host, windows);
	policy->windows = windows;
	return AQM_OK;
}

/* ---- forward ---- */

/* n steps of the batch on the device. */
static struct aqm_inputs device_inputs(const aqm_policy *policy, int64_t n)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	bool linear = encoder->action.bias >= 0;

	return (struct aqm_inputs){
		.returns = aqm_mat_f32(policy->returns, n, 1),
		.states = aqm_mat_f32(policy->states, n, aqm_encoder_state_width(encoder)),
		.sequences = aqm_mat_f32(policy->sequences, n, aqm_encoder_sequence_width(encoder)),
		.actions = linear ? aqm_mat_f32(policy->actions, n, 1) : aqm_mat_absent(),
		.action = policy->action,
		.time = policy->time,
	};
}

static void upload_batch(aqm_policy *policy, int64_t n)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	const struct aqm_batch *batch = &policy->batch;
	aqm_device *device = policy->device;
	size_t bytes = (size_t)n * sizeof(float);

	device->ops->upload(device, policy->returns, batch->returns, bytes);
	device->ops->upload(device, policy->states, batch->states, bytes * (size_t)aqm_encoder_state_width(encoder));
	if (encoder->sequences)
		device->ops->upload(device, policy->sequences, batch->sequences,
		                    bytes * (size_t)aqm_encoder_sequence_width(encoder));
	if (encoder->action.bias >= 0)
		device->ops->upload(device, policy->actions, batch->action_values, bytes);
	device->ops->upload(device, policy->action, batch->actions, (size_t)n * sizeof(int32_t));
	device->ops->upload(device, policy->time, batch->times, (size_t)n * sizeof(int32_t));
}

/* The rows at the tokens of s_t^F, where logits are read. */
static struct aqm_mat read_rows(const aqm_policy *policy, float *stream, int64_t n)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	int64_t per_step = aqm_encoder_tokens(encoder), d = encoder->width;

	return (struct aqm_mat){
		.data = stream + encoder->features * d, .dtype = AQM_F32, .rows = n, .cols = d, .ld = per_step * d};
}

static int64_t inner_stride(const aqm_policy *policy, int64_t n)
{
	return policy->training ? n * policy->encoder.hidden : 0;
}

struct aqm_mat aqm_policy_forward(aqm_policy *policy, bool training, uint32_t step)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	const struct aqm_ops *ops = policy->device->ops;
	int64_t windows = policy->batch.windows, n = windows * encoder->window, d = encoder->width;
	int64_t tokens = encoder->window * aqm_encoder_tokens(encoder);
	struct aqm_mat embedded = aqm_mat_f32(policy->embedded, windows * tokens, d);
	struct aqm_mat stream = aqm_mat_f32(policy->stream, windows * tokens, d);
	struct aqm_mat read = aqm_mat_f32(policy->read, n, d),
				   logits = aqm_mat_f32(policy->logits, n, aqm_policy_outputs(policy));

	upload_batch(policy, n);
	struct aqm_inputs inputs = device_inputs(policy, n);
	aqm_encoder_embed_states(encoder, &policy->params, &inputs, embedded, policy->inner, inner_stride(policy, n));
	aqm_encoder_embed_actions(encoder, &policy->params, &inputs, embedded);
	aqm_encoder_norm(encoder, &policy->params, embedded, stream, aqm_mat_f32(policy->mean, 1, embedded.rows),
	                 aqm_mat_f32(policy->rstd, 1, embedded.rows));
	if (policy->config.policy.residual)
		ops->copy(policy->device, read_rows(policy, policy->stream, n), aqm_mat_f32(policy->skipped, n, d));
	aqm_model_place(policy->model, policy->batch.first);
	aqm_model_forward(policy->model, windows, tokens, stream, training, step);
	ops->copy(policy->device, read_rows(policy, policy->stream, n), read);
	if (policy->config.policy.residual)
		ops->axpy(policy->device, 1.0f, aqm_mat_f32(policy->skipped, n, d), read);
	aqm_linear_forward(&policy->params, policy->head, read, logits);
	return logits;
}

double aqm_policy_loss(aqm_policy *policy, struct aqm_mat logits, const float *class_weight, struct aqm_mat dlogits)
{
	const struct aqm_batch *batch = &policy->batch;
	const struct aqm_ops *ops = policy->device->ops;
	float ones[AQM_BINS_MAX];

	if (policy->config.control == AQM_CONTROL_PACKET)
		return ops->cross_entropy(policy->device, logits, batch->labels, class_weight, dlogits);
	if (policy->fit.levels.bins == 0)
		return ops->squared_error(policy->device, logits, batch->labels, batch->targets, dlogits);
	for (int i = 0; i < AQM_BINS_MAX; i++)
		ones[i] = 1;
	return ops->cross_entropy(policy->device, logits, batch->labels, ones, dlogits);
}

double aqm_policy_loss_weight(const aqm_policy *policy, const float *class_weight)
{
	const struct aqm_batch *batch = &policy->batch;
	bool classes = policy->config.control == AQM_CONTROL_PACKET;
	double total = 0;

	for (int64_t i = 0; i < batch->windows * batch->steps; i++)
		if (batch->labels[i] >= 0)
			total += classes ? (double)class_weight[batch->labels[i]] : 1.0;
	return total;
}

/* ---- backward ---- */

void aqm_policy_backward(aqm_policy *policy, struct aqm_mat dlogits, uint32_t step)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	const struct aqm_ops *ops = policy->device->ops;
	aqm_device *device = policy->device;
	int64_t windows = policy->batch.windows, n = windows * encoder->window, d = encoder->width;
	int64_t tokens = encoder->window * aqm_encoder_tokens(encoder), rows = windows * tokens;
	struct aqm_mat dread = aqm_mat_f32(policy->dread, n, d), dstream = aqm_mat_f32(policy->stream, rows, d);
	struct aqm_mat dembedded = aqm_mat_f32(policy->dembedded, rows, d);
	struct aqm_mat at_read = read_rows(policy, policy->stream, n);

	aqm_linear_backward(&policy->params, policy->head, dlogits, aqm_mat_f32(policy->read, n, d), dread);
	aqm_params_ready(&policy->params, policy->head.weight, 2);
	ops->zero(device, dstream); /* the hidden states are not needed any more */
	ops->copy(device, dread, at_read);
	aqm_model_backward(policy->model, windows, tokens, dstream, step);
	if (policy->config.policy.residual)
		ops->axpy(device, 1.0f, dread, at_read);
	ops->zero(device, dembedded);
	ops->layernorm_backward(device, dstream, aqm_mat_f32(policy->embedded, rows, d),
	                        aqm_params_value(&policy->params, encoder->norm.weight), aqm_mat_f32(policy->mean, 1, rows),
	                        aqm_mat_f32(policy->rstd, 1, rows), dembedded,
	                        aqm_params_gradient(&policy->params, encoder->norm.weight),
	                        aqm_params_gradient(&policy->params, encoder->norm.bias));
	struct aqm_inputs inputs = device_inputs(policy, n);
	aqm_encoder_backward(encoder, &policy->params, &inputs, dembedded, policy->inner, inner_stride(policy, n),
	                     policy->dinner);
}

double aqm_policy_flops(const aqm_policy *policy, int64_t windows, bool backward)
{
	const struct aqm_encoder *encoder = &policy->encoder;
	double n = (double)(windows * encoder->window), e = (double)encoder->hidden, d = (double)encoder->width;
	double outer = (double)encoder->features * n * e * d, inner = 0, head = n * d * (double)aqm_policy_outputs(policy);

	for (int64_t f = 0; f < encoder->features; f++)
		inner += n * e * (double)(encoder->values * (encoder->feature[f].sequence < 0 ? 1 : encoder->kernel));
	/* Forward; and in backward both gradients of the outer linears and the head, one of the inner. */
	double own = 2.0 * (outer + inner + head) + (backward ? 2.0 * (2.0 * (outer + head) + inner) : 0.0);
	return own + aqm_model_flops(policy->model, windows, encoder->window * aqm_encoder_tokens(encoder), backward);
}

/* ---- getters ---- */

struct aqm_batch *aqm_policy_batch(aqm_policy *policy)
{
	return &policy->batch;
}

aqm_device *aqm_policy_device(aqm_policy *policy)
{
	return policy->device;
}

aqm_model *aqm_policy_model(aqm_policy *policy)
{
	return policy->model;
}

aqm_gguf *aqm_policy_gguf(aqm_policy *policy)
{
	return policy->gguf;
}

struct aqm_params *aqm_policy_params(aqm_policy *policy)
{
	return &policy->params;
}

const struct aqm_fit *aqm_policy_fit(const aqm_policy *policy)
{
	return &policy->fit;
}

int64_t aqm_policy_outputs(const aqm_policy *policy)
{
	if (policy->config.control == AQM_CONTROL_PACKET)
		return AQM_ACTIONS;
	return policy->fit.levels.bins ? (int64_t)policy->fit.levels.bins : 1;
}

const struct aqm_config *aqm_policy_config(const aqm_policy *policy)
{
	return &policy->config;
}

const char *aqm_policy_base_path(const aqm_policy *policy)
{
	return policy->base_path;
}

float aqm_policy_scale_return(const aqm_policy *policy, double value)
{
	return (float)((value - policy->fit.return_mean) / policy->fit.return_scale);
}

double aqm_policy_scale_reward(const aqm_policy *policy, double value)
{
	return (value - policy->fit.rewards.low) / policy->fit.rewards.width;
}

int32_t aqm_policy_time(const aqm_policy *policy, uint64_t offset, size_t step)
{
	uint64_t row = offset + step, last = (uint64_t)policy->encoder.times - 1;

	if (policy->config.policy.time_embedding != AQM_TIME_EPISODE)
		return (int32_t)step;
	return (int32_t)(row < last ? row : last);
}

void aqm_policy_set_arithmetic(aqm_policy *policy, enum aqm_arithmetic arithmetic)
{
	policy->config.decide.arithmetic = arithmetic;
	aqm_model_set_int8(policy->model, arithmetic == AQM_ARITHMETIC_INT8);
}

int64_t aqm_policy_advance(const aqm_policy *policy)
{
	return policy->encoder.window > 1 ? policy->encoder.window / 2 : 1;
}
