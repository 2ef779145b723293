/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

const char *golden_path(const char *file)
{
	static char path[1024];

	snprintf(path, sizeof path, "%s/tests/golden/policy/%s", AQM_SOURCE_DIR, file);
	return path;
}

aqm_pool *make_pool(void)
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	static double values[4][ROWS];
	const double *const columns[] = {values[0], values[1], values[2], values[3]};
	const size_t episodes[] = {0, SECOND_EPISODE};
	uint8_t actions[ROWS];
	struct aqm_rng rng;
	aqm_pool *pool;
	double delay = 15000;

	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < ROWS; i++) {
		delay = fabs(15000 + 0.8 * (delay - 15000) + 4000.0 * (double)aqm_rng_normal(&rng));
		values[0][i] = floor(delay);
		values[1][i] = floor(delay * 20000.0);
		values[2][i] = floor(delay * 12.5);
		values[3][i] = aqm_rng_below(&rng, 3) ? 1500 : 60;
		actions[i] = delay > 20000 ? AQM_DROP : delay > 12000 ? AQM_MARK : AQM_ENQUEUE;
	}
	CHECK_OK(aqm_pool_from_columns(&pool, ROWS, 4, names, columns, actions, actions, 2, episodes));
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
		for (size_t k = 0; k < count; k++)
			((float *)value.data)[k] = scale * aqm_rng_normal(&rng);
	}
}

void fixture_init(struct fixture *f, const char *base, const char *const *settings, int64_t windows, bool training)
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

	*f = (struct fixture){0};
	CHECK_OK(aqm_config_init(&f->config));
	for (size_t i = 0; common[i]; i++)
		CHECK_OK(aqm_config_set(&f->config, common[i]));
	for (size_t i = 0; settings && settings[i]; i++)
		CHECK_OK(aqm_config_set(&f->config, settings[i]));
	CHECK_OK(aqm_config_check(&f->config));
	f->pool = make_pool();
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
