/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/optimizer.h"

#include <math.h>

int aqm_optimizer_init(struct aqm_optimizer *optimizer, struct aqm_params *params)
{
	aqm_device *device = params->device;
	void *m = NULL, *v = NULL;

	*optimizer = (struct aqm_optimizer){.params = params};
	int code = device->ops->allocate(device, params->floats * sizeof(float), &m);
	optimizer->m = m;
	if (code == AQM_OK)
		code = device->ops->allocate(device, params->floats * sizeof(float), &v);
	optimizer->v = v;
	return code;
}

void aqm_optimizer_release(struct aqm_optimizer *optimizer)
{
	if (!optimizer->params)
		return;
	aqm_device *device = optimizer->params->device;
	if (optimizer->m)
		device->ops->release(device, optimizer->m);
	if (optimizer->v)
		device->ops->release(device, optimizer->v);
	*optimizer = (struct aqm_optimizer){0};
}

void aqm_optimizer_step(struct aqm_optimizer *optimizer, const struct aqm_config *config, uint64_t step, float lr,
                        float gradient_scale)
{
	struct aqm_params *params = optimizer->params;
	double t = (double)step + 1;
	float correction1 = (float)(1.0 - pow(config->train.beta1, t)),
		  correction2 = (float)(1.0 - pow(config->train.beta2, t));

	/* Neighbours with the same decay go in one call; the padding between them stays zero under AdamW. */
	for (size_t i = 0, next; i < params->count; i = next) {
		bool decay = params->items[i].decay;
		size_t offset = params->items[i].offset;

		for (next = i + 1; next < params->count && params->items[next].decay == decay; next++)
			;
		size_t end = next < params->count ? params->items[next].offset : params->floats;
		params->device->ops->adamw(params->device, end - offset, params->values + offset, params->gradients + offset,
		                           optimizer->m + offset, optimizer->v + offset, gradient_scale, lr,
		                           (float)config->train.beta1, (float)config->train.beta2, (float)config->train.epsilon,
		                           decay ? (float)config->train.weight_decay : 0.0f, correction1, correction2);
	}
	aqm_params_touch(params);
}

double aqm_learning_rate(const struct aqm_config *config, uint64_t step, uint64_t total)
{
	static const double pi = 3.14159265358979323846;
	double warmup = config->train.warmup, lr = config->train.lr, low = config->train.lr_min;
	double steps = floor(warmup < 1.0 ? warmup * (double)total : warmup);

	if ((double)step < steps)
		return lr * ((double)step + 1.0) / steps;
	double rest = (double)total - steps;
	double done = rest > 1.0 ? fmin(((double)step - steps) / (rest - 1.0), 1.0) : 1.0;
	switch (config->train.schedule) {
	case AQM_SCHEDULE_LINEAR:
		return lr * (1.0 - (1.0 - low) * done);
	case AQM_SCHEDULE_COSINE:
		return lr * (low + (1.0 - low) * 0.5 * (1.0 + cos(pi * done)));
	case AQM_SCHEDULE_CONSTANT:
		break;
	}
	return lr;
}
