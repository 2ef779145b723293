/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The state encoder: returns, features and actions of n steps into tokens of width d, and back.
 */
#include <stdio.h>
#include <string.h>

#include "policy/internal.h"

static const float leaky_slope = 0.01f, norm_epsilon = 1e-5f, table_deviation = 0.02f;

/* Up to this many rows the op that reads a weight once beats packing it for a GEMM. */
enum { FEW_ROWS = 16 };

/* ---- linear ---- */

void aqm_linear_forward(const struct aqm_params *params, struct aqm_linear linear, struct aqm_mat x, struct aqm_mat y)
{
	aqm_device *device = params->device;
	struct aqm_mat weight = aqm_params_value(params, linear.weight);

	if (x.rows <= FEW_ROWS)
		device->ops->linear_few(device, x, weight, 0.0f, y);
	else
		device->ops->gemm(device, 1.0f, x, false, weight, true, 0.0f, y);
	device->ops->bias_forward(device, aqm_params_value(params, linear.bias), y);
}

void aqm_linear_backward(const struct aqm_params *params, struct aqm_linear linear, struct aqm_mat dy, struct aqm_mat x,
                         struct aqm_mat dx)
{
	aqm_device *device = params->device;

	device->ops->gemm(device, 1.0f, dy, true, x, false, 1.0f, aqm_params_gradient(params, linear.weight));
	device->ops->bias_backward(device, dy, aqm_params_gradient(params, linear.bias));
	if (dx.data)
		device->ops->gemm(device, 1.0f, dy, false, aqm_params_value(params, linear.weight), false, 0.0f, dx);
}

/* Register "policy.<name>.weight" (out, in) and ".bias", initialised as PyTorch does: uniform in +-1/sqrt(in). */
static int add_linear(struct aqm_params *params, const char *name, int64_t in, int64_t out, struct aqm_linear *linear)
{
	char full[sizeof params->items->name];

	snprintf(full, sizeof full, "policy.%s.weight", name);
	linear->weight = aqm_params_add(params, full, out, in, AQM_INIT_KAIMING_UNIFORM, (float)in, true);
	if (linear->weight < 0)
		return (int)linear->weight;
	snprintf(full, sizeof full, "policy.%s.bias", name);
	linear->bias = aqm_params_add(params, full, 1, out, AQM_INIT_KAIMING_UNIFORM, (float)in, false);
	return linear->bias < 0 ? (int)linear->bias : AQM_OK;
}

/* ---- parameters ---- */

static int64_t sequence_place(const struct aqm_config *config, const char *feature)
{
	for (size_t i = 0; i < config->policy.sequences.count; i++)
		if (strcmp(config->policy.sequences.items[i], feature) == 0)
			return (int64_t)i;
	return -1;
}

static int add_features(struct aqm_encoder *encoder, const struct aqm_config *config, struct aqm_params *params)
{
	for (int64_t f = 0; f < encoder->features; f++) {
		struct aqm_feature *feature = &encoder->feature[f];
		const char *name = config->policy.features.items[f];
		char part[96];

		feature->sequence = sequence_place(config, name);
		snprintf(part, sizeof part, "state.%s.in", name);
		int code = add_linear(params, part, encoder->values * (feature->sequence < 0 ? 1 : encoder->kernel),
		                      encoder->hidden, &feature->in);
		if (code != AQM_OK)
			return code;
		snprintf(part, sizeof part, "state.%s.out", name);
		code = add_linear(params, part, encoder->hidden, encoder->width, &feature->out);
		if (code != AQM_OK)
			return code;
	}
	return AQM_OK;
}

static int add_action(struct aqm_encoder *encoder, const struct aqm_config *config, struct aqm_params *params)
{
	if (config->policy.action_embedding == AQM_ACTION_LINEAR || config->control == AQM_CONTROL_UPDATE)
		return add_linear(params, "action", 1, encoder->width, &encoder->action);
	encoder->action.bias = -1;
	encoder->action.weight = aqm_params_add(params, "policy.action.table", AQM_ACTIONS, encoder->width, AQM_INIT_NORMAL,
	                                        table_deviation, true);
	return encoder->action.weight < 0 ? (int)encoder->action.weight : AQM_OK;
}

int aqm_encoder_init(struct aqm_encoder *encoder, const struct aqm_config *config, int64_t longest_episode,
                     int64_t width, struct aqm_params *params)
{
	size_t features = config->policy.features.count;

	if (features == 0 || features > AQM_FEATURES_MAX)
		return aqm_error_set(AQM_EUSAGE, "policy.features names %zu features; from 1 to %d are possible", features,
		                     AQM_FEATURES_MAX);
	*encoder = (struct aqm_encoder){
		.features = (int64_t)features,
		.sequences = (int64_t)config->policy.sequences.count,
		.kernel = config->policy.kernel,
		.values = (int64_t)aqm_normaliser_values(config->policy.normaliser),
		.hidden = config->policy.encoder_width,
		.width = width,
		.window = config->policy.window,
		.times = config->policy.window,
	};
	if (config->policy.time_embedding == AQM_TIME_EPISODE && longest_episode > encoder->times)
		encoder->times = longest_episode;
	int code = add_linear(params, "return", 1, width, &encoder->returns);
	if (code == AQM_OK)
		code = add_features(encoder, config, params);
	if (code == AQM_OK)
		code = add_action(encoder, config, params);
	if (code != AQM_OK)
		return code;
	encoder->time =
		aqm_params_add(params, "policy.time.table", encoder->times, width, AQM_INIT_NORMAL, table_deviation, true);
	encoder->norm.weight = aqm_params_add(params, "policy.norm.weight", 1, width, AQM_INIT_ONE, 0, false);
	encoder->norm.bias = aqm_params_add(params, "policy.norm.bias", 1, width, AQM_INIT_ZERO, 0, false);
	return encoder->time < 0 || encoder->norm.weight < 0 || encoder->norm.bias < 0 ? AQM_ERUN : AQM_OK;
}

/* ---- forward ---- */

/* Token j of each step, as a matrix of its own. */
static struct aqm_mat token_rows(const struct aqm_encoder *encoder, struct aqm_mat tokens, int64_t j)
{
	int64_t per_step = aqm_encoder_tokens(encoder);

	return (struct aqm_mat){.data = (float *)tokens.data + j * tokens.ld,
	                        .dtype = AQM_F32,
	                        .rows = tokens.rows / per_step,
	                        .cols = tokens.cols,
	                        .ld = per_step * tokens.ld};
}

/* What feature f reads: V columns of the states, or k V columns of the sequences. */
static struct aqm_mat feature_input(const struct aqm_encoder *encoder, const struct aqm_inputs *inputs, int64_t f)
{
	int64_t sequence = encoder->feature[f].sequence;

	if (sequence < 0)
		return aqm_mat_cols(inputs->states, f * encoder->values, encoder->values);
	return aqm_mat_cols(inputs->sequences, sequence * encoder->kernel * encoder->values,
	                    encoder->kernel * encoder->values);
}

static void add_time(const struct aqm_encoder *encoder, const struct aqm_params *params, const int32_t *time,
                     struct aqm_mat y)
{
	params->device->ops->gather(params->device, aqm_params_value(params, encoder->time), time, true, y);
}

void aqm_encoder_embed_states(const struct aqm_encoder *encoder, const struct aqm_params *params,
                              const struct aqm_inputs *inputs, struct aqm_mat tokens, float *inner,
                              int64_t inner_stride)
{
	aqm_device *device = params->device;
	struct aqm_mat y = token_rows(encoder, tokens, 0);

	aqm_linear_forward(params, encoder->returns, inputs->returns, y);
	add_time(encoder, params, inputs->time, y);
	for (int64_t f = 0; f < encoder->features; f++) {
		struct aqm_mat h = aqm_mat_f32(inner + f * inner_stride, y.rows, encoder->hidden);

		aqm_linear_forward(params, encoder->feature[f].in, feature_input(encoder, inputs, f), h);
		device->ops->activation_forward(device, AQM_LEAKY_RELU, leaky_slope, h, h);
		y = token_rows(encoder, tokens, 1 + f);
		aqm_linear_forward(params, encoder->feature[f].out, h, y);
		add_time(encoder, params, inputs->time, y);
	}
}

void aqm_encoder_embed_actions(const struct aqm_encoder *encoder, const struct aqm_params *params,
                               const struct aqm_inputs *inputs, struct aqm_mat tokens)
{
	aqm_device *device = params->device;
	struct aqm_mat y = token_rows(encoder, tokens, encoder->features + 1);

	if (encoder->action.bias < 0)
		device->ops->gather(device, aqm_params_value(params, encoder->action.weight), inputs->action, false, y);
	else
		aqm_linear_forward(params, encoder->action, inputs->actions, y);
	add_time(encoder, params, inputs->time, y);
}

void aqm_encoder_norm(const struct aqm_encoder *encoder, const struct aqm_params *params, struct aqm_mat tokens,
                      struct aqm_mat y, struct aqm_mat mean, struct aqm_mat rstd)
{
	params->device->ops->layernorm_forward(params->device, tokens, aqm_mat_absent(),
	                                       aqm_params_value(params, encoder->norm.weight),
	                                       aqm_params_value(params, encoder->norm.bias), norm_epsilon, y, mean, rstd);
}

/* ---- backward ---- */

void aqm_encoder_backward(const struct aqm_encoder *encoder, const struct aqm_params *params,
                          const struct aqm_inputs *inputs, struct aqm_mat dtokens, const float *inner,
                          int64_t inner_stride, float *dinner)
{
	aqm_device *device = params->device;
	struct aqm_mat dy = token_rows(encoder, dtokens, 0);
	struct aqm_mat dh = aqm_mat_f32(dinner, dy.rows, encoder->hidden);

	for (int64_t j = 0; j < aqm_encoder_tokens(encoder); j++)
		device->ops->scatter_add(device, token_rows(encoder, dtokens, j), inputs->time,
		                         aqm_params_gradient(params, encoder->time));
	aqm_linear_backward(params, encoder->returns, dy, inputs->returns, aqm_mat_absent());
	for (int64_t f = 0; f < encoder->features; f++) {
		struct aqm_mat h = aqm_mat_f32((float *)(uintptr_t)(inner + f * inner_stride), dy.rows, encoder->hidden);

		dy = token_rows(encoder, dtokens, 1 + f);
		aqm_linear_backward(params, encoder->feature[f].out, dy, h, dh);
		/* The slope is positive: the sign of what came out of the leaky ReLU is that of what went in. */
		device->ops->activation_backward(device, AQM_LEAKY_RELU, leaky_slope, dh, h, dh);
		aqm_linear_backward(params, encoder->feature[f].in, dh, feature_input(encoder, inputs, f), aqm_mat_absent());
	}
	dy = token_rows(encoder, dtokens, encoder->features + 1);
	if (encoder->action.bias < 0)
		device->ops->scatter_add(device, dy, inputs->action, aqm_params_gradient(params, encoder->action.weight));
	else
		aqm_linear_backward(params, encoder->action, dy, inputs->actions, aqm_mat_absent());
}
