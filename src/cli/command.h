/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Commands. `aqmtrain NAME ...` runs one entry of the table in commands.c; a command with subcommands of its own
 * ("pool parse") has a table of them instead of `run`, and works the same way.
 *
 * src/cli/cmd_NAME.c defines `const struct aqm_command aqm_command_NAME`. A run function gets argv[0] =
 * "aqmtrain pool parse" (for messages and --help), reads its options with aqm_cli_options, calls the library and
 * returns an exit status: 0, or aqm_cli_fail(code).
 *
 *     static int run_info(int argc, char **argv)
 *     {
 *         struct info_options options = {0};
 *         char *text = NULL;
 *
 *         aqm_cli_options(&info_argp, argc, argv, &options);
 *         int code = aqm_pool_info(options.pool, options.json, &text);
 *         if (code == AQM_OK)
 *             fputs(text, stdout);
 *         free(text);
 *         return code == AQM_OK ? 0 : aqm_cli_fail(code);
 *     }
 */
#ifndef AQM_CLI_COMMAND_H
#define AQM_CLI_COMMAND_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "aqmtrain/config.h"
#include "aqmtrain/error.h"

struct aqm_command {
	const char *name;  /* "parse" */
	const char *usage; /* "LOG... -o POOL.h5": what follows the name */
	const char *help;  /* one line, no full stop: "read kernel logs into a pool" */
	int (*run)(int argc, char **argv);             /* returns the exit status; NULL if there are subcommands */
	const struct aqm_command *const *subcommands;  /* NULL-terminated; NULL for a command that runs */
};

/* Every command of the program, NULL-terminated (commands.c). */
extern const struct aqm_command *const aqm_commands[];

extern const struct aqm_command aqm_command_pool, aqm_command_model, aqm_command_train, aqm_command_eval,
	aqm_command_export, aqm_command_distill, aqm_command_report, aqm_command_sim, aqm_command_bench, aqm_command_config;
/* Subcommands that have a file of their own. */
extern const struct aqm_command aqm_command_model_forward;

/* Find argv[1] in the table and run it with argv[0] = "<argv[0]> <name>". No or an unknown name: message, status 2.
 * --help and --version are answered here. Returns an exit status. */
int aqm_cli_dispatch(const struct aqm_command *const *table, const char *doc, int argc, char **argv);

/* argp_parse with this program's manners: --help, --usage and --version for every command; wrong usage exits with 2.
 * `input` is state->input of the parser. An argp without args_doc gets the command's `usage`. Does not return on --help
 * or wrong usage. */
void aqm_cli_options(const struct argp *argp, int argc, char **argv, void *input);

/* Print "aqmtrain: <last error message>" on stderr and return the exit status of `code`. */
int aqm_cli_fail(int code);
struct aqm_ranks;
/* Join the launcher's job, if there is one (aqm_ranks_join): the first rank speaks, and each prefers a GPU of its own. */
int aqm_cli_join(struct aqm_ranks **ranks);
/* Print "aqmtrain: <message>" on stderr and return the exit status 2. */
int aqm_cli_wrong_usage(const char *format, ...) AQM_PRINTF(1, 2);

/* The command line as a shell would read it again, as UTF-8, for what is kept beside results. To be made before argp, which
 * sorts the arguments. Owned by the caller; NULL without memory. */
char *aqm_cli_command_line(int argc, char **argv);

/* Numbers of options: the whole text must be one number in [low, high]; otherwise argp_error, which exits with 2.
 * `name` is the option as the user wrote it ("--seed"). */
int64_t aqm_cli_int(const struct argp_state *state, const char *name, const char *text, int64_t low, int64_t high);
double aqm_cli_double(const struct argp_state *state, const char *name, const char *text, double low, double high);

/* For commands that compute (train, eval, bench): Ctrl-C as a flag (base/thread.h), threads in force, and warnings
 * of what slows it down: environment variables, other processes. threads 0 = all cores. (A long command that does not compute,
 * such as pool parse, calls aqm_interrupt_install itself.) */
void aqm_cli_prepare_compute(int threads);

/* `-c FILE` and `--set key=value`, as train, eval, distill and config take them: a child parser for argp.
 * Put {&aqm_cli_config_argp, 0, NULL, 0} into argp.children, and in the parent's parser on ARGP_KEY_INIT set
 * state->child_inputs[0] = &your_struct.config_options. Then aqm_cli_config_load. */
struct aqm_cli_config_options {
	const char *path;        /* -c; NULL when not given */
	const char **assignments; /* --set, in order */
	size_t assignment_count;
};
extern const struct argp aqm_cli_config_argp;
/* Defaults, then the file, then the assignments; frees the options' list. The config is to be released either way. */
int aqm_cli_config_load(struct aqm_cli_config_options *options, struct aqm_config *config);

#endif
