/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdint.h>
#include <stdio.h>

#include "train/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A policy of two small parameters, made once. */
static struct aqm_optimizer *optimizer(void)
{
	static struct aqm_params params;
	static struct aqm_optimizer made;
	aqm_device *device;

	if (made.params)
		return &made;
	if (aqm_device_open(&device, AQM_DEVICE_CPU) != AQM_OK)
		return NULL;
	aqm_params_init(&params, device);
	if (aqm_params_add(&params, "one", 5, 4, AQM_INIT_NORMAL, 1, true) < 0 ||
	    aqm_params_add(&params, "two", 1, 3, AQM_INIT_ONE, 1, false) < 0 ||
	    aqm_params_allocate(&params, true, 1) != AQM_OK || aqm_optimizer_init(&made, &params) != AQM_OK)
		return NULL;
	return &made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_train_state state;
	struct aqm_optimizer *target = optimizer();
	FILE *stream = size && target ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;

	if (!stream)
		return 0;
	(void)aqm_checkpoint_read_stream(stream, size, "input", &state, target);
	fclose(stream);
	return 0;
}
