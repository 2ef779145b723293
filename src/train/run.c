/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "train/state.h"

static int lock_folder(struct aqm_run *run)
{
	run->lock = open(run->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->lock < 0)
		return aqm_error_errno(AQM_ERUN, "cannot open folder '%s'", run->path);
	if (flock(run->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return AQM_OK; /* a file system without locks: go on without */
	return aqm_error_set(AQM_ERUN, "another training is at work in '%s'", run->path);
}

/* "policy.h5.tmp-123-4", "step-5.tmp-123": names of what is being written (base/file.h, checkpoint.c). */
static bool is_temporary(const char *name)
{
	const char *tail = strstr(name, ".tmp-");

	return tail && tail[5] && !tail[5 + strspn(tail + 5, "-0123456789")];
}

/* Remove what a killed training was writing: files, and among the checkpoints their folders. A run may lie among other things. */
static int clean(const char *run_path, const char *folder, bool folders)
{
	char *path = aqm_path_join(run_path, folder);
	int code = path ? AQM_OK : AQM_ERUN;
	struct dirent *entry;
	DIR *directory = path ? opendir(path) : NULL;

	while (code == AQM_OK && directory && (entry = readdir(directory))) {
		if (!is_temporary(entry->d_name) || (!folders && entry->d_type == DT_DIR))
			continue;
		char *stale = aqm_path_join(path, entry->d_name);

		code = stale ? aqm_remove_tree(stale) : AQM_ERUN;
		free(stale);
	}
	if (directory)
		closedir(directory);
	free(path);
	return code;
}

static int compare_with(const struct aqm_run *run, const char *yaml_path, const struct aqm_config *config)
{
	struct aqm_config before;
	const char *name = NULL;
	char *old = NULL, *new = NULL;
	int code = aqm_config_init(&before);

	if (code != AQM_OK)
		return code;
	code = aqm_config_read(&before, yaml_path);
	if (code == AQM_OK)
		code = aqm_config_difference(&before, config, &name, &old, &new);
	if (code == AQM_OK && name)
		code = aqm_error_set(AQM_EUSAGE, "cannot resume '%s': '%s' is %s now and was %s", run->path, name, new, old);
	free(old);
	free(new);
	aqm_config_release(&before);
	return code;
}

int aqm_run_open(struct aqm_run *run, const char *path, const struct aqm_config *config, bool resume)
{
	*run = (struct aqm_run){.path = path, .lock = -1};
	char *yaml_path = aqm_path_join(path, "config.yaml");
	int code = yaml_path ? aqm_make_folders(path) : AQM_ERUN;

	if (code == AQM_OK)
		code = lock_folder(run);
	if (code == AQM_OK) {
		run->exists = aqm_path_exists(yaml_path);
		if (run->exists && !resume)
			code = aqm_error_set(AQM_EUSAGE, "'%s' already holds a run; --resume goes on with it", path);
		else if (run->exists)
			code = compare_with(run, yaml_path, config);
	}
	if (code == AQM_OK)
		code = clean(path, ".", false);
	if (code == AQM_OK)
		code = clean(path, "checkpoints", true);
	if (code == AQM_OK)
		code = clean(path, "best", false);
	free(yaml_path);
	return code;
}

int aqm_run_start(struct aqm_run *run, const struct aqm_config *config)
{
	char *path = aqm_path_join(run->path, "config.yaml"), *yaml = NULL;
	int code = path ? aqm_config_dump(config, &yaml) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_file_write(path, yaml, strlen(yaml));
	free(path);
	free(yaml);
	return code;
}

void aqm_run_close(struct aqm_run *run)
{
	if (run->lock >= 0)
		close(run->lock);
	run->lock = -1;
}
