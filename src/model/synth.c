/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/synth.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"

enum { CHUNK = 1 << 20 }; /* floats generated at a time */

enum { T5_BUCKETS = 32 }; /* of relative positions */

struct shape {
	int64_t layers, width, heads, kv_heads, ffn, context, vocabulary;
	float epsilon, rope_base;
	bool tied; /* no output.weight: the token table serves */
};

struct synth {
	const struct preset *preset;
	aqm_gguf_writer *writer;
	enum aqm_dtype type;
	uint64_t seed;
	const char *stack; /* in front of the names of blocks: "", "enc." or "dec." */
	uint32_t tensors;  /* declared or written so far: the random stream of each is its index */
	bool writing;      /* the list of tensors is walked twice: declare, then write */
	uint64_t total;    /* numbers declared */
	float *chunk;
	struct aqm_progress progress;
};

struct preset {
	const char *name, *title, *architecture;
	struct shape shape;
	int (*set_metadata)(struct synth *s);
	int (*walk)(struct synth *s);
};

/* ---- tensors ---- */

/* What a tensor is filled with. */
enum fill { FILL_ZERO, FILL_ONE, FILL_RANDOM, FILL_RESIDUAL, FILL_QUERY };

/* 0.023 for a width of 768, and the same gain in narrower and wider models. Projections back into the residual stream are
 * smaller by sqrt(2 layers), so that its variance does not grow with depth; queries of t5, which does not scale its scores,
 * by the square root of their width, which the others' scale is. */
static float deviation(const struct shape *shape, enum fill fill)
{
	int64_t head_dim = shape->width / shape->heads;
	double std = sqrt(2.0 / (5.0 * (double)shape->width));

	if (fill == FILL_RESIDUAL)
		std /= sqrt(2.0 * (double)shape->layers);
	if (fill == FILL_QUERY)
		std /= sqrt((double)head_dim);
	return (float)std;
}

/* Nearly normal numbers: sums of four 16-bit uniforms, which are integers and so the same everywhere. Two from each Philox
 * block; n is even or the last number is one of a pair. */
static void fill_random(float *out, size_t n, uint64_t seed, uint32_t tensor, uint64_t first, float std)
{
	const float scale = std / 37837.2272f; /* the deviation of the sum: sqrt(4 (65536^2 - 1) / 12) */

#pragma omp parallel for schedule(static)
	for (size_t i = 0; i < n; i += 2) {
		uint32_t r[4];

		aqm_philox(seed, AQM_STREAM_SYNTH, tensor, (first + i) / 2, r);
		for (size_t j = 0; j < 2 && i + j < n; j++) {
			uint32_t a = r[2 * j], b = r[2 * j + 1];
			int32_t sum = (int32_t)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 2 * 65535;

			out[i + j] = (float)sum * scale;
		}
	}
}

static void fill_chunk(const struct synth *s, enum fill fill, uint64_t first, size_t n)
{
	if (fill != FILL_ZERO && fill != FILL_ONE) {
		fill_random(s->chunk, n, s->seed, s->tensors, first, deviation(&s->preset->shape, fill));
		return;
	}
	for (size_t i = 0; i < n; i++)
		s->chunk[i] = fill == FILL_ONE;
}

static int write_tensor(struct synth *s, enum fill fill, uint64_t numbers)
{
	int code = AQM_OK;

	for (uint64_t first = 0; code == AQM_OK && first < numbers; first += CHUNK) {
		size_t n = numbers - first < CHUNK ? (size_t)(numbers - first) : CHUNK;

		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted, no model is written");
		fill_chunk(s, fill, first, n);
		code = aqm_gguf_writer_write_floats(s->writer, s->chunk, n);
		aqm_progress_update(&s->progress, s->progress.done + n);
	}
	return code;
}

/* One tensor of the walk: `rows` 0 makes a vector. */
static int tensor(struct synth *s, const char *name, int64_t columns, int64_t rows, enum aqm_dtype dtype,
                  enum fill fill)
{
	const int64_t ne[2] = {columns, rows};
	const uint64_t numbers = (uint64_t)columns * (uint64_t)(rows ? rows : 1);
	int code;

	if (s->writing) {
		code = write_tensor(s, fill, numbers);
	} else {
		code = aqm_gguf_writer_add_tensor(s->writer, name, dtype, rows ? 2 : 1, ne);
		s->total += numbers;
	}
	s->tensors++;
	return code;
}

static int matrix(struct synth *s, const char *name, int64_t columns, int64_t rows, enum fill fill)
{
	return tensor(s, name, columns, rows, s->type, fill);
}

static int vector(struct synth *s, const char *name, int64_t n, enum fill fill)
{
	return tensor(s, name, n, 0, AQM_F32, fill);
}

/* The same in a block: "blk.3." before the name. */
static int block_matrix(struct synth *s, int64_t layer, const char *name, int64_t columns, int64_t rows, enum fill fill)
{
	char full[64];

	snprintf(full, sizeof full, "%sblk.%d.%s", s->stack, (int)layer, name);
	return matrix(s, full, columns, rows, fill);
}

static int block_vector(struct synth *s, int64_t layer, const char *name, int64_t n, enum fill fill)
{
	char full[64];

	snprintf(full, sizeof full, "%sblk.%d.%s", s->stack, (int)layer, name);
	return vector(s, full, n, fill);
}

static int llama_block(struct synth *s, int64_t layer)
{
	const struct shape *h = &s->preset->shape;
	const int64_t d = h->width, kv = d / h->heads * h->kv_heads;
	int code;

	(void)((code = block_vector(s, layer, "attn_norm.weight", d, FILL_ONE)) < 0 ||
	       (code = block_matrix(s, layer, "attn_q.weight", d, d, FILL_RANDOM)) < 0 ||
	       (code = block_matrix(s, layer, "attn_k.weight", d, kv, FILL_RANDOM)) < 0 ||
	       (code = block_matrix(s, layer, "attn_v.weight", d, kv, FILL_RANDOM)) < 0 ||
	       (code = block_matrix(s, layer, "attn_output.weight", d, d, FILL_RESIDUAL)) < 0 ||
	       (code = block_vector(s, layer, "ffn_norm.weight", d, FILL_ONE)) < 0 ||
	       (code = block_matrix(s, layer, "ffn_gate.weight", d, h->ffn, FILL_RANDOM)) < 0 ||
	       (code = block_matrix(s, layer, "ffn_up.weight", d, h->ffn, FILL_RANDOM)) < 0 ||
	       (code = block_matrix(s, layer, "ffn_down.weight", h->ffn, d, FILL_RESIDUAL)) < 0);
	return code;
}

static int walk_llama(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code = matrix(s, "token_embd.weight", h->width, h->vocabulary, FILL_RANDOM);

	for (int64_t layer = 0; code == AQM_OK && layer < h->layers; layer++)
		code = llama_block(s, layer);
	if (code == AQM_OK)
		code = vector(s, "output_norm.weight", h->width, FILL_ONE);
	if (code == AQM_OK && !h->tied)
		code = matrix(s, "output.weight", h->width, h->vocabulary, FILL_RANDOM);
	return code;
}

/* A linear with its bias. */
static int block_linear(struct synth *s, int64_t layer, const char *name, int64_t columns, int64_t rows, enum fill fill)
{
	char part[32];

	snprintf(part, sizeof part, "%s.weight", name);
	int code = block_matrix(s, layer, part, columns, rows, fill);

	snprintf(part, sizeof part, "%s.bias", name);
	return code == AQM_OK ? block_vector(s, layer, part, rows, FILL_ZERO) : code;
}

/* A LayerNorm. */
static int block_norm(struct synth *s, int64_t layer, const char *name)
{
	const int64_t d = s->preset->shape.width;
	char part[32];

	snprintf(part, sizeof part, "%s.weight", name);
	int code = block_vector(s, layer, part, d, FILL_ONE);

	snprintf(part, sizeof part, "%s.bias", name);
	return code == AQM_OK ? block_vector(s, layer, part, d, FILL_ZERO) : code;
}

static int gpt2_block(struct synth *s, int64_t layer)
{
	const struct shape *h = &s->preset->shape;
	const int64_t d = h->width;
	int code;

	(void)((code = block_norm(s, layer, "attn_norm")) < 0 ||
	       (code = block_linear(s, layer, "attn_qkv", d, 3 * d, FILL_RANDOM)) < 0 ||
	       (code = block_linear(s, layer, "attn_output", d, d, FILL_RESIDUAL)) < 0 ||
	       (code = block_norm(s, layer, "ffn_norm")) < 0 ||
	       (code = block_linear(s, layer, "ffn_up", d, h->ffn, FILL_RANDOM)) < 0 ||
	       (code = block_linear(s, layer, "ffn_down", h->ffn, d, FILL_RESIDUAL)) < 0);
	return code;
}

static int walk_gpt2(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code = matrix(s, "token_embd.weight", h->width, h->vocabulary, FILL_RANDOM);

	/* llama.cpp keeps position tables in f32 whatever the type of the rest. */
	if (code == AQM_OK)
		code = tensor(s, "position_embd.weight", h->width, h->context, AQM_F32, FILL_RANDOM);
	for (int64_t layer = 0; code == AQM_OK && layer < h->layers; layer++)
		code = gpt2_block(s, layer);
	if (code == AQM_OK)
		code = vector(s, "output_norm.weight", h->width, FILL_ONE);
	if (code == AQM_OK)
		code = vector(s, "output_norm.bias", h->width, FILL_ZERO);
	return code;
}

static int opt_block(struct synth *s, int64_t layer)
{
	const struct shape *h = &s->preset->shape;
	const int64_t d = h->width;
	int code;

	(void)((code = block_norm(s, layer, "attn_norm")) < 0 ||
	       (code = block_linear(s, layer, "attn_q", d, d, FILL_RANDOM)) < 0 ||
	       (code = block_linear(s, layer, "attn_k", d, d, FILL_RANDOM)) < 0 ||
	       (code = block_linear(s, layer, "attn_v", d, d, FILL_RANDOM)) < 0 ||
	       (code = block_linear(s, layer, "attn_output", d, d, FILL_RESIDUAL)) < 0 ||
	       (code = block_norm(s, layer, "ffn_norm")) < 0 ||
	       (code = block_linear(s, layer, "ffn_up", d, h->ffn, FILL_RANDOM)) < 0 ||
	       (code = block_linear(s, layer, "ffn_down", h->ffn, d, FILL_RESIDUAL)) < 0);
	return code;
}

enum { OPT_OFFSET = 2 }; /* rows of its table of positions that are of no token */

static int walk_opt(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code = matrix(s, "token_embd.weight", h->width, h->vocabulary, FILL_RANDOM);

	if (code == AQM_OK)
		code = tensor(s, "position_embd.weight", h->width, h->context + OPT_OFFSET, AQM_F32, FILL_RANDOM);
	for (int64_t layer = 0; code == AQM_OK && layer < h->layers; layer++)
		code = opt_block(s, layer);
	if (code == AQM_OK)
		code = vector(s, "output_norm.weight", h->width, FILL_ONE);
	if (code == AQM_OK)
		code = vector(s, "output_norm.bias", h->width, FILL_ZERO);
	return code;
}

/* The four linears of an attention, and its norm. */
static int t5_attention(struct synth *s, int64_t layer, const char *kind)
{
	static const char *const parts[] = {"norm.weight", "q.weight", "k.weight", "v.weight", "o.weight"};
	static const enum fill fills[] = {FILL_ONE, FILL_QUERY, FILL_RANDOM, FILL_RANDOM, FILL_RESIDUAL};
	const int64_t d = s->preset->shape.width;
	int code = AQM_OK;

	for (int i = 0; code == AQM_OK && i < 5; i++) {
		char name[32];

		snprintf(name, sizeof name, "%s_%s", kind, parts[i]);
		code = i == 0 ? block_vector(s, layer, name, d, fills[i]) : block_matrix(s, layer, name, d, d, fills[i]);
	}
	return code;
}

static int t5_block(struct synth *s, int64_t layer, bool decoder)
{
	const struct shape *h = &s->preset->shape;
	const int64_t d = h->width;
	int code = t5_attention(s, layer, "attn");

	/* llama.cpp keeps these tables in f32 whatever the type of the rest. */
	if (code == AQM_OK && layer == 0)
		code = tensor(s, decoder ? "dec.blk.0.attn_rel_b.weight" : "enc.blk.0.attn_rel_b.weight", h->heads, T5_BUCKETS,
		              AQM_F32, FILL_RANDOM);
	if (code == AQM_OK && decoder)
		code = t5_attention(s, layer, "cross_attn");
	if (code == AQM_OK)
		(void)((code = block_vector(s, layer, "ffn_norm.weight", d, FILL_ONE)) < 0 ||
		       (code = block_matrix(s, layer, "ffn_gate.weight", d, h->ffn, FILL_RANDOM)) < 0 ||
		       (code = block_matrix(s, layer, "ffn_up.weight", d, h->ffn, FILL_RANDOM)) < 0 ||
		       (code = block_matrix(s, layer, "ffn_down.weight", h->ffn, d, FILL_RESIDUAL)) < 0);
	return code;
}

static int t5_stack(struct synth *s, bool decoder)
{
	const struct shape *h = &s->preset->shape;
	int code = AQM_OK;

	s->stack = decoder ? "dec." : "enc.";
	for (int64_t layer = 0; code == AQM_OK && layer < h->layers; layer++)
		code = t5_block(s, layer, decoder);
	s->stack = "";
	return code == AQM_OK ? vector(s, decoder ? "dec.output_norm.weight" : "enc.output_norm.weight", h->width, FILL_ONE)
	                      : code;
}

static int walk_t5(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code = matrix(s, "token_embd.weight", h->width, h->vocabulary, FILL_RANDOM);

	if (code == AQM_OK)
		code = t5_stack(s, false);
	if (code == AQM_OK)
		code = t5_stack(s, true);
	if (code == AQM_OK && !h->tied)
		code = matrix(s, "output.weight", h->width, h->vocabulary, FILL_RANDOM);
	return code;
}

/* ---- metadata ---- */

static int set_u32(struct synth *s, const char *key, int64_t value)
{
	char full[96];

	snprintf(full, sizeof full, "%s.%s", s->preset->architecture, key);
	return aqm_gguf_writer_set_u32(s->writer, full, (uint32_t)value);
}

static int set_f32(struct synth *s, const char *key, float value)
{
	char full[96];

	snprintf(full, sizeof full, "%s.%s", s->preset->architecture, key);
	return aqm_gguf_writer_set_f32(s->writer, full, value);
}

static int set_shape(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code;

	(void)((code = set_u32(s, "vocab_size", h->vocabulary)) < 0 ||
	       (code = set_u32(s, "context_length", h->context)) < 0 ||
	       (code = set_u32(s, "embedding_length", h->width)) < 0 || (code = set_u32(s, "block_count", h->layers)) < 0 ||
	       (code = set_u32(s, "feed_forward_length", h->ffn)) < 0 ||
	       (code = set_u32(s, "attention.head_count", h->heads)) < 0);
	return code;
}

static int set_llama(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code;

	(void)((code = set_shape(s)) < 0 || (code = set_u32(s, "attention.head_count_kv", h->kv_heads)) < 0 ||
	       (code = set_u32(s, "rope.dimension_count", h->width / h->heads)) < 0 ||
	       (code = set_f32(s, "rope.freq_base", h->rope_base)) < 0 ||
	       (code = set_f32(s, "attention.layer_norm_rms_epsilon", h->epsilon)) < 0);
	return code;
}

static int set_gpt2(struct synth *s)
{
	int code = set_shape(s);

	return code == AQM_OK ? set_f32(s, "attention.layer_norm_epsilon", s->preset->shape.epsilon) : code;
}

uint32_t aqm_model_file_type(enum aqm_dtype type)
{
	switch (type) {
	case AQM_F16:
		return 1;
	case AQM_Q4_0:
		return 2;
	case AQM_Q4_1:
		return 3;
	case AQM_Q8_0:
		return 7;
	case AQM_Q5_0:
		return 8;
	case AQM_Q5_1:
		return 9;
	case AQM_BF16:
		return 32;
	default:
		return 0;
	}
}

static int set_opt(struct synth *s)
{
	int code = set_gpt2(s);

	return code == AQM_OK ? set_u32(s, "position_offset", OPT_OFFSET) : code;
}

static int set_t5(struct synth *s)
{
	const struct shape *h = &s->preset->shape;
	int code;

	(void)((code = set_shape(s)) < 0 || (code = set_u32(s, "decoder_block_count", h->layers)) < 0 ||
	       (code = set_u32(s, "attention.key_length", h->width / h->heads)) < 0 ||
	       (code = set_u32(s, "attention.value_length", h->width / h->heads)) < 0 ||
	       (code = set_u32(s, "attention.relative_buckets_count", T5_BUCKETS)) < 0 ||
	       (code = set_u32(s, "decoder_start_token_id", 0)) < 0 ||
	       (code = set_f32(s, "attention.layer_norm_epsilon", h->epsilon)) < 0 ||
	       (code = set_f32(s, "attention.layer_norm_rms_epsilon", h->epsilon)) < 0);
	return code;
}

static int set_general(struct synth *s)
{
	int code;

	(void)((code = aqm_gguf_writer_set_string(s->writer, "general.architecture", s->preset->architecture)) < 0 ||
	       (code = aqm_gguf_writer_set_string(s->writer, "general.type", "model")) < 0 ||
	       (code = aqm_gguf_writer_set_string(s->writer, "general.name", s->preset->title)) < 0 ||
	       (code = aqm_gguf_writer_set_u32(s->writer, "general.file_type", aqm_model_file_type(s->type))) < 0 ||
	       (code = aqm_gguf_writer_set_u32(s->writer, "general.quantization_version", 2)) < 0);
	return code;
}

/* The least vocabulary that llama.cpp opens: unknown, begin, end, one token a byte; unused ones up to the table's size. */
static int set_tokenizer(struct synth *s)
{
	enum { UNKNOWN = 2, CONTROL = 3, UNUSED = 5, BYTE = 6, NAME = 24 };
	static const char *const special[] = {"<unk>", "<s>", "</s>"};
	const size_t count = (size_t)s->preset->shape.vocabulary;
	char(*texts)[NAME] = aqm_calloc_array(count, NAME);
	const char **tokens = aqm_calloc_array(count, sizeof *tokens);
	int32_t *types = aqm_calloc_array(count, sizeof *types);
	float *scores = aqm_calloc_array(count, sizeof *scores);
	aqm_gguf_writer *writer = s->writer;
	int code = AQM_ERUN;

	if (!texts || !tokens || !types || !scores)
		goto done;
	for (size_t i = 0; i < count; i++) {
		tokens[i] = i < 3 ? special[i] : texts[i];
		types[i] = i == 0 ? UNKNOWN : i < 3 ? CONTROL : i < 3 + 256 ? BYTE : UNUSED;
		if (types[i] == BYTE)
			snprintf(texts[i], NAME, "<0x%02X>", (unsigned)(i - 3) & 0xff);
		else
			snprintf(texts[i], NAME, "<unused%u>", (unsigned)i);
	}
	(void)((code = aqm_gguf_writer_set_string(writer, "tokenizer.ggml.model", "llama")) < 0 ||
	       (code = aqm_gguf_writer_set_strings(writer, "tokenizer.ggml.tokens", tokens, count)) < 0 ||
	       (code = aqm_gguf_writer_set_f32s(writer, "tokenizer.ggml.scores", scores, count)) < 0 ||
	       (code = aqm_gguf_writer_set_i32s(writer, "tokenizer.ggml.token_type", types, count)) < 0 ||
	       (code = aqm_gguf_writer_set_u32(writer, "tokenizer.ggml.unknown_token_id", 0)) < 0 ||
	       (code = aqm_gguf_writer_set_u32(writer, "tokenizer.ggml.bos_token_id", 1)) < 0 ||
	       (code = aqm_gguf_writer_set_u32(writer, "tokenizer.ggml.eos_token_id", 2)) < 0);
done:
	free(texts);
	free(tokens);
	free(types);
	free(scores);
	return code;
}

/* ---- presets ---- */

/* clang-format off */
static const struct preset presets[] = {
	/*                                 layers  width heads kv_heads   ffn context vocabulary epsilon rope_base tied */
	{"tiny-llama", "synthetic tiny-llama", "llama",
	                                  {     3,   96,    6,       2,   256,  2048,      259, 1e-5f,     1e4f, true}, set_llama, walk_llama},
	{"tiny-gpt2", "synthetic tiny-gpt2", "gpt2",
	                                  {     3,   96,    6,       6,   384,  1024,      259, 1e-5f,        0, true}, set_gpt2, walk_gpt2},
	{"tiny-opt", "synthetic tiny-opt", "opt",
	                                  {     3,   96,    6,       6,   384,  1024,      259, 1e-5f,        0, true}, set_opt, walk_opt},
	/* t5: layers of each stack */
	{"tiny-t5", "synthetic tiny-t5", "t5",
	                                  {     2,   96,    6,       6,   256,   512,      259, 1e-6f,        0, false}, set_t5, walk_t5},
	{"micro-llama", "synthetic micro-llama", "llama",
	                                  {     2,   48,    3,       1,   128,  2048,        3, 1e-5f,     1e4f, true}, set_llama, walk_llama},
	{"gpt2", "synthetic GPT-2 124M", "gpt2",
	                                  {    12,  768,   12,      12,  3072,  1024,    50257, 1e-5f,        0, true}, set_gpt2, walk_gpt2},
	{"smollm2-135m", "synthetic SmolLM2 135M", "llama",
	                                  {    30,  576,    9,       3,  1536,  8192,    49152, 1e-5f,     1e5f, true}, set_llama, walk_llama},
	{"opt-1.3b", "synthetic OPT 1.3B", "opt",
	                                  {    24, 2048,   32,      32,  8192,  2048,    50272, 1e-5f,        0, true}, set_opt, walk_opt},
	{"t5-base", "synthetic T5 1.1 base", "t5",
	                                  {    12,  768,   12,      12,  2048,   512,    32128, 1e-6f,        0, false}, set_t5, walk_t5},
	{"llama2-7b", "synthetic Llama-2 7B", "llama",
	                                  {    32, 4096,   32,      32, 11008,  4096,    32000, 1e-5f,     1e4f, false}, set_llama, walk_llama},
};
/* clang-format on */

enum { PRESETS = sizeof presets / sizeof *presets };

const char *const *aqm_model_presets(void)
{
	static const char *names[PRESETS + 1];

	for (size_t i = 0; i < PRESETS; i++)
		names[i] = presets[i].name;
	return names;
}

static const struct preset *find_preset(const char *name)
{
	char known[256] = "";

	for (size_t i = 0; i < PRESETS; i++) {
		size_t used = strlen(known);

		if (strcmp(presets[i].name, name) == 0)
			return &presets[i];
		snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", presets[i].name);
	}
	aqm_error_set(AQM_EUSAGE, "no preset '%s' (%s)", name, known);
	return NULL;
}

static int check_type(const struct preset *preset, enum aqm_dtype type)
{
	const struct aqm_dtype_traits *traits = aqm_dtype_traits(type);

	if (!traits || !traits->quantise)
		return aqm_error_set(AQM_EUSAGE, "type %s cannot be written", aqm_dtype_name(type));
	if (preset->shape.width % (int64_t)traits->block || preset->shape.ffn % (int64_t)traits->block)
		return aqm_error_set(AQM_EUSAGE, "the rows of preset '%s' are no multiple of %zu, the block of type %s",
		                     preset->name, traits->block, traits->name);
	return AQM_OK;
}

int aqm_model_synth(const char *preset, enum aqm_dtype type, uint64_t seed, const char *path)
{
	struct synth s = {.preset = find_preset(preset), .type = type, .seed = seed, .stack = ""};

	if (!s.preset)
		return AQM_EUSAGE;
	int code = check_type(s.preset, type);

	if (code != AQM_OK)
		return code;
	s.chunk = aqm_malloc_array(CHUNK, sizeof *s.chunk);
	(void)((code = s.chunk ? aqm_gguf_writer_new(&s.writer, path) : AQM_ERUN) < 0 || (code = set_general(&s)) < 0 ||
	       (code = s.preset->set_metadata(&s)) < 0 || (code = set_tokenizer(&s)) < 0 ||
	       (code = s.preset->walk(&s)) < 0);
	s.writing = true;
	s.tensors = 0;
	aqm_progress_start(&s.progress, "writing", s.total, 0);
	if (code == AQM_OK)
		code = s.preset->walk(&s);
	aqm_progress_end(&s.progress);
	if (code == AQM_OK)
		code = aqm_gguf_writer_finish(s.writer);
	aqm_gguf_writer_free(s.writer);
	free(s.chunk);
	return code;
}
