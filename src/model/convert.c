/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread.h"
#include "model/convert_internal.h"
#include "model/synth.h"

enum {
	CHUNK = 1 << 20, /* floats converted at a time, unless a row has more */
	NAME = 192,      /* of a tensor, as published */
	CONFIG_BYTES = 16 << 20,
	NAMED = 3, /* tensors that a message names before it only counts them */
};

/* A tensor to be written; `row` NULL: the factors of the rotary frequencies. */
struct planned {
	char gguf[64];
	const struct aqm_tensor_name *row;
	const struct aqm_hf_source *source;
	int64_t rows, cols;
	enum aqm_dtype dtype;
};

struct conversion {
	const char *folder;
	const struct aqm_dtype_traits *type;
	struct aqm_hf_config config;
	struct aqm_hf_weights weights;
	const struct aqm_tensor_name *names;
	size_t name_count;
	struct planned *planned;
	size_t count, capacity;
	size_t missing, unknown;
	size_t unfit;             /* matrices whose rows are no multiple of the type's block */
	char list[3 * NAME + 32]; /* of missing or unknown tensors */
	aqm_gguf_writer *writer;
	float *chunk;
	uint8_t *converted;
	struct aqm_progress progress;
};

static bool is_vector(const struct planned *p)
{
	return !p->row || p->row->rows == AQM_EXTENT_ONE;
}

/* ---- which tensor is which ---- */

/* The tensor of that name, in a file of the language model or of the bare transformer. */
static struct aqm_hf_source *find_source(const struct conversion *c, const char *name)
{
	static const char *const prefixes[] = {"model.", "transformer."};
	struct aqm_hf_source *found = aqm_hf_weights_find(&c->weights, name);

	for (size_t i = 0; !found && i < sizeof prefixes / sizeof *prefixes; i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			found = aqm_hf_weights_find(&c->weights, name + strlen(prefixes[i]));
	return found;
}

static void list_name(struct conversion *c, size_t number, const char *name)
{
	size_t used = strlen(c->list);

	if (number < NAMED)
		snprintf(c->list + used, sizeof c->list - used, "%s'%.100s'", number ? ", " : "", name);
	else if (number == NAMED)
		snprintf(c->list + used, sizeof c->list - used, " and more");
}

static int check_tensor(const struct conversion *c, const struct planned *p)
{
	const struct aqm_safetensors_tensor *tensor = p->source->tensor;
	const bool vector = is_vector(p), transposed = p->row->layout == AQM_LAYOUT_TRANSPOSED;
	const int64_t first = transposed ? p->cols : p->rows, second = transposed ? p->rows : p->cols;

	if (!tensor->readable)
		return aqm_error_set(AQM_EDATA, "'%s': tensor '%.100s' is of type %s; expected F32, F16 or BF16",
		                     aqm_safetensors_path(p->source->file), tensor->name, tensor->type);
	if (vector && (tensor->dimensions != 1 || tensor->shape[0] != p->cols))
		return aqm_error_set(AQM_EDATA, "'%s': tensor '%.100s' is no vector of %lld numbers, as config.json says",
		                     aqm_safetensors_path(p->source->file), tensor->name, (long long)p->cols);
	if (!vector && (tensor->dimensions != 2 || tensor->shape[0] != first || tensor->shape[1] != second))
		return aqm_error_set(AQM_EDATA, "'%s': tensor '%.100s' is not %lld x %lld, as config.json of '%s' says",
		                     aqm_safetensors_path(p->source->file), tensor->name, (long long)first, (long long)second,
		                     c->folder);
	return AQM_OK;
}

/* Vectors and the tables of positions, from which single numbers are taken, stay float32. */
static enum aqm_dtype choose_type(struct conversion *c, const struct planned *p)
{
	enum aqm_extent rows = p->row->rows;

	if (is_vector(p) || rows == AQM_EXTENT_POSITIONS || rows == AQM_EXTENT_BUCKETS)
		return AQM_F32;
	if (!c->type)
		return p->source->tensor->dtype;
	if (p->cols % (int64_t)c->type->block == 0)
		return c->type->dtype;
	c->unfit++;
	return AQM_F16;
}

static int plan(struct conversion *c, const struct planned *p)
{
	if (c->count == c->capacity) {
		size_t capacity = c->capacity ? 2 * c->capacity : 256;
		struct planned *grown = aqm_realloc_array(c->planned, capacity, sizeof *grown);

		if (!grown)
			return AQM_ERUN;
		c->planned = grown;
		c->capacity = capacity;
	}
	c->planned[c->count++] = *p;
	return AQM_OK;
}

/* The tensor of a row of the table, in one layer. Of alternatives (rows with the same GGUF name) the first one found is
 * taken, and the others are known. */
static int plan_row(struct conversion *c, const struct aqm_tensor_name *row, int64_t layer)
{
	struct planned p = {.row = row, .rows = c->config.extents[row->rows], .cols = c->config.extents[row->cols]};
	char name[NAME];
	const bool gate = row->gguf && strstr(row->gguf, ".ffn_gate.weight");

	if (gate && !c->config.gated)
		return AQM_OK; /* one that is there all the same is unknown */
	for (const struct aqm_tensor_name *other = row; other < c->names + c->name_count; other++) {
		if (other != row && !(row->gguf && other->gguf && strcmp(row->gguf, other->gguf) == 0))
			continue;
		if (!aqm_tensor_name_expand(name, sizeof name, other->hf, layer))
			return aqm_error_set(AQM_ERUN, "the name '%s' is too long", other->hf);
		struct aqm_hf_source *source = find_source(c, name);

		if (!source)
			continue;
		source->known = true;
		p.source = p.source ? p.source : source;
	}
	if (!row->gguf || (c->config.tied && strcmp(row->gguf, "output.weight") == 0))
		return AQM_OK;
	if (!p.source) {
		aqm_tensor_name_expand(name, sizeof name, row->hf, layer);
		if (!row->optional || gate)
			list_name(c, c->missing++, name);
		return AQM_OK;
	}
	if (!aqm_tensor_name_expand(p.gguf, sizeof p.gguf, row->gguf, layer))
		return aqm_error_set(AQM_ERUN, "the name '%s' is too long", row->gguf);
	int code = check_tensor(c, &p);

	p.dtype = choose_type(c, &p);
	return code == AQM_OK ? plan(c, &p) : code;
}

static bool is_alternative(const struct conversion *c, size_t row)
{
	for (size_t i = 0; c->names[row].gguf && i < row; i++)
		if (c->names[i].gguf && strcmp(c->names[i].gguf, c->names[row].gguf) == 0)
			return true;
	return false;
}

/* Layers of the stack that a row belongs to; 1 for a row outside layers. */
static int64_t layers_of(const struct conversion *c, const struct aqm_tensor_name *row)
{
	if (!strchr(row->hf, '%'))
		return 1;
	return strncmp(row->hf, "decoder.", 8) == 0 && c->config.decoder_layers ? c->config.decoder_layers
	                                                                        : c->config.layers;
}

static int plan_rope_factors(struct conversion *c)
{
	struct planned p = {.rows = 1, .cols = c->config.head_dim / 2, .dtype = AQM_F32, .gguf = "rope_freqs.weight"};

	return c->config.rope.scaling == AQM_ROPE_LLAMA3 ? plan(c, &p) : AQM_OK;
}

static int plan_all(struct conversion *c)
{
	int code = AQM_OK;

	c->names = aqm_tensor_names(c->config.architecture, &c->name_count);
	for (size_t i = 0; code == AQM_OK && i < c->name_count; i++)
		for (int64_t layer = 0; code == AQM_OK && !is_alternative(c, i) && layer < layers_of(c, &c->names[i]); layer++)
			code = plan_row(c, &c->names[i], layer);
	if (code == AQM_OK)
		code = plan_rope_factors(c);
	if (code != AQM_OK)
		return code;
	if (c->missing)
		return aqm_error_set(AQM_EDATA, "'%s' lacks %zu tensor%s of a %s model: %s", c->folder, c->missing,
		                     c->missing > 1 ? "s" : "", c->config.architecture, c->list);
	for (size_t i = 0; i < c->weights.count; i++)
		if (!c->weights.sources[i].known)
			list_name(c, c->unknown++, c->weights.sources[i].tensor->name);
	if (c->unknown)
		return aqm_error_set(AQM_EDATA, "'%s' has %zu tensor%s that a %s model does not have: %s", c->folder,
		                     c->unknown, c->unknown > 1 ? "s" : "", c->config.architecture, c->list);
	if (c->unfit)
		aqm_log_warning("%zu matri%s rows that are no multiple of %zu, the block of type %s: written as f16", c->unfit,
		                c->unfit > 1 ? "ces have" : "x has", c->type->block, c->type->name);
	return AQM_OK;
}

/* ---- metadata ---- */

/* The last component of the folder's path, without slashes behind it. */
static int folder_name(const char *folder, char **out)
{
	char *real = realpath(folder, NULL);
	const char *slash = real ? strrchr(real, '/') : NULL;

	*out = aqm_strdup(slash && slash[1] ? slash + 1 : "model");
	free(real);
	return *out ? AQM_OK : AQM_ERUN;
}

static int write_metadata(struct conversion *c)
{
	enum aqm_dtype type = c->type ? c->type->dtype : c->planned[0].dtype;
	aqm_gguf_writer *w = c->writer;
	char *name = NULL;
	int code = folder_name(c->folder, &name);

	if (code == AQM_OK)
		/* No tokenizer: windows are made of embeddings. llama.cpp then makes do with the vocabulary's size. */
		(void)((code = aqm_gguf_writer_set_string(w, "general.architecture", c->config.architecture)) < 0 ||
		       (code = aqm_gguf_writer_set_string(w, "general.type", "model")) < 0 ||
		       (code = aqm_gguf_writer_set_string(w, "general.name", *c->config.name ? c->config.name : name)) < 0 ||
		       (code = aqm_gguf_writer_set_u32(w, "general.file_type", aqm_model_file_type(type))) < 0 ||
		       (code = aqm_gguf_writer_set_u32(w, "general.quantization_version", 2)) < 0 ||
		       (code = aqm_hf_config_write(&c->config, w)) < 0 ||
		       (code = aqm_gguf_writer_set_string(w, "tokenizer.ggml.model", "none")) < 0);
	free(name);
	return code;
}

static int declare_tensors(struct conversion *c)
{
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < c->count; i++) {
		const struct planned *p = &c->planned[i];
		const int64_t ne[2] = {p->cols, p->rows};

		code = aqm_gguf_writer_add_tensor(c->writer, p->gguf, p->dtype, is_vector(p) ? 1 : 2, ne);
	}
	return code;
}

/* ---- numbers ---- */

/* Rows [first, first + n) of the transposed tensor: a tile of columns at a time, so that what is written stays in the
 * cache. */
static void read_columns(const struct planned *p, int64_t first, int64_t n, float *out)
{
	enum { TILE = 64 };

#pragma omp parallel for schedule(static)
	for (int64_t tile = 0; tile < n; tile += TILE) {
		const int64_t width = n - tile < TILE ? n - tile : TILE;
		float line[TILE];

		for (int64_t i = 0; i < p->cols; i++) {
			aqm_safetensors_read(p->source->tensor, i * p->rows + first + tile, (size_t)width, line);
			for (int64_t j = 0; j < width; j++)
				out[(tile + j) * p->cols + i] = line[j];
		}
	}
}

/* Rows [first, first + n) of the GGUF tensor, in its type. A vector is a column of rows here when it is permuted. */
static void convert_rows(const struct conversion *c, const struct planned *p, int64_t first, int64_t n, int64_t cols)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(p->dtype);
	const size_t row_bytes = (size_t)cols / traits->block * traits->block_bytes;
	const bool transposed = p->row->layout == AQM_LAYOUT_TRANSPOSED;

	if (transposed)
		read_columns(p, first, n, c->chunk);
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < n; i++) {
		const int64_t from = aqm_published_row(p->row->layout, c->config.head_dim, first + i);
		float *row = c->chunk + i * cols;

		if (!transposed)
			aqm_safetensors_read(p->source->tensor, from * cols, (size_t)cols, row);
		traits->quantise(row, c->converted + (size_t)i * row_bytes, (size_t)cols);
	}
}

static int write_tensor(struct conversion *c, const struct planned *p)
{
	const struct aqm_safetensors_tensor *tensor = p->source->tensor;
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(p->dtype);
	const bool vector = is_vector(p);
	const int64_t rows = vector ? p->cols : p->rows, cols = vector ? 1 : p->cols;
	const int64_t step = cols < CHUNK ? CHUNK / cols : 1;
	const size_t source_row_bytes = tensor->bytes / (size_t)rows;
	const bool in_order = p->row->layout != AQM_LAYOUT_TRANSPOSED;
	int code = AQM_OK;

	for (int64_t first = 0; code == AQM_OK && first < rows; first += step) {
		const int64_t n = rows - first < step ? rows - first : step;

		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted, no model is written");
		convert_rows(c, p, first, n, cols);
		code = aqm_gguf_writer_write(c->writer, c->converted,
		                             (size_t)n * (size_t)cols / traits->block * traits->block_bytes);
		if (in_order)
			aqm_safetensors_forget(p->source->file, tensor, (size_t)first * source_row_bytes,
			                       (size_t)n * source_row_bytes);
		aqm_progress_update(&c->progress, c->progress.done + (size_t)n * source_row_bytes);
	}
	if (!in_order)
		aqm_safetensors_forget(p->source->file, tensor, 0, tensor->bytes);
	return code;
}

static int write_rope_factors(struct conversion *c)
{
	aqm_hf_rope_factors(&c->config, c->chunk);
	return aqm_gguf_writer_write_floats(c->writer, c->chunk, (size_t)c->config.head_dim / 2);
}

static int write_tensors(struct conversion *c)
{
	uint64_t total = 0;
	int64_t longest = CHUNK;
	int code = AQM_OK;

	for (size_t i = 0; i < c->count; i++) {
		total += c->planned[i].source ? c->planned[i].source->tensor->bytes : 0;
		longest = !is_vector(&c->planned[i]) && c->planned[i].cols > longest ? c->planned[i].cols : longest;
	}
	c->chunk = aqm_malloc_array((size_t)longest, sizeof *c->chunk);
	c->converted = aqm_malloc_array((size_t)longest, sizeof(float)); /* no type takes more */
	if (!c->chunk || !c->converted)
		return AQM_ERUN;
	aqm_progress_start(&c->progress, "converting", total, 0);
	for (size_t i = 0; code == AQM_OK && i < c->count; i++)
		code = c->planned[i].source ? write_tensor(c, &c->planned[i]) : write_rope_factors(c);
	aqm_progress_end(&c->progress);
	return code;
}

/* ---- the whole ---- */

/* A folder, or what to say about what it is instead. */
static int check_folder(const char *folder)
{
	struct stat status;
	char magic[4] = "";

	if (stat(folder, &status) != 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", folder);
	if (S_ISDIR(status.st_mode))
		return AQM_OK;
	FILE *file = S_ISREG(status.st_mode) ? fopen(folder, "rb") : NULL;
	size_t n = file ? fread(magic, 1, sizeof magic, file) : 0;

	if (file)
		fclose(file);
	if (n == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0)
		return aqm_error_set(AQM_EUSAGE, "'%s' is a GGUF file already: use it as it is", folder);
	return aqm_error_set(AQM_EUSAGE, "'%s' is a file; expected the folder that has config.json and the weights",
	                     folder);
}

static int read_config(struct conversion *c)
{
	char *path = aqm_path_join(c->folder, "config.json"), *text = NULL;
	size_t bytes;
	int code = path ? aqm_file_read(path, CONFIG_BYTES, &text, &bytes) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_hf_config_parse(&c->config, text, bytes, path);
	free(text);
	free(path);
	return code;
}

int aqm_model_convert(const char *folder, const struct aqm_dtype_traits *type, const char *path)
{
	struct conversion c = {.folder = folder, .type = type};
	int code;

	(void)((code = check_folder(folder)) < 0 || (code = read_config(&c)) < 0 ||
	       (code = aqm_hf_weights_open(&c.weights, folder)) < 0 || (code = plan_all(&c)) < 0 ||
	       (code = aqm_gguf_writer_new(&c.writer, path)) < 0 || (code = write_metadata(&c)) < 0 ||
	       (code = declare_tensors(&c)) < 0 || (code = write_tensors(&c)) < 0 ||
	       (code = aqm_gguf_writer_finish(c.writer)) < 0);
	aqm_gguf_writer_free(c.writer);
	aqm_hf_weights_release(&c.weights);
	free(c.planned);
	free(c.chunk);
	free(c.converted);
	return code;
}
