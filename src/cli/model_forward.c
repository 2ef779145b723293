/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain model forward: hidden states of a base model, to compare with other implementations.
 */
#include <string.h>

#include "cli/command.h"
#include "model/forward.h"

enum { KEY_INPUT = 256, KEY_ADAPTER, KEY_DEVICE, KEY_THREADS, KEY_STOP, KEY_BIDIRECTIONAL, KEY_STREAMING, KEY_CHUNK };

enum { THREADS_MAX = 4096 };

struct forward_arguments {
	struct aqm_forward_options options;
	int threads;
	bool streaming;
};

static void set_device(struct forward_arguments *arguments, const char *word, const struct argp_state *state)
{
	for (int kind = AQM_DEVICE_CPU; kind <= AQM_DEVICE_AUTO; kind++)
		if (strcmp(word, aqm_config_word("device", kind)) == 0) {
			arguments->options.device = (enum aqm_device_kind)kind;
			return;
		}
	argp_error(state, "--device wants cpu, cuda or auto, not '%s'", word);
}

static void check_arguments(struct forward_arguments *arguments, const struct argp_state *state)
{
	struct aqm_forward_options *options = &arguments->options;

	if (!options->model || !options->input || !options->output)
		argp_error(state, "expects %s",
		           !options->model   ? "a GGUF file"
		           : !options->input ? "--input X.h5"
		                             : "--output Y.h5");
	if (arguments->streaming && options->chunk == 0)
		options->chunk = 1;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct forward_arguments *arguments = state->input;

	switch (key) {
	case KEY_INPUT:
		arguments->options.input = argument;
		return 0;
	case 'o':
		arguments->options.output = argument;
		return 0;
	case KEY_ADAPTER:
		arguments->options.adapter = argument;
		return 0;
	case KEY_DEVICE:
		set_device(arguments, argument, state);
		return 0;
	case KEY_THREADS:
		arguments->threads = (int)aqm_cli_int(state, "--threads", argument, 0, THREADS_MAX);
		return 0;
	case KEY_STOP:
		arguments->options.stop_layer = aqm_cli_int(state, "--stop-layer", argument, 0, 10000);
		return 0;
	case KEY_BIDIRECTIONAL:
		arguments->options.bidirectional = true;
		return 0;
	case KEY_STREAMING:
		arguments->streaming = true;
		return 0;
	case KEY_CHUNK:
		arguments->options.chunk = aqm_cli_int(state, "--chunk", argument, 1, INT32_MAX);
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->options.model)
			argp_error(state, "takes one model, not also '%s'", argument);
		arguments->options.model = argument;
		return 0;
	case ARGP_KEY_END:
		check_arguments(arguments, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{"input", KEY_INPUT, "X.h5", 0, "Dataset `embeddings` (windows, tokens, width), float32 or float64", 0},
	{"output", 'o', "Y.h5", 0, "Dataset `hidden` of the same shape, float32", 0},
	{"adapter", KEY_ADAPTER, "PATH", 0, "A LoRA adapter on top: a folder of PEFT, or a GGUF file", 0},
	{"stop-layer", KEY_STOP, "N", 0, "Leave the transformer after this many layers; 0 = all (the default)", 0},
	{"bidirectional", KEY_BIDIRECTIONAL, NULL, 0, "t5: its encoder sees the whole window, as published", 0},
	{"streaming", KEY_STREAMING, NULL, 0, "Token by token through a cache, as decisions are taken", 0},
	{"chunk", KEY_CHUNK, "N", 0, "The same, N tokens at a time", 0},
	{"device", KEY_DEVICE, "DEVICE", 0, "cpu (the default), cuda or auto", 0},
	{"threads", KEY_THREADS, "N", 0, "Threads; 0 = all cores (the default)", 0},
	{0},
};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Put embeddings through a model and write its hidden states (behind the last norm), to compare with other "
		   "implementations. Both files are HDF5.",
};

static int run(int argc, char **argv)
{
	struct forward_arguments arguments = {0};

	aqm_cli_options(&argp, argc, argv, &arguments);
	aqm_cli_prepare_compute(arguments.threads);
	int code = aqm_forward_file(&arguments.options);

	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

const struct aqm_command aqm_command_model_forward = {
	.name = "forward",
	.usage = "MODEL.gguf --input X.h5 --output Y.h5 [--adapter PATH]",
	.help = "hidden states of a model for embeddings from a file",
	.run = run,
};
