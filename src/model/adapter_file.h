/* SPDX-License-Identifier: BSD-2-Clause
 *
 * LoRA adapters from files: what PEFT (huggingface/peft) saves, a folder with adapter_config.json and
 * adapter_model.safetensors; or a GGUF adapter, as llama.cpp reads it.
 *
 * A file has one pair of factors a base tensor; the model adapts the parts of gpt2's fused q, k, v one by one, each with
 * a pair of its own. A pair (A, B) of the whole goes into the parts in one of two forms:
 *
 *     blocks   A = [A_1; ..; A_n], B_i in the rows of part i and the columns of A_i, else 0: what we export
 *     shared   each part i has all of A, and its rows of B: any other
 */
#ifndef AQM_MODEL_ADAPTER_FILE_H
#define AQM_MODEL_ADAPTER_FILE_H

#include "model/model.h"

typedef struct aqm_adapter_file aqm_adapter_file;

/* `path`: the folder, or the GGUF file; for the model `base`, which must outlive it. What would not be reproduced (DoRA,
 * saved modules, biases, ...), what is not of this base and what is damaged is AQM_EDATA. */
int aqm_adapter_file_open(aqm_adapter_file **out, const char *path, aqm_gguf *base);
void aqm_adapter_file_free(aqm_adapter_file *file);
/* SHA-256 of the file that holds the factors. */
int aqm_adapter_file_digest(aqm_adapter_file *file, char hex[65]);

/* The settings of LoRA that hold the adapter: rank, alpha, rslora and targets of `options`, whose stop_layer counts.
 * Where ranks differ the largest holds them all. AQM_EDATA with the names of factors that have no place. */
int aqm_adapter_file_options(const aqm_adapter_file *file, aqm_device *device, struct aqm_model_options *options);

/* Into the parameters of a model of `base`, which are allocated. `exactly`: the model's rank, scale and targets must be
 * the adapter's (AQM_EUSAGE, with the settings that would be), so that an export has the same numbers; else factors of
 * lower rank are filled up by zeros, and other scales go into B. Adapted matrices for which the file has nothing keep
 * their values. */
int aqm_adapter_file_load(const aqm_adapter_file *file, aqm_model *model, struct aqm_params *params, bool exactly);

#endif
