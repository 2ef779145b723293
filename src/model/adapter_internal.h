/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files behind adapter_file.h share: adapter_peft.c and adapter_gguf.c list the factors, adapter_file.c puts
 * them where they belong.
 */
#ifndef AQM_MODEL_ADAPTER_INTERNAL_H
#define AQM_MODEL_ADAPTER_INTERNAL_H

#include "gguf/safetensors.h"
#include "model/adapter_file.h"
#include "model/names.h"

/* A matrix in one of the two kinds of file. */
struct aqm_factor {
	const struct aqm_safetensors_tensor *tensor;
	const struct aqm_gguf_tensor *gguf;
	int64_t rows, cols; /* 0 rows: not found yet */
};

/* The adapter of one base tensor. */
struct aqm_factor_pair {
	const struct aqm_gguf_tensor *base;
	enum aqm_layout layout; /* how the rows of B lie: published ones are put into GGUF's order */
	const char *shown;      /* its name in the file, of A or B */
	struct aqm_factor a, b; /* (rank, in), (out, rank) */
	double scale;           /* of B A */
};

struct aqm_adapter_file {
	char *path;
	char *factors_path; /* the file with the factors */
	aqm_gguf *base;
	aqm_safetensors_reader *tensors; /* one of the two */
	aqm_gguf *gguf;
	struct aqm_factor_pair *pairs;
	size_t count, capacity;
	double alpha; /* what it says of itself, for messages */
	bool rslora;
	char list[400]; /* names for a message */
	size_t listed;
};

/* A text into the list of a message, which names the first ones and counts on. */
void aqm_adapter_file_list(struct aqm_adapter_file *file, const char *name);
/* The pair of a base tensor, begun if it is new; NULL without memory. */
struct aqm_factor_pair *aqm_adapter_file_pair(struct aqm_adapter_file *file, const struct aqm_gguf_tensor *base);
/* After all are listed: that no name is left over, that each pair is whole and has the shape of its base tensor. */
int aqm_adapter_file_check(struct aqm_adapter_file *file);

/* List the factors; file->base and file->tensors or file->gguf are set. config: adapter_config.json, `name` for
 * messages. */
int aqm_adapter_read_peft(struct aqm_adapter_file *file, const char *config, size_t bytes, const char *name);
int aqm_adapter_read_gguf(struct aqm_adapter_file *file);
/* An adapter from the caller's memory, which must outlive it: of PEFT, or (without config) GGUF. */
int aqm_adapter_file_open_memory(aqm_adapter_file **out, aqm_gguf *base, const char *config, size_t config_bytes,
                                 const void *data, size_t bytes);

#endif
