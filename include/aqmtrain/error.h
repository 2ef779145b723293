/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Errors.
 *
 * Library functions that can fail return 0 on success or one of the negative codes below, and leave one
 * line of text for the user: what failed, where, and what was expected. The line is kept per thread. Error text is
 * lower case, has no full stop, and quotes its subject: "cannot read 'x.gguf': ...".
 */
#ifndef AQMTRAIN_ERROR_H
#define AQMTRAIN_ERROR_H

#include "aqmtrain/aqmtrain.h" /* the codes, and aqm_error_message() */

#if defined(__GNUC__)
#define AQM_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#define AQM_MUST_CHECK __attribute__((warn_unused_result))
#else
#define AQM_PRINTF(format_index, first_argument)
#define AQM_MUST_CHECK
#endif

/* Store the message of the calling thread and return `code`, so that a failure is one statement:
 *     return aqm_error_set(AQM_EDATA, "cannot read '%s': ends after %zu bytes", path, n);            */
int aqm_error_set(int code, const char *format, ...) AQM_PRINTF(2, 3);

/* As aqm_error_set, with ": <strerror(errno)>" appended. */
int aqm_error_errno(int code, const char *format, ...) AQM_PRINTF(2, 3);

/* Put context in front of the stored message ("<context>: <message>") and return `code` unchanged. */
int aqm_error_context(int code, const char *format, ...) AQM_PRINTF(2, 3);

/* The process exit status for a code (design: 0 done, 1 failed, 2 usage, 3 data, 130 interrupted). */
int aqm_exit_status(int code);

#endif
