/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain eval: a run's policy on the rows of a pool, beside its baselines.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/eval.h"
#include "cli/command.h"

enum { KEY_POOL = 256, KEY_BASE, KEY_LAST, KEY_RETURNS, KEY_JSON, KEY_DEVICE, KEY_THREADS };

enum { THREADS_MAX = 4096 };

struct eval_arguments {
	struct aqm_eval_options options;
	int threads;
	bool json;
};

static void set_returns(struct eval_arguments *arguments, const char *word, const struct argp_state *state)
{
	if (strcmp(word, "target") == 0)
		arguments->options.target_returns = true;
	else if (strcmp(word, "logged") == 0)
		arguments->options.target_returns = false;
	else
		argp_error(state, "--returns wants logged or target, not '%s'", word);
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
	case KEY_JSON:
		arguments->json = true;
		return 0;
	case KEY_DEVICE:
		set_device(arguments, argument, state);
		return 0;
	case KEY_THREADS:
		arguments->threads = (int)aqm_cli_int(state, "--threads", argument, 0, THREADS_MAX);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	case ARGP_KEY_END:
		if (!arguments->options.run_path || !arguments->options.pool_path)
			argp_error(state, "wants a run (-r RUN) and a pool (--pool POOL.h5)");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{"run", 'r', "RUN", 0, "The run whose policy to evaluate, or a policy file", 0},
	{"pool", KEY_POOL, "POOL.h5", 0, "The rows to evaluate it on", 0},
	{"base", KEY_BASE, "FILE", 0, "The base model, if it is no longer where the run found it", 0},
	{"last", KEY_LAST, NULL, 0, "The last policy of the run instead of its best", 0},
	{"returns", KEY_RETURNS, "logged|target", 0,
	 "Condition on the returns that were logged (the default), or on the policy's own target, as decisions do", 0},
	{"json", KEY_JSON, NULL, 0, "Print JSON", 0},
	{"device", KEY_DEVICE, "DEVICE", 0, "cpu (the default), cuda or auto", 0},
	{"threads", KEY_THREADS, "N", 0, "Threads; 0 = all cores (the default)", 0},
	{0},
};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Score a run's policy on every row of a pool: loss, accuracy, macro-F1, balanced accuracy, each action's "
	       "precision and recall, the confusion matrix; and beside them what the majority class and a decision tree of "
	       "depth 8 reach, both from the run's training rows.",
};

static int run(int argc, char **argv)
{
	struct eval_arguments arguments = {.options.device = AQM_DEVICE_CPU};
	struct aqm_eval_result result;
	char *text = NULL;

	aqm_cli_options(&argp, argc, argv, &arguments);
	aqm_cli_prepare_compute(arguments.threads);
	int code = aqm_eval_pool(&result, &arguments.options);
	if (code == AQM_OK)
		code = aqm_eval_format(&result, arguments.json, &text);
	if (code == AQM_OK)
		fputs(text, stdout);
	free(text);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

const struct aqm_command aqm_command_eval = {
	.name = "eval",
	.usage = "-r RUN --pool POOL.h5 [--json]",
	.help = "measure a run's policy on a pool, beside trivial baselines",
	.run = run,
};
