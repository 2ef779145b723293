/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy.h5: the user block and its check sum, which keep damaged files away from libhdf5; what passes is loaded.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "aqmtrain/policy.h"
#include "policy/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	aqm_policy *policy;

	if (aqm_policy_file_check("input", data, size) != AQM_OK)
		return 0;
	int fd = memfd_create("policy", MFD_CLOEXEC);
	if (fd < 0)
		return 0;
	if (write(fd, data, size) == (ssize_t)size) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (aqm_policy_load(&policy, path, NULL, AQM_DEVICE_CPU) == AQM_OK)
			aqm_policy_free(policy);
	}
	close(fd);
	return 0;
}
