/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain sim: a scenario in the packet simulator, its figures, its log.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/distill.h"
#include "aqmtrain/sim.h"
#include "aqmtrain/utility.h"
#include "base/file.h"
#include "base/size.h"
#include "base/thread.h"
#include "cli/command.h"
#include "ranks/ranks.h"

enum {
	KEY_AQM = 256,
	KEY_SECONDS,
	KEY_SEED,
	KEY_LOG,
	KEY_CHATTER,
	KEY_SERIES,
	KEY_JSON,
	KEY_EPSILON,
	KEY_BASE,
	KEY_DEVICE,
	KEY_EVERY,
	KEY_DELAY,
	KEY_HOST,
	KEY_COLLECT,
	KEY_GRID,
	KEY_UTILITY,
	KEY_POLICY,
	KEY_RELABEL,
	KEY_POLICY_RUNS,
	KEY_RUNS,
	KEY_THREADS,
	KEY_FIXED,
	KEY_LIST,
	KEY_DUMP,
};

struct sim_arguments {
	const char *path, *aqm, *host, *log, *series, *collect, *grid, *base, *utility, *policy;
	const char **assignments; /* --set, --seconds, --seed, in order; `made` of them are ours */
	char *made[8];
	size_t assignment_count, made_count;
	bool chatter, json, fixed, relabel, list, dump;
	double epsilon, delay, seconds;
	int64_t every, runs, policy_runs;
	int threads;
	uint64_t seed;
	enum aqm_device_kind device;
	aqm_ranks *ranks; /* that collect together */
};

static const struct argp_option option_list[] = {
	{"config", 'c', "SCENARIO.yaml", 0, "The scenario; without it, Prague against Cubic, 40 Mb/s, 10 ms", 0},
	{"set", 's', "KEY=VALUE", 0,
     "Set one thing of the scenario: link.rate=10, aqm.target=5, flows.rtt=20; may be repeated", 0},
	{"aqm", KEY_AQM, "NAME", 0, "Queue discipline, or policy:RUN or student:FILE: what was trained decides", 0},
	{"seconds", KEY_SECONDS, "S", 0, "Simulated time", 0},
	{"seed", KEY_SEED, "N", 0, "Seed of all that is random", 0},
	{"emit-log", KEY_LOG, "FILE", 0, "Write the decisions as a kernel log; compressed if FILE ends in .gz or .bz2", 0},
	{"chatter", KEY_CHATTER, NULL, 0, "Give the log the faults of real ones", 0},
	{"series", KEY_SERIES, "FILE", 0, "Write the time series: CSV, or HDF5 if FILE ends in .h5", 0},
	{"json", KEY_JSON, NULL, 0, "Print the figures as JSON", 0},
	{"epsilon", KEY_EPSILON, "E", 0, "This share of decisions is drawn at random (collecting: up to this share)", 0},
	{"list", KEY_LIST, NULL, 0, "List the queue disciplines and congestion controls", 0},
	{"dump", KEY_DUMP, NULL, 0, "Print the resolved scenario and stop", 0},
	{NULL, 0, NULL, 0, "A policy in the queue:", 1},
	{"host", KEY_HOST, "NAME", 0, "The discipline in which the policy decides (default freebsd-l4s)", 0},
	{"base", KEY_BASE, "MODEL.gguf", 0, "Its base model, if not where it was", 0},
	{"device", KEY_DEVICE, "cpu|cuda|auto", 0, "Where it computes", 0},
	{"interval", KEY_EVERY, "N", 0, "It decides one packet in N, the rules decide the others (default 1)", 0},
	{"decision-delay", KEY_DELAY, "MS", 0,
     "From a state to when its decision is applied; 'measured': as long as it takes", 0},
	{NULL, 0, NULL, 0, "Collecting:", 2},
	{"collect", KEY_COLLECT, "POOL.h5", 0, "Run many scenarios, of many kinds, on all cores, into one pool", 0},
	{"grid", KEY_GRID, "GRID.yaml", 0, "What to run: its cells, an episode each; --set replaces axes", 0},
	{"utility", KEY_UTILITY, "NAME", 0,
     "Of a grid: rows of update intervals instead of packets, with how each run ranks among those under the same conditions, by "
     "this utility: balanced, l4s, power", 0},
	{"relabel", KEY_RELABEL, NULL, 0,
     "Then the action of a row is what other runs of its group would have done in its place, with their rank", 0},
	{"policy", KEY_POLICY, "RUN", 0, "Then also runs of this trained policy, asked for ranks from 0.4 to 1.1", 0},
	{"policy-runs", KEY_POLICY_RUNS, "N", 0, "So many in each group of equal conditions (default 4)", 0},
	{"runs", KEY_RUNS, "N", 0, "Without a grid: so many runs that are drawn (default 100)", 0},
	{"threads", KEY_THREADS, "N", 0, "Runs at the same time, of each rank; 0 = one a core", 0},
	{"fixed", KEY_FIXED, NULL, 0, "Without a grid: leave the settings of the AQMs at their defaults", 0},
	{0},
};

static void add_assignment(struct argp_state *state, struct sim_arguments *a, const char *text)
{
	const char **grown = aqm_realloc_array(a->assignments, a->assignment_count + 1, sizeof(const char *));

	if (!grown)
		argp_failure(state, aqm_exit_status(AQM_ERUN), 0, "no memory");
	a->assignments = grown;
	a->assignments[a->assignment_count++] = text;
}

static void make_assignment(struct argp_state *state, struct sim_arguments *a, const char *key, const char *value)
{
	char *text = aqm_strprintf("%s=%s", key, value);

	if (!text || a->made_count == sizeof a->made / sizeof *a->made)
		argp_failure(state, 2, 0, "'%s' is given too often", key);
	a->made[a->made_count++] = text;
	add_assignment(state, a, text);
}

static enum aqm_device_kind read_device(struct argp_state *state, const char *text)
{
	static const char *const words[] = {"cpu", "cuda", "auto"};

	for (int i = 0; i < 3; i++)
		if (strcmp(text, words[i]) == 0)
			return (enum aqm_device_kind)i;
	argp_error(state, "--device wants cpu, cuda or auto, not '%s'", text);
	return AQM_DEVICE_CPU;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct sim_arguments *a = state->input;

	switch (key) {
	case 'c':
		a->path = argument;
		return 0;
	case 's':
		add_assignment(state, a, argument);
		return 0;
	case KEY_AQM:
		a->aqm = argument;
		return 0;
	case KEY_SECONDS:
		a->seconds = aqm_cli_double(state, "--seconds", argument, 1e-3, 1e6);
		make_assignment(state, a, "seconds", argument);
		return 0;
	case KEY_SEED:
		a->seed = (uint64_t)aqm_cli_int(state, "--seed", argument, 0, INT64_MAX);
		make_assignment(state, a, "seed", argument);
		return 0;
	case KEY_LOG:
		a->log = argument;
		return 0;
	case KEY_CHATTER:
		a->chatter = true;
		return 0;
	case KEY_SERIES:
		a->series = argument;
		return 0;
	case KEY_JSON:
		a->json = true;
		return 0;
	case KEY_EPSILON:
		a->epsilon = aqm_cli_double(state, "--epsilon", argument, 0, 1);
		return 0;
	case KEY_LIST:
		a->list = true;
		return 0;
	case KEY_DUMP:
		a->dump = true;
		return 0;
	case KEY_HOST:
		a->host = argument;
		return 0;
	case KEY_BASE:
		a->base = argument;
		return 0;
	case KEY_DEVICE:
		a->device = read_device(state, argument);
		return 0;
	case KEY_EVERY:
		a->every = aqm_cli_int(state, "--interval", argument, 1, 1000000000);
		return 0;
	case KEY_DELAY:
		a->delay = strcmp(argument, "measured") == 0 ? -1 : aqm_cli_double(state, "--decision-delay", argument, 0, 1e6);
		return 0;
	case KEY_COLLECT:
		a->collect = argument;
		return 0;
	case KEY_GRID:
		a->grid = argument;
		return 0;
	case KEY_UTILITY:
		a->utility = argument;
		return 0;
	case KEY_RELABEL:
		a->relabel = true;
		return 0;
	case KEY_POLICY:
		a->policy = argument;
		return 0;
	case KEY_POLICY_RUNS:
		a->policy_runs = aqm_cli_int(state, "--policy-runs", argument, 1, 10000);
		return 0;
	case KEY_RUNS:
		a->runs = aqm_cli_int(state, "--runs", argument, 1, 1000000);
		return 0;
	case KEY_THREADS:
		a->threads = (int)aqm_cli_int(state, "--threads", argument, 0, 1024);
		return 0;
	case KEY_FIXED:
		a->fixed = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int list(void)
{
	const char *name, *help;

	puts("queue disciplines:");
	for (size_t i = 0; (name = aqm_qdisc_name(i, &help)); i++)
		printf("  %-14s %s\n", name, help);
	puts("congestion controls:");
	for (size_t i = 0; (name = aqm_cc_name(i, &help)); i++)
		printf("  %-14s %s\n", name, help);
	printf("  %-14s %s\n", "udp", "unresponsive, at its rate, in bursts if wanted");
	return 0;
}

static int load_scenario(const struct sim_arguments *a, struct aqm_scenario *scenario)
{
	int code = AQM_OK;

	aqm_scenario_init(scenario);
	if (a->path)
		code = aqm_scenario_read(scenario, a->path);
	else if (!aqm_scenario_add_flows(scenario, "prague", 1, 10) || !aqm_scenario_add_flows(scenario, "cubic", 1, 10))
		code = AQM_ERUN;
	if (code == AQM_OK && a->aqm) {
		const char *kind = strncmp(a->aqm, "policy:", 7) == 0 || strncmp(a->aqm, "student:", 8) == 0 ? a->host : a->aqm;

		if (strlen(kind) < sizeof scenario->aqm.kind)
			snprintf(scenario->aqm.kind, sizeof scenario->aqm.kind, "%s", kind);
		else
			code = aqm_error_set(AQM_EUSAGE, "no AQM '%s'", kind);
	}
	for (size_t i = 0; i < a->assignment_count && code == AQM_OK; i++)
		code = aqm_scenario_set(scenario, a->assignments[i]);
	return code == AQM_OK ? aqm_scenario_check(scenario) : code;
}

static int print(const struct aqm_sim_result *result, bool json)
{
	char *text;
	int code = aqm_sim_format(result, json, &text);

	if (code == AQM_OK) {
		fputs(text, stdout);
		if (json)
			putchar('\n');
		free(text);
	}
	return code;
}

/* What is written is not what is read. */
static int check_outputs(const struct sim_arguments *a)
{
	const char *outputs[] = {a->log, a->series};
	int code = AQM_OK;

	for (int i = 0; i < 2 && code == AQM_OK; i++) {
		if (outputs[i] && a->path)
			code = aqm_path_spare(a->path, outputs[i]);
		if (code == AQM_OK && outputs[i] && a->aqm && strncmp(a->aqm, "student:", 8) == 0)
			code = aqm_path_spare(a->aqm + 8, outputs[i]);
	}
	if (code == AQM_OK && a->log && a->series && aqm_path_same(a->log, a->series))
		code = aqm_error_set(AQM_EUSAGE, "'%s' is named twice; each output needs a file of its own", a->log);
	return code;
}

static int simulate(const struct sim_arguments *a, const struct aqm_scenario *scenario)
{
	struct aqm_sim_options options = {.log_path = a->log, .chatter = a->chatter, .progress = true};
	struct aqm_sim_policy *policy = NULL;
	struct aqm_sim_student *pupil = NULL;
	struct aqm_epsilon *epsilon = NULL;
	aqm_student *student = NULL;
	struct aqm_sim_result result = {0};
	struct aqm_sim_hook hook = {0};
	bool of_policy = a->aqm && strncmp(a->aqm, "policy:", 7) == 0;
	int code = check_outputs(a);

	if (code == AQM_OK && of_policy)
		code = aqm_sim_policy_new(&policy, &hook, a->aqm + 7, a->base, a->device, a->every, a->delay);
	if (code == AQM_OK && a->aqm && strncmp(a->aqm, "student:", 8) == 0) {
		code = aqm_student_load(&student, a->aqm + 8);
		if (code == AQM_OK)
			code = aqm_sim_student_new(&pupil, &hook, student);
	}
	if (code == AQM_OK && a->epsilon > 0)
		code = aqm_epsilon_new(&epsilon, &hook, a->epsilon, scenario->seed);
	if (hook.context)
		options.hook = &hook;
	if (code == AQM_OK)
		code = aqm_sim_run(scenario, &options, &result);
	if (code == AQM_OK && (policy || pupil)) {
		if (policy)
			aqm_sim_policy_counts(policy, &result.asked, &result.differed);
		else
			aqm_sim_student_counts(pupil, &result.asked, &result.differed);
		snprintf(result.aqm, sizeof result.aqm, "%.*s", (int)sizeof result.aqm - 1, a->aqm);
	}
	if (code == AQM_OK && a->series)
		code = aqm_sim_write_series(&result, a->series);
	if (code == AQM_OK)
		code = print(&result, a->json);
	aqm_sim_result_release(&result);
	aqm_epsilon_free(epsilon);
	aqm_sim_policy_free(policy);
	aqm_sim_student_free(pupil);
	aqm_student_free(student);
	return code;
}

/* Options of one run are axes of one value in a grid. */
static int load_grid(const struct sim_arguments *a, struct aqm_grid **grid)
{
	char *kind = a->aqm ? aqm_strprintf("aqm.kind=%s", a->aqm) : NULL;
	char *epsilon = a->epsilon >= 0 ? aqm_strprintf("epsilon=%.17g", a->epsilon) : NULL;
	const char **overrides = aqm_malloc_array(a->assignment_count + 2, sizeof(char *));
	size_t count = 0;
	int code = AQM_ERUN;

	if (overrides) {
		if (kind)
			overrides[count++] = kind;
		if (epsilon)
			overrides[count++] = epsilon;
		for (size_t i = 0; i < a->assignment_count; i++)
			overrides[count++] = a->assignments[i];
		code = aqm_grid_load(grid, a->grid, overrides, count);
	}
	free(overrides);
	free(epsilon);
	free(kind);
	return code;
}

static int print_cells(const struct aqm_grid *grid)
{
	int code = AQM_OK;

	for (size_t i = 0; i < aqm_grid_cells(grid) && code == AQM_OK; i++) {
		struct aqm_cell cell;

		code = aqm_grid_cell(grid, i, &cell);
		if (code == AQM_OK)
			printf("%zu %s\n", i, cell.name);
		aqm_cell_release(&cell);
	}
	return code;
}

static int collect_updates(const struct sim_arguments *a, const struct aqm_grid *grid)
{
	struct aqm_collect_updates options = {
		.grid = grid,
		.policy = a->policy,
		.base = a->base,
		.policy_runs = a->policy_runs ? a->policy_runs : 4,
		.relabel = a->relabel,
		.threads = a->threads,
		.output = a->collect,
		.ranks = a->ranks,
	};
	int code = aqm_ranks_agree(a->ranks, aqm_utility_find(a->utility, &options.utility));

	return code == AQM_OK ? aqm_sim_collect_updates(&options) : code;
}

static int collect(const struct sim_arguments *a)
{
	struct aqm_grid *grid = NULL;
	int code = AQM_OK;

	if (a->path || a->log || a->series || a->json)
		code = aqm_error_set(AQM_EUSAGE, "%s is for one run, not for %s",
		                     a->path     ? "-c"
		                     : a->log    ? "--emit-log"
		                     : a->series ? "--series"
		                                 : "--json",
		                     a->grid ? "a grid" : "--collect");
	if (code == AQM_OK && a->grid && a->collect)
		code = aqm_path_spare(a->grid, a->collect);
	if (code == AQM_OK && a->grid)
		code = load_grid(a, &grid);
	if (code == AQM_OK && a->grid && (a->runs || a->fixed))
		code = aqm_error_set(AQM_EUSAGE, "--runs and --fixed are for runs that are drawn, not for those of a grid");
	if (code == AQM_OK && !a->grid && a->assignment_count > a->made_count)
		code = aqm_error_set(AQM_EUSAGE, "--set is for a grid or a scenario: runs that are drawn take none of it");
	if (code == AQM_OK && a->utility && !grid)
		code = aqm_error_set(AQM_EUSAGE, "--utility wants --grid: runs can only be compared under the same conditions");
	if (code == AQM_OK && !a->utility && (a->policy || a->policy_runs || a->relabel))
		code = aqm_error_set(AQM_EUSAGE, "--relabel, --policy and --policy-runs want --utility");
	code = aqm_ranks_agree(a->ranks, code);
	if (code == AQM_OK && a->dump) {
		code = grid ? print_cells(grid) : aqm_error_set(AQM_EUSAGE, "--dump wants --grid or a scenario");
	} else if (code == AQM_OK && a->utility) {
		code = collect_updates(a, grid);
	} else if (code == AQM_OK) {
		const struct aqm_collect_options options = {
			.output = a->collect,
			.grid = grid,
			.aqms = a->aqm ? &a->aqm : NULL,
			.aqm_count = a->aqm ? 1 : 0,
			.runs = a->runs ? a->runs : 100,
			.seconds = a->seconds,
			.epsilon = a->epsilon < 0 ? 0 : a->epsilon,
			.randomise = !a->fixed,
			.threads = a->threads,
			.seed = a->seed,
			.ranks = a->ranks,
		};
		code = aqm_sim_collect(&options);
	}
	aqm_grid_free(grid);
	return code;
}

/* Ranks do the same, but only the first one speaks. */
static int collect_together(struct sim_arguments *a)
{
	int code = a->collect ? aqm_cli_join(&a->ranks) : AQM_OK;

	if (code != AQM_OK)
		return code;
	aqm_threads_set(aqm_ranks_threads(a->ranks));
	return collect(a);
}

static int run_sim(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_list,
		.parser = parse_option,
		.doc =
			"Simulate senders, a bottleneck and its queue, packet by packet, and print what came of it: delays, marks, "
			"drops, rates. Or make a pool out of many such runs (--collect).",
	};
	struct sim_arguments a = {.every = 1, .epsilon = -1, .seed = 1, .host = "freebsd-l4s"};
	struct aqm_scenario scenario;
	int code;

	aqm_scenario_init(&scenario);
	aqm_cli_options(&argp, argc, argv, &a);
	if (a.list)
		return list();
	aqm_interrupt_install();
	if (a.grid && !a.collect && !a.dump) {
		code = aqm_error_set(AQM_EUSAGE, "--grid wants --collect POOL.h5, or --dump to list its cells");
	} else if (a.collect || a.grid) {
		code = collect_together(&a);
	} else {
		code = load_scenario(&a, &scenario);
		if (code == AQM_OK && a.dump) {
			char *yaml;

			code = aqm_scenario_dump(&scenario, &yaml);
			if (code == AQM_OK) {
				fputs(yaml, stdout);
				free(yaml);
			}
		} else if (code == AQM_OK) {
			code = simulate(&a, &scenario);
		}
	}
	aqm_scenario_release(&scenario);
	for (size_t i = 0; i < a.made_count; i++)
		free(a.made[i]);
	free(a.assignments);
	int status = code == AQM_OK ? 0 : aqm_cli_fail(code);
	aqm_ranks_leave(a.ranks);
	return status;
}

const struct aqm_command aqm_command_sim = {
	.name = "sim",
	.usage = "[-c SCENARIO.yaml] [OPTION...]",
	.help = "simulate the bottleneck, packet by packet; make logs and pools",
	.run = run_sim,
};
