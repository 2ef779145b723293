/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

static const enum aqm_dtype types[] = {AQM_F32,  AQM_F16,  AQM_BF16, AQM_Q8_0, AQM_Q4_0, AQM_Q4_1,
                                       AQM_Q5_0, AQM_Q5_1, AQM_Q4_K, AQM_Q5_K, AQM_Q6_K};

/* Of the sums in bfloat16: nothing is rounded but the weights of types that are expanded. */
static double error_of(enum aqm_dtype w, enum aqm_dtype x)
{
	bool kept = w == AQM_BF16 || w == AQM_Q8_0 || w == AQM_Q4_0;

	return x == AQM_BF16 && !kept ? rounded_once : 10 * exact;
}

static void check_linear_few(enum aqm_dtype type, int64_t n, int64_t out, int64_t in, struct layout x_layout,
                             struct layout y_layout)
{
	struct twin w = random_weight(type, out, in), x = random_twin(n, in, x_layout, 1);
	struct twin y = poisoned_twin(n, out, y_layout);
	double error = error_of(type, x_layout.dtype) + (y_layout.dtype == AQM_BF16 ? rounded_once : 0);

	BOTH(linear_few, OF(x), OF(w), 0.0f, OF(y));
	check_twin(aqm_dtype_name(type), y, error);
	cpu->ops->linear_few(cpu, x.cpu, w.cpu, 0.5f, y.cpu);
	gpu->ops->linear_few_int8(gpu, x.gpu, w.gpu, 0.5f, y.gpu); /* rounds nothing there */
	check_twin("linear_few, adding", y, 2 * error);
	free_twin(w);
	free_twin(x);
	free_twin(y);
}

static void test_types(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		for (int layout = 0; layout < LAYOUTS; layout++) {
			int64_t block = (int64_t)aqm_dtype_traits(types[i])->block;
			int64_t in = block * size_up_to(block > 32 ? 3 : block == 32 ? 20 : 300);

			check_linear_few(types[i], size_up_to(16), size_up_to(50), in, layout_of(layout), layout_of(layout / 2));
			/* whole chunks for the tensor cores */
			check_linear_few(types[i], size_up_to(16), size_up_to(50), (in + 255) / 256 * 256, layout_of(layout & 2),
			                 layout_of(layout));
		}
}

static void test_every_number_of_rows(void **state)
{
	(void)state;
	for (int64_t n = 1; n <= 16; n++) {
		check_linear_few(AQM_BF16, n, 17, 96, layout_of(2), layout_of(0));
		check_linear_few(AQM_Q4_0, n, 16, 320, layout_of(2), layout_of(3));
		check_linear_few(AQM_Q8_0, n, 5, 32, layout_of(2), layout_of(0));
		check_linear_few(AQM_F32, n, 9, 33, layout_of(0), layout_of(1));
	}
}

int run_few_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_every_number_of_rows),
	};

	return cmocka_run_group_tests_name("linear_few", tests, NULL, NULL);
}
