/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "base/thread.h"

static char scratch[64], came_from[4096];

int scratch_enter(void **state)
{
	(void)state;
	assert_non_null(getcwd(came_from, sizeof came_from));
	strcpy(scratch, "/tmp/test_export_XXXXXX");
	assert_non_null(mkdtemp(scratch));
	assert_int_equal(chdir(scratch), 0);
	aqm_threads_set(1);
	return 0;
}

int scratch_leave(void **state)
{
	(void)state;
	aqm_interrupt_raise(false);
	assert_int_equal(chdir(came_from), 0);
	return aqm_remove_tree(scratch);
}

/* ---- policies ---- */

const char *base_path(const char *base)
{
	static char path[1024];

	if (strchr(base, '/'))
		return base;
	snprintf(path, sizeof path, "%s/tests/golden/policy/%s", AQM_SOURCE_DIR, base);
	return path;
}

static aqm_pool *make_pool(void)
{
	static const char *const names[] = {"current_qdelay", "len_bytes", "pkt_len"};
	static double values[3][FIXTURE_ROWS];
	const double *const columns[] = {values[0], values[1], values[2]};
	const size_t episodes[] = {0};
	uint8_t actions[FIXTURE_ROWS];
	struct aqm_rng rng;
	aqm_pool *pool;

	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < FIXTURE_ROWS; i++) {
		values[0][i] = (double)aqm_rng_below(&rng, 30000);
		values[1][i] = floor(values[0][i] * 12.5);
		values[2][i] = aqm_rng_below(&rng, 3) ? 1500 : 60;
		actions[i] = values[0][i] > 20000 ? AQM_DROP : values[0][i] > 12000 ? AQM_MARK : AQM_ENQUEUE;
	}
	CHECK_OK(aqm_pool_from_columns(&pool, FIXTURE_ROWS, 3, names, columns, actions, actions, 1, episodes));
	return pool;
}

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

void fixture_init(struct fixture *f, const char *base, const char *const *settings, bool training)
{
	static const char *const common[] = {
		"policy.features=[current_qdelay, len_bytes, pkt_len]",
		"policy.sequences=[current_qdelay]",
		"policy.window=6",
		"policy.kernel=3",
		"policy.encoder_width=8",
		"lora.rank=3",
		"lora.alpha=6",
		"lora.dropout=0",
		"seed=7",
		NULL,
	};

	*f = (struct fixture){0};
	CHECK_OK(aqm_config_init(&f->config));
	for (size_t i = 0; common[i]; i++)
		CHECK_OK(aqm_config_set(&f->config, common[i]));
	for (size_t i = 0; settings && settings[i]; i++)
		CHECK_OK(aqm_config_set(&f->config, settings[i]));
	CHECK_OK(aqm_config_check(&f->config));
	f->pool = make_pool();
	CHECK_OK(aqm_fit_rows(&f->fit, &f->config, f->pool));
	CHECK_OK(aqm_rows_init(&f->rows, f->pool, &f->config, &f->fit));
	CHECK_OK(aqm_policy_new(&f->policy, &f->config, &f->fit, base_path(base), training));
	CHECK_OK(aqm_policy_allocate(f->policy, 4));
	randomise(f->policy, false);
}

void fixture_release(struct fixture *f)
{
	aqm_policy_free(f->policy);
	aqm_rows_release(&f->rows);
	aqm_pool_free(f->pool);
	aqm_config_release(&f->config);
}

float logits_difference(struct fixture *f, aqm_policy *other)
{
	static float mine[FIXTURE_ROWS * AQM_ACTIONS], others[FIXTURE_ROWS * AQM_ACTIONS];
	float largest = 0, spread = 0;

	CHECK_OK(aqm_policy_score(f->policy, &f->rows, (double)NAN, mine));
	CHECK_OK(aqm_policy_score(other, &f->rows, (double)NAN, others));
	for (size_t i = 0; i < FIXTURE_ROWS * AQM_ACTIONS; i++) {
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

bool same_files(const char *a, const char *b)
{
	char *data[2];
	size_t bytes[2];

	CHECK_OK(aqm_file_read(a, 1 << 26, &data[0], &bytes[0]));
	CHECK_OK(aqm_file_read(b, 1 << 26, &data[1], &bytes[1]));
	bool same = bytes[0] == bytes[1] && memcmp(data[0], data[1], bytes[0]) == 0;
	free(data[0]);
	free(data[1]);
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
