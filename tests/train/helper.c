/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "base/thread.h"

enum { ROWS = 90 };

static char scratch[64], came_from[4096];

static void save_pool(const char *path, uint32_t which)
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	static double values[4][ROWS];
	const double *const columns[] = {values[0], values[1], values[2], values[3]};
	const size_t episodes[] = {0, 50};
	uint8_t actions[ROWS];
	struct aqm_rng rng;
	aqm_pool *pool;
	double delay = 15000;

	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, which);
	for (size_t i = 0; i < ROWS; i++) {
		delay = fabs(15000 + 0.8 * (delay - 15000) + 4000.0 * (double)aqm_rng_normal(&rng));
		values[0][i] = floor(delay);
		values[1][i] = floor(delay * 20000.0);
		values[2][i] = floor(delay * 12.5);
		values[3][i] = aqm_rng_below(&rng, 3) ? 1500 : 60;
		actions[i] = delay > 20000 ? AQM_DROP : delay > 12000 ? AQM_MARK : AQM_ENQUEUE;
	}
	CHECK_OK(aqm_pool_from_columns(&pool, ROWS, 4, names, columns, actions, actions, 2, episodes));
	CHECK_OK(aqm_pool_save(pool, path));
	aqm_pool_free(pool);
}

int scratch_enter(void **state)
{
	(void)state;
	assert_non_null(getcwd(came_from, sizeof came_from));
	strcpy(scratch, "/tmp/test_train_XXXXXX");
	assert_non_null(mkdtemp(scratch));
	assert_int_equal(chdir(scratch), 0);
	aqm_threads_set(1);
	save_pool("train.h5", 0);
	save_pool("eval.h5", 1);
	return 0;
}

int scratch_leave(void **state)
{
	(void)state;
	aqm_interrupt_raise(false);
	assert_int_equal(chdir(came_from), 0);
	return aqm_remove_tree(scratch);
}

void small_config(struct aqm_config *config, const char *const *settings)
{
	static const char *const common[] = {
		"policy.features=[current_qdelay, drop_prob, len_bytes, pkt_len]",
		"policy.sequences=[current_qdelay, len_bytes]",
		"policy.window=6",
		"policy.kernel=3",
		"policy.encoder_width=8",
		"lora.rank=3",
		"lora.alpha=6",
		"lora.dropout=0.1",
		"seed=7",
		"train.epochs=3",
		"train.windows=4",
		"train.lr=0.003",
		"pool.train=train.h5",
		"pool.eval=eval.h5",
		"reward.horizon=10",
		NULL,
	};
	char path[1024];

	CHECK_OK(aqm_config_init(config));
	for (size_t i = 0; common[i]; i++)
		CHECK_OK(aqm_config_set(config, common[i]));
	snprintf(path, sizeof path, "model.path=%s/tests/golden/policy/llama.gguf", AQM_SOURCE_DIR);
	CHECK_OK(aqm_config_set(config, path));
	for (size_t i = 0; settings && settings[i]; i++)
		CHECK_OK(aqm_config_set(config, settings[i]));
	CHECK_OK(aqm_config_check(config));
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
