/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain distill: a student of a trained policy, or the frontier of what students of several sizes can do.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/distill.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/bench_student.h"
#include "cli/command.h"
#include "compute/device.h"
#include "ranks/ranks.h"

enum { KEY_SWEEP = 256, KEY_JSON };

struct distill_arguments {
	struct aqm_cli_config_options config_options;
	const char *run_path, *output;
	struct aqm_distill_options options;
	bool json;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct distill_arguments *arguments = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->config_options;
		return 0;
	case 'r':
		arguments->run_path = argument;
		return 0;
	case 'o':
		arguments->output = argument;
		return 0;
	case KEY_SWEEP:
		arguments->options.sweep = true;
		return 0;
	case KEY_JSON:
		arguments->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	case ARGP_KEY_END:
		if (!arguments->config_options.path && !arguments->run_path && arguments->config_options.assignment_count == 0)
			argp_error(state, "wants a teacher: -r RUN, or -c FILE with distill.teacher");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{"run", 'r', "RUN", 0, "The teacher, a run or a policy file: distill.teacher", 0},
	{"output", 'o', "FOLDER", 0, "Where student.json goes (default: student/ in the teacher's run)", 0},
	{"sweep", KEY_SWEEP, NULL, 0,
     "Students of several kinds and sizes: what each can do, and what it costs; writes no student", 0},
	{"json", KEY_JSON, NULL, 0, "Print the figures as JSON", 0},
	{0},
};

static const struct argp_child children[] = {{&aqm_cli_config_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Distil a trained policy into a student that a kernel can run: a network of 8-bit weights or a decision "
           "tree, in integers. The "
		   "teacher answers each row of its pools once, and its answers are kept, as are the students that a sweep has "
           "finished. Without "
		   "pool.train the pools are the teacher's.",
	.children = children,
};

static int load_config(struct aqm_cli_config_options *options, struct aqm_config *config, const char *run_path)
{
	int code = aqm_cli_config_load(options, config);

	if (code == AQM_OK && run_path) {
		char *teacher = aqm_strdup(run_path);

		if (!teacher)
			return AQM_ERUN;
		free(config->distill.teacher);
		config->distill.teacher = teacher;
	}
	return code;
}

/* Nanoseconds of a decision of each student; NULL where they cannot be measured. */
static double *measure(const struct aqm_distill_result *result)
{
	double *ns = aqm_malloc_array(result->count, sizeof *ns);

	for (size_t i = 0; ns && i < result->count; i++)
		ns[i] = aqm_bench_student_quick(result->students[i].student);
	return ns;
}

static int print(const struct aqm_distill_result *result, bool json)
{
	double *ns = measure(result);
	char *text;
	int code = aqm_distill_format(result, ns, json, &text);

	if (code == AQM_OK) {
		fputs(text, stdout);
		if (json)
			putchar('\n');
		free(text);
	}
	free(ns);
	return code;
}

/* On every rank alike: each reads the configuration. */
static int distill(struct distill_arguments *arguments)
{
	struct aqm_ranks *ranks = arguments->options.ranks;
	struct aqm_distill_result result = {0};
	struct aqm_config config = {0};
	char *folder = NULL;
	int code = load_config(&arguments->config_options, &config, arguments->run_path);

	if (code == AQM_OK) {
		folder =
			arguments->output ? aqm_strdup(arguments->output) : aqm_strprintf("%s/student", config.distill.teacher);
		code = folder ? AQM_OK : AQM_ERUN;
	}
	code = aqm_ranks_agree(ranks, code);
	if (code == AQM_OK) {
		aqm_cli_prepare_compute(config.threads ? (int)config.threads : aqm_ranks_threads(ranks));
		code = aqm_distill(&config, folder, &arguments->options, &result);
	}
	if (code == AQM_OK) { /* nanoseconds are measured while the others sleep */
		code = aqm_ranks_first(ranks) ? print(&result, arguments->json) : AQM_OK;
		int waited = aqm_ranks_pause(ranks);

		code = aqm_ranks_agree(ranks, code == AQM_OK ? waited : code);
	}
	if (code == AQM_OK && !arguments->options.sweep)
		aqm_log_info("wrote '%s/student.json'", folder);
	aqm_distill_release(&result);
	aqm_config_release(&config);
	free(folder);
	return code;
}

static int run(int argc, char **argv)
{
	struct distill_arguments arguments = {0};

	aqm_cli_options(&argp, argc, argv, &arguments);
	int code = aqm_cli_join(&arguments.options.ranks);
	if (code != AQM_OK)
		return aqm_cli_fail(code);
	code = distill(&arguments);
	int status = code == AQM_OK ? 0 : aqm_cli_fail(code);
	aqm_ranks_leave(arguments.options.ranks);
	return status;
}

const struct aqm_command aqm_command_distill = {
	.name = "distill",
	.usage = "-r RUN | -c CONFIG.yaml [--set KEY=VALUE]... [-o FOLDER] [--sweep] [--json]",
	.help = "distil a policy into integers that a kernel can run",
	.run = run,
};
