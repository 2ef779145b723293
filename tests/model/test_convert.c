/* SPDX-License-Identifier: BSD-2-Clause */
/* Published models that transformers has saved (tests/golden/convert, made by tools/golden/convert.py) into GGUF: every
 * tensor's bytes, and the hidden states of the result. Then folders and config.json broken in one way each. */
#include "helper_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "model/convert.h"
#include "model/convert_internal.h"

enum { PATH = 512 };
static const double tolerance = 1e-5;

static const char *fixture_path(char path[PATH], const char *name, const char *file)
{
	snprintf(path, PATH, "%s/tests/golden/convert/%s/%s", AQM_SOURCE_DIR, name, file);
	return path;
}

/* ---- what is right ---- */

/* "q8_0 36x96 <sha-256>", as the generator writes it; the shape with the contiguous dimension last. */
static void describe(const struct aqm_gguf_tensor *tensor, bool digest, char *out, size_t size)
{
	aqm_sha256 *sha;
	char hex[65], rows[24] = "";

	CHECK_OK(aqm_sha256_new(&sha));
	aqm_sha256_update(sha, tensor->data, tensor->bytes);
	aqm_sha256_finish(sha, hex);
	if (tensor->dimensions == 2)
		snprintf(rows, sizeof rows, "%lldx", (long long)tensor->ne[1]);
	snprintf(out, size, "%s %s%lld%s%s", aqm_dtype_name(tensor->dtype), rows, (long long)tensor->ne[0],
	         digest ? " " : "", digest ? hex : "");
}

static void check_tensors(const aqm_gguf *gguf, const aqm_safetensors_reader *expected)
{
	assert_int_equal(aqm_gguf_tensors(gguf), atoi(aqm_safetensors_metadata(expected, "tensors")));
	for (size_t i = 0; i < aqm_gguf_tensors(gguf); i++) {
		const struct aqm_gguf_tensor *tensor = aqm_gguf_tensor(gguf, i);
		const struct aqm_safetensors_tensor *numbers = aqm_safetensors_find(expected, tensor->name);
		const char *wanted = aqm_safetensors_metadata(expected, tensor->name);
		char found[160];

		if (!wanted)
			fail_msg("tensor %s is one too many", tensor->name);
		describe(tensor, !numbers, found, sizeof found);
		assert_string_equal(found, wanted);
		if (numbers) /* that come out of powf() */
			assert_true(difference(tensor->data, numbers->data, (size_t)tensor->ne[0]) < 1e-6);
	}
}

static void check_hidden(const char *path, const aqm_safetensors_reader *expected)
{
	const struct aqm_model_options options = {.frozen = true};
	const struct aqm_safetensors_tensor *x = aqm_safetensors_find(expected, "embeddings"),
										*hidden = aqm_safetensors_find(expected, "hidden");
	float *found = malloc(x->bytes), *wanted = malloc(hidden->bytes);
	struct fixture f;

	aqm_safetensors_read(x, 0, (size_t)x->elements, found);
	aqm_safetensors_read(hidden, 0, (size_t)hidden->elements, wanted);
	fixture_open(&f, path, &options, x->shape[0], x->shape[1]);
	fixture_forward(&f, found, false, 0);
	double error = difference(found, wanted, (size_t)x->elements);
	if (!(error < tolerance))
		fail_msg("hidden states of %s differ by %g", path, error);
	fixture_close(&f);
	free(found);
	free(wanted);
}

static void check_fixture(const char *name)
{
	aqm_safetensors_reader *expected;
	char path[PATH];
	aqm_gguf *gguf;

	CHECK_OK(aqm_safetensors_open(&expected, fixture_path(path, name, "expected.safetensors")));
	fixture_path(path, name, "");
	CHECK_OK(aqm_model_convert(path, aqm_dtype_traits(AQM_Q8_0), "q8_0.gguf"));
	CHECK_OK(aqm_gguf_open(&gguf, "q8_0.gguf"));
	check_tensors(gguf, expected);
	aqm_gguf_free(gguf);
	CHECK_OK(aqm_model_convert(path, aqm_dtype_traits(AQM_F32), "f32.gguf"));
	check_hidden("f32.gguf", expected);
	CHECK_OK(aqm_model_convert(path, NULL, "published.gguf")); /* the same numbers in their own types */
	check_hidden("published.gguf", expected);
	aqm_safetensors_close(expected);
}

static void check_int(const aqm_gguf *gguf, const char *key, int64_t wanted)
{
	int64_t found = -1;

	CHECK_OK(aqm_gguf_get_int(gguf, key, &found));
	if (found != wanted)
		fail_msg("%s is %lld, not %lld", key, (long long)found, (long long)wanted);
}

static void check_float(const aqm_gguf *gguf, const char *key, double wanted)
{
	double found = -1;

	CHECK_OK(aqm_gguf_get_float(gguf, key, &found));
	if (!(fabs(found - wanted) <= 1e-6 * wanted))
		fail_msg("%s is %g, not %g", key, found, wanted);
}

static void check_text(const aqm_gguf *gguf, const char *key, const char *wanted)
{
	const char *found;

	CHECK_OK(aqm_gguf_get_string(gguf, key, &found));
	assert_string_equal(found, wanted);
}

static void test_llama_in_shards(void **state)
{
	aqm_gguf *gguf;

	(void)state;
	check_fixture("llama-sharded");
	CHECK_OK(aqm_gguf_open(&gguf, "published.gguf"));
	check_text(gguf, "general.architecture", "llama");
	check_text(gguf, "general.name", "llama-sharded");
	check_text(gguf, "tokenizer.ggml.model", "none");
	check_int(gguf, "general.file_type", 32);
	check_int(gguf, "llama.vocab_size", 40);
	check_int(gguf, "llama.context_length", 128);
	check_int(gguf, "llama.embedding_length", 96);
	check_int(gguf, "llama.block_count", 2);
	check_int(gguf, "llama.feed_forward_length", 32);
	check_int(gguf, "llama.attention.head_count", 3);
	check_int(gguf, "llama.attention.head_count_kv", 1);
	check_int(gguf, "llama.attention.key_length", 12);
	check_int(gguf, "llama.attention.value_length", 12);
	check_int(gguf, "llama.rope.dimension_count", 12);
	check_float(gguf, "llama.rope.freq_base", 10000);
	check_float(gguf, "llama.attention.layer_norm_rms_epsilon", 1e-6);
	assert_int_equal(aqm_gguf_find(gguf, "blk.1.attn_k.weight")->dtype, AQM_BF16);
	aqm_gguf_free(gguf);
}

static void test_qwen2(void **state)
{
	(void)state;
	check_fixture("qwen2-tied");
}

static void test_gpt2(void **state)
{
	(void)state;
	check_fixture("gpt2");
}

static void test_opt(void **state)
{
	aqm_gguf *gguf;

	(void)state;
	check_fixture("opt");
	CHECK_OK(aqm_gguf_open(&gguf, "f32.gguf"));
	check_int(gguf, "opt.position_offset", 2);
	check_int(gguf, "opt.context_length", 24);
	aqm_gguf_free(gguf);
}

static void test_t5(void **state)
{
	(void)state;
	check_fixture("t5-1.1");
}

/* ---- names ---- */

static void test_names(void **state)
{
	static const char *const architectures[] = {"llama", "qwen2", "gpt2", "opt", "t5"};
	char name[192];
	int64_t layer;

	(void)state;
	for (size_t a = 0; a < sizeof architectures / sizeof *architectures; a++) {
		size_t count;
		const struct aqm_tensor_name *names = aqm_tensor_names(architectures[a], &count);

		assert_non_null(names);
		for (size_t i = 0; i < count; i++) {
			assert_true(aqm_tensor_name_expand(name, sizeof name, names[i].hf, 12));
			assert_true(aqm_tensor_name_match(names[i].hf, name, &layer));
			assert_true(layer == (strchr(names[i].hf, '%') ? 12 : -1));
			for (size_t j = 0; j < count; j++)
				assert_true(aqm_tensor_name_match(names[j].hf, name, &layer) == (i == j));
			if (names[i].gguf) /* the first of alternatives */
				assert_string_equal(aqm_tensor_name_find(architectures[a], names[i].gguf)->gguf, names[i].gguf);
		}
	}
	assert_null(aqm_tensor_names("nonsense", &(size_t){0}));
	assert_false(aqm_tensor_name_match("a.%.b", "a..b", &layer));
	assert_false(aqm_tensor_name_match("a.%.b", "a.01.b", &layer));
	assert_false(aqm_tensor_name_match("a.%.b", "a.1.bc", &layer));
	assert_false(aqm_tensor_name_match("a.%.b", "a.1x.b", &layer));
	assert_false(aqm_tensor_name_match("a.%.b", "a.99999999999999999999.b", &layer));
	assert_false(aqm_tensor_name_expand(name, 5, "a.%.b", 1));
}

/* ---- what is wrong ---- */

#define LLAMA(more)                                                                                                    \
	"{\"model_type\":\"llama\",\"vocab_size\":40,\"hidden_size\":24,\"intermediate_size\":20,\"num_hidden_layers\":2," \
	"\"num_attention_heads\":3" more "}"
#define GPT2(more) \
	"{\"model_type\":\"gpt2\",\"vocab_size\":40,\"n_embd\":24,\"n_layer\":2,\"n_head\":3,\"n_positions\":16" more "}"
#define OPT(more)                                                                                          \
	"{\"model_type\":\"opt\",\"vocab_size\":40,\"hidden_size\":24,\"ffn_dim\":20,\"num_hidden_layers\":2," \
	"\"num_attention_heads\":3,\"max_position_embeddings\":16" more "}"
#define T5(more)                                                                                                     \
	"{\"model_type\":\"t5\",\"vocab_size\":40,\"d_model\":24,\"d_ff\":20,\"d_kv\":6,\"num_layers\":2,\"num_heads\":" \
	"3" more "}"
#define SCALED(more) LLAMA(",\"rope_scaling\":{" more "}")
#define LLAMA3 "\"type\":\"llama3\",\"factor\":8,\"original_max_position_embeddings\":64"

static const struct wrong_config {
	const char *text, *message;
} wrong_configs[] = {
	{"", "line 1"},
	{"[]", "it is no JSON object"},
	{"{\n\"model_type\": \"llama\",\n oops}", "line 3, column 5"},
	{"{\"model_type\":\"llama\",\"model_type\":\"llama\"}", "line 1"},
	{"{}", "has no 'model_type'"},
	{"{\"model_type\":7}", "'model_type' is no text"},
	{"{\"model_type\":\"bert\"}", "'model_type' is 'bert'; expected llama"},
	{"{\"model_type\":\"llama\"}", "has no 'vocab_size'"},
	{LLAMA(",\"quantization_config\":{}"), "quantised weights cannot be converted"},
	{LLAMA(",\"rms_norm_eps\":1e999"), "line 1"},
	{LLAMA(",\"rms_norm_eps\":-1"), "'rms_norm_eps' is -1; expected 0 to 1"},
	{LLAMA(",\"rms_norm_eps\":\"1\""), "'rms_norm_eps' is no number"},
	{LLAMA(",\"max_position_embeddings\":1.5"), "'max_position_embeddings' is no whole number"},
	{LLAMA(",\"max_position_embeddings\":99999999999"), "is 99999999999; expected 1 to"},
	{LLAMA(",\"num_key_value_heads\":2"), "cannot share 2 key-value heads"},
	{LLAMA(",\"num_key_value_heads\":4"), "'num_key_value_heads' is 4; expected 1 to 3"},
	{LLAMA(",\"head_dim\":7"), "3 heads of 7 cannot share"},
	{LLAMA(",\"hidden_act\":\"gelu\""), "'hidden_act' is 'gelu'; only 'silu'"},
	{LLAMA(",\"tie_word_embeddings\":1"), "neither true nor false"},
	{LLAMA(",\"partial_rotary_factor\":0.5"), "'partial_rotary_factor' is 0.5"},
	{LLAMA(",\"rope_theta\":0"), "'rope_theta' is 0"},
	{LLAMA(",\"rope_scaling\":[]"), "'rope_scaling' is no object"},
	{LLAMA(",\"rope_parameters\":{\"rope_theta\":0.5}"), "'rope_parameters.rope_theta' is 0.5"},
	{SCALED("\"type\":\"yarn\",\"factor\":4"), "scaled by 'yarn'; linear and llama3 are supported"},
	{SCALED("\"type\":\"linear\""), "has no 'rope_scaling.factor'"},
	{SCALED("\"type\":\"linear\",\"factor\":0"), "'rope_scaling.factor' is 0"},
	{SCALED(LLAMA3 ",\"low_freq_factor\":4,\"high_freq_factor\":4"), "no more than low_freq_factor"},
	{SCALED(LLAMA3 ",\"low_freq_factor\":4"), "has no 'rope_scaling.high_freq_factor'"},
	{"{\"model_type\":\"mistral\",\"vocab_size\":40,\"hidden_size\":24,\"intermediate_size\":20,\"num_hidden_layers\":"
     "2,"
     "\"num_attention_heads\":3}",
     "has no 'num_key_value_heads'"},
	{GPT2(",\"n_embd\":25"), "line 1"},
	{GPT2(",\"activation_function\":\"gelu\""), "only 'gelu_new' is supported"},
	{GPT2(",\"scale_attn_by_inverse_layer_idx\":true"), "only models with false are supported"},
	{GPT2(",\"scale_attn_weights\":false"), "only models with true are supported"},
	{GPT2(",\"n_inner\":0"), "'n_inner' is 0"},
	{OPT(",\"do_layer_norm_before\":false"), "'do_layer_norm_before' is false; only models with true"},
	{OPT(",\"word_embed_proj_dim\":12"), "'word_embed_proj_dim' is 12; only that of 'hidden_size', 24,"},
	{OPT(",\"enable_bias\":false"), "'enable_bias' is false"},
	{OPT(",\"activation_function\":\"gelu\""), "only 'relu' is supported"},
	{T5(",\"relative_attention_max_distance\":64"), "only 128 is supported"},
	{T5(",\"feed_forward_proj\":\"gated-silu\""), "'feed_forward_proj' is 'gated-silu'"},
	{T5(",\"is_encoder_decoder\":false"), "'is_encoder_decoder' is false"},
};

static void test_wrong_configs(void **state)
{
	struct aqm_hf_config config;

	(void)state;
	for (size_t i = 0; i < sizeof wrong_configs / sizeof *wrong_configs; i++) {
		const struct wrong_config *w = &wrong_configs[i];
		int code = aqm_hf_config_parse(&config, w->text, strlen(w->text), "d/config.json");

		if (code != AQM_EDATA || !strstr(aqm_error_message(), w->message) ||
		    !strstr(aqm_error_message(), "'d/config.json'"))
			fail_msg("%s\nexpected '%s', got %d: %s", w->text, w->message, code, aqm_error_message());
	}
}

static void parse(struct aqm_hf_config *config, const char *text)
{
	CHECK_OK(aqm_hf_config_parse(config, text, strlen(text), "config.json"));
}

/* What older files leave out. */
static void test_old_configs(void **state)
{
	struct aqm_hf_config c;

	(void)state;
	parse(&c, LLAMA(",\"_name_or_path\":\"meta-llama/Llama-2-7b-hf\""));
	assert_true(c.kv_heads == 3 && c.head_dim == 8 && !c.head_dim_given && !c.tied && c.rope.base == 10000.0);
	assert_string_equal(c.name, "meta-llama/Llama-2-7b-hf");
	parse(&c, LLAMA(",\"_name_or_path\":\"/home/someone/model\""));
	assert_string_equal(c.name, "");
	parse(&c, SCALED("\"type\":\"linear\",\"factor\":4"));
	assert_true(c.rope.scaling == AQM_ROPE_LINEAR && c.rope.factor == 4.0);
	parse(&c, LLAMA(",\"rope_scaling\":null,\"rope_theta\":500000"));
	assert_true(c.rope.scaling == AQM_ROPE_PLAIN && c.rope.base == 500000.0);
	parse(&c, GPT2(",\"n_inner\":null"));
	assert_true(c.extents[AQM_EXTENT_FFN] == 96 && c.extents[AQM_EXTENT_QKV] == 72 && c.tied);
	parse(&c, OPT(""));
	assert_true(c.extents[AQM_EXTENT_POSITIONS] == 18 && c.context == 16);
	parse(&c, T5(",\"n_positions\":256"));
	assert_true(c.decoder_layers == 2 && c.extents[AQM_EXTENT_BUCKETS] == 32 && c.context == 256 && c.tied);
}

static const struct wrong_index {
	const char *text, *message;
} wrong_indices[] = {
	{"{", "line 1"},
	{"[]", "has no 'weight_map'"},
	{"{\"weight_map\":{}}", "has no 'weight_map'"},
	{"{\"weight_map\":{\"a\":1}}", "no name of a file beside it"},
	{"{\"weight_map\":{\"a\":\"\"}}", "no name of a file beside it"},
	{"{\"weight_map\":{\"a\":\"..\"}}", "no name of a file beside it"},
	{"{\"weight_map\":{\"a\":\"../b.safetensors\"}}", "'../b.safetensors', which is no name of a file beside it"},
	{"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "no name of a file beside it"},
	{"{\"weight_map\":{\"a\":\"b\",\"a\":\"c\"}}", "line 1"},
};

static void test_wrong_indices(void **state)
{
	struct aqm_hf_index index;

	(void)state;
	for (size_t i = 0; i < sizeof wrong_indices / sizeof *wrong_indices; i++) {
		const struct wrong_index *w = &wrong_indices[i];
		int code = aqm_hf_index_parse(&index, w->text, strlen(w->text), "index.json");

		if (code != AQM_EDATA || !strstr(aqm_error_message(), w->message))
			fail_msg("%s\nexpected '%s', got %d: %s", w->text, w->message, code, aqm_error_message());
	}
}

/* ---- folders ---- */

/* A copy of a file of the fixture, with the first `from` in it replaced by `to` of the same length. */
static void copy(const char *name, const char *file, const char *from, const char *to)
{
	char path[PATH], out[PATH], *data;
	size_t bytes;

	CHECK_OK(aqm_file_read(fixture_path(path, name, file), 1 << 20, &data, &bytes));
	if (from) {
		char *place = memmem(data, bytes, from, strlen(from));

		assert_true(place && strlen(from) == strlen(to));
		memcpy(place, to, strlen(to));
	}
	snprintf(out, sizeof out, "broken/%s", file);
	CHECK_OK(aqm_file_write(out, data, bytes));
	free(data);
}

static void expect_refusal(int wanted, const char *message)
{
	int code = aqm_model_convert("broken", NULL, "broken.gguf");

	if (code != wanted || !strstr(aqm_error_message(), message))
		fail_msg("expected %d '%s', got %d: %s", wanted, message, code, aqm_error_message());
	assert_false(aqm_path_exists("broken.gguf"));
}

/* config.json of gpt2 with a change, its weights with another. */
static void break_gpt2(const char *config_from, const char *config_to, const char *from, const char *to)
{
	CHECK_OK(aqm_remove_tree("broken"));
	CHECK_OK(aqm_make_folders("broken"));
	copy("gpt2", "config.json", config_from, config_to);
	copy("gpt2", "model.safetensors", from, to);
}

static void test_wrong_folders(void **state)
{
	char path[PATH];

	(void)state;
	break_gpt2("\"n_layer\": 1", "\"n_layer\": 2", NULL, NULL);
	expect_refusal(AQM_EDATA, "lacks 12 tensors of a gpt2 model: 'transformer.h.1.ln_1.weight', ");
	break_gpt2(NULL, NULL, "h.0.ln_1.bias", "h.0.ln_1.boss");
	expect_refusal(AQM_EDATA, "lacks 1 tensor of a gpt2 model: 'transformer.h.0.ln_1.bias'");
	break_gpt2("\"n_embd\": 32", "\"n_embd\": 36", NULL, NULL);
	expect_refusal(AQM_EDATA, "'transformer.wte.weight' is not 40 x 36");
	break_gpt2("\"n_inner\": 64", "\"n_inner\": 63", NULL, NULL);
	expect_refusal(AQM_EDATA, "'transformer.h.0.mlp.c_fc.weight' is not 32 x 63");
	break_gpt2("\"n_positions\": 24", "\"n_positions\": 25", NULL, NULL);
	expect_refusal(AQM_EDATA, "'transformer.wpe.weight' is not 25 x 32");
	break_gpt2(NULL, NULL, "\"F16\"", "\"I16\"");
	expect_refusal(AQM_EDATA, "is of type I16; expected F32, F16 or BF16");
	break_gpt2(NULL, NULL, "[40,32]", "[41,32]");
	expect_refusal(AQM_EDATA, "its shape and type F16 need");

	break_gpt2(NULL, NULL, NULL, NULL);
	CHECK_OK(aqm_model_convert("broken", NULL, "sound.gguf")); /* so that each refusal above has one reason */
	aqm_interrupt_raise(true);
	expect_refusal(AQM_EINTERRUPTED, "no model is written");
	aqm_interrupt_raise(false);
	assert_int_equal(unlink("broken/model.safetensors"), 0);
	expect_refusal(AQM_EDATA, "has neither model.safetensors nor model.safetensors.index.json");
	CHECK_OK(aqm_file_write("broken/pytorch_model.bin", "", 0));
	expect_refusal(AQM_EDATA, "has only pytorch_model.bin, which is not read; save it as safetensors first");
	assert_int_equal(unlink("broken/config.json"), 0);
	expect_refusal(AQM_EDATA, "cannot open 'broken/config.json'");
	CHECK_OK(aqm_remove_tree("broken"));
	expect_refusal(AQM_EDATA, "cannot open 'broken'");
	CHECK_OK(aqm_file_write("broken", "text", 4));
	expect_refusal(AQM_EUSAGE, "'broken' is a file; expected the folder");
	assert_int_equal(unlink("broken"), 0);
	assert_int_equal(rename("sound.gguf", "broken"), 0);
	expect_refusal(AQM_EUSAGE, "is a GGUF file already: use it as it is");
	assert_int_equal(unlink("broken"), 0);
	assert_true(aqm_path_exists(fixture_path(path, "gpt2", "config.json")));
}

/* A tensor that no model of the kind has is not left out in silence. */
static void test_unknown_tensors(void **state)
{
	(void)state;
	CHECK_OK(aqm_remove_tree("broken"));
	CHECK_OK(aqm_make_folders("broken"));
	copy("qwen2-tied", "config.json", "\"model_type\": \"qwen2\"", "\"model_type\": \"llama\"");
	copy("qwen2-tied", "model.safetensors", "model.norm.weight", "model.norm.weighs");
	expect_refusal(AQM_EDATA, "lacks 1 tensor of a llama model: 'model.norm.weight'");
	copy("qwen2-tied", "model.safetensors", NULL, NULL);
	CHECK_OK(aqm_model_convert("broken", NULL, "sound.gguf")); /* llama has room for biases */
	copy("qwen2-tied", "model.safetensors", "self_attn.q_proj.bias", "self_attn.q_norm.bias");
	expect_refusal(AQM_EDATA, "has 1 tensor that a llama model does not have: 'model.layers.0.self_attn.q_norm.bias'");
	CHECK_OK(aqm_remove_tree("broken"));
}

/* A gate is where config.json says so, and nowhere else. */
static void test_wrong_gates(void **state)
{
	static const char gated[] = "\"feed_forward_proj\": \"gated-gelu\"",
					  plain[] = "\"feed_forward_proj\": \"relu\"      ";
	static const char gate[] = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight";
	static const char other[] = "encoder.block.0.layer.1.DenseReluDense.wi_9.weight";

	(void)state;
	CHECK_OK(aqm_remove_tree("broken"));
	CHECK_OK(aqm_make_folders("broken"));
	copy("t5-1.1", "config.json", gated, plain);
	copy("t5-1.1", "model.safetensors", NULL, NULL);
	expect_refusal(AQM_EDATA,
	               "has 2 tensors that a t5 model does not have: 'decoder.block.0.layer.2.DenseReluDense.wi_0");
	copy("t5-1.1", "config.json", NULL, NULL);
	copy("t5-1.1", "model.safetensors", gate, other);
	expect_refusal(AQM_EDATA, "lacks 1 tensor of a t5 model: 'encoder.block.0.layer.1.DenseReluDense.wi_0.weight'");
	CHECK_OK(aqm_remove_tree("broken"));
}

static void copy_shards(const char *file, const char *from, const char *to)
{
	static const char *const files[] = {"config.json", "model.safetensors.index.json",
	                                    "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
	                                    "model-00003-of-00003.safetensors"};

	CHECK_OK(aqm_remove_tree("broken"));
	CHECK_OK(aqm_make_folders("broken"));
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		bool this = file && strcmp(file, files[i]) == 0;

		copy("llama-sharded", files[i], this ? from : NULL, to);
	}
}

static void test_wrong_shards(void **state)
{
	static const char index[] = "model.safetensors.index.json";

	(void)state;
	copy_shards(index, "\"model.norm.weight\"", "\"model.worn.weight\"");
	expect_refusal(AQM_EDATA, "names tensor 'model.worn.weight', which is in no file");
	copy_shards(index, "model-00003-of-00003", "model-00001-of-00003");
	expect_refusal(AQM_EDATA, "' it is in 'model-00001-of-00003.safetensors'");
	copy_shards(index, "model-00003-of-00003", "model-00004-of-00003");
	expect_refusal(AQM_EDATA, "cannot open 'broken/model-00004-of-00003.safetensors'");
	copy_shards(index, "model-00003-of-00003", "../el-00003-of-00003");
	expect_refusal(AQM_EDATA, "no name of a file beside it");
	copy_shards("model-00002-of-00003.safetensors", "\"shape\"", "\"shake\"");
	expect_refusal(AQM_EDATA, "cannot read 'broken/model-00002-of-00003.safetensors': the shape of tensor");
	copy_shards(NULL, NULL, NULL);
	CHECK_OK(aqm_model_convert("broken", NULL, "sound.gguf"));
	CHECK_OK(aqm_remove_tree("broken"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llama_in_shards),
		cmocka_unit_test(test_qwen2),
		cmocka_unit_test(test_gpt2),
		cmocka_unit_test(test_opt),
		cmocka_unit_test(test_t5),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_wrong_configs),
		cmocka_unit_test(test_old_configs),
		cmocka_unit_test(test_wrong_indices),
		cmocka_unit_test(test_wrong_folders),
		cmocka_unit_test(test_unknown_tensors),
		cmocka_unit_test(test_wrong_gates),
		cmocka_unit_test(test_wrong_shards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
