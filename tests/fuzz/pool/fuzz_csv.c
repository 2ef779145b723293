/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Any text is a CSV file, or an error of one line.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pool/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t rows;
	int code = aqm_csv_buffer("fuzz", (const char *)data, size, &rows);

	if (code != AQM_OK && code != AQM_EDATA)
		abort();
	if (code == AQM_EDATA &&
	    (strncmp(aqm_error_message(), "cannot read 'fuzz': ", 20) != 0 || strchr(aqm_error_message(), '\n')))
		abort();
	if (code == AQM_OK && rows == 0)
		abort();
	return 0;
}
