/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/progress.h"
#include "cli/command.h"
#include "pool/table.h"

/* A warning that a pool is read with comes each time it is read; once is enough. Messages come from one thread. */
static bool is_repeated(const char *warning)
{
	static char last[1024];
	bool repeated = strcmp(last, warning) == 0;

	snprintf(last, sizeof last, "%s", warning);
	return repeated;
}

static void print_line(void *context, enum aqm_log_level level, const char *line)
{
	(void)context;
	if (level == AQM_LOG_DEBUG || (level == AQM_LOG_WARNING && is_repeated(line)))
		return;
	aqm_progress_hide();
	fprintf(stderr, "aqmtrain: %s%s\n", level == AQM_LOG_WARNING ? "warning: " : "", line);
}

/* Output that did not arrive is a failure, even where a command, or argp's own --help, thought it had succeeded. */
static void close_output(void)
{
	bool lost = ferror(stdout) != 0;

	errno = 0;
	if (fclose(stdout) != 0 || lost) {
		fprintf(stderr, "aqmtrain: cannot write standard output%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
		_exit(aqm_exit_status(AQM_ERUN));
	}
}

int main(int argc, char **argv)
{
	static const char doc[] = "Train queue management policies offline, on logs of real decisions.";
	char name[] = "aqmtrain", *no_arguments[] = {name, NULL};

	aqm_hdf5_no_exit();
	atexit(close_output);
	aqm_log_set_sink(print_line, NULL);
	if (isatty(STDERR_FILENO))
		aqm_progress_set_output(stderr);
	else
		aqm_progress_set_lines(stderr, "aqmtrain: ");
	if (argc < 1)
		return aqm_cli_dispatch(aqm_commands, doc, 1, no_arguments);
	argv[0] = name;
	return aqm_cli_dispatch(aqm_commands, doc, argc, argv);
}
