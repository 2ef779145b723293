/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a training will take, said before it starts.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
	int64_t windows = (int64_t)aqm_sampler_windows(t->sampler);
	aqm_log_info("%" PRIu64 " steps: %" PRId64 " epochs of %" PRId64 " windows, %" PRId64 " a step; %.0f tokens in all",
	             t->steps, config->train.epochs, windows,
	             config->train.windows < windows ? config->train.windows : windows, tokens);
}

/* ---- what fits ---- */

/* Dropping windows, checkpoints and a quantised base: which settings would make a training fit. */
struct fitting {
	aqm_device *device;
	const struct aqm_config *config;
	const struct aqm_fit *fit;
	size_t available, needed;
	int64_t windows; /* at once */
	char text[512];
};

/* What quantising a base means here. */
static const enum aqm_dtype smaller_type = AQM_Q4_0;

static int bytes_with(const struct fitting *f, const struct aqm_plan_settings *settings, size_t *bytes)
{
	struct aqm_memory_plan plan;
	int code = aqm_policy_estimate(f->device, f->config, f->fit, f->config->model.path, settings, &plan);

	*bytes = code == AQM_OK ? aqm_plan_total(&plan) : 0;
	return code;
}

/* The most windows, fewer than there are, with which the rest of `settings` fits; 0: none. Found by halving. */
static int most_windows(const struct fitting *f, struct aqm_plan_settings settings, int64_t *windows)
{
	int64_t fits = 0, fails = f->windows;
	int code = AQM_OK;

	while (code == AQM_OK && fails - fits > 1) {
		size_t bytes;

		settings.windows = fits + (fails - fits) / 2;
		code = bytes_with(f, &settings, &bytes);
		*(bytes <= f->available ? &fits : &fails) = settings.windows;
	}
	*windows = fits;
	return code;
}

static void suggest(struct fitting *f, const char *format, ...) AQM_PRINTF(2, 3);
static void suggest(struct fitting *f, const char *format, ...)
{
	size_t used = strlen(f->text);
	va_list arguments;

	used += (size_t)snprintf(f->text + used, sizeof f->text - used, "%s", used ? ", or with " : "; it would fit with ");
	va_start(arguments, format);
	vsnprintf(f->text + used, sizeof f->text - used, format, arguments);
	va_end(arguments);
}

/* One other setting, or two, or all three; the first way that is enough. Each is planned, none guessed. */
static int find_remedies(struct fitting *f)
{
	bool checkpoints = f->config->train.checkpoint_activations, whole = f->config->lora.rank == 0;
	size_t bytes = 0, quantised = 0;
	int64_t windows = 0;
	struct aqm_plan_settings settings = {.windows = f->windows, .checkpoints = checkpoints};
	int code = most_windows(f, settings, &windows);

	if (code == AQM_OK && windows > 0)
		suggest(f, "train.windows: %" PRId64, windows);
	settings.checkpoints = true;
	if (code == AQM_OK && !checkpoints)
		code = bytes_with(f, &settings, &bytes);
	if (code == AQM_OK && !checkpoints && bytes <= f->available)
		suggest(f, "train.checkpoint_activations: true (%.1f MB)", megabytes(bytes));
	settings.checkpoints = checkpoints;
	settings.base = whole ? NULL : &smaller_type;
	if (code == AQM_OK && !whole)
		code = bytes_with(f, &settings, &quantised);
	if (code == AQM_OK && !whole && quantised <= f->available)
		suggest(f, "the base as %s (%.1f MB)", aqm_dtype_name(smaller_type), megabytes(quantised));
	if (code != AQM_OK || *f->text)
		return code;
	settings.checkpoints = true;
	settings.base = NULL;
	code = most_windows(f, settings, &windows);
	if (code == AQM_OK && windows > 0)
		suggest(f, "train.checkpoint_activations: true and train.windows: %" PRId64, windows);
	settings.base = &smaller_type;
	if (code == AQM_OK && !whole && windows == 0) {
		code = bytes_with(f, &settings, &bytes);
		if (code == AQM_OK && bytes <= f->available)
			windows = f->windows;
		else if (code == AQM_OK)
			code = most_windows(f, settings, &windows);
		if (code == AQM_OK && windows > 0)
			suggest(f, "the base as %s, train.checkpoint_activations: true and train.windows: %" PRId64,
			        aqm_dtype_name(smaller_type), windows);
	}
	if (code == AQM_OK && !*f->text)
		snprintf(f->text, sizeof f->text, "; neither train.windows, train.checkpoint_activations nor a quantised base "
		                                  "would make it fit");
	return code;
}

int aqm_trainer_check_memory(const struct aqm_trainer *t)
{
	struct fitting f = {.config = t->config, .fit = &t->fit, .windows = aqm_trainer_batch(t)};
	const struct aqm_plan_settings now = {.windows = f.windows,
	                                      .checkpoints = t->config->train.checkpoint_activations};
	int code = aqm_device_open(&f.device, t->config->device);

	if (code == AQM_OK)
		code = aqm_device_choose(f.device, t->config->dtype);
	if (code == AQM_OK)
		code = bytes_with(&f, &now, &f.needed);
	if (code == AQM_OK)
		f.available = aqm_device_available(f.device);
	if (code == AQM_OK && f.needed > f.available) {
		code = find_remedies(&f);
		if (code == AQM_OK)
			code = aqm_error_set(AQM_ERUN, "the training needs %.1f MB of %s memory, %.1f MB more than are free%s",
			                     megabytes(f.needed), f.device->own_memory ? "GPU" : "the machine's",
			                     megabytes(f.needed - f.available), f.text);
	}
	aqm_device_close(f.device);
	return code;
}

int aqm_trainer_announce(struct aqm_trainer *t, size_t base_resident)
{
	struct aqm_memory_plan plan;
	size_t steps = (size_t)(aqm_trainer_batch(t) * t->config->policy.window), now = aqm_memory_now();
	size_t reached = aqm_memory_peak(); /* by opening and warming up: more than a tiny training takes */
	bool gpu = aqm_policy_device(t->policy)->own_memory;
	int code = aqm_policy_plan(t->policy, aqm_trainer_batch(t), &plan);

	if (code != AQM_OK)
		return code;
	if (!gpu && plan.weights < base_resident)
		plan.weights = base_resident;
	size_t other = plan.host + (now > base_resident ? now - base_resident : 0) +
	               2 * steps * AQM_ACTIONS * sizeof(float) + t->eval.rows.rows * (AQM_ACTIONS * sizeof(float) + 1);
	t->memory_planned = gpu ? now + other : aqm_plan_total(&plan) + other;
	if (t->memory_planned < reached)
		t->memory_planned = reached;
	announce_size(t);
	aqm_log_info("memory: base model %.1f MB, parameters and gradients %.1f MB, optimizer %.1f MB, activations %.1f MB, "
	             "workspace %.1f MB%s %.1f MB%s pools and program %.1f MB",
	             megabytes(plan.weights), megabytes(plan.trainables), megabytes(plan.optimizer),
	             megabytes(plan.activations), megabytes(plan.workspace), gpu ? "; on the GPU" : "; together",
	             megabytes(gpu ? aqm_plan_total(&plan) : t->memory_planned), gpu ? ", beside them" : ", with",
	             megabytes(other));
	return AQM_OK;
}
