/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Learning rates, and which parameters decay.
 */
#include <math.h>
#include <string.h>

#include "helper.h"
#include "train/optimizer.h"

static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-12 + 1e-9 * fabs(b);
}

static void test_learning_rate(void **state)
{
	struct aqm_config config = {0};

	(void)state;
	config.train.lr = 2;
	config.train.lr_min = 0.1;
	config.train.warmup = 4;
	config.train.schedule = AQM_SCHEDULE_CONSTANT;
	assert_true(near(aqm_learning_rate(&config, 0, 100), 0.5));
	assert_true(near(aqm_learning_rate(&config, 3, 100), 2));
	assert_true(near(aqm_learning_rate(&config, 99, 100), 2));
	config.train.schedule = AQM_SCHEDULE_LINEAR;
	assert_true(near(aqm_learning_rate(&config, 4, 100), 2));
	assert_true(near(aqm_learning_rate(&config, 99, 100), 0.2));
	assert_true(near(aqm_learning_rate(&config, 4 + 19, 100), 2 - 1.8 * 19 / 95));
	config.train.schedule = AQM_SCHEDULE_COSINE;
	config.train.warmup = 0.1;
	assert_true(near(aqm_learning_rate(&config, 9, 101), 2));
	assert_true(near(aqm_learning_rate(&config, 10, 101), 2));
	assert_true(near(aqm_learning_rate(&config, 55, 101), 1.1));
	assert_true(near(aqm_learning_rate(&config, 100, 101), 0.2));
	for (uint64_t s = 11; s < 101; s++)
		assert_true(aqm_learning_rate(&config, s, 101) < aqm_learning_rate(&config, s - 1, 101));
	config.train.warmup = 0;
	assert_true(near(aqm_learning_rate(&config, 0, 1), 0.2)); /* a single step is the last one */
}

/* With no gradient, only what is to decay moves, by lr x decay of itself. */
static void test_decay(void **state)
{
	struct aqm_config config;
	struct aqm_params params;
	struct aqm_optimizer optimizer;
	aqm_device *device;

	(void)state;
	CHECK_OK(aqm_config_init(&config));
	CHECK_OK(aqm_config_set(&config, "train.weight_decay=0.5"));
	CHECK_OK(aqm_device_open(&device, AQM_DEVICE_CPU));
	aqm_params_init(&params, device);
	for (int i = 0; i < 4; i++) {
		const char *const names[] = {"a", "b", "c", "d"};

		assert_int_equal(aqm_params_add(&params, names[i], 1, 3, AQM_INIT_ONE, 0, i != 1), i);
	}
	CHECK_OK(aqm_params_allocate(&params, true, 1));
	CHECK_OK(aqm_optimizer_init(&optimizer, &params));
	((float *)aqm_params_gradient(&params, 2).data)[1] = 4;
	aqm_optimizer_step(&optimizer, &config, 0, 0.1f, 0.25f);
	for (int64_t i = 0; i < 4; i++)
		for (int k = 0; k < 3; k++) {
			double expected = i == 1 ? 1.0 : 0.95, found = (double)((float *)aqm_params_value(&params, i).data)[k];

			if (i == 2 && k == 1) /* Adam's first step is lr in the gradient's direction */
				expected -= 0.1;
			assert_true(fabs(found - expected) < 1e-6);
		}
	aqm_optimizer_release(&optimizer);
	aqm_params_release(&params);
	aqm_device_close(device);
	aqm_config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_learning_rate), cmocka_unit_test(test_decay)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
