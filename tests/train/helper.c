/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <stdio.h>

static void save_pool(const char *path, uint32_t which)
{
	aqm_pool *pool = make_pool(90, 50, which);

	CHECK_OK(aqm_pool_save(pool, path));
	aqm_pool_free(pool);
}

int scratch_enter_pools(void **state)
{
	int result = scratch_enter(state);

	save_pool("train.h5", 0);
	save_pool("eval.h5", 1);
	return result;
}

void small_config(struct aqm_config *config, const char *const *settings)
{
	static const char *const common[] = {
		"lora.dropout=0.1",    "train.epochs=3",    "train.windows=4",   "train.lr=0.003",
		"pool.train=train.h5", "pool.eval=eval.h5", "reward.horizon=10", NULL,
	};
	char path[1024];

	small_policy_config(config, common);
	snprintf(path, sizeof path, "model.path=%s", golden_path("llama.gguf"));
	CHECK_OK(aqm_config_set(config, path));
	for (size_t i = 0; settings && settings[i]; i++)
		CHECK_OK(aqm_config_set(config, settings[i]));
	CHECK_OK(aqm_config_check(config));
}
