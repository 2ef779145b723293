/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench: its subcommands, options and output.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/size.h"
#include "base/thread.h"
#include "cli/bench.h"
#include "cli/bench_student.h"
#include "compute/device.h"
#include "ranks/ranks.h"

int aqm_bench_add(struct aqm_bench *bench, const char *name, double value, const char *unit, double limit,
                  const char *limit_is)
{
	if (aqm_interrupted() && aqm_ranks_size(bench->ranks) == 1) /* several ranks go on or end together */
		return aqm_error_set(AQM_EINTERRUPTED, "interrupted while measuring %s", name);
	if (bench->count == bench->capacity) {
		size_t capacity = bench->capacity ? 2 * bench->capacity : 16;
		struct aqm_figure *figures = aqm_realloc_array(bench->figures, capacity, sizeof *figures);

		if (!figures)
			return AQM_ERUN;
		bench->figures = figures;
		bench->capacity = capacity;
	}
	struct aqm_figure *figure = &bench->figures[bench->count++];

	*figure = (struct aqm_figure){
		.value = value, .unit = unit, .limit = limit, .limit_is = limit_is, .ratio = limit > 0 ? value / limit : 0};
	snprintf(figure->name, sizeof figure->name, "%s", name);
	if (!bench->json) {
		printf("%-36s %12.2f %-8s", figure->name, value, unit);
		if (limit > 0)
			printf(" %6.3f of %10.2f, %s", figure->ratio, limit, limit_is);
		putchar('\n');
		fflush(stdout);
	}
	return AQM_OK;
}

static int print_json(const struct aqm_bench *bench)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < bench->count; i++) {
		const struct aqm_figure *f = &bench->figures[i];
		json_t *entry = json_pack("{s:s, s:f, s:s}", "name", f->name, "value", f->value, "unit", f->unit);

		if (entry && f->limit > 0) {
			json_t *limit = json_pack("{s:f, s:s, s:f}", "limit", f->limit, "limit_is", f->limit_is, "ratio", f->ratio);

			json_object_update(entry, limit);
			json_decref(limit);
		}
		json_array_append_new(list, entry);
	}
	bool whole = list && json_array_size(list) == bench->count &&
	             json_dumpf(list, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0;

	if (whole)
		putchar('\n');
	json_decref(list);
	return whole ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write the figures as JSON");
}

/* ---- options ---- */

enum { KEY_JSON = 256, KEY_QUICK, KEY_PROFILE, KEY_THREADS, KEY_MODEL, KEY_SET, KEY_BATCH, KEY_PEER, KEY_STUDENT };

static const struct argp_option option_list[] = {
	{"json", KEY_JSON, NULL, 0, "Print the figures as JSON", 0},
	{"threads", KEY_THREADS, "N", 0, "Use N threads instead of one a core", 0},
	{"quick", KEY_QUICK, NULL, 0, "Small shapes, few repetitions: to see that it runs", 0},
	{0},
};

static const struct argp_option model_option_list[] = {
	{"model", KEY_MODEL, "MODEL.gguf", 0, "Measure this base instead of synthetic ones of known shapes", 0},
	{"set", KEY_SET, "KEY=VALUE", 0,
     "Set an option of the steps' configuration: device, dtype, train.windows, lora.rank, ...", 0},
	{"profile", KEY_PROFILE, NULL, 0, "Also print the time of each kind of op", 0},
	{"peer", KEY_PEER, NULL, 0, "Also print how to run the same step in PyTorch with PEFT (tools/peer_torch.py)", 0},
	{0},
};

static const struct argp_option ranks_option_list[] = {
	{"model", KEY_MODEL, "MODEL.gguf", 0, "Measure this base instead of a synthetic one of GPT-2's shape", 0},
	{"set", KEY_SET, "KEY=VALUE", 0, "Set an option of the steps' configuration: device, dtype, train.windows, lora.rank, ...", 0},
	{0},
};

static const struct argp_option decide_option_list[] = {
	{"model", KEY_MODEL, "MODEL.gguf", 0, "Measure this base instead of synthetic ones of known shapes", 0},
	{"set", KEY_SET, "KEY=VALUE", 0, "Set an option of the policy's configuration: device, dtype, lora.rank, ...", 0},
	{"batch", KEY_BATCH, "N", 0, "N routers decide together, in one pass over the weights", 0},
	{"student", KEY_STUDENT, "FILE", 0, "Measure this student instead, beside the rule of DualPI2; ten million decisions on one core", 0},
	{"profile", KEY_PROFILE, NULL, 0, "Also print the time of each kind of op", 0},
	{0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct aqm_bench *bench = state->input;

	switch (key) {
	case KEY_JSON:
		bench->json = true;
		return 0;
	case KEY_QUICK:
		bench->quick = true;
		return 0;
	case KEY_PROFILE:
		bench->profile = true;
		return 0;
	case KEY_THREADS:
		bench->threads = (int)aqm_cli_int(state, "--threads", argument, 1, 1024);
		return 0;
	case KEY_MODEL:
		bench->model = argument;
		return 0;
	case KEY_BATCH:
		bench->batch = (int)aqm_cli_int(state, "--batch", argument, 1, 4096);
		return 0;
	case KEY_STUDENT:
		bench->student = argument;
		return 0;
	case KEY_PEER:
		bench->peer = true;
		return 0;
	case KEY_SET:
		if (bench->setting_count == AQM_BENCH_SETTINGS)
			argp_error(state, "takes up to %d --set", AQM_BENCH_SETTINGS);
		if (strncmp(argument, "threads=", 8) == 0)
			argp_error(state, "takes --threads N instead of --set threads=N");
		bench->settings[bench->setting_count++] = argument;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp common_argp = {.options = option_list, .parser = parse_option};

static error_t parse_model_option(int key, char *argument, struct argp_state *state)
{
	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = state->input;
		return 0;
	}
	return key == ARGP_KEY_ARG || (key >= KEY_PROFILE && key != KEY_THREADS) ? parse_option(key, argument, state)
	                                                                        : ARGP_ERR_UNKNOWN;
}

static const struct argp_child common_child[] = {{&common_argp, 0, NULL, 0}, {0}};

/* own: options beside the common ones; NULL: none */
static int run_bench(int argc, char **argv, const char *doc, const struct argp_option *own,
                     int (*measure)(struct aqm_bench *))
{
	const struct argp argp = {
		.options = own ? own : option_list,
		.parser = own ? parse_model_option : parse_option,
		.children = own ? common_child : NULL,
		.doc = doc,
	};
	struct aqm_bench bench = {0};

	aqm_cli_options(&argp, argc, argv, &bench);
	aqm_cli_prepare_compute(bench.threads);
	if (!bench.json)
		printf("%d thread%s\n", aqm_threads(), aqm_threads() == 1 ? "" : "s");
	int code = measure(&bench);

	if (code == AQM_OK && bench.json)
		code = print_json(&bench);
	free(bench.figures);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

static int run_gemm(int argc, char **argv)
{
	return run_bench(
		argc, argv,
		"Matrix products of a training step against the best this process reaches; layers for few rows, of each "
		"weight type, against reading the weights from memory.",
		NULL, aqm_bench_gemm);
}

static int run_step(int argc, char **argv)
{
	return run_bench(
		argc, argv,
		"Training steps on bases of GPT-2's and SmolLM2-135M's shapes: 16 windows of 200 tokens, LoRA of rank 128 on q "
		"and v; against the rate of plain matrix products, and memory against its plan.",
		model_option_list, aqm_bench_step);
}

static int measure_decisions(struct aqm_bench *bench)
{
	return bench->student ? aqm_bench_student(bench) : aqm_bench_decide(bench);
}

static int run_decide(int argc, char **argv)
{
	return run_bench(
		argc, argv,
		"Decisions on a base of SmolLM2-135M's shape in several weight types: the base's ten new tokens against a cache, and "
		"whole decisions with embedding, LoRA and head: the shortest of a window, their mean, the slowest, and what the decider "
		"does after one while nobody waits. Against reading the weights once, and the base against the arithmetic too.",
		decide_option_list, measure_decisions);
}

/* As run_bench(), on all ranks; the first one speaks. */
static int run_ranks(int argc, char **argv)
{
	const struct argp argp = {
		.options = ranks_option_list,
		.parser = parse_model_option,
		.children = common_child,
		.doc =
			"Training steps of several ranks (mpirun -n N aqmtrain bench ranks) on a base of GPT-2's shape, 16 windows of "
			"200 tokens in a step, LoRA of rank 128 on q and v: against one rank with all their threads; and what the sum "
			"of the gradients takes, alone and behind the backward pass.",
	};
	struct aqm_bench bench = {0};

	aqm_cli_options(&argp, argc, argv, &bench);
	int code = aqm_cli_join(&bench.ranks);
	if (code != AQM_OK)
		return aqm_cli_fail(code);
	aqm_cli_prepare_compute(bench.threads ? bench.threads : aqm_ranks_threads(bench.ranks));
	code = aqm_bench_ranks(&bench);
	if (code == AQM_OK && bench.json && aqm_ranks_first(bench.ranks))
		code = print_json(&bench);
	int status = code == AQM_OK ? 0 : aqm_cli_fail(code);
	free(bench.figures);
	aqm_ranks_leave(bench.ranks);
	return status;
}

static int run_parse(int argc, char **argv)
{
	return run_bench(argc, argv, "Parsing a kernel log, in memory and from a file into a pool; against reading memory.",
	                 NULL, aqm_bench_parse);
}

static int run_sim(int argc, char **argv)
{
	return run_bench(argc, argv,
	                 "Simulated packets a second on one core, ten flows over 1 Gb/s, by queue discipline; against the same "
	                 "flows through a plain fifo.",
	                 NULL, aqm_bench_sim);
}

static const struct aqm_command gemm = {"gemm", "[OPTION...]", "matrix products, memory, layers for few rows", run_gemm,
                                        NULL};

static const struct aqm_command step = {"step", "[OPTION...]", "training steps of two bases", run_step, NULL};
static const struct aqm_command decide = {"decide", "[OPTION...]", "a decision against a cache", run_decide, NULL};
static const struct aqm_command parse = {"parse", "[OPTION...]", "kernel logs, in memory and into a pool", run_parse,
                                         NULL};

static const struct aqm_command ranks = {"ranks", "[OPTION...]", "training steps of several ranks, under mpirun", run_ranks,
                                         NULL};
static const struct aqm_command sim = {"sim", "[OPTION...]", "the packet simulator, by queue discipline", run_sim, NULL};

static const struct aqm_command *const subcommands[] = {&gemm, &step, &decide, &parse, &sim, &ranks, NULL};

const struct aqm_command aqm_command_bench = {
	.name = "bench",
	.usage = "gemm|step|decide|parse|sim|ranks [OPTION...]",
	.help = "measure this machine, each figure beside its limit",
	.subcommands = subcommands,
};
