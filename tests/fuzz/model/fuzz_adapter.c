/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An adapter for a tiny base, which the first byte chooses: of PEFT, adapter_config.json up to a NUL and then
 * adapter_model.safetensors; or, from 4 on, GGUF. Whatever opens has settings that hold it, and is loaded into a model
 * of these.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"
#include "model/adapter_internal.h"
#include "model/synth.h"

enum { BASES = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static aqm_device *device;
static aqm_gguf *bases[BASES];

static void insist(bool right)
{
	if (!right)
		abort();
}

static void make_bases(void)
{
	static const char *const presets[BASES] = {"tiny-llama", "tiny-gpt2", "tiny-opt", "tiny-t5"};
	char folder[] = "/tmp/fuzz_adapter_XXXXXX", path[64];

	insist(mkdtemp(folder) != NULL);
	snprintf(path, sizeof path, "%s/base.gguf", folder);
	aqm_threads_set(1);
	insist(aqm_device_open(&device, AQM_DEVICE_CPU) == AQM_OK);
	for (int i = 0; i < BASES; i++) {
		insist(aqm_model_synth(presets[i], AQM_F16, 1, path) == AQM_OK);
		insist(aqm_gguf_open(&bases[i], path) == AQM_OK);
		unlink(path);
	}
	rmdir(folder);
}

static void load(const aqm_adapter_file *file, aqm_gguf *base)
{
	struct aqm_model_options options = {0};
	struct aqm_params params;
	aqm_model *model = NULL;

	if (aqm_adapter_file_options(file, device, &options) != AQM_OK)
		return;
	insist(options.rank > 0 && options.targets != 0 && options.alpha >= 0);
	aqm_params_init(&params, device);
	insist(aqm_model_open(&model, device, base, &options, &params) == AQM_OK);
	insist(aqm_params_allocate(&params, false, 1) == AQM_OK);
	(void)aqm_adapter_file_load(file, model, &params, true);
	int code = aqm_adapter_file_load(file, model, &params, false);
	insist(code == AQM_OK || code == AQM_EDATA); /* numbers that are not finite */
	aqm_model_free(model);
	aqm_params_release(&params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	aqm_adapter_file *file = NULL;

	if (!device)
		make_bases();
	if (size < 2 || data[0] >= 2 * BASES)
		return 0;
	aqm_gguf *base = bases[data[0] % BASES];
	const uint8_t *config = data + 1, *end = memchr(config, 0, size - 1);
	const bool peft = data[0] < BASES;

	if (peft && !end)
		return 0;
	const uint8_t *from = peft ? end + 1 : config;
	const size_t bytes = (size_t)(data + size - from);
	uint8_t *aligned = malloc(bytes + 1); /* as a mapping is */

	memcpy(aligned, from, bytes);
	if (aqm_adapter_file_open_memory(&file, base, peft ? (const char *)config : NULL, peft ? (size_t)(end - config) : 0,
	                                 aligned, bytes) == AQM_OK) {
		load(file, base);
		aqm_adapter_file_free(file);
	}
	free(aligned);
	return 0;
}
