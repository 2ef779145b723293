/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/random.h"

#include <math.h>

#include <Random123/philox.h>

void aqm_philox(uint64_t seed, uint32_t stream, uint32_t sub, uint64_t block_index, uint32_t out[4])
{
	philox4x32_ctr_t counter = {{(uint32_t)block_index, (uint32_t)(block_index >> 32), stream, sub}};
	philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
	philox4x32_ctr_t block = philox4x32_R(10, counter, key);

	for (int i = 0; i < 4; i++)
		out[i] = block.v[i];
}

void aqm_rng_init(struct aqm_rng *rng, uint64_t seed, enum aqm_stream stream, uint32_t sub)
{
	*rng = (struct aqm_rng){
		.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
		.stream = (uint32_t)stream,
		.sub = sub,
	};
}

uint32_t aqm_rng_u32(struct aqm_rng *rng)
{
	if (rng->index % 4 == 0)
		aqm_philox((uint64_t)rng->key[1] << 32 | rng->key[0], rng->stream, rng->sub, rng->index / 4, rng->block);
	return rng->block[rng->index++ % 4];
}

static uint64_t draw_u64(struct aqm_rng *rng)
{
	uint64_t low = aqm_rng_u32(rng);

	return (uint64_t)aqm_rng_u32(rng) << 32 | low;
}

float aqm_rng_uniform(struct aqm_rng *rng)
{
	return (float)(aqm_rng_u32(rng) >> 8) * 0x1p-24f;
}

float aqm_rng_normal(struct aqm_rng *rng)
{
	double u = ((double)aqm_rng_u32(rng) + 1.0) * 0x1p-32; /* (0, 1]: the logarithm is finite */
	double v = (double)aqm_rng_u32(rng) * 0x1p-32;

	return (float)(sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v));
}

/* D. Lemire, "Fast random integer generation in an interval" (2019): the high word of draw * n, redrawn where the low
 * word falls into the uneven rest. */
uint64_t aqm_rng_below(struct aqm_rng *rng, uint64_t n)
{
	unsigned __int128 product = (unsigned __int128)draw_u64(rng) * n;

	if ((uint64_t)product < n) {
		uint64_t rest = -n % n;

		while ((uint64_t)product < rest)
			product = (unsigned __int128)draw_u64(rng) * n;
	}
	return (uint64_t)(product >> 64);
}

void aqm_rng_shuffle(struct aqm_rng *rng, size_t *items, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = (size_t)aqm_rng_below(rng, i);
		size_t item = items[i - 1];

		items[i - 1] = items[j];
		items[j] = item;
	}
}
