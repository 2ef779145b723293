/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A folder for PEFT (huggingface/peft): the adapter under the names that transformers' language models give their
 * modules (model/names.h), and beside it what PEFT does not know: encoder, embeddings and head.
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
#include "model/names.h"

enum { DIGITS = 15 };

/* The first marks an export of ours. */
static const char policy_file[] = "policy.safetensors";
static const char adapter_file[] = "adapter_model.safetensors";
static const char config_file[] = "adapter_config.json";
static const char readme_file[] = "README.md";
static const char *const all_files[] = {policy_file, adapter_file, config_file, readme_file, NULL};

struct peft_export {
	aqm_policy *policy;
	struct aqm_factors *factors;
	const struct aqm_tensor_name **names; /* of each */
	size_t count;
	const char *folder; /* where to write */
	char *manifest;
};

static const struct aqm_model_shape *shape_of(const struct peft_export *e)
{
	return aqm_model_shape(aqm_policy_model(e->policy));
}

/* ---- names ---- */

enum { MODULE = 160 }; /* bytes of a module's name */

static int find_names(struct peft_export *e)
{
	e->names = aqm_calloc_array(e->count, sizeof(void *));
	if (!e->names)
		return AQM_ERUN;
	for (size_t i = 0; i < e->count; i++) {
		const char *gguf = e->factors[i].parts[0]->gguf_name;
		int64_t layer;

		e->names[i] = aqm_tensor_name_of(aqm_policy_gguf(e->policy), gguf, &layer);
		if (!e->names[i])
			return aqm_error_set(AQM_EUSAGE, "cannot write a PEFT adapter: '%s' of a %s has no published name", gguf,
			                     shape_of(e)->architecture);
	}
	return AQM_OK;
}

/* "model.layers.%.mlp.up_proj.weight" -> "model.layers.%.mlp.up_proj". False when it is no weight. */
static bool module_pattern(char out[MODULE], const char *hf)
{
	const size_t length = strlen(hf), tail = strlen(".weight");

	if (length <= tail || length - tail >= MODULE || strcmp(hf + length - tail, ".weight") != 0)
		return false;
	memcpy(out, hf, length - tail);
	out[length - tail] = '\0';
	return true;
}

static bool ends_in(const char *module, const char *name)
{
	const size_t length = strlen(module), n = strlen(name);

	return n < length && module[length - n - 1] == '.' && strcmp(module + length - n, name) == 0;
}

/* What a matrix does, by its GGUF name: "attn_q.weight"; in cross-attention too. */
static const char *kind_of(const char *gguf)
{
	const char *dot = strrchr(gguf, '.'), *kind = gguf;

	for (const char *c = gguf; c < dot; c++)
		if (*c == '.')
			kind = c + 1;
	return strncmp(kind, "cross_", 6) == 0 ? kind + 6 : kind;
}

/* Whether PEFT finds by this name matrices of another kind. */
static bool is_ambiguous(const struct peft_export *e, const struct aqm_tensor_name *row, const char *name)
{
	size_t count;
	const struct aqm_tensor_name *all = aqm_tensor_names(shape_of(e)->architecture, &count);
	char module[MODULE];

	for (size_t i = 0; i < count; i++)
		if (all[i].gguf && module_pattern(module, all[i].hf) && ends_in(module, name) &&
		    strcmp(kind_of(all[i].gguf), kind_of(row->gguf)) != 0)
			return true;
	return false;
}

/* The shortest name by which PEFT finds these modules and no others: gpt2 has two c_proj in a layer. */
static void target_name(char out[MODULE], const struct peft_export *e, const struct aqm_tensor_name *row)
{
	char module[MODULE] = "";

	module_pattern(module, row->hf);
	const char *name = module + strlen(module);

	do {
		while (name > module && name[-1] != '.')
			name--;
		memmove(out, name, strlen(name) + 1);
		if (name > module)
			name--;
	} while (name > module && is_ambiguous(e, row, out));
}

/* ---- adapter_config.json ---- */

static json_t *alpha_json(double alpha)
{
	return alpha == rint(alpha) && fabs(alpha) < 1e9 ? json_integer((json_int_t)alpha) : json_real(alpha);
}

/* Each name once: every layer has the same. Modules whose rank is not that of the first get a row in both patterns. */
static void fill_modules(const struct peft_export *e, json_t *targets, json_t *ranks, json_t *alphas)
{
	json_t *seen = json_object();

	for (size_t i = 0; i < e->count; i++) {
		const struct aqm_factors *f = &e->factors[i];
		char name[MODULE];

		target_name(name, e, e->names[i]);
		if (json_object_get(seen, name))
			continue;
		json_object_set_new(seen, name, json_true());
		json_array_append_new(targets, json_string(name));
		if (f->rank != e->factors[0].rank) {
			json_object_set_new(ranks, name, json_integer(f->rank));
			json_object_set_new(alphas, name, alpha_json(f->scale * (double)f->rank));
		}
	}
	json_decref(seen);
}

/* stop_layer leaves the upper layers without adapters: list those that have one, and what stands before their numbers.
 */
static void set_layers(const struct peft_export *e, json_t *config)
{
	const struct aqm_model_shape *shape = shape_of(e);
	const char *pattern = e->names[0]->hf, *end = strchr(pattern, '%') - 1, *start = end;
	json_t *list = json_null();

	if (shape->used_layers < shape->layers || shape->used_decoder_layers < shape->decoder_layers) {
		list = json_array();
		for (int64_t i = 0; i < shape->used_layers || i < shape->used_decoder_layers; i++)
			json_array_append_new(list, json_integer(i));
		while (start > pattern && start[-1] != '.')
			start--;
		json_object_set_new(config, "layers_pattern", json_stringn(start, (size_t)(end - start)));
	}
	json_object_set_new(config, "layers_to_transform", list);
}

static json_t *base_name_json(const struct peft_export *e)
{
	const char *name;
	int code = aqm_gguf_get_string(aqm_policy_gguf(e->policy), "general.name", &name);

	return code == AQM_OK ? json_string(name) : json_null();
}

/* What is the same for every adapter of ours. */
static json_t *constant_config(const char *task)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:n}", "peft_type", "LORA", "task_type", task, "bias", "none",
	                 "inference_mode", 1, "init_lora_weights", 1, "use_rslora", 0, "modules_to_save");
}

static json_t *config_json(const struct peft_export *e)
{
	const struct aqm_factors *first = &e->factors[0];
	json_t *config = constant_config(shape_of(e)->decoder_layers ? "SEQ_2_SEQ_LM" : "CAUSAL_LM");
	json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object();

	fill_modules(e, targets, ranks, alphas);
	json_object_set_new(config, "base_model_name_or_path", base_name_json(e));
	json_object_set_new(config, "r", json_integer(first->rank));
	json_object_set_new(config, "lora_alpha", alpha_json(first->scale * (double)first->rank));
	json_object_set_new(config, "lora_dropout", json_real(aqm_policy_config(e->policy)->lora.dropout));
	json_object_set_new(config, "fan_in_fan_out", json_boolean(e->names[0]->layout == AQM_LAYOUT_TRANSPOSED));
	json_object_set_new(config, "target_modules", targets);
	json_object_set_new(config, "rank_pattern", ranks);
	json_object_set_new(config, "alpha_pattern", alphas);
	set_layers(e, config);
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

/* Pair `index`; names as in "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight". */
static int declare_factors(const struct peft_export *e, aqm_safetensors *file, size_t index)
{
	const struct aqm_factors *f = &e->factors[index];
	char pattern[MODULE] = "", module[MODULE] = "";

	module_pattern(pattern, e->names[index]->hf);
	aqm_tensor_name_expand(module, sizeof module, pattern, f->parts[0]->layer);
	char *a = aqm_strprintf("base_model.model.%s.lora_A.weight", module);
	char *b = aqm_strprintf("base_model.model.%s.lora_B.weight", module);
	int code = a && b ? aqm_safetensors_add(file, a, f->rank, f->in) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_safetensors_add(file, b, f->out, f->rank);
	free(a);
	free(b);
	return code;
}

/* buffer, published: room for the largest factor each. */
static int write_factors(const struct peft_export *e, aqm_safetensors *file, size_t index, float *buffer,
                         float *published)
{
	const struct aqm_factors *f = &e->factors[index];
	const size_t row_bytes = (size_t)f->rank * sizeof *buffer;

	aqm_factors_read_a(e->policy, f, buffer);
	int code = aqm_safetensors_write(file, buffer, (size_t)(f->rank * f->in));
	if (code == AQM_OK)
		code = aqm_factors_read_b(e->policy, f, buffer);
	if (code != AQM_OK)
		return code;
	for (int64_t row = 0; row < f->out; row++)
		memcpy(published + aqm_published_row(e->names[index]->layout, shape_of(e)->head_dim, row) * f->rank,
		       buffer + row * f->rank, row_bytes);
	return aqm_safetensors_write(file, published, (size_t)(f->out * f->rank));
}

static int write_adapter(const struct peft_export *e)
{
	const size_t largest = aqm_factors_largest(e->factors, e->count);
	char *path = aqm_path_join(e->folder, adapter_file);
	float *buffer = aqm_malloc_array(largest, sizeof *buffer),
		  *published = aqm_malloc_array(largest, sizeof *published);
	aqm_safetensors *file = NULL;
	int code = path && buffer && published ? aqm_safetensors_new(&file, path) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_safetensors_set(file, "format", "pt");
	for (size_t i = 0; code == AQM_OK && i < e->count; i++)
		code = declare_factors(e, file, i);
	for (size_t i = 0; code == AQM_OK && i < e->count; i++)
		code = write_factors(e, file, i, buffer, published);
	if (code == AQM_OK)
		code = aqm_safetensors_finish(file);
	aqm_safetensors_free(file);
	free(buffer);
	free(published);
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
	"  `PeftModel.from_pretrained(base, FOLDER)` loads it, with `base` the language model of the same weights\n"
	"  in transformers.\n"
	"- `policy.safetensors`: state encoder, embeddings and action head, float32. Its metadata key `manifest` is JSON:\n"
	"  features with units and normalisation, returns, actions, configuration.\n"
	"\n"
	"The policy reads embeddings, not text: w steps of (return-to-go, features, action) tokens go in as\n"
	"`inputs_embeds`, and the action head reads the hidden state at the token of each step's last feature,\n"
	"behind %lld of the base's %lld layers and its final norm.\n"
	"%s";

static const char encoder_format[] =
	"\n"
	"The base has an encoder of %lld layers (%lld of them used) and a decoder: the tokens go into the encoder, and its\n"
	"hidden states go into the decoder both as its `inputs_embeds` and as `encoder_outputs`. The encoder and the\n"
	"decoder's cross-attention are masked %s.\n";
/* clang-format on */

/* Of an encoder and decoder, the layers before the head are the decoder's. Owned by the caller. */
static char *encoder_text(const struct peft_export *e)
{
	const struct aqm_model_shape *shape = shape_of(e);

	if (!shape->decoder_layers)
		return aqm_strdup("");
	return aqm_strprintf(encoder_format, (long long)shape->layers, (long long)shape->used_layers,
	                     aqm_policy_config(e->policy)->model.causal ? "causally, like the decoder itself"
	                                                                : "by nothing, as published");
}

static int write_readme(const struct peft_export *e)
{
	char digest[65];
	int code = aqm_gguf_digest(aqm_policy_gguf(e->policy), digest);

	if (code != AQM_OK)
		return code;
	char *path = aqm_path_join(e->folder, readme_file);
	const struct aqm_model_shape *shape = shape_of(e);
	const bool decodes = shape->decoder_layers > 0;
	char *encoder = encoder_text(e), *text = NULL;
	if (encoder)
		text = aqm_strprintf(readme_format, AQM_VERSION, shape->architecture, digest,
		                     (long long)(decodes ? shape->used_decoder_layers : shape->used_layers),
		                     (long long)(decodes ? shape->decoder_layers : shape->layers), encoder);
	code = path && text ? aqm_file_write(path, text, strlen(text)) : AQM_ERUN;
	free(encoder);
	free(text);
	free(path);
	return code;
}

/* ---- all of it ---- */

int aqm_export_peft(aqm_policy *policy, const char *path)
{
	struct peft_export e = {.policy = policy};
	struct aqm_atomic_folder folder = {0};
	int code = aqm_factors_collect(policy, "a PEFT adapter", &e.factors, &e.count);

	if (code == AQM_OK)
		code = find_names(&e);
	if (code == AQM_OK) {
		e.manifest = aqm_export_manifest(policy);
		code = e.manifest ? aqm_atomic_folder_open(&folder, path, all_files) : AQM_ERUN;
	}
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
	free(e.names);
	free(e.factors);
	return code;
}
