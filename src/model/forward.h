/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A base model on embeddings from a file: to compare with other implementations.
 */
#ifndef AQM_MODEL_FORWARD_H
#define AQM_MODEL_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "aqmtrain/config.h"

struct aqm_forward_options {
	const char *model;   /* GGUF */
	const char *input;   /* HDF5: dataset `embeddings` (B, T, d), float32 or float64 */
	const char *output;  /* HDF5: dataset `hidden` (B, T, d), float32 */
	const char *adapter; /* as aqm_adapter_file_open() takes it; NULL: the plain base */
	enum aqm_device_kind device;
	int64_t stop_layer; /* 0 = all */
	bool bidirectional; /* of t5, as struct aqm_model_options has it */
	int64_t chunk;      /* tokens that go into a cache at a time, as decisions do; 0: whole windows at once */
};

/* Hidden states behind the last norm, some windows at a time. The output appears whole or not at all. 0, AQM_EUSAGE,
 * AQM_EDATA (also embeddings that are not finite), AQM_ERUN, AQM_EINTERRUPTED. */
int aqm_forward_file(const struct aqm_forward_options *options);

#endif
