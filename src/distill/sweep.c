/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The students of a sweep. Rank 0 knows which are there already, and writes each that comes, in whatever order they do.
 */
#include "distill/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread.h"
#include "distill/student.h"

/* What is tried, over the config. */
/* clang-format off */
static const struct {
	enum aqm_distill_student kind;
	int64_t units, hidden; /* of a tree: depth, nodes */
} list[] = {
	{AQM_DISTILL_NETWORK, 2, 4},  {AQM_DISTILL_NETWORK, 2, 8},   {AQM_DISTILL_NETWORK, 4, 8}, {AQM_DISTILL_NETWORK, 4, 16},
	{AQM_DISTILL_NETWORK, 6, 24}, {AQM_DISTILL_NETWORK, 8, 32},  {AQM_DISTILL_TREE, 4, 31},   {AQM_DISTILL_TREE, 6, 63},
	{AQM_DISTILL_TREE, 8, 127},   {AQM_DISTILL_TREE, 10, 255},   {AQM_DISTILL_TREE, 14, 1023},
};
/* clang-format on */
_Static_assert(sizeof list / sizeof *list <= AQM_SWEEP_MAX, "places for students");

struct job {
	struct aqm_config config; /* the sweep's, with another student; it owns nothing */
	char key[AQM_KEPT_KEY];
	uint64_t cost; /* guessed: passes over the rows, times what a pass takes */
};

struct crew {
	const struct aqm_sweep *sweep;
	struct job jobs[AQM_SWEEP_MAX];
	size_t count;
	size_t left[AQM_SWEEP_MAX], left_count; /* jobs that are to be done, the dearest first */
	struct aqm_distilled *students;         /* by job; on rank 0 */
	struct aqm_kept kept;                   /* on rank 0 */
	aqm_turns *turns;
	struct aqm_progress progress;
	size_t done;
	uint64_t cost_done, cost;
};

/* ---- jobs ---- */

static int add_file(aqm_sha256 *hash, const char *path)
{
	char digest[65];
	int code = aqm_sha256_file(path, digest);

	if (code == AQM_OK)
		aqm_sha256_update(hash, digest, strlen(digest));
	return code;
}

/* Another build may learn otherwise, so nothing of it is mixed in. Where things lie, and on how many threads, decides
 * nothing. */
static int make_key(const struct aqm_sweep *sweep, const struct aqm_config *config, char key[AQM_KEPT_KEY])
{
	static char nothing[] = "";
	struct aqm_config bare = *config;
	const struct aqm_strings *scenarios = &config->distill.scenarios;
	aqm_sha256 *hash;
	char *yaml;

	bare.threads = 0;
	bare.model.path = bare.pool.train = bare.pool.eval = bare.distill.teacher = bare.distill.cache = nothing;
	int code = aqm_config_dump(&bare, &yaml);
	if (code != AQM_OK)
		return code;
	code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		aqm_sha256_update(hash, "student of a sweep 1\n", 21);
		code = add_file(hash, "/proc/self/exe");
		aqm_sha256_update(hash, AQM_VERSION "\n", strlen(AQM_VERSION) + 1);
		aqm_sha256_update(hash, sweep->inputs, strlen(sweep->inputs));
		aqm_sha256_update(hash, yaml, strlen(yaml));
		for (size_t i = 0; code == AQM_OK && i < scenarios->count; i++)
			code = add_file(hash, scenarios->items[i]);
		aqm_sha256_finish(hash, key);
	}
	free(yaml);
	return code;
}

static int list_jobs(struct crew *crew)
{
	const struct aqm_sweep *sweep = crew->sweep;
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < sizeof list / sizeof *list; i++) {
		struct job *job = &crew->jobs[crew->count];
		bool tree = list[i].kind == AQM_DISTILL_TREE;

		if (tree && sweep->control == AQM_CONTROL_UPDATE)
			continue;
		job->config = *sweep->config;
		job->config.distill.student = list[i].kind;
		job->config.distill.units = job->config.distill.depth = list[i].units;
		job->config.distill.hidden = job->config.distill.nodes = list[i].hidden;
		job->cost = tree ? 100 : (uint64_t)(sweep->config->distill.epochs * list[i].units * (4 + list[i].hidden));
		crew->cost += job->cost;
		crew->count++;
		code = make_key(sweep, &job->config, job->key);
	}
	return code;
}

/* Jobs must mean the same on all ranks. */
static int compare_jobs(struct crew *crew)
{
	char digest[65] = "";
	aqm_sha256 *hash;
	int code = aqm_sha256_new(&hash);

	if (code == AQM_OK) {
		for (size_t i = 0; i < crew->count; i++)
			aqm_sha256_update(hash, crew->jobs[i].key, sizeof crew->jobs[i].key);
		aqm_sha256_finish(hash, digest);
	}
	code = aqm_ranks_agree(crew->sweep->ranks, code);
	return code == AQM_OK ? aqm_ranks_same(crew->sweep->ranks, "the digest of the students", digest) : code;
}

/* A line of students.jsonl: one of ours, or of another sweep. */
static void find(void *context, const char *key, struct aqm_distilled *made)
{
	struct crew *crew = context;

	for (size_t i = 0; i < crew->count; i++)
		if (strcmp(crew->jobs[i].key, key) == 0 && !crew->students[i].student &&
		    aqm_student_control(made->student) == crew->sweep->control) {
			crew->students[i] = *made;
			crew->cost_done += crew->jobs[i].cost;
			crew->done++;
			return;
		}
	aqm_student_free(made->student);
}

/* On rank 0. Short ones come last, so that all ranks end together. */
static int open_kept(struct crew *crew)
{
	int code = aqm_kept_open(&crew->kept, crew->sweep->folder, find, crew);

	for (size_t i = 0; code == AQM_OK && i < crew->count; i++) {
		size_t at = crew->left_count;

		if (crew->students[i].student)
			continue;
		for (; at > 0 && crew->jobs[crew->left[at - 1]].cost < crew->jobs[i].cost; at--)
			crew->left[at] = crew->left[at - 1];
		crew->left[at] = i;
		crew->left_count++;
	}
	if (code == AQM_OK && crew->done)
		aqm_log_info("%zu of %zu students are in '%s'", crew->done, crew->count, crew->kept.path);
	return code;
}

/* ---- the crew ---- */

/* On rank 0: a line into the file. */
static int take(void *context, size_t index, const void *line, size_t bytes)
{
	struct crew *crew = context;
	size_t job = crew->left[index];
	char key[AQM_KEPT_KEY];
	int code = aqm_kept_parse(line, bytes - 1, key, &crew->students[job]);

	if (code == AQM_OK)
		code = aqm_kept_append(&crew->kept, line);
	if (code != AQM_OK)
		return code;
	crew->done++;
	aqm_progress_note(&crew->progress, "%zu of %zu students", crew->done, crew->count);
	aqm_progress_update(&crew->progress, crew->cost_done += crew->jobs[job].cost);
	return AQM_OK;
}

/* The next student; `ended` when there are none left. */
static int work_on_next(struct crew *crew, bool *ended)
{
	const struct aqm_sweep *sweep = crew->sweep;
	struct aqm_distilled made = {0};
	char *line = NULL;
	size_t index;
	int code = aqm_turns_next(crew->turns, &index);

	*ended = index >= crew->left_count;
	if (code != AQM_OK || *ended)
		return code;
	if (aqm_interrupted())
		return aqm_error_set(AQM_EINTERRUPTED, "interrupted");
	const struct job *job = &crew->jobs[crew->left[index]];

	code = sweep->make(sweep->context, &job->config, &made);
	made.ranks = aqm_ranks_size(sweep->ranks);
	if (code == AQM_OK)
		code = aqm_kept_print(&made, job->key, &line);
	aqm_student_free(made.student);
	return code == AQM_OK ? aqm_turns_deliver(crew->turns, index, line, strlen(line) + 1) : code;
}

static int make_all(struct crew *crew)
{
	int code = aqm_turns_new(&crew->turns, crew->sweep->ranks, crew->left_count, 0, take, crew);

	if (code != AQM_OK)
		return code;
	aqm_progress_start(&crew->progress, "distilling", crew->cost, crew->cost_done);
	for (bool ended = false; code == AQM_OK && !ended;)
		code = work_on_next(crew, &ended);
	if (code != AQM_OK)
		(void)aqm_turns_stop(crew->turns);
	code = aqm_turns_finish(crew->turns, code);
	aqm_progress_end(&crew->progress);
	if (code == AQM_EINTERRUPTED && aqm_ranks_first(crew->sweep->ranks))
		aqm_error_set(code, "interrupted: %zu of %zu students are kept in '%s'; the same command goes on from there",
		              crew->done, crew->count, crew->kept.path);
	return code;
}

int aqm_sweep_run(const struct aqm_sweep *sweep, struct aqm_distilled *students, size_t *count)
{
	struct crew crew = {.sweep = sweep, .students = students};
	aqm_ranks *ranks = sweep->ranks;
	int code = aqm_ranks_agree(ranks, list_jobs(&crew));

	if (code == AQM_OK)
		code = compare_jobs(&crew);
	if (code == AQM_OK)
		code = aqm_ranks_agree(ranks, aqm_ranks_first(ranks) ? open_kept(&crew) : AQM_OK);
	if (code == AQM_OK)
		code = aqm_ranks_broadcast(ranks, &crew.left_count, sizeof crew.left_count);
	if (code == AQM_OK)
		code = aqm_ranks_broadcast(ranks, crew.left, sizeof crew.left);
	if (code == AQM_OK && crew.left_count)
		code = make_all(&crew);
	aqm_kept_close(&crew.kept);
	*count = aqm_ranks_first(ranks) ? crew.count : 0;
	return code;
}
