/* SPDX-License-Identifier: BSD-2-Clause
 *
 * metrics.jsonl: a line a step and lines an epoch (train/loop.c writes them). The last line may be half there, and
 * any line may be damaged: such lines are counted and left out.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "report/run.h"

static bool has_room(void **items, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return true;
	size_t wanted = *room ? 2 * *room : 256;
	void *grown = aqm_realloc_array(*items, wanted, size);
	if (!grown)
		return false;
	*items = grown;
	*room = wanted;
	return true;
}

static int add_step(struct aqm_history *h, const json_t *line)
{
	if (!has_room((void **)&h->steps, h->step_count, &h->step_room, sizeof *h->steps))
		return AQM_ERUN;
	h->steps[h->step_count++] = (struct aqm_history_step){
		.step = aqm_json_at(line, "step"),
		.loss = aqm_json_at(line, "loss"),
		.lr = aqm_json_at(line, "lr"),
		.norm = aqm_json_at(line, "grad_norm"),
		.elapsed = aqm_json_at(line, "elapsed_s"),
	};
	return AQM_OK;
}

/* The epoch that a line belongs to: the last one, or a new one. */
static struct aqm_history_epoch *epoch_of(struct aqm_history *h, const json_t *line)
{
	double epoch = aqm_json_at(line, "epoch");

	if (h->epoch_count && h->epochs[h->epoch_count - 1].epoch == epoch)
		return &h->epochs[h->epoch_count - 1];
	if (!has_room((void **)&h->epochs, h->epoch_count, &h->epoch_room, sizeof *h->epochs))
		return NULL;
	struct aqm_history_epoch *e = &h->epochs[h->epoch_count++];
	*e = (struct aqm_history_epoch){
		.epoch = epoch,
		.step = NAN,
		.elapsed = NAN,
		.train_loss = NAN,
		.train_share = NAN,
		.loss = NAN,
		.accuracy = NAN,
		.macro_f1 = NAN,
		.log_rmse = NAN,
		.within = NAN,
		.trivial_accuracy = NAN,
		.trivial_macro_f1 = NAN,
		.trivial_log_rmse = NAN,
		.trivial_within = NAN,
	};
	return e;
}

static void read_train(struct aqm_history_epoch *e, const json_t *line)
{
	double share = aqm_json_at(line, "accuracy");

	e->train_loss = aqm_json_at(line, "loss");
	e->train_share = isfinite(share) ? share : aqm_json_at(line, "within_10_percent");
}

static void read_held_out(struct aqm_history_epoch *e, const json_t *line)
{
	e->loss = aqm_json_at(line, "loss");
	e->accuracy = aqm_json_at(line, "accuracy");
	e->macro_f1 = aqm_json_at(line, "macro_f1");
	e->log_rmse = aqm_json_at(line, "log_rmse");
	e->within = aqm_json_at(line, "within_10_percent");
	e->trivial_accuracy = aqm_json_at(line, "baselines/majority/accuracy");
	e->trivial_macro_f1 = aqm_json_at(line, "baselines/majority/macro_f1");
	e->trivial_log_rmse = aqm_json_at(line, "baselines/persistence/log_rmse");
	e->trivial_within = aqm_json_at(line, "baselines/persistence/within_10_percent");
}

static bool is_better(const json_t *line, const json_t *than)
{
	double f1 = aqm_json_at(line, "macro_f1"), best = aqm_json_at(than, "macro_f1");

	if (!than)
		return true;
	if (isfinite(f1) && isfinite(best) && f1 != best)
		return f1 > best;
	return aqm_json_at(line, "loss") < aqm_json_at(than, "loss");
}

static void keep(json_t **place, json_t *line)
{
	json_decref(*place);
	*place = json_incref(line);
}

static int read_line(struct aqm_history *h, json_t *line)
{
	const char *split = aqm_json_text(line, "split");
	bool train = strcmp(split, "train") == 0, held_out = strcmp(split, "eval") == 0;

	if (!isfinite(aqm_json_at(line, "step"))) {
		h->damaged++;
		return AQM_OK;
	}
	if (!train && !held_out)
		return add_step(h, line);
	struct aqm_history_epoch *e = epoch_of(h, line);
	if (!e)
		return AQM_ERUN;
	e->step = aqm_json_at(line, "step");
	e->elapsed = aqm_json_at(line, "elapsed_s");
	if (train) {
		read_train(e, line);
		return AQM_OK;
	}
	read_held_out(e, line);
	keep(&h->last, line);
	if (is_better(line, h->best))
		keep(&h->best, line);
	return AQM_OK;
}

int aqm_history_parse(struct aqm_history *history, const char *text, size_t bytes)
{
	const char *at = text, *end = text + bytes;
	int code = AQM_OK;

	*history = (struct aqm_history){0};
	while (code == AQM_OK && at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;

		if (stop > at) {
			json_t *line = json_loadb(at, (size_t)(stop - at), 0, NULL);

			history->lines++;
			if (json_is_object(line))
				code = read_line(history, line);
			else
				history->damaged++;
			json_decref(line);
		}
		at = stop + 1;
	}
	return code;
}

void aqm_history_release(struct aqm_history *history)
{
	free(history->steps);
	free(history->epochs);
	json_decref(history->best);
	json_decref(history->last);
	*history = (struct aqm_history){0};
}
