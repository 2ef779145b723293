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

/* code, process exit status, meaning. One list gives the enum and the exit statuses (aqm_exit_status). */
#define AQM_ERROR_MAP(XX)                                                   \
	XX(ERUN, -1, 1, "failed while running (disk full, diverged, no memory)") \
	XX(EUSAGE, -2, 2, "wrong command line or config")                       \
	XX(EDATA, -3, 3, "unusable input data")                                 \
	XX(EINTERRUPTED, -4, 130, "interrupted, work saved")                     \
	XX(ENOTFOUND, -5, 3, "no such key, tensor or field")

enum aqm_error {
	AQM_OK = 0,
#define XX(name, code, status, text) AQM_##name = code,
	AQM_ERROR_MAP(XX)
#undef XX
};

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

/* The calling thread's last message; "" if none. Valid until the thread's next error. */
const char *aqm_error_message(void);

/* The process exit status for a code (design: 0 done, 1 failed, 2 usage, 3 data, 130 interrupted). */
int aqm_exit_status(int code);

#endif
