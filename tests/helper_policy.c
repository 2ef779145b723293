/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper_policy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"

const char *golden_path(const char *file)
{
	static char path[1024];

	if (*file == '/' || strncmp(file, "./", 2) == 0)
		return file;
	snprintf(path, sizeof path, "%s/tests/golden/policy/%s", AQM_SOURCE_DIR, file);
	return path;
}

aqm_pool *make_pool(size_t rows, size_t second, uint32_t which)
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	double *values = aqm_calloc_array(4 * rows, sizeof *values);
	const double *const columns[] = {values, values + rows, values + 2 * rows, values + 3 * rows};
	const size_t episodes[] = {0, second};
	uint8_t *actions = aqm_calloc_array(rows, 1);
	struct aqm_rng rng;
	aqm_pool *pool;
	double delay = 15000;

	assert_true(values && actions);
	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, which);
	for (size_t i = 0; i < rows; i++) {
		delay = fabs(15000 + 0.8 * (delay - 15000) + 4000.0 * (double)aqm_rng_normal(&rng));
		values[i] = floor(delay);
		values[rows + i] = floor(delay * 20000.0);
		values[2 * rows + i] = floor(delay * 12.5);
		values[3 * rows + i] = aqm_rng_below(&rng, 3) ? 1500 : 60;
		actions[i] = delay > 20000 ? AQM_DROP : delay > 12000 ? AQM_MARK : AQM_ENQUEUE;
	}
	CHECK_OK(aqm_pool_from_columns(&pool, rows, 4, names, columns, actions, actions, 2, episodes));
	free(values);
	free(actions);
	return pool;
}

void shake(aqm_policy *policy, float scale)
{
	struct aqm_params *params = aqm_policy_params(policy);
	struct aqm_rng rng;

	aqm_rng_init(&rng, 9, AQM_STREAM_TEST, 1);
	for (size_t i = 0; i < params->count; i++) {
		struct aqm_mat value = aqm_params_value(params, (int64_t)i);
		size_t count = (size_t)(value.rows * value.cols);

		if (params->device->ops->sum_squares(params->device, value.data, count) > 0)
			continue;
		float *drawn = aqm_malloc_array(count, sizeof *drawn);

		assert_non_null(drawn);
		for (size_t k = 0; k < count; k++)
			drawn[k] = scale * aqm_rng_normal(&rng);
		params->device->ops->upload(params->device, value.data, drawn, count * sizeof *drawn);
		free(drawn);
	}
	aqm_params_touch(params);
}

void small_policy_config(struct aqm_config *config, const char *const *settings)
{
	static const char *const common[] = {
		"policy.features=[current_qdelay, drop_prob, len_bytes, pkt_len]",
		"policy.sequences=[current_qdelay, len_bytes]",
		"policy.window=6",
		"policy.kernel=3",
		"policy.encoder_width=8",
		"lora.rank=3",
		"lora.alpha=6",
		"lora.dropout=0",
		"seed=7",
		NULL,
	};

	CHECK_OK(aqm_config_init(config));
	for (size_t i = 0; common[i]; i++)
		CHECK_OK(aqm_config_set(config, common[i]));
	for (size_t i = 0; settings && settings[i]; i++)
		CHECK_OK(aqm_config_set(config, settings[i]));
	CHECK_OK(aqm_config_check(config));
}

void fixture_init(struct fixture *f, const char *base, const char *const *settings, int64_t windows, bool training)
{
	*f = (struct fixture){0};
	small_policy_config(&f->config, settings);
	f->pool = make_pool(ROWS, SECOND_EPISODE, 0);
	if (f->config.control == AQM_CONTROL_UPDATE) {
		aqm_pool *packets = f->pool;

		CHECK_OK(aqm_pool_updates(&f->pool, packets));
		aqm_pool_free(packets);
	}
	CHECK_OK(aqm_fit_rows(&f->fit, &f->config, f->pool));
	CHECK_OK(aqm_rows_init(&f->rows, f->pool, &f->config, &f->fit));
	CHECK_OK(aqm_policy_new(&f->policy, &f->config, &f->fit, golden_path(base), training));
	CHECK_OK(aqm_policy_allocate(f->policy, windows));
	shake(f->policy, 0.1f);
}

void fixture_release(struct fixture *f)
{
	aqm_policy_free(f->policy);
	aqm_rows_release(&f->rows);
	aqm_pool_free(f->pool);
	aqm_config_release(&f->config);
}

/* ---- decisions ---- */

void features_of(const aqm_pool *pool, size_t row, double features[4])
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	double column[ROWS];

	for (int i = 0; i < 4; i++) {
		CHECK_OK(aqm_pool_column(pool, names[i], column));
		features[i] = column[row];
	}
}

double raw_reward(const struct fixture *f, size_t row)
{
	return f->fit.rewards.low + f->fit.rewards.width * (double)f->rows.rewards[row];
}

enum { STREAMS = 5 };

static void check_same(const float *alone, const float *together, double tolerance, size_t round, int64_t stream)
{
	for (int a = 0; a < AQM_ACTIONS; a++)
		if (!(fabs((double)alone[a] - (double)together[a]) < tolerance * fmax(1, fabs((double)alone[a]))))
			fail_msg("round %zu, stream %d, action %d: %g alone, %g together", round, (int)stream, a, (double)alone[a],
			         (double)together[a]);
}

void check_streams(struct fixture *f, size_t rounds, double tolerance)
{
	aqm_decider *alone[STREAMS], *together;
	size_t row[STREAMS];
	struct aqm_rng rng;

	aqm_rng_init(&rng, 3, AQM_STREAM_TEST, 0);
	CHECK_OK(aqm_decider_new_streams(&together, f->policy, 80, STREAMS));
	for (int64_t s = 0; s < STREAMS; s++) {
		CHECK_OK(aqm_decider_new(&alone[s], f->policy, 80));
		row[s] = (size_t)(5 * s);
	}
	for (size_t round = 0; round < rounds; round++) {
		int64_t chosen[STREAMS], count = 0;
		double features[STREAMS * 4];
		float logits[STREAMS * AQM_ACTIONS], own[AQM_ACTIONS];
		enum aqm_action actions[STREAMS], action;

		for (int64_t s = STREAMS - 1; s >= 0; s--) { /* mostly all of them, backwards */
			if (round % 3 == 2 && aqm_rng_below(&rng, 2))
				continue;
			features_of(f->pool, row[s], features + 4 * count);
			chosen[count++] = s;
		}
		CHECK_OK(aqm_decider_decide_streams(together, count, chosen, features, actions, logits));
		for (int64_t i = 0; i < count; i++) {
			int64_t s = chosen[i];

			CHECK_OK(aqm_decider_decide(alone[s], features + 4 * i, &action, own));
			check_same(own, logits + i * AQM_ACTIONS, tolerance, round, s);
			action = (enum aqm_action)f->rows.actions[row[s]];
			CHECK_OK(aqm_decider_observe(alone[s], action, raw_reward(f, row[s])));
			CHECK_OK(aqm_decider_observe_stream(together, s, action, raw_reward(f, row[s])));
			row[s] = (row[s] + 1) % ROWS;
			if (aqm_rng_below(&rng, 12) == 0) {
				aqm_decider_reset(alone[s]);
				aqm_decider_reset_stream(together, s);
			}
		}
	}
	for (int64_t s = 0; s < STREAMS; s++)
		aqm_decider_free(alone[s]);
	aqm_decider_free(together);
}

/* ---- files ---- */

static char scratch[64], came_from[4096];

int scratch_enter(void **state)
{
	(void)state;
	assert_non_null(getcwd(came_from, sizeof came_from));
	strcpy(scratch, "/tmp/aqmtrain_test_XXXXXX");
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

bool same_files(const char *a, const char *b)
{
	char *data[2];
	size_t bytes[2];

	CHECK_OK(aqm_file_read(a, 1 << 28, &data[0], &bytes[0]));
	CHECK_OK(aqm_file_read(b, 1 << 28, &data[1], &bytes[1]));
	bool same = bytes[0] == bytes[1] && memcmp(data[0], data[1], bytes[0]) == 0;
	free(data[0]);
	free(data[1]);
	return same;
}
