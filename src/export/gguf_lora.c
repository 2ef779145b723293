/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A LoRA adapter in GGUF, as llama.cpp reads it (src/llama-adapter.cpp): metadata general.type = adapter,
 * general.architecture = the base's, adapter.type = lora, adapter.lora.alpha; tensors "<base tensor>.lora_a" ne =
 * [in, r], "<base tensor>.lora_b" ne = [r, out], and no others. It computes (alpha / r) B A x, with one alpha for all
 * and r from each lora_b.
 */
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "base/size.h"
#include "export/factors.h"

/* One alpha for tensors of several ranks (gpt2: fused q, k, v beside other targets): what alpha / rank is more or less
 * than the tensor's scale goes into B. So that this is a power of two, and B comes back bit by bit, three parts are
 * written with the rank of four, the last of zeros. */
struct layout {
	double alpha;
	bool mixed;
};

static int64_t written_rank(const struct layout *layout, const struct aqm_factors *f)
{
	return layout->mixed && f->count == 3 ? 4 * f->parts[0]->rank : f->rank;
}

static struct layout plan(const struct aqm_factors *factors, size_t count)
{
	struct layout layout = {0};

	for (size_t i = 1; i < count; i++)
		layout.mixed |= factors[i].rank != factors[0].rank;
	layout.alpha = factors[0].scale * (double)written_rank(&layout, &factors[0]);
	return layout;
}

static int declare(aqm_gguf_writer *writer, const struct aqm_factors *f, int64_t rank)
{
	const char *name = f->parts[0]->gguf_name;
	char *a = aqm_strprintf("%s.lora_a", name), *b = aqm_strprintf("%s.lora_b", name);
	int code =
		a && b ? aqm_gguf_writer_add_tensor(writer, a, AQM_F32, 2, (const int64_t[]){f->in, rank, 1, 1}) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_gguf_writer_add_tensor(writer, b, AQM_F32, 2, (const int64_t[]){rank, f->out, 1, 1});
	free(a);
	free(b);
	return code;
}

/* numbers, row: room for the largest factor, and one row of the written rank or of zeros. */
static int write_factors(aqm_gguf_writer *writer, aqm_policy *policy, const struct aqm_factors *f,
                         const struct layout *layout, float *numbers, float *row)
{
	const int64_t rank = written_rank(layout, f);
	const float rest = (float)(f->scale * (double)rank / layout->alpha);

	aqm_factors_read_a(policy, f, numbers);
	int code = aqm_gguf_writer_write_floats(writer, numbers, (size_t)(f->rank * f->in));
	memset(row, 0, (size_t)(f->in > rank ? f->in : rank) * sizeof *row);
	for (int64_t i = f->rank; code == AQM_OK && i < rank; i++)
		code = aqm_gguf_writer_write_floats(writer, row, (size_t)f->in);
	if (code == AQM_OK)
		code = aqm_factors_read_b(policy, f, numbers);
	for (int64_t i = 0; code == AQM_OK && i < f->out; i++) {
		for (int64_t k = 0; k < f->rank; k++)
			row[k] = rest * numbers[i * f->rank + k];
		code = aqm_gguf_writer_write_floats(writer, row, (size_t)rank);
	}
	return code;
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
	int code = aqm_path_spare(aqm_gguf_path(aqm_policy_gguf(policy)), path);

	if (code == AQM_OK)
		code = aqm_factors_collect(policy, "a LoRA adapter in GGUF", &factors, &count);
	if (code != AQM_OK)
		return code;
	const struct layout layout = plan(factors, count);
	const size_t largest = aqm_factors_largest(factors, count);
	float *numbers = aqm_malloc_array(largest, sizeof *numbers), *row = aqm_malloc_array(2 * largest, sizeof *row);
	code = numbers && row ? aqm_gguf_writer_new(&writer, path) : AQM_ERUN;
	if (code == AQM_OK && !(layout.alpha > 0)) /* llama.cpp would take 0 as "absent", a scale of 1 */
		code = aqm_error_set(AQM_EUSAGE, "cannot write '%s': lora.alpha is 0, which llama.cpp does not know", path);
	if (code == AQM_OK)
		code = set_metadata(writer, policy, layout.alpha);
	for (size_t i = 0; code == AQM_OK && i < count; i++)
		code = declare(writer, &factors[i], written_rank(&layout, &factors[i]));
	for (size_t i = 0; code == AQM_OK && i < count; i++)
		code = write_factors(writer, policy, &factors[i], &layout, numbers, row);
	if (code == AQM_OK)
		code = aqm_gguf_writer_finish(writer);
	aqm_gguf_writer_free(writer);
	free(row);
	free(numbers);
	free(factors);
	return code;
}
