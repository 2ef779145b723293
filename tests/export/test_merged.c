/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The GGUF adapter, the merged model and the bundle: read back, they compute what the policy computes.
 */
#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/thread.h"

static const char *const q_and_v[] = {"lora.targets=[q, v]", NULL};
static const char *const all_of_gpt2[] = {"lora.targets=[q, v, o, up, down]", NULL};
static const char *const all_of_llama[] = {"lora.targets=[q, k, v, o, gate, up, down]", "lora.rslora=true", NULL};
#define OPT AQM_SOURCE_DIR "/tests/golden/model/opt-full.gguf"
#define T5_1_0 AQM_SOURCE_DIR "/tests/golden/model/t5-full.gguf"
#define T5_1_1 AQM_SOURCE_DIR "/tests/golden/model/t5-lora.gguf"
static const char *const everything[] = {"lora.rank=0", NULL};

/* ---- adapter ---- */

/* product (out, in) = alpha / r B A of the adapter file, as llama.cpp has it. */
static void adapter_product(const aqm_gguf *gguf, const char *tensor, float **product, int64_t *in, int64_t *out)
{
	char a_name[128], b_name[128];
	double alpha;

	snprintf(a_name, sizeof a_name, "%s.lora_a", tensor);
	snprintf(b_name, sizeof b_name, "%s.lora_b", tensor);
	const struct aqm_gguf_tensor *a = aqm_gguf_find(gguf, a_name), *b = aqm_gguf_find(gguf, b_name);

	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(a->dtype, AQM_F32);
	assert_int_equal(a->ne[1], b->ne[0]);
	CHECK_OK(aqm_gguf_get_float(gguf, "adapter.lora.alpha", &alpha));
	*in = a->ne[0];
	*out = b->ne[1];
	*product = calloc((size_t)(*in * *out), sizeof **product);
	const float *an = a->data, *bn = b->data;
	const double scale = alpha / (double)b->ne[0];

	for (int64_t i = 0; i < *out; i++)
		for (int64_t j = 0; j < *in; j++) {
			double sum = 0;

			for (int64_t k = 0; k < b->ne[0]; k++)
				sum += (double)bn[i * b->ne[0] + k] * (double)an[k * *in + j];
			(*product)[i * *in + j] = (float)(scale * sum);
		}
}

/* What the model itself adds: every adapter's scale B A in its rows of the tensor. */
static void check_product(aqm_policy *policy, const char *tensor, const float *product, int64_t in, int64_t out)
{
	const aqm_model *model = aqm_policy_model(policy);
	double *expected = calloc((size_t)(in * out), sizeof *expected);

	for (size_t p = 0; p < aqm_model_adapters(model); p++) {
		const struct aqm_adapter *adapter = aqm_model_adapter(model, p);
		const float *a = aqm_params_value(aqm_policy_params(policy), adapter->a).data;
		const float *b = aqm_params_value(aqm_policy_params(policy), adapter->b).data;

		if (strcmp(adapter->gguf_name, tensor) != 0)
			continue;
		for (int64_t i = 0; i < adapter->out; i++)
			for (int64_t j = 0; j < in; j++)
				for (int64_t k = 0; k < adapter->rank; k++)
					expected[(adapter->row_offset + i) * in + j] +=
						adapter->scale * (double)b[i * adapter->rank + k] * (double)a[k * in + j];
	}
	for (int64_t i = 0; i < in * out; i++)
		assert_true(fabs(expected[i] - (double)product[i]) < 1e-5);
	free(expected);
}

static void check_adapter(const char *base, const char *const *settings)
{
	struct fixture f;
	aqm_gguf *gguf;
	const char *text;
	size_t pairs = 0;

	fixture_random(&f, base, settings, false);
	CHECK_OK(aqm_export_gguf_lora(f.policy, "adapter.gguf"));
	CHECK_OK(aqm_gguf_open(&gguf, "adapter.gguf"));
	CHECK_OK(aqm_gguf_get_string(gguf, "general.type", &text));
	assert_string_equal(text, "adapter");
	CHECK_OK(aqm_gguf_get_string(gguf, "adapter.type", &text));
	assert_string_equal(text, "lora");
	CHECK_OK(aqm_gguf_get_string(gguf, "general.architecture", &text));
	assert_string_equal(text, aqm_model_shape(aqm_policy_model(f.policy))->architecture);
	for (size_t i = 0; i < aqm_gguf_tensors(aqm_policy_gguf(f.policy)); i++) {
		const struct aqm_gguf_tensor *t = aqm_gguf_tensor(aqm_policy_gguf(f.policy), i);
		char name[128];
		float *product;
		int64_t in, out;

		snprintf(name, sizeof name, "%s.lora_a", t->name);
		if (!aqm_gguf_find(gguf, name))
			continue;
		adapter_product(gguf, t->name, &product, &in, &out);
		assert_int_equal(in, t->ne[0]);
		assert_int_equal(out, t->ne[1]);
		check_product(f.policy, t->name, product, in, out);
		free(product);
		pairs++;
	}
	assert_int_equal(aqm_gguf_tensors(gguf), 2 * pairs); /* and nothing else, which llama.cpp would refuse */
	assert_true(pairs >= 2);
	aqm_gguf_free(gguf);
	fixture_release(&f);
}

static void test_gguf_adapter(void **state)
{
	(void)state;
	check_adapter("llama.gguf", all_of_llama);
	check_adapter("gpt2.gguf", q_and_v);
	check_adapter("gpt2.gguf", all_of_gpt2);
	check_adapter(OPT, all_of_gpt2);
	check_adapter(T5_1_1, all_of_llama);
}

static void test_gguf_adapter_needs_a_scale(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.alpha=0", NULL};
	struct fixture f;

	fixture_random(&f, "llama.gguf", settings, false);
	assert_int_equal(aqm_export_gguf_lora(f.policy, "adapter.gguf"), AQM_EUSAGE);
	assert_false(aqm_path_exists("adapter.gguf"));
	fixture_release(&f);
	assert_nothing_temporary();
}

/* ---- merged ---- */

/* A policy over the merged file, whose fresh adapters add nothing, must give the same logits. */
static float merged_difference(struct fixture *f, const char *merged)
{
	static const char *const plain[] = {"lora.rank=2", "lora.targets=[v]", NULL};
	struct fixture other;

	fixture_random(&other, merged, plain, false);
	for (size_t i = 0; i < aqm_model_adapters(aqm_policy_model(other.policy)); i++) {
		const struct aqm_adapter *adapter = aqm_model_adapter(aqm_policy_model(other.policy), i);

		memset(aqm_params_value(aqm_policy_params(other.policy), adapter->b).data, 0,
		       (size_t)(adapter->out * adapter->rank) * sizeof(float));
	}
	float difference = logits_difference(f, other.policy);
	fixture_release(&other);
	return difference;
}

static void check_merged(const char *base, const char *const *settings, bool training, const char *dtype,
                         float tolerance)
{
	struct fixture f;

	fixture_random(&f, base, settings, training);
	CHECK_OK(aqm_export_merged(f.policy, "./merged.gguf", dtype));
	float difference = merged_difference(&f, "./merged.gguf");
	if (!(difference <= tolerance))
		fail_msg("%s: logits differ by %g", base, (double)difference);
	fixture_release(&f);
}

static void test_merged_computes_the_same(void **state)
{
	(void)state;
	check_merged("llama.gguf", all_of_llama, false, NULL, 1e-4f);
	check_merged("gpt2.gguf", q_and_v, false, NULL, 1e-4f);
	check_merged("gpt2.gguf", all_of_gpt2, false, "f32", 1e-4f);
	check_merged("llama.gguf", q_and_v, false, "f16", 0.05f);
	check_merged(OPT, all_of_gpt2, false, NULL, 1e-4f);
	check_merged(T5_1_0, all_of_gpt2, false, NULL, 1e-4f);
	check_merged(T5_1_1, all_of_llama, false, "f32", 1e-4f);
}

/* A policy that leaves the transformer early is merged into a model that ends there. */
static void test_merged_stops_where_the_policy_does(void **state)
{
	(void)state;
	static const char *const settings[] = {"lora.targets=[q, v]", "model.stop_layer=1", NULL};
	aqm_gguf *merged;
	int64_t layers;

	check_merged("llama.gguf", settings, false, NULL, 1e-4f);
	CHECK_OK(aqm_gguf_open(&merged, "./merged.gguf"));
	CHECK_OK(aqm_gguf_get_int(merged, "llama.block_count", &layers));
	assert_int_equal(layers, 1);
	assert_non_null(aqm_gguf_find(merged, "blk.0.ffn_down.weight"));
	assert_null(aqm_gguf_find(merged, "blk.1.ffn_down.weight"));
	aqm_gguf_free(merged);

	check_merged(T5_1_0, settings, false, NULL, 1e-4f);
	CHECK_OK(aqm_gguf_open(&merged, "./merged.gguf"));
	CHECK_OK(aqm_gguf_get_int(merged, "t5.decoder_block_count", &layers));
	assert_int_equal(layers, 1);
	assert_null(aqm_gguf_find(merged, "enc.blk.1.ffn_down.weight"));
	assert_null(aqm_gguf_find(merged, "dec.blk.1.cross_attn_q.weight"));
	aqm_gguf_free(merged);
}

static void test_merged_after_full_fine_tuning(void **state)
{
	(void)state;
	check_merged("llama.gguf", everything, true, NULL, 1e-4f);
	check_merged("gpt2.gguf", everything, true, NULL, 1e-4f);
	check_merged(OPT, everything, true, NULL, 1e-4f);
	check_merged(T5_1_1, everything, true, "f16", 0.05f);
}

static bool is_adapted(aqm_policy *policy, const char *tensor)
{
	for (size_t i = 0; i < aqm_model_adapters(aqm_policy_model(policy)); i++)
		if (strcmp(aqm_model_adapter(aqm_policy_model(policy), i)->gguf_name, tensor) == 0)
			return true;
	return false;
}

static void test_merged_copies_the_rest(void **state)
{
	(void)state;
	struct fixture f;
	aqm_gguf *merged;
	size_t changed = 0;

	fixture_random(&f, "llama.gguf", q_and_v, false);
	CHECK_OK(aqm_export_merged(f.policy, "merged.gguf", "q8_0"));
	CHECK_OK(aqm_gguf_open(&merged, "merged.gguf"));
	const aqm_gguf *base = aqm_policy_gguf(f.policy);
	assert_int_equal(aqm_gguf_tensors(merged), aqm_gguf_tensors(base));
	for (size_t i = 0; i < aqm_gguf_tensors(base); i++) {
		const struct aqm_gguf_tensor *from = aqm_gguf_tensor(base, i), *to = aqm_gguf_tensor(merged, i);

		assert_string_equal(from->name, to->name);
		assert_memory_equal(from->ne, to->ne, sizeof from->ne);
		if (is_adapted(f.policy, from->name)) {
			assert_int_equal(to->dtype, AQM_Q8_0);
			changed++;
		} else {
			assert_int_equal(from->dtype, to->dtype);
			assert_int_equal(from->bytes, to->bytes);
			assert_memory_equal(from->data, to->data, from->bytes);
		}
	}
	assert_int_equal(changed, 4);
	int64_t context;
	CHECK_OK(aqm_gguf_get_int(merged, "llama.context_length", &context));
	assert_int_equal(context, 64);
	CHECK_OK(aqm_gguf_get_int(merged, "general.quantization_version", &context));
	assert_true(merged_difference(&f, "./merged.gguf") < 0.3f);
	aqm_gguf_free(merged);
	fixture_release(&f);
}

/* A quantised base stays quantised: merge a merged one. */
static void test_merged_keeps_the_type(void **state)
{
	(void)state;
	struct fixture f;
	aqm_gguf *merged;

	fixture_random(&f, "llama.gguf", q_and_v, false);
	CHECK_OK(aqm_export_merged(f.policy, "./quantised.gguf", "q8_0"));
	fixture_release(&f);
	fixture_random(&f, "./quantised.gguf", q_and_v, false);
	CHECK_OK(aqm_export_merged(f.policy, "./again.gguf", NULL));
	CHECK_OK(aqm_gguf_open(&merged, "./again.gguf"));
	assert_int_equal(aqm_gguf_find(merged, "blk.0.attn_q.weight")->dtype, AQM_Q8_0);
	assert_int_equal(aqm_gguf_find(merged, "blk.0.attn_k.weight")->dtype, AQM_F32);
	aqm_gguf_free(merged);
	fixture_release(&f);
}

static void test_merged_refuses(void **state)
{
	(void)state;
	struct fixture f;

	CHECK_OK(aqm_make_folders("x"));
	char *data;
	size_t bytes;
	CHECK_OK(aqm_file_read(golden_path("llama.gguf"), 1 << 26, &data, &bytes));
	CHECK_OK(aqm_file_write("./base.gguf", data, bytes));
	free(data);
	fixture_random(&f, "./base.gguf", q_and_v, false);
	assert_int_equal(aqm_export_merged(f.policy, "./base.gguf", NULL), AQM_EUSAGE);
	assert_int_equal(aqm_export_merged(f.policy, "x/../base.gguf", NULL), AQM_EUSAGE);
	assert_true(same_files("base.gguf", golden_path("llama.gguf")));
	write_text("old.gguf", "as it was");
	assert_int_equal(aqm_export_merged(f.policy, "old.gguf", "q9_9"), AQM_EUSAGE);
	assert_int_equal(aqm_export_merged(f.policy, "old.gguf", "q4_k"), AQM_EUSAGE); /* only read */
	aqm_interrupt_raise(true);
	assert_int_equal(aqm_export_merged(f.policy, "old.gguf", NULL), AQM_EINTERRUPTED);
	aqm_interrupt_raise(false);
	assert_true(holds_text("old.gguf", "as it was"));
	fixture_release(&f);
	assert_nothing_temporary();
}

/* ---- bundle ---- */

static void test_bundle_loads_as_a_policy(void **state)
{
	(void)state;
	struct fixture f;
	aqm_policy *loaded;

	fixture_random(&f, "gpt2.gguf", all_of_gpt2, false);
	CHECK_OK(aqm_export_bundle(f.policy, "policy.bundle"));
	CHECK_OK(aqm_policy_load(&loaded, "policy.bundle", NULL, AQM_DEVICE_CPU));
	CHECK_OK(aqm_policy_allocate(loaded, 4));
	assert_true(logits_difference(&f, loaded) == 0);
	aqm_policy_free(loaded);
	assert_int_equal(aqm_policy_load(&loaded, "policy.bundle", golden_path("llama.gguf"), AQM_DEVICE_CPU), AQM_EDATA);
	fixture_release(&f);
	assert_nothing_temporary();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gguf_adapter, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_gguf_adapter_needs_a_scale, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_merged_computes_the_same, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_merged_stops_where_the_policy_does, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_merged_after_full_fine_tuning, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_merged_copies_the_rest, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_merged_keeps_the_type, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_merged_refuses, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_bundle_loads_as_a_policy, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests_name("merged", tests, NULL, NULL);
}
