/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The time series: a row a point, as CSV or in HDF5.
 */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "aqmtrain/sim.h"
#include "pool/table.h"

/* name without the queue's letter, unit, offset, whether a value a queue, integer */
static const struct series {
	const char *name, *unit;
	size_t offset;
	bool per_queue, integer;
} series[] = {
	{"time", "s", offsetof(struct aqm_sim_point, time), false, false},
	{"rate", "Mb/s", offsetof(struct aqm_sim_point, rate), false, false},
	{"delay", "ms", offsetof(struct aqm_sim_point, delay), true, false},
	{"delay_peak", "ms", offsetof(struct aqm_sim_point, delay_peak), true, false},
	{"probability", "", offsetof(struct aqm_sim_point, probability), true, false},
	{"backlog", "bytes", offsetof(struct aqm_sim_point, backlog), true, true},
	{"departed", "packets", offsetof(struct aqm_sim_point, departed), true, true},
	{"marked", "packets", offsetof(struct aqm_sim_point, marked), true, true},
	{"dropped", "packets", offsetof(struct aqm_sim_point, dropped), true, true},
};
enum { SERIES = sizeof series / sizeof *series };

static double value_of(const struct series *s, const struct aqm_sim_point *point, size_t queue)
{
	const char *at = (const char *)point + s->offset;

	return s->integer ? ((const uint32_t *)(const void *)at)[queue] : ((const double *)(const void *)at)[queue];
}

static size_t queues_of(const struct aqm_sim_result *result, const struct series *s)
{
	return s->per_queue ? result->queue_count : 1;
}

static void name_of(const struct aqm_sim_result *result, const struct series *s, size_t queue,
                    char name[AQM_SIM_NAME_MAX])
{
	snprintf(name, AQM_SIM_NAME_MAX, "%s%s%s", s->name, s->per_queue ? "_" : "",
	         s->per_queue ? result->queues[queue].name : "");
}

static int write_csv(const struct aqm_sim_result *result, const char *path)
{
	struct aqm_atomic_file file;
	char name[AQM_SIM_NAME_MAX];
	int code = aqm_atomic_open(&file, path);

	if (code != AQM_OK)
		return code;
	for (size_t s = 0; s < SERIES; s++)
		for (size_t q = 0; q < queues_of(result, &series[s]); q++) {
			name_of(result, &series[s], q, name);
			fprintf(file.stream, "%s%s", s ? "," : "", name);
		}
	fputc('\n', file.stream);
	for (size_t i = 0; i < result->point_count; i++) {
		for (size_t s = 0; s < SERIES; s++)
			for (size_t q = 0; q < queues_of(result, &series[s]); q++)
				fprintf(file.stream, "%s%.9g", s ? "," : "", value_of(&series[s], &result->series[i], q));
		fputc('\n', file.stream);
	}
	code = ferror(file.stream) ? aqm_error_errno(AQM_ERUN, "cannot write '%s'", path) : aqm_atomic_commit(&file);
	aqm_atomic_abort(&file);
	return code;
}

static bool write_dataset(hid_t file, const char *name, const char *unit, const double *values, size_t count)
{
	hsize_t size = count;
	hid_t space = H5Screate_simple(1, &size, NULL);
	hid_t dataset = H5Dcreate2(file, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	bool good = dataset >= 0 && H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;

	H5Sclose(space);
	if (dataset < 0)
		return false;
	hid_t type = H5Tcopy(H5T_C_S1), scalar = H5Screate(H5S_SCALAR);
	H5Tset_size(type, *unit ? strlen(unit) : 1);
	hid_t attribute = H5Acreate2(dataset, "units", type, scalar, H5P_DEFAULT, H5P_DEFAULT);
	good = good && attribute >= 0 && H5Awrite(attribute, type, *unit ? unit : " ") >= 0;
	H5Aclose(attribute);
	H5Sclose(scalar);
	H5Tclose(type);
	H5Dclose(dataset);
	return good;
}

static int write_hdf5(const struct aqm_sim_result *result, const char *path)
{
	struct aqm_atomic_file file;
	char name[AQM_SIM_NAME_MAX];
	double *values = aqm_malloc_array(result->point_count, sizeof *values);
	bool good;

	if (!values)
		return AQM_ERUN;
	aqm_hdf5_quiet();
	int code = aqm_atomic_reserve(&file, path);
	if (code == AQM_OK) {
		hid_t h5 = H5Fcreate(file.temporary_path, H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);

		good = h5 >= 0;
		for (size_t s = 0; good && s < SERIES; s++)
			for (size_t q = 0; good && q < queues_of(result, &series[s]); q++) {
				for (size_t i = 0; i < result->point_count; i++)
					values[i] = value_of(&series[s], &result->series[i], q);
				name_of(result, &series[s], q, name);
				good = write_dataset(h5, name, series[s].unit, values, result->point_count);
			}
		good = h5 >= 0 && H5Fclose(h5) >= 0 && good;
		code = good ? aqm_atomic_commit(&file) : aqm_error_set(AQM_ERUN, "cannot write '%s': the disk may be full", path);
		aqm_atomic_abort(&file);
	}
	free(values);
	return code;
}

int aqm_sim_write_series(const struct aqm_sim_result *result, const char *path)
{
	size_t length = strlen(path);

	return length > 3 && strcmp(path + length - 3, ".h5") == 0 ? write_hdf5(result, path) : write_csv(result, path);
}
