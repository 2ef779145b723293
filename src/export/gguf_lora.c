/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A LoRA adapter in GGUF, as llama.cpp reads it (src/llama-adapter.cpp): metadata general.type = adapter,
 * general.architecture = the base's, adapter.type = lora, adapter.lora.alpha; tensors "<base tensor>.lora_a" ne =
 * [in, r], "<base tensor>.lora_b" ne = [r, out], and no others. It computes (alpha / r) B A x, with one alpha for all
 * and r from each lora_b.
 */
#include <stdlib.h>

#include "aqmtrain/export.h"
#include "base/size.h"
#include "export/factors.h"

static int declare(aqm_gguf_writer *writer, const struct aqm_factors *f)
{
	const char *name = f->parts[0]->gguf_name;
	char *a = aqm_strprintf("%s.lora_a", name), *b = aqm_strprintf("%s.lora_b", name);
	int code =
		a && b ? aqm_gguf_writer_add_tensor(writer, a, AQM_F32, 2, (const int64_t[]){f->in, f->rank, 1, 1}) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_gguf_writer_add_tensor(writer, b, AQM_F32, 2, (const int64_t[]){f->rank, f->out, 1, 1});
	free(a);
	free(b);
	return code;
}

/* Where alpha / rank is not the tensor's scale (gpt2: fused q, k, v beside other targets), the rest goes into B. */
static int write_factors(aqm_gguf_writer *writer, aqm_policy *policy, const struct aqm_factors *f, double alpha,
                         float *buffer)
{
	const size_t b_numbers = (size_t)(f->out * f->rank);
	const float rest = (float)(f->scale * (double)f->rank / alpha);

	aqm_factors_read_a(policy, f, buffer);
	int code = aqm_gguf_writer_write_floats(writer, buffer, (size_t)(f->rank * f->in));
	if (code == AQM_OK)
		code = aqm_factors_read_b(policy, f, buffer);
	if (code != AQM_OK)
		return code;
	if (rest != 1)
		for (size_t i = 0; i < b_numbers; i++)
			buffer[i] *= rest;
	return aqm_gguf_writer_write_floats(writer, buffer, b_numbers);
}

static int set_metadata(aqm_gguf_writer *writer, aqm_policy *policy, double alpha)
{
	int code = aqm_gguf_writer_set_string(writer, "general.architecture",
	                                      aqm_model_shape(aqm_policy_model(policy))->architecture);

	if (code == AQM_OK)
		code = aqm_gguf_writer_set_string(writer, "general.type", "adapter");
	if (code == AQM_OK)
		code = aqm_gguf_writer_set_string(writer, "adapter.type", "lora");
	if (code == AQM_OK)
		code = aqm_gguf_writer_set_f32(writer, "adapter.lora.alpha", (float)alpha);
	return code;
}

int aqm_export_gguf_lora(aqm_policy *policy, const char *path)
{
	struct aqm_factors *factors;
	size_t count;
	aqm_gguf_writer *writer = NULL;
	int code = aqm_factors_collect(policy, "a LoRA adapter in GGUF", &factors, &count);

	if (code != AQM_OK)
		return code;
	const double alpha = factors[0].scale * (double)factors[0].rank;
	float *buffer = aqm_malloc_array(aqm_factors_largest(factors, count), sizeof *buffer);
	code = buffer ? aqm_gguf_writer_new(&writer, path) : AQM_ERUN;
	if (code == AQM_OK && !(alpha > 0)) /* llama.cpp would take 0 as "absent", a scale of 1 */
		code = aqm_error_set(AQM_EUSAGE, "cannot write '%s': lora.alpha is 0, which llama.cpp does not know", path);
	if (code == AQM_OK)
		code = set_metadata(writer, policy, alpha);
	for (size_t i = 0; code == AQM_OK && i < count; i++)
		code = declare(writer, &factors[i]);
	for (size_t i = 0; code == AQM_OK && i < count; i++)
		code = write_factors(writer, policy, &factors[i], alpha, buffer);
	if (code == AQM_OK)
		code = aqm_gguf_writer_finish(writer);
	aqm_gguf_writer_free(writer);
	free(buffer);
	free(factors);
	return code;
}
