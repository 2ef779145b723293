/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain model: look at base models, make synthetic ones, convert published ones.
 */
#include <stdlib.h>

#include "aqmtrain/gguf.h"
#include "base/thread.h"
#include "cli/command.h"
#include "model/convert.h"
#include "model/synth.h"

/* ---- model info ---- */

enum { KEY_JSON = 256, KEY_PRESET, KEY_TYPE, KEY_SEED };

struct info_arguments {
	const char *path;
	bool json;
};

static error_t parse_info(int key, char *argument, struct argp_state *state)
{
	struct info_arguments *arguments = state->input;

	switch (key) {
	case KEY_JSON:
		arguments->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->path)
			argp_error(state, "takes one model, not also '%s'", argument);
		arguments->path = argument;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "expects a GGUF file");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option info_options[] = {
	{"json", KEY_JSON, NULL, 0, "Print JSON, with every tensor and its shape", 0},
	{0},
};

static const struct argp info_argp = {
	.options = info_options,
	.parser = parse_info,
	.doc = "Print architecture, size, hyperparameters, metadata and tensors of a model. Tensors of types that cannot "
		   "be trained on are listed too.",
};

static int run_info(int argc, char **argv)
{
	struct info_arguments arguments = {0};
	aqm_gguf *gguf = NULL;
	char *text = NULL;

	aqm_cli_options(&info_argp, argc, argv, &arguments);
	int code = aqm_gguf_open(&gguf, arguments.path);

	if (code == AQM_OK)
		code = aqm_gguf_info(gguf, arguments.json, &text);
	if (code == AQM_OK)
		fputs(text, stdout);
	free(text);
	aqm_gguf_free(gguf);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

static const struct aqm_command info_command = {
	.name = "info",
	.usage = "MODEL.gguf [--json]",
	.help = "print what a model file holds",
	.run = run_info,
};

/* ---- model synth ---- */

struct synth_arguments {
	const char *preset, *output;
	const struct aqm_dtype_traits *type;
	uint64_t seed;
};

static error_t parse_synth(int key, char *argument, struct argp_state *state)
{
	struct synth_arguments *arguments = state->input;

	switch (key) {
	case KEY_PRESET:
		arguments->preset = argument;
		return 0;
	case KEY_TYPE:
		arguments->type = aqm_dtype_find(argument);
		if (!arguments->type || !arguments->type->quantise)
			argp_error(state, "--type: '%s' is none of f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1", argument);
		return 0;
	case KEY_SEED:
		arguments->seed = (uint64_t)aqm_cli_int(state, "--seed", argument, 0, INT64_MAX);
		return 0;
	case 'o':
		arguments->output = argument;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument such as '%s'", argument);
		return 0;
	case ARGP_KEY_END:
		if (!arguments->preset || !arguments->output)
			argp_error(state, "expects %s", arguments->preset ? "-o MODEL.gguf" : "--preset NAME");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option synth_options[] = {
	{"preset", KEY_PRESET, "NAME", 0,
     "Shape of the model: tiny-llama, tiny-gpt2, tiny-opt, tiny-t5, micro-llama, gpt2, smollm2-135m, opt-1.3b, t5-base, "
     "llama2-7b",
     0},
	{"type", KEY_TYPE, "TYPE", 0, "Type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1 (default f32)",
     0},
	{"seed", KEY_SEED, "N", 0, "Seed of the weights (default 0)", 0},
	{"output", 'o', "MODEL.gguf", 0, "The file to write", 0},
	{0},
};

static const struct argp synth_argp = {
	.options = synth_options,
	.parser = parse_synth,
	.doc = "Write a model of a known shape with random weights: for tests, demonstrations and measurements. The same "
		   "preset, type and seed "
		   "give the same file on every machine.",
};

static int run_synth(int argc, char **argv)
{
	struct synth_arguments arguments = {.type = aqm_dtype_traits(AQM_F32)};

	aqm_cli_options(&synth_argp, argc, argv, &arguments);
	aqm_interrupt_install();
	int code = aqm_model_synth(arguments.preset, arguments.type->dtype, arguments.seed, arguments.output);

	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

static const struct aqm_command synth_command = {
	.name = "synth",
	.usage = "--preset NAME [--type TYPE] [--seed N] -o MODEL.gguf",
	.help = "write a model of a known shape with random weights",
	.run = run_synth,
};

/* ---- model convert ---- */

struct convert_arguments {
	const char *folder, *output;
	const struct aqm_dtype_traits *type; /* NULL: as published */
};

static error_t parse_convert(int key, char *argument, struct argp_state *state)
{
	struct convert_arguments *arguments = state->input;

	switch (key) {
	case KEY_TYPE:
		arguments->type = aqm_dtype_find(argument);
		if (!arguments->type || !arguments->type->quantise)
			argp_error(state, "--type: '%s' is none of f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1", argument);
		return 0;
	case 'o':
		arguments->output = argument;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->folder)
			argp_error(state, "takes one folder, not also '%s'", argument);
		arguments->folder = argument;
		return 0;
	case ARGP_KEY_END:
		if (!arguments->folder || !arguments->output)
			argp_error(state, "expects %s", arguments->folder ? "-o MODEL.gguf" : "the folder of a model");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option convert_options[] = {
	{"output", 'o', "MODEL.gguf", 0, "The file to write", 0},
	{"type", KEY_TYPE, "TYPE", 0,
     "Type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1 (default: as they were published)", 0},
	{0},
};

static const struct argp convert_argp = {
	.options = convert_options,
	.parser = parse_convert,
	.doc = "Turn published weights into a GGUF file. HF_DIR has config.json and model.safetensors, or its shards with "
		   "model.safetensors.index.json: a Llama, Mistral, Qwen2, GPT-2, OPT or T5 as transformers saves it.",
};

static int run_convert(int argc, char **argv)
{
	struct convert_arguments arguments = {0};

	aqm_cli_options(&convert_argp, argc, argv, &arguments);
	aqm_interrupt_install();
	int code = aqm_model_convert(arguments.folder, arguments.type, arguments.output);

	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

static const struct aqm_command convert_command = {
	.name = "convert",
	.usage = "HF_DIR -o MODEL.gguf [--type TYPE]",
	.help = "turn published weights (safetensors) into a model file",
	.run = run_convert,
};

/* ---- model ---- */

static const struct aqm_command *const subcommands[] = {&info_command, &synth_command, &convert_command,
                                                  &aqm_command_model_forward, NULL};

const struct aqm_command aqm_command_model = {
	.name = "model",
	.help = "look at base models, make synthetic ones, convert published ones",
	.subcommands = subcommands,
};
