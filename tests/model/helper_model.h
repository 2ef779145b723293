/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A model opened for a test: device, base, parameters, activations.
 */
#ifndef TESTS_MODEL_HELPER_MODEL_H
#define TESTS_MODEL_HELPER_MODEL_H

#include "../check.h"

#include "base/arena.h"
#include "model/model.h"

struct fixture {
	aqm_device *device;
	aqm_gguf *gguf;
	struct aqm_params params;
	aqm_model *model;
	struct aqm_arena arena;
	int64_t windows, tokens, width;
};

/* Opens `path` and carves for training (or, with options.frozen, for inference). */
/* Whether the device of the next fixture claims memory of its own, as a GPU has it. */
extern bool fixture_own_memory;
void fixture_open(struct fixture *f, const char *path, const struct aqm_model_options *options, int64_t windows,
                  int64_t tokens);
void fixture_close(struct fixture *f);
/* x <- forward(x), B*T*d floats. */
void fixture_forward(struct fixture *f, float *x, bool training, uint32_t step);
/* Uniform in [-1, 1), the same for the same seed. */
void fixture_noise(float *x, size_t count, uint64_t seed);
/* Every parameter by noise of this size, so that LoRA's B is not zero. */
void fixture_randomise(struct fixture *f, float size);
/* Largest difference over the largest magnitude of b. */
double difference(const float *a, const float *b, size_t count);

#endif
