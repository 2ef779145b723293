/* SPDX-License-Identifier: BSD-2-Clause
 *
 * metrics.jsonl of a run: a JSON object a line.
 */
#ifndef AQM_TRAIN_JOURNAL_H
#define AQM_TRAIN_JOURNAL_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "aqmtrain/train.h"

struct aqm_journal {
	FILE *stream;
	char *path;
	uint64_t bytes; /* its length */
};

/* Open or create, cut back to `bytes` (what a checkpoint says it had). 0 or AQM_ERUN. */
int aqm_journal_open(struct aqm_journal *journal, const char *run_path, uint64_t bytes);
/* Append a line; takes the object over (NULL is an error of memory). A journal that is not open takes nothing: only the
 * first of several ranks has one. */
int aqm_journal_write(struct aqm_journal *journal, json_t *object);
/* To the disk. */
int aqm_journal_sync(struct aqm_journal *journal);
void aqm_journal_close(struct aqm_journal *journal);

/* rows, loss, accuracy, macro_f1, balanced_accuracy, per_class, confusion: keys as in `eval --json`; a loss that is
 * not a number is null. NULL without memory. */
json_t *aqm_metrics_json(const struct aqm_metrics *metrics);
/* A number, or null where JSON has none for it. */
json_t *aqm_json_number(double value);
/* And back: NAN where `key` is no number. */
double aqm_json_real(const json_t *object, const char *key);
/* A path or other bytes as text; what is no UTF-8 in it becomes U+FFFD. NULL without memory. */
json_t *aqm_json_bytes(const char *bytes);

#endif
