/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A small policy with adapters that matter, to be exported, and what reads it back.
 */
#ifndef TEST_EXPORT_HELPER_H
#define TEST_EXPORT_HELPER_H

#include "../helper_policy.h"

#include <jansson.h>

#include "aqmtrain/export.h"

/* fixture_init() for 4 windows, with every trained number random, the adapters' B too. */
void fixture_random(struct fixture *f, const char *base, const char *const *settings, bool training);
/* All trained numbers anew, by names: the same in every policy that has a parameter of that name and shape.
 * "policy.*" only, or all. */
void randomise(aqm_policy *policy, bool own_only);
/* Largest difference between the logits of all rows of f and those of `other`, a policy of the same encoder. */
float logits_difference(struct fixture *f, aqm_policy *other);
/* Values of a parameter, which must exist. CPU memory. */
const float *param(aqm_policy *policy, const char *name);
/* A (r, in) or B (out, r) of an adapter, which must exist. */
const float *factor_a(aqm_policy *policy, int64_t layer, enum aqm_target target);
const float *factor_b(aqm_policy *policy, int64_t layer, enum aqm_target target);

/* ---- safetensors, read back ---- */

struct tensors {
	json_t *header;
	char *file;
	const char *data;
	size_t bytes;
};
/* Checks the frame: header length, padding, offsets that tile the data. */
void tensors_open(struct tensors *t, const char *path);
void tensors_release(struct tensors *t);
/* Numbers of a tensor of that shape; rows 0: a vector. Fails when it is not there. */
const float *tensors_find(const struct tensors *t, const char *name, int64_t rows, int64_t cols);

void write_text(const char *path, const char *text);
/* Does the file hold exactly this text? */
bool holds_text(const char *path, const char *text);
/* No name in the current folder holds ".tmp". */
void assert_nothing_temporary(void);

#endif
