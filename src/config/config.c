/* SPDX-License-Identifier: BSD-2-Clause */
#include "aqmtrain/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/option.h"

void aqm_config_release(struct aqm_config *config)
{
	for (size_t i = 0; i < aqm_option_count; i++)
		aqm_option_release(&aqm_options[i], config);
}

/* Defaults are read as a user's file is, so they obey the same ranges. */
int aqm_config_init(struct aqm_config *config)
{
	char *defaults;

	*config = (struct aqm_config){0};
	int code = aqm_config_describe(&defaults);
	if (code != AQM_OK)
		return code;
	code = aqm_config_parse(config, "defaults", defaults, strlen(defaults));
	if (code != AQM_OK)
		aqm_config_release(config);
	free(defaults);
	return code;
}

static bool holds(const struct aqm_strings *strings, const char *item)
{
	for (size_t i = 0; i < strings->count; i++)
		if (strcmp(strings->items[i], item) == 0)
			return true;
	return false;
}

/* What belongs to one mode of control only. */
static int check_control(const struct aqm_config *config)
{
	bool update = config->control == AQM_CONTROL_UPDATE;
	enum aqm_best best = config->train.best;

	if (update ? best == AQM_BEST_MACRO_F1 || best == AQM_BEST_ACCURACY : best == AQM_BEST_WITHIN)
		return aqm_error_set(AQM_EUSAGE, "'train.best' is '%s', which 'control: %s' does not measure",
		                     aqm_config_word("train.best", (int)best), aqm_config_word("control", (int)config->control));
	if (!update && config->policy.bins != 0)
		return aqm_error_set(AQM_EUSAGE, "'policy.bins' is %lld, but only 'control: update' has bins",
		                     (long long)config->policy.bins);
	if (config->policy.bins == 1)
		return aqm_error_set(AQM_EUSAGE, "'policy.bins' is 1: one bin tells nothing; 0 is squared error");
	if (update && config->train.class_weights != AQM_WEIGHTS_NONE)
		return aqm_error_set(AQM_EUSAGE, "'train.class_weights' weigh actions, and 'control: update' has none");
	if (update && config->decide.sample && config->policy.bins == 0)
		return aqm_error_set(AQM_EUSAGE, "'decide.sample' draws from a distribution: 'control: update' needs 'policy.bins'");
	return AQM_OK;
}

/* Columns of a pool that are there only once a row's decision has been made: its label, or what came of it. */
static const char *const outcomes[] = {"action", "action_logged", "next_drop_prob", "utility_rank"};

static int check_features(const struct aqm_strings *features)
{
	if (features->count == 0)
		return aqm_error_set(AQM_EUSAGE, "'policy.features' is empty: a policy that sees nothing decides nothing");
	for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
		if (holds(features, outcomes[i]))
			return aqm_error_set(AQM_EUSAGE, "'policy.features' names '%s', which nobody knows before the decision",
			                     outcomes[i]);
	return AQM_OK;
}

int aqm_config_check(const struct aqm_config *config)
{
	int code = check_features(&config->policy.features);

	if (code != AQM_OK)
		return code;
	for (size_t i = 0; i < config->policy.sequences.count; i++) {
		const char *sequence = config->policy.sequences.items[i];

		if (!holds(&config->policy.features, sequence))
			return aqm_error_set(AQM_EUSAGE, "'policy.sequences' names '%s', which is not among 'policy.features'", sequence);
	}
	if (config->lora.rank > 0 && config->lora.targets.count == 0)
		return aqm_error_set(AQM_EUSAGE, "'lora.targets' is empty, but 'lora.rank' is %lld", (long long)config->lora.rank);
	if (config->train.warmup >= 1 && config->train.warmup != floor(config->train.warmup))
		return aqm_error_set(AQM_EUSAGE, "'train.warmup' is %g: from 1 on it is a number of steps, and whole",
		                     config->train.warmup);
	return check_control(config);
}

const char *aqm_config_word(const char *key, int value)
{
	const struct aqm_option *option = aqm_option_find(key);

	if (!option || !option->words || value < 0)
		return NULL;
	for (int i = 0; option->words[i]; i++)
		if (i == value)
			return option->words[i];
	return option->kind == AQM_OPTION_WEIGHTS && value == AQM_WEIGHTS_GIVEN ? "given" : NULL;
}

/* ---- text ---- */

/* Print "section:" where a row opens one; returns the row's name inside its section. */
static const char *open_section(size_t row, FILE *stream)
{
	const char *name = aqm_options[row].name, *dot = strchr(name, '.');

	if (!dot)
		return name;
	size_t length = (size_t)(dot - name);
	if (row == 0 || strncmp(aqm_options[row - 1].name, name, length + 1) != 0)
		fprintf(stream, "%.*s:\n", (int)length, name);
	return dot + 1;
}

/* Close a memory stream and hand its text over. */
static int finish(FILE *stream, char **text)
{
	bool lost = ferror(stream) != 0;

	if (fclose(stream) == 0 && !lost)
		return AQM_OK;
	free(*text);
	*text = NULL;
	return aqm_error_set(AQM_ERUN, "no memory for the text of a configuration");
}

static FILE *start(char **text, size_t *bytes)
{
	*text = NULL;
	FILE *stream = open_memstream(text, bytes);
	if (!stream)
		aqm_error_set(AQM_ERUN, "no memory for the text of a configuration");
	return stream;
}

int aqm_config_dump(const struct aqm_config *config, char **yaml)
{
	size_t bytes;
	FILE *stream = start(yaml, &bytes);

	if (!stream)
		return AQM_ERUN;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const char *name = open_section(i, stream);

		fprintf(stream, "%s%s: ", name == aqm_options[i].name ? "" : "  ", name);
		aqm_option_print(&aqm_options[i], config, stream);
		fputc('\n', stream);
	}
	return finish(stream, yaml);
}

int aqm_config_describe(char **text)
{
	size_t bytes;
	FILE *stream = start(text, &bytes);

	if (!stream)
		return AQM_ERUN;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const char *name = open_section(i, stream), *indent = name == aqm_options[i].name ? "" : "  ";

		fprintf(stream, "%s# %s (", indent, aqm_options[i].help);
		aqm_option_print_type(&aqm_options[i], stream);
		fprintf(stream, ")\n%s%s: %s\n", indent, name, aqm_options[i].initial);
	}
	return finish(stream, text);
}

int aqm_config_explain(const char *name, char **text)
{
	const char *key = aqm_option_whole_name(name);
	size_t bytes, length = strlen(key);
	bool found = false;
	FILE *stream = start(text, &bytes);

	if (!stream)
		return AQM_ERUN;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const struct aqm_option *option = &aqm_options[i];

		/* a section's name explains all of it */
		if (strncmp(option->name, key, length) != 0 || (option->name[length] && option->name[length] != '.'))
			continue;
		fprintf(stream, "%s%s\n  %s\n  takes    ", found ? "\n" : "", option->name, option->help);
		aqm_option_print_type(option, stream);
		fprintf(stream, "\n  default  %s\n", option->initial);
		found = true;
	}
	int code = finish(stream, text);
	if (code != AQM_OK || found)
		return code;
	free(*text);
	*text = NULL;
	const char *nearest = aqm_option_nearest(key);
	return aqm_error_set(AQM_ENOTFOUND, "no option '%.80s'%s%s%s", key, nearest ? "; did you mean '" : "",
	                     nearest ? nearest : "", nearest ? "'?" : "");
}
