/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain train: train a policy on a pool, into a run directory.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/train.h"
#include "base/file.h"
#include "base/size.h"
#include "cli/command.h"
#include "compute/device.h"
#include "ranks/ranks.h"

struct train_arguments {
	struct aqm_cli_config_options config_options;
	const char *run;
	struct aqm_train_options options;
};

enum { KEY_RESUME = 256, KEY_INIT_ADAPTER };

static void check_arguments(const struct train_arguments *arguments, const struct argp_state *state)
{
	const struct aqm_train_options *options = &arguments->options;

	if (!arguments->config_options.path && !(options->resume && arguments->run))
		argp_error(state, "wants -c FILE, or -o RUN --resume");
	if (options->resume && options->init_adapter)
		argp_error(state, "--init-adapter begins a new run; --resume goes on with what it has");
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct train_arguments *arguments = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->config_options;
		return 0;
	case 'o':
		arguments->run = argument;
		return 0;
	case KEY_RESUME:
		arguments->options.resume = true;
		return 0;
	case KEY_INIT_ADAPTER:
		arguments->options.init_adapter = argument;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	case ARGP_KEY_END:
		check_arguments(arguments, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{"output", 'o', "RUN", 0, "Folder of the run (default: runs/ and the name of FILE)", 0},
	{"resume", KEY_RESUME, NULL, 0, "Go on with RUN where its last checkpoint is; without -c by its own configuration",
     0},
	{"init-adapter", KEY_INIT_ADAPTER, "PATH", 0,
     "Begin with this LoRA adapter, a folder of PEFT or a GGUF file, of the configured rank, scale and targets", 0},
	{0},
};

static const struct argp_child children[] = {{&aqm_cli_config_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Train a policy as FILE says. Ctrl-C writes a checkpoint and ends with status 130.",
	.children = children,
};

/* "configs/gpt2.yaml" -> "runs/gpt2". Owned by the caller. */
static char *default_run(const char *config_path)
{
	const char *slash = strrchr(config_path, '/'), *name = slash ? slash + 1 : config_path, *dot = strrchr(name, '.');

	return aqm_strprintf("runs/%.*s", (int)(dot && dot != name ? dot - name : (ptrdiff_t)strlen(name)), name);
}

/* On every rank alike: each reads the configuration. */
static int train(struct train_arguments *arguments)
{
	struct aqm_ranks *ranks = arguments->options.ranks;
	struct aqm_config config = {0};
	char *own_config = NULL, *run_path = NULL;
	const char *config_path = arguments->config_options.path;

	run_path = arguments->run ? aqm_strdup(arguments->run) : default_run(config_path);
	if (run_path && !config_path)
		arguments->config_options.path = own_config = aqm_path_join(run_path, "config.yaml");
	int code =
		run_path && arguments->config_options.path ? aqm_cli_config_load(&arguments->config_options, &config) : AQM_ERUN;
	code = aqm_ranks_agree(ranks, code);
	if (code == AQM_OK) {
		aqm_cli_prepare_compute(config.threads ? (int)config.threads : aqm_ranks_threads(ranks));
		code = aqm_train(&config, run_path, &arguments->options);
	}
	aqm_config_release(&config);
	free(own_config);
	free(run_path);
	return code;
}

static int run(int argc, char **argv)
{
	struct train_arguments arguments = {0};

	aqm_cli_options(&argp, argc, argv, &arguments);
	int code = aqm_cli_join(&arguments.options.ranks);
	if (code != AQM_OK)
		return aqm_cli_fail(code);
	code = train(&arguments);
	int status = code == AQM_OK ? 0 : aqm_cli_fail(code);
	aqm_ranks_leave(arguments.options.ranks);
	return status;
}

const struct aqm_command aqm_command_train = {
	.name = "train",
	.usage = "-c CONFIG.yaml [--set KEY=VALUE]... [-o RUN] [--resume] [--init-adapter PATH]",
	.help = "train a policy on a pool, into a run directory",
	.run = run,
};
