/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Adapters out and in again, bit for bit: what is exported, loaded into another policy and exported from that, is the
 * same file; for every architecture, by PEFT's folder and by GGUF. And what does not fit says which settings would.
 */
#include "helper.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "export/safetensors.h"
#include "model/adapter_file.h"
#include "model/convert.h"

#define MODEL(name) AQM_SOURCE_DIR "/tests/golden/model/" name ".gguf"
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

struct round_trip {
	const char *base;
	const char *const *settings;
};

static int load(struct fixture *f, const char *path)
{
	aqm_adapter_file *file;
	int code = aqm_adapter_file_open(&file, path, aqm_policy_gguf(f->policy));

	if (code != AQM_OK)
		return code;
	code = aqm_adapter_file_load(file, aqm_policy_model(f->policy), aqm_policy_params(f->policy), true);
	aqm_adapter_file_free(file);
	return code;
}

/* Nothing of what it had may survive. */
static void spoil(aqm_policy *policy)
{
	const struct aqm_params *params = aqm_policy_params(policy);

	for (size_t i = 0; i < params->floats; i++)
		params->values[i] = 1e6f + (float)i;
}

static void check_round_trip(const struct round_trip *trip)
{
	static const char *const ways[] = {"first", "first.gguf"};
	struct fixture f, other;

	fixture_random(&f, trip->base, trip->settings, false);
	CHECK_OK(aqm_export_peft(f.policy, "first"));
	CHECK_OK(aqm_export_gguf_lora(f.policy, "first.gguf"));
	fixture_release(&f);
	for (int w = 0; w < 2; w++) {
		fixture_random(&other, trip->base, trip->settings, false);
		spoil(other.policy);
		CHECK_OK(load(&other, ways[w]));
		CHECK_OK(aqm_export_peft(other.policy, "second"));
		CHECK_OK(aqm_export_gguf_lora(other.policy, "second.gguf"));
		if (!same_files("first/adapter_model.safetensors", "second/adapter_model.safetensors") ||
		    !same_files("first/adapter_config.json", "second/adapter_config.json") ||
		    !same_files("first.gguf", "second.gguf"))
			fail_msg("%s by %s: not what it was", trip->base, ways[w]);
		fixture_release(&other);
	}
}

static void test_round_trips(void **state)
{
	(void)state;
	const struct round_trip trips[] = {
		{"llama.gguf", SETTINGS("lora.targets=[q, v]")},
		{"llama.gguf", SETTINGS("lora.targets=[q, k, v, o, gate, up, down]", "lora.rslora=true")},
		{"llama.gguf", SETTINGS("lora.targets=[k, down]", "model.stop_layer=1", "lora.alpha=7")},
		{"gpt2.gguf", SETTINGS("lora.targets=[q, v]")},
		{"gpt2.gguf", SETTINGS("lora.targets=[k]")},
		{"gpt2.gguf", SETTINGS("lora.targets=[q, v, o, down]", "lora.alpha=5")},
		{"gpt2.gguf", SETTINGS("lora.targets=[q, k, v, o, up, down]", "lora.rslora=true")},
		{MODEL("opt-full"), SETTINGS("lora.targets=[q, k, v, o, up, down]")},
		{MODEL("t5-full"), SETTINGS("lora.targets=[q, v]")},
		{MODEL("t5-full"), SETTINGS("lora.targets=[q, k, v, o, up, down]", "model.stop_layer=1")},
		{MODEL("t5-lora"), SETTINGS("lora.targets=[q, k, v, o, gate, up, down]", "lora.rslora=true")},
		{"./qwen2.gguf", SETTINGS("lora.targets=[q, k, v, o, gate, up, down]")},
	};

	CHECK_OK(aqm_model_convert(AQM_SOURCE_DIR "/tests/golden/convert/qwen2-tied", NULL, "qwen2.gguf"));
	for (size_t i = 0; i < sizeof trips / sizeof *trips; i++)
		check_round_trip(&trips[i]);
	assert_nothing_temporary();
}

/* ---- gpt2's fused matrix in PEFT's own form ---- */

enum { WIDTH = 32, RANK = 3 };
#define SIMPLE "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, \"target_modules\": [\"c_attn\"]}"

/* A folder of PEFT with one adapted module in each of two layers: a (RANK, WIDTH), b (out, RANK). */
static void write_peft(const char *module, const char *config, int64_t out, const float *a, const float *b)
{
	aqm_safetensors *file;
	char name[128];

	CHECK_OK(aqm_make_folders("fused"));
	write_text("fused/adapter_config.json", config);
	CHECK_OK(aqm_safetensors_new(&file, "fused/adapter_model.safetensors"));
	for (int layer = 0; layer < 2; layer++) {
		snprintf(name, sizeof name, "base_model.model.transformer.h.%d.%s.lora_A.weight", layer, module);
		CHECK_OK(aqm_safetensors_add(file, name, RANK, WIDTH));
		snprintf(name, sizeof name, "base_model.model.transformer.h.%d.%s.lora_B.weight", layer, module);
		CHECK_OK(aqm_safetensors_add(file, name, out, RANK));
	}
	for (int layer = 0; layer < 2; layer++) {
		CHECK_OK(aqm_safetensors_write(file, a, RANK * WIDTH));
		CHECK_OK(aqm_safetensors_write(file, b, (size_t)out * RANK));
	}
	CHECK_OK(aqm_safetensors_finish(file));
	aqm_safetensors_free(file);
}

/* One A for q, k and v, as PEFT trains it: each of them has it, and its rows of B. */
static void test_gpt2_shared_a(void **state)
{
	(void)state;
	struct fixture f;
	float a[RANK * WIDTH], b[3 * WIDTH * RANK];

	for (int i = 0; i < RANK * WIDTH; i++)
		a[i] = (float)i;
	for (int i = 0; i < 3 * WIDTH * RANK; i++)
		b[i] = (float)(i + 1000);
	write_peft("attn.c_attn", SIMPLE, 3 * WIDTH, a, b);
	fixture_random(&f, "gpt2.gguf", SETTINGS("lora.targets=[q, k, v]"), false);
	spoil(f.policy);
	CHECK_OK(load(&f, "fused"));
	for (int layer = 0; layer < 2; layer++)
		for (int t = 0; t < 3; t++) {
			assert_memory_equal(factor_a(f.policy, layer, (enum aqm_target)t), a, sizeof a);
			assert_memory_equal(factor_b(f.policy, layer, (enum aqm_target)t), b + t * WIDTH * RANK, sizeof b / 3);
		}
	fixture_release(&f);

	/* What cannot hold it says what could; of one that was never trained, too. */
	fixture_random(&f, "gpt2.gguf", SETTINGS("lora.targets=[q, v]", "lora.rank=4"), false);
	assert_int_equal(load(&f, "fused"), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "--set lora.rank=3 --set lora.alpha=6 --set 'lora.targets=[q, k, v]'"));
	fixture_release(&f);
	memset(b, 0, sizeof b);
	write_peft("attn.c_attn", SIMPLE, 3 * WIDTH, a, b);
	fixture_random(&f, "gpt2.gguf", SETTINGS("lora.targets=[q, v]", "lora.rank=4"), false);
	assert_int_equal(load(&f, "fused"), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "--set lora.rank=3 --set lora.alpha=6 --set 'lora.targets=[q, k, v]'"));
	fixture_release(&f);
}

/* ---- what does not fit ---- */

static void test_settings_that_would_fit(void **state)
{
	(void)state;
	const struct {
		const char *const *settings;
		const char *expected;
	} cases[] = {
		{SETTINGS("lora.rank=4", "lora.alpha=6"), "--set lora.rank=3 --set lora.alpha=6"},
		{SETTINGS("lora.alpha=7"), "these are: --set lora.alpha=6"},
		{SETTINGS("lora.rslora=true"), "these are: --set lora.alpha=6 --set lora.rslora=false"},
		{SETTINGS("lora.targets=[q, v, o]"), "these are: --set 'lora.targets=[q, v]'"},
		{SETTINGS("lora.targets=[q]"), "these are: --set 'lora.targets=[q, v]'"},
	};
	struct fixture f;

	fixture_random(&f, "llama.gguf", SETTINGS("lora.targets=[q, v]"), false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	CHECK_OK(aqm_export_gguf_lora(f.policy, "adapter.gguf"));
	fixture_release(&f);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int way = 0; way < 2; way++) {
			fixture_random(&f, "llama.gguf", cases[i].settings, false);
			assert_int_equal(load(&f, way ? "adapter.gguf" : "adapter"), AQM_EUSAGE);
			if (!strstr(aqm_error_message(), cases[i].expected))
				fail_msg("'%s' without '%s'", aqm_error_message(), cases[i].expected);
			fixture_release(&f);
		}

	/* The same scale by other numbers is the same. */
	fixture_random(&f, "llama.gguf", SETTINGS("lora.rslora=true", "lora.alpha=3.4641016151377544"), false);
	CHECK_OK(load(&f, "adapter"));
	fixture_release(&f);
	fixture_random(&f, "llama.gguf", SETTINGS("lora.targets=[q, v]", "model.stop_layer=1"), false);
	assert_int_equal(load(&f, "adapter"), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "model.layers.1.self_attn.q_proj"));
	fixture_release(&f);
}

/* An adapter with factors in some layers only: the others begin as they would without it. */
static void test_some_layers(void **state)
{
	(void)state;
	struct fixture f;
	float before[RANK * WIDTH];

	fixture_random(&f, "llama.gguf", SETTINGS("lora.targets=[q, v]", "model.stop_layer=1"), false);
	CHECK_OK(aqm_export_peft(f.policy, "adapter"));
	fixture_release(&f);
	fixture_random(&f, "llama.gguf", SETTINGS("lora.targets=[q, v]"), false);
	spoil(f.policy);
	memcpy(before, factor_a(f.policy, 1, AQM_TARGET_Q), sizeof before);
	CHECK_OK(load(&f, "adapter"));
	assert_memory_equal(before, factor_a(f.policy, 1, AQM_TARGET_Q), sizeof before);
	assert_true(factor_a(f.policy, 0, AQM_TARGET_Q)[0] < 1e5f);
	fixture_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trips, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_gpt2_shared_a, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_settings_that_would_fit, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_some_layers, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests_name("round trip", tests, NULL, NULL);
}
