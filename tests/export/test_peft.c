/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The PEFT folder: names, shapes, numbers and scale, against the policy's own factors. tools/golden/export_peft.py
 * loads such folders with PEFT itself.
 */
#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "model/names.h"

enum { WIDTH = 32, HEADS = 4, KV = 16, RANK = 3 }; /* of the golden bases */

static json_t *read_json(const char *path)
{
	json_error_t error;
	json_t *json = json_load_file(path, 0, &error);

	if (!json)
		fail_msg("%s: %s", path, error.text);
	return json;
}

static const char *word(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* ---- the order of rows ---- */

/* Conversion to GGUF: w.reshape(heads, 2, D/2, in).swapaxes(1, 2): row 2j + i of a head was row i D/2 + j. */
static void test_published_rows(void **state)
{
	(void)state;
	enum { DIM = 6 };

	for (int h = 0; h < 2; h++)
		for (int i = 0; i < 2; i++)
			for (int j = 0; j < DIM / 2; j++) {
				const int64_t row = h * DIM + 2 * j + i, published = h * DIM + i * DIM / 2 + j;

				assert_int_equal(aqm_published_row(AQM_LAYOUT_PERMUTED_Q, DIM, row), published);
				assert_int_equal(aqm_published_row(AQM_LAYOUT_PERMUTED_K, DIM, row), published);
				assert_int_equal(aqm_published_row(AQM_LAYOUT_SAME, DIM, row), row);
			}
}

/* out (rows, RANK) = rows of b as they are published. */
static void publish(const float *b, int64_t rows, float *out)
{
	for (int64_t row = 0; row < rows; row++)
		memcpy(out + aqm_published_row(AQM_LAYOUT_PERMUTED_Q, WIDTH / HEADS, row) * RANK, b + row * RANK,
		       RANK * sizeof *b);
}

/* ---- llama ---- */

static void test_llama_adapter(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, k, v]", NULL};
	struct fixture f;
	struct tensors t;
	float expected[WIDTH * RANK];

	fixture_random(&f, "llama.gguf", settings, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	tensors_open(&t, "adapter/adapter_model.safetensors");
	assert_int_equal(json_object_size(t.header), 1 + 2 * 3 * 2); /* metadata; layers x targets x factors */
#define PLACE "base_model.model.model.layers.1.self_attn."
	assert_memory_equal(tensors_find(&t, PLACE "q_proj.lora_A.weight", RANK, WIDTH),
	                    factor_a(f.policy, 1, AQM_TARGET_Q), RANK * WIDTH * sizeof(float));
	publish(factor_b(f.policy, 1, AQM_TARGET_Q), WIDTH, expected);
	assert_memory_equal(tensors_find(&t, PLACE "q_proj.lora_B.weight", WIDTH, RANK), expected,
	                    WIDTH * RANK * sizeof(float));
	publish(factor_b(f.policy, 1, AQM_TARGET_K), KV, expected);
	assert_memory_equal(tensors_find(&t, PLACE "k_proj.lora_B.weight", KV, RANK), expected, KV * RANK * sizeof(float));
	assert_memory_equal(tensors_find(&t, PLACE "v_proj.lora_B.weight", KV, RANK), factor_b(f.policy, 1, AQM_TARGET_V),
	                    KV * RANK * sizeof(float));
#undef PLACE
	tensors_release(&t);
	fixture_release(&f);
	assert_nothing_temporary();
}

static void test_llama_config(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, down]", "lora.rslora=true", "model.stop_layer=1", NULL};
	struct fixture f;

	fixture_random(&f, "llama.gguf", settings, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	json_t *config = read_json("adapter/adapter_config.json"), *targets = json_object_get(config, "target_modules");
	assert_string_equal(word(config, "peft_type"), "LORA");
	assert_int_equal(json_integer_value(json_object_get(config, "r")), RANK);
	assert_true(json_is_false(json_object_get(config, "use_rslora")));
	assert_true(json_is_false(json_object_get(config, "fan_in_fan_out")));
	/* alpha / sqrt(r), folded: lora_alpha / r is the scale */
	assert_true(fabs(json_number_value(json_object_get(config, "lora_alpha")) / RANK - 6 / sqrt(3)) < 1e-12);
	assert_int_equal(json_array_size(targets), 2);
	assert_string_equal(json_string_value(json_array_get(targets, 0)), "q_proj");
	assert_string_equal(json_string_value(json_array_get(targets, 1)), "down_proj");
	assert_int_equal(json_array_size(json_object_get(config, "layers_to_transform")), 1);
	assert_int_equal(json_object_size(json_object_get(config, "rank_pattern")), 0);
	json_decref(config);
	fixture_release(&f);
}

/* ---- gpt2 ---- */

static void test_gpt2_fuses_q_and_v(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, v]", NULL};
	struct fixture f;
	struct tensors t;

	fixture_random(&f, "gpt2.gguf", settings, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	json_t *config = read_json("adapter/adapter_config.json");
	assert_int_equal(json_integer_value(json_object_get(config, "r")), 2 * RANK);
	assert_int_equal(json_integer_value(json_object_get(config, "lora_alpha")), 12); /* alpha' / (2 r) = alpha / r */
	assert_true(json_is_true(json_object_get(config, "fan_in_fan_out")));
	assert_string_equal(json_string_value(json_array_get(json_object_get(config, "target_modules"), 0)), "c_attn");
	json_decref(config);

	tensors_open(&t, "adapter/adapter_model.safetensors");
	assert_int_equal(json_object_size(t.header), 1 + 2 * 2);
	const float *a = tensors_find(&t, "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", 2 * RANK, WIDTH);
	const float *b =
		tensors_find(&t, "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight", 3 * WIDTH, 2 * RANK);
	const float *q = factor_b(f.policy, 0, AQM_TARGET_Q), *v = factor_b(f.policy, 0, AQM_TARGET_V);

	assert_memory_equal(a, factor_a(f.policy, 0, AQM_TARGET_Q), RANK * WIDTH * sizeof(float));
	assert_memory_equal(a + RANK * WIDTH, factor_a(f.policy, 0, AQM_TARGET_V), RANK * WIDTH * sizeof(float));
	for (int row = 0; row < 3 * WIDTH; row++)
		for (int c = 0; c < 2 * RANK; c++) {
			float expected = 0;

			if (row < WIDTH && c < RANK)
				expected = q[row * RANK + c];
			else if (row >= 2 * WIDTH && c >= RANK)
				expected = v[(row - 2 * WIDTH) * RANK + c - RANK];
			assert_true(b[row * 2 * RANK + c] == expected);
		}
	tensors_release(&t);
	fixture_release(&f);
}

static void test_gpt2_mixed_ranks_and_names(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, k, v, o, up]", NULL};
	struct fixture f;

	fixture_random(&f, "gpt2.gguf", settings, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	json_t *config = read_json("adapter/adapter_config.json"), *targets = json_object_get(config, "target_modules");
	json_t *ranks = json_object_get(config, "rank_pattern"), *alphas = json_object_get(config, "alpha_pattern");

	assert_int_equal(json_integer_value(json_object_get(config, "r")), 3 * RANK);
	assert_int_equal(json_integer_value(json_object_get(config, "lora_alpha")), 18);
	assert_int_equal(json_array_size(targets), 3);
	assert_string_equal(json_string_value(json_array_get(targets, 1)), "attn.c_proj"); /* mlp has a c_proj, too */
	assert_string_equal(json_string_value(json_array_get(targets, 2)), "c_fc");
	assert_int_equal(json_integer_value(json_object_get(ranks, "attn.c_proj")), RANK);
	assert_int_equal(json_integer_value(json_object_get(alphas, "attn.c_proj")), 6);
	assert_int_equal(json_integer_value(json_object_get(ranks, "c_fc")), RANK);
	json_decref(config);
	fixture_release(&f);
}

/* ---- opt and t5 ---- */

static bool has_tensor(const struct tensors *t, const char *name)
{
	return json_object_get(t->header, name) != NULL;
}

static void test_opt_names(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, o, up]", NULL};
	struct fixture f;
	struct tensors t;

	fixture_random(&f, AQM_SOURCE_DIR "/tests/golden/model/opt-full.gguf", settings, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	json_t *config = read_json("adapter/adapter_config.json"), *targets = json_object_get(config, "target_modules");
	assert_string_equal(word(config, "task_type"), "CAUSAL_LM");
	assert_true(json_is_false(json_object_get(config, "fan_in_fan_out")));
	assert_int_equal(json_array_size(targets), 3);
	assert_string_equal(json_string_value(json_array_get(targets, 0)), "q_proj");
	assert_string_equal(json_string_value(json_array_get(targets, 1)), "out_proj");
	assert_string_equal(json_string_value(json_array_get(targets, 2)), "fc1");
	json_decref(config);
	tensors_open(&t, "adapter/adapter_model.safetensors");
	assert_true(has_tensor(&t, "base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_A.weight"));
	assert_true(has_tensor(&t, "base_model.model.model.decoder.layers.1.self_attn.out_proj.lora_B.weight"));
	assert_true(has_tensor(&t, "base_model.model.model.decoder.layers.1.fc1.lora_B.weight"));
	tensors_release(&t);
	fixture_release(&f);
}

/* Both stacks, cross-attention, and both forms of the feed-forward half. */
static void test_t5_names(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, o, up]", "model.stop_layer=1", NULL};
	static const char *const bases[] = {AQM_SOURCE_DIR "/tests/golden/model/t5-full.gguf",
	                                    AQM_SOURCE_DIR "/tests/golden/model/t5-lora.gguf"};
	static const char *const up[] = {"wi", "wi_1"};

	for (int gated = 0; gated < 2; gated++) {
		struct fixture f;
		struct tensors t;
		char name[128];

		fixture_random(&f, bases[gated], settings, false);
		CHECK_OK(aqm_export_peft(f.policy, "adapter"));
		json_t *config = read_json("adapter/adapter_config.json"), *targets = json_object_get(config, "target_modules");
		assert_string_equal(word(config, "task_type"), "SEQ_2_SEQ_LM");
		assert_int_equal(json_array_size(targets), 3);
		assert_string_equal(json_string_value(json_array_get(targets, 0)), "q");
		assert_string_equal(json_string_value(json_array_get(targets, 1)), "o");
		assert_string_equal(json_string_value(json_array_get(targets, 2)), up[gated]);
		assert_int_equal(json_array_size(json_object_get(config, "layers_to_transform")), 1);
		assert_string_equal(word(config, "layers_pattern"), "block"); /* "layer" has numbers, too */
		json_decref(config);
		tensors_open(&t, "adapter/adapter_model.safetensors");
#define PLACE "base_model.model.decoder.block.0.layer."
		assert_true(has_tensor(&t, "base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight"));
		assert_true(has_tensor(&t, PLACE "0.SelfAttention.o.lora_B.weight"));
		assert_true(has_tensor(&t, PLACE "1.EncDecAttention.q.lora_B.weight"));
		snprintf(name, sizeof name, PLACE "2.DenseReluDense.%s.lora_A.weight", up[gated]);
		assert_true(has_tensor(&t, name));
		assert_int_equal(json_object_size(t.header), 1 + 2 * (2 + 4 + 2));
#undef PLACE
		tensors_release(&t);
		fixture_release(&f);
	}
}

/* ---- beside the adapter ---- */

static void test_policy_parts_and_manifest(void **state)
{
	(void)state;
	struct fixture f;
	struct tensors t;
	json_error_t error;
	json_t *entry;
	const char *name;

	fixture_random(&f, "llama.gguf", NULL, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	tensors_open(&t, "adapter/policy.safetensors");
	assert_memory_equal(tensors_find(&t, "policy.head.weight", AQM_ACTIONS, WIDTH),
	                    param(f.policy, "policy.head.weight"), AQM_ACTIONS * WIDTH * sizeof(float));
	assert_memory_equal(tensors_find(&t, "policy.head.bias", 0, AQM_ACTIONS), param(f.policy, "policy.head.bias"),
	                    AQM_ACTIONS * sizeof(float));
	json_object_foreach(t.header, name, entry)
		assert_true(strncmp(name, "policy.", 7) == 0 || strcmp(name, "__metadata__") == 0);

	const char *text = word(json_object_get(t.header, "__metadata__"), "manifest");
	json_t *manifest = json_loads(text, 0, &error);
	assert_non_null(manifest);
	json_t *feature = json_array_get(json_object_get(manifest, "features"), 0);
	assert_string_equal(word(feature, "name"), "current_qdelay");
	assert_string_equal(word(feature, "unit"), aqm_field_find("current_qdelay")->unit);
	assert_true(json_is_true(json_object_get(feature, "sequence")));
	assert_int_equal(strlen(word(json_object_get(manifest, "base"), "sha256")), 64);
	assert_non_null(strstr(word(manifest, "config"), "current_qdelay"));
	json_decref(manifest);
	tensors_release(&t);
	assert_true(aqm_path_exists("adapter/README.md"));
	fixture_release(&f);
}

/* ---- what is there already ---- */

static void test_replaces_only_an_earlier_export(void **state)
{
	(void)state;
	struct fixture f;

	fixture_random(&f, "llama.gguf", NULL, false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	write_text("adapter/notes.txt", "mine");
	assert_int_equal(aqm_export_peft(f.policy, "adapter"), AQM_EUSAGE);
	assert_true(holds_text("adapter/notes.txt", "mine"));
	fixture_release(&f);
	assert_nothing_temporary();
}

static void test_refuses_full_fine_tuning(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.rank=0", NULL};
	struct fixture f;

	fixture_random(&f, "llama.gguf", settings, true);
	assert_int_equal(aqm_export_peft(f.policy, "adapter"), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "lora.rank is 0"));
	assert_int_equal(aqm_export_gguf_lora(f.policy, "adapter.gguf"), AQM_EUSAGE);
	assert_false(aqm_path_exists("adapter") || aqm_path_exists("adapter.gguf"));
	fixture_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_rows),
		cmocka_unit_test_setup_teardown(test_llama_adapter, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_llama_config, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_gpt2_fuses_q_and_v, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_gpt2_mixed_ranks_and_names, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_opt_names, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_t5_names, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_policy_parts_and_manifest, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_replaces_only_an_earlier_export, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_refuses_full_fine_tuning, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests_name("peft", tests, NULL, NULL);
}
