/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The base model with what was trained put into its weights: W + scale B A for every adapted matrix, or the trained
 * weights themselves after full fine-tuning. All else is copied byte for byte, but for layers behind model.stop_layer,
 * which are left out. One tensor at a time, so memory does not grow with the model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "export/factors.h"

enum { ROWS_AT_ONCE = 256, QUANTIZATION_VERSION = 2 };

struct merge {
	aqm_policy *policy;
	aqm_gguf *base;
	const char *path;
	const struct aqm_dtype_traits *type; /* of changed matrices; NULL: each keeps its own */
	struct aqm_factors *factors;
	size_t count;
	aqm_device *cpu; /* for the products */
	aqm_gguf_writer *writer;
	uint64_t done; /* bytes of the base gone through */
	struct aqm_progress progress;
};

static const struct aqm_factors *find_factors(const struct merge *m, const char *tensor)
{
	for (size_t i = 0; i < m->count; i++)
		if (strcmp(m->factors[i].parts[0]->gguf_name, tensor) == 0)
			return &m->factors[i];
	return NULL;
}

/* A trained weight of that name (full fine-tuning), or -1. */
static int64_t find_trained(const struct merge *m, const char *tensor)
{
	return aqm_params_find(aqm_policy_params(m->policy), tensor);
}

static bool is_changed(const struct merge *m, const struct aqm_gguf_tensor *t)
{
	return find_factors(m, t->name) || find_trained(m, t->name) >= 0;
}

/* The layer of a tensor "blk.N.", "enc.blk.N." or "dec.blk.N.", else -1. */
static long long layer_of(const char *name)
{
	long long layer;

	if (strncmp(name, "enc.", 4) == 0 || strncmp(name, "dec.", 4) == 0)
		name += 4;
	return sscanf(name, "blk.%lld.", &layer) == 1 ? layer : -1;
}

/* Layers behind model.stop_layer were never run: the merged model ends where the policy left. */
static bool is_left_out(const struct merge *m, const struct aqm_gguf_tensor *t)
{
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(m->policy));

	return layer_of(t->name) >= (strncmp(t->name, "dec.", 4) == 0 ? shape->used_decoder_layers : shape->used_layers);
}

static int set_count(struct merge *m, const char *name, int64_t used, int64_t layers)
{
	char key[96];

	if (used == layers)
		return AQM_OK;
	snprintf(key, sizeof key, "%s.%s", aqm_model_shape(aqm_policy_model(m->policy))->architecture, name);
	return aqm_gguf_writer_set_u32(m->writer, key, (uint32_t)used);
}

static int set_layer_counts(struct merge *m)
{
	const struct aqm_model_shape *shape = aqm_model_shape(aqm_policy_model(m->policy));
	int code = set_count(m, "block_count", shape->used_layers, shape->layers);

	return code == AQM_OK ? set_count(m, "decoder_block_count", shape->used_decoder_layers, shape->decoder_layers)
	                      : code;
}

/* ---- types ---- */

static enum aqm_dtype output_type(const struct merge *m, const struct aqm_gguf_tensor *t)
{
	/* t5's tables of relative positions stay as they are: single numbers are taken from them */
	const bool matrix = t->dimensions == 2 && layer_of(t->name) >= 0 && !strstr(t->name, "attn_rel_b");

	return m->type && matrix && is_changed(m, t) ? m->type->dtype : t->dtype;
}

static int find_type(struct merge *m, const char *dtype)
{
	if (!dtype)
		return AQM_OK;
	m->type = aqm_dtype_find(dtype);
	if (!m->type)
		return aqm_error_set(AQM_EUSAGE, "'%s' is no element type; f32, f16, bf16, q8_0 and q4_0 are some", dtype);
	if (!m->type->quantise)
		return aqm_error_set(
			AQM_EUSAGE, "matrices of type %s can be read, but not written; f32, f16, bf16, q8_0 and q4_0 can", dtype);
	return AQM_OK;
}

static int check_type(const struct merge *m, const struct aqm_gguf_tensor *t)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(output_type(m, t));

	if (!is_changed(m, t))
		return AQM_OK;
	if (!traits || !traits->quantise)
		return aqm_error_set(
			AQM_EUSAGE,
			"cannot write '%s': tensor '%s' is of type %s, which can be read but not written; name another with --type",
			m->path, t->name, traits ? traits->name : "unknown");
	if (t->ne[0] % (int64_t)traits->block != 0)
		return aqm_error_set(
			AQM_EUSAGE,
			"cannot write '%s': rows of tensor '%s' have %lld numbers, not a multiple of the %zu in a block of %s",
			m->path, t->name, (long long)t->ne[0], traits->block, traits->name);
	return AQM_OK;
}

/* ---- writing ---- */

static int advance(struct merge *m, size_t bytes)
{
	m->done += bytes;
	aqm_progress_update(&m->progress, m->done);
	return aqm_interrupted() ? aqm_error_set(AQM_EINTERRUPTED, "interrupted; '%s' was not written", m->path) : AQM_OK;
}

/* rows: room for ROWS_AT_ONCE rows of the tensor; a (rank, in), b (out, rank). */
static int write_sums(struct merge *m, const struct aqm_gguf_tensor *t, const struct aqm_factors *f, float *a, float *b,
                      float *rows)
{
	const struct aqm_dtype_traits *from = aqm_dtype_traits(t->dtype);
	const size_t row_bytes = t->bytes / (size_t)t->ne[1];
	struct aqm_mat a_mat = aqm_mat_f32(a, f->rank, f->in), b_mat = aqm_mat_f32(b, f->out, f->rank);
	int code = AQM_OK;

	for (int64_t first = 0; code == AQM_OK && first < f->out; first += ROWS_AT_ONCE) {
		const int64_t n = f->out - first < ROWS_AT_ONCE ? f->out - first : ROWS_AT_ONCE;

		from->expand((const uint8_t *)t->data + (size_t)first * row_bytes, rows, (size_t)(n * f->in));
		m->cpu->ops->gemm(m->cpu, (float)f->scale, aqm_mat_rows(b_mat, first, n), false, a_mat, false, 1,
		                  aqm_mat_f32(rows, n, f->in));
		code = aqm_gguf_writer_write_floats(m->writer, rows, (size_t)(n * f->in));
		if (code == AQM_OK)
			code = advance(m, (size_t)n * row_bytes);
	}
	return code;
}

static int write_merged(struct merge *m, const struct aqm_gguf_tensor *t, const struct aqm_factors *f)
{
	float *a = aqm_malloc_array((size_t)(f->rank * f->in), sizeof *a),
		  *b = aqm_malloc_array((size_t)(f->out * f->rank), sizeof *b);
	float *rows = aqm_malloc_array((size_t)(ROWS_AT_ONCE * f->in), sizeof *rows);
	int code = a && b && rows ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK) {
		aqm_factors_read_a(m->policy, f, a);
		code = aqm_factors_read_b(m->policy, f, b);
	}
	if (code == AQM_OK)
		code = write_sums(m, t, f, a, b, rows);
	free(a);
	free(b);
	free(rows);
	return code;
}

static int write_trained(struct merge *m, const struct aqm_gguf_tensor *t, int64_t param)
{
	const struct aqm_params *params = aqm_policy_params(m->policy);
	aqm_device *device = aqm_policy_device(m->policy);
	const size_t n = (size_t)(params->items[param].rows * params->items[param].cols);
	float *numbers;

	if (n != (size_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]))
		return aqm_error_set(AQM_EDATA, "the trained '%s' has %zu numbers; the base's has another shape", t->name, n);
	numbers = aqm_malloc_array(n, sizeof *numbers);
	if (!numbers)
		return AQM_ERUN;
	device->ops->download(device, numbers, aqm_params_value(params, param).data, n * sizeof *numbers);
	int code = aqm_gguf_writer_write_floats(m->writer, numbers, n);
	free(numbers);
	return code == AQM_OK ? advance(m, t->bytes) : code;
}

static int write_tensor(struct merge *m, const struct aqm_gguf_tensor *t)
{
	const struct aqm_factors *factors = find_factors(m, t->name);
	const int64_t trained = find_trained(m, t->name);

	if (factors)
		return write_merged(m, t, factors);
	if (trained >= 0)
		return write_trained(m, t, trained);
	int code = aqm_gguf_writer_write(m->writer, t->data, t->bytes);
	return code == AQM_OK ? advance(m, t->bytes) : code;
}

static int write_all(struct merge *m)
{
	const size_t tensors = aqm_gguf_tensors(m->base);
	uint64_t total = 0;
	int64_t version;
	int code = aqm_gguf_writer_new(&m->writer, m->path);

	/* The format asks for it as soon as one tensor is quantised. */
	if (code == AQM_OK && m->type && m->type->block > 1 &&
	    aqm_gguf_get_int(m->base, "general.quantization_version", &version) == AQM_ENOTFOUND)
		code = aqm_gguf_writer_set_u32(m->writer, "general.quantization_version", QUANTIZATION_VERSION);
	if (code == AQM_OK)
		code = set_layer_counts(m);
	if (code == AQM_OK)
		code = aqm_gguf_writer_copy_metadata(m->writer, m->base);
	for (size_t i = 0; code == AQM_OK && i < tensors; i++) {
		const struct aqm_gguf_tensor *t = aqm_gguf_tensor(m->base, i);

		if (is_left_out(m, t))
			continue;
		code = aqm_gguf_writer_add_tensor(m->writer, t->name, output_type(m, t), t->dimensions, t->ne);
		total += t->bytes;
	}
	aqm_progress_start(&m->progress, "merging", total, 0);
	for (size_t i = 0; code == AQM_OK && i < tensors; i++)
		if (!is_left_out(m, aqm_gguf_tensor(m->base, i)))
			code = write_tensor(m, aqm_gguf_tensor(m->base, i));
	aqm_progress_end(&m->progress);
	if (code == AQM_OK)
		code = aqm_gguf_writer_finish(m->writer);
	return code;
}

/* ---- interface ---- */

int aqm_export_merged(aqm_policy *policy, const char *path, const char *dtype)
{
	struct merge m = {.policy = policy, .base = aqm_policy_gguf(policy), .path = path};
	int code = find_type(&m, dtype);

	if (code == AQM_OK)
		code = aqm_path_spare(aqm_gguf_path(m.base), path);
	if (code == AQM_OK && aqm_model_adapters(aqm_policy_model(policy)) > 0)
		code = aqm_factors_collect(policy, "a merged model", &m.factors, &m.count);
	for (size_t i = 0; code == AQM_OK && i < aqm_gguf_tensors(m.base); i++)
		code = check_type(&m, aqm_gguf_tensor(m.base, i));
	if (code == AQM_OK)
		code = aqm_device_open(&m.cpu, AQM_DEVICE_CPU);
	if (code == AQM_OK)
		code = write_all(&m);
	aqm_gguf_writer_free(m.writer);
	if (m.cpu)
		aqm_device_close(m.cpu);
	free(m.factors);
	return code;
}
