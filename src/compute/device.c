/* SPDX-License-Identifier: BSD-2-Clause */
#include "compute/device.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "compute/cpu/cpu.h"

#ifdef AQM_HAVE_CUDA
#include "compute/cuda/cuda.h"
#else
static int aqm_cuda_open(aqm_device *device)
{
	(void)device;
	return aqm_error_set(AQM_ERUN, "cannot use device 'cuda': this build has no CUDA");
}
#endif

/* Why there is no GPU; devices are opened more than once. */
static void say_once(const char *why)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&said))
		aqm_log_info("device: cpu (%s)", why);
}

static int preferred;

void aqm_device_prefer(int index)
{
	preferred = index;
}

int aqm_device_preferred(void)
{
	return preferred;
}

int aqm_device_open(aqm_device **out, enum aqm_device_kind kind)
{
	aqm_device *device = calloc(1, sizeof *device);
	int code = AQM_ERUN;

	*out = NULL;
	if (!device)
		return aqm_error_set(AQM_ERUN, "not enough memory for a device");
	if (kind != AQM_DEVICE_CPU) {
		code = aqm_cuda_open(device);
		device->own_memory = code == AQM_OK;
	}
	if (kind == AQM_DEVICE_AUTO && code != AQM_OK)
		say_once(aqm_error_message());
	if (kind != AQM_DEVICE_CUDA && code != AQM_OK)
		code = aqm_cpu_open(device);
	if (code != AQM_OK) {
		free(device);
		return code;
	}
	*out = device;
	return AQM_OK;
}

int aqm_device_choose(aqm_device *device, enum aqm_activations choice)
{
	bool gpu = device->own_memory;

	if (choice == AQM_ACTIVATIONS_BF16 && !gpu)
		return aqm_error_set(AQM_EUSAGE, "'dtype' is bf16, but the CPU computes in f32");
	device->dtype = choice == AQM_ACTIVATIONS_F32 || !gpu ? AQM_F32 : AQM_BF16;
	return AQM_OK;
}

void aqm_device_close(aqm_device *device)
{
	if (!device)
		return;
	device->ops->close(device);
	free(device);
}

static size_t limit = SIZE_MAX;

void aqm_device_limit(size_t bytes)
{
	limit = bytes;
}

size_t aqm_device_available(aqm_device *device)
{
	size_t available = device->ops->available(device);

	return available < limit ? available : limit;
}

int aqm_device_check(aqm_device *device)
{
	return device->ops->check(device);
}
