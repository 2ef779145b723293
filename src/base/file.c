/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aqmtrain/error.h"
#include "base/size.h"

char *aqm_path_join(const char *a, const char *b)
{
	size_t n = strlen(a);

	return aqm_strprintf(n && a[n - 1] == '/' ? "%s%s" : "%s/%s", a, b);
}

bool aqm_path_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* The folder that `path` lies in; owned by the caller. NULL with a message on failure. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !slash ? aqm_strdup(".") : slash == path ? aqm_strdup("/") : aqm_strprintf("%.*s", (int)(slash - path), path);
}

static bool same_inode(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool aqm_path_same(const char *a, const char *b)
{
	const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');

	if (aqm_path_exists(a) || aqm_path_exists(b))
		return same_inode(a, b);
	if (strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b) != 0)
		return false;
	char *folder_a = folder_of(a), *folder_b = folder_of(b);
	bool same = folder_a && folder_b && same_inode(folder_a, folder_b);

	free(folder_a);
	free(folder_b);
	return same;
}

int aqm_path_spare(const char *input, const char *output)
{
	if (!aqm_path_same(input, output))
		return AQM_OK;
	return aqm_error_set(AQM_EUSAGE, "cannot write '%s': it is what is read; name another file", output);
}

/* ---- atomic files ---- */

/* Where a rename has to go: behind symbolic links, and never over a device or a folder. Owned by the caller. */
static int resolve_destination(char **out, const char *path)
{
	struct stat status;

	*out = NULL;
	if (!*path || strcmp(path, "-") == 0)
		return aqm_error_set(AQM_EUSAGE, "cannot write '%s': a file has to be named", path);
	if (stat(path, &status) != 0) {
		*out = aqm_strdup(path);
	} else if (!S_ISREG(status.st_mode)) {
		return aqm_error_set(AQM_ERUN, "cannot write '%s': it is not a regular file", path);
	} else {
		*out = realpath(path, NULL);
		if (!*out)
			return aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
	}
	return *out ? AQM_OK : AQM_ERUN;
}

int aqm_atomic_reserve(struct aqm_atomic_file *file, const char *path)
{
	static atomic_uint counter;

	*file = (struct aqm_atomic_file){0};
	int code = resolve_destination(&file->path, path);
	if (code != AQM_OK)
		return code;
	file->temporary_path = aqm_strprintf("%s.tmp-%ld-%u", file->path, (long)getpid(), atomic_fetch_add(&counter, 1));
	if (!file->temporary_path) {
		aqm_atomic_abort(file);
		return AQM_ERUN;
	}
	unlink(file->temporary_path); /* left by a process that died with our number */
	return AQM_OK;
}

int aqm_atomic_check_room(const struct aqm_atomic_file *file, size_t bytes)
{
	int fd = open(file->temporary_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		return aqm_error_errno(AQM_ERUN, "cannot create '%s'", file->path);
	int number = posix_fallocate(fd, 0, (off_t)bytes);

	close(fd);
	if (number == 0 || number == EINVAL || number == EOPNOTSUPP)
		return AQM_OK;
	errno = number;
	return aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
}

int aqm_atomic_open(struct aqm_atomic_file *file, const char *path)
{
	int code = aqm_atomic_reserve(file, path);

	if (code != AQM_OK)
		return code;
	int fd = open(file->temporary_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd >= 0)
		file->stream = fdopen(fd, "w");
	if (!file->stream) {
		code = aqm_error_errno(AQM_ERUN, "cannot create '%s'", path);
		if (fd >= 0)
			close(fd);
		aqm_atomic_abort(file);
	}
	return code;
}

int aqm_atomic_write(struct aqm_atomic_file *file, const void *data, size_t bytes)
{
	if (fwrite(data, 1, bytes, file->stream) != bytes)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
	return AQM_OK;
}

static int sync_descriptor(int fd)
{
	int result;

	do
		result = fsync(fd);
	while (result != 0 && errno == EINTR);
	return result;
}

/* Bring the temporary's contents to the disk. */
static int sync_temporary(struct aqm_atomic_file *file)
{
	bool good;

	if (file->stream) {
		bool written = !ferror(file->stream);

		errno = EIO; /* for an earlier write whose cause is gone */
		good = written && fflush(file->stream) == 0 && sync_descriptor(fileno(file->stream)) == 0;
	} else {
		int fd = open(file->temporary_path, O_RDONLY | O_CLOEXEC);

		good = fd >= 0 && sync_descriptor(fd) == 0;
		if (fd >= 0) {
			int number = errno;

			close(fd);
			errno = number;
		}
	}
	return good ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
}

/* Free the struct; the temporary file, if any, is the caller's concern. */
static void forget(struct aqm_atomic_file *file)
{
	free(file->path);
	free(file->temporary_path);
	*file = (struct aqm_atomic_file){0};
}

static int sync_parent(const char *path)
{
	char *folder = folder_of(path);
	int code = folder ? aqm_sync_folder(folder) : AQM_ERUN;
	free(folder);
	return code;
}

int aqm_atomic_commit(struct aqm_atomic_file *file)
{
	int code = sync_temporary(file);

	if (code == AQM_OK && file->stream) {
		FILE *stream = file->stream;

		file->stream = NULL;
		if (fclose(stream) != 0)
			code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
	}
	if (code == AQM_OK && rename(file->temporary_path, file->path) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot rename to '%s'", file->path);
	if (code != AQM_OK) {
		aqm_atomic_abort(file);
		return code;
	}
	code = sync_parent(file->path);
	forget(file);
	return code;
}

void aqm_atomic_abort(struct aqm_atomic_file *file)
{
	if (file->stream)
		fclose(file->stream);
	if (file->temporary_path)
		unlink(file->temporary_path);
	forget(file);
}

int aqm_file_write(const char *path, const void *data, size_t bytes)
{
	struct aqm_atomic_file file;
	int code = aqm_atomic_open(&file, path);

	if (code != AQM_OK)
		return code;
	code = aqm_atomic_write(&file, data, bytes);
	if (code == AQM_OK)
		return aqm_atomic_commit(&file);
	aqm_atomic_abort(&file);
	return code;
}

/* ---- reading ---- */

/* Reads pipes as well as files, so it does not trust a size asked for beforehand. */
int aqm_file_read(const char *path, size_t limit, char **data, size_t *bytes)
{
	size_t capacity = 1 << 14, used = 0;
	char *buffer = NULL;
	int code = AQM_OK;

	*data = NULL;
	*bytes = 0;
	FILE *stream = fopen(path, "re");
	if (!stream)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	for (;;) {
		char *grown = aqm_realloc_array(buffer, capacity, 1);

		if (!grown) {
			code = AQM_ERUN;
			goto done;
		}
		buffer = grown;
		used += fread(buffer + used, 1, capacity - used - 1, stream);
		if (ferror(stream)) {
			code = aqm_error_errno(AQM_EDATA, "cannot read '%s'", path);
			goto done;
		}
		if (used > limit) {
			code = aqm_error_set(AQM_EDATA, "cannot read '%s': longer than %zu bytes", path, limit);
			goto done;
		}
		if (feof(stream))
			break;
		capacity *= 2;
	}
	buffer[used] = '\0';
	*data = buffer;
	*bytes = used;
	buffer = NULL;
done:
	free(buffer);
	fclose(stream);
	return code;
}

int aqm_map_file(struct aqm_mapping *mapping, const char *path)
{
	struct stat status;
	int code = AQM_OK;

	*mapping = (struct aqm_mapping){.data = (const uint8_t *)""};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	if (fstat(fd, &status) != 0) {
		code = aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	} else if (!S_ISREG(status.st_mode)) {
		code = aqm_error_set(AQM_EDATA, "cannot open '%s': it is not a regular file", path);
	} else if (status.st_size > 0) {
		void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (data == MAP_FAILED)
			code = aqm_error_errno(AQM_ERUN, "cannot map '%s'", path);
		else
			*mapping = (struct aqm_mapping){.data = data, .bytes = (size_t)status.st_size};
	}
	close(fd);
	return code;
}

void aqm_unmap(struct aqm_mapping *mapping)
{
	if (mapping->bytes)
		munmap((void *)(uintptr_t)mapping->data, mapping->bytes);
	*mapping = (struct aqm_mapping){0};
}

/* ---- folders ---- */

int aqm_make_folders(const char *path)
{
	char *copy = aqm_strdup(path);
	struct stat status;
	int code = AQM_OK;

	if (!copy)
		return AQM_ERUN;
	for (char *p = copy; code == AQM_OK && *p; p++) {
		if (p[1] != '/' && p[1] != '\0')
			continue;
		char next = p[1];

		p[1] = '\0';
		if (mkdir(copy, 0777) != 0 && (errno != EEXIST || stat(copy, &status) != 0 || !S_ISDIR(status.st_mode)))
			code = aqm_error_errno(AQM_ERUN, "cannot create folder '%s'", copy);
		p[1] = next;
	}
	free(copy);
	return code;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path) == 0 || errno == ENOENT ? 0 : aqm_error_errno(AQM_ERUN, "cannot remove '%s'", path);
}

int aqm_remove_tree(const char *path)
{
	enum { DESCRIPTORS = 16 };
	int result = nftw(path, remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);

	if (result == -1 && errno == ENOENT)
		return AQM_OK;
	return result == -1 ? aqm_error_errno(AQM_ERUN, "cannot remove '%s'", path) : result;
}

int aqm_sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code = AQM_OK;

	if (fd < 0)
		return aqm_error_errno(AQM_ERUN, "cannot open folder '%s'", path);
	if (sync_descriptor(fd) != 0 && errno != EINVAL) /* EINVAL: a file system without folder sync */
		code = aqm_error_errno(AQM_ERUN, "cannot sync folder '%s'", path);
	close(fd);
	return code;
}
