/* SPDX-License-Identifier: BSD-2-Clause */
#include "export/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };

static bool is_sequence(const struct aqm_config *config, const char *feature)
{
	for (size_t i = 0; i < config->policy.sequences.count; i++)
		if (strcmp(config->policy.sequences.items[i], feature) == 0)
			return true;
	return false;
}

static json_t *features_json(const struct aqm_config *config, const struct aqm_fit *fit)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->policy.features.count; i++) {
		const char *name = config->policy.features.items[i];
		const struct aqm_field *field = aqm_field_find(name);

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:f, s:f}", "name", name, "unit", field ? field->unit : "", "description",
		                                      field ? field->description : "", "sequence", is_sequence(config, name), "mean",
		                                      fit->states.mean[i], "scale", fit->states.scale[i]));
	}
	return list;
}

static json_t *base_json(aqm_policy *policy)
{
	char digest[65];

	if (aqm_gguf_digest(aqm_policy_gguf(policy), digest) != AQM_OK)
		return NULL;
	return json_pack("{s:s, s:s, s:s}", "path", aqm_policy_base_path(policy), "architecture",
	                 aqm_model_shape(aqm_policy_model(policy))->architecture, "sha256", digest);
}

static json_t *actions_json(void)
{
	json_t *list = json_array();

	for (int a = 0; a < AQM_ACTIONS; a++)
		json_array_append_new(list, json_string(aqm_action_names[a]));
	return list;
}

char *aqm_export_manifest(aqm_policy *policy)
{
	const struct aqm_config *config = aqm_policy_config(policy);
	const struct aqm_fit *fit = aqm_policy_fit(policy);
	char *yaml, *text = NULL;

	if (aqm_config_dump(config, &yaml) != AQM_OK)
		return NULL;
	json_t *base = base_json(policy);
	if (base) {
		json_t *manifest = json_pack(
			"{s:i, s:s, s:o, s:o, s:o, s:s, s:{s:f, s:f, s:f}, s:s}", "format", FORMAT, "program", "aqmtrain " AQM_VERSION, "base", base,
			"actions", actions_json(), "features", features_json(config, fit), "normaliser",
			aqm_config_word("policy.normaliser", (int)fit->states.kind), "returns", "mean", fit->return_mean, "scale", fit->return_scale,
			"target", aqm_policy_target(policy), "config", yaml);

		text = manifest ? json_dumps(manifest, JSON_INDENT(2)) : NULL;
		if (!text)
			aqm_error_set(AQM_ERUN, "cannot describe the policy: a path or name is not text in UTF-8");
		json_decref(manifest);
	}
	free(yaml);
	return text;
}
