/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/forward.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "model/adapter_file.h"
#include "model/model.h"
#include "pool/table.h"

static const int64_t only_stream = 0;
enum { TOKENS_AT_ONCE = 2048 }; /* of as many windows as that makes, at least one */

static const char input_name[] = "embeddings", output_name[] = "hidden";

struct forward {
	const struct aqm_forward_options *options;
	aqm_device *device;
	aqm_gguf *gguf;
	struct aqm_params params;
	aqm_adapter_file *adapter; /* NULL: none */
	aqm_model *model;
	aqm_cache *cache;
	void *memory; /* of the device: activations, and x at its end */
	struct aqm_mat x;
	float *host; /* as many numbers as x has */
	hid_t input_file, input, output_file, output;
	hsize_t shape[3]; /* B, T, d */
	int64_t windows;  /* at once */
	struct aqm_atomic_file file;
	struct aqm_progress progress;
};

/* ---- the input ---- */

static int bad_input(const struct forward *f, const char *what)
{
	return aqm_error_set(AQM_EDATA, "cannot read '%s': %s", f->options->input, what);
}

static int read_dimensions(struct forward *f)
{
	hid_t space = H5Dget_space(f->input), type = H5Dget_type(f->input);
	bool right = space >= 0 && H5Sget_simple_extent_ndims(space) == 3 &&
	             H5Sget_simple_extent_dims(space, f->shape, NULL) == 3,
		 floats = type >= 0 && H5Tget_class(type) == H5T_FLOAT;

	if (space >= 0)
		H5Sclose(space);
	if (type >= 0)
		H5Tclose(type);
	if (!right || !floats)
		return bad_input(f, "dataset 'embeddings' is expected to be (windows, tokens, width) of float32 or float64");
	for (int i = 0; i < 3; i++)
		if (f->shape[i] == 0 || f->shape[i] > INT32_MAX)
			return aqm_error_set(AQM_EDATA, "cannot read '%s': 'embeddings' is %llu x %llu x %llu", f->options->input,
			                     (unsigned long long)f->shape[0], (unsigned long long)f->shape[1],
			                     (unsigned long long)f->shape[2]);
	return AQM_OK;
}

static int open_input(struct forward *f)
{
	H5L_info_t link;

	if (!aqm_path_exists(f->options->input))
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", f->options->input);
	f->input_file = H5Fopen(f->options->input, H5F_ACC_RDONLY, H5P_DEFAULT);
	if (f->input_file < 0)
		return bad_input(f, "it is not an HDF5 file");
	if (H5Lget_info(f->input_file, input_name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
		return bad_input(f, "it has no dataset 'embeddings'");
	f->input = H5Dopen2(f->input_file, input_name, H5P_DEFAULT);
	if (f->input < 0 || !aqm_hdf5_is_own(f->input_file, f->input))
		return bad_input(f, "'embeddings' is no dataset of this file");
	return read_dimensions(f);
}

/* ---- the model ---- */

/* Settings that hold the adapter; without one, the plain base. */
static int find_options(struct forward *f, struct aqm_model_options *options)
{
	*options = (struct aqm_model_options){.frozen = !f->options->adapter,
	                                      .stop_layer = f->options->stop_layer,
	                                      .bidirectional = f->options->bidirectional};
	if (!f->options->adapter)
		return AQM_OK;
	int code = aqm_adapter_file_open(&f->adapter, f->options->adapter, f->gguf);

	return code == AQM_OK ? aqm_adapter_file_options(f->adapter, f->device, options) : code;
}

static int open_model(struct forward *f)
{
	struct aqm_model_options options;
	int code = aqm_device_open(&f->device, f->options->device);

	aqm_params_init(&f->params, f->device);
	if (code == AQM_OK)
		code = aqm_gguf_open(&f->gguf, f->options->model);
	if (code == AQM_OK)
		code = find_options(f, &options);
	if (code == AQM_OK)
		code = aqm_model_open(&f->model, f->device, f->gguf, &options, &f->params);
	if (code == AQM_OK)
		code = aqm_params_allocate(&f->params, false, 0);
	if (code == AQM_OK)
		code = aqm_model_bind(f->model, true);
	if (code == AQM_OK && f->adapter)
		code = aqm_adapter_file_load(f->adapter, f->model, &f->params, false);
	return code;
}

static int check_shape(const struct forward *f)
{
	const struct aqm_model_shape *shape = aqm_model_shape(f->model);

	if ((int64_t)f->shape[2] != shape->width)
		return aqm_error_set(AQM_EDATA, "'embeddings' of '%s' are %llu wide, but '%s' has an embedding length of %lld",
		                     f->options->input, (unsigned long long)f->shape[2], f->options->model,
		                     (long long)shape->width);
	if ((int64_t)f->shape[1] > shape->context)
		return aqm_error_set(AQM_EDATA, "windows of '%s' have %llu tokens, but '%s' can take %lld at most",
		                     f->options->input, (unsigned long long)f->shape[1], f->options->model,
		                     (long long)shape->context);
	return AQM_OK;
}

/* Whole windows: activations of several. Streaming: one window, in a cache. */
static int allocate(struct forward *f)
{
	int64_t tokens = (int64_t)f->shape[1], width = (int64_t)f->shape[2];
	bool streaming = f->options->chunk > 0;
	struct aqm_arena arena;
	int code = AQM_OK;

	f->windows = streaming || tokens >= TOKENS_AT_ONCE ? 1 : TOKENS_AT_ONCE / tokens;
	if ((hsize_t)f->windows > f->shape[0])
		f->windows = (int64_t)f->shape[0];
	aqm_arena_plan(&arena);
	if (streaming)
		code = aqm_cache_new(&f->cache, f->model, 1, tokens);
	else
		code = aqm_model_carve(f->model, &arena, f->windows, tokens, false);
	size_t numbers = (size_t)(f->windows * tokens) * (size_t)width; /* below 2^62 */

	aqm_arena_take(&arena, numbers, sizeof(float));
	if (code == AQM_OK && arena.overflowed)
		code =
			aqm_error_set(AQM_ERUN, "a window of %lld tokens does not fit into the address space", (long long)tokens);
	if (code == AQM_OK)
		code = f->device->ops->allocate(f->device, arena.used, &f->memory);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = f->memory, .capacity = arena.used};
	if (!streaming)
		code = aqm_model_carve(f->model, &arena, f->windows, tokens, false);
	f->x = aqm_mat_f32(aqm_arena_take(&arena, numbers, sizeof(float)), f->windows * tokens, width);
	f->host = aqm_malloc_array(numbers, sizeof *f->host);
	return code == AQM_OK && !f->host ? AQM_ERUN : code;
}

/* ---- the output ---- */

static int bad_output(const struct forward *f)
{
	return aqm_error_set(AQM_ERUN, "cannot write '%s': libhdf5 failed (is the disk full?)", f->options->output);
}

static int open_output(struct forward *f)
{
	size_t bytes;

	if (aqm_size_mul_overflows(f->shape[0], f->shape[1] * f->shape[2] * sizeof(float), &bytes) || bytes > INT64_MAX / 2)
		return aqm_error_set(AQM_EDATA, "cannot write '%s': %llu windows are too many", f->options->output,
		                     (unsigned long long)f->shape[0]);
	int code = aqm_atomic_reserve(&f->file, f->options->output);

	if (code == AQM_OK)
		code = aqm_atomic_check_room(&f->file, bytes);
	if (code != AQM_OK)
		return code;
	hid_t space = H5Screate_simple(3, f->shape, NULL);

	f->output_file = H5Fcreate(f->file.temporary_path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
	if (f->output_file >= 0)
		f->output =
			H5Dcreate2(f->output_file, output_name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	H5Sclose(space);
	return f->output >= 0 ? AQM_OK : bad_output(f);
}

static void close_files(struct forward *f)
{
	if (f->input >= 0)
		H5Dclose(f->input);
	if (f->input_file >= 0)
		H5Fclose(f->input_file);
	if (f->output >= 0)
		H5Dclose(f->output);
	if (f->output_file >= 0)
		H5Fclose(f->output_file);
	f->input = f->input_file = f->output = f->output_file = -1;
}

static int commit_output(struct forward *f)
{
	bool good = H5Dclose(f->output) >= 0;

	good = H5Fclose(f->output_file) >= 0 && good;
	f->output = f->output_file = -1;
	return good ? aqm_atomic_commit(&f->file) : bad_output(f);
}

/* ---- from one to the other ---- */

/* Windows first .. first + count - 1 between the dataset and f->host. */
static bool move_windows(struct forward *f, hid_t dataset, bool write, hsize_t first, hsize_t count)
{
	const hsize_t start[3] = {first, 0, 0}, size[3] = {count, f->shape[1], f->shape[2]};
	hid_t memory = H5Screate_simple(3, size, NULL), file = H5Dget_space(dataset);
	bool good = memory >= 0 && file >= 0 && H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, size, NULL) >= 0;

	if (good && write)
		good = H5Dwrite(dataset, H5T_NATIVE_FLOAT, memory, file, H5P_DEFAULT, f->host) >= 0;
	else if (good)
		good = H5Dread(dataset, H5T_NATIVE_FLOAT, memory, file, H5P_DEFAULT, f->host) >= 0;
	if (memory >= 0)
		H5Sclose(memory);
	if (file >= 0)
		H5Sclose(file);
	return good;
}

static int read_windows(struct forward *f, hsize_t first, hsize_t count)
{
	const size_t width = (size_t)f->shape[2], tokens = (size_t)f->shape[1], numbers = (size_t)count * tokens * width;

	if (!move_windows(f, f->input, false, first, count))
		return bad_input(f, "dataset 'embeddings' is damaged");
	for (size_t i = 0; i < numbers; i++)
		if (!isfinite(f->host[i]))
			return aqm_error_set(AQM_EDATA, "'%s': number %zu of token %zu of window %llu is not finite",
			                     f->options->input, i % width, i / width % tokens,
			                     (unsigned long long)first + i / width / tokens);
	f->device->ops->upload(f->device, f->x.data, f->host, numbers * sizeof *f->host);
	return AQM_OK;
}

/* f->x: the window's embeddings in, hidden states out, `chunk` tokens after the other. */
static int stream_window(struct forward *f)
{
	int64_t tokens = (int64_t)f->shape[1];
	int code = AQM_OK;

	aqm_cache_truncate(f->cache, 0, 0);
	for (int64_t t = 0; code == AQM_OK && t < tokens; t += f->options->chunk) {
		int64_t n = tokens - t < f->options->chunk ? tokens - t : f->options->chunk;

		code = aqm_model_extend(f->model, f->cache, &only_stream, 1, aqm_mat_rows(f->x, t, n));
	}
	return code;
}

static int run_windows(struct forward *f, hsize_t first, hsize_t count)
{
	const size_t numbers = (size_t)count * f->shape[1] * f->shape[2];
	struct aqm_mat x = aqm_mat_rows(f->x, 0, (int64_t)(count * f->shape[1]));
	int code = read_windows(f, first, count);

	if (code == AQM_OK && f->cache)
		code = stream_window(f);
	else if (code == AQM_OK)
		aqm_model_forward(f->model, (int64_t)count, (int64_t)f->shape[1], x, false, 0);
	if (code == AQM_OK)
		code = aqm_device_check(f->device);
	if (code != AQM_OK)
		return code;
	f->device->ops->download(f->device, f->host, f->x.data, numbers * sizeof *f->host);
	return move_windows(f, f->output, true, first, count) ? AQM_OK : bad_output(f);
}

static int run(struct forward *f)
{
	int code = AQM_OK;

	aqm_progress_start(&f->progress, "forward", f->shape[0], 0);
	for (hsize_t first = 0; code == AQM_OK && first < f->shape[0]; first += (hsize_t)f->windows) {
		hsize_t left = f->shape[0] - first, count = left < (hsize_t)f->windows ? left : (hsize_t)f->windows;

		if (aqm_interrupted())
			code = aqm_error_set(AQM_EINTERRUPTED, "interrupted; '%s' was not written", f->options->output);
		if (code == AQM_OK)
			code = run_windows(f, first, count);
		aqm_progress_update(&f->progress, first + count);
	}
	aqm_progress_end(&f->progress);
	return code;
}

static void release(struct forward *f)
{
	close_files(f);
	aqm_atomic_abort(&f->file);
	aqm_cache_free(f->cache);
	aqm_model_free(f->model);
	if (f->device) {
		aqm_params_release(&f->params);
		if (f->memory)
			f->device->ops->release(f->device, f->memory);
	}
	aqm_adapter_file_free(f->adapter);
	aqm_gguf_free(f->gguf);
	aqm_device_close(f->device);
	free(f->host);
}

int aqm_forward_file(const struct aqm_forward_options *options)
{
	struct forward f = {.options = options, .input_file = -1, .input = -1, .output_file = -1, .output = -1};
	int code;

	H5E_BEGIN_TRY
	{
		code = aqm_path_spare(options->input, options->output);
		if (code == AQM_OK)
			code = aqm_path_spare(options->model, options->output);
		if (code == AQM_OK)
			code = open_input(&f);
		if (code == AQM_OK)
			code = open_model(&f);
		if (code == AQM_OK)
			code = check_shape(&f);
		if (code == AQM_OK)
			code = allocate(&f);
		if (code == AQM_OK)
			code = open_output(&f);
		if (code == AQM_OK)
			code = run(&f);
		if (code == AQM_OK)
			code = commit_output(&f);
		release(&f);
	}
	H5E_END_TRY;
	return code;
}
