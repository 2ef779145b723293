/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For the tests of the CUDA column: every matrix lives twice, in float32 for the CPU's op and in float32 or bfloat16
 * on the GPU, with the same numbers; outputs are poisoned on both sides; what an op gives is compared by ||gpu -
 * cpu|| / ||cpu||.
 */
#ifndef AQM_TESTS_CUDA_HELPER_H
#define AQM_TESTS_CUDA_HELPER_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "base/random.h"
#include "compute/device.h"

extern aqm_device *cpu, *gpu;
extern struct aqm_rng rng;

/* Normalised errors that an op may have: float32 sums in another order; one rounding to bfloat16 (2^-8 at most, less
 * than half of that in the norm of many); that, and what follows from the same rounding inside. */
static const double exact = 3e-6, rounded_once = 4e-3, rounded_often = 8e-3;

struct twin {
	struct aqm_mat cpu, gpu;
};

/* Types and strides to test with, i = 0 ..: dense float32; float32 with rows at odd places; dense bfloat16; bfloat16
 * with rows at odd places. */
enum { LAYOUTS = 4 };
struct layout {
	enum aqm_dtype dtype;
	int64_t pad;
};
struct layout layout_of(int i);
/* exact for float32, else `bfloat`. */
double tolerance_of(enum aqm_dtype dtype, double bfloat);

/* Normally distributed times `scale`, numbers that both types have; a canary behind each row. */
struct twin random_twin(int64_t rows, int64_t cols, struct layout layout, double scale);
/* The same numbers, dense in float32: weights, biases, statistics. */
struct twin random_f32(int64_t rows, int64_t cols, double scale);
/* NaN: what an op has not written shows. */
struct twin poisoned_twin(int64_t rows, int64_t cols, struct layout layout);
/* A weight of any type, dense: any bits are blocks of one, but their scales stay below 2. */
struct twin random_weight(enum aqm_dtype dtype, int64_t rows, int64_t cols);
/* Host memory as an op of either device reads it. Freed by free_shared(). */
struct shared {
	const void *cpu;
	void *gpu;
};
struct shared shared_of(const void *host, size_t bytes);
void free_shared(struct shared s);
/* Places of `windows` caches of `capacity` rows each, which hold up to `past` already. */
void draw_places(struct aqm_place *places, int64_t windows, int64_t capacity, int64_t past);
struct twin absent_twin(void);
struct twin cols_of(struct twin t, int64_t first, int64_t count);
struct twin rows_of(struct twin t, int64_t first, int64_t count);
/* Of twins that were made, not of parts of them. */
void free_twin(struct twin t);
/* ||gpu - cpu|| <= tolerance ||cpu||, no NaN, what lies between rows untouched. */
void check_twin(const char *what, struct twin t, double tolerance);
/* The GPU's elements as floats, dense; from malloc. */
float *downloaded(struct aqm_mat m);
/* Whether to test with the sizes of real training too: on a GPU, unless AQM_TEST_SMALL is set (for sanitizers). */
bool takes_large(void);
/* Uniform in [1, n]. */
int64_t size_up_to(int64_t n);

/* An op on both devices: BOTH(axpy, 2.0f, OF(x), OF(y)). */
#define OF(twin) (side ? (twin).gpu : (twin).cpu)
#define BOTH(op, ...)                    \
	for (int side = 0; side < 2; side++) \
	(side ? gpu : cpu)->ops->op(side ? gpu : cpu, __VA_ARGS__)

/* The tests of attention and of linear_few; how many failed. */
int run_attention_tests(void);
int run_few_tests(void);

#endif
