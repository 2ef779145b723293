/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain eval has one set of options and three ways to evaluate, a file each.
 */
#ifndef AQM_CLI_CMD_EVAL_H
#define AQM_CLI_CMD_EVAL_H

#include "aqmtrain/eval.h"

/* Texts and numbers of an option that may be given several times, or as a list with commas. */
struct eval_list {
	const char **texts; /* owned; they point into argv or `copies` */
	size_t count;
	char **copies; /* owned */
	size_t copy_count;
};

struct eval_arguments {
	struct aqm_eval_options options;
	const char *output; /* -o: of the closed loop a folder, else a file for the JSON */
	char *command;      /* owned: as it was typed */
	int threads;
	struct aqm_ranks *ranks; /* of the closed loop */
	bool json, closed_loop, replay, logged_returns; /* the last: asked for */
	/* closed loop */
	const char *scenario, *grid, *host, *baseline, *utility, *seeds, *every, *delays, *targets, *contexts;
	struct eval_list assignments, aqms, trained;
	/* replay */
	int64_t interval;
};

/* Run, print; return the exit status. */
int aqm_cli_eval_closed(const struct eval_arguments *arguments);
int aqm_cli_eval_replay(const struct eval_arguments *arguments);
/* Print the text, or write it to the file of -o too. */
int aqm_cli_eval_output(const struct eval_arguments *arguments, const char *text, const char *json);

#endif
