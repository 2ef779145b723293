/* SPDX-License-Identifier: BSD-2-Clause */
#include "aqmtrain/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char message[MESSAGE_BYTES];

/* Names that come out of files may hold anything; a message stays one printable line. */
static void store(const char *text)
{
	size_t i;

	for (i = 0; i + 1 < sizeof message && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		message[i] = c < 0x20 || c == 0x7f ? '?' : text[i];
	}
	message[i] = '\0';
}

int aqm_error_set(int code, const char *format, ...)
{
	char text[MESSAGE_BYTES]; /* apart from message: an argument may be the old message */
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	store(text);
	return code;
}

int aqm_error_errno(int code, const char *format, ...)
{
	int number = errno;
	char text[MESSAGE_BYTES], reason[128];
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (n >= 0 && (size_t)n < sizeof text)
		snprintf(text + n, sizeof text - (size_t)n, ": %s", strerror_r(number, reason, sizeof reason));
	store(text);
	return code;
}

int aqm_error_context(int code, const char *format, ...)
{
	char text[2 * MESSAGE_BYTES];
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (n >= 0 && (size_t)n < sizeof text)
		snprintf(text + n, sizeof text - (size_t)n, ": %s", message);
	store(text);
	return code;
}

const char *aqm_error_message(void)
{
	return message;
}

int aqm_exit_status(int code)
{
	switch (code) {
	case AQM_OK:
		return 0;
	case AQM_EUSAGE:
		return 2;
	case AQM_EDATA:
	case AQM_ENOTFOUND:
		return 3;
	case AQM_EINTERRUPTED:
		return 130;
	default:
		return 1;
	}
}
