/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Published weights (config.json and safetensors, as transformers saves them) into GGUF: Llama-2 and 3, Mistral, Qwen2,
 * GPT-2, OPT, T5.
 */
#ifndef AQM_MODEL_CONVERT_H
#define AQM_MODEL_CONVERT_H

#include "aqmtrain/gguf.h"

/* Write the model in `folder` to `path`, matrices in `type` (NULL: each as it was published), vectors and tables of
 * positions in float32. Streams, so that memory does not grow with the model. Every tensor that the architecture needs
 * must be there with the shape that config.json gives it, and every tensor that is there must be needed or known to be
 * superfluous: AQM_EDATA with the names otherwise. AQM_EUSAGE when `folder` is no such folder; AQM_EINTERRUPTED when
 * interrupted. Whatever fails, nothing is left at `path`. */
int aqm_model_convert(const char *folder, const struct aqm_dtype_traits *type, const char *path);

#endif
