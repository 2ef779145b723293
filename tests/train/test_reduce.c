/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a backward pass says is complete is complete, and is said once; sums over the GPUs of one process, where there is one.
 */
#include <string.h>

#include "compute/collective.h"
#include "helper.h"
#include "train/reduce.h"

enum { WINDOWS = 2 };

struct told {
	struct aqm_params *params;
	float *seen; /* gradients when they were said to be complete */
	int *times;  /* by parameter */
};

static void note(void *context, int64_t first, int64_t count)
{
	struct told *told = context;

	for (int64_t i = first; i < first + count; i++) {
		const struct aqm_param *param = &told->params->items[i];

		told->times[i]++;
		memcpy(told->seen + param->offset, told->params->gradients + param->offset,
		       (size_t)(param->rows * param->cols) * sizeof(float));
	}
}

static void check_told(const char *base, const char *const *settings)
{
	struct fixture f;

	fixture_init(&f, base, settings, WINDOWS, true);
	struct aqm_params *params = aqm_policy_params(f.policy);
	struct told told = {.params = params,
	                    .seen = test_calloc(params->floats, sizeof(float)),
	                    .times = test_calloc(params->count, sizeof(int))};
	const struct aqm_window windows[WINDOWS] = {{.start = 0, .length = 6}, {.start = SECOND_EPISODE, .length = 6}};
	const float weight[AQM_ACTIONS] = {1, 2, 3};

	params->ready = note;
	params->ready_context = &told;
	aqm_policy_fill(f.policy, &f.rows, windows, NULL, WINDOWS);
	struct aqm_mat logits = aqm_policy_forward(f.policy, true, 0);
	struct aqm_mat dlogits = logits;
	dlogits.data = test_calloc((size_t)(logits.rows * logits.cols), sizeof(float));
	aqm_policy_loss(f.policy, logits, weight, dlogits);
	aqm_policy_backward(f.policy, dlogits, 0);

	size_t blocks = 0;
	for (size_t i = 0; i < params->count; i++) {
		const struct aqm_param *param = &params->items[i];
		bool of_block = strstr(param->name, "blk.") != NULL;

		blocks += of_block;
		assert_true(told.times[i] <= 1);
		if (of_block || strncmp(param->name, "policy.head", 11) == 0)
			assert_int_equal(told.times[i], 1);
		if (told.times[i])
			assert_memory_equal(told.seen + param->offset, params->gradients + param->offset,
			                    (size_t)(param->rows * param->cols) * sizeof(float));
	}
	assert_true(blocks > 0);
	test_free(dlogits.data);
	test_free(told.seen);
	test_free(told.times);
	fixture_release(&f);
}

static void test_llama(void **state)
{
	(void)state;
	check_told("llama.gguf", NULL);
}

static void test_gpt2_in_full(void **state)
{
	(void)state;
	check_told("gpt2-full.gguf", (const char *const[]){"lora.rank=0", NULL});
}

static void test_one_gpu(void **state)
{
	unsigned char id[AQM_COLLECTIVE_ID_BYTES];
	const float values[3] = {1, -2.5f, 1e-20f};
	float back[3] = {0};
	aqm_collective *collective;
	aqm_device *device;
	void *memory;

	(void)state;
	if (aqm_device_open(&device, AQM_DEVICE_CUDA) != AQM_OK) {
		print_message("no GPU: NCCL was not seen\n");
		skip();
	}
	CHECK_OK(aqm_collective_id(id));
	CHECK_OK(aqm_collective_open(&collective, device));
	CHECK_OK(aqm_collective_join(collective, 0, 1, id));
	CHECK_OK(device->ops->allocate(device, sizeof values, &memory));
	device->ops->upload(device, memory, values, sizeof values);
	CHECK_OK(aqm_collective_sum(collective, (float *)memory + 1, 2)); /* two under way */
	CHECK_OK(aqm_collective_sum(collective, memory, 1));
	CHECK_OK(aqm_collective_finish(collective));
	device->ops->download(device, back, memory, sizeof values);
	CHECK_OK(aqm_device_check(device));
	assert_memory_equal(back, values, sizeof values);
	aqm_collective_close(collective);

	/* Left without having been closed: there is nothing to sum in. */
	CHECK_OK(aqm_collective_id(id));
	CHECK_OK(aqm_collective_open(&collective, device));
	CHECK_OK(aqm_collective_join(collective, 0, 1, id));
	CHECK_OK(aqm_collective_sum(collective, memory, 3));
	aqm_collective_leave(collective);
	assert_int_equal(aqm_collective_sum(collective, memory, 3), AQM_ERUN);
	assert_int_equal(aqm_collective_finish(collective), AQM_ERUN);
	aqm_collective_close(collective);
	device->ops->release(device, memory);
	aqm_device_close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llama),
		cmocka_unit_test(test_gpt2_in_full),
		cmocka_unit_test(test_one_gpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
