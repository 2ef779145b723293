/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Writing pools: tables of columns in HDF5, streamed. Rows are gathered a chunk at a time; the columns of a full
 * chunk are shuffled and deflated by worker threads, and written as they are (H5Dwrite_chunk) in the order they were
 * filled.
 *
 *   rows -> set of column buffers -> jobs -> workers: shuffle + deflate -> H5Dwrite_chunk
 *           `-- SETS of them, so that filling, deflating and writing overlap --'
 */
#ifndef AQM_POOL_TABLE_H
#define AQM_POOL_TABLE_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "pool/fields.h"
#include "pool/parse.h"

enum { AQM_COLUMNS_MAX = 64, AQM_NAME_MAX = 64, AQM_CHUNK_ROWS = 1 << 16, AQM_DEFAULT_COMPRESSION = 1 };

/* ---- deflating threads ---- */

struct aqm_job {
	const void *raw;   /* `bytes` of items of `item` bytes */
	size_t bytes, item;
	uint8_t *out;      /* room for aqm_job_bound(bytes) */
	size_t out_bytes;
	enum { AQM_JOB_IDLE, AQM_JOB_QUEUED, AQM_JOB_DONE, AQM_JOB_FAILED } state;
	struct aqm_job *next;
};

typedef struct aqm_crew aqm_crew;
int aqm_crew_new(aqm_crew **out, int threads, int compression);
void aqm_crew_free(aqm_crew *crew); /* waits for what is queued; NULL is fine */
size_t aqm_job_bound(size_t bytes);
void aqm_crew_submit(aqm_crew *crew, struct aqm_job *job);
int aqm_crew_wait(aqm_crew *crew, struct aqm_job *job);

/* ---- tables ---- */

struct aqm_table_column {
	char name[AQM_NAME_MAX];
	const char *unit, *description; /* must outlive the table */
	enum aqm_kind kind;
	bool used; /* a column that is not used is not written; rows before its first use read as NaN or 0 */
};

typedef struct aqm_table aqm_table;
/* A group `name` of `file` with these columns. `path`: of the file that it is to be, for messages; must outlive the table. */
int aqm_table_new(aqm_table **out, hid_t file, const char *path, const char *name, aqm_crew *crew, int compression,
                  const struct aqm_table_column *columns, size_t count);
void aqm_table_free(aqm_table *table);
/* The chunk of a column that is being filled: the next row goes to aqm_table_filled(). Another one after an advance. */
void *aqm_table_buffer(const aqm_table *table, size_t column);
size_t aqm_table_filled(const aqm_table *table); /* rows in that chunk */
size_t aqm_table_room(const aqm_table *table);   /* rows that still fit, at least 1 */
uint64_t aqm_table_rows(const aqm_table *table);
void aqm_table_use(aqm_table *table, size_t column);
/* `rows` more rows are in the buffers. */
int aqm_table_advance(aqm_table *table, size_t rows);
/* Write what is left. */
int aqm_table_finish(aqm_table *table);

/* ---- pool files ---- */

struct aqm_input {
	char *path; /* owned */
	uint64_t bytes;
	char sha256[65];
};

struct aqm_provenance {
	struct aqm_input *inputs; /* owned */
	size_t input_count;
	uint64_t skipped[AQM_SKIP_REASONS];
	uint64_t repeats_expanded;
	uint64_t without_pkt_len; /* records of the 23-field form in a pool that has the column: 0 there */
	uint64_t ignored_files;   /* files of a folder that are no logs */
	char part[160];           /* "" or which rows of which pool this is */
};
void aqm_provenance_release(struct aqm_provenance *provenance);
/* part: NULL keeps that of `from`. */
int aqm_provenance_copy(struct aqm_provenance *to, const struct aqm_provenance *from, const char *part);
int aqm_provenance_add_input(struct aqm_provenance *provenance, const char *path, uint64_t bytes,
                             const char sha256[65]);

struct aqm_pool_writer {
	struct aqm_atomic_file atomic;
	hid_t file;
	aqm_crew *crew;
	aqm_table *records, *episodes;
	uint64_t episode_start; /* of the episode that is open */
	uint32_t episode_source;
	bool episode_open;
	uint32_t episode_behaviour;
	char **behaviours; /* owned: names of what acted, by the numbers in /episodes/behaviour */
	size_t behaviour_count;
};

/* compression -1 and threads 0 = defaults. */
int aqm_pool_writer_open(struct aqm_pool_writer *writer, const char *path, const struct aqm_table_column *columns,
                         size_t count, int compression, int threads);
/* An episode starts at record `row`, which comes from input `source`. */
int aqm_pool_writer_episode(struct aqm_pool_writer *writer, uint64_t row, uint32_t source);
/* Name what acts in the episode that was just started: a number in /episodes/behaviour, its text in the attribute behaviours. */
int aqm_pool_writer_behaviour(struct aqm_pool_writer *writer, const char *name);
/* Close the last episode, write everything and the provenance, and put the file in its place. */
int aqm_pool_writer_commit(struct aqm_pool_writer *writer, const struct aqm_provenance *provenance);
/* Remove what was written; harmless after a commit and on a zeroed struct. */
void aqm_pool_writer_abort(struct aqm_pool_writer *writer);

/* No stack traces of HDF5 on stderr: we say in a line what is wrong. */
void aqm_hdf5_quiet(void);
/* For programs, before anything else of HDF5: nothing of it runs at exit. Every file of ours is closed by then, and a file
 * whose close has failed, as on a full disk, would crash there. Not for libraries: the program may rely on it. */
void aqm_hdf5_no_exit(void);
hid_t aqm_hdf5_type(enum aqm_kind kind);
/* Do a dataset's numbers lie in that open file itself? HDF5 would follow links, virtual datasets and external storage into any
 * file of this machine. */
bool aqm_hdf5_is_own(hid_t file, hid_t dataset);

#endif
