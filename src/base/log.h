/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Messages from library code. They go nowhere until cli/ installs a sink: only cli/ prints.
 */
#ifndef AQM_BASE_LOG_H
#define AQM_BASE_LOG_H

#include "aqmtrain/error.h"

enum aqm_log_level { AQM_LOG_DEBUG, AQM_LOG_INFO, AQM_LOG_WARNING };

typedef void (*aqm_log_sink)(void *context, enum aqm_log_level level, const char *line);

/* One sink a process; NULL silences. Set before threads start. */
void aqm_log_set_sink(aqm_log_sink sink, void *context);
void aqm_log(enum aqm_log_level level, const char *format, ...) AQM_PRINTF(2, 3);
#define aqm_log_info(...) aqm_log(AQM_LOG_INFO, __VA_ARGS__)
#define aqm_log_warning(...) aqm_log(AQM_LOG_WARNING, __VA_ARGS__)

#endif
