/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What an interrupted collection leaves in OUTPUT.unfinished: a line that names the version, then for each run that is done
 * its key (64 digits, of all that the run depends on), the number of bytes (8, in this machine's order) and the episode as
 * it crosses between ranks; at the end the SHA-256 of it all.
 */
#include "sim/updates_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "policy/policy.h"
#include "pool/store.h"
#include "sim/side.h"

enum { DIGITS = 64 };
static const size_t unfinished_limit = (size_t)64 << 30;

struct collection {
	const struct aqm_collect_updates *options;
	const struct aqm_updates_run *runs;
	size_t count, done;
	char policy[DIGITS + 1];              /* SHA-256 */
	char (*keys)[DIGITS + 1];             /* owned, by run */
	bool *there;                          /* owned, by run */
	struct aqm_updates_episode *episodes; /* owned, by run; on rank 0 */
	size_t *jobs, job_count;              /* owned: runs that are not there */
	struct aqm_progress progress;
};

/* ---- a run ---- */

static int digest(const struct aqm_scenario *scenario, char hex[65])
{
	aqm_sha256 *hash;
	char *yaml;
	int code = aqm_scenario_dump(scenario, &yaml);

	if (code != AQM_OK)
		return code;
	code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		aqm_sha256_update(hash, yaml, strlen(yaml));
		aqm_sha256_finish(hash, hex);
	}
	free(yaml);
	return code;
}

/* Who sets p' in the discipline's place. */
static int make_hook(const struct aqm_collect_updates *o, const struct aqm_updates_run *run, const struct aqm_cell *cell,
                     struct aqm_sim_hook *hook, aqm_policy **policy, struct aqm_sim_policy **asked,
                     struct aqm_epsilon **epsilon)
{
	int code = AQM_OK;

	if (!isnan(run->asked)) {
#pragma omp critical(updates_load) /* libhdf5 serves one thread at a time */
		code = aqm_policy_load(policy, o->policy, o->base, AQM_DEVICE_CPU);
		if (code == AQM_OK && aqm_policy_config(*policy)->control != AQM_CONTROL_UPDATE)
			code = aqm_error_set(AQM_EUSAGE, "'%s' decides packets; a policy of updates is wanted", o->policy);
		if (code == AQM_OK)
			code = aqm_sim_policy_share(asked, hook, *policy, 1, 0, run->asked);
	} else if (cell->epsilon > 0) {
		code = aqm_epsilon_new(epsilon, hook, cell->epsilon, cell->scenario.seed);
	}
	return code;
}

static int simulate(const struct aqm_collect_updates *o, const struct aqm_updates_run *run, struct aqm_updates_episode *e)
{
	struct aqm_cell cell = {0};
	struct aqm_updates updates = {0};
	struct aqm_sim_result result = {0};
	struct aqm_sim_hook hook = {0};
	aqm_policy *policy = NULL;
	struct aqm_sim_policy *asked = NULL;
	struct aqm_epsilon *epsilon = NULL;
	int code = aqm_grid_cell(o->grid, run->cell, &cell);

	e->group = aqm_grid_group(o->grid, run->cell);
	if (code == AQM_OK && !aqm_qdisc_find(cell.scenario.aqm.kind)->keeps_records)
		code = aqm_error_set(AQM_EUSAGE,
		                     "'%s' is no AQM that keeps records; those are freebsd-l4s, dualpi2, dualpi2-linux",
		                     cell.scenario.aqm.kind);
	if (code == AQM_OK)
		code = digest(&cell.scenario, e->digest);
	e->settings = cell.scenario.aqm;
	e->by_rules = isnan(run->asked) && cell.epsilon <= 0;
	if (isnan(run->asked))
		snprintf(e->name, sizeof e->name, "sim %s: by the rules", cell.name);
	else
		snprintf(e->name, sizeof e->name, "sim %s: a policy, asked for %.3f", cell.name, run->asked);
	if (code == AQM_OK && o->relabel && !aqm_qdisc_find(e->settings.kind)->would_set)
		code = aqm_error_set(AQM_EUSAGE, "'%s' cannot be asked what it would have done; dualpi2, dualpi2-linux can",
		                     e->settings.kind);
	if (code == AQM_OK)
		code = make_hook(o, run, &cell, &hook, &policy, &asked, &epsilon);
	if (code == AQM_OK) {
		aqm_updates_init(&updates, &hook);
		code = aqm_sim_run(&cell.scenario, &(struct aqm_sim_options){.hook = &hook}, &result);
	}
	if (code == AQM_OK)
		e->utility = aqm_utility(o->utility, &result);
	memcpy(e->of, updates.of, sizeof e->of);
	aqm_sim_result_release(&result);
	aqm_epsilon_free(epsilon);
	aqm_sim_policy_free(asked);
	if (policy)
		aqm_policy_free(policy);
	aqm_cell_release(&cell);
	return code;
}

/* ---- an episode in one piece ---- */

static int pack(const struct aqm_updates_episode *e, void **data, size_t *bytes)
{
	struct aqm_updates_episode head = *e;
	size_t size = sizeof head;
	char *at;

	for (size_t q = 0; q < AQM_QUEUES; q++) {
		size += e->of[q].count * sizeof *e->of[q].rows; /* as much memory as is there already */
		head.of[q].rows = NULL;
	}
	*data = at = aqm_malloc_array(size, 1);
	*bytes = size;
	if (!at)
		return AQM_ERUN;
	memcpy(at, &head, sizeof head);
	at += sizeof head;
	for (size_t q = 0; q < AQM_QUEUES; q++) {
		size_t rows = e->of[q].count * sizeof *e->of[q].rows;

		if (rows)
			memcpy(at, e->of[q].rows, rows);
		at += rows;
	}
	return AQM_OK;
}

/* Release what it leaves, also after an error. */
static int unpack(struct aqm_updates_episode *e, const char *data, size_t bytes)
{
	const size_t row = sizeof *e->of[0].rows;
	size_t left = bytes - sizeof *e;

	if (bytes < sizeof *e)
		return aqm_error_set(AQM_EDATA, "an episode of %zu bytes, shorter than its head", bytes);
	memcpy(e, data, sizeof *e);
	for (size_t q = 0; q < AQM_QUEUES; q++)
		e->of[q].rows = NULL;
	e->name[sizeof e->name - 1] = e->digest[DIGITS] = 0;
	e->settings.kind[sizeof e->settings.kind - 1] = 0;
	for (size_t q = 0; q < AQM_QUEUES; q++) {
		struct aqm_updates_rows *of = &e->of[q];

		if (of->count > left / row)
			return aqm_error_set(AQM_EDATA, "an episode with %zu rows of %zu bytes, but %zu bytes left", of->count, row,
			                     left);
		of->capacity = of->count;
		if (of->count && !(of->rows = aqm_malloc_array(of->count, row)))
			return AQM_ERUN;
		if (of->count)
			memcpy(of->rows, data + bytes - left, of->count * row);
		left -= of->count * row;
	}
	return left == 0 ? AQM_OK : aqm_error_set(AQM_EDATA, "an episode with %zu bytes too many", left);
}

static void release(struct aqm_updates_episode *e)
{
	for (size_t q = 0; q < AQM_QUEUES; q++)
		free(e->of[q].rows);
}

void aqm_updates_free(struct aqm_updates_episode *episodes, size_t count)
{
	for (size_t i = 0; episodes && i < count; i++)
		release(&episodes[i]);
	free(episodes);
}

/* ---- what is done already ---- */

static char *unfinished_path(const struct aqm_collect_updates *o)
{
	return aqm_strprintf("%s.unfinished", o->output);
}

static int hash_text(const void *text, size_t bytes, char hex[DIGITS + 1])
{
	aqm_sha256 *hash;
	int code = aqm_sha256_new(&hash);

	if (code == AQM_OK) {
		aqm_sha256_update(hash, text, bytes);
		aqm_sha256_finish(hash, hex);
	}
	return code;
}

static int make_key(const struct collection *c, const struct aqm_updates_run *run, char key[DIGITS + 1])
{
	struct aqm_cell cell = {0};
	char scenario[DIGITS + 1], *text = NULL;
	int code = aqm_grid_cell(c->options->grid, run->cell, &cell);

	if (code == AQM_OK)
		code = digest(&cell.scenario, scenario);
	if (code == AQM_OK) {
		text = aqm_strprintf("%s cell %zu group %zu epsilon %.17g asked %.17g policy %s utility %s relabel %d version %s", scenario,
		                     run->cell, aqm_grid_group(c->options->grid, run->cell), cell.epsilon, run->asked, c->policy,
		                     aqm_utility_name(c->options->utility, NULL), c->options->relabel, AQM_VERSION);
		code = text ? hash_text(text, strlen(text), key) : AQM_ERUN;
	}
	free(text);
	aqm_cell_release(&cell);
	return code;
}

static int make_keys(struct collection *c)
{
	char *path = c->options->policy ? aqm_policy_find(c->options->policy) : NULL;
	int code = AQM_OK;

	if (c->options->policy)
		code = path ? aqm_sha256_file(path, c->policy) : AQM_EUSAGE;
	for (size_t i = 0; i < c->count && code == AQM_OK; i++)
		code = make_key(c, &c->runs[i], c->keys[i]);
	free(path);
	return code;
}

/* Whatever else lies in the file belongs to other runs. */
static int take_kept(struct collection *c, const char *key, const char *data, size_t bytes)
{
	for (size_t i = 0; i < c->count; i++)
		if (!c->there[i] && memcmp(c->keys[i], key, DIGITS) == 0) {
			int code = unpack(&c->episodes[i], data, bytes);

			c->there[i] = code == AQM_OK;
			c->done += c->there[i];
			return code;
		}
	return AQM_OK;
}

static void first_line(char *line, size_t bytes)
{
	snprintf(line, bytes, "aqmtrain %s: episodes of %zu and rows of %zu bytes\n", AQM_VERSION,
	         sizeof(struct aqm_updates_episode), sizeof(double[AQM_UPDATES_COLUMNS]));
}

static int parse_kept(struct collection *c, const char *data, size_t bytes)
{
	char line[128], hex[DIGITS + 1];
	uint64_t size;
	int code = AQM_OK;

	first_line(line, sizeof line);
	size_t at = strlen(line), end = bytes - DIGITS;
	if (bytes < at + DIGITS || memcmp(data, line, at) != 0)
		return aqm_error_set(AQM_EDATA, "not what this version's interrupted collections leave; remove it");
	if ((code = hash_text(data, end, hex)) != AQM_OK)
		return code;
	if (memcmp(data + end, hex, DIGITS) != 0)
		return aqm_error_set(AQM_EDATA, "damaged: its SHA-256 is another; remove it");
	while (at < end && code == AQM_OK) {
		if (end - at < DIGITS + sizeof size)
			return aqm_error_set(AQM_EDATA, "damaged at byte %zu; remove it", at);
		memcpy(&size, data + at + DIGITS, sizeof size);
		if (size > end - at - DIGITS - sizeof size)
			return aqm_error_set(AQM_EDATA, "damaged at byte %zu; remove it", at);
		code = take_kept(c, data + at, data + at + DIGITS + sizeof size, (size_t)size);
		at += DIGITS + sizeof size + (size_t)size;
	}
	return code;
}

static int read_kept(struct collection *c)
{
	char *path = unfinished_path(c->options), *data = NULL;
	size_t bytes = 0;
	int code = path ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK && aqm_path_exists(path)) {
		code = aqm_file_read(path, unfinished_limit, &data, &bytes);
		if (code == AQM_OK && (code = parse_kept(c, data, bytes)) != AQM_OK)
			aqm_error_context(code, "'%s'", path);
		if (code == AQM_OK)
			aqm_log_info("%zu of %zu runs are in '%s'", c->done, c->count, path);
	}
	free(data);
	free(path);
	return code;
}

static int write_episode(FILE *out, const char *key, const struct aqm_updates_episode *e)
{
	void *data;
	size_t bytes;
	int code = pack(e, &data, &bytes);

	if (code == AQM_OK) {
		uint64_t size = bytes;

		fwrite(key, 1, DIGITS, out);
		fwrite(&size, sizeof size, 1, out);
		fwrite(data, 1, bytes, out);
	}
	free(data);
	return code;
}

static int write_kept(const struct collection *c, const char *path)
{
	char line[128], hex[DIGITS + 1], *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	int code = out ? AQM_OK : AQM_ERUN;

	first_line(line, sizeof line);
	if (out)
		fputs(line, out);
	for (size_t i = 0; i < c->count && code == AQM_OK; i++)
		if (c->there[i])
			code = write_episode(out, c->keys[i], &c->episodes[i]);
	if (code == AQM_OK && fflush(out) == 0 && (code = hash_text(text, bytes, hex)) == AQM_OK)
		fputs(hex, out);
	if (out && fclose(out) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot keep what is done");
	if (code == AQM_OK)
		code = aqm_file_write(path, text, bytes);
	free(text);
	return code;
}

static int leave_unfinished(const struct collection *c)
{
	char *path = unfinished_path(c->options);
	int code = path ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK && c->done == 0)
		code = aqm_error_set(AQM_EINTERRUPTED, "interrupted before a run was done");
	else if (code == AQM_OK && (code = write_kept(c, path)) == AQM_OK)
		code = aqm_error_set(AQM_EINTERRUPTED,
		                     "interrupted: %zu of %zu runs are kept in '%s'; the same command goes on from there", c->done,
		                     c->count, path);
	free(path);
	return code;
}

void aqm_updates_forget(const struct aqm_collect_updates *options)
{
	char *path = unfinished_path(options);

	if (path)
		(void)unlink(path);
	free(path);
}

/* ---- all runs ---- */

static int work(void *context, size_t job, void **result, size_t *bytes)
{
	const struct collection *c = context;
	struct aqm_updates_episode e = {0};
	int code = simulate(c->options, &c->runs[c->jobs[job]], &e);

	if (code == AQM_OK)
		code = pack(&e, result, bytes);
	else if (code != AQM_EINTERRUPTED)
		aqm_error_context(code, "run %zu", c->jobs[job]);
	release(&e);
	return code;
}

static int take(void *context, size_t job, const void *result, size_t bytes)
{
	struct collection *c = context;
	size_t run = c->jobs[job];
	int code = unpack(&c->episodes[run], result, bytes);

	c->there[run] = code == AQM_OK;
	aqm_progress_update(&c->progress, c->done += c->there[run]);
	return code;
}

/* On all ranks: the same runs, and what rank 0 has of them. */
static int prepare(struct collection *c)
{
	aqm_ranks *ranks = c->options->ranks;
	char hex[DIGITS + 1] = "";
	int code = c->keys && c->there && c->jobs && c->episodes ? make_keys(c) : AQM_ERUN;

	if (code == AQM_OK)
		code = hash_text(c->keys, c->count * sizeof *c->keys, hex);
	if (code == AQM_OK && aqm_ranks_first(ranks))
		code = read_kept(c);
	code = aqm_ranks_agree(ranks, code);
	if (code == AQM_OK)
		code = aqm_ranks_same(ranks, "the digest of the runs", hex);
	if (code == AQM_OK)
		code = aqm_ranks_broadcast(ranks, c->there, c->count * sizeof *c->there);
	for (size_t i = 0; i < c->count && code == AQM_OK; i++)
		if (!c->there[i])
			c->jobs[c->job_count++] = i;
	return code;
}

int aqm_updates_simulate(const struct aqm_collect_updates *options, const struct aqm_updates_run *runs, size_t count,
                         struct aqm_updates_episode **episodes)
{
	struct collection c = {.options = options, .runs = runs, .count = count};

	c.keys = aqm_calloc_array(count, sizeof *c.keys);
	c.there = aqm_calloc_array(count, sizeof *c.there);
	c.jobs = aqm_malloc_array(count, sizeof *c.jobs);
	c.episodes = aqm_calloc_array(count, sizeof *c.episodes);
	int code = prepare(&c);
	if (code == AQM_OK) {
		const struct aqm_side side = {.count = c.job_count,
		                              .threads = options->threads,
		                              .ranks = options->ranks,
		                              .context = &c,
		                              .work = work,
		                              .take = take};

		aqm_progress_start(&c.progress, "simulating", count, c.done);
		code = aqm_side_run(&side);
		aqm_progress_end(&c.progress);
		if (code == AQM_EINTERRUPTED)
			code = aqm_ranks_agree(options->ranks, aqm_ranks_first(options->ranks) ? leave_unfinished(&c) : code);
	}
	*episodes = c.episodes;
	if (code != AQM_OK || !aqm_ranks_first(options->ranks)) {
		aqm_updates_free(c.episodes, count);
		*episodes = NULL;
	}
	free(c.jobs);
	free(c.there);
	free(c.keys);
	return code;
}
