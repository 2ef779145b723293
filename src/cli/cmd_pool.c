/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain pool: kernel logs and CSV into pools, and what is in them.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/pool.h"
#include "base/file.h"
#include "base/thread.h"
#include "cli/command.h"

enum { KEY_JSON = 256, KEY_GAP, KEY_COMPRESSION, KEY_THREADS, KEY_TRAIN, KEY_EVAL, KEY_FRACTION, KEY_BY };

/* One struct for all subcommands; each takes its own of these options. */
struct pool_arguments {
	char **inputs; /* the command's own argv */
	size_t count, least, most;
	const char *what; /* the arguments, for messages */
	const char *output, *train, *eval;
	double fraction;
	enum aqm_split_by by;
	bool json;
	struct aqm_parse_options parse;
};

static enum aqm_split_by read_split(const struct argp_state *state, const char *word)
{
	static const char *const words[] = {
		[AQM_SPLIT_ORDER] = "order", [AQM_SPLIT_EPISODES] = "episodes", [AQM_SPLIT_TIME] = "time"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i], word) == 0)
			return (enum aqm_split_by)i;
	argp_error(state, "--by wants order, episodes or time, not '%s'", word);
	return AQM_SPLIT_ORDER;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct pool_arguments *arguments = state->input;

	switch (key) {
	case 'o': arguments->output = argument; return 0;
	case KEY_JSON: arguments->json = true; return 0;
	case KEY_GAP: arguments->parse.gap_seconds = aqm_cli_double(state, "--gap", argument, 1e-6, 1e9); return 0;
	case KEY_COMPRESSION:
		arguments->parse.compression = (int)aqm_cli_int(state, "--compression", argument, 0, 9);
		return 0;
	case KEY_THREADS: arguments->parse.threads = (int)aqm_cli_int(state, "--threads", argument, 0, 1024); return 0;
	case KEY_TRAIN: arguments->train = argument; return 0;
	case KEY_EVAL: arguments->eval = argument; return 0;
	case KEY_FRACTION: arguments->fraction = aqm_cli_double(state, "--fraction", argument, 0.001, 0.999); return 0;
	case KEY_BY: arguments->by = read_split(state, argument); return 0;
	case ARGP_KEY_ARGS:
		arguments->inputs = state->argv + state->next;
		arguments->count = (size_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_END:
		if (arguments->count < arguments->least || arguments->count > arguments->most)
			argp_error(state, "wants %s", arguments->what);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int need(const char *value, const char *option)
{
	return value ? 0 : aqm_cli_wrong_usage("%s is missing; --help shows the usage", option);
}

static int finish(int code)
{
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

/* ---- parse ---- */

static int run_parse(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"output", 'o', "POOL.h5", 0, "Write the pool to POOL.h5", 0},
		{"gap", KEY_GAP, "SECONDS", 0, "A pause of the log's clock that starts an episode (default 30)", 0},
		{"compression", KEY_COMPRESSION, "LEVEL", 0, "gzip level of the columns, 0 to 9 (default 1)", 0},
		{"threads", KEY_THREADS, "N", 0, "Threads that compress; 0 = one a core", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "LOG...",
		.doc = "Read kernel logs into a pool. LOG is a file (plain, gzip or bzip2), a folder, or - for standard "
		       "input. Rotated sets (messages, messages.0.gz, messages.1.bz2) are read from the oldest to the "
		       "newest, in whatever order they are named.",
	};
	struct pool_arguments arguments = {.least = 1, .most = SIZE_MAX, .what = "at least one log"};

	aqm_parse_options_init(&arguments.parse);
	aqm_cli_options(&argp, argc, argv, &arguments);
	int status = need(arguments.output, "-o POOL.h5");
	if (status)
		return status;
	aqm_interrupt_install();
	return finish(
		aqm_pool_parse((const char *const *)arguments.inputs, arguments.count, arguments.output, &arguments.parse));
}

/* ---- import and export ---- */

static int run_import(int argc, char **argv)
{
	static const struct argp_option options[] = {{"output", 'o', "POOL.h5", 0, "Write the pool to POOL.h5", 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "FILE.csv[.gz]",
		.doc = "Read a CSV file into a pool. Its first line names the columns: fields of a log record, time, "
		       "episode, action and action_logged (0 enqueue, 1 drop, 2 mark).",
	};
	struct pool_arguments arguments = {.least = 1, .most = 1, .what = "one CSV file"};

	aqm_cli_options(&argp, argc, argv, &arguments);
	int status = need(arguments.output, "-o POOL.h5");
	if (status)
		return status;
	aqm_interrupt_install();
	return finish(aqm_pool_import(arguments.inputs[0], arguments.output));
}

static int run_export(int argc, char **argv)
{
	static const struct argp_option options[] = {{"output", 'o', "FILE.csv", 0, "Write the rows to FILE.csv", 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "POOL.h5",
		.doc = "Write the rows of a pool as CSV, which `pool import` reads back where they are packets.",
	};
	struct pool_arguments arguments = {.least = 1, .most = 1, .what = "one pool"};

	aqm_cli_options(&argp, argc, argv, &arguments);
	int status = need(arguments.output, "-o FILE.csv");
	if (status)
		return status;
	aqm_interrupt_install();
	return finish(aqm_pool_export(arguments.inputs[0], arguments.output));
}

/* ---- info ---- */

static int run_info(int argc, char **argv)
{
	static const struct argp_option options[] = {{"json", KEY_JSON, NULL, 0, "Print JSON", 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "POOL.h5",
		.doc = "Print what is in a pool: rows, episodes, actions, the range of every field, where it comes from and "
		       "what was skipped.",
	};
	struct pool_arguments arguments = {.least = 1, .most = 1, .what = "one pool"};
	char *text = NULL;

	aqm_cli_options(&argp, argc, argv, &arguments);
	aqm_interrupt_install();
	int code = aqm_pool_info(arguments.inputs[0], arguments.json, &text);
	if (code == AQM_OK)
		fputs(text, stdout);
	free(text);
	return finish(code);
}

/* ---- split ---- */

static int run_split(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"train", KEY_TRAIN, "A.h5", 0, "Write the training rows to A.h5", 0},
		{"eval", KEY_EVAL, "B.h5", 0, "Write the held-out rows to B.h5", 0},
		{"fraction", KEY_FRACTION, "F", 0, "Share of the rows that train (default 0.7)", 0},
		{"by", KEY_BY, "order|episodes|time", 0, "What is held out: the last rows (order, the default); whole episodes, "
		 "spread evenly; the last part of each episode (time)", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "POOL.h5",
		.doc = "Part a pool in two: the first rows train, the rest is held out. The cut is at the start of an "
		       "episode where one lies within 5 % of the rows, else inside an episode; rows are never shuffled. "
		       "Of a pool that was collected over a grid, that holds out other cells; --by episodes holds out other "
		       "runs of the same cells (take several seeds), --by time the later part of each run.",
	};
	struct pool_arguments arguments = {.least = 1, .most = 1, .what = "one pool", .fraction = 0.7};

	aqm_cli_options(&argp, argc, argv, &arguments);
	int status = need(arguments.train, "--train A.h5");
	if (status == 0)
		status = need(arguments.eval, "--eval B.h5");
	if (status)
		return status;
	aqm_interrupt_install();
	return finish(aqm_pool_split(arguments.inputs[0], arguments.train, arguments.eval, arguments.by,
	                             arguments.fraction));
}

/* ---- updates ---- */

static int write_updates(const char *from, const char *to)
{
	aqm_pool *packets = NULL, *updates = NULL;
	int code = aqm_path_spare(from, to);

	if (code == AQM_OK)
		code = aqm_pool_open(&packets, from);
	if (code == AQM_OK)
		code = aqm_pool_updates(&updates, packets);
	if (code == AQM_OK)
		code = aqm_pool_save(updates, to);
	aqm_pool_free(updates);
	aqm_pool_free(packets);
	return code;
}

static int run_updates(int argc, char **argv)
{
	static const struct argp_option options[] = {{"output", 'o', "UPDATES.h5", 0, "Write the rows to UPDATES.h5", 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "POOL.h5",
		.doc = "Turn rows of packets into rows of update intervals, as `control: update` reads them: packets of one "
		       "queue between two changes of its drop_prob become one row, whose action is next_drop_prob. Training "
		       "does this by itself on a pool of packets; split that one first.",
	};
	struct pool_arguments arguments = {.least = 1, .most = 1, .what = "one pool"};

	aqm_cli_options(&argp, argc, argv, &arguments);
	int status = need(arguments.output, "-o UPDATES.h5");
	if (status)
		return status;
	aqm_interrupt_install();
	return finish(write_updates(arguments.inputs[0], arguments.output));
}

static const struct aqm_command parse_command = {
	.name = "parse",
	.usage = "LOG... -o POOL.h5",
	.help = "read kernel logs (plain, .gz, .bz2; rotated sets; folders; -) into a pool",
	.run = run_parse,
};
static const struct aqm_command import_command = {
	.name = "import",
	.usage = "FILE.csv[.gz] -o POOL.h5",
	.help = "read a CSV file into a pool",
	.run = run_import,
};
static const struct aqm_command info_command = {
	.name = "info",
	.usage = "POOL.h5 [--json]",
	.help = "print what is in a pool",
	.run = run_info,
};
static const struct aqm_command split_command = {
	.name = "split",
	.usage = "POOL.h5 --train A.h5 --eval B.h5 [--fraction 0.7] [--by order|episodes|time]",
	.help = "part a pool into training and held-out rows",
	.run = run_split,
};
static const struct aqm_command export_command = {
	.name = "export",
	.usage = "POOL.h5 -o FILE.csv",
	.help = "write a pool as CSV",
	.run = run_export,
};

static const struct aqm_command updates_command = {
	.name = "updates",
	.usage = "POOL.h5 -o UPDATES.h5",
	.help = "turn rows of packets into rows of update intervals",
	.run = run_updates,
};

static const struct aqm_command *const subcommands[] = {
	&parse_command, &import_command, &info_command, &split_command, &updates_command, &export_command, NULL,
};

const struct aqm_command aqm_command_pool = {
	.name = "pool",
	.usage = "parse | import | info | split | updates | export",
	.help = "make experience pools from kernel logs or CSV, and look into them",
	.subcommands = subcommands,
};
