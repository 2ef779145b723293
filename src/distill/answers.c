/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A teacher's answers in HDF5: /logits (rows, outputs) float32, and as attributes of the file what they are answers to and how many windows
 * are done. As in a policy's file the user block before it has the SHA-256 of all the rest, so that libhdf5 reads nothing damaged.
 */
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "distill/teacher.h"

enum { TEXT_MAX = 80, USER_BLOCK = 512 };

static int hash_key(const struct aqm_answers_key *key, char hex[65])
{
	const uint64_t head[3] = {key->rows, key->outputs, key->windows};
	aqm_sha256 *hash;
	int code = aqm_sha256_new(&hash);

	if (code != AQM_OK)
		return code;
	aqm_sha256_update(hash, key->teacher, strlen(key->teacher) + 1);
	aqm_sha256_update(hash, key->base, strlen(key->base) + 1);
	aqm_sha256_update(hash, key->pool, strlen(key->pool) + 1);
	aqm_sha256_update(hash, key->returns, strlen(key->returns) + 1);
	aqm_sha256_update(hash, head, sizeof head);
	aqm_sha256_finish(hash, hex);
	return AQM_OK;
}

char *aqm_answers_path(const char *folder, const struct aqm_answers_key *key)
{
	char hex[65];

	if (hash_key(key, hex) != AQM_OK)
		return NULL;
	return aqm_strprintf("%s/%.16s.h5", folder, hex);
}

/* ---- the seal ---- */

static void format_block(char block[USER_BLOCK], const char hex[65])
{
	memset(block, 0, USER_BLOCK);
	snprintf(block, USER_BLOCK, "aqmtrain answers 1\nsha256 %s\n", hex);
}

/* What the user block of a mapped file should be. AQM_EDATA: there is none. */
static int expected_block(const struct aqm_mapping *map, char block[USER_BLOCK])
{
	char hex[65];
	aqm_sha256 *hash;
	int code = map->bytes > USER_BLOCK ? aqm_sha256_new(&hash) : AQM_EDATA;

	if (code != AQM_OK)
		return code;
	aqm_sha256_update(hash, map->data + USER_BLOCK, map->bytes - USER_BLOCK);
	aqm_sha256_finish(hash, hex);
	format_block(block, hex);
	return AQM_OK;
}

static int seal(const char *path)
{
	struct aqm_mapping map;
	char block[USER_BLOCK];
	int code = aqm_map_file(&map, path);

	if (code != AQM_OK)
		return code;
	code = expected_block(&map, block);
	aqm_unmap(&map);
	int fd = code == AQM_OK ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	if (fd < 0 || pwrite(fd, block, sizeof block, 0) != (ssize_t)sizeof block)
		code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
	if (fd >= 0)
		close(fd);
	return code;
}

static bool is_sealed(const char *path)
{
	struct aqm_mapping map;
	char block[USER_BLOCK];

	if (aqm_map_file(&map, path) != AQM_OK)
		return false;
	bool sealed = expected_block(&map, block) == AQM_OK && memcmp(block, map.data, sizeof block) == 0;
	aqm_unmap(&map);
	return sealed;
}

/* ---- writing ---- */

static bool write_text(hid_t file, const char *name, const char *text)
{
	hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
	bool good = H5Tset_size(type, strlen(text) + 1) >= 0;
	hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);

	good = good && attribute >= 0 && H5Awrite(attribute, type, text) >= 0;
	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	H5Tclose(type);
	return good;
}

static bool write_number(hid_t file, const char *name, uint64_t value)
{
	hid_t space = H5Screate(H5S_SCALAR);
	hid_t attribute = H5Acreate2(file, name, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
	bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0;

	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	return good;
}

static bool write_file(const char *path, const struct aqm_answers_key *key, const float *logits, uint64_t windows)
{
	hsize_t size[2] = {key->rows, key->outputs};
	hid_t creation = H5Pcreate(H5P_FILE_CREATE);

	H5Pset_userblock(creation, USER_BLOCK);
	hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, H5P_DEFAULT);
	H5Pclose(creation);
	if (file < 0)
		return false;
	bool good = write_text(file, "teacher_sha256", key->teacher) && write_text(file, "base_sha256", key->base) &&
	            write_text(file, "pool_sha256", key->pool) && write_text(file, "returns", key->returns) &&
	            write_number(file, "windows", windows);
	hid_t space = H5Screate_simple(2, size, NULL);
	hid_t dataset = H5Dcreate2(file, "logits", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

	good = good && dataset >= 0 && H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, logits) >= 0;
	if (dataset >= 0)
		good = H5Dclose(dataset) >= 0 && good;
	H5Sclose(space);
	return H5Fclose(file) >= 0 && good;
}

int aqm_answers_write(const char *path, const struct aqm_answers_key *key, const float *logits, uint64_t windows)
{
	struct aqm_atomic_file file;
	bool written = false;
	int code = aqm_atomic_reserve(&file, path);

	if (code != AQM_OK)
		return code;
	code = aqm_atomic_check_room(&file, (size_t)(key->rows * key->outputs) * sizeof *logits + (1 << 16));
	if (code == AQM_OK) {
		H5E_BEGIN_TRY
		{
			written = write_file(file.temporary_path, key, logits, windows);
		}
		H5E_END_TRY;
		if (!written)
			code = aqm_error_set(AQM_ERUN, "cannot write '%s': libhdf5 failed (is the disk full?)", path);
	}
	if (code == AQM_OK)
		code = seal(file.temporary_path);
	if (code == AQM_OK)
		return aqm_atomic_commit(&file);
	aqm_atomic_abort(&file);
	return code;
}

/* ---- reading ---- */

static bool text_is(hid_t file, const char *name, const char *expected)
{
	char text[TEXT_MAX] = "";
	hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);

	if (attribute < 0)
		return false;
	hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
	bool good = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && H5Sget_simple_extent_npoints(space) == 1 &&
	            H5Tget_size(type) < sizeof text && H5Aread(attribute, type, text) >= 0 && strcmp(text, expected) == 0;
	H5Sclose(space);
	H5Tclose(type);
	H5Aclose(attribute);
	return good;
}

static bool read_number(hid_t file, const char *name, uint64_t *value)
{
	hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);

	if (attribute < 0)
		return false;
	hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
	bool good = H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == H5T_INTEGER &&
	            H5Aread(attribute, H5T_NATIVE_UINT64, value) >= 0;
	H5Tclose(type);
	H5Sclose(space);
	H5Aclose(attribute);
	return good;
}

static bool read_logits(hid_t file, const struct aqm_answers_key *key, float *logits)
{
	hid_t dataset = H5Dopen2(file, "logits", H5P_DEFAULT);
	hsize_t size[2] = {0, 0};

	if (dataset < 0)
		return false;
	hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
	bool good = H5Tget_class(type) == H5T_FLOAT && H5Sget_simple_extent_ndims(space) == 2 &&
	            H5Sget_simple_extent_dims(space, size, NULL) == 2 && size[0] == key->rows && size[1] == key->outputs &&
	            H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, logits) >= 0;
	H5Tclose(type);
	H5Sclose(space);
	H5Dclose(dataset);
	return good;
}

static bool read_file(const char *path, const struct aqm_answers_key *key, float *logits, uint64_t *windows)
{
	hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);

	if (file < 0)
		return false;
	bool good = text_is(file, "teacher_sha256", key->teacher) && text_is(file, "base_sha256", key->base) &&
	            text_is(file, "pool_sha256", key->pool) && text_is(file, "returns", key->returns) &&
	            read_number(file, "windows", windows) && *windows <= key->windows && read_logits(file, key, logits);
	H5Fclose(file);
	return good;
}

int aqm_answers_read(const char *path, const struct aqm_answers_key *key, float *logits, uint64_t *windows)
{
	bool good = false;

	*windows = 0;
	if (!aqm_path_exists(path))
		return AQM_OK;
	if (is_sealed(path)) {
		H5E_BEGIN_TRY
		{
			good = read_file(path, key, logits, windows);
		}
		H5E_END_TRY;
	}
	for (uint64_t i = 0; good && *windows == key->windows && i < key->rows * key->outputs; i++)
		good = isfinite(logits[i]);
	if (!good) {
		aqm_log_warning("'%s' is damaged, or not what its name says: the teacher is asked again", path);
		*windows = 0;
	}
	return AQM_OK;
}
