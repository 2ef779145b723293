/* SPDX-License-Identifier: BSD-2-Clause */
#include "export/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "pool/fields.h"

enum { FORMAT = 1 };

static bool is_sequence(const struct aqm_config *config, const char *feature)
{
	for (size_t i = 0; i < config->policy.sequences.count; i++)
		if (strcmp(config->policy.sequences.items[i], feature) == 0)
			return true;
	return false;
}

/* A list of one number, or two where the normaliser makes two values of a feature. */
static json_t *values_json(const struct aqm_fit *fit, const double *numbers, size_t index)
{
	size_t values = aqm_normaliser_values(fit->states.kind);
	json_t *list = json_array();

	for (size_t v = 0; v < values; v++)
		json_array_append_new(list, json_real(numbers[index * values + v]));
	return list;
}

static json_t *feature_json(const struct aqm_config *config, const struct aqm_fit *fit, size_t index)
{
	const char *name = config->policy.features.items[index];
	const struct aqm_column_type *type = aqm_column_type_find(name);
	json_t *feature = json_pack("{s:s, s:b}", "name", name, "sequence", is_sequence(config, name));

	json_object_set_new(feature, "unit", json_string(type ? type->unit : ""));
	json_object_set_new(feature, "description", json_string(type ? type->description : ""));
	json_object_set_new(feature, "mean", values_json(fit, fit->states.mean, index));
	json_object_set_new(feature, "scale", values_json(fit, fit->states.scale, index));
	return feature;
}

static json_t *features_json(const struct aqm_config *config, const struct aqm_fit *fit)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->policy.features.count; i++)
		json_array_append_new(list, feature_json(config, fit, i));
	return list;
}

static json_t *returns_json(aqm_policy *policy)
{
	const struct aqm_fit *fit = aqm_policy_fit(policy);

	return json_pack("{s:f, s:f, s:f, s:f, s:f}", "reward_low", fit->rewards.low, "reward_width", fit->rewards.width,
	                 "mean", fit->return_mean, "scale", fit->return_scale, "target", aqm_policy_target(policy));
}

static json_t *base_json(aqm_policy *policy)
{
	char digest[65];

	if (aqm_gguf_digest(aqm_policy_gguf(policy), digest) != AQM_OK)
		return NULL;
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(policy));
	json_t *base = json_pack("{s:s, s:s, s:s, s:I, s:I}", "path", aqm_policy_base_path(policy), "architecture",
	                         shape->architecture, "sha256", digest, "layers", (json_int_t)shape->layers, "used_layers",
	                         (json_int_t)shape->used_layers);
	if (shape->decoder_layers) {
		json_object_set_new(base, "decoder_layers", json_integer((json_int_t)shape->decoder_layers));
		json_object_set_new(base, "used_decoder_layers", json_integer((json_int_t)shape->used_decoder_layers));
	}
	return base;
}

static json_t *actions_json(void)
{
	json_t *list = json_array();

	for (int a = 0; a < AQM_ACTIONS; a++)
		json_array_append_new(list, json_string(aqm_action_names[a]));
	return list;
}

static json_t *numbers_json(const double *numbers, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_real(numbers[i]));
	return list;
}

/* How p' becomes a token, and outputs a change of log p'. */
static json_t *levels_json(const struct aqm_level_fit *fit)
{
	json_t *levels = json_pack("{s:f, s:f, s:f}", "mean", fit->mean, "scale", fit->scale, "change_scale", fit->change_scale);

	if (fit->bins > 0) {
		json_object_set_new(levels, "edges", numbers_json(fit->edge, fit->bins - 1));
		json_object_set_new(levels, "values", numbers_json(fit->value, fit->bins));
	}
	return levels;
}

static json_t *manifest_json(aqm_policy *policy, json_t *base, const char *yaml)
{
	const struct aqm_config *config = aqm_policy_config(policy);
	const struct aqm_fit *fit = aqm_policy_fit(policy);
	const char *normaliser = aqm_config_word("policy.normaliser", (int)fit->states.kind);
	json_t *manifest = json_pack("{s:i, s:s, s:o}", "format", FORMAT, "program", "aqmtrain " AQM_VERSION, "base", base);

	json_object_set_new(manifest, "control", json_string(aqm_config_word("control", (int)config->control)));
	if (config->control == AQM_CONTROL_UPDATE)
		json_object_set_new(manifest, "levels", levels_json(&fit->levels));
	else
		json_object_set_new(manifest, "actions", actions_json());
	json_object_set_new(manifest, "features", features_json(config, fit));
	json_object_set_new(manifest, "normaliser", json_string(normaliser));
	json_object_set_new(manifest, "returns", returns_json(policy));
	json_object_set_new(manifest, "config", json_string(yaml));
	return manifest;
}

char *aqm_export_manifest(aqm_policy *policy)
{
	char *yaml, *text = NULL;

	if (aqm_config_dump(aqm_policy_config(policy), &yaml) != AQM_OK)
		return NULL;
	json_t *base = base_json(policy);
	if (base) {
		json_t *manifest = manifest_json(policy, base, yaml);

		text = manifest ? json_dumps(manifest, JSON_INDENT(2)) : NULL;
		if (!text)
			aqm_error_set(AQM_ERUN, "no memory to describe the policy");
		json_decref(manifest);
	}
	free(yaml);
	return text;
}
