/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/error.h"

static void *no_memory(size_t count, size_t size)
{
	aqm_error_set(AQM_ERUN, "no memory for %zu items of %zu bytes", count, size);
	return NULL;
}

void *aqm_malloc_array(size_t count, size_t size)
{
	size_t bytes;

	if (aqm_size_mul_overflows(count, size, &bytes))
		return no_memory(count, size);
	void *p = malloc(bytes ? bytes : 1);
	return p ? p : no_memory(count, size);
}

void *aqm_calloc_array(size_t count, size_t size)
{
	size_t bytes;

	if (aqm_size_mul_overflows(count, size, &bytes))
		return no_memory(count, size);
	void *p = calloc(1, bytes ? bytes : 1);
	return p ? p : no_memory(count, size);
}

void *aqm_realloc_array(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (aqm_size_mul_overflows(count, size, &bytes))
		return no_memory(count, size);
	void *p = realloc(old, bytes ? bytes : 1);
	return p ? p : no_memory(count, size);
}

char *aqm_strdup(const char *s)
{
	char *copy = strdup(s);

	return copy ? copy : no_memory(strlen(s) + 1, 1);
}

char *aqm_strprintf(const char *format, ...)
{
	char *text;
	va_list arguments;

	va_start(arguments, format);
	int n = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (n < 0) {
		aqm_error_set(AQM_ERUN, "no memory for a line of text");
		return NULL;
	}
	return text;
}
