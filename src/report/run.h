/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a report reads of a run. Files may be missing, cut or made by anybody: what cannot be read is noted, not fatal.
 */
#ifndef AQM_REPORT_RUN_H
#define AQM_REPORT_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "aqmtrain/config.h"

/* ---- metrics.jsonl ---- */

struct aqm_history_step {
	double step, loss, lr, norm, elapsed;
};

/* NAN: not in the file. */
struct aqm_history_epoch {
	double epoch, step, elapsed;
	double train_loss, train_share;  /* share: accuracy, or within 10 % */
	double loss, accuracy, macro_f1; /* held out */
	double log_rmse, within;         /* held out, of control: update */
	double trivial_accuracy, trivial_macro_f1, trivial_log_rmse, trivial_within;
};

struct aqm_history {
	struct aqm_history_step *steps;
	size_t step_count, step_room;
	struct aqm_history_epoch *epochs;
	size_t epoch_count, epoch_room;
	json_t *best,
		*last; /* the held-out lines of the best epoch (by macro-F1, else by the loss) and of the last; NULL: none */
	size_t lines, damaged; /* lines that are no object with a step */
};

/* Any bytes are a history; AQM_ERUN without memory. */
int aqm_history_parse(struct aqm_history *history, const char *text, size_t bytes);
void aqm_history_release(struct aqm_history *history);

/* ---- JSON ---- */

/* The number at "a/b/c", NAN if there is none; parts of digits are places in lists. */
double aqm_json_at(const json_t *json, const char *path);
/* The text there, or "". */
const char *aqm_json_text(const json_t *json, const char *path);
const json_t *aqm_json_find(const json_t *json, const char *path);

/* ---- a run ---- */

struct aqm_document {
	char *name; /* "closed-loop/wide.json" */
	char *kind; /* its "kind"; without one, the beginning of its name: offline, replay, closed-loop, bench */
	json_t *json;
};

struct aqm_report_run {
	const char *path; /* not owned */
	char *label;      /* short, and no other run's */
	bool configured;  /* config could be read */
	struct aqm_config config;
	json_t *record; /* run.json; NULL: none */
	struct aqm_history history;
	struct aqm_document *documents; /* by name */
	size_t document_count;
	char **notes; /* what is missing or damaged */
	size_t note_count;
};

/* 0; AQM_EDATA when the folder holds neither config.yaml nor metrics.jsonl nor any evaluation. */
int aqm_report_run_read(struct aqm_report_run *run, const char *path);
void aqm_report_run_release(struct aqm_report_run *run);
/* Short names for runs that differ: the last part of the path, or as much of it as tells them apart. */
int aqm_report_name_runs(struct aqm_report_run *runs, size_t count);
/* How to call its folder: the path as it was given, but of an absolute one, which says most about a machine, the label.
 */
const char *aqm_report_run_folder(const struct aqm_report_run *run);
/* What to note about a run. */
int aqm_report_note(struct aqm_report_run *run, const char *format, ...) AQM_PRINTF(2, 3);
/* A document from memory, for tests too; a damaged one becomes a note. */
int aqm_report_add_document(struct aqm_report_run *run, const char *name, const char *text, size_t bytes);

#endif
