/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Checkpoints: what is written comes back; damage is seen; nothing is lost when writing fails.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>

#include "base/file.h"
#include "helper.h"
#include "train/checkpoint.h"

struct blocks {
	aqm_device *device;
	struct aqm_params params;
	struct aqm_optimizer optimizer;
	struct aqm_train_state state;
};

static void blocks_init(struct blocks *b, int64_t cols)
{
	*b = (struct blocks){0};
	CHECK_OK(aqm_device_open(&b->device, AQM_DEVICE_CPU));
	aqm_params_init(&b->params, b->device);
	assert_int_equal(aqm_params_add(&b->params, "one", 5, cols, AQM_INIT_NORMAL, 1, true), 0);
	assert_int_equal(aqm_params_add(&b->params, "two", 1, 3, AQM_INIT_NORMAL, 1, false), 1);
	CHECK_OK(aqm_params_allocate(&b->params, true, 1));
	CHECK_OK(aqm_optimizer_init(&b->optimizer, &b->params));
	for (size_t i = 0; i < b->params.floats; i++) {
		b->optimizer.m[i] = (float)i;
		b->optimizer.v[i] = 0.5f * (float)i;
	}
	b->state = (struct aqm_train_state){
		.step = 12, .epochs_closed = 3, .metrics_bytes = 77, .elapsed = 1.5, .best_score = -0.25};
	strcpy(b->state.config, "abc");
	CHECK_OK(aqm_params_layout(&b->params, b->state.layout));
}

static void blocks_release(struct blocks *b)
{
	aqm_optimizer_release(&b->optimizer);
	aqm_params_release(&b->params);
	aqm_device_close(b->device);
}

static void assert_same_blocks(const struct blocks *a, const struct blocks *b)
{
	size_t bytes = a->params.floats * sizeof(float);

	assert_memory_equal(a->params.values, b->params.values, bytes);
	assert_memory_equal(a->optimizer.m, b->optimizer.m, bytes);
	assert_memory_equal(a->optimizer.v, b->optimizer.v, bytes);
}

static void wipe(struct blocks *b)
{
	memset(b->params.values, 0, b->params.floats * sizeof(float));
	memset(b->optimizer.m, 0, b->params.floats * sizeof(float));
	memset(b->optimizer.v, 0, b->params.floats * sizeof(float));
}

static void test_round_trip(void **state)
{
	struct blocks a, b;
	bool found;

	(void)state;
	blocks_init(&a, 70000); /* more than one chunk */
	blocks_init(&b, 70000);
	CHECK_OK(aqm_checkpoint_read("run", &b.state, &b.optimizer, &found));
	assert_false(found);
	CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 2));
	wipe(&b);
	memset(&b.state, 0, sizeof b.state);
	CHECK_OK(aqm_checkpoint_read("run", &b.state, &b.optimizer, &found));
	assert_true(found);
	assert_memory_equal(&a.state, &b.state, sizeof a.state);
	assert_same_blocks(&a, &b);
	blocks_release(&a);
	blocks_release(&b);
}

static void test_prune_and_replace(void **state)
{
	struct blocks a;

	(void)state;
	blocks_init(&a, 4);
	for (a.state.step = 8; a.state.step <= 12; a.state.step += 2)
		CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 2));
	assert_false(aqm_path_exists("run/checkpoints/step-8"));
	assert_true(aqm_path_exists("run/checkpoints/step-10/state"));
	assert_true(aqm_path_exists("run/checkpoints/step-12/state"));
	a.state.step = 10; /* as after a resume from there: what came later is not of this run any more */
	a.state.elapsed = 9;
	CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 2));
	assert_false(aqm_path_exists("run/checkpoints/step-12"));
	bool found;
	CHECK_OK(aqm_checkpoint_read("run", &a.state, &a.optimizer, &found));
	assert_true(found && a.state.step == 10 && a.state.elapsed == 9);
	blocks_release(&a);
}

static void test_damage(void **state)
{
	static const char path[] = "run/checkpoints/step-12/state";
	struct blocks a;
	char *data;
	size_t bytes;
	bool found;

	(void)state;
	blocks_init(&a, 4);
	CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 1));
	CHECK_OK(aqm_file_read(path, 1 << 20, &data, &bytes));
	for (size_t i = 0; i < bytes; i++) {
		data[i] = (char)(data[i] ^ 16);
		CHECK_OK(aqm_file_write(path, data, bytes));
		assert_int_equal(aqm_checkpoint_read("run", &a.state, &a.optimizer, &found), AQM_EDATA);
		assert_false(found);
		data[i] = (char)(data[i] ^ 16);
	}
	for (size_t n = 0; n < bytes; n += 37) {
		CHECK_OK(aqm_file_write(path, data, n));
		assert_int_equal(aqm_checkpoint_read("run", &a.state, &a.optimizer, &found), AQM_EDATA);
	}
	free(data);
	CHECK_OK(aqm_file_write("run/checkpoints/latest", "../../x\n", 8));
	assert_int_equal(aqm_checkpoint_read("run", &a.state, &a.optimizer, &found), AQM_EDATA);
	blocks_release(&a);
}

static void test_other_layout(void **state)
{
	struct blocks a, b;
	bool found;

	(void)state;
	blocks_init(&a, 16);
	blocks_init(&b, 8);
	CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 1));
	assert_int_equal(aqm_checkpoint_read("run", &b.state, &b.optimizer, &found), AQM_EDATA);
	blocks_release(&a);
	blocks_release(&b);
}

static void test_not_finite(void **state)
{
	struct blocks a, b;
	bool found;

	(void)state;
	blocks_init(&a, 4);
	blocks_init(&b, 4);
	CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 2));
	b.state.step = 13;
	b.optimizer.v[2] = NAN;
	assert_int_equal(aqm_checkpoint_write("run", &b.state, &b.optimizer, 2), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "step 13"));
	CHECK_OK(aqm_checkpoint_read("run", &b.state, &b.optimizer, &found));
	assert_true(found && b.state.step == 12);
	assert_same_blocks(&a, &b);
	blocks_release(&a);
	blocks_release(&b);
}

/* A disk that is full, played by a limit on the size of files. */
static void test_full_disk(void **state)
{
	struct blocks a, b;
	struct rlimit before, small;
	bool found;

	(void)state;
	blocks_init(&a, 70000);
	blocks_init(&b, 70000);
	CHECK_OK(aqm_checkpoint_write("run", &a.state, &a.optimizer, 1));
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 300000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	b.state.step = 13;
	assert_int_equal(aqm_checkpoint_write("run", &b.state, &b.optimizer, 1), AQM_ERUN);
	b.state.step = 12;
	assert_int_equal(aqm_checkpoint_write("run", &b.state, &b.optimizer, 1), AQM_ERUN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_false(aqm_path_exists("run/checkpoints/step-13"));
	wipe(&b);
	CHECK_OK(aqm_checkpoint_read("run", &b.state, &b.optimizer, &found));
	assert_true(found && b.state.step == 12);
	assert_same_blocks(&a, &b);
	blocks_release(&a);
	blocks_release(&b);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_enter_pools, scratch_leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_round_trip),   IN_SCRATCH(test_prune_and_replace), IN_SCRATCH(test_damage),
		IN_SCRATCH(test_other_layout), IN_SCRATCH(test_not_finite),        IN_SCRATCH(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
