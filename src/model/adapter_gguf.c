/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A LoRA adapter in GGUF, as llama.cpp reads it (src/llama-adapter.cpp): tensors "<base tensor>.lora_a" ne = [in, r] and
 * "<base tensor>.lora_b" ne = [r, out], scaled by adapter.lora.alpha / r, or by 1 where alpha is absent or 0.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/adapter_internal.h"

static int check_metadata(struct aqm_adapter_file *file)
{
	static const struct {
		const char *key, *expected;
	} strings[] = {{"general.type", "adapter"}, {"adapter.type", "lora"}};
	const char *path = file->path, *found, *architecture;
	int code;

	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		code = aqm_gguf_get_string(file->gguf, strings[i].key, &found);
		if (code != AQM_OK || strcmp(found, strings[i].expected) != 0)
			return aqm_error_set(AQM_EDATA, "'%s' is no LoRA adapter: '%s' is %s; expected %s", path, strings[i].key,
			                     code == AQM_OK ? found : "absent", strings[i].expected);
	}
	if (aqm_gguf_get_string(file->base, "general.architecture", &architecture) != AQM_OK)
		return AQM_EDATA;
	code = aqm_gguf_get_string(file->gguf, "general.architecture", &found);
	if (code != AQM_OK || strcmp(found, architecture) != 0)
		return aqm_error_set(AQM_EDATA, "'%s' is an adapter of architecture '%s'; the base model is a %s", path,
		                     code == AQM_OK ? found : "unknown", architecture);
	code = aqm_gguf_get_float(file->gguf, "adapter.lora.alpha", &file->alpha);
	if (code == AQM_ENOTFOUND) {
		file->alpha = 0;
		code = AQM_OK;
	}
	if (code == AQM_OK && !(isfinite(file->alpha) && file->alpha >= 0))
		code = aqm_error_set(AQM_EDATA, "'%s': 'adapter.lora.alpha' is %g", path, file->alpha);
	return code;
}

/* "<base tensor>.lora_a" -> the pair, and which of its factors; NULL when it is none. */
static struct aqm_factor_pair *find_pair(struct aqm_adapter_file *file, const char *name, bool *is_b, int *code)
{
	const size_t length = strlen(name), tail = strlen(".lora_a");
	char base[96];

	*code = AQM_OK;
	if (length <= tail || length - tail >= sizeof base)
		return NULL;
	*is_b = strcmp(name + length - tail, ".lora_b") == 0;
	if (!*is_b && strcmp(name + length - tail, ".lora_a") != 0)
		return NULL;
	snprintf(base, sizeof base, "%.*s", (int)(length - tail), name);
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(file->base, base);

	if (!tensor)
		return NULL;
	struct aqm_factor_pair *pair = aqm_adapter_file_pair(file, tensor);

	if (!pair)
		*code = AQM_ERUN;
	return pair;
}

int aqm_adapter_read_gguf(struct aqm_adapter_file *file)
{
	int code = check_metadata(file);

	for (size_t i = 0; code == AQM_OK && i < aqm_gguf_tensors(file->gguf); i++) {
		const struct aqm_gguf_tensor *tensor = aqm_gguf_tensor(file->gguf, i);
		bool is_b = false;
		struct aqm_factor_pair *pair = find_pair(file, tensor->name, &is_b, &code);

		if (code != AQM_OK)
			return code;
		if (!pair || tensor->ne[2] != 1 || tensor->ne[3] != 1 || !aqm_dtype_traits(tensor->dtype)) {
			aqm_adapter_file_list(file, tensor->name);
			continue;
		}
		*(is_b ? &pair->b : &pair->a) =
			(struct aqm_factor){.gguf = tensor, .rows = tensor->ne[1], .cols = tensor->ne[0]};
		pair->shown = tensor->name;
		if (is_b)
			pair->scale = file->alpha > 0 ? file->alpha / (double)tensor->ne[0] : 1;
	}
	return code;
}
