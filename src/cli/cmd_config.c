/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain config: the options, from the table that reads the file.
 */
#include <stdlib.h>

#include "cli/command.h"

enum { KEY_DEFAULTS = 256, KEY_EXPLAIN };

struct config_arguments {
	struct aqm_cli_config_options config_options;
	const char *explain;
	bool defaults;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct config_arguments *arguments = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->config_options;
		return 0;
	case KEY_DEFAULTS:
		arguments->defaults = true;
		return 0;
	case KEY_EXPLAIN:
		arguments->explain = argument;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{"defaults", KEY_DEFAULTS, NULL, 0, "Print every option with its default and what it takes", 0},
	{"explain", KEY_EXPLAIN, "KEY", 0, "Explain one option, or all of a section", 0},
	{0},
};

static const struct argp_child children[] = {{&aqm_cli_config_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Print the configuration that FILE and the settings amount to, every option resolved, as YAML.",
	.children = children,
};

static int print_resolved(struct aqm_cli_config_options *options, char **text)
{
	struct aqm_config config;
	int code = aqm_cli_config_load(options, &config);

	if (code == AQM_OK)
		code = aqm_config_dump(&config, text);
	aqm_config_release(&config);
	return code;
}

static int run(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	char *text = NULL;
	int code;

	aqm_cli_options(&argp, argc, argv, &arguments);
	if (arguments.explain)
		code = aqm_config_explain(arguments.explain, &text);
	else if (arguments.defaults)
		code = aqm_config_describe(&text);
	else
		code = print_resolved(&arguments.config_options, &text);
	if (code == AQM_OK)
		fputs(text, stdout);
	free(text);
	free(arguments.config_options.assignments);
	if (code == AQM_ENOTFOUND) /* of an option's name, which is the command line's fault */
		code = AQM_EUSAGE;
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

const struct aqm_command aqm_command_config = {
	.name = "config",
	.usage = "[--defaults | --explain KEY] [-c FILE] [--set KEY=VALUE]...",
	.help = "print every option, its default and its meaning, or a resolved configuration",
	.run = run,
};
