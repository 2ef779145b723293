/* SPDX-License-Identifier: BSD-2-Clause */
/* A config file of any bytes is refused, or read, dumped, and read back to the same dump. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dump(const struct aqm_config *config)
{
	char *text;

	if (aqm_config_dump(config, &text) != AQM_OK)
		abort();
	return text;
}

static void read_back(const struct aqm_config *config)
{
	struct aqm_config again;
	char *first = dump(config);

	if (aqm_config_init(&again) != AQM_OK || aqm_config_parse(&again, "dump", first, strlen(first)) != AQM_OK)
		abort();
	char *second = dump(&again);
	if (strcmp(first, second) != 0)
		abort();
	aqm_config_release(&again);
	free(first);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_config config;
	char *assignment = malloc(size + 1);

	if (!assignment || aqm_config_init(&config) != AQM_OK)
		abort();
	if (aqm_config_parse(&config, "fuzz", data, size) == AQM_OK) {
		(void)aqm_config_check(&config);
		read_back(&config);
	} else if (!*aqm_error_message()) {
		abort();
	}
	if (size)
		memcpy(assignment, data, size);
	assignment[size] = '\0';
	if (aqm_config_set(&config, assignment) == AQM_OK)
		read_back(&config);
	aqm_config_release(&config);
	free(assignment);
	return 0;
}
