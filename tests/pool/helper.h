/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of pool share: a scratch folder, files in it, and lines of a log.
 */
#ifndef AQM_TESTS_POOL_HELPER_H
#define AQM_TESTS_POOL_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "aqmtrain/pool.h"
#include "pool/parse.h"

/* cmocka group set-up and tear-down: a fresh scratch folder. */
int helper_setup(void **state);
int helper_teardown(void **state);
/* "<scratch>/<name>"; valid until 64 more calls. */
const char *helper_path(const char *name);
/* Write a file into the scratch folder; its path. */
const char *helper_file(const char *name, const void *data, size_t bytes);
const char *helper_text_file(const char *name, const char *text);
const char *helper_gzip_file(const char *name, const char *text);
const char *helper_bzip2_file(const char *name, const char *text);

/* A line of a log without its newline: 24 fields (23 without pkt_len), action as the kernel writes it (1, 2, 3). */
struct helper_line {
	const char *head; /* NULL: "Aug 12 10:00:00 aqm-router-1 kernel: " */
	const char *aqm;  /* NULL: "l4s" */
	unsigned queue, burst, sflags, action, pkt_len;
	unsigned long tot_pkts;
	int fields; /* 0: 24 */
};
/* Append to `text` of `size` bytes. */
void helper_line(char *text, size_t size, const struct helper_line *line);

/* Scan a text, keeping up to `room` records. */
struct aqm_parse_counts helper_scan(const char *text, struct aqm_log_record *records, size_t room);
/* The same, in pieces of `step` bytes. */
struct aqm_parse_counts helper_scan_in_steps(const char *text, size_t step, struct aqm_log_record *records, size_t room);

#endif
