/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Export of a trained run for deployment elsewhere.
 */
#ifndef AQMTRAIN_EXPORT_H
#define AQMTRAIN_EXPORT_H

#include "aqmtrain/policy.h"

/* A folder that PEFT's PeftModel.from_pretrained loads: adapter_config.json and adapter_model.safetensors; rows of llama's q and k un-permuted. */
int aqm_export_peft(aqm_policy *policy, const char *folder);
/* A LoRA adapter in GGUF that llama.cpp loads beside the same base. */
int aqm_export_gguf_lora(aqm_policy *policy, const char *path);
/* The base with the adapter merged in, as GGUF; matrices keep their type (quantised anew) unless `dtype` names another. */
int aqm_export_merged(aqm_policy *policy, const char *path, const char *dtype);
/* Everything a decision needs but the base weights, in one file (policy.h5's contents, with a manifest). */
int aqm_export_bundle(aqm_policy *policy, const char *path);

#endif
