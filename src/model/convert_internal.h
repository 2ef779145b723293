/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The two halves of a published model: what config.json says (convert_config.c), and its tensors, in one file or in
 * shards (convert_weights.c). convert.c joins them.
 */
#ifndef AQM_MODEL_CONVERT_INTERNAL_H
#define AQM_MODEL_CONVERT_INTERNAL_H

#include "gguf/safetensors.h"
#include "model/names.h"

/* ---- config.json ---- */

enum aqm_rope_scaling { AQM_ROPE_PLAIN, AQM_ROPE_LINEAR, AQM_ROPE_LLAMA3 };

struct aqm_hf_config {
	const struct aqm_hf_kind *kind;
	const char *architecture; /* of the GGUF file: "llama" */
	char name[128];           /* as published ("meta-llama/Llama-2-7b-hf"); "" when not said */
	int64_t layers, decoder_layers;
	int64_t extents[AQM_EXTENTS];
	int64_t heads, kv_heads, head_dim, context;
	bool head_dim_given;
	double epsilon;
	bool tied;  /* the token table is also the LM head */
	bool gated; /* two matrices side by side in the feed-forward half */
	struct {
		double base, factor, low, high; /* low, high: Llama-3's frequency factors */
		enum aqm_rope_scaling scaling;
		int64_t original_context;
	} rope;
	int64_t start_token; /* of a decoder */
};

/* Read and range-check; `name` is used in messages. AQM_EDATA for a model that cannot be converted. */
int aqm_hf_config_parse(struct aqm_hf_config *config, const char *text, size_t bytes, const char *name);
/* The metadata <architecture>.*; aqm_hf_config_parse() must have succeeded. */
int aqm_hf_config_write(const struct aqm_hf_config *config, aqm_gguf_writer *writer);
/* Llama-3: what to divide the rotary frequencies by, head_dim / 2 numbers. */
void aqm_hf_rope_factors(const struct aqm_hf_config *config, float *factors);

/* ---- tensors ---- */

/* model.safetensors.index.json: in which shard a tensor is. */
struct aqm_hf_index {
	void *json;    /* owns the strings */
	char **shards; /* names of files in the same folder, each once; not owned */
	size_t shard_count;
};
int aqm_hf_index_parse(struct aqm_hf_index *index, const char *text, size_t bytes, const char *name);
/* The shard of a tensor, or NULL. */
const char *aqm_hf_index_find(const struct aqm_hf_index *index, const char *tensor);
void aqm_hf_index_release(struct aqm_hf_index *index);

struct aqm_hf_source {
	const struct aqm_safetensors_tensor *tensor;
	const aqm_safetensors_reader *file;
	bool known; /* needed, or known not to be */
};

struct aqm_hf_weights {
	aqm_safetensors_reader **files;
	size_t file_count;
	struct aqm_hf_source *sources; /* by name */
	size_t count;
};

/* model.safetensors, or the shards of model.safetensors.index.json. */
int aqm_hf_weights_open(struct aqm_hf_weights *weights, const char *folder);
void aqm_hf_weights_release(struct aqm_hf_weights *weights);
/* NULL when absent. */
struct aqm_hf_source *aqm_hf_weights_find(const struct aqm_hf_weights *weights, const char *name);

#endif
