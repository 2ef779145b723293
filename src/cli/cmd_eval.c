/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain eval: a run's policy on the rows of a pool, in the simulator, or by the paper's replay.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cli/cmd_eval.h"
#include "cli/command.h"
#include "compute/device.h"
#include "ranks/ranks.h"

enum {
	KEY_POOL = 256,
	KEY_BASE,
	KEY_LAST,
	KEY_RETURNS,
	KEY_DECISIONS,
	KEY_JSON,
	KEY_DEVICE,
	KEY_THREADS,
	KEY_CLOSED,
	KEY_SCENARIO,
	KEY_GRID,
	KEY_SEEDS,
	KEY_AQM,
	KEY_EVERY,
	KEY_DELAY,
	KEY_TARGETS,
	KEY_CONTEXTS,
	KEY_HOST,
	KEY_BASELINE,
	KEY_UTILITY,
	KEY_TRAINED,
	KEY_REPLAY,
	KEY_INTERVAL,
};

enum { THREADS_MAX = 4096 };

static void no_memory(const struct argp_state *state)
{
	argp_failure(state, aqm_exit_status(AQM_ERUN), 0, "no memory");
}

static void add_text(const struct argp_state *state, struct eval_list *list, const char *text)
{
	const char **grown = aqm_realloc_array(list->texts, list->count + 1, sizeof(char *));

	if (!grown)
		no_memory(state);
	list->texts = grown;
	list->texts[list->count++] = text;
}

/* The parts between commas. */
static void add_parts(const struct argp_state *state, struct eval_list *list, const char *text)
{
	char **grown = aqm_realloc_array(list->copies, list->copy_count + 1, sizeof(char *)), *copy = aqm_strdup(text);

	if (!grown || !copy)
		no_memory(state);
	list->copies = grown;
	list->copies[list->copy_count++] = copy;
	for (char *part = copy, *comma; part; part = comma ? comma + 1 : NULL) {
		comma = strchr(part, ',');
		if (comma)
			*comma = 0;
		add_text(state, list, part);
	}
}

static void release_list(struct eval_list *list)
{
	for (size_t i = 0; i < list->copy_count; i++)
		free(list->copies[i]);
	free(list->copies);
	free(list->texts);
}

static void set_returns(struct eval_arguments *arguments, const char *word, const struct argp_state *state)
{
	arguments->options.target_returns = strcmp(word, "target") == 0;
	arguments->logged_returns = strcmp(word, "logged") == 0;
	if (!arguments->options.target_returns && !arguments->logged_returns)
		argp_error(state, "--returns wants logged or target, not '%s'", word);
}

static void set_decisions(struct eval_arguments *arguments, const char *word, const struct argp_state *state)
{
	arguments->options.decisions = arguments->options.target_returns = true;
	for (int kind = AQM_ARITHMETIC_FLOAT32; kind <= AQM_ARITHMETIC_INT8; kind++)
		if (strcmp(word, aqm_config_word("decide.arithmetic", kind)) == 0) {
			arguments->options.arithmetic = (enum aqm_arithmetic)kind;
			return;
		}
	argp_error(state, "--decisions wants float32 or int8, not '%s'", word);
}

static void set_device(struct eval_arguments *arguments, const char *word, const struct argp_state *state)
{
	for (int kind = AQM_DEVICE_CPU; kind <= AQM_DEVICE_AUTO; kind++)
		if (strcmp(word, aqm_config_word("device", kind)) == 0) {
			arguments->options.device = (enum aqm_device_kind)kind;
			return;
		}
	argp_error(state, "--device wants cpu, cuda or auto, not '%s'", word);
}

/* Options of the closed loop and of the replay. */
static error_t parse_closed(struct eval_arguments *arguments, int key, char *argument, const struct argp_state *state)
{
	const struct {
		int key;
		const char **text;
	} texts[] = {
		{KEY_SCENARIO, &arguments->scenario}, {KEY_GRID, &arguments->grid},       {KEY_HOST, &arguments->host},
		{KEY_BASELINE, &arguments->baseline}, {KEY_UTILITY, &arguments->utility}, {KEY_SEEDS, &arguments->seeds},
		{KEY_EVERY, &arguments->every},       {KEY_DELAY, &arguments->delays},    {KEY_TARGETS, &arguments->targets},
		{KEY_CONTEXTS, &arguments->contexts},
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (texts[i].key == key) {
			*texts[i].text = argument;
			return 0;
		}
	switch (key) {
	case KEY_CLOSED:
		arguments->closed_loop = true;
		return 0;
	case 's':
		add_text(state, &arguments->assignments, argument);
		return 0;
	case KEY_AQM:
		add_parts(state, &arguments->aqms, argument);
		return 0;
	case KEY_TRAINED:
		add_text(state, &arguments->trained, argument);
		return 0;
	case KEY_REPLAY:
		arguments->replay = true;
		return 0;
	case KEY_INTERVAL:
		arguments->interval = aqm_cli_int(state, "--interval", argument, 1, 1000000);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void check_arguments(const struct eval_arguments *a, const struct argp_state *state)
{
	if (a->closed_loop && a->replay)
		argp_error(state, "--closed-loop and --replay are two evaluations");
	if (a->closed_loop) {
		if (!a->scenario == !a->grid)
			argp_error(state, "--closed-loop wants a scenario (--scenario F.yaml) or a grid (--grid F.yaml)");
		if (!a->options.run_path && !a->output)
			argp_error(state, "--closed-loop wants a run (-r RUN), or a folder for the results (-o DIR)");
		if (a->options.pool_path)
			argp_error(state, "--closed-loop takes no pool: the simulator makes the packets");
	} else if (a->scenario || a->grid || a->seeds || a->aqms.count || a->every || a->delays || a->targets ||
	           a->contexts || a->host || a->baseline || a->utility || a->trained.count || a->assignments.count) {
		argp_error(state, "options of the simulator go with --closed-loop");
	} else if (!a->options.run_path || !a->options.pool_path) {
		argp_error(state, "wants a run (-r RUN) and a pool (--pool POOL.h5)");
	}
	if (a->options.decisions && (a->closed_loop || a->replay))
		argp_error(state, "--decisions goes with the rows of a pool");
	if (a->options.decisions && a->logged_returns)
		argp_error(state, "--decisions aims at the policy's target, as decisions do, not at logged returns");
	if (a->replay && !a->interval)
		argp_error(state, "--replay wants --interval N: the paper has 10 and 100");
	if (!a->replay && a->interval)
		argp_error(state, "--interval goes with --replay");
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct eval_arguments *arguments = state->input;

	switch (key) {
	case 'r':
		arguments->options.run_path = argument;
		return 0;
	case KEY_POOL:
		arguments->options.pool_path = argument;
		return 0;
	case KEY_BASE:
		arguments->options.base_path = argument;
		return 0;
	case KEY_LAST:
		arguments->options.last = true;
		return 0;
	case KEY_RETURNS:
		set_returns(arguments, argument, state);
		return 0;
	case KEY_DECISIONS:
		set_decisions(arguments, argument, state);
		return 0;
	case KEY_JSON:
		arguments->json = true;
		return 0;
	case KEY_DEVICE:
		set_device(arguments, argument, state);
		return 0;
	case KEY_THREADS:
		arguments->threads = (int)aqm_cli_int(state, "--threads", argument, 0, THREADS_MAX);
		return 0;
	case 'o':
		arguments->output = argument;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	case ARGP_KEY_END:
		check_arguments(arguments, state);
		return 0;
	default:
		return parse_closed(arguments, key, argument, state);
	}
}

static const struct argp_option option_list[] = {
	{"run", 'r', "RUN", 0, "The run whose policy to evaluate, or a policy file", 0},
	{"base", KEY_BASE, "FILE", 0, "The base model, if it is no longer where the run found it", 0},
	{"last", KEY_LAST, NULL, 0, "The last policy of the run instead of its best", 0},
	{"json", KEY_JSON, NULL, 0, "Print JSON", 0},
	{"output", 'o', "PATH", 0, "Also write the JSON to this file; of the closed loop: the folder of its results", 0},
	{"device", KEY_DEVICE, "DEVICE", 0, "cpu (the default), cuda or auto", 0},
	{"threads", KEY_THREADS, "N", 0, "Threads; 0 = all cores (the default)", 0},
	{NULL, 0, NULL, 0, "On the rows of a pool:", 1},
	{"pool", KEY_POOL, "POOL.h5", 0, "The rows to evaluate it on", 0},
	{"returns", KEY_RETURNS, "logged|target", 0,
     "Condition on the returns that were logged (the default), or on the policy's own target, as decisions do", 0},
	{"decisions", KEY_DECISIONS, "float32|int8", 0,
     "Decide row after row as a queue would, in this arithmetic (decide.arithmetic), aiming at the policy's target", 0},
	{NULL, 0, NULL, 0, "In the simulator:", 2},
	{"closed-loop", KEY_CLOSED, NULL, 0, "Put the policy into the queue, beside other queue disciplines", 0},
	{"scenario", KEY_SCENARIO, "F.yaml", 0, "One scenario", 0},
	{"grid", KEY_GRID, "F.yaml", 0, "All cells of a grid of scenarios", 0},
	{"set", 's', "KEY=VALUE", 0, "Set one thing of the scenario or the grid; may be repeated", 0},
	{"seeds", KEY_SEEDS, "N|LIST", 0, "So many seeds, from 1 on (default 10), or which: 7,9 or 11-20", 0},
	{"aqm", KEY_AQM, "LIST", 0,
     "What to compare: disciplines, 'policy', 'enqueue' (takes every packet), 'random:P' (drops at random). Default: "
     "fifo, "
     "pie, codel, dualpi2, dualpi2-linux, freebsd-l4s, policy",
     0},
	{"every", KEY_EVERY, "LIST", 0, "The policy decides once an 'update' interval, or one packet in 1, 10, 100", 0},
	{"delay", KEY_DELAY, "LIST", 0, "What a decision takes: 'none', 'measured' on this machine, or ms", 0},
	{"target-return", KEY_TARGETS, "LIST", 0, "Returns to ask for, or, with a q in front, quantiles of the training's",
     0},
	{"context-windows", KEY_CONTEXTS, "LIST", 0,
     "Windows of the new network's own log that the policy sees before it decides", 0},
	{"host", KEY_HOST, "NAME", 0,
     "The discipline in which the policy decides (default: dualpi2 for p', else freebsd-l4s)", 0},
	{"baseline", KEY_BASELINE, "NAME", 0, "Differences are from this one (default dualpi2)", 0},
	{"utility", KEY_UTILITY, "NAME", 0, "What counts as good", 0},
	{"train-cell", KEY_TRAINED, "NAME", 0,
     "A cell the policy was trained on; may be repeated (default: as its training pool says)", 0},
	{NULL, 0, NULL, 0, "As the paper did it:", 3},
	{"replay", KEY_REPLAY, NULL, 0, "Replay the pool by the nearest length", 0},
	{"interval", KEY_INTERVAL, "N", 0, "Ask the policy once in N rows; the paper has 10 and 100", 0},
	{0},
};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc =
		"Score a run's policy on every row of a pool (loss, accuracy, macro-F1, each action's precision and recall, "
		"the "
		"confusion matrix), beside the majority class and a decision tree of depth 8 from the run's training rows. Or "
		"let it decide in the simulator (--closed-loop), where packets react to it. Or repeat the paper's replay, to "
		"compare with old results.\vA closed loop that is interrupted keeps what is done; the same command goes on "
		"from "
		"there.",
};

int aqm_cli_eval_output(const struct eval_arguments *a, const char *text, const char *json)
{
	int code = a->output ? aqm_file_write(a->output, json, strlen(json)) : AQM_OK;

	if (code == AQM_OK)
		fputs(a->json ? json : text, stdout);
	return code;
}

static int evaluate_pool(const struct eval_arguments *arguments)
{
	struct aqm_eval_result result;
	char *text = NULL, *json = NULL;
	int code = aqm_eval_pool(&result, &arguments->options);

	if (code == AQM_OK)
		code = aqm_eval_format(&result, false, &text);
	if (code == AQM_OK)
		code = aqm_eval_format(&result, true, &json);
	if (code == AQM_OK)
		code = aqm_cli_eval_output(arguments, text, json);
	free(text);
	free(json);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

static int run(int argc, char **argv)
{
	struct eval_arguments arguments = {.options.device = AQM_DEVICE_CPU};
	int status;

	aqm_cli_options(&argp, argc, argv, &arguments);
	arguments.command = aqm_cli_command_line(argc, argv);
	arguments.options.command = arguments.command;
	int code = arguments.closed_loop ? aqm_cli_join(&arguments.ranks) : AQM_OK;
	if (code == AQM_OK && arguments.options.pool_path && arguments.output)
		code = aqm_path_spare(arguments.options.pool_path, arguments.output);
	aqm_cli_prepare_compute(arguments.threads ? arguments.threads : aqm_ranks_threads(arguments.ranks));
	if (code != AQM_OK)
		status = aqm_cli_fail(code);
	else if (arguments.closed_loop)
		status = aqm_cli_eval_closed(&arguments);
	else if (arguments.replay)
		status = aqm_cli_eval_replay(&arguments);
	else
		status = evaluate_pool(&arguments);
	release_list(&arguments.assignments);
	release_list(&arguments.aqms);
	release_list(&arguments.trained);
	free(arguments.command);
	aqm_ranks_leave(arguments.ranks);
	return status;
}

const struct aqm_command aqm_command_eval = {
	.name = "eval",
	.usage = "-r RUN --pool POOL.h5 | --closed-loop --scenario F.yaml | --replay --interval N --pool POOL.h5",
	.help = "measure a run's policy on a pool or in the simulator, beside baselines",
	.run = run,
};
