/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/random.h"

/* ---- policies ---- */

static uint32_t name_number(const char *name)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h;
}

void randomise(aqm_policy *policy, bool own_only)
{
	struct aqm_params *params = aqm_policy_params(policy);

	for (size_t i = 0; i < params->count; i++) {
		const struct aqm_param *p = &params->items[i];
		struct aqm_mat value = aqm_params_value(params, (int64_t)i);
		struct aqm_rng rng;

		if (own_only && strncmp(p->name, "policy.", 7) != 0)
			continue;
		aqm_rng_init(&rng, 9, AQM_STREAM_TEST, name_number(p->name));
		for (int64_t k = 0; k < p->rows * p->cols; k++)
			((float *)value.data)[k] = 0.3f * aqm_rng_normal(&rng);
	}
}

void fixture_random(struct fixture *f, const char *base, const char *const *settings, bool training)
{
	fixture_init(f, base, settings, 4, training);
	randomise(f->policy, false);
}

float logits_difference(struct fixture *f, aqm_policy *other)
{
	static float mine[ROWS * AQM_ACTIONS], others[ROWS * AQM_ACTIONS];
	float largest = 0, spread = 0;

	CHECK_OK(aqm_policy_score(f->policy, &f->rows, (double)NAN, mine));
	CHECK_OK(aqm_policy_score(other, &f->rows, (double)NAN, others));
	for (size_t i = 0; i < ROWS * AQM_ACTIONS; i++) {
		largest = fmaxf(largest, fabsf(mine[i] - others[i]));
		spread = fmaxf(spread, fabsf(mine[i] - mine[i % AQM_ACTIONS]));
	}
	assert_true(spread > 0.1f); /* the logits say something */
	return largest;
}

const float *param(aqm_policy *policy, const char *name)
{
	const struct aqm_params *params = aqm_policy_params(policy);
	int64_t index = aqm_params_find(params, name);

	if (index < 0)
		fail_msg("no parameter '%s'", name);
	return aqm_params_value(params, index).data;
}

static const struct aqm_adapter *find_adapter(aqm_policy *policy, int64_t layer, enum aqm_target target)
{
	const aqm_model *model = aqm_policy_model(policy);

	for (size_t i = 0; i < aqm_model_adapters(model); i++) {
		const struct aqm_adapter *adapter = aqm_model_adapter(model, i);

		if (adapter->layer == layer && adapter->target == target)
			return adapter;
	}
	fail_msg("no adapter of target %d in layer %lld", (int)target, (long long)layer);
	return NULL;
}

const float *factor_a(aqm_policy *policy, int64_t layer, enum aqm_target target)
{
	return aqm_params_value(aqm_policy_params(policy), find_adapter(policy, layer, target)->a).data;
}

const float *factor_b(aqm_policy *policy, int64_t layer, enum aqm_target target)
{
	return aqm_params_value(aqm_policy_params(policy), find_adapter(policy, layer, target)->b).data;
}

/* ---- safetensors ---- */

void tensors_open(struct tensors *t, const char *path)
{
	size_t bytes, tiled = 0;
	uint64_t header_bytes;
	const char *name;
	json_t *entry;
	json_error_t error;

	CHECK_OK(aqm_file_read(path, 1 << 26, &t->file, &bytes));
	assert_true(bytes >= 8);
	memcpy(&header_bytes, t->file, 8);
	assert_true(header_bytes <= bytes - 8 && header_bytes % 8 == 0);
	t->header = json_loadb(t->file + 8, (size_t)header_bytes, 0, &error);
	assert_non_null(t->header);
	t->data = t->file + 8 + header_bytes;
	t->bytes = bytes - 8 - (size_t)header_bytes;
	json_object_foreach(t->header, name, entry)
	{
		json_int_t begin, end;

		if (strcmp(name, "__metadata__") == 0)
			continue;
		assert_int_equal(json_unpack(json_object_get(entry, "data_offsets"), "[I, I]", &begin, &end), 0);
		assert_int_equal(begin, tiled); /* our header is in the order of the data */
		tiled = (size_t)end;
	}
	assert_int_equal(tiled, t->bytes);
}

void tensors_release(struct tensors *t)
{
	json_decref(t->header);
	free(t->file);
}

const float *tensors_find(const struct tensors *t, const char *name, int64_t rows, int64_t cols)
{
	json_t *entry = json_object_get(t->header, name), *shape = json_object_get(entry, "shape");
	json_int_t begin, end;

	if (!entry)
		fail_msg("no tensor '%s'", name);
	assert_string_equal(json_string_value(json_object_get(entry, "dtype")), "F32");
	assert_int_equal(json_array_size(shape), rows ? 2 : 1);
	if (rows)
		assert_int_equal(json_integer_value(json_array_get(shape, 0)), rows);
	assert_int_equal(json_integer_value(json_array_get(shape, rows ? 1 : 0)), cols);
	assert_int_equal(json_unpack(json_object_get(entry, "data_offsets"), "[I, I]", &begin, &end), 0);
	assert_int_equal(end - begin, (rows ? rows : 1) * cols * 4);
	return (const float *)(const void *)(t->data + begin);
}

/* ---- files ---- */

void write_text(const char *path, const char *text)
{
	CHECK_OK(aqm_file_write(path, text, strlen(text)));
}

bool holds_text(const char *path, const char *text)
{
	char *data;
	size_t bytes;

	CHECK_OK(aqm_file_read(path, 1 << 20, &data, &bytes));
	bool same = bytes == strlen(text) && memcmp(data, text, bytes) == 0;
	free(data);
	return same;
}

void assert_nothing_temporary(void)
{
	DIR *entries = opendir(".");
	const struct dirent *entry;

	assert_non_null(entries);
	while ((entry = readdir(entries)))
		assert_null(strstr(entry->d_name, ".tmp"));
	closedir(entries);
}
