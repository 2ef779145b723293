/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/convert_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "aqmtrain/gguf.h"
#include "base/log.h"

/* Most that we take; the model's binding (bind.c) has the same limits. */
enum {
	LAYERS = 1000,
	WIDTH = 1 << 20,
	HEADS = 4096,
	HEAD_DIM = 4096,
	FFN = 1 << 22,
	VOCABULARY = 1 << 24,
	POSITIONS = 1 << 24,
	BUCKETS = 128,
	REQUIRED = -1, /* in place of a fallback */
};

/* One object of the file. */
struct section {
	const char *path, *within; /* "config.json", "rope_scaling." */
	const json_t *json;
};

/* ---- values ---- */

/* The value of a key; NULL also for null, which transformers writes for "not given". */
static const json_t *value_of(const struct section *s, const char *key)
{
	const json_t *value = json_object_get(s->json, key);

	return json_is_null(value) ? NULL : value;
}

static int no_value(const struct section *s, const char *key)
{
	return aqm_error_set(AQM_EDATA, "'%s' has no '%s%s'", s->path, s->within, key);
}

static int take_int(const struct section *s, const char *key, int64_t low, int64_t high, int64_t fallback, int64_t *out)
{
	const json_t *value = value_of(s, key);

	*out = value ? json_integer_value(value) : fallback;
	if (!value)
		return fallback < 0 ? no_value(s, key) : AQM_OK;
	if (!json_is_integer(value))
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is no whole number", s->path, s->within, key);
	if (*out < low || *out > high)
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is %lld; expected %lld to %lld", s->path, s->within, key,
		                     (long long)*out, (long long)low, (long long)high);
	return AQM_OK;
}

/* `fallback` below `low`: required. */
static int take_real(const struct section *s, const char *key, double low, double high, double fallback, double *out)
{
	const json_t *value = value_of(s, key);

	*out = value ? json_number_value(value) : fallback;
	if (!value)
		return fallback < low ? no_value(s, key) : AQM_OK;
	if (!json_is_number(value))
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is no number", s->path, s->within, key);
	if (!(*out >= low && *out <= high))
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is %g; expected %g to %g", s->path, s->within, key, *out, low,
		                     high);
	return AQM_OK;
}

static int take_bool(const struct section *s, const char *key, bool fallback, bool *out)
{
	const json_t *value = value_of(s, key);

	*out = value ? json_is_true(value) : fallback;
	if (value && !json_is_boolean(value))
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is neither true nor false", s->path, s->within, key);
	return AQM_OK;
}

/* The text lives as long as the file. */
static int take_text(const struct section *s, const char *key, const char *fallback, const char **out)
{
	const json_t *value = value_of(s, key);

	*out = value ? json_string_value(value) : fallback;
	if (value && !*out)
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is no text", s->path, s->within, key);
	return AQM_OK;
}

/* A switch of which only one position is supported. Absent is that position. */
static int insist_bool(const struct section *s, const char *key, bool wanted)
{
	bool value;
	int code = take_bool(s, key, wanted, &value);

	if (code == AQM_OK && value != wanted)
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is %s; only models with %s are supported", s->path, s->within,
		                     key, value ? "true" : "false", wanted ? "true" : "false");
	return code;
}

/* The same with words; `others` NULL or a second name of the same. */
static int insist_text(const struct section *s, const char *key, const char *wanted, const char *other)
{
	const char *value;
	int code = take_text(s, key, wanted, &value);

	if (code == AQM_OK && strcmp(value, wanted) != 0 && (!other || strcmp(value, other) != 0))
		return aqm_error_set(AQM_EDATA, "'%s': '%s%s' is '%.40s'; only '%s' is supported", s->path, s->within, key,
		                     value, wanted);
	return code;
}

/* ---- rotary positions ---- */

/* A section of the file, or the file itself when there is none of that name. */
static int take_section(const struct section *s, const char *key, const char *within, struct section *out)
{
	const json_t *value = value_of(s, key);

	*out = *s;
	if (!value)
		return AQM_OK;
	if (!json_is_object(value))
		return aqm_error_set(AQM_EDATA, "'%s': '%s' is no object", s->path, key);
	*out = (struct section){.path = s->path, .within = within, .json = value};
	return AQM_OK;
}

static int read_llama3_scaling(struct aqm_hf_config *c, const struct section *rope)
{
	int code;

	(void)((code = take_real(rope, "factor", 1e-3, 1e6, -1, &c->rope.factor)) < 0 ||
	       (code = take_real(rope, "low_freq_factor", 1e-3, 1e6, -1, &c->rope.low)) < 0 ||
	       (code = take_real(rope, "high_freq_factor", 1e-3, 1e6, -1, &c->rope.high)) < 0 ||
	       (code = take_int(rope, "original_max_position_embeddings", 1, INT32_MAX, REQUIRED,
	                        &c->rope.original_context)) < 0);
	c->rope.scaling = AQM_ROPE_LLAMA3;
	if (code == AQM_OK && c->rope.high <= c->rope.low)
		return aqm_error_set(AQM_EDATA, "'%s': '%shigh_freq_factor' is %g, no more than low_freq_factor", rope->path,
		                     rope->within, c->rope.high);
	return code;
}

/* rope_theta and rope_scaling as they were published at first, or both in rope_parameters as transformers writes since
 * version 5. */
static int read_rope(struct aqm_hf_config *c, const struct section *s)
{
	bool newer = value_of(s, "rope_parameters") != NULL;
	struct section rope;
	const char *kind = "default";
	int code = newer ? take_section(s, "rope_parameters", "rope_parameters.", &rope)
	                 : take_section(s, "rope_scaling", "rope_scaling.", &rope);

	double partial;

	if (code == AQM_OK)
		code = take_real(value_of(&rope, "rope_theta") ? &rope : s, "rope_theta", 1, 1e12, 10000, &c->rope.base);
	if (code == AQM_OK)
		code =
			take_real(value_of(&rope, "partial_rotary_factor") ? &rope : s, "partial_rotary_factor", 1, 1, 1, &partial);
	if (code == AQM_OK && rope.json != s->json)
		code = take_text(&rope, value_of(&rope, "rope_type") ? "rope_type" : "type", "default", &kind);
	if (code != AQM_OK || strcmp(kind, "default") == 0)
		return code;
	if (strcmp(kind, "llama3") == 0)
		return read_llama3_scaling(c, &rope);
	if (strcmp(kind, "linear") != 0)
		return aqm_error_set(AQM_EDATA, "'%s': positions are scaled by '%.40s'; linear and llama3 are supported",
		                     s->path, kind);
	c->rope.scaling = AQM_ROPE_LINEAR;
	return take_real(&rope, "factor", 1e-3, 1e6, -1, &c->rope.factor);
}

/* In float32 and in the order in which torch does it (quotients as products with a reciprocal), so that the factors are
 * the numbers that llama.cpp's converter writes. */
void aqm_hf_rope_factors(const struct aqm_hf_config *config, float *factors)
{
	const float old = (float)config->rope.original_context, factor = (float)config->rope.factor;
	const float low = (float)config->rope.low, high = (float)config->rope.high;
	const float longest = (float)((double)config->rope.original_context / config->rope.low);
	const float shortest = (float)((double)config->rope.original_context / config->rope.high);

	for (int64_t i = 0; i < config->head_dim / 2; i++) {
		float exponent = (float)(2 * i) / (float)config->head_dim;
		float frequency = 1.0f / powf((float)config->rope.base, exponent);
		float wavelength = 1.0f / frequency * 6.28318530717958647692f;
		float smooth = (1.0f / wavelength * old - low) / (high - low);

		if (wavelength < shortest)
			factors[i] = 1.0f;
		else if (wavelength > longest)
			factors[i] = factor;
		else
			factors[i] = 1.0f / ((1.0f - smooth) / factor + smooth);
	}
}

/* ---- the kinds of models ---- */

struct aqm_hf_kind {
	const char *model_type, *architecture;
	bool tied; /* unless the file says otherwise */
	int (*read)(struct aqm_hf_config *config, const struct section *s);
	int (*write)(const struct aqm_hf_config *config, aqm_gguf_writer *writer);
};

/* The width of each head follows from the width of the model. */
static int divide_width(struct aqm_hf_config *c, const struct section *s)
{
	int64_t width = c->extents[AQM_EXTENT_WIDTH];

	if (width % c->heads != 0)
		return aqm_error_set(AQM_EDATA, "'%s': a width of %lld cannot be divided among %lld heads", s->path,
		                     (long long)width, (long long)c->heads);
	c->head_dim = width / c->heads;
	return AQM_OK;
}

static int read_heads(struct aqm_hf_config *c, const struct section *s)
{
	/* The other classes have numbers of key-value heads of their own by default: there the key must be given. */
	bool llama = strcmp(c->kind->model_type, "llama") == 0, given = json_object_get(s->json, "num_key_value_heads");
	int code;

	(void)((code = take_int(s, "num_attention_heads", 1, HEADS, REQUIRED, &c->heads)) < 0 ||
	       (code = take_int(s, "num_key_value_heads", 1, c->heads, llama || given ? c->heads : REQUIRED,
	                        &c->kv_heads)) < 0 ||
	       (code = take_int(s, "head_dim", 2, HEAD_DIM, 0, &c->head_dim)) < 0);
	if (code != AQM_OK)
		return code;
	c->head_dim_given = c->head_dim > 0;
	code = c->head_dim_given ? AQM_OK : divide_width(c, s);
	if (code == AQM_OK && (c->heads % c->kv_heads != 0 || c->head_dim % 2 != 0 || c->head_dim > HEAD_DIM))
		code =
			aqm_error_set(AQM_EDATA, "'%s': %lld heads of %lld cannot share %lld key-value heads with rotary positions",
		                  s->path, (long long)c->heads, (long long)c->head_dim, (long long)c->kv_heads);
	return code;
}

/* Our windows are short; only who makes them longer than this would see a difference. */
static int note_sliding_window(const struct section *s)
{
	int64_t window = 0;
	bool used = true;
	int code = take_int(s, "sliding_window", 1, INT32_MAX, 0, &window);

	if (code == AQM_OK)
		code = take_bool(s, "use_sliding_window", true, &used);
	if (code == AQM_OK && window > 0 && used)
		aqm_log_warning("the model attends to its last %lld tokens; windows longer than that will see all of theirs",
		                (long long)window);
	return code;
}

static int read_llama(struct aqm_hf_config *c, const struct section *s)
{
	int code;

	(void)((code = take_int(s, "num_hidden_layers", 1, LAYERS, REQUIRED, &c->layers)) < 0 ||
	       (code = take_int(s, "hidden_size", 1, WIDTH, REQUIRED, &c->extents[AQM_EXTENT_WIDTH])) < 0 ||
	       (code = take_int(s, "intermediate_size", 1, FFN, REQUIRED, &c->extents[AQM_EXTENT_FFN])) < 0 ||
	       (code = take_int(s, "max_position_embeddings", 1, INT32_MAX, 2048, &c->context)) < 0 ||
	       (code = take_real(s, "rms_norm_eps", 0, 1, 1e-6, &c->epsilon)) < 0 ||
	       (code = insist_text(s, "hidden_act", "silu", "swish")) < 0 || (code = read_heads(c, s)) < 0 ||
	       (code = read_rope(c, s)) < 0 || (code = note_sliding_window(s)) < 0);
	c->gated = true;
	return code;
}

static int read_gpt2(struct aqm_hf_config *c, const struct section *s)
{
	int64_t *const e = c->extents;
	int code;

	(void)((code = take_int(s, "n_layer", 1, LAYERS, REQUIRED, &c->layers)) < 0 ||
	       (code = take_int(s, "n_embd", 1, WIDTH, REQUIRED, &e[AQM_EXTENT_WIDTH])) < 0 ||
	       (code = take_int(s, "n_head", 1, HEADS, REQUIRED, &c->heads)) < 0 ||
	       (code = take_int(s, "n_inner", 1, FFN, 4 * e[AQM_EXTENT_WIDTH], &e[AQM_EXTENT_FFN])) < 0 ||
	       (code = take_int(s, "n_positions", 1, POSITIONS, REQUIRED, &e[AQM_EXTENT_POSITIONS])) < 0 ||
	       (code = take_real(s, "layer_norm_epsilon", 0, 1, 1e-5, &c->epsilon)) < 0 ||
	       (code = insist_text(s, "activation_function", "gelu_new", "gelu_pytorch_tanh")) < 0 ||
	       (code = insist_bool(s, "scale_attn_weights", true)) < 0 ||
	       (code = insist_bool(s, "scale_attn_by_inverse_layer_idx", false)) < 0 ||
	       (code = insist_bool(s, "add_cross_attention", false)) < 0 || (code = divide_width(c, s)) < 0);
	c->kv_heads = c->heads;
	c->context = e[AQM_EXTENT_POSITIONS];
	return code;
}

enum { OPT_OFFSET = 2 }; /* the first two rows of its table of positions are of no token */

static int read_opt(struct aqm_hf_config *c, const struct section *s)
{
	int64_t *const e = c->extents, projected = 0;
	int code;

	(void)((code = take_int(s, "num_hidden_layers", 1, LAYERS, REQUIRED, &c->layers)) < 0 ||
	       (code = take_int(s, "hidden_size", 1, WIDTH, REQUIRED, &e[AQM_EXTENT_WIDTH])) < 0 ||
	       (code = take_int(s, "ffn_dim", 1, FFN, REQUIRED, &e[AQM_EXTENT_FFN])) < 0 ||
	       (code = take_int(s, "num_attention_heads", 1, HEADS, REQUIRED, &c->heads)) < 0 ||
	       (code = take_int(s, "max_position_embeddings", 1, POSITIONS, REQUIRED, &c->context)) < 0 ||
	       (code = take_int(s, "word_embed_proj_dim", 1, WIDTH, e[AQM_EXTENT_WIDTH], &projected)) < 0 ||
	       (code = insist_bool(s, "do_layer_norm_before", true)) < 0 ||
	       (code = insist_bool(s, "_remove_final_layer_norm", false)) < 0 ||
	       (code = insist_bool(s, "enable_bias", true)) < 0 ||
	       (code = insist_bool(s, "layer_norm_elementwise_affine", true)) < 0 ||
	       (code = insist_text(s, "activation_function", "relu", NULL)) < 0 || (code = divide_width(c, s)) < 0);
	if (code == AQM_OK && projected != e[AQM_EXTENT_WIDTH])
		return aqm_error_set(AQM_EDATA,
		                     "'%s': 'word_embed_proj_dim' is %lld; only that of 'hidden_size', %lld, is supported",
		                     s->path, (long long)projected, (long long)e[AQM_EXTENT_WIDTH]);
	c->kv_heads = c->heads;
	c->epsilon = 1e-5; /* not in the file: torch's own */
	e[AQM_EXTENT_POSITIONS] = c->context + OPT_OFFSET;
	return code;
}

static int read_t5(struct aqm_hf_config *c, const struct section *s)
{
	enum { DISTANCE = 128 }; /* GGUF has no key for it */
	int64_t *const e = c->extents, distance = 0;
	int code;

	(void)((code = take_int(s, "num_layers", 1, LAYERS, REQUIRED, &c->layers)) < 0 ||
	       (code = take_int(s, "num_decoder_layers", 1, LAYERS, c->layers, &c->decoder_layers)) < 0 ||
	       (code = take_int(s, "d_model", 1, WIDTH, REQUIRED, &e[AQM_EXTENT_WIDTH])) < 0 ||
	       (code = take_int(s, "d_ff", 1, FFN, REQUIRED, &e[AQM_EXTENT_FFN])) < 0 ||
	       (code = take_int(s, "d_kv", 1, HEAD_DIM, REQUIRED, &c->head_dim)) < 0 ||
	       (code = take_int(s, "num_heads", 1, HEADS, REQUIRED, &c->heads)) < 0 ||
	       (code = take_int(s, "n_positions", 1, INT32_MAX, 512, &c->context)) < 0 ||
	       (code = take_int(s, "relative_attention_num_buckets", 4, BUCKETS, 32, &e[AQM_EXTENT_BUCKETS])) < 0 ||
	       (code = take_int(s, "relative_attention_max_distance", 1, INT32_MAX, DISTANCE, &distance)) < 0 ||
	       (code = take_int(s, "decoder_start_token_id", 0, VOCABULARY, 0, &c->start_token)) < 0 ||
	       (code = take_real(s, "layer_norm_epsilon", 0, 1, 1e-6, &c->epsilon)) < 0 ||
	       (code = insist_bool(s, "is_encoder_decoder", true)) < 0);
	if (code != AQM_OK)
		return code;
	if (distance != DISTANCE)
		return aqm_error_set(AQM_EDATA, "'%s': 'relative_attention_max_distance' is %lld; only %d is supported",
		                     s->path, (long long)distance, DISTANCE);
	c->kv_heads = c->heads;
	c->head_dim_given = true;
	const char *ffn = "relu";

	code = insist_text(s, "feed_forward_proj", ffn, "gated-gelu");
	if (code == AQM_OK)
		code = take_text(s, "feed_forward_proj", ffn, &ffn);
	c->gated = strcmp(ffn, "gated-gelu") == 0;
	return code;
}

/* ---- metadata ---- */

static int set_u32(const struct aqm_hf_config *c, aqm_gguf_writer *writer, const char *key, int64_t value)
{
	char full[96];

	snprintf(full, sizeof full, "%s.%s", c->architecture, key);
	return aqm_gguf_writer_set_u32(writer, full, (uint32_t)value);
}

static int set_f32(const struct aqm_hf_config *c, aqm_gguf_writer *writer, const char *key, double value)
{
	char full[96];

	snprintf(full, sizeof full, "%s.%s", c->architecture, key);
	return aqm_gguf_writer_set_f32(writer, full, (float)value);
}

static int set_text(const struct aqm_hf_config *c, aqm_gguf_writer *writer, const char *key, const char *value)
{
	char full[96];

	snprintf(full, sizeof full, "%s.%s", c->architecture, key);
	return aqm_gguf_writer_set_string(writer, full, value);
}

static int write_shape(const struct aqm_hf_config *c, aqm_gguf_writer *w)
{
	int code;

	(void)((code = set_u32(c, w, "vocab_size", c->extents[AQM_EXTENT_VOCABULARY])) < 0 ||
	       (code = set_u32(c, w, "context_length", c->context)) < 0 ||
	       (code = set_u32(c, w, "embedding_length", c->extents[AQM_EXTENT_WIDTH])) < 0 ||
	       (code = set_u32(c, w, "block_count", c->layers)) < 0 ||
	       (code = set_u32(c, w, "feed_forward_length", c->extents[AQM_EXTENT_FFN])) < 0 ||
	       (code = set_u32(c, w, "attention.head_count", c->heads)) < 0);
	if (code == AQM_OK && c->head_dim_given)
		(void)((code = set_u32(c, w, "attention.key_length", c->head_dim)) < 0 ||
		       (code = set_u32(c, w, "attention.value_length", c->head_dim)) < 0);
	return code;
}

static int write_llama(const struct aqm_hf_config *c, aqm_gguf_writer *w)
{
	int code;

	(void)((code = set_u32(c, w, "attention.head_count_kv", c->kv_heads)) < 0 ||
	       (code = set_f32(c, w, "attention.layer_norm_rms_epsilon", c->epsilon)) < 0 ||
	       (code = set_u32(c, w, "rope.dimension_count", c->head_dim)) < 0 ||
	       (code = set_f32(c, w, "rope.freq_base", c->rope.base)) < 0);
	if (code == AQM_OK && c->rope.scaling == AQM_ROPE_LINEAR)
		(void)((code = set_text(c, w, "rope.scaling.type", "linear")) < 0 ||
		       (code = set_f32(c, w, "rope.scaling.factor", c->rope.factor)) < 0);
	return code;
}

static int write_gpt2(const struct aqm_hf_config *c, aqm_gguf_writer *w)
{
	return set_f32(c, w, "attention.layer_norm_epsilon", c->epsilon);
}

static int write_opt(const struct aqm_hf_config *c, aqm_gguf_writer *w)
{
	int code = set_f32(c, w, "attention.layer_norm_epsilon", c->epsilon);

	return code == AQM_OK ? set_u32(c, w, "position_offset", OPT_OFFSET) : code;
}

static int write_t5(const struct aqm_hf_config *c, aqm_gguf_writer *w)
{
	int code;

	(void)((code = set_u32(c, w, "decoder_block_count", c->decoder_layers)) < 0 ||
	       (code = set_u32(c, w, "attention.relative_buckets_count", c->extents[AQM_EXTENT_BUCKETS])) < 0 ||
	       (code = set_f32(c, w, "attention.layer_norm_rms_epsilon", c->epsilon)) < 0 ||
	       (code = set_f32(c, w, "attention.layer_norm_epsilon", c->epsilon)) < 0 ||
	       (code = set_u32(c, w, "decoder_start_token_id", c->start_token)) < 0);
	return code;
}

int aqm_hf_config_write(const struct aqm_hf_config *config, aqm_gguf_writer *writer)
{
	int code = write_shape(config, writer);

	return code == AQM_OK ? config->kind->write(config, writer) : code;
}

/* ---- the file ---- */

/* clang-format off */
static const struct aqm_hf_kind kinds[] = {
	{"llama",   "llama", false, read_llama, write_llama},
	{"mistral", "llama", false, read_llama, write_llama},
	{"qwen2",   "qwen2", false, read_llama, write_llama},
	{"gpt2",    "gpt2",  true,  read_gpt2,  write_gpt2},
	{"opt",     "opt",   true,  read_opt,   write_opt},
	{"t5",      "t5",    true,  read_t5,    write_t5},
};
/* clang-format on */

static int find_kind(struct aqm_hf_config *c, const struct section *s)
{
	const char *type;
	int code = take_text(s, "model_type", NULL, &type);

	if (code != AQM_OK)
		return code;
	if (!type)
		return no_value(s, "model_type");
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(kinds[i].model_type, type) == 0) {
			c->kind = &kinds[i];
			c->architecture = kinds[i].architecture;
			return AQM_OK;
		}
	return aqm_error_set(AQM_EDATA, "'%s': 'model_type' is '%.40s'; expected llama, mistral, qwen2, gpt2, opt or t5",
	                     s->path, type);
}

/* Where it was published, unless that was a folder on someone's machine. */
static int read_name(struct aqm_hf_config *c, const struct section *s)
{
	const char *name;
	int code = take_text(s, "_name_or_path", "", &name);

	if (code != AQM_OK || strchr("/.~", *name) || strchr(name, '\\') || strlen(name) >= sizeof c->name)
		return code;
	for (const char *p = name; *p; p++)
		if (iscntrl((unsigned char)*p))
			return AQM_OK;
	memcpy(c->name, name, strlen(name) + 1);
	return AQM_OK;
}

static int read_all(struct aqm_hf_config *c, const struct section *s)
{
	int64_t *const e = c->extents;
	int code = find_kind(c, s);

	if (code != AQM_OK)
		return code;
	if (value_of(s, "quantization_config"))
		return aqm_error_set(AQM_EDATA,
		                     "'%s' has 'quantization_config': quantised weights cannot be converted; take the original",
		                     s->path);
	(void)((code = read_name(c, s)) < 0 ||
	       (code = take_int(s, "vocab_size", 1, VOCABULARY, REQUIRED, &e[AQM_EXTENT_VOCABULARY])) < 0 ||
	       (code = take_bool(s, "tie_word_embeddings", c->kind->tied, &c->tied)) < 0 ||
	       (code = c->kind->read(c, s)) < 0);
	if (code != AQM_OK)
		return code;
	e[AQM_EXTENT_ONE] = 1;
	e[AQM_EXTENT_HEADS] = c->heads;
	e[AQM_EXTENT_Q] = c->heads * c->head_dim;
	e[AQM_EXTENT_KV] = c->kv_heads * c->head_dim;
	e[AQM_EXTENT_QKV] = e[AQM_EXTENT_Q] + 2 * e[AQM_EXTENT_KV];
	return AQM_OK;
}

int aqm_hf_config_parse(struct aqm_hf_config *config, const char *text, size_t bytes, const char *name)
{
	json_error_t error;
	json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
	const struct section whole = {.path = name, .within = "", .json = json};
	int code;

	*config = (struct aqm_hf_config){0};
	if (!json)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': line %d, column %d: %s", name, error.line, error.column,
		                     error.text);
	code = json_is_object(json) ? read_all(config, &whole)
	                            : aqm_error_set(AQM_EDATA, "cannot read '%s': it is no JSON object", name);
	json_decref(json);
	return code;
}
