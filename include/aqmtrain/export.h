/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Export of a trained run for deployment elsewhere.
 */
#ifndef AQMTRAIN_EXPORT_H
#define AQMTRAIN_EXPORT_H

#include "aqmtrain/policy.h"
#include "aqmtrain/student.h"

/* Each writes its output whole or not at all; what was there before stays when it fails. 0, AQM_EUSAGE (no such thing
 * for this policy or path), AQM_ERUN, AQM_EINTERRUPTED. */

/* A folder that PEFT's PeftModel.from_pretrained loads: adapter_config.json and adapter_model.safetensors, rows of
 * llama's q and k un-permuted; beside them policy.safetensors (encoder, head, manifest) and README.md. A folder that
 * is there must be empty or an earlier export. Not after full fine-tuning. */
int aqm_export_peft(aqm_policy *policy, const char *folder);
/* A LoRA adapter in GGUF that llama.cpp loads beside the same base. Not after full fine-tuning. */
int aqm_export_gguf_lora(aqm_policy *policy, const char *path);
/* The base with what was trained merged in, as GGUF; matrices keep their type (quantised anew) unless `dtype` (may be
 * NULL) names another. Layers behind model.stop_layer are left out; all else is copied byte for byte. */
int aqm_export_merged(aqm_policy *policy, const char *path, const char *dtype);
/* Everything a decision needs but the base weights, in one file that aqm_policy_load reads: policy.h5's contents,
 * with a manifest. */
int aqm_export_bundle(aqm_policy *policy, const char *path);
/* A student as one freestanding C header: integers, no calls, tables const. Bit for bit what aqm_student_decide says. */
int aqm_export_c_header(const aqm_student *student, const char *path);

#endif
