/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For the tests of ops: random matrices with room behind each row, outputs poisoned beforehand, and references in
 * double.
 */
#ifndef AQM_TESTS_COMPUTE_HELPER_H
#define AQM_TESTS_COMPUTE_HELPER_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/thread.h"
#include "compute/device.h"

extern aqm_device *device;
extern const struct aqm_ops *ops;
extern struct aqm_rng rng;
/* Group fixtures: open and close the CPU device. */
int open_device(void **state);
int close_device(void **state);

/* A float32 matrix with `pad` elements behind each row, which check_padding() expects untouched. */
struct aqm_mat new_mat(int64_t rows, int64_t cols, int64_t pad);
/* Standard normal elements times `scale`. */
struct aqm_mat random_mat(int64_t rows, int64_t cols, int64_t pad, double scale);
/* All elements NaN: what an op has not written shows. */
struct aqm_mat poisoned_mat(int64_t rows, int64_t cols, int64_t pad);
struct aqm_mat copy_mat(struct aqm_mat m);
void free_mat(struct aqm_mat m);
void check_padding(struct aqm_mat m);
float *at(struct aqm_mat m, int64_t row, int64_t col);

/* Dense row-major doubles of a matrix, from malloc. */
double *doubles(struct aqm_mat m);
double *new_doubles(size_t n);
/* Every |m - expected| <= tolerance (1 + |expected|), the padding untouched. */
void check_close(struct aqm_mat m, const double *expected, double tolerance);
void check_same_bits(struct aqm_mat a, struct aqm_mat b);

/* Central differences of L(x) = sum_j weight[j] f_j(x): gradient[i] = dL/dx_i for each of n_in inputs. `f` fills n_out
 * outputs. */
typedef void differentiable(const void *context, const double *in, double *out);
void finite_differences(differentiable *f, const void *context, size_t n_in, double *in, size_t n_out,
                        const double *weight, double *gradient);

#endif
