/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A pool file: /records, /episodes, and where they come from as attributes of the file.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/thread.h"
#include "pool/table.h"

static const struct aqm_table_column episode_columns[] = {
	{"start", "rows", "first record of the episode", AQM_KIND_U64, true},
	{"length", "rows", "records in the episode", AQM_KIND_U64, true},
	{"source", "", "file of its first record, an index into the attribute inputs", AQM_KIND_U32, true},
	{"behaviour", "", "what acted in it, an index into the attribute behaviours", AQM_KIND_U32, false},
};
enum { EPISODE_COLUMNS = sizeof episode_columns / sizeof *episode_columns };

void aqm_provenance_release(struct aqm_provenance *provenance)
{
	for (size_t i = 0; i < provenance->input_count; i++)
		free(provenance->inputs[i].path);
	free(provenance->inputs);
	*provenance = (struct aqm_provenance){0};
}

int aqm_provenance_add_input(struct aqm_provenance *provenance, const char *path, uint64_t bytes, const char sha256[65])
{
	struct aqm_input *grown = aqm_realloc_array(provenance->inputs, provenance->input_count + 1, sizeof *grown);
	char *copy = grown ? aqm_strdup(path) : NULL;

	if (grown)
		provenance->inputs = grown;
	if (!copy)
		return AQM_ERUN;
	struct aqm_input *input = &grown[provenance->input_count++];
	*input = (struct aqm_input){.path = copy, .bytes = bytes};
	memcpy(input->sha256, sha256, sizeof input->sha256 - 1);
	return AQM_OK;
}

/* ---- attributes ---- */

static int write_attribute(hid_t file, const char *name, hid_t type, size_t count, const void *values)
{
	hsize_t size = count;
	hid_t space = count == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &size, NULL);
	hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
	bool good = attribute >= 0 && H5Awrite(attribute, type, values) >= 0;

	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	return good ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write attribute '%s'", name);
}

static int write_number(hid_t file, const char *name, uint64_t value)
{
	return write_attribute(file, name, H5T_NATIVE_UINT64, 1, &value);
}

/* An array of one stays an array: readers should not have to tell the cases apart. */
static int write_array(hid_t file, const char *name, hid_t type, size_t count, const void *values)
{
	hsize_t size = count;
	hid_t space = H5Screate_simple(1, &size, NULL),
		  attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
	bool good = attribute >= 0 && (count == 0 || H5Awrite(attribute, type, values) >= 0);

	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	return good ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write attribute '%s'", name);
}

static int write_inputs(hid_t file, hid_t text, const struct aqm_provenance *provenance)
{
	size_t n = provenance->input_count;
	const char **paths = aqm_malloc_array(n, sizeof *paths), **hashes = aqm_malloc_array(n, sizeof *hashes);
	uint64_t *bytes = aqm_malloc_array(n, sizeof *bytes);
	int code = paths && hashes && bytes ? AQM_OK : AQM_ERUN;

	for (size_t i = 0; code == AQM_OK && i < n; i++) {
		paths[i] = provenance->inputs[i].path;
		hashes[i] = provenance->inputs[i].sha256;
		bytes[i] = provenance->inputs[i].bytes;
	}
	if (code == AQM_OK)
		code = write_array(file, "inputs", text, n, paths);
	if (code == AQM_OK)
		code = write_array(file, "inputs_bytes", H5T_NATIVE_UINT64, n, bytes);
	if (code == AQM_OK)
		code = write_array(file, "inputs_sha256", text, n, hashes);
	free(paths);
	free(hashes);
	free(bytes);
	return code;
}

static int write_provenance(hid_t file, const struct aqm_provenance *provenance)
{
	const char *program = "aqmtrain", *version = AQM_VERSION, *part = provenance->part;
	hid_t text = H5Tcopy(H5T_C_S1);
	char name[AQM_NAME_MAX];

	H5Tset_size(text, H5T_VARIABLE);
	H5Tset_cset(text, H5T_CSET_UTF8);
	int code = write_attribute(file, "program", text, 1, &program);
	if (code == AQM_OK)
		code = write_attribute(file, "program_version", text, 1, &version);
	if (code == AQM_OK)
		code = write_inputs(file, text, provenance);
	for (int i = 0; code == AQM_OK && i < AQM_SKIP_REASONS; i++) {
		snprintf(name, sizeof name, "skipped_%s", aqm_skip_names[i]);
		code = write_number(file, name, provenance->skipped[i]);
	}
	if (code == AQM_OK)
		code = write_number(file, "repeats_expanded", provenance->repeats_expanded);
	if (code == AQM_OK)
		code = write_number(file, "without_pkt_len", provenance->without_pkt_len);
	if (code == AQM_OK)
		code = write_number(file, "ignored_files", provenance->ignored_files);
	if (code == AQM_OK && *part)
		code = write_attribute(file, "part", text, 1, &part);
	H5Tclose(text);
	return code;
}

/* ---- the file ---- */

/* Attributes over 64 KiB (thousands of inputs) need the format of HDF5 1.8, unlimited chunked columns are quickest in
 * that of 1.10. No times are kept, so that the same rows give the same bytes. */
static hid_t create_file(const char *path)
{
	hid_t access = H5Pcreate(H5P_FILE_ACCESS), plan = H5Pcreate(H5P_FILE_CREATE), file = -1;

	if (H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110) >= 0 && H5Pset_obj_track_times(plan, false) >= 0)
		file = H5Fcreate(path, H5F_ACC_EXCL, plan, access);
	H5Pclose(access);
	H5Pclose(plan);
	return file;
}

int aqm_pool_writer_open(struct aqm_pool_writer *writer, const char *path, const struct aqm_table_column *columns,
                         size_t count, int compression, int threads)
{
	*writer = (struct aqm_pool_writer){.file = -1};
	aqm_hdf5_quiet();
	if (compression < 0)
		compression = AQM_DEFAULT_COMPRESSION;
	int code = aqm_atomic_reserve(&writer->atomic, path);
	if (code != AQM_OK)
		return code;
	writer->file = create_file(writer->atomic.temporary_path);
	if (writer->file < 0)
		code = aqm_error_errno(AQM_ERUN, "cannot create '%s'", path);
	else
		code = aqm_crew_new(&writer->crew, threads > 0 ? threads : aqm_threads(), compression);
	if (code == AQM_OK)
		code = aqm_table_new(&writer->records, writer->file, writer->atomic.path, "records", writer->crew, compression,
		                     columns, count);
	if (code == AQM_OK)
		code = aqm_table_new(&writer->episodes, writer->file, writer->atomic.path, "episodes", writer->crew,
		                     compression, episode_columns, EPISODE_COLUMNS);
	if (code != AQM_OK)
		aqm_pool_writer_abort(writer);
	return code;
}

/* Write the row of the episode that is open, which ends before record `end`. */
static int close_episode(struct aqm_pool_writer *writer, uint64_t end)
{
	aqm_table *episodes = writer->episodes;
	size_t row = aqm_table_filled(episodes);

	if (!writer->episode_open || end == writer->episode_start)
		return AQM_OK;
	((uint64_t *)aqm_table_buffer(episodes, 0))[row] = writer->episode_start;
	((uint64_t *)aqm_table_buffer(episodes, 1))[row] = end - writer->episode_start;
	((uint32_t *)aqm_table_buffer(episodes, 2))[row] = writer->episode_source;
	if (writer->behaviour_count)
		((uint32_t *)aqm_table_buffer(episodes, 3))[row] = writer->episode_behaviour;
	return aqm_table_advance(episodes, 1);
}

int aqm_pool_writer_episode(struct aqm_pool_writer *writer, uint64_t row, uint32_t source)
{
	int code = close_episode(writer, row);

	writer->episode_open = true;
	writer->episode_start = row;
	writer->episode_source = source;
	writer->episode_behaviour = UINT32_MAX;
	return code;
}

int aqm_pool_writer_behaviour(struct aqm_pool_writer *writer, const char *name)
{
	size_t i = 0;

	while (i < writer->behaviour_count && strcmp(writer->behaviours[i], name) != 0)
		i++;
	if (i == writer->behaviour_count) {
		char **grown = aqm_realloc_array(writer->behaviours, i + 1, sizeof(char *));

		if (grown)
			writer->behaviours = grown;
		if (!grown || !(grown[i] = aqm_strdup(name)))
			return AQM_ERUN;
		writer->behaviour_count++;
		if (i == 0)
			aqm_table_use(writer->episodes, 3);
	}
	writer->episode_behaviour = (uint32_t)i;
	return AQM_OK;
}

static int write_behaviours(const struct aqm_pool_writer *writer)
{
	hid_t text = H5Tcopy(H5T_C_S1);

	H5Tset_size(text, H5T_VARIABLE);
	H5Tset_cset(text, H5T_CSET_UTF8);
	int code = writer->behaviour_count
	               ? write_array(writer->file, "behaviours", text, writer->behaviour_count, writer->behaviours)
	               : AQM_OK;
	H5Tclose(text);
	return code;
}

/* Everything of HDF5 is to be closed before the file is synced and renamed. */
static bool close_file(struct aqm_pool_writer *writer)
{
	aqm_table_free(writer->records);
	aqm_table_free(writer->episodes);
	writer->records = writer->episodes = NULL;
	aqm_crew_free(writer->crew);
	writer->crew = NULL;
	herr_t result = writer->file >= 0 ? H5Fclose(writer->file) : 0;
	writer->file = -1;
	return result >= 0;
}

int aqm_pool_writer_commit(struct aqm_pool_writer *writer, const struct aqm_provenance *provenance)
{
	int code = close_episode(writer, aqm_table_rows(writer->records));

	if (code == AQM_OK)
		code = aqm_table_finish(writer->records);
	if (code == AQM_OK)
		code = aqm_table_finish(writer->episodes);
	if (code == AQM_OK)
		code = write_provenance(writer->file, provenance);
	if (code == AQM_OK)
		code = write_behaviours(writer);
	if (code == AQM_OK && !close_file(writer))
		code = aqm_error_set(AQM_ERUN, "cannot write '%s': the disk may be full", writer->atomic.path);
	if (code == AQM_OK)
		code = aqm_atomic_commit(&writer->atomic);
	if (code != AQM_OK)
		aqm_pool_writer_abort(writer);
	return code;
}

void aqm_pool_writer_abort(struct aqm_pool_writer *writer)
{
	for (size_t i = 0; i < writer->behaviour_count; i++)
		free(writer->behaviours[i]);
	free(writer->behaviours);
	writer->behaviours = NULL;
	writer->behaviour_count = 0;
	if (!writer->atomic.path)
		return;
	close_file(writer);
	aqm_atomic_abort(&writer->atomic);
}
