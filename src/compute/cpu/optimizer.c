/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Gradient norm and AdamW over one long vector.
 */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

AQM_CLONES static double sum_squares_chunk(const float *x, size_t n)
{
	double lanes[AQM_LANES] = {0};
	size_t i = 0;

	for (; i + AQM_LANES <= n; i += AQM_LANES)
		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] += (double)x[i + (size_t)l] * (double)x[i + (size_t)l];
	for (int l = 0; i < n; i++, l++)
		lanes[l] += (double)x[i] * (double)x[i];
	for (int width = AQM_LANES / 2; width > 0; width /= 2)
		for (int l = 0; l < width; l++)
			lanes[l] += lanes[l + width];
	return lanes[0];
}

/* The vector is cut into at most CHUNKS pieces by its length alone, and their sums are added in order. */
double aqm_cpu_sum_squares(aqm_device *device, const float *x, size_t n)
{
	enum { CHUNKS = 1024, SHORTEST = 4096 };
	double sums[CHUNKS], total = 0.0;
	size_t length = (n + CHUNKS - 1) / CHUNKS;

	if (length < SHORTEST)
		length = SHORTEST;
	size_t count = (n + length - 1) / length;

	(void)device;
#pragma omp parallel for schedule(static) if (n > AQM_CPU_SERIAL)
	for (size_t i = 0; i < count; i++)
		sums[i] = sum_squares_chunk(x + i * length, i + 1 < count ? length : n - i * length);
	for (size_t i = 0; i < count; i++)
		total += sums[i];
	return total;
}

struct adamw {
	float gradient_scale, beta1, beta2, epsilon;
	float keep;               /* 1 - lr weight_decay */
	float rate;               /* lr / correction1 */
	float inverse_correction; /* 1 / sqrt(correction2) */
};

AQM_CLONES static void adamw_chunk(size_t n, const struct adamw *p, float *restrict x, const float *restrict g,
                                   float *restrict m, float *restrict v)
{
	const struct adamw a = *p;

	for (size_t i = 0; i < n; i++) {
		float gradient = a.gradient_scale * g[i];
		float first = a.beta1 * m[i] + (1.0f - a.beta1) * gradient;
		float second = a.beta2 * v[i] + (1.0f - a.beta2) * gradient * gradient;

		m[i] = first;
		v[i] = second;
		x[i] = a.keep * x[i] - a.rate * first / (sqrtf(second) * a.inverse_correction + a.epsilon);
	}
}

void aqm_cpu_adamw(aqm_device *device, size_t n, float *x, const float *g, float *m, float *v, float gradient_scale,
                   float lr, float beta1, float beta2, float epsilon, float weight_decay, float correction1,
                   float correction2)
{
	enum { CHUNK = 1 << 14 };
	const struct adamw parameters = {
		.gradient_scale = gradient_scale,
		.beta1 = beta1,
		.beta2 = beta2,
		.epsilon = epsilon,
		.keep = (float)(1.0 - (double)lr * (double)weight_decay),
		.rate = (float)((double)lr / (double)correction1),
		.inverse_correction = (float)(1.0 / sqrt((double)correction2)),
	};

	(void)device;
#pragma omp parallel for schedule(static) if (n > AQM_CPU_SERIAL)
	for (size_t first = 0; first < n; first += CHUNK)
		adamw_chunk(n - first < CHUNK ? n - first : CHUNK, &parameters, x + first, g + first, m + first, v + first);
}
