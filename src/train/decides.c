/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Which options decide the outcome of a training.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "config/option.h"
#include "train/state.h"

static bool decides(const char *name)
{
	static const char *const free_ones[] = {
		"threads",
		"device",
		"model.path",
		"pool.train",
		"pool.eval",
		"train.checkpoint_every",
		"train.keep_checkpoints",
		"decide.target_quantile",
		"decide.target_factor",
		"decide.sample",
	};

	for (size_t i = 0; i < sizeof free_ones / sizeof *free_ones; i++)
		if (strcmp(name, free_ones[i]) == 0)
			return false;
	return true;
}

/* The value as YAML; NULL with a message when there is no memory. */
static char *value_text(const struct aqm_option *option, const struct aqm_config *config)
{
	char *text = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&text, &bytes);

	if (stream) {
		aqm_option_print(option, config, stream);
		if (fclose(stream) == 0)
			return text;
	}
	free(text);
	aqm_error_set(AQM_ERUN, "no memory for the text of an option");
	return NULL;
}

int aqm_config_digest(const struct aqm_config *config, char hex[65])
{
	aqm_sha256 *hash;
	int code = aqm_sha256_new(&hash);

	if (code != AQM_OK)
		return code;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const struct aqm_option *option = &aqm_options[i];

		if (!decides(option->name))
			continue;
		char *value = value_text(option, config);
		if (!value) {
			code = AQM_ERUN;
			break;
		}
		aqm_sha256_update(hash, option->name, strlen(option->name) + 1);
		aqm_sha256_update(hash, value, strlen(value) + 1);
		free(value);
	}
	aqm_sha256_finish(hash, hex);
	return code;
}

int aqm_config_difference(const struct aqm_config *a, const struct aqm_config *b, const char **name, char **value_a,
                          char **value_b)
{
	*name = NULL;
	for (size_t i = 0; i < aqm_option_count; i++) {
		const struct aqm_option *option = &aqm_options[i];

		if (!decides(option->name))
			continue;
		*value_a = value_text(option, a);
		*value_b = value_text(option, b);
		if (*value_a && *value_b && strcmp(*value_a, *value_b) != 0) {
			*name = option->name;
			return AQM_OK;
		}
		bool failed = !*value_a || !*value_b;
		free(*value_a);
		free(*value_b);
		*value_a = *value_b = NULL;
		if (failed)
			return AQM_ERUN;
	}
	return AQM_OK;
}
