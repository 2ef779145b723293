/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a GGUF file: opened, described, every tensor touched and its first block expanded. */
#include <stdint.h>
#include <stdlib.h>

#include "aqmtrain/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void describe(const aqm_gguf *gguf)
{
	for (int json = 0; json < 2; json++) {
		char *text = NULL;

		if (aqm_gguf_info(gguf, json, &text) != AQM_OK)
			abort(); /* whatever opens can be described */
		free(text);
	}
}

static void look_up(const aqm_gguf *gguf)
{
	const char *keys[] = {"general.architecture", "general.alignment", "llama.block_count", "llama.rope.freq_base"};
	const char *text;
	int64_t integer;
	double real;
	bool flag;

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		(void)aqm_gguf_get_string(gguf, keys[i], &text);
		(void)aqm_gguf_get_int(gguf, keys[i], &integer);
		(void)aqm_gguf_get_float(gguf, keys[i], &real);
		(void)aqm_gguf_get_bool(gguf, keys[i], &flag);
	}
}

static void touch(const struct aqm_gguf_tensor *tensor)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(tensor->dtype);
	const volatile uint8_t *data = tensor->data;
	float out[256];

	if (tensor->bytes)
		(void)(data[0] + data[tensor->bytes - 1]);
	if (traits)
		traits->expand(tensor->data, out, traits->block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	aqm_gguf *gguf = NULL;

	if (aqm_gguf_open_memory(&gguf, data, size, "fuzz.gguf") != AQM_OK)
		return 0;
	describe(gguf);
	look_up(gguf);
	for (size_t i = 0; i < aqm_gguf_tensors(gguf); i++) {
		const struct aqm_gguf_tensor *tensor = aqm_gguf_tensor(gguf, i);

		if (aqm_gguf_find(gguf, tensor->name) != tensor)
			abort();
		touch(tensor);
	}
	aqm_gguf_free(gguf);
	return 0;
}
