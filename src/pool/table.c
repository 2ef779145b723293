/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum { SETS = 3 };

struct set {
	void *buffers[AQM_COLUMNS_MAX];
	struct aqm_job jobs[AQM_COLUMNS_MAX];
	uint64_t first_row;
	bool in_flight;
};

struct aqm_table {
	const char *path; /* not owned */
	hid_t group;
	aqm_crew *crew;
	int compression;
	size_t count;
	struct aqm_table_column columns[AQM_COLUMNS_MAX];
	hid_t datasets[AQM_COLUMNS_MAX];
	size_t chunk_rows; /* AQM_CHUNK_ROWS, or all rows of a smaller table */
	uint64_t rows;     /* of whole chunks handed over */
	size_t filled;     /* rows in the set being filled */
	unsigned current;
	struct set sets[SETS];
};

void aqm_hdf5_quiet(void)
{
	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void aqm_hdf5_no_exit(void)
{
	H5dont_atexit();
}

bool aqm_hdf5_is_own(hid_t file, hid_t dataset)
{
	H5O_info_t root, info;

	if (H5Oget_info(file, &root) < 0 || H5Oget_info(dataset, &info) < 0 || root.fileno != info.fileno)
		return false;
	hid_t plan = H5Dget_create_plist(dataset);
	bool own = plan >= 0 && H5Pget_external_count(plan) == 0 && H5Pget_layout(plan) != H5D_VIRTUAL;

	if (plan >= 0)
		H5Pclose(plan);
	return own;
}

hid_t aqm_hdf5_type(enum aqm_kind kind)
{
	switch (kind) {
	case AQM_KIND_U8: return H5T_NATIVE_UINT8;
	case AQM_KIND_I8: return H5T_NATIVE_INT8;
	case AQM_KIND_U16: return H5T_NATIVE_UINT16;
	case AQM_KIND_I16: return H5T_NATIVE_INT16;
	case AQM_KIND_U32: return H5T_NATIVE_UINT32;
	case AQM_KIND_I32: return H5T_NATIVE_INT32;
	case AQM_KIND_U64: return H5T_NATIVE_UINT64;
	case AQM_KIND_I64: return H5T_NATIVE_INT64;
	case AQM_KIND_F32: return H5T_NATIVE_FLOAT;
	default: return H5T_NATIVE_DOUBLE;
	}
}

static int failed(const aqm_table *table, size_t column)
{
	return aqm_error_set(AQM_ERUN, "cannot write column '%s' of '%s': the disk may be full",
	                     table->columns[column].name, table->path);
}

/* ---- datasets ---- */

static int write_text_attribute(hid_t object, const char *name, const char *text)
{
	hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), attribute = -1;
	bool good =
		type >= 0 && space >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0;

	if (good)
		attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
	good = good && attribute >= 0 && H5Awrite(attribute, type, &text) >= 0;
	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	H5Tclose(type);
	return good ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write attribute '%s'", name);
}

static int create_dataset(aqm_table *table, size_t c)
{
	const struct aqm_table_column *column = &table->columns[c];
	hsize_t none = 0, unlimited = H5S_UNLIMITED, chunk = table->chunk_rows;
	hid_t type = aqm_hdf5_type(column->kind), space = H5Screate_simple(1, &none, &unlimited),
		  plan = H5Pcreate(H5P_DATASET_CREATE);
	const double nan = NAN;
	bool good = H5Pset_chunk(plan, 1, &chunk) >= 0 && (aqm_kind_size(column->kind) == 1 || H5Pset_shuffle(plan) >= 0) &&
	            H5Pset_deflate(plan, (unsigned)table->compression) >= 0 && H5Pset_obj_track_times(plan, false) >= 0 &&
	            (column->kind != AQM_KIND_F64 || H5Pset_fill_value(plan, H5T_NATIVE_DOUBLE, &nan) >= 0);

	if (good)
		table->datasets[c] = H5Dcreate2(table->group, column->name, type, space, H5P_DEFAULT, plan, H5P_DEFAULT);
	H5Pclose(plan);
	H5Sclose(space);
	if (!good || table->datasets[c] < 0)
		return failed(table, c);
	if (column->unit && *column->unit && write_text_attribute(table->datasets[c], "units", column->unit) != AQM_OK)
		return AQM_ERUN;
	return column->description ? write_text_attribute(table->datasets[c], "description", column->description) : AQM_OK;
}

/* ---- sets ---- */

static void free_set(struct set *set, size_t columns)
{
	for (size_t c = 0; c < columns; c++) {
		free(set->buffers[c]);
		free(set->jobs[c].out);
	}
}

static int init_set(aqm_table *table, struct set *set)
{
	for (size_t c = 0; c < table->count; c++) {
		size_t item = aqm_kind_size(table->columns[c].kind);

		set->buffers[c] = aqm_malloc_array(AQM_CHUNK_ROWS, item);
		set->jobs[c].out = aqm_malloc_array(aqm_job_bound(AQM_CHUNK_ROWS * item), 1);
		if (!set->buffers[c] || !set->jobs[c].out)
			return AQM_ERUN;
	}
	return AQM_OK;
}

/* Write a set that the crew is compressing. */
static int collect(aqm_table *table, struct set *set)
{
	hsize_t offset = set->first_row;
	int code = AQM_OK;

	for (size_t c = 0; set->in_flight && c < table->count; c++) {
		if (set->jobs[c].state == AQM_JOB_IDLE)
			continue;
		int result = aqm_crew_wait(table->crew, &set->jobs[c]); /* for all of them, also after a failure */

		if (code == AQM_OK && result == AQM_OK &&
		    H5Dwrite_chunk(table->datasets[c], H5P_DEFAULT, 0, &offset, set->jobs[c].out_bytes, set->jobs[c].out) < 0)
			result = failed(table, c);
		if (code == AQM_OK)
			code = result;
	}
	set->in_flight = false;
	return code;
}

/* Hand the rows that are filled to the crew, and take the next set. HDF5 wants whole chunks: behind the rows there
 * are zeros. */
static int hand_over(aqm_table *table)
{
	struct set *set = &table->sets[table->current];
	size_t filled = table->filled;

	if (table->rows == 0)
		table->chunk_rows = filled;
	hsize_t extent = table->rows + filled;
	for (size_t c = 0; c < table->count; c++) {
		size_t item = aqm_kind_size(table->columns[c].kind);
		int code = AQM_OK;

		if (!table->columns[c].used)
			continue;
		if (table->datasets[c] < 0)
			code = create_dataset(table, c);
		if (code == AQM_OK && H5Dset_extent(table->datasets[c], &extent) < 0)
			code = failed(table, c);
		if (code != AQM_OK)
			return code;
		memset((uint8_t *)set->buffers[c] + filled * item, 0, (table->chunk_rows - filled) * item);
		set->jobs[c].raw = set->buffers[c];
		set->jobs[c].bytes = table->chunk_rows * item;
		set->jobs[c].item = item;
		set->in_flight = true;
		aqm_crew_submit(table->crew, &set->jobs[c]);
	}
	set->first_row = table->rows;
	table->rows += filled;
	table->filled = 0;
	table->current = (table->current + 1) % SETS;
	return collect(table, &table->sets[table->current]);
}

/* ---- tables ---- */

int aqm_table_new(aqm_table **out, hid_t file, const char *path, const char *name, aqm_crew *crew, int compression,
                  const struct aqm_table_column *columns, size_t count)
{
	aqm_table *table = aqm_calloc_array(1, sizeof *table);
	int code = AQM_OK;

	*out = NULL;
	if (!table)
		return AQM_ERUN;
	table->path = path;
	table->crew = crew;
	table->compression = compression;
	table->count = count;
	table->chunk_rows = AQM_CHUNK_ROWS;
	table->group = -1;
	memcpy(table->columns, columns, count * sizeof *columns);
	for (size_t c = 0; c < AQM_COLUMNS_MAX; c++)
		table->datasets[c] = -1;
	/* Links in the group's header, which has a checksum, and not in a heap, which has none. */
	hid_t plan = H5Pcreate(H5P_GROUP_CREATE);
	if (H5Pset_obj_track_times(plan, false) >= 0 && H5Pset_link_phase_change(plan, AQM_COLUMNS_MAX, 0) >= 0)
		table->group = H5Gcreate2(file, name, H5P_DEFAULT, plan, H5P_DEFAULT);
	H5Pclose(plan);
	if (table->group < 0)
		code = aqm_error_set(AQM_ERUN, "cannot create the group '%s' of '%s'", name, path);
	for (int s = 0; code == AQM_OK && s < SETS; s++)
		code = init_set(table, &table->sets[s]);
	if (code != AQM_OK) {
		aqm_table_free(table);
		return code;
	}
	*out = table;
	return AQM_OK;
}

void aqm_table_free(aqm_table *table)
{
	if (!table)
		return;
	for (int s = 0; s < SETS; s++) {
		for (size_t c = 0; c < table->count; c++)
			if (table->sets[s].jobs[c].state != AQM_JOB_IDLE)
				aqm_crew_wait(table->crew, &table->sets[s].jobs[c]);
		free_set(&table->sets[s], table->count);
	}
	for (size_t c = 0; c < table->count; c++)
		if (table->datasets[c] >= 0)
			H5Dclose(table->datasets[c]);
	if (table->group >= 0)
		H5Gclose(table->group);
	free(table);
}

void *aqm_table_buffer(const aqm_table *table, size_t column)
{
	return table->sets[table->current].buffers[column];
}

size_t aqm_table_filled(const aqm_table *table)
{
	return table->filled;
}

size_t aqm_table_room(const aqm_table *table)
{
	return AQM_CHUNK_ROWS - table->filled;
}

uint64_t aqm_table_rows(const aqm_table *table)
{
	return table->rows + table->filled;
}

void aqm_table_use(aqm_table *table, size_t column)
{
	table->columns[column].used = true;
}

int aqm_table_advance(aqm_table *table, size_t rows)
{
	table->filled += rows;
	return table->filled == AQM_CHUNK_ROWS ? hand_over(table) : AQM_OK;
}

int aqm_table_finish(aqm_table *table)
{
	int code = table->filled ? hand_over(table) : AQM_OK;

	for (unsigned s = 1; s <= SETS; s++) { /* oldest first, so that equal inputs give equal files */
		int result = collect(table, &table->sets[(table->current + s) % SETS]);

		if (code == AQM_OK)
			code = result;
	}
	return code;
}
