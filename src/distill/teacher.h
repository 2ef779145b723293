/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A teacher: a trained policy, and its answers to pools, which it gives once and which are then kept.
 */
#ifndef AQM_DISTILL_TEACHER_H
#define AQM_DISTILL_TEACHER_H

#include "policy/policy.h"
#include "ranks/ranks.h"

struct aqm_teacher {
	aqm_policy *policy;               /* owned */
	const struct aqm_config *config;  /* the policy's */
	char *path, *cache;               /* owned: its file; the folder of its answers */
	char digest[65], base_digest[65]; /* SHA-256 of its file, of its base */
	double target;                    /* the return it is told; NAN: those of the rows */
	char returns[32];                 /* the same in words */
	bool allocated;
	bool keeps;                       /* its new answers become files; else they are only read where they are known */
};

/* distill.teacher, .returns, .cache and device of the config. */
int aqm_teacher_open(struct aqm_teacher *teacher, const struct aqm_config *config);
void aqm_teacher_close(struct aqm_teacher *teacher);
/* All ranks of `ranks`, which share the work; NULL: this process alone.
 * Its answers to every row of a pool, by evaluation windows: logits (rows, 3); control: update: (rows) the change of
 * log2 p' that it wants, in octaves. Owned by the caller. Read where they are known; else they are made, with
 * progress, and kept. AQM_EINTERRUPTED: what is done is kept, and the same call goes on from there. *known (may be
 * NULL): whether all of it was read. */
int aqm_teacher_answers(struct aqm_teacher *teacher, aqm_ranks *ranks, const aqm_pool *pool, float **answers, bool *known);

/* ---- answers.c: what is kept ---- */

/* Which answers: everything that decides them. */
struct aqm_answers_key {
	const char *teacher, *base, *pool; /* SHA-256 */
	const char *returns;
	uint64_t rows, outputs, windows;
};
/* The file of these answers in a folder; owned by the caller. */
char *aqm_answers_path(const char *folder, const struct aqm_answers_key *key);
/* logits (rows, outputs), and how many windows of them there are. A file of other answers, or a damaged one, is none:
 * *windows is 0. */
int aqm_answers_read(const char *path, const struct aqm_answers_key *key, float *logits, uint64_t *windows);
int aqm_answers_write(const char *path, const struct aqm_answers_key *key, const float *logits, uint64_t windows);

#endif
