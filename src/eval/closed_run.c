/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The simulations of a plan, side by side: one thread each, of any rank. A worker loads a policy of its own the first
 * time it needs one; base weights are a shared mapping. Rank 0 alone knows what is there and writes what comes.
 */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "eval/closed.h"
#include "policy/policy.h"
#include "ranks/ranks.h"

/* Added to a seed: the log that goes into the context comes from other traffic. */
static const uint64_t other_traffic = UINT64_C(0x9e3779b97f4a7c15);
enum { MEASURED_AT_LEAST = 8, MEASURED_SECONDS = 20 };

struct job {
	size_t cell, seed, arm, place;
	char key[AQM_CLOSED_KEY];
	uint64_t cost; /* us, guessed */
};

struct crew {
	struct aqm_closed_plan *plan;
	struct aqm_closed_file *file;       /* on rank 0 */
	struct aqm_closed_results *results; /* on rank 0 */
	aqm_turns *turns;
	struct job *jobs;
	size_t count, finished;
	struct aqm_progress progress;
	uint64_t done, total;
	int code; /* of this rank's first failure */
	char message[1024];
};

/* ---- one simulation ---- */

/* The policy sees what the rules do elsewhere, and decides from then on. */
static int look_on(const struct aqm_arm *arm, const struct aqm_scenario *scenario, const struct aqm_sim_hook *hook,
                   struct aqm_sim_policy *policy, int64_t window)
{
	uint64_t wanted = (uint64_t)(arm->context * window);
	struct aqm_scenario other;
	struct aqm_sim_result result = {0};
	int code = aqm_scenario_copy(&other, scenario);

	if (code == AQM_OK) {
		other.seed += other_traffic;
		aqm_sim_policy_watch(policy, wanted, other.warmup);
		code = aqm_sim_run(&other, &(struct aqm_sim_options){.hook = hook}, &result);
	}
	if (code == AQM_OK && aqm_sim_policy_watched(policy) < wanted)
		code = aqm_error_set(AQM_EUSAGE, "%g s of '%s' have %llu decisions, too few for %lld windows of %lld",
		                     other.seconds, other.name, (unsigned long long)aqm_sim_policy_watched(policy),
		                     (long long)arm->context, (long long)window);
	aqm_sim_policy_watch(policy, 0, 0);
	aqm_sim_result_release(&result);
	aqm_scenario_release(&other);
	return code;
}

static int simulate(const struct aqm_closed_plan *plan, const struct job *job, aqm_policy *policy, char **line)
{
	const struct aqm_arm *arm = &plan->arms[job->arm];
	struct aqm_scenario scenario = {0};
	struct aqm_sim_result result = {0};
	struct aqm_sim_hook hook = {0};
	struct aqm_sim_policy *deciding = NULL;
	struct aqm_sanity *sanity = NULL;
	void *guest = NULL;
	double returned = (double)NAN;
	int code = aqm_closed_scenario(plan, job->cell, job->seed, arm, &scenario);

	if (code == AQM_OK && (arm->kind == AQM_ARM_ENQUEUE || arm->kind == AQM_ARM_RANDOM))
		code = aqm_sanity_new(&sanity, &hook, arm->share, scenario.seed);
	if (code == AQM_OK && arm->kind == AQM_ARM_GUEST)
		code = arm->guest->open(arm->guest->context, &hook, &guest);
	if (code == AQM_OK && arm->kind == AQM_ARM_POLICY) {
		code = aqm_sim_policy_share(&deciding, &hook, policy, arm->every ? arm->every : 1, arm->delay, arm->target);
		if (code == AQM_OK && arm->context)
			code = look_on(arm, &scenario, &hook, deciding, aqm_policy_config(policy)->policy.window);
	}
	if (code == AQM_OK)
		code = aqm_sim_run(&scenario, &(struct aqm_sim_options){.hook = hook.context ? &hook : NULL}, &result);
	if (code == AQM_OK && deciding) {
		aqm_sim_policy_counts(deciding, &result.asked, &result.differed);
		returned = aqm_sim_policy_return(deciding);
	}
	if (code == AQM_OK)
		code = aqm_closed_line(plan, job->key, job->cell, job->seed, arm, &result, returned, job->seed == 0, line);
	aqm_sim_policy_free(deciding);
	aqm_sanity_free(sanity);
	if (guest)
		arm->guest->close(guest);
	aqm_sim_result_release(&result);
	aqm_scenario_release(&scenario);
	return code;
}

/* ---- the crew ---- */

/* On rank 0: a line into the file. */
static int take(void *context, size_t index, const void *line, size_t bytes)
{
	struct crew *crew = context;
	const struct job *job = &crew->jobs[index];
	size_t at = crew->results->count;
	int code = aqm_closed_file_append(crew->file, line, crew->plan->utility_name, crew->results);

	(void)bytes;
	if (code != AQM_OK)
		return code;
	crew->plan->runs[job->place] = at;
	crew->finished++;
	aqm_progress_note(&crew->progress, "%s, %.40s", crew->plan->arms[job->arm].name, crew->plan->cells[job->cell].name);
	aqm_progress_update(&crew->progress, crew->done += job->cost);
	return AQM_OK;
}

static void fail(struct crew *crew, int code, const char *message)
{
#pragma omp critical(closed_crew)
	if (crew->code == AQM_OK) {
		crew->code = code;
		snprintf(crew->message, sizeof crew->message, "%s", message);
	}
	(void)aqm_turns_stop(crew->turns);
}

/* NULL: there is none, or no more is wanted. */
static const struct job *next_job(struct crew *crew)
{
	size_t index;
	int code = aqm_turns_next(crew->turns, &index);

	if (code == AQM_OK && index < crew->count && aqm_interrupted())
		code = aqm_error_set(AQM_EINTERRUPTED, "interrupted");
	if (code != AQM_OK)
		fail(crew, code, aqm_error_message());
	return code == AQM_OK && index < crew->count ? &crew->jobs[index] : NULL;
}

static int finish(struct crew *crew, const struct job *job, char *line, int code)
{
	char message[1024];

	if (code == AQM_OK) {
		code = aqm_turns_deliver(crew->turns, (size_t)(job - crew->jobs), line, strlen(line) + 1);
		snprintf(message, sizeof message, "%s", aqm_error_message());
	} else {
		snprintf(message, sizeof message, "%s, '%s', seed %llu: %s", crew->plan->arms[job->arm].label,
		         crew->plan->cells[job->cell].name, (unsigned long long)crew->plan->options->seeds[job->seed],
		         aqm_error_message());
		free(line);
	}
	if (code != AQM_OK)
		fail(crew, code, message);
	return code;
}

/* libhdf5 serves one thread at a time. */
static int load(const struct aqm_closed_plan *plan, aqm_policy **policy)
{
	int code;

#pragma omp critical(closed_load)
	code = aqm_policy_load(policy, plan->policy_path, plan->options->base_path, plan->options->device);
	return code;
}

static void work(struct crew *crew)
{
	aqm_policy *policy = NULL;
	const struct job *job;
	int code = AQM_OK;

	omp_set_num_threads(1); /* of this thread's own loops */
	while (code == AQM_OK && (job = next_job(crew))) {
		char *line = NULL;

		if (!policy && crew->plan->arms[job->arm].kind == AQM_ARM_POLICY)
			code = load(crew->plan, &policy);
		if (code == AQM_OK)
			code = simulate(crew->plan, job, policy, &line);
		code = finish(crew, job, line, code);
	}
	aqm_policy_free(policy);
}

/* ---- what a decision takes ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int decide_once(aqm_decider *decider, const struct aqm_config *config, const double *features)
{
	enum aqm_action action = AQM_ENQUEUE;
	double next = 0;
	int code;

	if (config->control == AQM_CONTROL_UPDATE) {
		code = aqm_decider_update(decider, features, 0.01, &next);
		return code == AQM_OK ? aqm_decider_observe_update(decider, next, 0) : code;
	}
	code = aqm_decider_decide(decider, features, &action, NULL);
	return code == AQM_OK ? aqm_decider_observe(decider, action, 0) : code;
}

/* A decision and what the decider does when it is told of it, for the next one can be made no earlier. Over two windows,
 * so that what differs from step to step counts as often as it happens; at least a few decisions, and
 * then no longer than some seconds. */
static int measure(aqm_policy *policy, struct aqm_decision_time *time)
{
	const struct aqm_config *config = aqm_policy_config(policy);
	size_t most = 2 * (size_t)config->policy.window + MEASURED_AT_LEAST, count = 0;
	double *taken = aqm_malloc_array(most, sizeof *taken), began = aqm_clock_seconds(), sum = 0;
	double features[AQM_FEATURES_MAX] = {0};
	aqm_decider *decider = NULL;
	int code = taken ? aqm_decider_new(&decider, policy, (double)NAN) : AQM_ERUN;

	if (code == AQM_OK)
		code = decide_once(decider, config, features); /* caches are cold */
	while (code == AQM_OK && count < most &&
	       (count < MEASURED_AT_LEAST || aqm_clock_seconds() - began < MEASURED_SECONDS)) {
		double start = aqm_clock_seconds();

		code = decide_once(decider, config, features);
		sum += taken[count++] = (aqm_clock_seconds() - start) * 1e3;
	}
	if (code == AQM_OK) {
		qsort(taken, count, sizeof *taken, compare);
		time->mean = sum / (double)count;
		time->p50 = taken[count / 2];
		time->p99 = taken[(size_t)(0.99 * (double)(count - 1))];
		time->decisions = count;
	}
	aqm_decider_free(decider);
	free(taken);
	return code;
}

/* Measured once a policy and folder: what is continued goes on with the same delay. */
static int find_time(struct crew *crew)
{
	struct aqm_closed_plan *plan = crew->plan;
	aqm_policy *policy = NULL;
	char *line = NULL;
	int code = AQM_OK, threads = aqm_threads();

	for (size_t i = 0; i < crew->results->time_count; i++)
		if (strcmp(crew->results->times[i].policy, plan->policy_digest) == 0 &&
		    strcmp(crew->results->times[i].program, plan->program) == 0) {
			plan->decision = crew->results->times[i];
			return AQM_OK;
		}
	snprintf(plan->decision.policy, sizeof plan->decision.policy, "%s", plan->policy_digest);
	snprintf(plan->decision.program, sizeof plan->decision.program, "%s", plan->program);
	aqm_threads_set(1);
	code = load(plan, &policy);
	if (code == AQM_OK)
		code = measure(policy, &plan->decision);
	aqm_threads_set(threads);
	if (code == AQM_OK)
		code = aqm_closed_time_line(&plan->decision, &line);
	if (code == AQM_OK)
		code = aqm_closed_file_append(crew->file, line, plan->utility_name, crew->results);
	if (code == AQM_OK)
		plan->decision = crew->results->times[crew->results->time_count - 1];
	aqm_policy_free(policy);
	free(line);
	return code;
}

/* ---- jobs ---- */

/* Microseconds: a packet takes about one, a decision what was measured. */
static uint64_t guess(const struct aqm_closed_plan *plan, const struct job *job)
{
	const struct aqm_scenario *s = &plan->cells[job->cell].scenario;
	const struct aqm_arm *arm = &plan->arms[job->arm];
	double packets = s->seconds * s->link.rate * 1e6 / 12000, decisions = 0;

	if (arm->kind == AQM_ARM_POLICY)
		decisions = arm->every ? packets / (double)arm->every : s->seconds / 0.016;
	if (arm->delay > 0 && arm->every) /* it is asked again only when the answer is there */
		decisions = fmin(decisions, s->seconds * 1e3 / arm->delay);
	return (uint64_t)(packets + decisions * plan->decision.mean * 1e3) + 1;
}

static size_t find_run(const struct aqm_closed_results *results, const struct job *job)
{
	for (size_t i = results->count; i-- > 0;)
		if (strcmp(results->runs[i].key, job->key) == 0 && isfinite(results->runs[i].figures[AQM_FIGURE_UTILITY]) &&
		    (job->seed > 0 || results->runs[i].points > 0))
			return i;
	return SIZE_MAX;
}

static int make_job(const struct aqm_closed_plan *plan, size_t place, struct job *job)
{
	struct aqm_scenario scenario = {0};

	*job = (struct job){.arm = place % plan->arm_count,
	                    .seed = place / plan->arm_count % plan->options->seed_count,
	                    .cell = place / plan->arm_count / plan->options->seed_count,
	                    .place = place};
	int code = aqm_closed_scenario(plan, job->cell, job->seed, &plan->arms[job->arm], &scenario);

	if (code == AQM_OK)
		code = aqm_closed_key(plan, &scenario, &plan->arms[job->arm], job->key);
	aqm_scenario_release(&scenario);
	job->cost = guess(plan, job);
	return code;
}

/* Lines of other builds are there, but not used: who wonders why so much is simulated is told. */
static void mention_other_builds(const struct crew *crew, size_t all)
{
	const struct aqm_closed_results *results = crew->results;
	size_t others = 0;

	for (size_t i = 0; i < results->count; i++)
		others += strcmp(results->runs[i].program, crew->plan->program) != 0;
	if (others && crew->count)
		aqm_log_info(
			"'%s' holds %zu of %zu simulations; %zu others there are of another build of aqmtrain, and figures "
			"of two builds are not mixed",
			crew->file->path, all - crew->count, all, others);
}

/* Jobs for all that is not there yet. Trivial arms and disciplines of a cell come before its policies. */
static int list_jobs(struct crew *crew, size_t all)
{
	struct aqm_closed_plan *plan = crew->plan;

	for (size_t i = 0; i < all; i++) {
		struct job job;
		int code = make_job(plan, i, &job);

		if (code != AQM_OK)
			return code;
		crew->total += job.cost;
		plan->runs[i] = find_run(crew->results, &job);
		if (plan->runs[i] == SIZE_MAX)
			crew->jobs[crew->count++] = job;
		else
			crew->done += job.cost;
	}
	mention_other_builds(crew, all);
	return AQM_OK;
}

/* Rank 0's jobs on all ranks, which must mean the same by them: each key is a digest of all that a job depends on. */
static int share_jobs(struct crew *crew, aqm_ranks *ranks)
{
	char digest[65] = "";
	aqm_sha256 *hash;
	int code = aqm_ranks_broadcast(ranks, &crew->count, sizeof crew->count);

	if (code == AQM_OK)
		code = aqm_ranks_broadcast(ranks, crew->jobs, crew->count * sizeof *crew->jobs);
	if (code != AQM_OK || aqm_ranks_size(ranks) == 1)
		return code;
	int made = aqm_sha256_new(&hash);
	if (made == AQM_OK) {
		for (size_t i = 0; made == AQM_OK && i < crew->count; i++) {
			made = make_job(crew->plan, crew->jobs[i].place, &crew->jobs[i]);
			aqm_sha256_update(hash, crew->jobs[i].key, strlen(crew->jobs[i].key));
		}
		aqm_sha256_finish(hash, digest);
	}
	code = aqm_ranks_agree(ranks, made);
	return code == AQM_OK ? aqm_ranks_same(ranks, "the digest of the simulations", digest) : code;
}

/* What a decision takes, and what is to be done: rank 0's, on all. */
static int prepare(struct crew *crew, size_t all)
{
	struct aqm_closed_plan *plan = crew->plan;
	aqm_ranks *ranks = plan->options->ranks;
	int code = AQM_OK;

	crew->jobs = aqm_malloc_array(all, sizeof *crew->jobs);
	if (!crew->jobs)
		code = AQM_ERUN;
	if (code == AQM_OK && aqm_ranks_first(ranks) && plan->policy_path && plan->measures)
		code = find_time(crew);
	code = aqm_ranks_agree(ranks, code);
	if (code == AQM_OK)
		code = aqm_ranks_broadcast(ranks, &plan->decision, sizeof plan->decision);
	if (code != AQM_OK)
		return code;
	for (size_t i = 0; i < plan->arm_count; i++)
		if (plan->arms[i].measured)
			plan->arms[i].delay = plan->decision.mean;
	code = aqm_ranks_agree(ranks, aqm_ranks_first(ranks) ? list_jobs(crew, all) : AQM_OK);
	return code == AQM_OK ? share_jobs(crew, ranks) : code;
}

static int simulate_all(struct crew *crew)
{
	const struct aqm_closed_plan *plan = crew->plan;
	int threads = plan->options->threads > 0 ? plan->options->threads : plan->on_gpu ? 1 : aqm_threads();
	int code = aqm_turns_new(&crew->turns, plan->options->ranks, crew->count, 0, take, crew);

	if (code != AQM_OK)
		return code;
	if ((size_t)threads > crew->count)
		threads = (int)crew->count;
	aqm_progress_start(&crew->progress, "simulating", crew->total, crew->done);
#pragma omp parallel num_threads(threads)
	work(crew);
	if (crew->code != AQM_OK)
		aqm_error_set(crew->code, "%s", crew->message);
	code = aqm_turns_finish(crew->turns, crew->code);
	aqm_progress_end(&crew->progress);
	return code;
}

int aqm_closed_simulate(struct aqm_closed_plan *plan, struct aqm_closed_file *file, struct aqm_closed_results *results)
{
	struct crew crew = {.plan = plan, .file = file, .results = results};
	size_t all = plan->cell_count * plan->options->seed_count * plan->arm_count;

	plan->results = results;
	int code = prepare(&crew, all);
	if (code == AQM_OK && crew.count)
		code = simulate_all(&crew);
	if (code == AQM_EINTERRUPTED && aqm_ranks_first(plan->options->ranks))
		aqm_error_set(code, "interrupted; '%s' holds %zu of %zu simulations, and the same command goes on from there",
		              file->path, all - crew.count + crew.finished, all);
	free(crew.jobs);
	return code;
}
