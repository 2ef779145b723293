/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Files. What we write goes to a temporary name beside its destination, is synced, and then renamed: a reader sees the
 * old file or the whole new one, and a full disk loses nothing.
 */
#ifndef AQM_BASE_FILE_H
#define AQM_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct aqm_atomic_file {
	FILE *stream;         /* write here; NULL when the temporary is opened by someone else (HDF5) */
	char *path;           /* destination */
	char *temporary_path; /* beside it */
};

/* Open a temporary file beside `path` for writing. 0 or AQM_ERUN with a message that names `path`; AQM_EUSAGE where it is
 * empty, or "-", which elsewhere is a stream. */
int aqm_atomic_open(struct aqm_atomic_file *file, const char *path);
/* Only choose the temporary name, for a library that opens files itself. Commit syncs and renames it all the same. */
int aqm_atomic_reserve(struct aqm_atomic_file *file, const char *path);
/* Whether the disk has room for that many bytes of a temporary that a library will write: libhdf5 recovers badly from one
 * that fills up under it. Leaves an empty or too long file behind, to be truncated. */
int aqm_atomic_check_room(const struct aqm_atomic_file *file, size_t bytes);
/* Flush, sync, rename, sync the folder. On failure the temporary is removed and the old file stays; only when the last
 * of these fails, the new file is there, but may not outlive a power cut. */
int aqm_atomic_commit(struct aqm_atomic_file *file);
/* Remove the temporary; harmless after a commit or on a zeroed struct. */
void aqm_atomic_abort(struct aqm_atomic_file *file);
/* fwrite with an error message that names the destination. */
int aqm_atomic_write(struct aqm_atomic_file *file, const void *data, size_t bytes);

/* Read a whole file of at most `limit` bytes into fresh memory (NUL-terminated beyond its end). Owned by the caller. */
int aqm_file_read(const char *path, size_t limit, char **data, size_t *bytes);
/* Write a whole file atomically. */
int aqm_file_write(const char *path, const void *data, size_t bytes);
/* Create a folder and its parents; existing ones are fine. */
int aqm_make_folders(const char *path);
/* Remove a folder and everything in it; a missing one is fine. Follows no links. */
int aqm_remove_tree(const char *path);
/* fsync a folder, so that names in it survive a crash. */
int aqm_sync_folder(const char *path);
/* "a" + "/" + "b", owned by the caller. */
char *aqm_path_join(const char *a, const char *b);
bool aqm_path_exists(const char *path);
/* Do both name the same file, by links too? Where neither is there yet: the same name in the same folder. */
bool aqm_path_same(const char *a, const char *b);
/* AQM_EUSAGE where `output` is the file that is read: its contents would be gone. */
int aqm_path_spare(const char *input, const char *output);

/* A read-only private mapping. Empty files map to a valid, empty range. */
struct aqm_mapping {
	const uint8_t *data;
	size_t bytes;
};
int aqm_map_file(struct aqm_mapping *mapping, const char *path);
void aqm_unmap(struct aqm_mapping *mapping);

/* SHA-256, streaming (libcrypto). */
typedef struct aqm_sha256 aqm_sha256;
int aqm_sha256_new(aqm_sha256 **out);
void aqm_sha256_update(aqm_sha256 *hash, const void *data, size_t bytes);
/* 64 hexadecimal digits and a NUL; frees the hash. */
void aqm_sha256_finish(aqm_sha256 *hash, char hex[65]);
int aqm_sha256_file(const char *path, char hex[65]);

#endif
