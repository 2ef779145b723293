/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/file.h"

#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "policy/internal.h"
#include "pool/table.h"

static const char magic[] = "aqmtrain policy 1\n", sum_label[] = "sha256 ";

enum { CONFIG_LIMIT = 1 << 20, PATH_LIMIT = 4096, CHUNK = 1 << 16 };

/* ---- user block ---- */

static void format_block(char block[AQM_POLICY_USER_BLOCK], const char hex[65])
{
	memset(block, 0, AQM_POLICY_USER_BLOCK);
	snprintf(block, AQM_POLICY_USER_BLOCK, "%s%s%s\n", magic, sum_label, hex);
}

/* SHA-256 of what follows the user block in an open file. */
static int hash_contents(int fd, const char *path, char hex[65])
{
	unsigned char chunk[CHUNK];
	aqm_sha256 *hash;
	off_t at = AQM_POLICY_USER_BLOCK;
	ssize_t n;
	int code = aqm_sha256_new(&hash);

	if (code != AQM_OK)
		return code;
	while ((n = pread(fd, chunk, sizeof chunk, at)) > 0) {
		aqm_sha256_update(hash, chunk, (size_t)n);
		at += n;
	}
	aqm_sha256_finish(hash, hex);
	return n < 0 ? aqm_error_errno(AQM_ERUN, "cannot read '%s'", path) : AQM_OK;
}

static int seal(const char *temporary, const char *path)
{
	char hex[65], block[AQM_POLICY_USER_BLOCK];
	int fd = open(temporary, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
	int code = hash_contents(fd, path, hex);
	if (code == AQM_OK) {
		format_block(block, hex);
		if (pwrite(fd, block, sizeof block, 0) != (ssize_t)sizeof block)
			code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
	}
	close(fd);
	return code;
}

static int compare_block(const char *name, const uint8_t *block, const char hex[65])
{
	char expected[AQM_POLICY_USER_BLOCK];

	format_block(expected, hex);
	if (memcmp(block, expected, sizeof expected) != 0)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': it is damaged (SHA-256 %.16s..., not the one written in it)",
		                     name, hex);
	return AQM_OK;
}

static int check_magic(const char *name, const uint8_t *data, size_t bytes)
{
	if (bytes < AQM_POLICY_USER_BLOCK || memcmp(data, magic, sizeof magic - 1) != 0)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': it is not a policy that this program wrote", name);
	return AQM_OK;
}

int aqm_policy_file_check(const char *name, const uint8_t *data, size_t bytes)
{
	char hex[65];
	aqm_sha256 *hash;
	int code = check_magic(name, data, bytes);

	if (code == AQM_OK)
		code = aqm_sha256_new(&hash);
	if (code != AQM_OK)
		return code;
	aqm_sha256_update(hash, data + AQM_POLICY_USER_BLOCK, bytes - AQM_POLICY_USER_BLOCK);
	aqm_sha256_finish(hash, hex);
	return compare_block(name, data, hex);
}

static int check_path(const char *path)
{
	char hex[65];
	uint8_t block[AQM_POLICY_USER_BLOCK];
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	int code = AQM_OK;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': it is not a regular file", path);
	if (code == AQM_OK) {
		ssize_t n = pread(fd, block, sizeof block, 0);

		code = check_magic(path, block, n < 0 ? 0 : (size_t)n);
	}
	if (code == AQM_OK)
		code = hash_contents(fd, path, hex);
	if (code == AQM_OK)
		code = compare_block(path, block, hex);
	close(fd);
	return code;
}

/* ---- writing ---- */

static bool write_string_attribute(hid_t object, const char *name, const char *text)
{
	hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
	bool good = H5Tset_size(type, strlen(text) + 1) >= 0;
	hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);

	good = good && attribute >= 0 && H5Awrite(attribute, type, text) >= 0;
	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	H5Tclose(type);
	return good;
}

static bool write_number_attribute(hid_t object, const char *name, double value)
{
	hid_t space = H5Screate(H5S_SCALAR);
	hid_t attribute = H5Acreate2(object, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
	bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0;

	if (attribute >= 0)
		H5Aclose(attribute);
	H5Sclose(space);
	return good;
}

/* A dataset without time stamps: the same policy gives the same bytes. */
static bool write_dataset(hid_t group, const char *name, hid_t file_type, hid_t memory_type, hid_t space,
                          const void *data)
{
	hid_t properties = H5Pcreate(H5P_DATASET_CREATE);

	H5Pset_obj_track_times(properties, false);
	hid_t dataset = H5Dcreate2(group, name, file_type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
	bool good = dataset >= 0 && H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
	if (dataset >= 0)
		good = H5Dclose(dataset) >= 0 && good;
	H5Pclose(properties);
	return good;
}

static bool write_text(hid_t group, const char *name, const char *text)
{
	hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
	bool good = H5Tset_size(type, strlen(text) + 1) >= 0 && write_dataset(group, name, type, type, space, text);

	H5Sclose(space);
	H5Tclose(type);
	return good;
}

static bool write_doubles(hid_t group, const char *name, const double *values, size_t count)
{
	hid_t space = H5Screate_simple(1, &(hsize_t){count}, NULL);
	bool good = write_dataset(group, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, space, values);

	H5Sclose(space);
	return good;
}

static hid_t create_group(hid_t file, const char *name)
{
	hid_t properties = H5Pcreate(H5P_GROUP_CREATE);

	H5Pset_obj_track_times(properties, false);
	hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, properties, H5P_DEFAULT);
	H5Pclose(properties);
	return group;
}

static bool write_base(aqm_policy *policy, hid_t file)
{
	hid_t group = create_group(file, "base");
	bool good = group >= 0 && write_string_attribute(group, "path", policy->base_path) &&
	            write_string_attribute(group, "sha256", policy->base_digest) &&
	            write_string_attribute(group, "architecture", aqm_model_shape(policy->model)->architecture);

	if (group >= 0)
		H5Gclose(group);
	return good;
}

/* Only control: update has levels; level_edges ends with a number that is not used. */
static bool write_levels(const struct aqm_level_fit *levels, hid_t group)
{
	return levels->scale <= 0 ||
	       (write_number_attribute(group, "level_mean", levels->mean) &&
	        write_number_attribute(group, "level_scale", levels->scale) &&
	        write_number_attribute(group, "change_scale", levels->change_scale) &&
	        write_number_attribute(group, "bins", (double)levels->bins) &&
	        (levels->bins == 0 || (write_doubles(group, "level_edges", levels->edge, levels->bins) &&
	                               write_doubles(group, "level_values", levels->value, levels->bins))));
}

static bool write_fit(const struct aqm_fit *fit, hid_t file)
{
	size_t values = fit->states.count * aqm_normaliser_values(fit->states.kind);
	hid_t group = create_group(file, "fit");
	bool good =
		group >= 0 &&
		write_string_attribute(group, "normaliser", aqm_config_word("policy.normaliser", (int)fit->states.kind)) &&
		write_number_attribute(group, "return_mean", fit->return_mean) &&
		write_number_attribute(group, "return_scale", fit->return_scale) &&
		write_number_attribute(group, "reward_low", fit->rewards.low) &&
		write_number_attribute(group, "reward_width", fit->rewards.width) &&
		write_number_attribute(group, "longest_episode", (double)fit->longest_episode) &&
		write_doubles(group, "mean", fit->states.mean, values) &&
		write_doubles(group, "scale", fit->states.scale, values) &&
		write_doubles(group, "return_quantiles", fit->return_quantiles, 101) &&
		write_doubles(group, "class_share", fit->class_share, AQM_ACTIONS) && write_levels(&fit->levels, group);

	if (group >= 0)
		H5Gclose(group);
	return good;
}

static bool write_param(const struct aqm_params *params, size_t index, hid_t group, float *buffer)
{
	const struct aqm_param *param = &params->items[index];
	struct aqm_mat value = aqm_params_value(params, (int64_t)index);
	hsize_t size[2] = {(hsize_t)param->rows, (hsize_t)param->cols};
	hid_t space = H5Screate_simple(2, size, NULL);

	params->device->ops->download(params->device, buffer, value.data,
	                              (size_t)(param->rows * param->cols) * sizeof(float));
	bool good = write_dataset(group, param->name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, space, buffer);
	H5Sclose(space);
	return good;
}

static size_t largest_param(const struct aqm_params *params)
{
	size_t largest = 1;

	for (size_t i = 0; i < params->count; i++) {
		size_t count = (size_t)(params->items[i].rows * params->items[i].cols);

		largest = count > largest ? count : largest;
	}
	return largest;
}

static bool write_params(const struct aqm_params *params, hid_t file)
{
	float *buffer = aqm_malloc_array(largest_param(params), sizeof *buffer);
	hid_t group = create_group(file, "parameters");
	bool good = buffer && group >= 0;

	for (size_t i = 0; good && i < params->count; i++)
		good = write_param(params, i, group, buffer);
	if (group >= 0)
		H5Gclose(group);
	free(buffer);
	return good;
}

static bool write_contents(aqm_policy *policy, const char *yaml, const char *manifest, const char *temporary)
{
	hid_t creation = H5Pcreate(H5P_FILE_CREATE);

	H5Pset_userblock(creation, AQM_POLICY_USER_BLOCK);
	hid_t file = H5Fcreate(temporary, H5F_ACC_TRUNC, creation, H5P_DEFAULT);
	H5Pclose(creation);
	if (file < 0)
		return false;
	bool good = write_text(file, "config", yaml) && write_base(policy, file) && write_fit(&policy->fit, file) &&
	            write_params(&policy->params, file) && (!manifest || write_text(file, "manifest", manifest));
	return H5Fclose(file) >= 0 && good;
}

/* What a file of this policy takes, at most. */
static size_t room(const aqm_policy *policy)
{
	return policy->params.floats * sizeof(float) + policy->params.count * 1024 + (1 << 16);
}

int aqm_policy_save_with(aqm_policy *policy, const char *path, const char *manifest)
{
	struct aqm_atomic_file file;
	char *yaml = NULL;
	bool written = false;
	int code = aqm_atomic_reserve(&file, path);

	if (code != AQM_OK)
		return code;
	code = aqm_config_dump(&policy->config, &yaml);
	if (code == AQM_OK)
		code = aqm_atomic_check_room(&file, room(policy));
	if (code == AQM_OK) {
		H5E_BEGIN_TRY
		{
			written = write_contents(policy, yaml, manifest, file.temporary_path);
		}
		H5E_END_TRY;
		if (!written)
			code = aqm_error_set(AQM_ERUN, "cannot write '%s': libhdf5 failed (is the disk full?)", path);
	}
	if (code == AQM_OK)
		code = seal(file.temporary_path, path);
	if (code == AQM_OK)
		code = aqm_atomic_commit(&file);
	else
		aqm_atomic_abort(&file);
	free(yaml);
	return code;
}

int aqm_policy_save(aqm_policy *policy, const char *path)
{
	return aqm_policy_save_with(policy, path, NULL);
}

/* ---- reading ---- */

/* Text of fixed length of an attribute or dataset's type: allocate, NUL-terminate. NULL when it is not text within
 * the limit. */
static char *text_room(hid_t type, hid_t space, size_t limit)
{
	if (type < 0 || space < 0 || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 ||
	    H5Sget_simple_extent_npoints(space) != 1 || H5Tget_size(type) == 0 || H5Tget_size(type) > limit)
		return NULL;
	return aqm_calloc_array(H5Tget_size(type) + 1, 1);
}

static char *read_string_attribute(hid_t object, const char *name, size_t limit)
{
	hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);

	if (attribute < 0)
		return NULL;
	hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
	char *text = text_room(type, space, limit);
	if (text && H5Aread(attribute, type, text) < 0) {
		free(text);
		text = NULL;
	}
	H5Sclose(space);
	H5Tclose(type);
	H5Aclose(attribute);
	return text;
}

static bool read_number_attribute(hid_t object, const char *name, double *value)
{
	hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);

	if (attribute < 0)
		return false;
	hid_t space = H5Aget_space(attribute);
	bool good = H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, H5T_NATIVE_DOUBLE, value) >= 0;
	H5Sclose(space);
	H5Aclose(attribute);
	return good && isfinite(*value);
}

static char *read_text(hid_t file, const char *name, size_t limit)
{
	hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);

	if (dataset < 0)
		return NULL;
	hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
	char *text = aqm_hdf5_is_own(file, dataset) ? text_room(type, space, limit) : NULL;
	if (text && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) < 0) {
		free(text);
		text = NULL;
	}
	H5Sclose(space);
	H5Tclose(type);
	H5Dclose(dataset);
	return text;
}

static bool is_own(hid_t group, hid_t dataset)
{
	hid_t file = H5Iget_file_id(group);
	bool own = file >= 0 && aqm_hdf5_is_own(file, dataset);

	if (file >= 0)
		H5Fclose(file);
	return own;
}

/* A dataset of exactly rows x cols (or of `cols`, when rows is 0) numbers. */
static bool read_numbers(hid_t group, const char *name, hsize_t rows, hsize_t cols, hid_t memory_type, void *out)
{
	hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
	hsize_t size[2] = {0, 0};
	int dimensions = rows ? 2 : 1;

	if (dataset < 0)
		return false;
	hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
	bool good = space >= 0 && type >= 0 && is_own(group, dataset) && H5Tget_class(type) == H5T_FLOAT &&
	            H5Sget_simple_extent_ndims(space) == dimensions &&
	            H5Sget_simple_extent_dims(space, size, NULL) == dimensions &&
	            (rows ? size[0] == rows && size[1] == cols : size[0] == cols) &&
	            H5Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0;
	H5Tclose(type);
	H5Sclose(space);
	H5Dclose(dataset);
	return good;
}

static bool all_finite(const double *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!isfinite(values[i]))
			return false;
	return true;
}

static bool all_positive(const double *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!(values[i] > 0))
			return false;
	return true;
}

static bool read_levels(hid_t group, const struct aqm_config *config, struct aqm_level_fit *levels)
{
	double bins;

	if (config->control == AQM_CONTROL_PACKET)
		return true;
	if (!read_number_attribute(group, "level_mean", &levels->mean) ||
	    !read_number_attribute(group, "level_scale", &levels->scale) || !(levels->scale > 0) ||
	    !read_number_attribute(group, "change_scale", &levels->change_scale) || !(levels->change_scale > 0) ||
	    !read_number_attribute(group, "bins", &bins) || !(bins >= 0 && bins <= (double)config->policy.bins))
		return false;
	levels->bins = (size_t)bins;
	if (config->policy.bins == 0)
		return true;
	return levels->bins > 0 && read_numbers(group, "level_edges", 0, levels->bins, H5T_NATIVE_DOUBLE, levels->edge) &&
	       read_numbers(group, "level_values", 0, levels->bins, H5T_NATIVE_DOUBLE, levels->value) &&
	       all_finite(levels->edge, levels->bins) && all_finite(levels->value, levels->bins);
}

/* What policies of former versions lack, because all of theirs had these values. */
static bool read_later_attributes(hid_t group, const struct aqm_config *config, struct aqm_fit *fit)
{
	bool by_episode = config->policy.time_embedding == AQM_TIME_EPISODE;
	double longest = 0;

	fit->rewards = (struct aqm_reward_range){.low = 0, .width = 1};
	if (!H5Aexists(group, "reward_low"))
		return !by_episode; /* which had another meaning */
	bool good = read_number_attribute(group, "reward_low", &fit->rewards.low) &&
	            read_number_attribute(group, "reward_width", &fit->rewards.width) && fit->rewards.width > 0 &&
	            read_number_attribute(group, "longest_episode", &longest) && longest >= 0 && longest <= INT32_MAX;
	fit->longest_episode = good ? (int64_t)longest : 0;
	return good;
}

static bool read_fit(hid_t file, const struct aqm_config *config, struct aqm_fit *fit)
{
	hid_t group = H5Gopen2(file, "fit", H5P_DEFAULT);
	size_t features = config->policy.features.count;

	if (group < 0)
		return false;
	fit->states.kind = config->policy.normaliser;
	fit->states.count = features;
	size_t values = features * aqm_normaliser_values(fit->states.kind);
	bool good = read_number_attribute(group, "return_mean", &fit->return_mean) &&
	            read_number_attribute(group, "return_scale", &fit->return_scale) && fit->return_scale > 0 &&
	            read_later_attributes(group, config, fit) &&
	            read_numbers(group, "mean", 0, values, H5T_NATIVE_DOUBLE, fit->states.mean) &&
	            read_numbers(group, "scale", 0, values, H5T_NATIVE_DOUBLE, fit->states.scale) &&
	            read_numbers(group, "return_quantiles", 0, 101, H5T_NATIVE_DOUBLE, fit->return_quantiles) &&
	            read_numbers(group, "class_share", 0, AQM_ACTIONS, H5T_NATIVE_DOUBLE, fit->class_share) &&
	            read_levels(group, config, &fit->levels);
	H5Gclose(group);
	return good && all_finite(fit->states.mean, values) && all_finite(fit->states.scale, values) &&
	       all_positive(fit->states.scale, values) && all_finite(fit->return_quantiles, 101) &&
	       all_finite(fit->class_share, AQM_ACTIONS);
}

static int bad_part(const char *path, const char *part)
{
	return aqm_error_set(AQM_EDATA, "cannot read '%s': %s is missing or not as expected", path, part);
}

static int read_params(struct aqm_params *params, hid_t file, const char *path)
{
	hid_t group = H5Gopen2(file, "parameters", H5P_DEFAULT);
	float *buffer = aqm_malloc_array(largest_param(params), sizeof *buffer);
	int code = buffer ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK && group < 0)
		code = bad_part(path, "the group 'parameters'");
	for (size_t i = 0; code == AQM_OK && i < params->count; i++) {
		const struct aqm_param *param = &params->items[i];
		size_t count = (size_t)(param->rows * param->cols);

		if (!read_numbers(group, param->name, (hsize_t)param->rows, (hsize_t)param->cols, H5T_NATIVE_FLOAT, buffer)) {
			code = aqm_error_set(
				AQM_EDATA, "cannot read '%s': parameter '%s' of %lld x %lld numbers is missing or has another shape",
				path, param->name, (long long)param->rows, (long long)param->cols);
			break;
		}
		float *value = aqm_params_value(params, (int64_t)i).data;
		params->device->ops->upload(params->device, value, buffer, count * sizeof(float));
		aqm_params_touch(params);
		if (!isfinite(params->device->ops->sum_squares(params->device, value, count)))
			code = aqm_error_set(AQM_EDATA, "cannot read '%s': parameter '%s' is not finite", path, param->name);
	}
	free(buffer);
	if (group >= 0)
		H5Gclose(group);
	return code;
}

/* What of the base model the file names; both strings are the caller's. */
static int read_base(hid_t file, const char *path, char **base_path, char **digest)
{
	hid_t group = H5Gopen2(file, "base", H5P_DEFAULT);

	if (group < 0)
		return bad_part(path, "the group 'base'");
	*base_path = read_string_attribute(group, "path", PATH_LIMIT);
	*digest = read_string_attribute(group, "sha256", 65);
	H5Gclose(group);
	return *base_path && *digest ? AQM_OK : bad_part(path, "the description of the base model");
}

static int check_base(const aqm_policy *policy, const char *path, const char *expected)
{
	if (strcmp(policy->base_digest, expected) == 0)
		return AQM_OK;
	return aqm_error_set(AQM_EDATA,
	                     "'%s' belongs to another base model: it expects SHA-256 %.16s..., but '%s' has %.16s...", path,
	                     expected, policy->base_path, policy->base_digest);
}

static int read_config(hid_t file, const char *path, struct aqm_config *config)
{
	char *yaml = read_text(file, "config", CONFIG_LIMIT);

	if (!yaml)
		return bad_part(path, "the text 'config'");
	int code = aqm_config_parse(config, path, yaml, strlen(yaml));
	if (code == AQM_OK)
		code = aqm_config_check(config);
	free(yaml);
	return code == AQM_EUSAGE ? AQM_EDATA : code;
}

static int load(aqm_policy **out, hid_t file, const char *path, const char *base_path, enum aqm_device_kind device)
{
	struct aqm_config config;
	struct aqm_fit fit = {0};
	char *stored_path = NULL, *digest = NULL;
	aqm_policy *policy = NULL;
	int code = aqm_config_init(&config);

	if (code != AQM_OK)
		return code;
	code = read_config(file, path, &config);
	if (code == AQM_OK && config.policy.features.count > AQM_FEATURES_MAX)
		code = bad_part(path, "the list of features");
	if (code == AQM_OK && !read_fit(file, &config, &fit))
		code = bad_part(path, "the group 'fit'");
	if (code == AQM_OK)
		code = read_base(file, path, &stored_path, &digest);
	if (code == AQM_OK && !base_path && !aqm_path_exists(stored_path))
		code = aqm_error_set(AQM_EDATA, "cannot find '%s', the base model of '%s'; --base says where it is now", stored_path,
		                     path);
	if (code == AQM_OK) {
		config.device = device;
		code = aqm_policy_new(&policy, &config, &fit, base_path ? base_path : stored_path, false);
	}
	if (code == AQM_OK)
		code = check_base(policy, path, digest);
	if (code == AQM_OK)
		code = aqm_policy_bind(policy, false);
	if (code == AQM_OK)
		code = read_params(&policy->params, file, path);
	if (code == AQM_OK) {
		*out = policy;
		policy = NULL;
	}
	aqm_policy_free(policy);
	free(stored_path);
	free(digest);
	aqm_config_release(&config);
	return code;
}

char *aqm_policy_find(const char *path)
{
	static const char *const places[] = {"best/policy.h5", "policy.h5"};
	struct stat status;

	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		return aqm_strdup(path);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		char *found = aqm_path_join(path, places[i]);

		if (!found || aqm_path_exists(found))
			return found;
		free(found);
	}
	aqm_error_set(AQM_EDATA, "'%s' holds no policy: neither best/policy.h5 nor policy.h5 is there", path);
	return NULL;
}

int aqm_policy_load(aqm_policy **out, const char *policy_path, const char *base_path, enum aqm_device_kind device)
{
	hid_t file = -1;

	*out = NULL;
	char *path = aqm_policy_find(policy_path);
	if (!path)
		return AQM_EDATA;
	int code = check_path(path);
	if (code == AQM_OK) {
		H5E_BEGIN_TRY
		{
			file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
			code = file >= 0 ? load(out, file, path, base_path, device)
			                 : aqm_error_set(AQM_EDATA, "cannot read '%s': it is not an HDF5 file", path);
			if (file >= 0)
				H5Fclose(file);
		}
		H5E_END_TRY;
	}
	free(path);
	return code;
}
