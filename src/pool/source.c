/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Bytes of an input: read in blocks, hashed by a thread of its own, decompressed where need be.
 *
 *   read(2) -> ring of blocks -+-> SHA-256 thread
 *                              `-> copy | inflate | bunzip2 -> caller
 */
#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "aqmtrain/error.h"
#include "base/file.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/input.h"

enum { BLOCKS = 4, BLOCK_BYTES = 1 << 20 };

struct aqm_source {
	char *path; /* owned */
	int fd;
	uint64_t position, size;
	enum { PLAIN, GZIP, BZIP2 } packing;
	bool at_end;      /* of the file */
	bool in_stream;   /* inside a compressed stream, whose end is still to come */

	uint8_t *blocks;  /* BLOCKS of BLOCK_BYTES */
	size_t lengths[BLOCKS];
	const uint8_t *next; /* what the caller has not had of the present block */
	size_t left;

	z_stream gzip;
	bz_stream bzip2;
	bool unpacker_open;

	/* The hasher follows the reader by at most BLOCKS - 1 blocks. */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint64_t filled, hashed; /* blocks */
	bool stop, hasher_runs;
	pthread_t hasher;
	aqm_sha256 *hash;
};

/* ---- hashing ---- */

static void *hash_blocks(void *argument)
{
	aqm_source *source = argument;

	pthread_mutex_lock(&source->lock);
	for (;;) {
		while (source->hashed == source->filled && !source->stop)
			pthread_cond_wait(&source->moved, &source->lock);
		if (source->hashed == source->filled)
			break;
		size_t block = source->hashed % BLOCKS, bytes = source->lengths[block];
		pthread_mutex_unlock(&source->lock);
		aqm_sha256_update(source->hash, source->blocks + block * BLOCK_BYTES, bytes);
		pthread_mutex_lock(&source->lock);
		source->hashed++;
		pthread_cond_signal(&source->moved);
	}
	pthread_mutex_unlock(&source->lock);
	return NULL;
}

static void stop_hasher(aqm_source *source)
{
	if (!source->hasher_runs)
		return;
	pthread_mutex_lock(&source->lock);
	source->stop = true;
	pthread_cond_signal(&source->moved);
	pthread_mutex_unlock(&source->lock);
	pthread_join(source->hasher, NULL);
	source->hasher_runs = false;
}

/* ---- blocks ---- */

/* Fill the next block, as far as the file goes; left = 0 at its end. */
static int read_block(aqm_source *source)
{
	size_t block = source->filled % BLOCKS, filled = 0;
	uint8_t *to = source->blocks + block * BLOCK_BYTES;

	pthread_mutex_lock(&source->lock);
	while (source->filled - source->hashed == BLOCKS)
		pthread_cond_wait(&source->moved, &source->lock);
	pthread_mutex_unlock(&source->lock);
	while (filled < BLOCK_BYTES) {
		ssize_t n = read(source->fd, to + filled, BLOCK_BYTES - filled);

		if (n < 0 && errno == EINTR && !aqm_interrupted())
			continue;
		if (n < 0 && errno == EINTR)
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted while reading '%s'", source->path);
		if (n < 0)
			return aqm_error_errno(AQM_EDATA, "cannot read '%s'", source->path);
		if (n == 0)
			break;
		filled += (size_t)n;
	}
	source->next = to;
	source->left = filled;
	source->position += filled;
	source->at_end = filled == 0;
	if (filled == 0)
		return AQM_OK;
	pthread_mutex_lock(&source->lock);
	source->lengths[block] = filled;
	source->filled++;
	pthread_cond_signal(&source->moved);
	pthread_mutex_unlock(&source->lock);
	return AQM_OK;
}

/* ---- packings ---- */

static int damaged(const aqm_source *source, const char *what)
{
	return aqm_error_set(AQM_EDATA, "cannot read '%s': its %s data are damaged before byte %llu", source->path, what,
	                     (unsigned long long)(source->position - source->left));
}

/* One call of inflate. Members may follow each other; zeros behind the last one are padding. */
static int inflate_some(aqm_source *source, uint8_t *to, size_t capacity, size_t *bytes)
{
	z_stream *z = &source->gzip;

	if (!source->in_stream) {
		if (*source->next == 0) {
			source->next++;
			source->left--;
			return AQM_OK;
		}
		if (inflateReset(z) != Z_OK)
			return damaged(source, "gzip");
		source->in_stream = true;
	}
	z->next_in = (Bytef *)(uintptr_t)source->next;
	z->avail_in = (uInt)source->left;
	z->next_out = to;
	z->avail_out = (uInt)capacity;
	int result = inflate(z, Z_NO_FLUSH);
	source->next = z->next_in;
	source->left = z->avail_in;
	*bytes = capacity - z->avail_out;
	if (result == Z_STREAM_END)
		source->in_stream = false;
	else if (result != Z_OK && result != Z_BUF_ERROR)
		return damaged(source, "gzip");
	return AQM_OK;
}

static int bunzip_some(aqm_source *source, uint8_t *to, size_t capacity, size_t *bytes)
{
	bz_stream *b = &source->bzip2;

	if (!source->in_stream) {
		if (source->unpacker_open)
			BZ2_bzDecompressEnd(b);
		*b = (bz_stream){0};
		source->unpacker_open = BZ2_bzDecompressInit(b, 0, 0) == BZ_OK;
		if (!source->unpacker_open)
			return aqm_error_set(AQM_ERUN, "no memory to decompress '%s'", source->path);
		source->in_stream = true;
	}
	b->next_in = (char *)(uintptr_t)source->next;
	b->avail_in = (unsigned)source->left;
	b->next_out = (char *)to;
	b->avail_out = (unsigned)capacity;
	int result = BZ2_bzDecompress(b);
	source->next = (const uint8_t *)b->next_in;
	source->left = b->avail_in;
	*bytes = capacity - b->avail_out;
	if (result == BZ_STREAM_END)
		source->in_stream = false;
	else if (result != BZ_OK)
		return damaged(source, "bzip2");
	return AQM_OK;
}

int aqm_source_read(aqm_source *source, void *buffer, size_t capacity, size_t *bytes)
{
	int code = AQM_OK;

	*bytes = 0;
	while (code == AQM_OK && *bytes == 0) {
		if (source->left == 0 && !source->at_end)
			code = read_block(source);
		if (code != AQM_OK || source->left == 0)
			break;
		if (source->packing == GZIP) {
			code = inflate_some(source, buffer, capacity, bytes);
		} else if (source->packing == BZIP2) {
			code = bunzip_some(source, buffer, capacity, bytes);
		} else {
			*bytes = source->left < capacity ? source->left : capacity;
			memcpy(buffer, source->next, *bytes);
			source->next += *bytes;
			source->left -= *bytes;
		}
	}
	if (code == AQM_OK && *bytes == 0 && source->in_stream)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': it ends in the middle of its compressed data", source->path);
	return code;
}

/* ---- opening ---- */

static int detect_packing(aqm_source *source)
{
	static const struct {
		const char *magic;
		size_t bytes;
		const char *name;
	} unsupported[] = {{"\xfd"
	                    "7zXZ",
	                    5, "xz"},
	                   {"\x28\xb5\x2f\xfd", 4, "zstd"},
	                   {"\x1f\x9d", 2, "compress"},
	                   {"PK\x03\x04", 4, "zip"}};
	const uint8_t *head = source->next;

	for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
		if (source->left >= unsupported[i].bytes && memcmp(head, unsupported[i].magic, unsupported[i].bytes) == 0)
			return aqm_error_set(AQM_EDATA,
			                     "cannot read '%s': it is compressed with %s; decompress it, or pipe it in ('-')",
			                     source->path, unsupported[i].name);
	if (source->left >= 3 && memcmp(head, "\x1f\x8b\x08", 3) == 0) {
		source->packing = GZIP;
		source->unpacker_open = inflateInit2(&source->gzip, 15 + 16) == Z_OK;
		if (!source->unpacker_open)
			return aqm_error_set(AQM_ERUN, "no memory to decompress '%s'", source->path);
	} else if (source->left >= 4 && memcmp(head, "BZh", 3) == 0 && head[3] >= '1' && head[3] <= '9') {
		source->packing = BZIP2;
	}
	return AQM_OK;
}

static int open_file(aqm_source *source)
{
	struct stat status;

	if (strcmp(source->path, "-") == 0)
		source->fd = dup(STDIN_FILENO);
	else
		source->fd = open(source->path, O_RDONLY | O_CLOEXEC);
	if (source->fd < 0 || fstat(source->fd, &status) != 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", source->path);
	if (S_ISDIR(status.st_mode))
		return aqm_error_set(AQM_EDATA, "cannot read '%s': it is a folder", source->path);
	source->size = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
	return AQM_OK;
}

int aqm_source_open(aqm_source **out, const char *path)
{
	aqm_source *source = aqm_calloc_array(1, sizeof *source);

	*out = NULL;
	if (!source)
		return AQM_ERUN;
	source->fd = -1;
	pthread_mutex_init(&source->lock, NULL);
	pthread_cond_init(&source->moved, NULL);
	source->path = aqm_strdup(path);
	source->blocks = aqm_malloc_array(BLOCKS, BLOCK_BYTES);
	int code = source->path && source->blocks ? AQM_OK : AQM_ERUN;
	if (code == AQM_OK)
		code = open_file(source);
	if (code == AQM_OK)
		code = aqm_sha256_new(&source->hash);
	if (code == AQM_OK) {
		source->hasher_runs = pthread_create(&source->hasher, NULL, hash_blocks, source) == 0;
		if (!source->hasher_runs)
			code = aqm_error_set(AQM_ERUN, "cannot start a thread");
	}
	if (code == AQM_OK)
		code = read_block(source);
	if (code == AQM_OK)
		code = detect_packing(source);
	if (code != AQM_OK) {
		aqm_source_close(source);
		return code;
	}
	*out = source;
	return AQM_OK;
}

void aqm_source_digest(aqm_source *source, uint64_t *bytes, char sha256[65])
{
	stop_hasher(source);
	*bytes = source->position;
	aqm_sha256_finish(source->hash, sha256);
	source->hash = NULL;
}

void aqm_source_close(aqm_source *source)
{
	char unused[65];

	if (!source)
		return;
	stop_hasher(source);
	if (source->hash)
		aqm_sha256_finish(source->hash, unused);
	if (source->unpacker_open && source->packing == GZIP)
		inflateEnd(&source->gzip);
	if (source->unpacker_open && source->packing == BZIP2)
		BZ2_bzDecompressEnd(&source->bzip2);
	if (source->fd >= 0)
		close(source->fd);
	pthread_mutex_destroy(&source->lock);
	pthread_cond_destroy(&source->moved);
	free(source->blocks);
	free(source->path);
	free(source);
}

uint64_t aqm_source_position(const aqm_source *source)
{
	return source->position;
}

uint64_t aqm_source_size(const aqm_source *source)
{
	return source->size;
}
