/* SPDX-License-Identifier: BSD-2-Clause */
#include "export/factors.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

static struct aqm_factors *find(struct aqm_factors *factors, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(factors[i].parts[0]->gguf_name, name) == 0)
			return &factors[i];
	return NULL;
}

/* The base tensor's rows; the adapter knows only those of its part. */
static int start_factors(aqm_policy *policy, struct aqm_factors *factors, const struct aqm_adapter *adapter)
{
	const struct aqm_gguf_tensor *tensor = aqm_gguf_find(aqm_policy_gguf(policy), adapter->gguf_name);

	if (!tensor)
		return aqm_error_set(AQM_EDATA, "the base model has no tensor '%s'", adapter->gguf_name);
	*factors = (struct aqm_factors){.in = adapter->in, .out = tensor->ne[1], .scale = adapter->scale};
	return AQM_OK;
}

int aqm_factors_collect(aqm_policy *policy, const char *what, struct aqm_factors **out, size_t *count)
{
	const aqm_model *model = aqm_policy_model(policy);
	const size_t adapters = aqm_model_adapters(model);

	*out = NULL;
	*count = 0;
	if (adapters == 0)
		return aqm_error_set(AQM_EUSAGE,
		                     "%s needs LoRA factors, but this policy has none (lora.rank is 0: all weights were "
		                     "trained); --merged writes them",
		                     what);
	struct aqm_factors *factors = aqm_calloc_array(adapters, sizeof *factors);
	if (!factors)
		return AQM_ERUN;
	size_t n = 0;
	for (size_t i = 0; i < adapters; i++) {
		const struct aqm_adapter *adapter = aqm_model_adapter(model, i);
		struct aqm_factors *whole = find(factors, n, adapter->gguf_name);

		if (!whole) {
			whole = &factors[n++];
			if (start_factors(policy, whole, adapter) != AQM_OK) {
				free(factors);
				return AQM_EDATA;
			}
		}
		whole->parts[whole->count++] = adapter;
		whole->rank += adapter->rank;
	}
	*out = factors;
	*count = n;
	return AQM_OK;
}

static void download(aqm_policy *policy, int64_t index, int64_t numbers, float *to)
{
	aqm_device *device = aqm_policy_device(policy);

	device->ops->download(device, to, aqm_params_value(aqm_policy_params(policy), index).data,
	                      (size_t)numbers * sizeof *to);
}

void aqm_factors_read_a(aqm_policy *policy, const struct aqm_factors *factors, float *a)
{
	for (size_t p = 0; p < factors->count; p++) {
		const struct aqm_adapter *part = factors->parts[p];

		download(policy, part->a, part->rank * part->in, a);
		a += part->rank * part->in;
	}
}

int aqm_factors_read_b(aqm_policy *policy, const struct aqm_factors *factors, float *b)
{
	int64_t column = 0;

	memset(b, 0, (size_t)(factors->out * factors->rank) * sizeof *b);
	for (size_t p = 0; p < factors->count; p++) {
		const struct aqm_adapter *part = factors->parts[p];
		float *rows = aqm_malloc_array((size_t)(part->out * part->rank), sizeof *rows);

		if (!rows)
			return AQM_ERUN;
		download(policy, part->b, part->out * part->rank, rows);
		for (int64_t i = 0; i < part->out; i++)
			memcpy(b + (part->row_offset + i) * factors->rank + column, rows + i * part->rank,
			       (size_t)part->rank * sizeof *b);
		free(rows);
		column += part->rank;
	}
	return AQM_OK;
}

size_t aqm_factors_largest(const struct aqm_factors *factors, size_t count)
{
	size_t largest = 0;

	for (size_t i = 0; i < count; i++) {
		const int64_t longer = factors[i].in > factors[i].out ? factors[i].in : factors[i].out;

		if ((size_t)(longer * factors[i].rank) > largest)
			largest = (size_t)(longer * factors[i].rank);
	}
	return largest;
}
