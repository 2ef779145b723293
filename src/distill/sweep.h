/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A sweep: students of several kinds and sizes, handed out over ranks. Each that is finished is a line in
 * students.jsonl, known by a digest of what decides it.
 */
#ifndef AQM_DISTILL_SWEEP_H
#define AQM_DISTILL_SWEEP_H

#include "aqmtrain/distill.h"
#include "ranks/ranks.h"

struct aqm_sweep {
	const struct aqm_config *config;
	const char *folder; /* of students.jsonl; rank 0's */
	aqm_ranks *ranks;
	enum aqm_control control;
	const char *inputs; /* SHA-256 of what students learn from */
	void *context;
	/* On any rank: a student as the config says, with its seconds, rows and utility. Where it fails, *out may have a
	 * student. */
	int (*make)(void *context, const struct aqm_config *config, struct aqm_distilled *out);
};

/* All. On rank 0 students[*count] in the order of the list, at most AQM_SWEEP_MAX; their memory is the caller's, the
 * students in them too, whatever is returned. AQM_EINTERRUPTED: those that are finished are kept. */
int aqm_sweep_run(const struct aqm_sweep *sweep, struct aqm_distilled *students, size_t *count);

/* ---- kept.c: students.jsonl ---- */

enum { AQM_KEPT_KEY = 65 };

struct aqm_kept {
	char *path;
	FILE *stream;
};

/* A line without its end; owned by the caller. */
int aqm_kept_print(const struct aqm_distilled *made, const char *key, char **line);
/* Student, seconds, ranks, rows and utility of a line. *key is empty for a line of another kind. AQM_EDATA: it is
 * none. */
int aqm_kept_parse(const char *line, size_t bytes, char key[AQM_KEPT_KEY], struct aqm_distilled *made);
/* What is done with a line; the student is its own then. */
typedef void (*aqm_kept_found)(void *context, const char *key, struct aqm_distilled *made);
/* Make the file, or read what is there. A last line that was not finished is cut off. AQM_EUSAGE: another process
 * writes it. */
int aqm_kept_open(struct aqm_kept *kept, const char *folder, aqm_kept_found found, void *context);
int aqm_kept_append(struct aqm_kept *kept, const char *line);
void aqm_kept_close(struct aqm_kept *kept);

#endif
