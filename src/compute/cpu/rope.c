/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rotary position embedding (Su et al., 2021).
 */
#include <math.h>

#include "compute/cpu/cpu.h"

/* Turn the pairs (2i, 2i+1) of one head. */
AQM_CLONES static void turn_adjacent(int64_t pairs, const float *restrict cosine, const float *restrict sine,
                                     float *restrict x)
{
	for (int64_t i = 0; i < pairs; i++) {
		float a = x[2 * i], b = x[2 * i + 1];

		x[2 * i] = a * cosine[i] - b * sine[i];
		x[2 * i + 1] = a * sine[i] + b * cosine[i];
	}
}

/* Turn the pairs (i, i + pairs) of one head. */
AQM_CLONES static void turn_halves(int64_t pairs, const float *restrict cosine, const float *restrict sine,
                                   float *restrict low, float *restrict high)
{
	for (int64_t i = 0; i < pairs; i++) {
		float a = low[i], b = high[i];

		low[i] = a * cosine[i] - b * sine[i];
		high[i] = a * sine[i] + b * cosine[i];
	}
}

void aqm_cpu_rope(aqm_device *device, struct aqm_mat x, int64_t tokens, int64_t head_dim,
                  const struct aqm_place *places, struct aqm_mat inverse_frequency, enum aqm_rope_pairs pairs,
                  bool backward)
{
	const float *frequency = inverse_frequency.data;
	int64_t count = inverse_frequency.cols;
	int64_t stride, positions = places ? x.rows : tokens; /* all windows share theirs unless they have places */
	float *table;                                         /* (positions, 2 count): cosines, then sines */

	if (x.rows == 0 || !aqm_cpu_scratch(device, 1, positions * 2 * count, &table, &stride))
		return;
#pragma omp parallel if (aqm_cpu_large(x))
	{
#pragma omp for schedule(static)
		for (int64_t p = 0; p < positions; p++) {
			int64_t position = places ? places[p / tokens].past + p % tokens : p;

			for (int64_t i = 0; i < count; i++) {
				float angle = (float)position * frequency[i];

				table[p * 2 * count + i] = cosf(angle);
				table[p * 2 * count + count + i] = backward ? -sinf(angle) : sinf(angle);
			}
		}
#pragma omp for schedule(static)
		for (int64_t r = 0; r < x.rows; r++) {
			const float *cosine = table + r % positions * 2 * count, *sine = cosine + count;

			for (float *head = aqm_row(x, r); head < aqm_row(x, r) + x.cols; head += head_dim)
				if (pairs == AQM_ROPE_ADJACENT)
					turn_adjacent(count, cosine, sine, head);
				else
					turn_halves(count, cosine, sine, head, head + count);
		}
	}
}
