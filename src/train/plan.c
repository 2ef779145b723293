/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a training will take, said before it starts.
 */
#include <inttypes.h>

#include "base/log.h"
#include "base/thread.h"
#include "train/trainer.h"

static double megabytes(size_t bytes)
{
	return (double)bytes / 1e6;
}

/* Large enough that every thread packs whole panels. */
void aqm_trainer_warm_up(aqm_device *device)
{
	enum { M = 2048, N = 1024, K = 512 };
	void *memory;
	size_t floats = M * K + (size_t)K * N + (size_t)M * N;

	if (device->ops->allocate(device, floats * sizeof(float), &memory) != AQM_OK)
		return; /* not needed for anything but a measurement */
	float *a = memory, *b = a + M * K, *c = b + K * N;
	device->ops->gemm(device, 1.0f, aqm_mat_f32(a, M, K), false, aqm_mat_f32(b, K, N), false, 0.0f,
	                  aqm_mat_f32(c, M, N));
	device->ops->release(device, memory);
}

/* The model's numbers: all tensors of the file, and those that are trained. */
static void announce_size(struct aqm_trainer *t)
{
	aqm_gguf *gguf = aqm_policy_gguf(t->policy);
	const struct aqm_config *config = t->config;
	double base = 0, trained = (double)aqm_params_trainable(aqm_policy_params(t->policy));
	double tokens = (double)aqm_sampler_windows(t->sampler) * (double)config->train.epochs *
	                (double)config->policy.window * (double)(config->policy.features.count + 2);

	for (size_t i = 0; i < aqm_gguf_tensors(gguf); i++) {
		const struct aqm_gguf_tensor *tensor = aqm_gguf_tensor(gguf, i);

		base += (double)tensor->ne[0] * (double)tensor->ne[1] * (double)tensor->ne[2] * (double)tensor->ne[3];
	}
	/* Adapters come on top of the base; in full fine-tuning most of what is trained is the base. */
	double all = config->lora.rank > 0 ? base + trained : (base > trained ? base : trained);
	aqm_log_info("trainable parameters: %.0f (%.2f %% of %.0f)", trained, 100.0 * trained / all, all);
	aqm_log_info("%" PRIu64 " steps: %" PRId64 " epochs of %zu windows, %" PRId64 " a step; %.0f tokens in all",
	             t->steps, config->train.epochs, aqm_sampler_windows(t->sampler), config->train.windows, tokens);
}

int aqm_trainer_announce(struct aqm_trainer *t, size_t base_resident)
{
	struct aqm_memory_plan plan;
	const struct aqm_params *params = aqm_policy_params(t->policy);
	size_t steps = (size_t)(aqm_trainer_batch(t) * t->config->policy.window), now = aqm_memory_now();
	size_t reached = aqm_memory_peak(); /* by opening and warming up: more than a tiny training takes */
	int code = aqm_policy_plan(t->policy, aqm_trainer_batch(t), &plan);

	if (code != AQM_OK)
		return code;
	size_t base = plan.weights > base_resident ? plan.weights : base_resident;
	plan.optimizer = 2 * params->floats * sizeof(float);
	plan.other = (now > base_resident ? now - base_resident : 0) + 2 * steps * AQM_ACTIONS * sizeof(float) +
	             t->eval.rows.rows * (AQM_ACTIONS * sizeof(float) + 1);
	t->memory_planned = base + plan.expanded + plan.trainables + plan.optimizer + plan.activations + plan.other;
	if (t->memory_planned < reached)
		t->memory_planned = reached;
	announce_size(t);
	aqm_log_info("memory: base model %.1f MB, expanded weights %.1f MB, parameters and gradients %.1f MB, optimizer "
	             "%.1f MB, activations %.1f MB, "
	             "pools and program %.1f MB; together %.1f MB",
	             megabytes(base), megabytes(plan.expanded), megabytes(plan.trainables), megabytes(plan.optimizer),
	             megabytes(plan.activations), megabytes(plan.other), megabytes(t->memory_planned));
	return AQM_OK;
}
