/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Random numbers from Random123's Philox4x32-10, counter-based: a number is a pure function of (seed, stream, index),
 * so a resumed run draws what an undisturbed one would have drawn, and the GPU can draw the same.
 */
#ifndef AQM_BASE_RANDOM_H
#define AQM_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* One independent stream an aim, so that adding a draw in one place moves nothing in another. Never renumber. */
enum aqm_stream {
	AQM_STREAM_INIT = 1,     /* parameter initialisation; sub = parameter index */
	AQM_STREAM_SAMPLER = 2,  /* windows of an epoch; sub = epoch */
	AQM_STREAM_DROPOUT = 3,  /* LoRA dropout; sub = step */
	AQM_STREAM_SYNTH = 4,    /* synthetic models; sub = tensor index */
	AQM_STREAM_DECIDE = 5,   /* sampled actions */
	AQM_STREAM_SIM = 6,      /* the simulator; sub = who draws */
	AQM_STREAM_COLLECT = 7,  /* what a collected run is like; sub = run */
	AQM_STREAM_DISTILL = 8,  /* students: initialisation and order of rows; sub = 1 + epoch */
	AQM_STREAM_TEST = 100,
};

struct aqm_rng {
	uint32_t key[2];     /* seed */
	uint32_t stream;
	uint32_t sub;
	uint64_t index;      /* next 32-bit word */
	uint32_t block[4];   /* the block that holds word `index` when index % 4 != 0 */
};

void aqm_rng_init(struct aqm_rng *rng, uint64_t seed, enum aqm_stream stream, uint32_t sub);
uint32_t aqm_rng_u32(struct aqm_rng *rng);
/* Uniform in [0, 1), 24 bits. */
float aqm_rng_uniform(struct aqm_rng *rng);
/* Standard normal (Box-Muller, double inside). */
float aqm_rng_normal(struct aqm_rng *rng);
/* Uniform in [0, n), without bias (Lemire); n > 0. */
uint64_t aqm_rng_below(struct aqm_rng *rng, uint64_t n);
/* Fisher-Yates. */
void aqm_rng_shuffle(struct aqm_rng *rng, size_t *items, size_t count);
/* The four words of one block: a pure function, for parallel and device use.
 * counter = {lo(index), hi(index), stream, sub} */
void aqm_philox(uint64_t seed, uint32_t stream, uint32_t sub, uint64_t block_index, uint32_t out[4]);

#endif
