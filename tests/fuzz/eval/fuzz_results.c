/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Results of a closed loop of any bytes are refused in one line, or are runs with a name each; what ends in the middle of
 * a line is left out.
 */
#include <stdlib.h>
#include <string.h>

#include "eval/closed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_closed_results results = {0};
	size_t whole;
	int code = aqm_closed_results_parse(&results, "fuzz", (const char *)data, size, "balanced", &whole);

	if (whole > size || (whole && data[whole - 1] != '\n'))
		abort();
	if (code != AQM_OK && (!*aqm_error_message() || strchr(aqm_error_message(), '\n')))
		abort();
	if (code == AQM_OK && whole < size && memchr(data + whole, '\n', size - whole))
		abort();
	for (size_t i = 0; i < results.count; i++)
		if (strlen(results.runs[i].key) != AQM_CLOSED_KEY - 1 || !results.runs[i].cell || !results.runs[i].aqm ||
		    results.runs[i].points > AQM_SERIES_MAX || (results.runs[i].points > 0) != (results.runs[i].series[0] != NULL))
			abort();
	for (size_t i = 0; i < results.time_count; i++)
		if (!(results.times[i].mean > 0))
			abort();
	aqm_closed_results_release(&results);
	return 0;
}
