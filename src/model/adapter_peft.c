/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What PEFT saves. Tensors "base_model.model.<module>.lora_A.weight" (r, in) and ".lora_B.weight" (out, r), scaled by
 * lora_alpha / r or, with use_rslora, lora_alpha / sqrt(r); rank_pattern and alpha_pattern give modules other r and
 * lora_alpha. Module names are those of the language model, or of the bare transformer (model/names.h).
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/adapter_internal.h"

enum { MODULE = 160 }; /* bytes of a module's name */

/* ---- adapter_config.json ---- */

struct config {
	const char *name; /* of the file */
	json_t *json;
	json_int_t rank;
	double alpha;
	bool rslora;
	const json_t *ranks, *alphas; /* patterns; NULL: none */
};

/* A setting that is there and says something. */
static bool is_set(const json_t *value)
{
	if (json_is_integer(value))
		return json_integer_value(value) != 0;
	if (json_is_string(value))
		return *json_string_value(value);
	return json_is_true(value) || json_is_real(value) || json_array_size(value) > 0 || json_object_size(value) > 0;
}

/* What would compute something else than B A x. */
static int refuse_variants(const struct config *c)
{
	static const struct {
		const char *key, *what;
	} variants[] = {
		{"use_dora", "weight-decomposed adapters (DoRA)"},
		{"modules_to_save", "whole modules saved beside the adapter"},
		{"lora_bias", "biases in adapters"},
		{"layer_replication", "repeated layers"},
		{"trainable_token_indices", "trained tokens"},
		{"target_parameters", "adapted parameters that are no modules"},
		{"use_qalora", "QA-LoRA"},
		{"use_bdlora", "BD-LoRA"},
		{"alora_invocation_tokens", "activated LoRA"},
		{"arrow_config", "routing (Arrow)"},
		{"velora_config", "VeLoRA"},
		{"monteclora_config", "MonteCLoRA"},
		{"kasa_config", "KaSA"},
	};
	static const char *const changed[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
	const char *start = json_string_value(json_object_get(c->json, "init_lora_weights"));
	const char *bias = json_string_value(json_object_get(c->json, "bias"));

	for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
		if (is_set(json_object_get(c->json, variants[i].key)))
			return aqm_error_set(AQM_EDATA, "'%s': '%s' is set, but %s cannot be reproduced", c->name, variants[i].key,
			                     variants[i].what);
	if (bias && strcmp(bias, "none") != 0)
		return aqm_error_set(AQM_EDATA,
		                     "'%s': 'bias' is '%.40s', but trained biases cannot be reproduced; expected none", c->name,
		                     bias);
	for (size_t i = 0; start && i < sizeof changed / sizeof *changed; i++)
		if (strncmp(start, changed[i], strlen(changed[i])) == 0)
			return aqm_error_set(
				AQM_EDATA,
				"'%s': 'init_lora_weights' is '%.40s', which belongs to a changed base; convert it to a "
				"plain adapter first (path_initial_model_for_weight_conversion of save_pretrained)",
				c->name, start);
	return AQM_OK;
}

/* Keys that say nothing about what is computed, or that are read here. */
static bool is_known(const char *key)
{
	static const char *const known[] = {
		"peft_type",
		"task_type",
		"auto_mapping",
		"peft_version",
		"base_model_name_or_path",
		"revision",
		"inference_mode",
		"r",
		"target_modules",
		"exclude_modules",
		"lora_alpha",
		"lora_dropout",
		"fan_in_fan_out",
		"bias",
		"use_rslora",
		"rank_pattern",
		"layers_to_transform",
		"layers_pattern",
		"init_lora_weights",
		"alpha_pattern",
		"loftq_config",
		"megatron_config",
		"megatron_core",
		"eva_config",
		"corda_config",
		"runtime_config",
		"lora_ga_config",
		"qalora_group_size",
		"ensure_weight_tying",
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i], key) == 0)
			return true;
	return false;
}

static void warn_of_unknown(const struct config *c)
{
	const char *key;
	json_t *value;

	json_object_foreach(c->json, key, value) {
		if (!is_known(key) && is_set(value))
			aqm_log_warning("'%s' has a setting '%.60s' that this program does not know: left out of account", c->name,
			                key);
	}
}

/* Which modules have an adapter is what the tensors say; here only that the text is one of PEFT's. */
static bool is_choice(const json_t *value)
{
	size_t i;
	json_t *item;

	json_array_foreach(value, i, item) {
		if (!json_is_string(item) && !json_is_integer(item))
			return false;
	}
	return !value || json_is_null(value) || json_is_string(value) || json_is_integer(value) || json_is_array(value);
}

/* Keys of patterns are regular expressions; those that PEFT users write are names of modules or their ends. */
static bool is_plain(const char *key)
{
	if (*key == '^')
		key++;
	return *key && key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")] == '\0';
}

static int read_pattern(const struct config *c, const char *name, const json_t **out)
{
	json_t *pattern = json_object_get(c->json, name), *value;
	const char *key;

	*out = pattern;
	if (pattern && !json_is_null(pattern) && !json_is_object(pattern))
		return aqm_error_set(AQM_EDATA, "'%s': '%s' is no object", c->name, name);
	json_object_foreach(pattern, key, value) {
		if (!is_plain(key))
			return aqm_error_set(AQM_EDATA, "'%s': '%s' has '%.60s'; expected names of modules", c->name, name, key);
		if (!json_is_number(value) || !(json_number_value(value) >= 0))
			return aqm_error_set(AQM_EDATA, "'%s': '%s' has no number for '%.60s'", c->name, name, key);
	}
	return AQM_OK;
}

static int read_numbers(struct config *c)
{
	json_t *rank = json_object_get(c->json, "r"), *alpha = json_object_get(c->json, "lora_alpha");
	json_t *rslora = json_object_get(c->json, "use_rslora");

	c->rank = json_integer_value(rank);
	c->alpha = json_number_value(alpha);
	c->rslora = json_is_true(rslora);
	if (!json_is_integer(rank) || c->rank < 1)
		return aqm_error_set(AQM_EDATA, "'%s': 'r' is no rank", c->name);
	if (!json_is_number(alpha) || !isfinite(c->alpha) || c->alpha < 0)
		return aqm_error_set(AQM_EDATA, "'%s': 'lora_alpha' is no number from 0 on", c->name);
	if (rslora && !json_is_boolean(rslora) && !json_is_null(rslora))
		return aqm_error_set(AQM_EDATA, "'%s': 'use_rslora' is neither true nor false", c->name);
	if (!is_choice(json_object_get(c->json, "target_modules")) ||
	    !is_choice(json_object_get(c->json, "layers_to_transform")))
		return aqm_error_set(AQM_EDATA, "'%s': 'target_modules' or 'layers_to_transform' is no list", c->name);
	int code = read_pattern(c, "rank_pattern", &c->ranks);

	return code == AQM_OK ? read_pattern(c, "alpha_pattern", &c->alphas) : code;
}

static int read_config(struct config *c, const char *text, size_t bytes)
{
	json_error_t error;

	c->json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
	if (!c->json)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': line %d, column %d: %s", c->name, error.line, error.column,
		                     error.text);
	const char *type = json_string_value(json_object_get(c->json, "peft_type"));

	if (!type || strcmp(type, "LORA") != 0)
		return aqm_error_set(AQM_EDATA, "'%s': 'peft_type' is %.40s; expected LORA", c->name, type ? type : "absent");
	int code = refuse_variants(c);

	if (code == AQM_OK)
		code = read_numbers(c);
	if (code == AQM_OK)
		warn_of_unknown(c);
	return code;
}

/* The first of the pattern's names that is the module's, or its last components. */
static const json_t *pattern_value(const json_t *pattern, const char *module)
{
	const size_t length = strlen(module);
	const char *key;
	json_t *value;

	/* jansson iterates over what it does not change; its interface has no const */
	json_object_foreach((json_t *)(uintptr_t)pattern, key, value) {
		const size_t n = strlen(key);
		bool whole = strcmp(key + (*key == '^'), module) == 0;

		if (whole || (n < length && module[length - n - 1] == '.' && strcmp(module + length - n, key) == 0))
			return value;
	}
	return NULL;
}

/* ---- tensors ---- */

/* "base_model.model.<module>.lora_A.weight". */
static bool split_name(const char *name, char module[MODULE], bool *is_b)
{
	static const char head[] = "base_model.model.", a[] = ".lora_A.weight", b[] = ".lora_B.weight";
	const size_t length = strlen(name), before = strlen(head), after = strlen(a);

	if (length <= before + after || length - before - after >= MODULE || strncmp(name, head, before) != 0)
		return false;
	*is_b = strcmp(name + length - after, b) == 0;
	memcpy(module, name + before, length - before - after);
	module[length - before - after] = '\0';
	return *is_b || strcmp(name + length - after, a) == 0;
}

/* Whether `module` is the one with the weight `hf`, by its whole name or its name in the bare transformer. */
static bool is_module_of(const char *hf, const char *module, int64_t *layer)
{
	static const char *const heads[] = {"", "model.", "transformer."};
	const size_t length = strlen(hf), tail = strlen(".weight");
	char pattern[MODULE];

	if (length <= tail || length - tail >= sizeof pattern || strcmp(hf + length - tail, ".weight") != 0)
		return false;
	memcpy(pattern, hf, length - tail);
	pattern[length - tail] = '\0';
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		const size_t n = strlen(heads[i]);

		if (strncmp(pattern, heads[i], n) == 0 && aqm_tensor_name_match(pattern + n, module, layer))
			return true;
	}
	return false;
}

/* The base tensor of a module; NULL when there is none. */
static const struct aqm_gguf_tensor *find_base(const struct aqm_adapter_file *file, const char *module,
                                               const struct aqm_tensor_name **row)
{
	const char *architecture;
	const struct aqm_tensor_name *names = NULL;
	size_t count = 0;
	int64_t layer, same;
	char gguf[96];

	if (aqm_gguf_get_string(file->base, "general.architecture", &architecture) == AQM_OK)
		names = aqm_tensor_names(architecture, &count);
	for (size_t i = 0; i < count; i++) {
		*row = &names[i];
		if (names[i].gguf && is_module_of(names[i].hf, module, &layer) &&
		    aqm_tensor_name_expand(gguf, sizeof gguf, names[i].gguf, layer) &&
		    aqm_tensor_name_of(file->base, gguf, &same) == *row)
			return aqm_gguf_find(file->base, gguf);
	}
	return NULL;
}

static int set_scale(const struct config *c, struct aqm_factor_pair *pair, const char *module)
{
	const json_t *rank = pattern_value(c->ranks, module), *alpha = pattern_value(c->alphas, module);
	const double expected = rank ? json_number_value(rank) : (double)c->rank, r = (double)pair->a.rows;

	if (expected != r)
		return aqm_error_set(AQM_EDATA, "'%s' says that '%.150s' has rank %g, but its tensor has %lld rows", c->name,
		                     module, expected, (long long)pair->a.rows);
	pair->scale = (alpha ? json_number_value(alpha) : c->alpha) / (c->rslora ? sqrt(r) : r);
	return AQM_OK;
}

static int add_tensor(struct aqm_adapter_file *file, const struct config *c,
                      const struct aqm_safetensors_tensor *tensor)
{
	const struct aqm_tensor_name *row;
	char module[MODULE];
	bool is_b;
	const struct aqm_gguf_tensor *base = split_name(tensor->name, module, &is_b) ? find_base(file, module, &row) : NULL;

	if (!base || !tensor->readable || tensor->dimensions != 2) {
		aqm_adapter_file_list(file, tensor->name);
		return AQM_OK;
	}
	struct aqm_factor_pair *pair = aqm_adapter_file_pair(file, base);

	if (!pair)
		return AQM_ERUN;
	struct aqm_factor *factor = is_b ? &pair->b : &pair->a;

	if (factor->rows) { /* the same module by both of its names */
		aqm_adapter_file_list(file, tensor->name);
		return AQM_OK;
	}
	*factor = (struct aqm_factor){.tensor = tensor, .rows = tensor->shape[0], .cols = tensor->shape[1]};
	pair->layout = row->layout;
	pair->shown = tensor->name;
	return is_b ? AQM_OK : set_scale(c, pair, module);
}

int aqm_adapter_read_peft(struct aqm_adapter_file *file, const char *config, size_t bytes, const char *name)
{
	struct config c = {.name = name};
	int code = read_config(&c, config, bytes);

	for (size_t i = 0; code == AQM_OK && i < aqm_safetensors_tensors(file->tensors); i++)
		code = add_tensor(file, &c, aqm_safetensors_tensor(file->tensors, i));
	file->alpha = c.alpha;
	file->rslora = c.rslora;
	json_decref(c.json);
	return code;
}
