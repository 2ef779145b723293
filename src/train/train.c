/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Setting a training up, and its end.
 */
#include "aqmtrain/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "base/thread.h"
#include "train/trainer.h"

/* ---- data ---- */

static int check_paths(const struct aqm_config *config)
{
	if (!config->model.path || !*config->model.path)
		return aqm_error_set(AQM_EUSAGE, "'model.path' names no base model");
	if (!config->pool.train || !*config->pool.train)
		return aqm_error_set(AQM_EUSAGE, "'pool.train' names no pool");
	return AQM_OK;
}

static int open_split(struct aqm_split *split, const char *path, struct aqm_trainer *t)
{
	int code = aqm_pool_open_for(&split->pool, path, t->config->control);

	if (code == AQM_OK && split == &t->train)
		code = aqm_fit_rows(&t->fit, t->config, split->pool);
	if (code == AQM_OK)
		code = aqm_rows_init(&split->rows, split->pool, t->config, &t->fit);
	return code;
}

static int prepare_eval(struct aqm_trainer *t)
{
	return t->eval.pool ? aqm_measure_trivial(&t->trivial, t->config, &t->fit, &t->eval.rows) : AQM_OK;
}

static int open_data(struct aqm_trainer *t)
{
	const struct aqm_config *config = t->config;
	int code = open_split(&t->train, config->pool.train, t);

	if (code == AQM_OK && config->pool.eval && *config->pool.eval)
		code = open_split(&t->eval, config->pool.eval, t);
	else if (code == AQM_OK)
		aqm_log_warning("'pool.eval' names no held-out pool: there will be no best/, only the last policy");
	if (code == AQM_OK)
		code = prepare_eval(t);
	if (code == AQM_OK)
		code = aqm_sampler_new(&t->sampler, config->train.sampler, t->train.pool, t->train.rows.actions,
		                       (size_t)config->policy.window, (size_t)config->train.windows_per_epoch, config->seed);
	if (code != AQM_OK)
		return code;
	uint64_t windows = aqm_sampler_windows(t->sampler), batch = (uint64_t)config->train.windows;
	t->steps_per_epoch = (windows + batch - 1) / batch;
	if (__builtin_mul_overflow(t->steps_per_epoch, (uint64_t)config->train.epochs, &t->steps) || t->steps > UINT32_MAX)
		return aqm_error_set(AQM_EUSAGE, "'train.epochs' of %" PRId64 " makes more steps than can be counted",
		                     config->train.epochs);
	if (t->steps_per_epoch == 0)
		return aqm_error_set(AQM_EDATA, "'%s' gives no windows", config->pool.train);
	return AQM_OK;
}

/* Weights of the classes in the loss; balanced: rows / (classes x rows of the class), as scikit-learn has it. */
static int weigh_classes(struct aqm_trainer *t)
{
	int present = 0;
	double counted = 0;

	for (int a = 0; a < AQM_ACTIONS; a++)
		present += t->fit.class_share[a] > 0;
	for (int a = 0; a < AQM_ACTIONS; a++) {
		double share = t->fit.class_share[a], weight = 1;

		if (t->config->train.class_weights == AQM_WEIGHTS_GIVEN)
			weight = t->config->train.class_weight[a];
		else if (t->config->train.class_weights == AQM_WEIGHTS_BALANCED)
			weight = share > 0 ? 1.0 / (present * share) : 0;
		t->class_weight[a] = (float)weight;
		counted += weight * share;
	}
	return counted > 0 ? AQM_OK
	                   : aqm_error_set(AQM_EUSAGE, "'train.class_weights' leave nothing to learn from '%s'",
	                                   t->config->pool.train);
}

/* ---- the policy ---- */

static int allocate_batch(struct aqm_trainer *t)
{
	size_t steps = (size_t)(aqm_trainer_batch(t) * t->config->policy.window);
	size_t width = (size_t)aqm_policy_outputs(t->policy) * sizeof(float);
	aqm_device *device = aqm_policy_device(t->policy);
	void *memory = NULL;

	t->windows = aqm_malloc_array((size_t)aqm_trainer_batch(t), sizeof *t->windows);
	t->logits = aqm_malloc_array(steps, width);
	t->eval_logits = aqm_malloc_array(t->eval.rows.rows, width);
	int code =
		t->windows && t->logits && t->eval_logits ? device->ops->allocate(device, steps * width, &memory) : AQM_ERUN;
	t->dlogits = memory;
	return code;
}

static int open_policy(struct aqm_trainer *t)
{
	size_t before = aqm_memory_now();
	int code = aqm_trainer_check_memory(t);

	if (code == AQM_OK)
		code = aqm_policy_new(&t->policy, t->config, &t->fit, t->config->model.path, true);
	if (code != AQM_OK)
		return code;
	size_t after = aqm_memory_now();
	aqm_trainer_warm_up(aqm_policy_device(t->policy));
	code = aqm_trainer_announce(t, after > before ? after - before : 0);
	if (code == AQM_OK)
		code = aqm_policy_allocate(t->policy, aqm_trainer_batch(t));
	if (code == AQM_OK)
		code = aqm_optimizer_init(&t->optimizer, aqm_policy_params(t->policy));
	if (code == AQM_OK)
		code = allocate_batch(t);
	return code;
}

/* ---- resuming ---- */

/* Digests of what the training is made from. */
static int identify(struct aqm_trainer *t, struct aqm_train_state *state)
{
	*state = (struct aqm_train_state){.threads = (uint64_t)aqm_threads()};
	strncpy(state->train_pool, aqm_pool_digest(t->train.pool), sizeof state->train_pool - 1);
	if (t->eval.pool)
		strncpy(state->eval_pool, aqm_pool_digest(t->eval.pool), sizeof state->eval_pool - 1);
	int code = aqm_gguf_digest(aqm_policy_gguf(t->policy), state->base);
	if (code == AQM_OK)
		code = aqm_config_digest(t->config, state->config);
	if (code == AQM_OK)
		code = aqm_params_layout(aqm_policy_params(t->policy), state->layout);
	return code;
}

static int compare_inputs(const struct aqm_trainer *t, const struct aqm_train_state *now,
                          const struct aqm_train_state *then)
{
	const struct {
		const char *key, *now, *then;
	} inputs[] = {
		{"model.path", now->base, then->base},
		{"pool.train", now->train_pool, then->train_pool},
		{"pool.eval", now->eval_pool, then->eval_pool},
	};

	for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
		if (strcmp(inputs[i].now, inputs[i].then) != 0)
			return aqm_error_set(
				AQM_EUSAGE, "cannot resume '%s': '%s' has other contents now (SHA-256 %.16s...) than before (%.16s...)",
				t->run.path, inputs[i].key, *inputs[i].now ? inputs[i].now : "none",
				*inputs[i].then ? inputs[i].then : "none");
	if (strcmp(now->config, then->config) != 0)
		return aqm_error_set(AQM_EUSAGE, "cannot resume '%s': its checkpoint was written with another configuration",
		                     t->run.path);
	return AQM_OK;
}

static int check_place(const struct aqm_trainer *t)
{
	uint64_t closed = t->state.epochs_closed, end = (closed + 1) * t->steps_per_epoch;
	if (closed > (uint64_t)t->config->train.epochs || t->state.step > t->steps ||
	    t->state.step < closed * t->steps_per_epoch || t->state.step > end)
		return aqm_error_set(AQM_EDATA, "cannot resume '%s': step %" PRIu64 " does not lie in epoch %" PRIu64,
		                     t->run.path, t->state.step, closed + 1);
	return AQM_OK;
}

/* Rank 0's checkpoint, if there is one; what it says is compared with what is there now. */
static int read_checkpoint(struct aqm_trainer *t, const struct aqm_train_state *now, bool *found)
{
	int code = aqm_checkpoint_read(t->run.path, &t->state, &t->optimizer, found);

	if (code == AQM_OK && *found)
		code = compare_inputs(t, now, &t->state);
	if (code == AQM_OK && *found)
		code = check_place(t);
	return code;
}

static int restore(struct aqm_trainer *t)
{
	struct aqm_train_state now;
	bool found = false;
	int code = aqm_ranks_agree(t->ranks, identify(t, &now));

	t->checkpoint_step = UINT64_MAX;
	t->epoch_started = -1;
	if (code == AQM_OK)
		code = aqm_together_compare(t, &now);
	if (code == AQM_OK && t->run.exists && aqm_ranks_first(t->ranks))
		code = read_checkpoint(t, &now, &found);
	code = aqm_ranks_agree(t->ranks, code);
	if (code == AQM_OK)
		code = aqm_together_restore(t, &found);
	if (code != AQM_OK)
		return code;
	if (!found) {
		if (t->options->resume && !t->run.exists)
			aqm_log_info("'%s' holds no run to go on with: a new one begins", t->run.path);
		t->state = now;
		return AQM_OK;
	}
	if (t->state.threads != now.threads)
		aqm_log_warning("this run was trained with %" PRIu64 " threads and goes on with %" PRIu64
		                ": sums may differ in their last bits",
		                t->state.threads, now.threads);
	t->state.threads = now.threads;
	t->checkpoint_step = t->state.step;
	t->elapsed_before = t->state.elapsed;
	aqm_log_info("resuming at step %" PRIu64 " of %" PRIu64, t->state.step, t->steps);
	return AQM_OK;
}

/* ---- the whole ---- */

static int finish(struct aqm_trainer *t)
{
	char *path = aqm_path_join(t->run.path, "policy.h5");
	int code = !path ? AQM_ERUN : aqm_ranks_first(t->ranks) ? aqm_policy_save(t->policy, path) : AQM_OK;

	free(path);
	if (code == AQM_OK && aqm_ranks_first(t->ranks))
		code = aqm_trainer_record(t, true);
	code = aqm_ranks_agree(t->ranks, code);
	if (code != AQM_OK)
		return code;
	if (t->state.best_step)
		aqm_log_info("best: epoch %" PRIu64 ", %s %.4f held out; peak memory %.1f MB, planned %.1f MB",
		             t->state.best_epoch, aqm_measure_best_word(t->config->control, t->config->train.best),
		             fabs(t->state.best_score), (double)aqm_memory_peak() / 1e6, (double)t->memory_planned / 1e6);
	else
		aqm_log_info("done; peak memory %.1f MB, planned %.1f MB", (double)aqm_memory_peak() / 1e6,
		             (double)t->memory_planned / 1e6);
	return AQM_OK;
}

static void release_split(struct aqm_split *split)
{
	aqm_rows_release(&split->rows);
	aqm_pool_free(split->pool);
}

static void release(struct aqm_trainer *t)
{
	aqm_journal_close(&t->journal);
	if (t->dlogits) {
		aqm_device *device = aqm_policy_device(t->policy);

		device->ops->release(device, t->dlogits);
	}
	aqm_optimizer_release(&t->optimizer);
	aqm_reduction_release(&t->reduction);
	aqm_policy_free(t->policy);
	aqm_sampler_free(t->sampler);
	release_split(&t->train);
	release_split(&t->eval);
	free(t->windows);
	free(t->logits);
	free(t->eval_logits);
	aqm_run_close(&t->run);
	free(t);
}

/* Everything up to the first step. Rank 0 has the run's folder; whatever a rank does alone is followed by agreement. */
static int set_up(struct aqm_trainer *t)
{
	bool first = aqm_ranks_first(t->ranks);
	int code = check_paths(t->config);

	if (code == AQM_OK)
		code = aqm_together_check(t);
	if (code == AQM_OK && first)
		code = aqm_run_open(&t->run, t->run.path, t->config, t->options->resume);
	if (code == AQM_OK)
		code = open_data(t);
	if (code == AQM_OK)
		code = weigh_classes(t);
	code = aqm_ranks_agree(t->ranks, code);
	if (code != AQM_OK)
		return code;
	aqm_trainer_warn(t);
	code = aqm_ranks_agree(t->ranks, open_policy(t));
	if (code == AQM_OK)
		code = aqm_reduction_init(&t->reduction, t->ranks, aqm_policy_params(t->policy));
	if (code == AQM_OK)
		code = restore(t);
	if (code == AQM_OK && first)
		code = aqm_trainer_begin(t);
	if (code == AQM_OK && first)
		code = aqm_run_start(&t->run, t->config);
	if (code == AQM_OK && first)
		code = aqm_trainer_record(t, false);
	if (code == AQM_OK && first)
		code = aqm_trainer_keep_beginning(t);
	if (code == AQM_OK && first)
		code = aqm_journal_open(&t->journal, t->run.path, t->state.metrics_bytes);
	code = aqm_ranks_agree(t->ranks, code);
	return code == AQM_OK ? aqm_together_begin(t) : code;
}

int aqm_train(const struct aqm_config *config, const char *run_path, const struct aqm_train_options *options)
{
	struct aqm_trainer *t = aqm_calloc_array(1, sizeof *t);

	if (!t)
		return AQM_ERUN;
	t->config = config;
	t->options = options;
	t->ranks = options->ranks;
	t->run = (struct aqm_run){.path = run_path, .lock = -1};
	int code = set_up(t);
	if (code == AQM_OK)
		code = aqm_trainer_run(t);
	if (code == AQM_OK)
		code = finish(t);
	release(t);
	return code;
}
