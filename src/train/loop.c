/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The training loop: steps, epochs, evaluation, checkpoints. What happens depends on the state alone, so that a
 * resumed run does what an undisturbed one would have done.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "base/thread.h"
#include "train/trainer.h"

static uint64_t epoch_of(const struct aqm_trainer *t)
{
	return t->state.epochs_closed;
}

/* ---- checkpoints ---- */

/* Rank 0 writes. */
static int checkpoint(struct aqm_trainer *t)
{
	t->state.elapsed = t->elapsed_before + aqm_clock_seconds() - t->started;
	t->state.metrics_bytes = t->journal.bytes;
	int code = aqm_ranks_first(t->ranks) ? aqm_journal_sync(&t->journal) : AQM_OK;
	if (code == AQM_OK && aqm_ranks_first(t->ranks))
		code = aqm_checkpoint_write(t->run.path, &t->state, &t->optimizer, t->config->train.keep_checkpoints);
	code = aqm_ranks_agree(t->ranks, code);
	if (code == AQM_OK)
		t->checkpoint_step = t->state.step;
	return code;
}

static int interrupted(struct aqm_trainer *t)
{
	int code = checkpoint(t);

	if (code != AQM_OK)
		return code;
	return aqm_error_set(AQM_EINTERRUPTED,
	                     "interrupted after step %" PRIu64 " of %" PRIu64 "; --resume goes on from there",
	                     t->state.step, t->steps);
}

static int diverged(const struct aqm_trainer *t, const char *what, double value)
{
	value = fabs(value); /* "-nan" tells no more than "nan" */
	if (t->state.step == 0) /* nothing was learned yet, and features are finite */
		return aqm_error_set(AQM_ERUN, "before the first step %s is not finite (%g); are the weights of '%s'?", what, value,
		                     t->config->model.path);
	if (t->checkpoint_step == UINT64_MAX)
		return aqm_error_set(AQM_ERUN, "step %" PRIu64 ": %s is not finite (%g); no checkpoint was written yet",
		                     t->state.step, what, value);
	return aqm_error_set(AQM_ERUN,
	                     "step %" PRIu64 ": %s is not finite (%g); the checkpoint of step %" PRIu64 " is intact",
	                     t->state.step, what, value, t->checkpoint_step);
}

/* ---- one step ---- */

static void count_hits(struct aqm_trainer *t, struct aqm_mat logits)
{
	aqm_device *device = aqm_policy_device(t->policy);
	const int32_t *labels = aqm_policy_batch(t->policy)->labels;

	device->ops->download(device, t->logits, logits.data, (size_t)(logits.rows * logits.cols) * sizeof(float));
	for (int64_t i = 0; i < logits.rows; i++) {
		if (labels[i] < 0)
			continue;
		t->state.epoch_rows++;
		t->state.epoch_hits += aqm_measure_hit(t->policy, aqm_policy_batch(t->policy), i, t->logits + i * logits.cols);
	}
}

/* Windows of the epoch that the next step is made of, over all ranks: the place of the first, and how many. */
static int find_windows(struct aqm_trainer *t, size_t *first, size_t *count)
{
	uint64_t place = t->state.step - epoch_of(t) * t->steps_per_epoch;
	size_t most = (size_t)t->config->train.windows, total = aqm_sampler_windows(t->sampler);

	*first = (size_t)place * most;
	*count = total - *first < most ? total - *first : most;
	if (t->epoch_started == (int64_t)epoch_of(t))
		return AQM_OK;
	int code = aqm_sampler_start_epoch(t->sampler, (uint32_t)epoch_of(t));
	if (code == AQM_OK)
		t->epoch_started = (int64_t)epoch_of(t);
	return code;
}

/* What the backward passes of a step leave behind: the mean loss, and in the parameters' gradients a sum whose norm times
 * `scale` is the gradient to step along. */
struct gradient {
	double loss, norm, scale;
};

/* Forward, loss and backward of windows [first, first + count): gradients +=. `number` tells dropout's masks apart. */
static int add_gradient(struct aqm_trainer *t, size_t first, size_t count, uint32_t number, struct gradient *g)
{
	aqm_device *device = aqm_policy_device(t->policy);
	struct aqm_params *params = aqm_policy_params(t->policy);

	for (size_t i = 0; i < count; i++)
		t->windows[i] = aqm_sampler_window(t->sampler, first + i);
	aqm_policy_fill(t->policy, &t->train.rows, t->windows, NULL, (int64_t)count);
	struct aqm_mat logits = aqm_policy_forward(t->policy, true, number);
	struct aqm_mat dlogits = aqm_mat_f32(t->dlogits, logits.rows, logits.cols);
	g->loss = aqm_policy_loss(t->policy, logits, t->class_weight, dlogits);
	if (!isfinite(g->loss))
		return diverged(t, "the loss", g->loss);
	count_hits(t, logits);
	aqm_policy_backward(t->policy, dlogits, number);
	g->norm = sqrt(device->ops->sum_squares(device, params->gradients, params->floats));
	return isfinite(g->norm) ? AQM_OK : diverged(t, "the gradient", g->norm);
}

/* All windows at once, clipped once. */
static int gradient_at_once(struct aqm_trainer *t, size_t first, size_t count, struct gradient *g)
{
	double clip = t->config->train.clip;
	int code = add_gradient(t, first, count, (uint32_t)t->state.step, g);

	g->scale = clip > 0 && g->norm > clip ? clip / g->norm : 1.0;
	return code;
}

/* What ranks tell one another of a step. */
enum { TOLD_LOSS, TOLD_WEIGHT, TOLD_ROWS, TOLD_HITS, TOLD };

/* Forward, loss and backward of this rank's share; the gradients become the sum over all ranks of (mean gradient x its
 * weight), the sums in `told`. A share without windows runs one that weighs nothing, so that all take the same way. */
static int add_share(struct aqm_trainer *t, size_t first, size_t count, double told[TOLD])
{
	aqm_device *device = aqm_policy_device(t->policy);
	int rank = aqm_ranks_rank(t->ranks), size = aqm_ranks_size(t->ranks);
	size_t from = aqm_ranks_share(count, rank, size), n = aqm_ranks_share(count, rank + 1, size) - from;
	uint64_t rows = t->state.epoch_rows, hits = t->state.epoch_hits;
	bool idle = n == 0;

	n += idle;
	from -= idle && from == count;
	for (size_t i = 0; i < n; i++)
		t->windows[i] = aqm_sampler_window(t->sampler, first + from + i);
	aqm_policy_fill(t->policy, &t->train.rows, t->windows, NULL, (int64_t)n);
	aqm_policy_batch(t->policy)->first = (int64_t)from;
	uint32_t number = (uint32_t)t->state.step;
	struct aqm_mat logits = aqm_policy_forward(t->policy, true, number);
	struct aqm_mat dlogits = aqm_mat_f32(t->dlogits, logits.rows, logits.cols);
	double loss = aqm_policy_loss(t->policy, logits, t->class_weight, dlogits);
	double weight = idle ? 0 : aqm_policy_loss_weight(t->policy, t->class_weight);
	if (!idle)
		count_hits(t, logits);
	device->ops->scale(device, (float)weight, dlogits);
	aqm_reduction_begin(&t->reduction);
	aqm_policy_backward(t->policy, dlogits, number);
	int code = aqm_reduction_finish(&t->reduction);

	told[TOLD_LOSS] = idle ? 0 : weight * loss;
	told[TOLD_WEIGHT] = weight;
	told[TOLD_ROWS] = (double)(t->state.epoch_rows - rows);
	told[TOLD_HITS] = (double)(t->state.epoch_hits - hits);
	t->state.epoch_rows = rows;
	t->state.epoch_hits = hits;
	return code == AQM_OK ? aqm_ranks_sum(t->ranks, told, TOLD) : code;
}

/* All windows at once, each rank its share, clipped once. Every rank finds the same. */
static int gradient_of_ranks(struct aqm_trainer *t, size_t first, size_t count, struct gradient *g)
{
	aqm_device *device = aqm_policy_device(t->policy);
	struct aqm_params *params = aqm_policy_params(t->policy);
	double clip = t->config->train.clip, told[TOLD];
	int code = add_share(t, first, count, told);

	if (code != AQM_OK)
		return code;
	double weight = told[TOLD_WEIGHT] > 0 ? told[TOLD_WEIGHT] : 1;
	t->state.epoch_rows += (uint64_t)told[TOLD_ROWS];
	t->state.epoch_hits += (uint64_t)told[TOLD_HITS];
	g->loss = told[TOLD_LOSS] / weight;
	if (!isfinite(g->loss))
		return diverged(t, "the loss", g->loss);
	g->norm = sqrt(device->ops->sum_squares(device, params->gradients, params->floats)) / weight;
	g->scale = (clip > 0 && g->norm > clip ? clip / g->norm : 1.0) / weight;
	return isfinite(g->norm) ? AQM_OK : diverged(t, "the gradient", g->norm);
}

/* One window after the other, each for its B-th part; the sum so far is clipped behind each. (The paper's trainer: B
 * windows of accumulation, and clip_grad_norm_ between backward() and the step that may follow.) The sum is kept B
 * times as large until the step. */
static int gradient_one_by_one(struct aqm_trainer *t, size_t first, size_t count, struct gradient *g)
{
	aqm_device *device = aqm_policy_device(t->policy);
	struct aqm_params *params = aqm_policy_params(t->policy);
	double parts = (double)t->config->train.windows, most = t->config->train.clip * parts, loss = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t number = (uint32_t)(t->state.step * (uint64_t)t->config->train.windows + i);
		int code = add_gradient(t, first + i, 1, number, g);

		if (code != AQM_OK)
			return code;
		if (most > 0 && g->norm > most)
			device->ops->scale(device, (float)(most / g->norm),
			                   aqm_mat_f32(params->gradients, 1, (int64_t)params->floats));
		loss += g->loss;
	}
	*g = (struct gradient){.loss = loss / (double)count, .norm = g->norm / parts, .scale = 1.0 / parts};
	return AQM_OK;
}

static int journal_step(struct aqm_trainer *t, double loss, double lr, double norm, double tokens_per_s)
{
	double elapsed = t->elapsed_before + aqm_clock_seconds() - t->started;

	aqm_progress_note(&t->progress, "loss %.4f, %.0f tokens/s", loss, tokens_per_s);
	aqm_progress_update(&t->progress, t->state.step);
	return aqm_journal_write(&t->journal,
	                         json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "step", (json_int_t)t->state.step,
	                                   "epoch", (json_int_t)epoch_of(t) + 1, "loss", aqm_json_number(loss), "lr",
	                                   aqm_json_number(lr), "grad_norm", aqm_json_number(norm), "tokens_per_s",
	                                   aqm_json_number(tokens_per_s), "elapsed_s", aqm_json_number(elapsed)));
}

/* Forward, loss, backward, clip, update. */
static int train_step(struct aqm_trainer *t)
{
	struct aqm_params *params = aqm_policy_params(t->policy);
	aqm_device *device = aqm_policy_device(t->policy);
	double before = aqm_clock_seconds();
	struct gradient g = {0};
	size_t first, count;
	int code = find_windows(t, &first, &count);

	if (code != AQM_OK)
		return code;
	device->ops->zero(device, aqm_mat_f32(params->gradients, 1, (int64_t)params->floats));
	if (aqm_ranks_size(t->ranks) > 1)
		code = gradient_of_ranks(t, first, count, &g);
	else if (t->config->train.clip_each)
		code = gradient_one_by_one(t, first, count, &g);
	else
		code = gradient_at_once(t, first, count, &g);
	if (code != AQM_OK)
		return code;
	double lr = aqm_learning_rate(t->config, t->state.step, t->steps);
	aqm_optimizer_step(&t->optimizer, t->config, t->state.step, (float)lr, (float)g.scale);
	code = aqm_device_check(device);
	if (code != AQM_OK)
		return code;
	t->state.epoch_loss += g.loss;
	t->state.step++;
	double tokens = (double)(count * (size_t)t->config->policy.window) * (double)(t->config->policy.features.count + 2);
	return journal_step(t, g.loss, lr, g.norm, tokens / (aqm_clock_seconds() - before));
}

/* ---- the end of an epoch ---- */

static bool is_best(const struct aqm_trainer *t, const struct aqm_measure *measure)
{
	double score = aqm_measure_score(measure, t->config->train.best);

	if (t->config->train.best == AQM_BEST_LAST)
		return true;
	return !t->state.best_step || score > t->state.best_score ||
	       (score == t->state.best_score && aqm_measure_loss(measure) < t->state.best_loss);
}

static int save_best(struct aqm_trainer *t, const struct aqm_measure *measure)
{
	if (!is_best(t, measure))
		return AQM_OK;
	char *folder = aqm_path_join(t->run.path, "best"), *path = folder ? aqm_path_join(folder, "policy.h5") : NULL;
	int code = !path ? AQM_ERUN : aqm_ranks_first(t->ranks) ? aqm_make_folders(folder) : AQM_OK;

	if (code == AQM_OK && aqm_ranks_first(t->ranks))
		code = aqm_policy_save(t->policy, path);
	if (code == AQM_OK) {
		t->state.best_score = aqm_measure_score(measure, t->config->train.best);
		t->state.best_loss = aqm_measure_loss(measure);
		t->state.best_step = t->state.step;
		t->state.best_epoch = epoch_of(t) + 1;
	}
	free(folder);
	free(path);
	return code;
}

static int label_line(json_t *line, const struct aqm_trainer *t, const char *split)
{
	double elapsed = t->elapsed_before + aqm_clock_seconds() - t->started;

	if (line && json_object_set_new(line, "split", json_string(split)) == 0 &&
	    json_object_set_new(line, "step", json_integer((json_int_t)t->state.step)) == 0 &&
	    json_object_set_new(line, "epoch", json_integer((json_int_t)epoch_of(t) + 1)) == 0 &&
	    json_object_set_new(line, "elapsed_s", aqm_json_number(elapsed)) == 0)
		return AQM_OK;
	return aqm_error_set(AQM_ERUN, "no memory for a line of metrics");
}

static int journal_train(struct aqm_trainer *t, double loss, double share)
{
	const char *what = t->config->control == AQM_CONTROL_UPDATE ? "within_10_percent" : "accuracy";
	json_t *line = json_pack("{s:I, s:o, s:o}", "rows", (json_int_t)t->state.epoch_rows, "loss", aqm_json_number(loss),
	                         what, aqm_json_number(share));
	int code = label_line(line, t, "train");

	if (code == AQM_OK)
		return aqm_journal_write(&t->journal, line);
	json_decref(line);
	return code;
}

static int journal_eval(struct aqm_trainer *t, const struct aqm_measure *measure)
{
	json_t *line = aqm_measure_json(measure);
	int code = label_line(line, t, "eval");

	if (code == AQM_OK && json_object_set_new(line, "baselines", aqm_measure_trivial_json(&t->trivial)) != 0)
		code = aqm_error_set(AQM_ERUN, "no memory for a line of metrics");
	if (code == AQM_OK)
		return aqm_journal_write(&t->journal, line);
	json_decref(line);
	return code;
}

static int evaluate(struct aqm_trainer *t, struct aqm_measure *measure)
{
	size_t outputs = t->eval.rows.rows * (size_t)aqm_policy_outputs(t->policy);
	int code = aqm_policy_score_share(t->policy, &t->eval.rows, (double)NAN, aqm_ranks_rank(t->ranks),
	                                  aqm_ranks_size(t->ranks), t->eval_logits);

	code = aqm_ranks_agree(t->ranks, code);
	if (code == AQM_OK)
		code = aqm_ranks_sum_floats(t->ranks, t->eval_logits, outputs);
	if (code == AQM_OK)
		code = aqm_measure_policy(measure, t->policy, &t->eval.rows, t->eval_logits);
	if (code != AQM_OK)
		return code;
	double loss = aqm_measure_loss(measure);
	return isfinite(loss) ? AQM_OK : diverged(t, "the held-out loss", loss);
}

static bool evaluation_due(const struct aqm_trainer *t)
{
	uint64_t done = epoch_of(t) + 1, every = (uint64_t)t->config->train.eval_every;

	return t->eval.pool && (done == (uint64_t)t->config->train.epochs || (every && done % every == 0));
}

static const char *best_mark(const struct aqm_trainer *t)
{
	return t->state.best_step == t->state.step ? ", best so far" : "";
}

static void announce_epoch(const struct aqm_trainer *t, double loss, double share, const struct aqm_measure *measure)
{
	const struct aqm_metrics *m = &measure->packet;
	const struct aqm_update_metrics *u = &measure->update;
	bool update = t->config->control == AQM_CONTROL_UPDATE;
	char held_out[256] = "";

	if (update && measure->update.rows)
		snprintf(held_out, sizeof held_out,
		         "; held out: loss %.4f, error of log p' %.4f, within 10 %%: %.2f %% (p' unchanged: %.4f, %.2f %%)%s",
		         u->loss, u->log_rmse, 100 * u->within, t->trivial.update.log_rmse, 100 * t->trivial.update.within,
		         best_mark(t));
	else if (measure->packet.rows)
		snprintf(held_out, sizeof held_out,
		         "; held out: loss %.4f, accuracy %.2f %%, macro-F1 %.4f, balanced accuracy %.4f (majority class: "
		         "accuracy %.2f %%)%s",
		         m->loss, 100 * m->accuracy, m->macro_f1, m->balanced_accuracy, 100 * t->trivial.packet.accuracy,
		         best_mark(t));
	aqm_log_info("epoch %" PRIu64 "/%" PRId64 ": train loss %.4f, %s %.2f %%%s", epoch_of(t) + 1,
	             t->config->train.epochs, loss, update ? "within 10 %:" : "accuracy", 100 * share, held_out);
}

/* The same steps from the same start: ranks that differ have gone astray, and so would the training. */
static int check_drift(struct aqm_trainer *t)
{
	struct aqm_params *params = aqm_policy_params(t->policy);
	char text[64];

	if (aqm_ranks_size(t->ranks) == 1)
		return AQM_OK;
	snprintf(text, sizeof text, "%a", params->device->ops->sum_squares(params->device, params->values, params->floats));
	return aqm_ranks_same(t->ranks, "the sum of the squared parameters", text);
}

/* Evaluate, write the epoch's lines, keep the best. An interruption during the evaluation leaves the epoch open. */
static int close_epoch(struct aqm_trainer *t)
{
	double loss = t->state.epoch_loss / (double)t->steps_per_epoch;
	double share = t->state.epoch_rows ? (double)t->state.epoch_hits / (double)t->state.epoch_rows : 0;
	bool due = evaluation_due(t);
	struct aqm_measure measure = {0};
	int code = check_drift(t);

	if (code == AQM_OK && due)
		code = evaluate(t, &measure);
	if (code == AQM_OK)
		code = journal_train(t, loss, share);
	if (code == AQM_OK && due)
		code = journal_eval(t, &measure);
	if (code == AQM_OK && due)
		code = save_best(t, &measure);
	if (code != AQM_OK)
		return code;
	announce_epoch(t, loss, share, &measure);
	t->state.epochs_closed++;
	t->state.epoch_loss = 0;
	t->state.epoch_rows = t->state.epoch_hits = 0;
	return AQM_OK;
}

/* ---- the loop ---- */

static bool checkpoint_due(const struct aqm_trainer *t, bool epoch_ended)
{
	uint64_t every = (uint64_t)t->config->train.checkpoint_every;

	return t->state.step == t->steps || (every ? t->state.step % every == 0 : epoch_ended);
}

int aqm_trainer_run(struct aqm_trainer *t)
{
	int code = AQM_OK;

	t->started = aqm_clock_seconds();
	aqm_progress_start(&t->progress, "training", t->steps, t->state.step);
	while (code == AQM_OK && t->state.epochs_closed < (uint64_t)t->config->train.epochs) {
		bool ended = t->state.step == (epoch_of(t) + 1) * t->steps_per_epoch;

		if (!ended) {
			code = train_step(t);
			ended = code == AQM_OK && t->state.step == (epoch_of(t) + 1) * t->steps_per_epoch;
		}
		if (code == AQM_OK && ended)
			code = close_epoch(t);
		bool stop = aqm_interrupted();
		code = aqm_ranks_agree(t->ranks, code);
		if (code == AQM_OK)
			code = aqm_ranks_any(t->ranks, stop, &stop);
		if (code == AQM_EINTERRUPTED || (code == AQM_OK && stop && t->state.step < t->steps))
			code = interrupted(t);
		else if (code == AQM_OK && checkpoint_due(t, ended))
			code = checkpoint(t);
	}
	aqm_progress_end(&t->progress);
	return code;
}
