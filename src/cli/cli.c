/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What every command shares: dispatch, options, messages.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "compute/device.h"
#include "ranks/ranks.h"

enum { WRONG_USAGE = 2 };

static const struct aqm_command *running; /* for the usage line of its --help */

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "aqmtrain %s\n", AQM_VERSION);
}

static bool quiet;

/* Another rank speaks. */
static void silence(void)
{
	quiet = true;
	aqm_log_set_sink(NULL, NULL);
	aqm_progress_set_output(NULL);
	aqm_progress_set_lines(NULL, NULL);
}

int aqm_cli_join(struct aqm_ranks **ranks)
{
	int code = aqm_ranks_join(ranks);

	if (!aqm_ranks_first(*ranks))
		silence();
	aqm_device_prefer(aqm_ranks_local_rank(*ranks));
	return code;
}

int aqm_cli_fail(int code)
{
	if (quiet)
		return aqm_exit_status(code);
	aqm_progress_hide();
	fprintf(stderr, "aqmtrain: %s\n", aqm_error_message());
	return aqm_exit_status(code);
}

int aqm_cli_wrong_usage(const char *format, ...)
{
	va_list arguments;

	aqm_progress_hide();
	fputs("aqmtrain: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return WRONG_USAGE;
}

/* ---- dispatch ---- */

static void print_commands(FILE *stream, const struct aqm_command *const *table, const char *doc, const char *program)
{
	fprintf(stream, "Usage: %s COMMAND [OPTION...]\n%s\n\nCommands:\n", program, doc);
	for (; *table; table++)
		fprintf(stream, "  %-10s %s\n", (*table)->name, (*table)->help);
	fprintf(stream, "\n'%s COMMAND --help' explains one.\n", program);
}

static const struct aqm_command *find_command(const struct aqm_command *const *table, const char *name)
{
	for (; *table; table++)
		if (strcmp((*table)->name, name) == 0)
			return *table;
	return NULL;
}

int aqm_cli_dispatch(const struct aqm_command *const *table, const char *doc, int argc, char **argv)
{
	if (argc < 2) {
		print_commands(stderr, table, doc, argv[0]);
		return WRONG_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "-h") == 0) {
		print_commands(stdout, table, doc, argv[0]);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		print_version(stdout, NULL);
		return 0;
	}
	const struct aqm_command *command = find_command(table, argv[1]);
	if (!command)
		return aqm_cli_wrong_usage("no command '%s'; '%s --help' lists them", argv[1], argv[0]);
	char *program = aqm_strprintf("%s %s", argv[0], command->name);
	if (!program)
		return aqm_cli_fail(AQM_ERUN);
	argv[1] = program;
	running = command;
	int status = command->run ? command->run(argc - 1, argv + 1)
	                          : aqm_cli_dispatch(command->subcommands, command->help, argc - 1, argv + 1);
	free(program);
	return status;
}

/* ---- options ---- */

void aqm_cli_options(const struct argp *argp, int argc, char **argv, void *input)
{
	struct argp complete = *argp;

	if (!complete.args_doc && running)
		complete.args_doc = running->usage;
	argp_program_version_hook = print_version;
	argp_err_exit_status = WRONG_USAGE;
	error_t result = argp_parse(&complete, argc, argv, 0, NULL, input);
	if (result != 0) { /* a parser returned an errno: no memory */
		fprintf(stderr, "aqmtrain: %s\n", strerror(result));
		exit(aqm_exit_status(AQM_ERUN));
	}
}

int64_t aqm_cli_int(const struct argp_state *state, const char *name, const char *text, int64_t low, int64_t high)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (end == text || *end || errno || value < low || value > high)
		argp_error(state, "%s wants a whole number from %lld to %lld, not '%s'", name, (long long)low, (long long)high,
		           text);
	return value;
}

double aqm_cli_double(const struct argp_state *state, const char *name, const char *text, double low, double high)
{
	char *end;

	errno = 0;
	double value = strtod(text, &end);
	if (end == text || *end || !isfinite(value) || value < low || value > high)
		argp_error(state, "%s wants a number from %g to %g, not '%s'", name, low, high, text);
	return value;
}

/* Threads that spin while another process has their core make everything ten times slower, or a hundred times. */
static void warn_of_others(void)
{
	bool chosen = getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT");
	FILE *file = chosen || aqm_ranks_launched() ? NULL : fopen("/proc/loadavg", "r");
	int runnable = 0, processors = aqm_threads_most();

	if (!file)
		return;
	if (fscanf(file, "%*f %*f %*f %d/", &runnable) == 1 && 2 * (runnable - 1) >= processors && aqm_threads() > 1)
		aqm_log_warning(
			"others keep %d of %d cores busy; with OMP_WAIT_POLICY=passive in the environment that costs far less",
			runnable - 1 < processors ? runnable - 1 : processors, processors);
	fclose(file);
}

void aqm_cli_prepare_compute(int threads)
{
	const char *core = getenv("OPENBLAS_CORETYPE");

	if (core)
		aqm_log_warning("OPENBLAS_CORETYPE=%s pins OpenBLAS to that kernel; unset it for full speed", core);
	aqm_interrupt_install();
	aqm_threads_set(threads);
	warn_of_others();
}

/* ---- the command line, to be kept ---- */

static void print_quoted(const char *text, FILE *out)
{
	fputc('\'', out);
	for (; *text; text++)
		fputs(*text == '\'' ? "'\\''" : (const char[]){*text, 0}, out);
	fputc('\'', out);
}

char *aqm_cli_command_line(int argc, char **argv)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
	char *text = NULL, *clean = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	fputs(argv[0], out);
	for (int i = 1; i < argc; i++) {
		fputc(' ', out);
		if (*argv[i] && !argv[i][strspn(argv[i], plain)])
			fputs(argv[i], out);
		else
			print_quoted(argv[i], out);
	}
	if (fclose(out) == 0)
		clean = aqm_utf8_text(text);
	free(text);
	return clean;
}

/* ---- -c and --set ---- */

static error_t parse_config_option(int key, char *argument, struct argp_state *state)
{
	struct aqm_cli_config_options *options = state->input;

	switch (key) {
	case 'c':
		options->path = argument;
		return 0;
	case 's': {
		const char **grown = aqm_realloc_array(options->assignments, options->assignment_count + 1, sizeof *grown);

		if (!grown)
			return ENOMEM;
		options->assignments = grown;
		options->assignments[options->assignment_count++] = argument;
		return 0;
	}
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option config_option_list[] = {
	{"config", 'c', "FILE", 0, "Read the configuration from FILE (YAML)", 0},
	{"set", 's', "KEY=VALUE", 0,
     "Set one option of the configuration; may be repeated. Its section may be left out where that is clear", 0},
	{0},
};

const struct argp aqm_cli_config_argp = {.options = config_option_list, .parser = parse_config_option};

int aqm_cli_config_load(struct aqm_cli_config_options *options, struct aqm_config *config)
{
	int code = aqm_config_init(config);

	if (code == AQM_OK && options->path)
		code = aqm_config_read(config, options->path);
	for (size_t i = 0; code == AQM_OK && i < options->assignment_count; i++)
		code = aqm_config_set(config, options->assignments[i]);
	if (code == AQM_OK)
		code = aqm_config_check(config);
	free(options->assignments);
	options->assignments = NULL;
	options->assignment_count = 0;
	return code;
}
