/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/adapter_file.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "model/adapter_internal.h"
#include "model/internal.h"

enum { CONFIG_BYTES = 1 << 20, NAMED = 3 };

static const char config_file[] = "adapter_config.json", factors_file[] = "adapter_model.safetensors";

/* ---- what the readers of both kinds call ---- */

void aqm_adapter_file_list(struct aqm_adapter_file *file, const char *name)
{
	size_t used = strlen(file->list);

	if (file->listed < NAMED)
		snprintf(file->list + used, sizeof file->list - used, "%s'%.100s'", file->listed ? ", " : "", name);
	file->listed++;
}

static int report_listed(struct aqm_adapter_file *file, const char *what)
{
	char more[48] = "";

	if (file->listed > NAMED)
		snprintf(more, sizeof more, " and %zu more", file->listed - NAMED);
	int code = aqm_error_set(AQM_EDATA, "'%s' %s: %s%s", file->path, what, file->list, more);

	file->list[0] = '\0';
	file->listed = 0;
	return code;
}

struct aqm_factor_pair *aqm_adapter_file_pair(struct aqm_adapter_file *file, const struct aqm_gguf_tensor *base)
{
	for (size_t i = 0; i < file->count; i++)
		if (file->pairs[i].base == base)
			return &file->pairs[i];
	if (file->count == file->capacity) {
		size_t capacity = file->capacity ? 2 * file->capacity : 64;
		struct aqm_factor_pair *grown = aqm_realloc_array(file->pairs, capacity, sizeof *grown);

		if (!grown)
			return NULL;
		file->pairs = grown;
		file->capacity = capacity;
	}
	file->pairs[file->count] = (struct aqm_factor_pair){.base = base};
	return &file->pairs[file->count++];
}

static int check_pair(const struct aqm_adapter_file *file, const struct aqm_factor_pair *pair)
{
	const struct aqm_factor *a = &pair->a, *b = &pair->b;
	const long long in = (long long)pair->base->ne[0], out = (long long)pair->base->ne[1];

	if (!a->rows || !b->rows)
		return aqm_error_set(AQM_EDATA, "'%s' has '%.150s', but not the other factor of the same module", file->path,
		                     pair->shown);
	if (a->cols != in || b->rows != out || a->rows != b->cols || a->rows < 1 || pair->base->dimensions != 2)
		return aqm_error_set(
			AQM_EDATA, "'%s': the factors of '%.150s' are %lld x %lld and %lld x %lld; its base tensor is %lld x %lld",
			file->path, pair->shown, (long long)a->rows, (long long)a->cols, (long long)b->rows, (long long)b->cols,
			out, in);
	return AQM_OK;
}

int aqm_adapter_file_check(struct aqm_adapter_file *file)
{
	int code = AQM_OK;

	if (file->listed)
		return report_listed(file, "has tensors that are no factors of adapters of this base's matrices");
	if (file->count == 0)
		return aqm_error_set(AQM_EDATA, "'%s' has no factors", file->path);
	for (size_t i = 0; code == AQM_OK && i < file->count; i++)
		code = check_pair(file, &file->pairs[i]);
	return code;
}

/* ---- opening ---- */

/* The folder has no adapter_model.safetensors. */
static int explain_absence(const char *folder)
{
	char *pickle = aqm_path_join(folder, "adapter_model.bin");
	bool there = pickle && aqm_path_exists(pickle);

	free(pickle);
	if (there)
		return aqm_error_set(AQM_EDATA,
		                     "'%s' has only adapter_model.bin, which is not read; save it as safetensors first, in "
		                     "Python: PeftModel.from_pretrained(base, folder).save_pretrained(new)",
		                     folder);
	return aqm_error_set(AQM_EDATA, "'%s' has no %s; expected a PEFT folder or a GGUF adapter", folder, factors_file);
}

static int open_folder(struct aqm_adapter_file *file)
{
	char *config_path = aqm_path_join(file->path, config_file), *text = NULL;
	size_t bytes = 0;
	int code = config_path ? AQM_OK : AQM_ERUN;

	file->factors_path = aqm_path_join(file->path, factors_file);
	if (!file->factors_path)
		code = AQM_ERUN;
	if (code == AQM_OK && !aqm_path_exists(file->factors_path))
		code = explain_absence(file->path);
	if (code == AQM_OK)
		code = aqm_safetensors_open(&file->tensors, file->factors_path);
	if (code == AQM_OK)
		code = aqm_file_read(config_path, CONFIG_BYTES, &text, &bytes);
	if (code == AQM_OK)
		code = aqm_adapter_read_peft(file, text, bytes, config_path);
	free(text);
	free(config_path);
	return code;
}

static int open_gguf(struct aqm_adapter_file *file)
{
	file->factors_path = aqm_strdup(file->path);
	int code = file->factors_path ? aqm_gguf_open(&file->gguf, file->path) : AQM_ERUN;

	return code == AQM_OK ? aqm_adapter_read_gguf(file) : code;
}

static struct aqm_adapter_file *new_file(const char *path, aqm_gguf *base)
{
	struct aqm_adapter_file *file = aqm_calloc_array(1, sizeof *file);

	if (!file)
		return NULL;
	file->base = base;
	file->path = aqm_strdup(path);
	if (file->path)
		return file;
	free(file);
	return NULL;
}

static int finish_open(aqm_adapter_file **out, struct aqm_adapter_file *file, int code)
{
	if (code == AQM_OK)
		code = aqm_adapter_file_check(file);
	if (code == AQM_OK)
		*out = file;
	else
		aqm_adapter_file_free(file);
	return code;
}

int aqm_adapter_file_open(aqm_adapter_file **out, const char *path, aqm_gguf *base)
{
	struct stat status;

	*out = NULL;
	if (stat(path, &status) != 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	struct aqm_adapter_file *file = new_file(path, base);

	if (!file)
		return AQM_ERUN;
	return finish_open(out, file, S_ISDIR(status.st_mode) ? open_folder(file) : open_gguf(file));
}

int aqm_adapter_file_open_memory(aqm_adapter_file **out, aqm_gguf *base, const char *config, size_t config_bytes,
                                 const void *data, size_t bytes)
{
	struct aqm_adapter_file *file = new_file("memory", base);
	int code;

	*out = NULL;
	if (!file)
		return AQM_ERUN;
	if (config) {
		code = aqm_safetensors_open_memory(&file->tensors, data, bytes, factors_file);
		if (code == AQM_OK)
			code = aqm_adapter_read_peft(file, config, config_bytes, config_file);
	} else {
		code = aqm_gguf_open_memory(&file->gguf, data, bytes, "adapter.gguf");
		if (code == AQM_OK)
			code = aqm_adapter_read_gguf(file);
	}
	return finish_open(out, file, code);
}

void aqm_adapter_file_free(aqm_adapter_file *file)
{
	if (!file)
		return;
	aqm_safetensors_close(file->tensors);
	aqm_gguf_free(file->gguf);
	free(file->pairs);
	free(file->factors_path);
	free(file->path);
	free(file);
}

int aqm_adapter_file_digest(aqm_adapter_file *file, char hex[65])
{
	return aqm_sha256_file(file->factors_path, hex);
}

/* ---- numbers ---- */

/* A pair in memory: a (rank, in), b (out, rank) with its rows in GGUF's order. Owned by the caller, both or none. */
struct numbers {
	int64_t rank, in, out;
	float *a, *b;
};

static void release_numbers(struct numbers *n)
{
	free(n->a);
	free(n->b);
	*n = (struct numbers){0};
}

static void read_rows(const struct aqm_factor *factor, int64_t first, int64_t rows, float *out)
{
	const size_t numbers = (size_t)(rows * factor->cols);

	if (factor->tensor) {
		aqm_safetensors_read(factor->tensor, first * factor->cols, numbers, out);
		return;
	}
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(factor->gguf->dtype);
	const size_t row_bytes = (size_t)factor->cols / traits->block * traits->block_bytes;

	traits->expand((const uint8_t *)factor->gguf->data + (size_t)first * row_bytes, out, numbers);
}

static bool all_finite(const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

static int read_numbers(struct numbers *n, const struct aqm_adapter_file *file, const struct aqm_factor_pair *pair,
                        int64_t head_dim)
{
	*n = (struct numbers){.rank = pair->a.rows, .in = pair->a.cols, .out = pair->b.rows};
	n->a = aqm_malloc_array((size_t)(n->rank * n->in), sizeof *n->a);
	n->b = aqm_malloc_array((size_t)(n->out * n->rank), sizeof *n->b);
	int code = n->a && n->b ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK) {
		read_rows(&pair->a, 0, n->rank, n->a);
		for (int64_t row = 0; row < n->out; row++)
			read_rows(&pair->b, aqm_published_row(pair->layout, head_dim, row), 1, n->b + row * n->rank);
		if (!all_finite(n->a, n->rank * n->in) || !all_finite(n->b, n->out * n->rank))
			code = aqm_error_set(AQM_EDATA, "'%s': a number of '%.150s' or its other factor is not finite", file->path,
			                     pair->shown);
	}
	if (code != AQM_OK)
		release_numbers(n);
	return code;
}

/* ---- parts of a base tensor ---- */

struct part {
	enum aqm_target target;
	int64_t first, count; /* rows of the whole */
	int64_t a, b;         /* parameters */
};

struct parts {
	struct part part[AQM_PARTS_MAX];
	int count;
	double scale;
};

/* What a model adapts of a base tensor. */
static struct parts parts_of(const aqm_model *model, const struct aqm_gguf_tensor *base)
{
	struct parts parts = {0};

	for (size_t i = 0; i < model->adapter_count && parts.count < AQM_PARTS_MAX; i++) {
		const struct aqm_adapter *adapter = &model->adapters[i];

		if (strcmp(adapter->gguf_name, base->name) != 0)
			continue;
		parts.part[parts.count++] = (struct part){.target = adapter->target,
		                                          .first = adapter->row_offset,
		                                          .count = adapter->out,
		                                          .a = adapter->a,
		                                          .b = adapter->b};
		parts.scale = adapter->scale;
	}
	return parts;
}

static bool is_zero(const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (x[i] != 0)
			return false;
	return true;
}

/* The part that has this row of the whole, or -1. */
static int part_at(const struct parts *parts, int64_t row)
{
	for (int p = 0; p < parts->count; p++)
		if (row >= parts->part[p].first && row < parts->part[p].first + parts->part[p].count)
			return p;
	return -1;
}

/* Whether parts of this rank hold all that is not zero. Part p takes the columns of B (rows of A) from p * step on:
 * step = rank: blocks; step = 0: shared. */
static bool holds(const struct numbers *n, const struct parts *parts, int64_t rank, int64_t step)
{
	const int64_t covered = rank + (parts->count - 1) * step;

	if (n->rank > covered && !is_zero(n->a + covered * n->in, (n->rank - covered) * n->in))
		return false;
	for (int64_t row = 0; row < n->out; row++) {
		const float *b = n->b + row * n->rank;
		const int p = part_at(parts, row);
		const int64_t first = p < 0 ? n->rank : p * step, end = first + rank;

		if (!is_zero(b, first < n->rank ? first : n->rank) || (end < n->rank && !is_zero(b + end, n->rank - end)))
			return false;
	}
	return true;
}

/* Columns from one part to the next, or -1: the parts cannot hold the pair. `exactly`: none of them stays empty. */
static int64_t find_form(const struct numbers *n, const struct parts *parts, int64_t rank, bool exactly)
{
	if (parts->count > 1 && n->rank >= parts->count * rank && holds(n, parts, rank, rank))
		return rank;
	return (n->rank >= rank || !exactly) && holds(n, parts, rank, 0) ? 0 : -1;
}

/* ---- the settings that hold it ---- */

/* What a run's settings would have to be. */
struct wanted {
	int64_t rank, lowest; /* lowest < rank: ranks differ */
	double scale;
	double alpha;
	bool rslora;
	unsigned targets;
};

static bool is_fused(const struct parts *parts)
{
	return parts->count > 1;
}

/* Each part has something of its own, and nothing is left. An adapter that was never trained, B = 0, has no blocks. */
static bool is_blocks(const struct numbers *n, const struct parts *parts, int64_t rank)
{
	for (int p = 0; p < parts->count; p++)
		if (is_zero(n->b + parts->part[p].first * n->rank, parts->part[p].count * n->rank))
			return false;
	return holds(n, parts, rank, rank);
}

/* Whether all fused tensors of the file are blocks of some of their parts: `rank` 0: of the rank that follows. */
static int try_blocks(const struct aqm_adapter_file *file, const aqm_model *probe, unsigned subset, int64_t *rank,
                      bool *held)
{
	int code = AQM_OK;

	*held = true;
	for (size_t i = 0; code == AQM_OK && *held && i < file->count; i++) {
		struct parts all = parts_of(probe, file->pairs[i].base), some = {0};
		struct numbers n;

		if (!is_fused(&all))
			continue;
		for (int p = 0; p < all.count; p++)
			if (subset & 1u << p)
				some.part[some.count++] = all.part[p];
		if (*rank == 0 && some.count > 0 && file->pairs[i].a.rows % some.count == 0)
			*rank = file->pairs[i].a.rows / some.count;
		if (*rank == 0 || some.count == 0 || file->pairs[i].a.rows < some.count * *rank) {
			*held = false;
			break;
		}
		code = read_numbers(&n, file, &file->pairs[i], probe->shape.head_dim);
		if (code == AQM_OK)
			*held = is_blocks(&n, &some, *rank);
		release_numbers(&n);
	}
	return code;
}

/* Fused tensors: the form of our own exports if they have it, else shared. single: rank of the other tensors, 0 without. */
static int want_fused(const struct aqm_adapter_file *file, const aqm_model *probe, const struct parts *fused,
                      int64_t largest, int64_t single, struct wanted *want)
{
	static const unsigned subsets[] = {7, 3, 5, 6, 1, 2, 4};
	bool held = false;
	unsigned subset = 7;
	int64_t rank = largest;
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && !held && i < sizeof subsets / sizeof *subsets; i++) {
		subset = subsets[i];
		rank = single;
		code = try_blocks(file, probe, subset, &rank, &held);
	}
	if (!held) {
		subset = 7;
		rank = largest;
	}
	for (int p = 0; p < fused->count; p++)
		if (subset & 1u << p)
			want->targets |= 1u << fused->part[p].target;
	want->rank = rank > want->rank ? rank : want->rank;
	want->lowest = rank < want->lowest ? rank : want->lowest;
	return code;
}

/* In the file's own words where its rank is the model's. */
static void want_alpha(const struct aqm_adapter_file *file, struct wanted *want)
{
	const double root = sqrt((double)want->rank), divisor = file->rslora ? root : (double)want->rank;

	for (size_t i = file->count; i-- > 0;)
		if (file->pairs[i].scale > 0)
			want->scale = file->pairs[i].scale;
	want->rslora = file->rslora && fabs(file->alpha / divisor - want->scale) <= 1e-9 * want->scale;
	want->alpha = want->rslora ? file->alpha : want->scale * (double)want->rank;
}

static int want(const struct aqm_adapter_file *file, const aqm_model *probe, struct wanted *want)
{
	struct aqm_adapter_file listing = {.path = file->path};
	struct parts fused = {0};
	int64_t single = 0, largest = 0;
	int code = AQM_OK;

	*want = (struct wanted){.lowest = INT64_MAX};
	for (size_t i = 0; i < file->count; i++) {
		const struct aqm_factor_pair *pair = &file->pairs[i];
		struct parts parts = parts_of(probe, pair->base);

		if (parts.count == 0) {
			aqm_adapter_file_list(&listing, pair->shown);
		} else if (is_fused(&parts)) {
			fused = parts;
			largest = pair->a.rows > largest ? pair->a.rows : largest;
		} else {
			want->targets |= 1u << parts.part[0].target;
			single = pair->a.rows > single ? pair->a.rows : single;
			want->lowest = pair->a.rows < want->lowest ? pair->a.rows : want->lowest;
		}
	}
	if (listing.listed)
		return report_listed(&listing, "has factors of matrices that this model does not run or adapt");
	want->rank = single;
	if (fused.count)
		code = want_fused(file, probe, &fused, largest, single, want);
	want_alpha(file, want);
	return code;
}

/* A model that adapts all it can tells which tensors that are; it is never run. */
static int want_of(const struct aqm_adapter_file *file, aqm_device *device, const struct aqm_model_options *options,
                   struct wanted *out)
{
	struct aqm_model_options all = {.rank = 1, .targets = (1u << AQM_TARGETS) - 1, .stop_layer = options->stop_layer};
	struct aqm_params params;
	aqm_model *probe = NULL;

	aqm_params_init(&params, device);
	int code = aqm_model_open(&probe, device, file->base, &all, &params);
	if (code == AQM_OK)
		code = want(file, probe, out);
	aqm_model_free(probe);
	aqm_params_release(&params);
	return code;
}

int aqm_adapter_file_options(const aqm_adapter_file *file, aqm_device *device, struct aqm_model_options *options)
{
	struct wanted wanted;
	int code = want_of(file, device, options, &wanted);

	if (code != AQM_OK)
		return code;
	options->rank = wanted.rank;
	options->alpha = wanted.alpha;
	options->rslora = wanted.rslora;
	options->targets = wanted.targets;
	return AQM_OK;
}

/* ---- when it does not fit ---- */

static void append(char *text, size_t size, const char *format, ...) AQM_PRINTF(3, 4);
static void append(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + used, size - used, format, arguments);
	va_end(arguments);
}

static bool same_scale(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fabs(b);
}

static double scale_of(const struct aqm_model_options *options)
{
	return options->alpha / (options->rslora ? sqrt((double)options->rank) : (double)options->rank);
}

static void append_targets(char *text, size_t size, unsigned targets)
{
	const char *comma = "";

	append(text, size, " --set 'lora.targets=[");
	for (int t = 0; t < AQM_TARGETS; t++)
		if (targets & 1u << t) {
			append(text, size, "%s%s", comma, aqm_target_word((enum aqm_target)t));
			comma = ", ";
		}
	append(text, size, "]'");
}

/* The message that says which settings would fit. */
static int misfit(const struct aqm_adapter_file *file, const aqm_model *model)
{
	const struct aqm_model_options *options = &model->options;
	struct wanted wanted;
	char settings[256] = "";
	int code = want_of(file, model->device, options, &wanted);

	if (code != AQM_OK)
		return code;
	if (wanted.lowest < wanted.rank)
		return aqm_error_set(AQM_EUSAGE, "'%s' has factors of ranks from %lld to %lld; a training has one rank for all",
		                     file->path, (long long)wanted.lowest, (long long)wanted.rank);
	if (wanted.rank != options->rank)
		append(settings, sizeof settings, " --set lora.rank=%lld", (long long)wanted.rank);
	if (wanted.rank != options->rank || !same_scale(scale_of(options), wanted.scale)) {
		append(settings, sizeof settings, " --set lora.alpha=%.12g", wanted.alpha);
		if (wanted.rslora != options->rslora)
			append(settings, sizeof settings, " --set lora.rslora=%s", wanted.rslora ? "true" : "false");
	}
	if (wanted.targets != options->targets)
		append_targets(settings, sizeof settings, wanted.targets);
	if (!*settings)
		return aqm_error_set(AQM_EUSAGE, "'%s' has factors of different scales; a training has one for all",
		                     file->path);
	return aqm_error_set(AQM_EUSAGE, "the settings of LoRA are not those of '%s'; these are:%s", file->path, settings);
}

/* ---- loading ---- */

struct loading {
	const struct aqm_adapter_file *file;
	aqm_model *model;
	struct aqm_params *params;
	bool exactly;
	bool *filled; /* one a parameter */
};

/* What B is multiplied by, so that the model's scale makes it what it was; negative: a training cannot have it. GGUF has
 * one alpha for tensors of all ranks: there, powers of two are exact, and what our export makes. */
static double factor_of_b(const struct loading *l, const struct aqm_factor_pair *pair, double scale)
{
	if (same_scale(pair->scale, scale))
		return 1;
	const double ratio = scale > 0 ? pair->scale / scale : -1;

	if (!l->exactly || !(ratio > 0))
		return l->exactly ? -1 : ratio;
	const double power = exp2(rint(log2(ratio)));

	return l->file->gguf && same_scale(ratio, power) ? power : -1;
}

static void upload(const struct loading *l, int64_t index, const float *values)
{
	const struct aqm_param *param = &l->params->items[index];
	aqm_device *device = l->params->device;

	device->ops->upload(device, aqm_params_value(l->params, index).data, values,
	                    (size_t)(param->rows * param->cols) * sizeof *values);
	aqm_params_touch(l->params);
	l->filled[index] = true;
}

/* One part's factors: columns of B (rows of A) from `first` on, as many as there are; zeros behind them. */
static int fill_part(const struct loading *l, const struct numbers *n, const struct part *part, int64_t rank,
                     int64_t first, float factor)
{
	const int64_t there = n->rank - first < rank ? n->rank - first : rank;
	float *a = aqm_calloc_array((size_t)(rank * n->in), sizeof *a);
	float *b = aqm_calloc_array((size_t)(part->count * rank), sizeof *b);
	int code = a && b ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK) {
		memcpy(a, n->a + first * n->in, (size_t)(there * n->in) * sizeof *a);
		for (int64_t row = 0; row < part->count; row++)
			for (int64_t c = 0; c < there; c++)
				b[row * rank + c] = factor * n->b[(part->first + row) * n->rank + first + c];
		upload(l, part->a, a);
		upload(l, part->b, b);
	}
	free(a);
	free(b);
	return code;
}

/* *fits: false when the model's settings do not hold it. */
static int load_pair(const struct loading *l, const struct aqm_factor_pair *pair, bool *fits)
{
	const struct parts parts = parts_of(l->model, pair->base);
	const int64_t rank = l->model->options.rank;
	const double factor = factor_of_b(l, pair, parts.scale);
	struct numbers n;

	*fits = parts.count > 0 && factor >= 0;
	if (!*fits)
		return AQM_OK;
	int code = read_numbers(&n, l->file, pair, l->model->shape.head_dim);
	if (code != AQM_OK)
		return code;
	const int64_t step = find_form(&n, &parts, rank, l->exactly);

	*fits = step >= 0;
	for (int p = 0; code == AQM_OK && *fits && p < parts.count; p++)
		code = fill_part(l, &n, &parts.part[p], rank, p * step, (float)factor);
	release_numbers(&n);
	return code;
}

/* Targets that were asked for and of which nothing is there; and a warning of layers without factors. */
static bool check_filled(const struct loading *l)
{
	unsigned filled = 0;
	size_t empty = 0;

	for (size_t i = 0; i < l->model->adapter_count; i++) {
		const struct aqm_adapter *adapter = &l->model->adapters[i];

		if (l->filled[adapter->b])
			filled |= 1u << adapter->target;
		else
			empty++;
	}
	for (size_t i = 0; i < l->model->adapter_count; i++)
		if (!(filled & 1u << l->model->adapters[i].target))
			return false;
	if (empty)
		aqm_log_warning("'%s' has nothing for %zu of the %zu adapted matrices: they begin as without it", l->file->path,
		                empty, l->model->adapter_count);
	return true;
}

/* One of the scales at least is the run's own. */
static bool has_scale(const struct loading *l)
{
	for (size_t i = 0; i < l->file->count; i++)
		if (same_scale(l->file->pairs[i].scale, parts_of(l->model, l->file->pairs[i].base).scale))
			return true;
	return false;
}

int aqm_adapter_file_load(const aqm_adapter_file *file, aqm_model *model, struct aqm_params *params, bool exactly)
{
	struct loading l = {.file = file, .model = model, .params = params, .exactly = exactly};
	bool fits;
	int code = AQM_OK;

	l.filled = aqm_calloc_array(params->count + 1, sizeof *l.filled);
	if (!l.filled)
		return AQM_ERUN;
	fits = !exactly || has_scale(&l);
	for (size_t i = 0; code == AQM_OK && fits && i < file->count; i++)
		code = load_pair(&l, &file->pairs[i], &fits);
	if (code == AQM_OK && fits && exactly)
		fits = check_filled(&l);
	free(l.filled);
	return code == AQM_OK && !fits ? misfit(file, model) : code;
}
