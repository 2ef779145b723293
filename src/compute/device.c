/* SPDX-License-Identifier: BSD-2-Clause */
#include "compute/device.h"

#include <stdlib.h>

#include "base/log.h"
#include "compute/cpu/cpu.h"

int aqm_device_open(aqm_device **out, enum aqm_device_kind kind)
{
	*out = NULL;
	if (kind == AQM_DEVICE_CUDA)
		return aqm_error_set(AQM_ERUN, "cannot use device 'cuda': this build has no CUDA");
	if (kind == AQM_DEVICE_AUTO)
		aqm_log_info("device: cpu (this build has no CUDA)");

	aqm_device *device = calloc(1, sizeof *device);

	if (!device)
		return aqm_error_set(AQM_ERUN, "not enough memory for a device");
	int code = aqm_cpu_open(device);

	if (code != AQM_OK) {
		free(device);
		return code;
	}
	*out = device;
	return AQM_OK;
}

void aqm_device_close(aqm_device *device)
{
	if (!device)
		return;
	device->ops->close(device);
	free(device);
}

int aqm_device_check(aqm_device *device)
{
	return device->ops->check(device);
}
