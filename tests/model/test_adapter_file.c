/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Adapters that others wrote: names by which PEFT knows a module, scales by its patterns, types of numbers; and what is
 * refused, with its reason. tools/golden/adapters.py compares with PEFT itself.
 */
#include "helper_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/adapter_internal.h"

#define GOLDEN(name) AQM_SOURCE_DIR "/tests/golden/model/" name
enum { WIDTH = 16, KV = 8, RANK = 2 }; /* of llama-full */

/* ---- safetensors in memory ---- */

struct image {
	char header[8192];
	size_t header_bytes, offset; /* of the data so far */
	uint8_t data[1 << 16];
};

/* A float32 tensor (rows, cols) of numbers `first`, `first` + 1, ... */
static void add(struct image *image, const char *name, int64_t rows, int64_t cols, float first)
{
	const size_t bytes = (size_t)(rows * cols) * sizeof(float);
	char *at = image->header + image->header_bytes;

	assert_true(image->offset + bytes <= sizeof image->data);
	image->header_bytes += (size_t)snprintf(
		at, sizeof image->header - image->header_bytes,
		"%s\"%s\": {\"dtype\": \"F32\", \"shape\": [%d, %d], \"data_offsets\": [%zu, %zu]}",
		image->header_bytes ? ", " : "", name, (int)rows, (int)cols, image->offset, image->offset + bytes);
	for (size_t i = 0; i < (size_t)(rows * cols); i++)
		memcpy(image->data + image->offset + i * sizeof(float), &(float){first + (float)i}, sizeof(float));
	image->offset += bytes;
}

/* Both factors of a module. */
static void add_pair(struct image *image, const char *module, int64_t rank, int64_t in, int64_t out)
{
	char name[256];

	snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", module);
	add(image, name, rank, in, 1);
	snprintf(name, sizeof name, "base_model.model.%s.lora_B.weight", module);
	add(image, name, out, rank, 100);
}

/* The file's bytes; owned by the caller. */
static uint8_t *finish(const struct image *image, size_t *bytes)
{
	const uint64_t length = image->header_bytes + 2;
	uint8_t *file = malloc(*bytes = 8 + length + image->offset);

	memcpy(file, &length, 8);
	file[8] = '{';
	memcpy(file + 9, image->header, image->header_bytes);
	file[9 + image->header_bytes] = '}';
	memcpy(file + 8 + length, image->data, image->offset);
	return file;
}

/* ---- reading them ---- */

struct opened {
	aqm_device *device;
	aqm_gguf *base;
	uint8_t *data;
	aqm_adapter_file *file;
};

static int open_adapter(struct opened *o, const char *base, const char *config, const struct image *image)
{
	size_t bytes;

	*o = (struct opened){0};
	CHECK_OK(aqm_device_open(&o->device, AQM_DEVICE_CPU));
	CHECK_OK(aqm_gguf_open(&o->base, base));
	o->data = finish(image, &bytes);
	return aqm_adapter_file_open_memory(&o->file, o->base, config, strlen(config), o->data, bytes);
}

static void close_adapter(struct opened *o)
{
	aqm_adapter_file_free(o->file);
	free(o->data);
	aqm_gguf_free(o->base);
	aqm_device_close(o->device);
}

#define Q0 "model.layers.0.self_attn.q_proj"
#define V0 "model.layers.0.self_attn.v_proj"
#define V1 "model.layers.1.self_attn.v_proj"
#define SIMPLE "\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6"

static struct image *new_image(void)
{
	struct image *image = calloc(1, sizeof *image);

	assert_non_null(image);
	return image;
}

/* What PEFT saves is one of a base's tensors by the module's whole name, or by that in the bare transformer. */
static void test_names(void **state)
{
	(void)state;
	static const struct {
		const char *base, *module, *tensor;
		int64_t in, out;
	} cases[] = {
		{GOLDEN("llama-full.gguf"), V1, "blk.1.attn_v.weight", WIDTH, KV},
		{GOLDEN("llama-full.gguf"), "layers.1.self_attn.v_proj", "blk.1.attn_v.weight", WIDTH, KV},
		{GOLDEN("gpt2-full.gguf"), "transformer.h.1.attn.c_attn", "blk.1.attn_qkv.weight", 16, 48},
		{GOLDEN("gpt2-full.gguf"), "h.0.mlp.c_fc", "blk.0.ffn_up.weight", 16, 20},
		{GOLDEN("opt-full.gguf"), "decoder.layers.0.self_attn.out_proj", "blk.0.attn_output.weight", 16, 16},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct image *image = new_image();
		struct opened o;

		add_pair(image, cases[i].module, RANK, cases[i].in, cases[i].out);
		CHECK_OK(open_adapter(&o, cases[i].base, "{" SIMPLE "}", image));
		assert_int_equal(o.file->count, 1);
		assert_string_equal(o.file->pairs[0].base->name, cases[i].tensor);
		assert_true(o.file->pairs[0].scale == 3);
		close_adapter(&o);
		free(image);
	}
}

static double scale_with(const char *config)
{
	struct image *image = new_image();
	struct opened o;

	add_pair(image, V1, RANK, WIDTH, KV);
	CHECK_OK(open_adapter(&o, GOLDEN("llama-full.gguf"), config, image));
	const double scale = o.file->pairs[0].scale;
	close_adapter(&o);
	free(image);
	return scale;
}

static void test_scales(void **state)
{
	(void)state;
	assert_true(scale_with("{" SIMPLE ", \"use_rslora\": true}") == 6 / sqrt(2));
	assert_true(scale_with("{" SIMPLE ", \"alpha_pattern\": {\"v_proj\": 9}}") == 4.5);
	assert_true(scale_with("{" SIMPLE ", \"alpha_pattern\": {\"proj\": 9, \"layers.0.self_attn.v_proj\": 8}}") == 3);
	assert_true(scale_with("{" SIMPLE ", \"alpha_pattern\": {\"self_attn.v_proj\": 9, \"v_proj\": 8}}") == 4.5);
	assert_true(scale_with("{" SIMPLE ", \"alpha_pattern\": {\"^" V1 "\": 9}}") == 4.5);
	assert_true(scale_with("{" SIMPLE ", \"alpha_pattern\": {\"^v_proj\": 9}}") == 3);
	assert_true(scale_with("{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 6.5, "
	                       "\"rank_pattern\": {\"v_proj\": 2}}") == 3.25);
}

/* Ranks and scales that differ: the largest rank holds all, and B takes the rest. What is not in the file stays. */
static void test_loads_what_differs(void **state)
{
	(void)state;
	static const char config[] = "{" SIMPLE ", \"rank_pattern\": {\"v_proj\": 1}, \"alpha_pattern\": {\"v_proj\": 6}}";
	struct aqm_model_options options = {0};
	struct image *image = new_image();
	struct aqm_params params;
	aqm_model *model;
	struct opened o;

	add_pair(image, Q0, RANK, WIDTH, WIDTH);
	add_pair(image, V1, 1, WIDTH, KV);
	CHECK_OK(open_adapter(&o, GOLDEN("llama-full.gguf"), config, image));
	CHECK_OK(aqm_adapter_file_options(o.file, o.device, &options));
	assert_int_equal(options.rank, 2);
	assert_true(options.alpha == 6 && !options.rslora);
	assert_int_equal(options.targets, 1u << AQM_TARGET_Q | 1u << AQM_TARGET_V);
	aqm_params_init(&params, o.device);
	CHECK_OK(aqm_model_open(&model, o.device, o.base, &options, &params));
	CHECK_OK(aqm_params_allocate(&params, false, 1));
	CHECK_OK(aqm_adapter_file_load(o.file, model, &params, false));

	const float *a = aqm_params_value(&params, aqm_params_find(&params, "blk.1.attn_v.lora_a")).data;
	const float *b = aqm_params_value(&params, aqm_params_find(&params, "blk.1.attn_v.lora_b")).data;
	for (int i = 0; i < WIDTH; i++)
		assert_true(a[i] == (float)(i + 1) && a[WIDTH + i] == 0);
	for (int i = 0; i < KV; i++) /* alpha / r is 6, the model's scale 3 */
		assert_true(b[2 * i] == 2 * (float)(100 + i) && b[2 * i + 1] == 0);
	const float *other = aqm_params_value(&params, aqm_params_find(&params, "blk.0.attn_v.lora_a")).data;
	assert_true(other[0] != 0 && other[0] != 1);

	/* A run has one rank for all. */
	assert_int_equal(aqm_adapter_file_load(o.file, model, &params, true), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "ranks from 1 to 2"));
	aqm_model_free(model);
	aqm_params_release(&params);
	close_adapter(&o);
	free(image);
}

/* ---- what is refused ---- */

static void expect_config_error(const char *config, const char *text)
{
	struct image *image = new_image();
	struct opened o;

	add_pair(image, V1, RANK, WIDTH, KV);
	assert_int_equal(open_adapter(&o, GOLDEN("llama-full.gguf"), config, image), AQM_EDATA);
	if (!strstr(aqm_error_message(), text))
		fail_msg("'%s' without '%s'", aqm_error_message(), text);
	close_adapter(&o);
	free(image);
}

static void test_refused_configs(void **state)
{
	(void)state;
	static const struct {
		const char *config, *text;
	} cases[] = {
		{"", "adapter_config.json"},
		{"[]", "'peft_type' is absent"},
		{"{\"peft_type\": \"IA3\"}", "'peft_type' is IA3; expected LORA"},
		{"{\"peft_type\": \"LORA\", \"peft_type\": \"LORA\"}", "duplicate"},
		{"{" SIMPLE ", \"use_dora\": true}", "DoRA"},
		{"{" SIMPLE ", \"modules_to_save\": [\"score\"]}", "whole modules"},
		{"{" SIMPLE ", \"lora_bias\": true}", "biases in adapters"},
		{"{" SIMPLE ", \"layer_replication\": [[0, 4]]}", "repeated layers"},
		{"{" SIMPLE ", \"trainable_token_indices\": [1]}", "trained tokens"},
		{"{" SIMPLE ", \"bias\": \"all\"}", "'bias' is 'all'"},
		{"{" SIMPLE ", \"init_lora_weights\": \"pissa_niter_16\"}", "changed base"},
		{"{\"peft_type\": \"LORA\", \"lora_alpha\": 6}", "'r' is no rank"},
		{"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 6}", "'r' is no rank"},
		{"{\"peft_type\": \"LORA\", \"r\": 2}", "'lora_alpha'"},
		{"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": -1}", "'lora_alpha'"},
		{"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6}", "has rank 4, but its tensor has 2 rows"},
		{"{" SIMPLE ", \"rank_pattern\": {\"v_proj\": 4}}", "has rank 4, but its tensor has 2 rows"},
		{"{" SIMPLE ", \"rank_pattern\": {\"[qv]_proj\": 2}}", "expected names of modules"},
		{"{" SIMPLE ", \"rank_pattern\": [2]}", "is no object"},
		{"{" SIMPLE ", \"alpha_pattern\": {\"v_proj\": \"x\"}}", "has no number"},
		{"{" SIMPLE ", \"use_rslora\": 1}", "neither true nor false"},
		{"{" SIMPLE ", \"target_modules\": {}}", "is no list"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		expect_config_error(cases[i].config, cases[i].text);
}

/* What no variant sets is fine, whatever its form. */
static void test_unset_variants_are_fine(void **state)
{
	(void)state;
	assert_true(scale_with("{" SIMPLE ", \"use_dora\": false, \"modules_to_save\": null, \"layer_replication\": [], "
	                       "\"arrow_config\": {}, \"init_lora_weights\": \"gaussian\", \"bias\": \"none\", "
	                       "\"target_modules\": \"all-linear\", \"layers_to_transform\": 1, \"new_option\": true}") ==
	            3);
}

static void expect_tensor_error(const struct image *image, const char *text)
{
	struct opened o;

	assert_int_equal(open_adapter(&o, GOLDEN("llama-full.gguf"), "{" SIMPLE "}", image), AQM_EDATA);
	if (!strstr(aqm_error_message(), text))
		fail_msg("'%s' without '%s'", aqm_error_message(), text);
	close_adapter(&o);
}

static void test_refused_tensors(void **state)
{
	(void)state;
	static const struct {
		const char *module;
		int64_t rank, in, out;
		const char *text;
	} cases[] = {
		{"model.layers.7.self_attn.v_proj", RANK, WIDTH, KV, "layers.7.self_attn.v_proj"},
		{"model.layers.01.self_attn.v_proj", RANK, WIDTH, KV, "layers.01"},
		{"model.layers.1.self_attn.w_proj", RANK, WIDTH, KV, "w_proj"},
		{"model.layers.1.self_attn.v_proj.base_layer", RANK, WIDTH, KV, "base_layer"},
		{"transformer.layers.1.self_attn.v_proj", RANK, WIDTH, KV, "transformer"},
		{V1, RANK, WIDTH, KV + 1, "its base tensor is 8 x 16"},
		{V1, RANK, WIDTH - 1, KV, "its base tensor is 8 x 16"},
		{"model.layers.1.input_layernorm", RANK, WIDTH, 1, "input_layernorm"},
	};
	struct image *image;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		image = new_image();
		add_pair(image, Q0, RANK, WIDTH, WIDTH);
		add_pair(image, cases[i].module, cases[i].rank, cases[i].in, cases[i].out);
		expect_tensor_error(image, cases[i].text);
		free(image);
	}

	image = new_image();
	add(image, "base_model.model." V0 ".lora_A.weight", RANK, WIDTH, 0);
	expect_tensor_error(image, "but not the other factor");
	free(image);

	image = new_image();
	add_pair(image, V0, RANK, WIDTH, KV);
	add_pair(image, V0 + strlen("model."), RANK, WIDTH, KV); /* the same module twice */
	expect_tensor_error(image, "layers.0.self_attn.v_proj");
	free(image);

	image = new_image();
	add_pair(image, V0, RANK, WIDTH, KV);
	for (int i = 0; i < 5; i++) {
		char name[64];

		snprintf(name, sizeof name, "base_model.model.score.%d.weight", i);
		add(image, name, 1, 1, 0);
	}
	expect_tensor_error(image, "'base_model.model.score.0.weight', 'base_model.model.score.1.weight', "
	                           "'base_model.model.score.2.weight' and 2 more");
	free(image);

	image = new_image();
	expect_tensor_error(image, "no factors");
	free(image);
}

/* Adapted, but not here: outside the layers that run. */
static void test_refused_places(void **state)
{
	(void)state;
	struct aqm_model_options options = {.stop_layer = 1};
	struct image *image = new_image();
	struct opened o;

	add_pair(image, V0, RANK, WIDTH, KV);
	add_pair(image, V1, RANK, WIDTH, KV);
	CHECK_OK(open_adapter(&o, GOLDEN("llama-full.gguf"), "{" SIMPLE "}", image));
	assert_int_equal(aqm_adapter_file_options(o.file, o.device, &options), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), V1));
	assert_null(strstr(aqm_error_message(), V0));
	close_adapter(&o);
	free(image);
}

static void test_not_finite(void **state)
{
	(void)state;
	struct aqm_model_options options = {0};
	struct image *image = new_image();
	struct aqm_params params;
	aqm_model *model;
	struct opened o;

	add_pair(image, V1, RANK, WIDTH, KV);
	memcpy(image->data + 12, &(float){INFINITY}, sizeof(float));
	CHECK_OK(open_adapter(&o, GOLDEN("llama-full.gguf"), "{" SIMPLE "}", image));
	CHECK_OK(aqm_adapter_file_options(o.file, o.device, &options));
	aqm_params_init(&params, o.device);
	CHECK_OK(aqm_model_open(&model, o.device, o.base, &options, &params));
	CHECK_OK(aqm_params_allocate(&params, false, 1));
	assert_int_equal(aqm_adapter_file_load(o.file, model, &params, false), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "is not finite"));
	aqm_model_free(model);
	aqm_params_release(&params);
	close_adapter(&o);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_scales),
		cmocka_unit_test(test_loads_what_differs),
		cmocka_unit_test(test_refused_configs),
		cmocka_unit_test(test_unset_variants_are_fine),
		cmocka_unit_test(test_refused_tensors),
		cmocka_unit_test(test_refused_places),
		cmocka_unit_test(test_not_finite),
	};

	return cmocka_run_group_tests_name("adapter files", tests, NULL, NULL);
}
