/* SPDX-License-Identifier: BSD-2-Clause */
#include "distill/teacher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/size.h"
#include "distill/student.h"
#include "policy/internal.h"

enum { KEEP_SECONDS = 30 };

/* "RUN/best/policy.h5" -> "RUN/logits": beside the run's own files; of a single file beside it. Owned by the caller. */
static char *default_cache(const char *path)
{
	char *folder = aqm_strdup(path), *slash = folder ? strrchr(folder, '/') : NULL, *cache;

	if (!folder)
		return NULL;
	if (slash)
		*slash = '\0';
	size_t length = slash ? strlen(folder) : 0;
	if (length > 5 && strcmp(folder + length - 5, "/best") == 0)
		folder[length - 5] = '\0';
	cache = aqm_path_join(slash ? folder : ".", "logits");
	free(folder);
	return cache;
}

int aqm_teacher_open(struct aqm_teacher *t, const struct aqm_config *config)
{
	*t = (struct aqm_teacher){.target = (double)NAN, .keeps = true};
	if (!*config->distill.teacher)
		return aqm_error_set(AQM_EUSAGE, "distill.teacher is empty: who is to teach?");
	t->path = aqm_policy_find(config->distill.teacher);
	if (!t->path)
		return AQM_EDATA;
	int code = aqm_policy_load(&t->policy, t->path, *config->model.path ? config->model.path : NULL, config->device);
	if (code == AQM_OK)
		code = aqm_sha256_file(t->path, t->digest);
	if (code != AQM_OK)
		return code;
	t->config = aqm_policy_config(t->policy);
	memcpy(t->base_digest, t->policy->base_digest, sizeof t->base_digest);
	t->cache = *config->distill.cache ? aqm_strdup(config->distill.cache) : default_cache(t->path);
	if (config->distill.returns == AQM_DISTILL_TARGET)
		t->target = aqm_policy_target(t->policy);
	if (isfinite(t->target))
		snprintf(t->returns, sizeof t->returns, "target %.9g", t->target);
	else
		snprintf(t->returns, sizeof t->returns, "logged");
	return t->cache ? AQM_OK : AQM_ERUN;
}

void aqm_teacher_close(struct aqm_teacher *teacher)
{
	aqm_policy_free(teacher->policy);
	free(teacher->path);
	free(teacher->cache);
	*teacher = (struct aqm_teacher){0};
}

/* ---- answers ---- */

/* Answers on their way: each rank has some of them. */
struct asking {
	aqm_ranks *ranks;
	const struct aqm_answers_key *key;
	const char *path;
	float *logits; /* (rows, outputs), on every rank those of all, once they are brought together */
	float *mine;   /* likewise: what this rank has found out since then, else zeros; alone the same as logits */
	uint64_t done; /* windows */
};

/* All. What each has found out is brought together, and kept. */
static int keep(const struct aqm_teacher *t, struct asking *a)
{
	size_t count = (size_t)(a->key->rows * a->key->outputs);
	int code = AQM_OK;

	if (a->mine != a->logits) {
		code = aqm_ranks_sum_floats(a->ranks, a->mine, count);
		for (size_t i = 0; code == AQM_OK && i < count; i++) {
			a->logits[i] = a->mine[i] != 0 ? a->mine[i] : a->logits[i];
			a->mine[i] = 0;
		}
	}
	for (size_t i = 0; code == AQM_OK && i < count; i++)
		if (!isfinite(a->logits[i]))
			code = aqm_error_set(AQM_ERUN, "the teacher's answer to row %llu is not finite",
			                     (unsigned long long)(i / a->key->outputs));
	if (code == AQM_OK && t->keeps && a->done > 0)
		code = aqm_answers_write(a->path, a->key, a->logits, a->done);
	return aqm_ranks_agree(a->ranks, code);
}

/* Buffers of the policy, the first time that it is asked. */
static int allocate(struct aqm_teacher *t)
{
	int code = t->allocated ? AQM_OK : aqm_policy_allocate(t->policy, t->config->train.windows);

	t->allocated = true;
	return code;
}

/* All. Score windows from done on, a part of them each: the same batches, however many ranks there are. */
static int score(struct aqm_teacher *t, struct asking *a, const struct aqm_rows *rows)
{
	uint64_t part = 4 * (uint64_t)t->config->train.windows, windows = a->key->windows;
	uint64_t place = (uint64_t)aqm_ranks_rank(a->ranks), size = (uint64_t)aqm_ranks_size(a->ranks);
	double kept = aqm_clock_seconds();
	struct aqm_progress progress;
	int code = aqm_ranks_agree(a->ranks, allocate(t));

	aqm_progress_start(&progress, "asking the teacher", windows, a->done);
	while (code == AQM_OK && a->done < windows) {
		uint64_t first = a->done + place * part;
		bool due = aqm_ranks_first(a->ranks) && aqm_clock_seconds() - kept > KEEP_SECONDS;

		if (first < windows)
			code = aqm_policy_score_part(t->policy, rows, t->target, (size_t)first, (size_t)part, a->mine);
		code = aqm_ranks_agree(a->ranks, code);
		if (code == AQM_OK)
			code = aqm_ranks_any(a->ranks, due, &due);
		if (code != AQM_OK)
			break;
		a->done = windows - a->done < size * part ? windows : a->done + size * part;
		aqm_progress_update(&progress, a->done);
		if (due && a->done < windows) {
			code = keep(t, a);
			kept = aqm_clock_seconds();
		}
	}
	aqm_progress_end(&progress);
	if (code != AQM_OK && code != AQM_EINTERRUPTED)
		return code;
	int last = keep(t, a);

	code = code == AQM_OK ? last : code;
	return code == AQM_EINTERRUPTED
	           ? aqm_error_set(code, "interrupted after %llu of %llu windows of the teacher's answers%s",
	                           (unsigned long long)a->done, (unsigned long long)windows,
	                           t->keeps ? ", which are kept" : "")
	           : code;
}

/* All. What rank 0 knows already, on every rank. */
static int recall(struct asking *a)
{
	int code = aqm_ranks_first(a->ranks) ? aqm_answers_read(a->path, a->key, a->logits, &a->done) : AQM_OK;

	code = aqm_ranks_agree(a->ranks, code);
	if (code == AQM_OK)
		code = aqm_ranks_broadcast(a->ranks, &a->done, sizeof a->done);
	if (code == AQM_OK && a->done)
		code = aqm_ranks_broadcast(a->ranks, a->logits, (size_t)(a->key->rows * a->key->outputs) * sizeof *a->logits);
	return code;
}

static int prepare(const struct aqm_teacher *t, struct asking *a)
{
	size_t count = (size_t)a->key->rows, bytes = (size_t)a->key->outputs * sizeof *a->logits;

	a->logits = aqm_calloc_array(count, bytes);
	a->mine = aqm_ranks_size(a->ranks) > 1 ? aqm_calloc_array(count, bytes) : a->logits;
	if (!a->path || !a->logits || !a->mine)
		return AQM_ERUN;
	return t->keeps ? aqm_make_folders(t->cache) : AQM_OK;
}

/* The head's outputs become the change of log2 p' that a student is to learn, on its own scale. */
static int as_changes(const struct aqm_teacher *t, const struct aqm_rows *rows, float **answers)
{
	const struct aqm_level_fit *fit = &aqm_policy_fit(t->policy)->levels;
	size_t outputs = (size_t)aqm_policy_outputs(t->policy);
	bool from_rule = t->config->policy.from == AQM_FROM_RULE;
	float *changes = aqm_malloc_array(rows->rows, sizeof *changes);
	double *now = aqm_malloc_array(rows->rows, sizeof *now);
	int code = changes && now ? aqm_pool_column(rows->pool, from_rule ? "rule_drop_prob" : "drop_prob", now) : AQM_ERUN;

	for (size_t i = 0; code == AQM_OK && i < rows->rows; i++) {
		double level = (double)rows->level[i] + aqm_level_change(fit, *answers + i * outputs);
		double next = exp(fmin(aqm_level_as_log(t->config, level), 0)) * 0x1p32;
		uint32_t from = (uint32_t)fmin(fmax(now[i] * 2, AQM_STUDENT_LOWEST), (double)UINT32_MAX);
		uint32_t to = (uint32_t)fmin(fmax(next, AQM_STUDENT_LOWEST), (double)UINT32_MAX);

		changes[i] = ldexpf((float)(aqm_student_log2(to) - aqm_student_log2(from)), -AQM_STUDENT_LOG_BITS);
	}
	free(now);
	if (code != AQM_OK) {
		free(changes);
		return code;
	}
	free(*answers);
	*answers = changes;
	return AQM_OK;
}

int aqm_teacher_answers(struct aqm_teacher *t, aqm_ranks *ranks, const aqm_pool *pool, float **answers, bool *known)
{
	struct aqm_rows rows = {0};
	struct asking asking = {.ranks = ranks};
	char *path = NULL;

	*answers = NULL;
	int code = aqm_ranks_agree(ranks, aqm_rows_init(&rows, pool, t->config, aqm_policy_fit(t->policy)));
	if (code != AQM_OK)
		goto done;
	const struct aqm_answers_key key = {
		.teacher = t->digest,
		.base = t->base_digest,
		.pool = aqm_pool_digest(pool),
		.returns = t->returns,
		.rows = rows.rows,
		.outputs = (uint64_t)aqm_policy_outputs(t->policy),
		.windows = aqm_policy_score_windows(t->policy, &rows),
	};
	asking.key = &key;
	asking.path = path = aqm_answers_path(t->cache, &key);
	code = aqm_ranks_same(ranks, "the file of the teacher's answers", path ? path : "");
	if (code == AQM_OK)
		code = aqm_ranks_agree(ranks, prepare(t, &asking));
	if (code == AQM_OK)
		code = recall(&asking);
	if (known)
		*known = code == AQM_OK && asking.done == key.windows;
	if (code == AQM_OK && asking.done < key.windows)
		code = score(t, &asking, &rows);
	*answers = asking.logits;
	if (code == AQM_OK && t->config->control == AQM_CONTROL_UPDATE)
		code = aqm_ranks_agree(ranks, as_changes(t, &rows, answers));
done:
	if (code != AQM_OK) {
		free(*answers);
		*answers = NULL;
	}
	if (aqm_ranks_size(ranks) > 1)
		free(asking.mine);
	free(path);
	aqm_rows_release(&rows);
	return code;
}
