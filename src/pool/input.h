/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inputs of the parser: which files, in what order, and their bytes.
 */
#ifndef AQM_POOL_INPUT_H
#define AQM_POOL_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- which files ----
 *
 * A rotated set is a folder's files of one base name: messages, messages.0, messages.1.gz, messages.2.bz2,
 * messages-20240812 and messages.20240812T000000.bz2 are one set. In it the oldest comes first: high numbers before
 * low ones, early dates before late ones, the bare name last. */

struct aqm_log_file {
	char *path;     /* owned; "-" is standard input */
	uint32_t set;   /* files of one set share it; sets are in the order of their first mention */
	uint64_t bytes; /* 0 where unknown */
	bool in_folder; /* found in a folder, not named by the user: it may be no log at all */
};

struct aqm_log_files {
	struct aqm_log_file *files; /* in the order to read them */
	size_t count;
};

int aqm_log_files_find(struct aqm_log_files *list, const char *const *paths, size_t count);
void aqm_log_files_release(struct aqm_log_files *list);

/* ---- their bytes ---- */

typedef struct aqm_source aqm_source;

/* Open a file, "-" or a pipe; gzip and bzip2 are told by their first bytes. */
int aqm_source_open(aqm_source **out, const char *path);
void aqm_source_close(aqm_source *source);
/* Decompressed bytes: *bytes of them, 0 at the end. */
int aqm_source_read(aqm_source *source, void *buffer, size_t capacity, size_t *bytes);
/* After the end: length and SHA-256 of the file as it lies on the disk. */
void aqm_source_digest(aqm_source *source, uint64_t *bytes, char sha256[65]);
/* For progress: bytes of the file read so far, and all of them (0 = unknown). */
uint64_t aqm_source_position(const aqm_source *source);
uint64_t aqm_source_size(const aqm_source *source);

#endif
