/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A folder for PEFT (huggingface/peft): the adapter under the names that transformers' causal language models give
 * their modules, and beside it what PEFT does not know: encoder, embeddings and head.
 *
 * PEFT computes (lora_alpha / r) B A x. rsLoRA's alpha / sqrt(r) is folded into lora_alpha, so that every reader
 * scales alike.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "base/size.h"
#include "export/factors.h"
#include "export/folder.h"
#include "export/manifest.h"
#include "export/safetensors.h"

enum { DIGITS = 15 };

/* How transformers names an architecture's modules. */
struct peft_names {
	const char *architecture;
	const char *layer;               /* before the layer's number */
	const char *module[AQM_TARGETS]; /* below the layer; order of enum aqm_target */
	bool permuted;                   /* q and k rows interleaved in GGUF */
	bool conv1d;                     /* weights stored (in, out): fan_in_fan_out */
};

/* clang-format off */
#define LLAMA_MODULES "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", \
	"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"
#define GPT2_MODULES "attn.c_attn", "attn.c_attn", "attn.c_attn", "attn.c_proj", NULL, "mlp.c_fc", "mlp.c_proj"

static const struct peft_names peft_names[] = {
	{"llama", "base_model.model.model.layers.", {LLAMA_MODULES}, true, false},
	{"qwen2", "base_model.model.model.layers.", {LLAMA_MODULES}, false, false},
	{"gpt2", "base_model.model.transformer.h.", {GPT2_MODULES}, false, true},
};
/* clang-format on */

/* The first marks an export of ours. */
static const char policy_file[] = "policy.safetensors";
static const char adapter_file[] = "adapter_model.safetensors";
static const char config_file[] = "adapter_config.json";
static const char readme_file[] = "README.md";
static const char *const all_files[] = {policy_file, adapter_file, config_file, readme_file, NULL};

struct peft_export {
	aqm_policy *policy;
	const struct peft_names *names;
	struct aqm_factors *factors;
	size_t count;
	const char *folder; /* where to write */
	char *manifest;
};

static const char *architecture(aqm_policy *policy)
{
	return aqm_model_shape(aqm_policy_model(policy))->architecture;
}

static const struct peft_names *find_names(const char *name)
{
	for (size_t i = 0; i < sizeof peft_names / sizeof *peft_names; i++)
		if (strcmp(peft_names[i].architecture, name) == 0)
			return &peft_names[i];
	return NULL;
}

static const char *module_of(const struct peft_export *e, const struct aqm_factors *factors)
{
	return e->names->module[factors->parts[0]->target];
}

static const char *last_component(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot ? dot + 1 : path;
}

/* The shortest name by which PEFT finds this module and no other: gpt2 has two c_proj in a layer. */
static const char *target_name(const struct peft_names *names, const char *module)
{
	for (size_t t = 0; t < AQM_TARGETS; t++)
		if (names->module[t] && strcmp(names->module[t], module) != 0 &&
		    strcmp(last_component(names->module[t]), last_component(module)) == 0)
			return module;
	return last_component(module);
}

/* ---- adapter_config.json ---- */

static json_t *alpha_json(double alpha)
{
	return alpha == rint(alpha) && fabs(alpha) < 1e9 ? json_integer((json_int_t)alpha) : json_real(alpha);
}

/* Modules whose rank is not that of the first get a row in both patterns. */
static void fill_modules(const struct peft_export *e, json_t *targets, json_t *ranks, json_t *alphas)
{
	for (size_t i = 0; i < e->count; i++) {
		const struct aqm_factors *f = &e->factors[i];
		const char *name = target_name(e->names, module_of(e, f));

		if (f->parts[0]->layer != e->factors[0].parts[0]->layer)
			continue; /* every layer has the same */
		json_array_append_new(targets, json_string(name));
		if (f->rank != e->factors[0].rank) {
			json_object_set_new(ranks, name, json_integer(f->rank));
			json_object_set_new(alphas, name, alpha_json(f->scale * (double)f->rank));
		}
	}
}

/* stop_layer leaves the upper layers without adapters: list those that have one. */
static json_t *layers_json(const struct peft_export *e)
{
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(e->policy));

	if (shape->used_layers == shape->layers)
		return json_null();
	json_t *list = json_array();
	for (int64_t i = 0; i < shape->used_layers; i++)
		json_array_append_new(list, json_integer(i));
	return list;
}

static json_t *base_name_json(const struct peft_export *e)
{
	const char *name;
	int code = aqm_gguf_get_string(aqm_policy_gguf(e->policy), "general.name", &name);

	return code == AQM_OK ? json_string(name) : json_null();
}

/* What is the same for every adapter of ours. */
static json_t *constant_config(void)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:n}", "peft_type", "LORA", "task_type", "CAUSAL_LM", "bias",
	                 "none", "inference_mode", 1, "init_lora_weights", 1, "use_rslora", 0, "modules_to_save");
}

static json_t *config_json(const struct peft_export *e)
{
	const struct aqm_factors *first = &e->factors[0];
	json_t *config = constant_config(), *targets = json_array(), *ranks = json_object(), *alphas = json_object();

	fill_modules(e, targets, ranks, alphas);
	json_object_set_new(config, "base_model_name_or_path", base_name_json(e));
	json_object_set_new(config, "r", json_integer(first->rank));
	json_object_set_new(config, "lora_alpha", alpha_json(first->scale * (double)first->rank));
	json_object_set_new(config, "lora_dropout", json_real(aqm_policy_config(e->policy)->lora.dropout));
	json_object_set_new(config, "fan_in_fan_out", json_boolean(e->names->conv1d));
	json_object_set_new(config, "target_modules", targets);
	json_object_set_new(config, "rank_pattern", ranks);
	json_object_set_new(config, "alpha_pattern", alphas);
	json_object_set_new(config, "layers_to_transform", layers_json(e));
	return config;
}

static int write_config(const struct peft_export *e)
{
	json_t *config = config_json(e);
	char *path = aqm_path_join(e->folder, config_file);
	char *text = config ? json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS)) : NULL;
	int code = AQM_ERUN;

	if (path && text)
		code = aqm_file_write(path, text, strlen(text));
	else
		aqm_error_set(AQM_ERUN, "no memory for '%s'", config_file);
	json_decref(config);
	free(text);
	free(path);
	return code;
}

/* ---- adapter_model.safetensors ---- */

static int declare_factors(const struct peft_export *e, aqm_safetensors *file, const struct aqm_factors *f)
{
	const char *module = module_of(e, f);
	const long long layer = (long long)f->parts[0]->layer;
	char *a = aqm_strprintf("%s%lld.%s.lora_A.weight", e->names->layer, layer, module);
	char *b = aqm_strprintf("%s%lld.%s.lora_B.weight", e->names->layer, layer, module);
	int code = a && b ? aqm_safetensors_add(file, a, f->rank, f->in) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_safetensors_add(file, b, f->out, f->rank);
	free(a);
	free(b);
	return code;
}

/* buffer, scratch: room for the largest factor each. */
static int write_factors(const struct peft_export *e, aqm_safetensors *file, const struct aqm_factors *f, float *buffer,
                         float *scratch)
{
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(e->policy));
	const enum aqm_target target = f->parts[0]->target;

	aqm_factors_read_a(e->policy, f, buffer);
	int code = aqm_safetensors_write(file, buffer, (size_t)(f->rank * f->in));
	if (code == AQM_OK)
		code = aqm_factors_read_b(e->policy, f, buffer);
	if (code != AQM_OK)
		return code;
	if (e->names->permuted && (target == AQM_TARGET_Q || target == AQM_TARGET_K))
		aqm_factors_unpermute(buffer, target == AQM_TARGET_Q ? shape->heads : shape->kv_heads, shape->head_dim, f->rank,
		                      scratch);
	return aqm_safetensors_write(file, buffer, (size_t)(f->out * f->rank));
}

static int write_adapter(const struct peft_export *e)
{
	const size_t largest = aqm_factors_largest(e->factors, e->count);
	char *path = aqm_path_join(e->folder, adapter_file);
	float *buffer = aqm_malloc_array(largest, sizeof *buffer), *scratch = aqm_malloc_array(largest, sizeof *scratch);
	aqm_safetensors *file = NULL;
	int code = path && buffer && scratch ? aqm_safetensors_new(&file, path) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_safetensors_set(file, "format", "pt");
	for (size_t i = 0; code == AQM_OK && i < e->count; i++)
		code = declare_factors(e, file, &e->factors[i]);
	for (size_t i = 0; code == AQM_OK && i < e->count; i++)
		code = write_factors(e, file, &e->factors[i], buffer, scratch);
	if (code == AQM_OK)
		code = aqm_safetensors_finish(file);
	aqm_safetensors_free(file);
	free(buffer);
	free(scratch);
	free(path);
	return code;
}

/* ---- policy.safetensors ---- */

static bool is_own(const struct aqm_param *param)
{
	return strncmp(param->name, "policy.", strlen("policy.")) == 0;
}

static int write_own_param(aqm_policy *policy, aqm_safetensors *file, const struct aqm_param *param,
                           struct aqm_mat value)
{
	const size_t n = (size_t)(param->rows * param->cols);
	aqm_device *device = aqm_policy_device(policy);
	float *numbers = aqm_malloc_array(n, sizeof *numbers);

	if (!numbers)
		return AQM_ERUN;
	device->ops->download(device, numbers, value.data, n * sizeof *numbers);
	int code = aqm_safetensors_write(file, numbers, n);
	free(numbers);
	return code;
}

static int write_policy(const struct peft_export *e)
{
	const struct aqm_params *params = aqm_policy_params(e->policy);
	char *path = aqm_path_join(e->folder, policy_file);
	aqm_safetensors *file = NULL;
	int code = path ? aqm_safetensors_new(&file, path) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_safetensors_set(file, "format", "pt");
	if (code == AQM_OK)
		code = aqm_safetensors_set(file, "manifest", e->manifest);
	for (size_t i = 0; code == AQM_OK && i < params->count; i++) {
		const struct aqm_param *p = &params->items[i];

		if (is_own(p))
			code = aqm_safetensors_add(file, p->name, p->rows > 1 ? p->rows : 0, p->cols);
	}
	for (size_t i = 0; code == AQM_OK && i < params->count; i++)
		if (is_own(&params->items[i]))
			code = write_own_param(e->policy, file, &params->items[i], aqm_params_value(params, (int64_t)i));
	if (code == AQM_OK)
		code = aqm_safetensors_finish(file);
	aqm_safetensors_free(file);
	free(path);
	return code;
}

/* ---- README.md ---- */

/* clang-format off */
static const char readme_format[] =
	"# Adapter of a queue management policy\n"
	"\n"
	"Written by aqmtrain %s. Base model: architecture %s, GGUF file with SHA-256\n"
	"%s.\n"
	"\n"
	"- `adapter_config.json`, `adapter_model.safetensors`: the LoRA adapter.\n"
	"  `PeftModel.from_pretrained(base, FOLDER)` loads it, with `base` the causal language model of the same weights\n"
	"  in transformers.\n"
	"- `policy.safetensors`: state encoder, embeddings and action head, float32. Its metadata key `manifest` is JSON:\n"
	"  features with units and normalisation, returns, actions, configuration.\n"
	"\n"
	"The policy reads embeddings, not text: w steps of (return-to-go, features, action) tokens go in as\n"
	"`inputs_embeds`, and the action head reads the hidden state at the token of each step's last feature,\n"
	"behind %lld of the base's %lld layers and its final norm.\n";
/* clang-format on */

static int write_readme(const struct peft_export *e)
{
	char digest[65];
	int code = aqm_gguf_digest(aqm_policy_gguf(e->policy), digest);

	if (code != AQM_OK)
		return code;
	char *path = aqm_path_join(e->folder, readme_file);
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(e->policy));
	char *text = aqm_strprintf(readme_format, AQM_VERSION, shape->architecture, digest, (long long)shape->used_layers,
	                           (long long)shape->layers);
	code = path && text ? aqm_file_write(path, text, strlen(text)) : AQM_ERUN;
	free(text);
	free(path);
	return code;
}

/* ---- all of it ---- */

int aqm_export_peft(aqm_policy *policy, const char *path)
{
	struct peft_export e = {.policy = policy, .names = find_names(architecture(policy))};
	struct aqm_atomic_folder folder = {0};

	if (!e.names)
		return aqm_error_set(AQM_EUSAGE, "cannot write '%s': no module names are known for architecture '%s'", path,
		                     architecture(policy));
	int code = aqm_factors_collect(policy, "a PEFT adapter", &e.factors, &e.count);
	if (code != AQM_OK)
		return code;
	e.manifest = aqm_export_manifest(policy);
	code = e.manifest ? aqm_atomic_folder_open(&folder, path, all_files) : AQM_ERUN;
	e.folder = folder.temporary_path;
	if (code == AQM_OK)
		code = write_config(&e);
	if (code == AQM_OK)
		code = write_adapter(&e);
	if (code == AQM_OK)
		code = write_policy(&e);
	if (code == AQM_OK)
		code = write_readme(&e);
	if (code == AQM_OK)
		code = aqm_atomic_folder_commit(&folder);
	aqm_atomic_folder_abort(&folder);
	free(e.manifest);
	free(e.factors);
	return code;
}
