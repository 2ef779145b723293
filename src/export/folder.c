/* SPDX-License-Identifier: BSD-2-Clause */
#include "export/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"

static bool is_listed(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static int refuse_foreign(const char *path, DIR *entries, const char *const *names)
{
	const struct dirent *entry;
	bool empty = true, marked = false;

	while ((entry = readdir(entries))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (!is_listed(entry->d_name, names))
			return aqm_error_set(AQM_EUSAGE, "'%s' is no earlier export: it holds '%s'; name another folder", path,
			                     entry->d_name);
		empty = false;
		marked = marked || strcmp(entry->d_name, names[0]) == 0;
	}
	if (!empty && !marked)
		return aqm_error_set(AQM_EUSAGE, "'%s' is no earlier export: it lacks '%s'; name another folder", path,
		                     names[0]);
	return AQM_OK;
}

static int check_destination(const char *path, const char *const *names)
{
	struct stat status;

	if (lstat(path, &status) != 0)
		return errno == ENOENT ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot write folder '%s'", path);
	if (!S_ISDIR(status.st_mode))
		return aqm_error_set(AQM_EUSAGE, "cannot write folder '%s': it is not a folder", path);
	DIR *entries = opendir(path);
	if (!entries)
		return aqm_error_errno(AQM_ERUN, "cannot read folder '%s'", path);
	int code = refuse_foreign(path, entries, names);
	closedir(entries);
	return code;
}

int aqm_atomic_folder_open(struct aqm_atomic_folder *folder, const char *path, const char *const *names)
{
	*folder = (struct aqm_atomic_folder){.path = aqm_strdup(path)};
	if (!folder->path)
		return AQM_ERUN;
	for (size_t n = strlen(folder->path); n > 1 && folder->path[n - 1] == '/'; n--)
		folder->path[n - 1] = '\0';
	int code = check_destination(folder->path, names);
	if (code == AQM_OK) {
		folder->temporary_path = aqm_strprintf("%s.tmp-%ld", folder->path, (long)getpid());
		code = folder->temporary_path ? aqm_remove_tree(folder->temporary_path) : AQM_ERUN;
	}
	if (code == AQM_OK && mkdir(folder->temporary_path, 0777) != 0) {
		code = aqm_error_errno(AQM_ERUN, "cannot create folder '%s'", folder->path);
		free(folder->temporary_path);
		folder->temporary_path = NULL;
	}
	if (code != AQM_OK)
		aqm_atomic_folder_abort(folder);
	return code;
}

/* Swap with an earlier export in one step where the file system can; else there is a moment without either name. */
static int replace(const char *from, const char *to)
{
	if (rename(from, to) == 0)
		return 0; /* absent or empty */
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -1;
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
		return 0;
	char *aside = aqm_strprintf("%s.old", from);
	if (!aside)
		return -1;
	int result = rename(to, aside);
	if (result == 0) {
		result = rename(from, to);
		if (result != 0)
			(void)rename(aside, to);
		else
			(void)rename(aside, from);
	}
	free(aside);
	return result;
}

static void sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent = !slash ? aqm_strdup(".") : slash == path ? aqm_strdup("/") : strndup(path, (size_t)(slash - path));

	if (parent && aqm_sync_folder(parent) != AQM_OK)
		aqm_log_warning(
			"%s", aqm_error_message()); /* the names are there; only a crash in the next seconds could lose them */
	free(parent);
}

int aqm_atomic_folder_commit(struct aqm_atomic_folder *folder)
{
	int code = aqm_sync_folder(folder->temporary_path);

	if (code == AQM_OK && replace(folder->temporary_path, folder->path) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot put folder '%s' into place", folder->path);
	if (code == AQM_OK)
		sync_parent(folder->path);
	aqm_atomic_folder_abort(folder); /* removes the earlier export, which now has the temporary name */
	return code;
}

void aqm_atomic_folder_abort(struct aqm_atomic_folder *folder)
{
	if (folder->temporary_path && aqm_remove_tree(folder->temporary_path) != AQM_OK)
		aqm_log_warning("%s", aqm_error_message());
	free(folder->temporary_path);
	free(folder->path);
	*folder = (struct aqm_atomic_folder){0};
}
