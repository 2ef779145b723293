/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Any line of students.jsonl is refused in one line, or is a student that can be written again and is then the same.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "distill/student.h"
#include "distill/sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(double a, double b)
{
	return a == b || (!isfinite(a) && !isfinite(b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_distilled made, again;
	char key[AQM_KEPT_KEY], key_again[AQM_KEPT_KEY], *line;
	int code = aqm_kept_parse((const char *)data, size, key, &made);

	if (code != AQM_OK && (!*aqm_error_message() || strchr(aqm_error_message(), '\n') || made.student))
		abort();
	if (code != AQM_OK || !*key)
		return 0;
	if (strlen(key) != AQM_KEPT_KEY - 1 || !made.student || made.ranks < 1)
		abort();
	if (aqm_kept_print(&made, key, &line) != AQM_OK || strchr(line, '\n') ||
	    aqm_kept_parse(line, strlen(line), key_again, &again) != AQM_OK)
		abort();
	if (strcmp(key, key_again) != 0 || made.rows != again.rows || made.ranks != again.ranks ||
	    !same(made.utility, again.utility))
		abort();
	free(line);
	aqm_student_free(again.student);
	aqm_student_free(made.student);
	return 0;
}
