/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Activation functions.
 */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

AQM_CLONES static void swiglu_row(int64_t n, const float *gate, const float *restrict up, float *y)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++)
		y[i] = gate[i] * aqm_sigmoid(gate[i]) * up[i];
}

AQM_CLONES static void swiglu_row_backward(int64_t n, const float *restrict dy, const float *gate, const float *up,
                                           float *dgate, float *dup)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++) {
		float g = gate[i], u = up[i], s = aqm_sigmoid(g);

		dup[i] = dy[i] * g * s;
		dgate[i] = dy[i] * u * s * (1.0f + g * (1.0f - s));
	}
}

/* GELU by tanh (Hendrycks & Gimpel, 2016): x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
static const float gelu_slope = 1.59576912161f, gelu_cubic = 0.044715f; /* 2 sqrt(2/pi) */

AQM_CLONES static void gelu_tanh_row(int64_t n, const float *x, float *y)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++)
		y[i] = x[i] * aqm_sigmoid(gelu_slope * x[i] * (1.0f + gelu_cubic * x[i] * x[i]));
}

AQM_CLONES static void gelu_tanh_row_backward(int64_t n, const float *dy, const float *x, float *dx)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++) {
		float square = x[i] * x[i];
		float s = aqm_sigmoid(gelu_slope * x[i] * (1.0f + gelu_cubic * square));

		dx[i] = dy[i] * (s + x[i] * s * (1.0f - s) * gelu_slope * (1.0f + 3.0f * gelu_cubic * square));
	}
}

/* GELU by tanh in front of a product. */
AQM_CLONES static void geglu_row(int64_t n, const float *gate, const float *restrict up, float *y)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++)
		y[i] = gate[i] * aqm_sigmoid(gelu_slope * gate[i] * (1.0f + gelu_cubic * gate[i] * gate[i])) * up[i];
}

AQM_CLONES static void geglu_row_backward(int64_t n, const float *restrict dy, const float *gate, const float *up,
                                          float *dgate, float *dup)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++) {
		float g = gate[i], u = up[i], square = g * g;
		float s = aqm_sigmoid(gelu_slope * g * (1.0f + gelu_cubic * square));

		dup[i] = dy[i] * g * s;
		dgate[i] = dy[i] * u * (s + g * s * (1.0f - s) * gelu_slope * (1.0f + 3.0f * gelu_cubic * square));
	}
}

void aqm_cpu_glu_forward(aqm_device *device, enum aqm_glu kind, struct aqm_mat gate, struct aqm_mat up,
                         struct aqm_mat y)
{
	(void)device;
	/* An exponential for each element: worth other threads sooner than a copy. */
#pragma omp parallel for schedule(static) if (4 * y.rows * y.cols > AQM_CPU_SERIAL)
	for (int64_t r = 0; r < y.rows; r++)
		(kind == AQM_SWIGLU ? swiglu_row : geglu_row)(y.cols, aqm_row(gate, r), aqm_row(up, r), aqm_row(y, r));
}

void aqm_cpu_glu_backward(aqm_device *device, enum aqm_glu kind, struct aqm_mat dy, struct aqm_mat gate,
                          struct aqm_mat up, struct aqm_mat dgate, struct aqm_mat dup)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(dy))
	for (int64_t r = 0; r < dy.rows; r++)
		(kind == AQM_SWIGLU ? swiglu_row_backward : geglu_row_backward)(
			dy.cols, aqm_row(dy, r), aqm_row(gate, r), aqm_row(up, r), aqm_row(dgate, r), aqm_row(dup, r));
}

/* GELU with the normal distribution itself: x Phi(x). */
static void gelu_erf_row(int64_t n, const float *x, float *y)
{
	for (int64_t i = 0; i < n; i++)
		y[i] = 0.5f * x[i] * erfcf(-0.70710678f * x[i]);
}

static void gelu_erf_row_backward(int64_t n, const float *dy, const float *x, float *dx)
{
	for (int64_t i = 0; i < n; i++)
		dx[i] = dy[i] * (0.5f * erfcf(-0.70710678f * x[i]) + x[i] * 0.39894228f * expf(-0.5f * x[i] * x[i]));
}

/* ReLU is a leaky one of slope 0; written so that NaN stays NaN. */
AQM_CLONES static void leaky_row(int64_t n, float slope, const float *x, float *y)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++)
		y[i] = x[i] < 0.0f ? slope * x[i] : x[i];
}

AQM_CLONES static void leaky_row_backward(int64_t n, float slope, const float *dy, const float *x, float *dx)
{
	AQM_INDEPENDENT
	for (int64_t i = 0; i < n; i++)
		dx[i] = x[i] > 0.0f ? dy[i] : slope * dy[i];
}

void aqm_cpu_activation_forward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat x,
                                struct aqm_mat y)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(y))
	for (int64_t r = 0; r < y.rows; r++) {
		const float *in = aqm_row(x, r);
		float *out = aqm_row(y, r);

		switch (kind) {
		case AQM_GELU_TANH:
			gelu_tanh_row(y.cols, in, out);
			break;
		case AQM_GELU_ERF:
			gelu_erf_row(y.cols, in, out);
			break;
		case AQM_RELU:
			leaky_row(y.cols, 0.0f, in, out);
			break;
		case AQM_LEAKY_RELU:
			leaky_row(y.cols, slope, in, out);
			break;
		}
	}
}

void aqm_cpu_activation_backward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat dy,
                                 struct aqm_mat x, struct aqm_mat dx)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(dx))
	for (int64_t r = 0; r < dx.rows; r++) {
		const float *gradient = aqm_row(dy, r), *in = aqm_row(x, r);
		float *out = aqm_row(dx, r);

		switch (kind) {
		case AQM_GELU_TANH:
			gelu_tanh_row_backward(dx.cols, gradient, in, out);
			break;
		case AQM_GELU_ERF:
			gelu_erf_row_backward(dx.cols, gradient, in, out);
			break;
		case AQM_RELU:
			leaky_row_backward(dx.cols, 0.0f, gradient, in, out);
			break;
		case AQM_LEAKY_RELU:
			leaky_row_backward(dx.cols, slope, gradient, in, out);
			break;
		}
	}
}
