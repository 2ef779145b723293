/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain export: a run's policy in the formats of others.
 */
#include <stdlib.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/command.h"

enum { KEY_BASE = 256, KEY_LAST, KEY_PEFT, KEY_GGUF_LORA, KEY_MERGED, KEY_TYPE, KEY_BUNDLE, KEY_C_HEADER };

struct export_arguments {
	const char *run_path, *base_path;
	const char *peft, *gguf_lora, *merged, *type, *bundle, *c_header;
	bool last;
};

static void check_arguments(const struct export_arguments *arguments, const struct argp_state *state)
{
	if (!arguments->run_path)
		argp_error(state, "wants a run (-r RUN)");
	if (!arguments->peft && !arguments->gguf_lora && !arguments->merged && !arguments->bundle && !arguments->c_header)
		argp_error(state, "wants to know what to write: --peft, --gguf-lora, --merged, --bundle or --c-header");
	if (arguments->type && !arguments->merged)
		argp_error(state, "--type goes with --merged");
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct export_arguments *arguments = state->input;

	switch (key) {
	case 'r':
		arguments->run_path = argument;
		return 0;
	case KEY_BASE:
		arguments->base_path = argument;
		return 0;
	case KEY_LAST:
		arguments->last = true;
		return 0;
	case KEY_PEFT:
		arguments->peft = argument;
		return 0;
	case KEY_GGUF_LORA:
		arguments->gguf_lora = argument;
		return 0;
	case KEY_MERGED:
		arguments->merged = argument;
		return 0;
	case KEY_TYPE:
		arguments->type = argument;
		return 0;
	case KEY_BUNDLE:
		arguments->bundle = argument;
		return 0;
	case KEY_C_HEADER:
		arguments->c_header = argument;
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
	{"run", 'r', "RUN", 0, "The run whose policy to export, or a policy file", 0},
	{"base", KEY_BASE, "FILE", 0, "The base model, if it is no longer where the run found it", 0},
	{"last", KEY_LAST, NULL, 0, "The last policy of the run instead of its best", 0},
	{"peft", KEY_PEFT, "DIR", 0, "The adapter as a folder for PEFT, with encoder and head beside it", 1},
	{"gguf-lora", KEY_GGUF_LORA, "FILE", 0, "The adapter as GGUF, for llama.cpp", 1},
	{"merged", KEY_MERGED, "FILE", 0, "The base model with the adapter merged in, as GGUF", 1},
	{"type", KEY_TYPE, "TYPE", 0, "Type of merged matrices: f32, f16, bf16, q8_0, ...; their own by default", 1},
	{"bundle", KEY_BUNDLE, "FILE", 0, "All that a decision needs but the base weights, in one file", 1},
	{"c-header", KEY_C_HEADER, "FILE.h", 0,
     "A student (-r: student.json, its folder, or the run with student/ in it) as one freestanding C header, for kernels", 1},
	{0},
};

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.doc = "Write a run's policy in formats that other programs read. What exists is replaced only by a whole new "
	       "file; a folder only if it is an earlier export.",
};

static int load_policy(aqm_policy **policy, const struct export_arguments *arguments)
{
	char *last = arguments->last ? aqm_path_join(arguments->run_path, "policy.h5") : NULL;

	if (arguments->last && !last)
		return AQM_ERUN;
	int code = aqm_policy_load(policy, last ? last : arguments->run_path, arguments->base_path, AQM_DEVICE_CPU);
	free(last);
	return code;
}

static bool is_policy_wanted(const struct export_arguments *arguments)
{
	return arguments->peft || arguments->gguf_lora || arguments->merged || arguments->bundle;
}

/* Where a student lies: in the run's student/, in the folder, or in the file that was named. Owned by the caller; NULL
 * without memory. */
static char *find_student(const char *path)
{
	static const char *const places[] = {"student/student.json", "student.json"};

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		char *file = aqm_path_join(path, places[i]);

		if (!file || aqm_path_exists(file))
			return file;
		free(file);
	}
	return aqm_strdup(path);
}

static int report(int code, const char *what, const char *path)
{
	if (code == AQM_OK)
		aqm_log_info("wrote %s '%s'", what, path);
	return code;
}

/* Two outputs of one name: only the second would be left. */
static int check_outputs(const struct export_arguments *arguments)
{
	const char *outputs[] = {arguments->peft, arguments->gguf_lora, arguments->merged, arguments->bundle,
	                         arguments->c_header};
	enum { COUNT = sizeof outputs / sizeof *outputs };

	for (int i = 0; i < COUNT; i++)
		for (int k = 0; k < i; k++)
			if (outputs[i] && outputs[k] && aqm_path_same(outputs[i], outputs[k]))
				return aqm_error_set(AQM_EUSAGE, "'%s' is named twice; each output needs a file of its own", outputs[i]);
	return AQM_OK;
}

static int export_all(aqm_policy *policy, const struct export_arguments *arguments)
{
	int code = AQM_OK;

	if (arguments->peft)
		code = report(aqm_export_peft(policy, arguments->peft), "PEFT adapter", arguments->peft);
	if (code == AQM_OK && arguments->gguf_lora)
		code = report(aqm_export_gguf_lora(policy, arguments->gguf_lora), "GGUF adapter", arguments->gguf_lora);
	if (code == AQM_OK && arguments->merged)
		code = report(aqm_export_merged(policy, arguments->merged, arguments->type), "merged model", arguments->merged);
	if (code == AQM_OK && arguments->bundle)
		code = report(aqm_export_bundle(policy, arguments->bundle), "bundle", arguments->bundle);
	return code;
}

static int export_c_header(const struct export_arguments *arguments)
{
	aqm_student *student = NULL;
	char *file = find_student(arguments->run_path);
	int code = file ? aqm_path_spare(file, arguments->c_header) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_student_load(&student, file);
	if (code == AQM_OK)
		code = report(aqm_export_c_header(student, arguments->c_header), "C header", arguments->c_header);
	aqm_student_free(student);
	free(file);
	return code;
}

static int run(int argc, char **argv)
{
	struct export_arguments arguments = {0};
	aqm_policy *policy = NULL;

	aqm_cli_options(&argp, argc, argv, &arguments);
	int code = check_outputs(&arguments);
	aqm_cli_prepare_compute(0);
	if (code == AQM_OK && is_policy_wanted(&arguments)) {
		code = load_policy(&policy, &arguments);
		if (code == AQM_OK)
			code = export_all(policy, &arguments);
	}
	if (code == AQM_OK && arguments.c_header)
		code = export_c_header(&arguments);
	aqm_policy_free(policy);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}

const struct aqm_command aqm_command_export = {
	.name = "export",
	.usage = "-r RUN [--peft DIR] [--gguf-lora FILE] [--merged FILE] [--bundle FILE] [--c-header FILE]",
	.help = "write a run's policy for PEFT, for llama.cpp, merged, in one file, or in C",
	.run = run,
};
