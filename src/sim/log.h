/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Kernel logs of a run: lines as the FreeBSD kernel prints them and syslogd writes them (dn_sched_l4s.c), so
 * that `pool parse` reads back the same records.
 */
#ifndef AQM_SIM_LOG_H
#define AQM_SIM_LOG_H

#include "aqmtrain/sim.h"

struct aqm_log_writer;

/* Opens the log, beside its name until the commit; compressed where the name ends in .gz or .bz2. Fills in the sink.
 * With `chatter`: other messages between the records, lines that another processor's text has torn, and repeats that
 * syslogd folds into one. */
int aqm_log_writer_open(struct aqm_log_writer **out, struct aqm_sim_sink *sink, const char *path, bool chatter,
                        uint64_t seed);
int aqm_log_writer_commit(struct aqm_log_writer *writer);
/* Removes what is not committed. NULL is fine. */
void aqm_log_writer_free(struct aqm_log_writer *writer);

#endif
