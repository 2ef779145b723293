/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Synthetic base models: real shapes, names and metadata, random weights. For tests, the demo and measurements.
 */
#ifndef AQM_MODEL_SYNTH_H
#define AQM_MODEL_SYNTH_H

#include <stddef.h>
#include <stdint.h>

#include "aqmtrain/gguf.h"

/* The presets' names, NULL-terminated. */
const char *const *aqm_model_presets(void);
/* Write the preset to `path`, matrices in `type` (position tables and vectors stay f32). Streams: memory does not grow with
 * the model. The same preset, type and seed give the same file on every machine. AQM_EUSAGE for an unknown preset or a type that does not
 * suit it; AQM_EINTERRUPTED when interrupted (nothing is left at `path` then). */
int aqm_model_synth(const char *preset, enum aqm_dtype type, uint64_t seed, const char *path);
/* general.file_type: llama.cpp's number for "mostly this type". */
uint32_t aqm_model_file_type(enum aqm_dtype type);

#endif
