/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is to be simulated: which cells, and what sits in the queue.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "eval/closed.h"
#include "policy/policy.h"
#include "pool/store.h"

/* ---- arms ---- */

static const char *const usual[] = {"fifo", "pie", "codel", "dualpi2", "dualpi2-linux", "freebsd-l4s", "policy", NULL};

static bool is_discipline(const char *name)
{
	const char *known;

	for (size_t i = 0; (known = aqm_qdisc_name(i, NULL)); i++)
		if (strcmp(known, name) == 0)
			return true;
	return false;
}

static const struct aqm_closed_guest *find_guest(const struct aqm_closed_options *o, const char *name)
{
	for (size_t i = 0; i < o->guest_count; i++)
		if (strcmp(o->guests[i].name, name) == 0)
			return &o->guests[i];
	return NULL;
}

static int read_arm(struct aqm_arm *arm, const struct aqm_closed_options *o, const char *name)
{
	char *end;

	*arm = (struct aqm_arm){.every = 1, .target = (double)NAN};
	if (snprintf(arm->name, sizeof arm->name, "%s", name) >= (int)sizeof arm->name)
		return aqm_error_set(AQM_EUSAGE, "no AQM '%.40s...'", name);
	if (strcmp(name, "policy") == 0) {
		arm->kind = AQM_ARM_POLICY;
	} else if (strcmp(name, "enqueue") == 0) {
		arm->kind = AQM_ARM_ENQUEUE;
	} else if (strncmp(name, "random:", 7) == 0) {
		arm->kind = AQM_ARM_RANDOM;
		arm->share = strtod(name + 7, &end);
		if (end == name + 7 || *end || !(arm->share > 0 && arm->share <= 1))
			return aqm_error_set(AQM_EUSAGE, "'%s' wants a probability above 0, up to 1, as in random:0.1", name);
	} else if ((arm->guest = find_guest(o, name))) {
		arm->kind = AQM_ARM_GUEST;
	} else if (!is_discipline(name)) {
		return aqm_error_set(AQM_EUSAGE,
		                     "no AQM '%s'; there are enqueue, random:P, policy and those of aqmtrain sim --list", name);
	}
	arm->trivial = arm->kind == AQM_ARM_ENQUEUE || arm->kind == AQM_ARM_RANDOM || strcmp(name, "fifo") == 0;
	return AQM_OK;
}

/* The label says whatever the arms of the policy do not have in common. */
static void label(struct aqm_arm *arm, const struct aqm_closed_options *o, bool packets)
{
	size_t at = (size_t)snprintf(arm->label, sizeof arm->label, "%s", arm->name);
	const size_t room = sizeof arm->label;

	if (packets)
		at += (size_t)snprintf(arm->label + at, room - at, arm->every > 1 ? ", every %lld" : ", every packet",
		                       (long long)arm->every);
	if (arm->measured)
		at += (size_t)snprintf(arm->label + at, room - at, ", its own delay");
	else if (arm->delay > 0)
		at += (size_t)snprintf(arm->label + at, room - at, ", delay %g ms", arm->delay);
	if (!isnan(arm->target))
		at += (size_t)snprintf(arm->label + at, room - at, ", return %.6g", arm->target);
	if (o->context_count)
		snprintf(arm->label + at, room - at, ", context %lld", (long long)arm->context);
}

static int add_arm(struct aqm_closed_plan *plan, const struct aqm_arm *arm)
{
	for (size_t i = 0; i < plan->arm_count; i++)
		if (strcmp(plan->arms[i].label, arm->label) == 0)
			return AQM_OK; /* asked for twice */
	struct aqm_arm *grown = aqm_realloc_array(plan->arms, plan->arm_count + 1, sizeof *grown);
	if (!grown)
		return AQM_ERUN;
	plan->arms = grown;
	plan->arms[plan->arm_count++] = *arm;
	return AQM_OK;
}

/* Every mode of the policy that was asked for. Measured delays are filled in once they are known. */
static int add_policy(struct aqm_closed_plan *plan, struct aqm_arm arm, const struct aqm_fit *fit)
{
	static const int64_t of_updates[] = {0}, of_packets[] = {1, 10, 100}, no_context[] = {0};
	static const double both_delays[] = {0, -1}, own_target[] = {(double)NAN};
	const struct aqm_closed_options *o = plan->options;
	bool packets = plan->control == AQM_CONTROL_PACKET;
	const int64_t *every = o->every ? o->every : packets ? of_packets : of_updates;
	const double *delays = o->delays ? o->delays : both_delays, *targets = o->targets ? o->targets : own_target;
	const int64_t *contexts = o->contexts ? o->contexts : no_context;
	size_t ways = o->every ? o->every_count : packets ? 3 : 1, delay_count = o->delays ? o->delay_count : 2;
	int code = AQM_OK;

	for (size_t e = 0; e < ways && code == AQM_OK; e++) {
		if ((every[e] > 0) != packets)
			code = aqm_error_set(AQM_EUSAGE,
			                     packets ? "this policy decides on packets: --every wants numbers, not 'update'"
			                             : "this policy decides once an update interval: --every wants 'update'");
		for (size_t d = 0; d < delay_count; d++)
			for (size_t t = 0; t < (o->targets ? o->target_count : 1); t++)
				for (size_t c = 0; c < (o->contexts ? o->context_count : 1) && code == AQM_OK; c++) {
					arm.every = every[e];
					arm.delay = delays[d];
					arm.target = targets[t];
					arm.context = contexts[c];
					if (o->target_quantiles)
						arm.target = fit->return_quantiles[(int)(100 * fmin(fmax(arm.target, 0), 1) + 0.5)];
					arm.measured = arm.delay < 0;
					plan->measures = plan->measures || arm.measured;
					label(&arm, o, packets);
					code = add_arm(plan, &arm);
				}
	}
	return code;
}

/* Trivial ones, then disciplines, then the policy. */
static int add_arms(struct aqm_closed_plan *plan, const struct aqm_fit *fit)
{
	const struct aqm_closed_options *o = plan->options;
	int code = AQM_OK;

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; code == AQM_OK && (o->aqms ? i < o->aqm_count : usual[i] != NULL); i++) {
			struct aqm_arm arm;

			code = read_arm(&arm, o, o->aqms ? o->aqms[i] : usual[i]);
			bool policy = arm.kind == AQM_ARM_POLICY;
			if (code != AQM_OK || round != (aqm_closed_learned(&arm) ? 2 : arm.trivial ? 0 : 1))
				continue;
			if (!policy) {
				label(&arm, &(struct aqm_closed_options){0}, false);
				code = add_arm(plan, &arm);
			} else if (plan->policy_path) {
				code = add_policy(plan, arm, fit);
			} else if (o->aqms) {
				code = aqm_error_set(AQM_EUSAGE, "a policy needs its run (-r RUN)");
			}
		}
	return code;
}

int aqm_closed_find(const struct aqm_closed_plan *plan, const char *name, size_t *arm)
{
	for (*arm = 0; *arm < plan->arm_count; ++*arm)
		if (strcmp(plan->arms[*arm].name, name) == 0 || strcmp(plan->arms[*arm].label, name) == 0)
			return AQM_OK;
	return aqm_error_set(AQM_EUSAGE, "nothing that is evaluated is called '%s'", name);
}

static int choose_baseline(struct aqm_closed_plan *plan)
{
	plan->baseline = 0;
	if (plan->options->baseline)
		return aqm_closed_find(plan, plan->options->baseline, &plan->baseline);
	if (aqm_closed_find(plan, "dualpi2", &plan->baseline) != AQM_OK)
		plan->baseline = 0;
	return AQM_OK;
}

/* ---- cells ---- */

static struct aqm_closed_cell *add_cell(struct aqm_closed_plan *plan)
{
	struct aqm_closed_cell *grown = aqm_realloc_array(plan->cells, plan->cell_count + 1, sizeof *grown);

	if (!grown)
		return NULL;
	plan->cells = grown;
	plan->cells[plan->cell_count] = (struct aqm_closed_cell){0};
	return &plan->cells[plan->cell_count++];
}

/* What a file is called without its folder and ending. */
static void stem(const char *path, char *name, size_t bytes)
{
	const char *slash = strrchr(path, '/'), *dot;

	path = slash ? slash + 1 : path;
	dot = strrchr(path, '.');
	snprintf(name, bytes, "%.*s", (int)(dot && dot > path ? (size_t)(dot - path) : strlen(path)), path);
}

static int add_scenario(struct aqm_closed_plan *plan)
{
	const struct aqm_closed_options *o = plan->options;
	struct aqm_closed_cell *cell = add_cell(plan);

	if (!cell)
		return AQM_ERUN;
	aqm_scenario_init(&cell->scenario);
	int code = aqm_scenario_read(&cell->scenario, o->scenario_path);
	for (size_t i = 0; i < o->assignment_count && code == AQM_OK; i++)
		code = aqm_scenario_set(&cell->scenario, o->assignments[i]);
	if (code == AQM_OK)
		code = aqm_scenario_check(&cell->scenario);
	if (*cell->scenario.name)
		snprintf(plan->name, sizeof plan->name, "%s", cell->scenario.name);
	else
		stem(o->scenario_path, plan->name, sizeof plan->name);
	snprintf(cell->name, sizeof cell->name, "%s", plan->name);
	return code;
}

/* The cells of a grid as its first seed has them: each is run with every seed of the evaluation. */
static int add_grid(struct aqm_closed_plan *plan)
{
	const struct aqm_closed_options *o = plan->options;
	const char **overrides = aqm_malloc_array(o->assignment_count + 1, sizeof(char *));
	struct aqm_grid *grid = NULL;

	if (!overrides)
		return AQM_ERUN;
	for (size_t i = 0; i < o->assignment_count; i++)
		overrides[i] = o->assignments[i];
	overrides[o->assignment_count] = "seeds=1";
	int code = aqm_grid_load(&grid, o->grid_path, overrides, o->assignment_count + 1);
	for (size_t i = 0; code == AQM_OK && i < aqm_grid_cells(grid); i++) {
		struct aqm_cell from = {0};
		struct aqm_closed_cell *cell = add_cell(plan);

		code = cell ? aqm_grid_cell(grid, i, &from) : AQM_ERUN;
		if (code == AQM_OK && from.epsilon > 0)
			code = aqm_error_set(AQM_EUSAGE, "'%s' has cells with random actions (epsilon): that is for pools",
			                     o->grid_path);
		if (code == AQM_OK)
			code = aqm_scenario_copy(&cell->scenario, &from.scenario);
		if (code == AQM_OK) {
			const char *seed = strstr(from.name, "seed=1"); /* the last axis */
			size_t length = seed ? (size_t)(seed - from.name) : strlen(from.name);

			while (length > 0 && from.name[length - 1] == ' ')
				length--;
			snprintf(cell->name, sizeof cell->name, "%.*s", (int)length, from.name);
			if (!*cell->name)
				snprintf(cell->name, sizeof cell->name, "%s", from.scenario.name);
		}
		aqm_cell_release(&from);
	}
	if (code == AQM_OK) {
		const char *name = aqm_grid_name(grid);

		if (name && *name)
			snprintf(plan->name, sizeof plan->name, "%s", name);
		else
			stem(o->grid_path, plan->name, sizeof plan->name);
	}
	aqm_grid_free(grid);
	free(overrides);
	return code;
}

/* A name that can be a file's. */
static void make_plain(char *name)
{
	for (char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
			*c = '-';
	if (*name == '.' || !*name)
		*name = '-';
}

/* ---- which cells the policy was trained on ---- */

/* Whether `text` has the word `word[bytes]`, with blanks or nothing around it. */
static bool has_word(const char *text, size_t text_bytes, const char *word, size_t bytes)
{
	for (size_t at = 0; at + bytes <= text_bytes; at++)
		if (memcmp(text + at, word, bytes) == 0 && (at == 0 || text[at - 1] == ' ') &&
		    (at + bytes == text_bytes || text[at + bytes] == ' '))
			return true;
	return false;
}

/* An episode is called "sim link.rate=4 mix=one seed=1: ...": what its cell was, in words, then what was in it. It is
 * of a cell here if it has all words of that. */
static bool same_cell(const char *episode, const char *cell)
{
	const char *end = strstr(episode, ": ");
	size_t bytes = end ? (size_t)(end - episode) : strlen(episode);

	for (const char *word = cell; *word;) {
		size_t length = strcspn(word, " ");

		if (!has_word(episode, bytes, word, length))
			return false;
		word += length + (word[length] == ' ');
	}
	return *cell != 0;
}

static int mark_given(struct aqm_closed_plan *plan)
{
	for (size_t i = 0; i < plan->options->trained_count; i++) {
		bool found = false;

		for (size_t c = 0; c < plan->cell_count; c++)
			if (strcmp(plan->cells[c].name, plan->options->trained[i]) == 0)
				found = plan->cells[c].trained = true;
		if (!found)
			return aqm_error_set(AQM_EUSAGE, "no cell '%s'; the first is '%s'", plan->options->trained[i],
			                     plan->cells[0].name);
	}
	plan->knows_cells = plan->options->trained_count > 0;
	return AQM_OK;
}

static bool has_cell(const struct aqm_closed_plan *plan, const char *episode)
{
	for (size_t c = 0; c < plan->cell_count; c++)
		if (same_cell(episode, plan->cells[c].name))
			return true;
	return false;
}

static void count_seen_seeds(struct aqm_closed_plan *plan, const aqm_pool *pool)
{
	for (size_t s = 0; s < plan->options->seed_count; s++) {
		char word[32];
		bool seen = false;

		snprintf(word, sizeof word, "seed=%llu", (unsigned long long)plan->options->seeds[s]);
		for (size_t i = 0; i < pool->provenance.input_count && !seen; i++)
			seen = same_cell(pool->provenance.inputs[i].path, word) && has_cell(plan, pool->provenance.inputs[i].path);
		plan->seen_seeds += seen;
	}
}

/* By the names of the training pool's episodes; a pool that is gone, or names none of the cells, says nothing. */
static void mark_from_pool(struct aqm_closed_plan *plan, const char *path)
{
	aqm_pool *pool = NULL;

	if (!path || aqm_pool_open_file(&pool, path, false) != AQM_OK)
		return;
	for (size_t c = 0; c < plan->cell_count; c++)
		for (size_t i = 0; i < pool->provenance.input_count && !plan->cells[c].trained; i++)
			if (same_cell(pool->provenance.inputs[i].path, plan->cells[c].name))
				plan->knows_cells = plan->cells[c].trained = true;
	if (plan->knows_cells)
		count_seen_seeds(plan, pool);
	aqm_pool_free(pool);
}

/* ---- the plan ---- */

/* The policy is opened once for what it says of itself; those that decide are loaded where they run. */
static int look_at_policy(struct aqm_closed_plan *plan, struct aqm_fit *fit)
{
	const struct aqm_closed_options *o = plan->options;
	char *last = o->last && o->run_path ? aqm_path_join(o->run_path, "policy.h5") : NULL;
	aqm_policy *policy = NULL;

	if (!o->run_path)
		return AQM_OK;
	plan->policy_path = aqm_policy_find(last ? last : o->run_path);
	free(last);
	if (!plan->policy_path)
		return AQM_EDATA;
	int code = aqm_policy_load(&policy, plan->policy_path, o->base_path, o->device);
	if (code == AQM_OK)
		code = aqm_sha256_file(plan->policy_path, plan->policy_digest);
	if (code == AQM_OK) {
		*fit = *aqm_policy_fit(policy);
		plan->control = aqm_policy_config(policy)->control;
		plan->own_target = aqm_policy_target(policy);
		plan->on_gpu = strcmp(aqm_policy_device(policy)->ops->name, "cpu") != 0;
		if (!o->trained)
			mark_from_pool(plan, aqm_policy_config(policy)->pool.train);
	}
	aqm_policy_free(policy);
	return code;
}

int aqm_closed_plan_init(struct aqm_closed_plan *plan, const struct aqm_closed_options *options)
{
	struct aqm_fit fit = {0};
	size_t runs;

	*plan = (struct aqm_closed_plan){.options = options, .own_target = (double)NAN};
	int code = aqm_utility_find(options->utility ? options->utility : aqm_utility_name(0, NULL), &plan->utility);
	if (code != AQM_OK)
		return code;
	plan->utility_name = aqm_utility_name(plan->utility, &plan->utility_help);
	if (aqm_sha256_file("/proc/self/exe", plan->program) != AQM_OK)
		*plan->program = 0;
	if (options->seed_count == 0)
		return aqm_error_set(AQM_EUSAGE, "an evaluation wants seeds");
	code = options->grid_path ? add_grid(plan) : add_scenario(plan);
	if (code == AQM_OK && options->trained)
		code = mark_given(plan);
	if (code == AQM_OK)
		code = look_at_policy(plan, &fit);
	if (code == AQM_OK)
		code = add_arms(plan, &fit);
	if (code == AQM_OK && plan->arm_count == 0)
		code = aqm_error_set(AQM_EUSAGE, "nothing to evaluate");
	if (code == AQM_OK)
		code = choose_baseline(plan);
	if (code != AQM_OK)
		return code;
	make_plain(plan->name);
	if (aqm_size_mul_overflows(plan->cell_count * plan->arm_count, options->seed_count, &runs))
		return aqm_error_set(AQM_EUSAGE, "too many simulations");
	plan->runs = aqm_malloc_array(runs, sizeof *plan->runs);
	for (size_t i = 0; plan->runs && i < runs; i++)
		plan->runs[i] = SIZE_MAX;
	return plan->runs ? AQM_OK : AQM_ERUN;
}

void aqm_closed_plan_release(struct aqm_closed_plan *plan)
{
	for (size_t i = 0; i < plan->cell_count; i++)
		aqm_scenario_release(&plan->cells[i].scenario);
	free(plan->cells);
	free(plan->arms);
	free(plan->policy_path);
	free(plan->runs);
	*plan = (struct aqm_closed_plan){0};
}

/* ---- simulations ---- */

const char *aqm_closed_host(const struct aqm_closed_plan *plan, const struct aqm_arm *arm)
{
	if (plan->options->host)
		return plan->options->host;
	if (arm->kind == AQM_ARM_GUEST && arm->guest->host)
		return arm->guest->host;
	/* freebsd-l4s lets packets through that it was told to drop, while its burst allowance lasts. */
	return arm->kind == AQM_ARM_POLICY && plan->control == AQM_CONTROL_PACKET ? "freebsd-l4s" : "dualpi2";
}

int aqm_closed_scenario(const struct aqm_closed_plan *plan, size_t cell, size_t seed, const struct aqm_arm *arm,
                        struct aqm_scenario *scenario)
{
	const struct aqm_scenario *from = &plan->cells[cell].scenario;
	const char *kind = arm->kind == AQM_ARM_RULES ? arm->name : aqm_closed_host(plan, arm);
	int code = aqm_scenario_copy(scenario, from);

	if (code != AQM_OK)
		return code;
	scenario->seed = plan->options->seeds[seed];
	if (strcmp(kind, from->aqm.kind) != 0) { /* the cell's settings are meant for its own discipline */
		struct aqm_scenario bare;

		aqm_scenario_init(&bare);
		scenario->aqm = bare.aqm;
		aqm_scenario_release(&bare);
		if (snprintf(scenario->aqm.kind, sizeof scenario->aqm.kind, "%s", kind) >= (int)sizeof scenario->aqm.kind)
			return aqm_error_set(AQM_EUSAGE, "no AQM '%.40s...'", kind);
	}
	return aqm_scenario_check(scenario);
}

int aqm_closed_key(const struct aqm_closed_plan *plan, const struct aqm_scenario *scenario, const struct aqm_arm *arm,
                   char key[AQM_CLOSED_KEY])
{
	aqm_sha256 *hash;
	char *yaml = NULL, *mode = NULL, digest[65];
	int code = aqm_scenario_dump(scenario, &yaml);

	if (code == AQM_OK && arm->kind == AQM_ARM_POLICY)
		mode = aqm_strprintf("policy %s every %lld delay %.9g target %.9g context %lld\n", plan->policy_digest,
		                     (long long)arm->every, arm->delay, arm->target, (long long)arm->context);
	else if (code == AQM_OK)
		mode = aqm_strprintf("%s\n", arm->kind == AQM_ARM_GUEST ? arm->guest->digest : arm->name);
	if (code == AQM_OK)
		code = mode ? aqm_sha256_new(&hash) : AQM_ERUN;
	if (code == AQM_OK) {
		aqm_sha256_update(hash, "closed loop 1\n", 14);
		/* Another build may simulate or decide otherwise: nothing of it is mixed in. */
		aqm_sha256_update(hash, plan->program, strlen(plan->program));
		aqm_sha256_update(hash, AQM_VERSION "\n", strlen(AQM_VERSION) + 1);
		aqm_sha256_update(hash, mode, strlen(mode));
		aqm_sha256_update(hash, yaml, strlen(yaml));
		aqm_sha256_finish(hash, digest);
		snprintf(key, AQM_CLOSED_KEY, "%.32s", digest);
	}
	free(mode);
	free(yaml);
	return code;
}
