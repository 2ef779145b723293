/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain report: runs as one HTML file.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/report.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/command.h"

enum { KEY_PNG = 256, KEY_PAPER, KEY_TITLE, KEY_CELL };

struct report_arguments {
	const char *runs[AQM_REPORT_RUNS_MAX];
	struct aqm_report_options options;
};

static void add_run(struct report_arguments *arguments, const char *path, const struct argp_state *state)
{
	if (arguments->options.run_count == AQM_REPORT_RUNS_MAX)
		argp_error(state, "takes %d runs at most", AQM_REPORT_RUNS_MAX);
	else
		arguments->runs[arguments->options.run_count++] = path;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct report_arguments *arguments = state->input;

	switch (key) {
	case 'r':
	case ARGP_KEY_ARG: /* -r A B C, as a shell makes of -r runs/... with a star */
		add_run(arguments, argument, state);
		return 0;
	case 'o':
		arguments->options.output = argument;
		return 0;
	case KEY_PNG:
		arguments->options.png_folder = argument;
		return 0;
	case KEY_PAPER:
		arguments->options.paper = true;
		return 0;
	case KEY_TITLE:
		arguments->options.title = argument;
		return 0;
	case KEY_CELL:
		arguments->options.cell = argument;
		return 0;
	case ARGP_KEY_END:
		if (!arguments->options.run_count || !arguments->options.output)
			argp_error(state, "wants runs (-r RUN...) and a file to write (-o REPORT.html)");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{"run", 'r', "RUN", 0, "A run's folder; may be repeated, and further folders may follow: a column each", 0},
	{"output", 'o', "REPORT.html", 0, "The file to write; it needs no other and fetches nothing", 0},
	{"png", KEY_PNG, "DIR", 0, "Write the plots there as PNG, too", 0},
	{"paper", KEY_PAPER, NULL, 0, "The paper's tables and figures, too, with the published values beside ours", 0},
	{"cell", KEY_CELL, "NAME", 0, "Of grids: the cell whose delay distributions and series are drawn (default: the first)", 0},
	{"title", KEY_TITLE, "TEXT", 0, "The headline", 0},
	{0},
};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Write what runs were made from and what came of them as one HTML file: a verdict that begins with the "
           "trivial baselines, "
		   "curves of the training, confusion matrices, the closed loop, the configuration. What a run's folder holds "
           "is shown: "
		   "'eval -o RUN/eval.json' and 'eval --closed-loop' put evaluations there. Plots are drawn by gnuplot, if it "
           "is installed.",
};

static int run(int argc, char **argv)
{
	struct report_arguments arguments = {0};
	char *command = aqm_cli_command_line(argc, argv);
	bool plotted;

	arguments.options.run_paths = arguments.runs;
	arguments.options.command = command;
	aqm_cli_options(&argp, argc, argv, &arguments);
	int code = aqm_report_write(&arguments.options, &plotted);
	free(command);
	if (code != AQM_OK)
		return aqm_cli_fail(code);
	if (!plotted)
		aqm_log_warning("no gnuplot on PATH: the report has tables, but no plots");
	aqm_log_info("wrote report '%s'", arguments.options.output);
	return 0;
}

const struct aqm_command aqm_command_report = {
	.name = "report",
	.usage = "-r RUN... -o REPORT.html [--paper] [--png DIR]",
	.help = "write runs and their figures as one HTML file",
	.run = run,
};
