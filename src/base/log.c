/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static aqm_log_sink sink;
static void *sink_context;

void aqm_log_set_sink(aqm_log_sink new_sink, void *context)
{
	sink = new_sink;
	sink_context = context;
}

void aqm_log(enum aqm_log_level level, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	if (!sink)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	sink(sink_context, level, line);
}
