/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Dropout. The mask is a pure function of its numbers, drawn 64 Philox blocks at a time in a form that compilers
 * vectorise (with fewer they unroll the inner loop first, and then do not).
 */
#include "base/random.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { BLOCKS = 64, WORDS = 4 * BLOCKS };

/* Philox4x32-10 (Salmon et al., 2011) of blocks block .. block+63, as aqm_philox does one: word j of block b in out[4b
 * + j]. */
AQM_CLONES static void philox_words(uint64_t seed, uint32_t stream, uint32_t sub, uint64_t block,
                                    uint32_t *restrict out)
{
	uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS];
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

	for (uint32_t b = 0; b < BLOCKS; b++) {
		c0[b] = (uint32_t)(block + b);
		c1[b] = (uint32_t)((block + b) >> 32);
		c2[b] = stream;
		c3[b] = sub;
	}
	for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
		for (int b = 0; b < BLOCKS; b++) {
			uint64_t a = (uint64_t)c0[b] * 0xD2511F53u, d = (uint64_t)c2[b] * 0xCD9E8D57u;

			c0[b] = (uint32_t)(d >> 32) ^ c1[b] ^ k0;
			c2[b] = (uint32_t)(a >> 32) ^ c3[b] ^ k1;
			c1[b] = (uint32_t)d;
			c3[b] = (uint32_t)a;
		}
	for (int b = 0; b < BLOCKS; b++) {
		out[4 * b] = c0[b];
		out[4 * b + 1] = c1[b];
		out[4 * b + 2] = c2[b];
		out[4 * b + 3] = c3[b];
	}
}

AQM_CLONES static void apply(int64_t n, uint32_t threshold, float scale, const uint32_t *words, const float *x,
                             float *y)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++)
		y[i] = words[i] >= threshold ? x[i] * scale : 0.0f;
}

struct mask {
	uint64_t seed, first_block; /* block of word 0 */
	uint32_t step, threshold;
	float scale;
};

/* n elements whose words begin at `word`. */
static void drop(const struct mask *mask, uint64_t word, int64_t n, const float *x, float *y)
{
	while (n > 0) {
		uint32_t words[WORDS];
		int64_t skip = (int64_t)(word % 4), count = n < WORDS - skip ? n : WORDS - skip;

		philox_words(mask->seed, AQM_STREAM_DROPOUT, mask->step, mask->first_block + word / 4, words);
		apply(count, mask->threshold, mask->scale, words + skip, x, y);
		word += (uint64_t)count;
		n -= count;
		x += count;
		y += count;
	}
}

void aqm_cpu_dropout(aqm_device *device, float p, uint64_t seed, uint32_t step, uint32_t ordinal, int64_t first_row,
                     struct aqm_mat x, struct aqm_mat y)
{
	const struct mask mask = {
		.seed = seed,
		.first_block = (uint64_t)ordinal << 32,
		.step = step,
		.threshold = (uint32_t)((double)p * 0x1p32),
		.scale = 1.0f / (1.0f - p),
	};

	const uint64_t first_word = (uint64_t)(first_row * y.cols);

	(void)device;
	if (x.ld == x.cols && y.ld == y.cols) { /* one long row: cut where whole batches of words end */
		int64_t n = y.rows * y.cols, piece = 16 * WORDS;

#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
		for (int64_t first = 0; first < n; first += piece)
			drop(&mask, first_word + (uint64_t)first, n - first < piece ? n - first : piece, (const float *)x.data + first,
			     (float *)y.data + first);
		return;
	}
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++)
		drop(&mask, first_word + (uint64_t)(r * y.cols), y.cols, aqm_row(x, r), aqm_row(y, r));
}
