/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A training that does not fit: how much is missing, and settings that each make it fit, as planned.
 */
#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/thread.h"
#include "model/synth.h"

static int leave(void **state)
{
	aqm_device_limit(SIZE_MAX);
	return scratch_leave(state);
}

static int train_with(const char *run, const char *const *settings, const char *more)
{
	struct aqm_config config;

	small_config(&config, settings);
	CHECK_OK(aqm_config_set(&config, "train.epochs=1"));
	if (more)
		CHECK_OK(aqm_config_set(&config, more));
	CHECK_OK(aqm_remove_tree(run));
	int code = aqm_train(&config, run, &(struct aqm_train_options){0});

	aqm_config_release(&config);
	return code;
}

/* Bytes that a training needs: the message tells, when nothing is free. */
static double needed_mb(const char *const *settings, const char *more)
{
	double needed = 0;

	aqm_device_limit(0);
	assert_int_equal(train_with("run", settings, more), AQM_ERUN);
	assert_int_equal(sscanf(aqm_error_message(), "the training needs %lf MB", &needed), 1);
	assert_non_null(strstr(aqm_error_message(), "neither train.windows"));
	return needed;
}

static void limit_to(double megabytes)
{
	aqm_device_limit((size_t)(megabytes * 1e6));
}

/* The number behind a text of the last message; -1: it is not there. */
static double said(const char *text)
{
	const char *at = strstr(aqm_error_message(), text);
	double number = -1;

	return at && sscanf(at + strlen(text), "%lf", &number) == 1 ? number : -1;
}

static const char *const many[] = {"train.windows=24", "model.path=base.gguf", "lora.rank=2", NULL};

static void make_base(void)
{
	CHECK_OK(aqm_model_synth("tiny-llama", AQM_F32, 1, "base.gguf"));
}

static void test_fewer_windows(void **state)
{
	char fits[64], fails[64];

	(void)state;
	make_base();
	double all = needed_mb(many, NULL), one = needed_mb(many, "train.windows=1");
	assert_true(one < all);
	limit_to((all + one) / 2);
	assert_int_equal(train_with("run", many, NULL), AQM_ERUN);
	assert_true(fabs(said("the machine's memory, ") - (all - one) / 2) < 0.11); /* what is missing */
	int windows = (int)said("train.windows: ");
	assert_true(windows > 1 && windows < 24);
	snprintf(fits, sizeof fits, "train.windows=%d", windows);
	snprintf(fails, sizeof fails, "train.windows=%d", windows + 1);
	CHECK_OK(train_with("run", many, fits));
	assert_int_equal(train_with("run", many, fails), AQM_ERUN);
}

static void test_checkpoints(void **state)
{
	(void)state;
	make_base();
	double all = needed_mb(many, NULL), kept = needed_mb(many, "train.checkpoint_activations=true");
	assert_true(kept < all);
	limit_to(kept + 0.1);
	assert_int_equal(train_with("run", many, NULL), AQM_ERUN);
	assert_true(fabs(said("train.checkpoint_activations: true (") - kept) < 0.11);
	CHECK_OK(train_with("run", many, "train.checkpoint_activations=true"));
	limit_to(kept - 0.1);
	assert_int_equal(train_with("run", many, NULL), AQM_ERUN);
	assert_true(said("train.checkpoint_activations: true (") < 0); /* it would not be enough */
}

static void test_quantised_base(void **state)
{
	static const char *const one[] = {"train.windows=1", "model.path=base.gguf", "lora.rank=2", NULL},
							 *const full[] = {"train.windows=1", "model.path=base.gguf", "lora.rank=0", NULL};

	(void)state;
	make_base();
	double all = needed_mb(one, NULL);
	CHECK_OK(aqm_model_synth("tiny-llama", AQM_Q4_0, 1, "small.gguf"));
	double small = needed_mb(one, "model.path=small.gguf");
	assert_true(small < all - 0.2);
	limit_to(small + 0.1);
	assert_int_equal(train_with("run", one, NULL), AQM_ERUN);
	assert_true(fabs(said("the base as q4_0 (") - small) < 0.11); /* the plan of a file that is not there is that of the file */
	CHECK_OK(train_with("run", one, "model.path=small.gguf"));
	aqm_device_limit(1000);
	assert_int_equal(train_with("run", full, NULL), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "neither"));
}

static void test_both(void **state)
{
	(void)state;
	make_base();
	double kept = needed_mb(many, "train.checkpoint_activations=true");
	static const char *const least[] = {"train.windows=1", "model.path=base.gguf", "lora.rank=2", NULL};
	double smallest = needed_mb(least, "train.checkpoint_activations=true"), one = needed_mb(least, NULL);
	assert_true(smallest < one && one < kept);
	limit_to((smallest + one) / 2); /* neither alone */
	assert_int_equal(train_with("run", many, NULL), AQM_ERUN);
	assert_true(said("or with the base as") < 0 && said("train.checkpoint_activations: true (") < 0);
	assert_int_equal((int)said("train.checkpoint_activations: true and train.windows: "), 1);
}

static void test_available(void **state)
{
	(void)state;
	assert_true(aqm_memory_available() > 1 << 20);
	make_base();
	limit_to(needed_mb(many, NULL) + 1);
	CHECK_OK(train_with("run", many, NULL));
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_enter_pools, leave)
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_fewer_windows), IN_SCRATCH(test_checkpoints), IN_SCRATCH(test_quantised_base),
		IN_SCRATCH(test_both),          IN_SCRATCH(test_available),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
