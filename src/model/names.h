/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The two names of every tensor: what GGUF calls it, and what the published weights (transformers) call it. One table
 * an architecture, in its descriptor file; read by the converter (weights in), by the PEFT export (adapters out) and by
 * the PEFT import (adapters in), so that a name is written once.
 *
 * A name is a pattern: '%' stands for the layer's number. Published names are those of the whole language model; a file
 * of the bare transformer has them without the first component ("model.", "transformer."). Two rows with one GGUF name
 * are alternatives, the first that a file has counts. A row without a GGUF name is known and not needed.
 */
#ifndef AQM_MODEL_NAMES_H
#define AQM_MODEL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

/* How the published matrix lies, compared with GGUF's (out, in). */
enum aqm_layout {
	AQM_LAYOUT_SAME,
	AQM_LAYOUT_TRANSPOSED, /* (in, out): GPT-2's Conv1D; PEFT's fan_in_fan_out */
	AQM_LAYOUT_PERMUTED_Q, /* GGUF interleaves the halves of each query head (llama) */
	AQM_LAYOUT_PERMUTED_K, /* the same for key heads */
};

/* Lengths that a tensor's dimensions have, by the model's shape. */
enum aqm_extent {
	AQM_EXTENT_ONE, /* rows of a vector */
	AQM_EXTENT_WIDTH,
	AQM_EXTENT_HEADS,
	AQM_EXTENT_Q,   /* heads * head_dim */
	AQM_EXTENT_KV,  /* key-value heads * head_dim */
	AQM_EXTENT_QKV, /* q, k and v fused */
	AQM_EXTENT_FFN,
	AQM_EXTENT_VOCABULARY,
	AQM_EXTENT_POSITIONS, /* rows of the table of learned positions */
	AQM_EXTENT_BUCKETS,   /* of relative positions */
	AQM_EXTENTS
};

struct aqm_tensor_name {
	const char *gguf;           /* "blk.%.attn_q.weight" */
	const char *hf;             /* "model.layers.%.self_attn.q_proj.weight" */
	enum aqm_extent rows, cols; /* of the GGUF tensor: (out, in); a vector has ONE row */
	enum aqm_layout layout;
	bool optional;
};

/* The table of an architecture ("llama"); NULL when there is none of that name. */
const struct aqm_tensor_name *aqm_tensor_names(const char *architecture, size_t *count);
/* The first row with this GGUF pattern, or NULL. */
const struct aqm_tensor_name *aqm_tensor_name_find(const char *architecture, const char *gguf);
/* The pattern with the layer's number in it. False when it does not fit. */
bool aqm_tensor_name_expand(char *out, size_t size, const char *pattern, int64_t layer);
/* Whether `name` is of the pattern; then *layer is its number, -1 for a pattern without one. */
bool aqm_tensor_name_match(const char *pattern, const char *name, int64_t *layer);
/* The row of one tensor of a model, by its GGUF name; of alternatives, the one that fits the model. NULL when it has no
 * published name. *layer as above. */
const struct aqm_tensor_name *aqm_tensor_name_of(const aqm_gguf *model, const char *gguf, int64_t *layer);
/* The published row that is row `row` of the GGUF matrix: where halves of a head interleave, rows 2j and 2j + 1 of a
 * head were its rows j and D/2 + j. */
static inline int64_t aqm_published_row(enum aqm_layout layout, int64_t head_dim, int64_t row)
{
	const int64_t within = row % head_dim;

	if (layout != AQM_LAYOUT_PERMUTED_Q && layout != AQM_LAYOUT_PERMUTED_K)
		return row;
	return row - within + within % 2 * (head_dim / 2) + within / 2;
}

#endif
