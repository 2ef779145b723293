/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Opening a pool file that nobody vouches for: groups, types and lengths are checked before anything is believed.
 */
#include "pool/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"

static int wrong(const aqm_pool *pool, const char *what)
{
	return aqm_error_set(AQM_EDATA, "cannot read '%s': %s", pool->path, what);
}

/* ---- columns ---- */

/* Our kind for a numeric HDF5 type; AQM_KINDS when there is none. */
static enum aqm_kind kind_of(hid_t type)
{
	static const enum aqm_kind kinds[2][4] = {
		{AQM_KIND_U8, AQM_KIND_U16, AQM_KIND_U32, AQM_KIND_U64},
		{AQM_KIND_I8, AQM_KIND_I16, AQM_KIND_I32, AQM_KIND_I64},
	};
	size_t bytes = H5Tget_size(type);
	int log2 = bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : bytes == 8 ? 3 : -1;

	if (log2 < 0)
		return AQM_KINDS;
	if (H5Tget_class(type) == H5T_INTEGER)
		return kinds[H5Tget_sign(type) != H5T_SGN_NONE][log2];
	if (H5Tget_class(type) == H5T_FLOAT && log2 >= 2)
		return log2 == 2 ? AQM_KIND_F32 : AQM_KIND_F64;
	return AQM_KINDS;
}

/* A one-dimensional numeric dataset of `group`: its kind and length. */
static int open_column(const aqm_pool *pool, hid_t group, const char *name, struct aqm_column *column, uint64_t *rows)
{
	hsize_t size = 0;
	hid_t type = -1, space = -1;
	int code = AQM_OK;

	*column = (struct aqm_column){.dataset = -1};
	if (strlen(name) >= sizeof column->name)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': a column's name is longer than %zu bytes", pool->path,
		                     sizeof column->name - 1);
	strcpy(column->name, name);
	column->dataset = H5Dopen2(group, name, H5P_DEFAULT);
	if (column->dataset >= 0) {
		type = H5Dget_type(column->dataset);
		space = H5Dget_space(column->dataset);
	}
	if (type < 0 || space < 0)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': '%s' is no readable dataset", pool->path, name);
	else if (!aqm_hdf5_is_own(pool->file, column->dataset))
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': '%s' lies in another file", pool->path, name);
	else if (H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_dims(space, &size, NULL) < 0)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': column '%s' is not one-dimensional", pool->path, name);
	else if ((column->kind = kind_of(type)) == AQM_KINDS)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': column '%s' holds no numbers of 1 to 8 bytes", pool->path,
		                     name);
	*rows = size;
	if (type >= 0)
		H5Tclose(type);
	if (space >= 0)
		H5Sclose(space);
	return code;
}

static int add_column(aqm_pool *pool, hid_t group, const char *name)
{
	uint64_t rows = 0;
	H5L_info_t info;

	if (H5Lget_info(group, name, &info, H5P_DEFAULT) < 0 ||
	    info.type != H5L_TYPE_HARD) /* a link leads into any file of this machine */
		return aqm_error_set(AQM_EDATA, "cannot read '%s': '/records/%s' is a link", pool->path, name);
	if (pool->column_count == AQM_COLUMNS_MAX)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': more than %d columns", pool->path, AQM_COLUMNS_MAX);
	struct aqm_column *column = &pool->columns[pool->column_count++];
	int code = open_column(pool, group, name, column, &rows);
	if (code != AQM_OK)
		return code;
	if (pool->column_count == 1)
		pool->rows = rows;
	if (rows != pool->rows)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': column '%s' has %llu rows, '%s' has %llu", pool->path, name,
		                     (unsigned long long)rows, pool->columns[0].name, (unsigned long long)pool->rows);
	return AQM_OK;
}

/* Deflate makes data smaller by 1032 at most, so a small file cannot hold very many rows, whatever its header says. */
static int check_size(const aqm_pool *pool)
{
	enum { DEFLATE_MOST = 1032 };
	hsize_t bytes = 0;

	if (H5Fget_filesize(pool->file, &bytes) < 0 || pool->rows / DEFLATE_MOST > bytes)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': %llu rows do not fit a file of %llu bytes", pool->path,
		                     (unsigned long long)pool->rows, (unsigned long long)bytes);
	return AQM_OK;
}

struct listing {
	aqm_pool *pool;
	int code;
};

static herr_t visit_other_column(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
	struct listing *listing = context;

	(void)info;
	if (aqm_pool_column_index(name) == AQM_POOL_COLUMNS)
		listing->code = add_column(listing->pool, group, name);
	return listing->code == AQM_OK ? 0 : -1;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct aqm_column *)a)->name, ((const struct aqm_column *)b)->name);
}

/* Known columns in our order, then the others by name. */
static int open_columns(aqm_pool *pool)
{
	const struct aqm_column_type *types = aqm_pool_column_types();
	hid_t group = H5Gopen2(pool->file, "records", H5P_DEFAULT);
	int code = AQM_OK;

	if (group < 0)
		return wrong(pool, "it has no group '/records'");
	for (size_t i = 0; code == AQM_OK && i < AQM_POOL_COLUMNS; i++)
		if (H5Lexists(group, types[i].name, H5P_DEFAULT) > 0)
			code = add_column(pool, group, types[i].name);
	/* In no order, and sorted here: to sort a damaged group, HDF5 1.10 builds a table of links that it then cannot free. */
	size_t known = pool->column_count;
	struct listing listing = {.pool = pool, .code = AQM_OK};
	if (code == AQM_OK && H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, visit_other_column, &listing) < 0)
		code = listing.code != AQM_OK ? listing.code : wrong(pool, "the group '/records' cannot be listed");
	qsort(pool->columns + known, pool->column_count - known, sizeof *pool->columns, compare_names);
	H5Gclose(group);
	if (code == AQM_OK && pool->column_count == 0)
		code = wrong(pool, "'/records' is empty");
	return code == AQM_OK ? check_size(pool) : code;
}

/* ---- episodes ---- */

/* A column of /episodes as doubles would lose nothing below 2^53 rows, which no file has. */
static int read_episode_column(aqm_pool *pool, hid_t group, const char *name, bool optional, uint64_t *count,
                               uint64_t **out)
{
	struct aqm_column column;
	uint64_t rows = 0;
	int code;

	*out = NULL;
	if (H5Lexists(group, name, H5P_DEFAULT) <= 0)
		return optional ? AQM_OK
		                : aqm_error_set(AQM_EDATA, "cannot read '%s': '/episodes/%s' is missing", pool->path, name);
	code = open_column(pool, group, name, &column, &rows);
	if (code == AQM_OK && *count != UINT64_MAX && rows != *count)
		code = wrong(pool, "the columns of '/episodes' differ in length");
	if (code == AQM_OK && rows > pool->rows)
		code = wrong(pool, "it has more episodes than records");
	if (code == AQM_OK && !(*out = aqm_malloc_array(rows, sizeof **out)))
		code = AQM_ERUN;
	if (code == AQM_OK && (aqm_kind_is_float(column.kind) ||
	                       H5Dread(column.dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, *out) < 0))
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': '/episodes/%s' is damaged", pool->path, name);
	*count = rows;
	if (column.dataset >= 0)
		H5Dclose(column.dataset);
	if (code != AQM_OK) {
		free(*out);
		*out = NULL;
	}
	return code;
}

/* Episodes tile the rows, in order. */
static int check_episodes(const aqm_pool *pool)
{
	uint64_t next = 0;

	for (size_t i = 0; i < pool->episode_count; i++) {
		const struct aqm_episode *e = &pool->episodes[i];

		if (e->start != next || e->length == 0 || e->length > pool->rows - next)
			return aqm_error_set(
				AQM_EDATA,
				"cannot read '%s': episode %zu has rows %llu + %llu, expected a start of %llu within %llu rows",
				pool->path, i, (unsigned long long)e->start, (unsigned long long)e->length, (unsigned long long)next,
				(unsigned long long)pool->rows);
		next += e->length;
	}
	return next == pool->rows ? AQM_OK : wrong(pool, "its episodes end before its records do");
}

/* Of an optional column. */
static uint32_t index_of(const uint64_t *column, size_t row)
{
	return column && column[row] < UINT32_MAX ? (uint32_t)column[row] : UINT32_MAX;
}

static int open_episodes(aqm_pool *pool)
{
	uint64_t count = UINT64_MAX, *start = NULL, *length = NULL, *source = NULL, *behaviour = NULL;
	hid_t group = H5Gopen2(pool->file, "episodes", H5P_DEFAULT);

	if (group < 0)
		return wrong(pool, "it has no group '/episodes'");
	int code = read_episode_column(pool, group, "start", false, &count, &start);
	if (code == AQM_OK)
		code = read_episode_column(pool, group, "length", false, &count, &length);
	if (code == AQM_OK)
		code = read_episode_column(pool, group, "source", true, &count, &source);
	if (code == AQM_OK)
		code = read_episode_column(pool, group, "behaviour", true, &count, &behaviour);
	if (code == AQM_OK && !(pool->episodes = aqm_malloc_array(count, sizeof *pool->episodes)))
		code = AQM_ERUN;
	if (code == AQM_OK) {
		pool->episode_count = count;
		for (size_t i = 0; i < count; i++)
			pool->episodes[i] = (struct aqm_episode){start[i], length[i], index_of(source, i), index_of(behaviour, i)};
		code = check_episodes(pool);
	}
	free(start);
	free(length);
	free(source);
	free(behaviour);
	H5Gclose(group);
	return code;
}

/* ---- provenance: what is missing or of another type is left at nothing ---- */

static uint64_t read_number(hid_t file, const char *name)
{
	uint64_t value = 0;

	if (H5Aexists(file, name) <= 0)
		return 0;
	hid_t attribute = H5Aopen(file, name, H5P_DEFAULT), type = H5Aget_type(attribute), space = H5Aget_space(attribute);
	if (H5Tget_class(type) == H5T_INTEGER && H5Sget_simple_extent_npoints(space) == 1)
		H5Aread(attribute, H5T_NATIVE_UINT64, &value);
	H5Sclose(space);
	H5Tclose(type);
	H5Aclose(attribute);
	return value;
}

/* Variable-length strings, each cut to `limit` bytes. *count of them; NULL and 0 when there are none. */
static char **read_strings(hid_t file, const char *name, size_t limit, size_t *count)
{
	char **raw = NULL, **strings = NULL;

	*count = 0;
	if (H5Aexists(file, name) <= 0)
		return NULL;
	hid_t attribute = H5Aopen(file, name, H5P_DEFAULT), type = H5Aget_type(attribute), space = H5Aget_space(attribute);
	hssize_t points = H5Sget_simple_extent_npoints(space);
	if (H5Tis_variable_str(type) > 0 && points > 0 && points < 1 << 20 && (raw = calloc((size_t)points, sizeof *raw)) &&
	    (strings = calloc((size_t)points, sizeof *strings)) && H5Aread(attribute, type, raw) >= 0) {
		*count = (size_t)points;
		for (size_t i = 0; i < *count; i++)
			strings[i] = raw[i] ? strndup(raw[i], limit) : NULL;
		H5Dvlen_reclaim(type, space, H5P_DEFAULT, raw);
	} else {
		free(strings);
		strings = NULL;
	}
	free(raw);
	H5Sclose(space);
	H5Tclose(type);
	H5Aclose(attribute);
	return strings;
}

static void free_strings(char **strings, size_t count)
{
	for (size_t i = 0; strings && i < count; i++)
		free(strings[i]);
	free(strings);
}

/* inputs_bytes beside `count` inputs, or zeros. */
static void read_numbers(hid_t file, const char *name, size_t count, uint64_t *values)
{
	memset(values, 0, count * sizeof *values);
	if (H5Aexists(file, name) <= 0)
		return;
	hid_t attribute = H5Aopen(file, name, H5P_DEFAULT), type = H5Aget_type(attribute), space = H5Aget_space(attribute);
	if (H5Tget_class(type) == H5T_INTEGER && H5Sget_simple_extent_npoints(space) == (hssize_t)count)
		H5Aread(attribute, H5T_NATIVE_UINT64, values);
	H5Sclose(space);
	H5Tclose(type);
	H5Aclose(attribute);
}

static int read_inputs(hid_t file, struct aqm_provenance *provenance)
{
	size_t paths_count, hashes_count;
	char **paths = read_strings(file, "inputs", 4096, &paths_count),
		 **hashes = read_strings(file, "inputs_sha256", 64, &hashes_count);
	uint64_t *bytes = aqm_malloc_array(paths_count, sizeof *bytes);
	int code = bytes ? AQM_OK : AQM_ERUN;

	if (bytes)
		read_numbers(file, "inputs_bytes", paths_count, bytes);
	for (size_t i = 0; code == AQM_OK && i < paths_count; i++) {
		char sha256[65] = "";

		if (i < hashes_count && hashes[i])
			strncpy(sha256, hashes[i], sizeof sha256 - 1);
		code = aqm_provenance_add_input(provenance, paths[i] ? paths[i] : "", bytes[i], sha256);
	}
	free_strings(paths, paths_count);
	free_strings(hashes, hashes_count);
	free(bytes);
	return code;
}

static int read_provenance(aqm_pool *pool)
{
	struct aqm_provenance *provenance = &pool->provenance;
	char name[AQM_NAME_MAX];
	size_t count;

	for (int i = 0; i < AQM_SKIP_REASONS; i++) {
		snprintf(name, sizeof name, "skipped_%s", aqm_skip_names[i]);
		provenance->skipped[i] = read_number(pool->file, name);
	}
	provenance->repeats_expanded = read_number(pool->file, "repeats_expanded");
	provenance->without_pkt_len = read_number(pool->file, "without_pkt_len");
	provenance->ignored_files = read_number(pool->file, "ignored_files");
	char **part = read_strings(pool->file, "part", sizeof provenance->part - 1, &count);
	if (count && part[0])
		snprintf(provenance->part, sizeof provenance->part, "%s", part[0]);
	free_strings(part, count);
	pool->behaviours = read_strings(pool->file, "behaviours", 4096, &pool->behaviour_count);
	return read_inputs(pool->file, provenance);
}

/* ---- pools ---- */

int aqm_pool_open_file(aqm_pool **out, const char *path, bool digest)
{
	aqm_pool *pool = aqm_calloc_array(1, sizeof *pool);
	int code = AQM_OK;

	*out = NULL;
	if (!pool)
		return AQM_ERUN;
	aqm_hdf5_quiet();
	pool->file = -1;
	pool->path = aqm_strdup(path);
	if (!pool->path)
		code = AQM_ERUN;
	else if (access(path, R_OK) != 0)
		code = aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	else if (H5Fis_hdf5(path) <= 0)
		code = wrong(pool, "it is not an HDF5 file");
	else if ((pool->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT)) < 0)
		code = wrong(pool, "it is a damaged HDF5 file");
	if (code == AQM_OK)
		code = open_columns(pool);
	if (code == AQM_OK)
		code = open_episodes(pool);
	if (code == AQM_OK)
		code = read_provenance(pool);
	if (code == AQM_OK && digest)
		code = aqm_pool_examine(pool);
	if (code != AQM_OK) {
		aqm_pool_free(pool);
		return code;
	}
	*out = pool;
	return AQM_OK;
}

void aqm_pool_free(aqm_pool *pool)
{
	if (!pool)
		return;
	for (size_t c = 0; c < pool->column_count; c++) {
		free(pool->columns[c].data);
		if (pool->columns[c].dataset >= 0)
			H5Dclose(pool->columns[c].dataset);
	}
	if (pool->file >= 0)
		H5Fclose(pool->file);
	free(pool->episodes);
	free_strings(pool->behaviours, pool->behaviour_count);
	aqm_provenance_release(&pool->provenance);
	free(pool->path);
	free(pool);
}

int aqm_pool_read(const aqm_pool *pool, const struct aqm_column *column, uint64_t start, size_t count, void *out)
{
	hsize_t offset = start, size = count;

	if (column->data) {
		memcpy(out, (const uint8_t *)column->data + start * aqm_kind_size(column->kind),
		       count * aqm_kind_size(column->kind));
		return AQM_OK;
	}
	hid_t memory = H5Screate_simple(1, &size, NULL), file = H5Dget_space(column->dataset);
	bool good = memory >= 0 && file >= 0 &&
	            H5Sselect_hyperslab(file, H5S_SELECT_SET, &offset, NULL, &size, NULL) >= 0 &&
	            H5Dread(column->dataset, aqm_hdf5_type(column->kind), memory, file, H5P_DEFAULT, out) >= 0;
	if (memory >= 0)
		H5Sclose(memory);
	if (file >= 0)
		H5Sclose(file);
	return good ? AQM_OK
	            : aqm_error_set(AQM_EDATA, "cannot read '%s': column '%s' is damaged near row %llu", pool->path,
	                            column->name, (unsigned long long)start);
}
