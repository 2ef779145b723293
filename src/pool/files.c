/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "aqmtrain/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "pool/input.h"

enum { FOLDER_DEPTH = 8 };

/* A file while sets are being made out. */
struct candidate {
	char *path;       /* owned */
	size_t base;      /* bytes of the path that name the set */
	int64_t age;      /* larger is older; a date counts negative */
	size_t order;     /* of mention */
	size_t set_order; /* of the set's first mention */
	uint64_t bytes;
	dev_t device;
	ino_t inode;
	bool in_folder;
};

struct candidates {
	struct candidate *items;
	size_t count;
};

static bool ends_with(const char *text, size_t bytes, const char *tail)
{
	size_t n = strlen(tail);

	return bytes > n && memcmp(text + bytes - n, tail, n) == 0;
}

/* Digits before `end`, at most 17 and not the whole name: their number and value. */
static size_t digits_before(const char *name, size_t end, int64_t *value)
{
	size_t n = 0;
	int64_t scale = 1;

	*value = 0;
	while (n < end && n < 17 && name[end - 1 - n] >= '0' && name[end - 1 - n] <= '9') {
		*value += (name[end - 1 - n] - '0') * scale;
		scale *= 10;
		n++;
	}
	return n;
}

/* Split a file's name into base and age. */
static void read_rotation(struct candidate *c)
{
	static const char *const packed[] = {".gz", ".bz2", ".xz", ".zst"};
	const char *slash = strrchr(c->path, '/'), *name = slash ? slash + 1 : c->path;
	size_t end = strlen(name), before = (size_t)(name - c->path);
	int64_t number, time;

	for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
		if (ends_with(name, end, packed[i])) {
			end -= strlen(packed[i]);
			break;
		}
	c->base = before + end;
	c->age = INT64_MIN; /* the bare name is the newest */
	size_t n = digits_before(name, end, &number);
	if (n == 6 && end > 16 && name[end - 7] == 'T' && digits_before(name, end - 7, &time) == 8 &&
	    name[end - 16] == '.') {
		c->base = before + end - 16;
		c->age = -(time * 1000000 + number);
	} else if (n == 8 && end > 9 && (name[end - 9] == '-' || name[end - 9] == '.')) {
		c->base = before + end - 9;
		c->age = -number * 1000000;
	} else if (n >= 1 && n <= 4 && end > n + 1 && name[end - n - 1] == '.') {
		c->base = before + end - n - 1;
		c->age = number;
	}
}

static int add_file(struct candidates *list, const char *path, const struct stat *status, bool in_folder)
{
	for (size_t i = 0; i < list->count; i++)
		if (status->st_ino ? list->items[i].inode == status->st_ino && list->items[i].device == status->st_dev
		                   : strcmp(list->items[i].path, path) == 0) {
			aqm_log_warning("'%s' is '%s' once more; read once", path, list->items[i].path);
			return AQM_OK;
		}
	struct candidate *grown = aqm_realloc_array(list->items, list->count + 1, sizeof *grown);
	if (!grown)
		return AQM_ERUN;
	list->items = grown;
	grown[list->count] = (struct candidate){.path = aqm_strdup(path),
	                                        .order = list->count,
	                                        .bytes = (uint64_t)status->st_size,
	                                        .device = status->st_dev,
	                                        .inode = status->st_ino,
	                                        .in_folder = in_folder};
	if (!grown[list->count].path)
		return AQM_ERUN;
	read_rotation(&grown[list->count++]);
	return AQM_OK;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* By name, links behind all else: a log that is there by its own name too keeps its place in its rotated set. */
static int compare_entries(const struct dirent **a, const struct dirent **b)
{
	int links = ((*a)->d_type == DT_LNK) - ((*b)->d_type == DT_LNK);

	return links ? links : strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct candidates *list, const char *folder, int depth)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, visible, compare_entries), code = AQM_OK;

	if (n < 0)
		return aqm_error_errno(AQM_EDATA, "cannot read folder '%s'", folder);
	for (int i = 0; i < n; i++) {
		char *path = code == AQM_OK ? aqm_path_join(folder, entries[i]->d_name) : NULL;
		struct stat status;

		if (code == AQM_OK && !path)
			code = AQM_ERUN;
		else if (path && lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && depth < FOLDER_DEPTH)
			code = add_folder(list, path, depth + 1);
		else if (path && stat(path, &status) == 0 && S_ISREG(status.st_mode))
			code = add_file(list, path, &status, true);
		free(path);
		free(entries[i]);
	}
	free(entries);
	return code;
}

static int add_path(struct candidates *list, const char *path)
{
	struct stat status = {0};

	if (strcmp(path, "-") == 0)
		return add_file(list, path, &status, false);
	if (stat(path, &status) != 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	if (S_ISDIR(status.st_mode))
		return add_folder(list, path, 0);
	if (!S_ISREG(status.st_mode))
		status.st_ino = 0; /* a pipe: read as it comes */
	return add_file(list, path, &status, false);
}

static bool same_set(const struct candidate *a, const struct candidate *b)
{
	return a->base == b->base && memcmp(a->path, b->path, a->base) == 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order = memcmp(x->path, y->path, x->base < y->base ? x->base : y->base);

	if (order == 0 && x->base != y->base)
		order = x->base < y->base ? -1 : 1;
	return order ? order : x->order < y->order ? -1 : x->order > y->order;
}

static int compare_places(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->set_order != y->set_order)
		return x->set_order < y->set_order ? -1 : 1;
	if (x->age != y->age)
		return x->age > y->age ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Bring sets together, in the order of their first mention, each from its oldest file to its newest. A date is always
 * older than the bare name, and newer than no number: sets that mix both are not known. */
static void order_files(struct candidates *list)
{
	if (list->count == 0)
		return;
	qsort(list->items, list->count, sizeof *list->items, compare_names);
	for (size_t i = 0; i < list->count; i++)
		list->items[i].set_order =
			i && same_set(&list->items[i - 1], &list->items[i]) ? list->items[i - 1].set_order : list->items[i].order;
	qsort(list->items, list->count, sizeof *list->items, compare_places);
}

int aqm_log_files_find(struct aqm_log_files *list, const char *const *paths, size_t count)
{
	struct candidates found = {0};
	int code = AQM_OK;
	uint32_t set = 0;

	*list = (struct aqm_log_files){0};
	for (size_t i = 0; code == AQM_OK && i < count; i++)
		code = add_path(&found, paths[i]);
	if (code == AQM_OK && found.count == 0)
		code = aqm_error_set(AQM_EDATA, "no file in '%s'", count ? paths[0] : "");
	if (code == AQM_OK && !(list->files = aqm_calloc_array(found.count, sizeof *list->files)))
		code = AQM_ERUN;
	if (code == AQM_OK) {
		order_files(&found);
		for (size_t i = 0; i < found.count; i++) {
			const struct candidate *c = &found.items[i];

			set += i && c->set_order != found.items[i - 1].set_order;
			if (i && c->set_order == found.items[i - 1].set_order && c->age == found.items[i - 1].age)
				aqm_log_warning("'%s' and '%s' have the same place in their rotated set; both are read",
				                found.items[i - 1].path, c->path);
			list->files[i] =
				(struct aqm_log_file){.path = c->path, .set = set, .bytes = c->bytes, .in_folder = c->in_folder};
		}
		list->count = found.count;
	}
	for (size_t i = 0; code != AQM_OK && i < found.count; i++)
		free(found.items[i].path);
	free(found.items);
	return code;
}

void aqm_log_files_release(struct aqm_log_files *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->files[i].path);
	free(list->files);
	*list = (struct aqm_log_files){0};
}
