/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as config.json, and as model.safetensors.index.json: what opens keeps its promises. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/convert_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool right)
{
	if (!right)
		abort();
}

static void check_config(const struct aqm_hf_config *c)
{
	static float factors[1 << 11];

	insist(c->architecture && memchr(c->name, 0, sizeof c->name));
	insist(c->layers > 0 && c->decoder_layers >= 0 && c->heads > 0 && c->kv_heads > 0 && c->head_dim > 0);
	for (int i = 0; i < AQM_EXTENTS; i++)
		insist(c->extents[i] >= 0 && c->extents[i] <= INT32_MAX);
	if (c->rope.scaling != AQM_ROPE_LLAMA3)
		return;
	insist((size_t)c->head_dim / 2 <= sizeof factors / sizeof *factors);
	aqm_hf_rope_factors(c, factors);
	for (int64_t i = 0; i < c->head_dim / 2; i++)
		insist(!isnan(factors[i]));
}

static void check_index(struct aqm_hf_index *index)
{
	for (size_t i = 0; i < index->shard_count; i++)
		insist(*index->shards[i] && !strchr(index->shards[i], '/') && strcmp(index->shards[i], "..") != 0);
	(void)aqm_hf_index_find(index, "model.embed_tokens.weight");
	aqm_hf_index_release(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_hf_config config;
	struct aqm_hf_index index;

	if (aqm_hf_config_parse(&config, (const char *)data, size, "config.json") == AQM_OK)
		check_config(&config);
	if (aqm_hf_index_parse(&index, (const char *)data, size, "model.safetensors.index.json") == AQM_OK)
		check_index(&index);
	return 0;
}
