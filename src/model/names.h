/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The two names of every tensor: what GGUF calls it, and what the published weights (transformers) call it. One table an
 * architecture, in its descriptor file; read by the converter (weights in), by the PEFT export (adapters out) and by the
 * PEFT import (adapters in), so that a name is written once.
 */
#ifndef AQM_MODEL_NAMES_H
#define AQM_MODEL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include "model/model.h"

/* How the published matrix lies, compared with GGUF's (out, in). */
enum aqm_layout {
	AQM_LAYOUT_SAME,
	AQM_LAYOUT_TRANSPOSED, /* (in, out): GPT-2's Conv1D; PEFT's fan_in_fan_out */
	AQM_LAYOUT_PERMUTED_Q, /* GGUF interleaves the halves of each query head (llama) */
	AQM_LAYOUT_PERMUTED_K, /* the same for key heads */
};

struct aqm_tensor_name {
	const char *gguf; /* "blk.%.attn_q.weight": % is the layer's number */
	const char *hf;   /* "model.layers.%.self_attn.q_proj.weight" */
	enum aqm_layout layout;
	bool optional;
};

#endif
