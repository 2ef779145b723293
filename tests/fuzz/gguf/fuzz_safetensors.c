/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a safetensors file: opened, every tensor found by its name, touched at both ends and read. */
#include <stdint.h>
#include <stdlib.h>

#include "gguf/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const aqm_safetensors_reader *reader, const struct aqm_safetensors_tensor *tensor)
{
	const volatile uint8_t *bytes = tensor->data;
	float number;

	if (aqm_safetensors_find(reader, tensor->name) != tensor)
		abort();
	if (tensor->bytes)
		(void)(bytes[0] + bytes[tensor->bytes - 1]);
	if (tensor->readable && tensor->elements)
		aqm_safetensors_read(tensor, tensor->elements - 1, 1, &number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	aqm_safetensors_reader *reader = NULL;

	if (aqm_safetensors_open_memory(&reader, data, size, "fuzz.safetensors") != AQM_OK)
		return 0;
	(void)aqm_safetensors_metadata(reader, "format");
	for (size_t i = 0; i < aqm_safetensors_tensors(reader); i++)
		touch(reader, aqm_safetensors_tensor(reader, i));
	aqm_safetensors_close(reader);
	return 0;
}
