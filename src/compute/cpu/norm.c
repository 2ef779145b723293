/* SPDX-License-Identifier: BSD-2-Clause
 *
 * RMSNorm (Zhang & Sennrich, 2019) and LayerNorm (Ba, Kiros & Hinton, 2016), forward and backward, a row at a time: a
 * row stays in the first cache while it is read twice.
 */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

AQM_CLONES static void add_residual(int64_t n, const float *restrict residual, float *restrict x)
{
	for (int64_t i = 0; i < n; i++)
		x[i] += residual[i];
}

/* y = x w / rms(x); returns 1 / rms(x). */
AQM_CLONES static float rmsnorm_row(int64_t n, const float *restrict x, const float *restrict weight, float epsilon,
                                    float *restrict y)
{
	float rstd = 1.0f / sqrtf(aqm_dot(x, x, n) / (float)n + epsilon);

	for (int64_t i = 0; i < n; i++)
		y[i] = x[i] * rstd * weight[i];
	return rstd;
}

void aqm_cpu_rmsnorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                             float epsilon, struct aqm_mat y, struct aqm_mat rstd)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t r = 0; r < x.rows; r++) {
		if (residual.data)
			add_residual(x.cols, aqm_row(residual, r), aqm_row(x, r));
		((float *)rstd.data)[r] = rmsnorm_row(x.cols, aqm_row(x, r), weight.data, epsilon, aqm_row(y, r));
	}
}

/* With h = x rstd and g = dy w: dx += rstd (g - h mean(g h)). */
AQM_CLONES static void rmsnorm_row_backward(int64_t n, const float *restrict dy, const float *restrict x,
                                            const float *restrict weight, float rstd, float *restrict dx)
{
	float lanes[AQM_LANES] = {0};
	int64_t i = 0;

	for (; i + AQM_LANES <= n; i += AQM_LANES)
		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] += dy[i + l] * weight[i + l] * x[i + l];
	for (int l = 0; i < n; i++, l++)
		lanes[l] += dy[i] * weight[i] * x[i];
	float along = aqm_fold(lanes) * rstd * rstd / (float)n;

	for (i = 0; i < n; i++)
		dx[i] += rstd * (dy[i] * weight[i] - x[i] * along);
}

enum { COLUMNS = 128, GROUP = 64 };

/* dweight += sum over rows of dy (x - mean) rstd, dbias += sum of dy, for up to COLUMNS columns, in groups of rows.
 * mean NULL: 0; dbias may be NULL. */
AQM_CLONES static void weight_columns(int64_t rows, int64_t columns, const float *restrict dy, int64_t dy_ld,
                                      const float *restrict x, int64_t x_ld, const float *mean, const float *rstd,
                                      float *restrict dweight, float *restrict dbias)
{
	for (int64_t first = 0; first < rows; first += GROUP) {
		int64_t last = rows - first < GROUP ? rows : first + GROUP;
		float weights[COLUMNS] = {0}, biases[COLUMNS] = {0};

		for (int64_t r = first; r < last; r++) {
			float centre = mean ? mean[r] : 0.0f, scale = rstd[r];

			for (int64_t c = 0; c < columns; c++) {
				weights[c] += dy[r * dy_ld + c] * ((x[r * x_ld + c] - centre) * scale);
				biases[c] += dy[r * dy_ld + c];
			}
		}
		for (int64_t c = 0; c < columns; c++)
			dweight[c] += weights[c];
		for (int64_t c = 0; dbias && c < columns; c++)
			dbias[c] += biases[c];
	}
}

/* Threads share out columns: each column is summed by one of them, in order. */
static void weight_backward(struct aqm_mat dy, struct aqm_mat x, const float *mean, const float *rstd, float *dweight,
                            float *dbias)
{
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t first = 0; first < x.cols; first += COLUMNS) {
		int64_t columns = x.cols - first < COLUMNS ? x.cols - first : COLUMNS;

		weight_columns(x.rows, columns, aqm_row(dy, 0) + first, dy.ld, aqm_row(x, 0) + first, x.ld, mean, rstd,
		               dweight + first, dbias ? dbias + first : NULL);
	}
}

void aqm_cpu_rmsnorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                              struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t r = 0; r < x.rows; r++)
		rmsnorm_row_backward(x.cols, aqm_row(dy, r), aqm_row(x, r), weight.data, ((const float *)rstd.data)[r],
		                     aqm_row(dx, r));
	if (dweight.data)
		weight_backward(dy, x, NULL, rstd.data, dweight.data, NULL);
}

AQM_CLONES static void layernorm_row(int64_t n, const float *restrict x, const float *restrict weight,
                                     const float *restrict bias, float epsilon, float *restrict y, float *mean,
                                     float *rstd)
{
	float lanes[AQM_LANES] = {0};
	float centre = aqm_sum(x, n) / (float)n;
	int64_t i = 0;

	for (; i + AQM_LANES <= n; i += AQM_LANES)
		for (int l = 0; l < AQM_LANES; l++)
			lanes[l] += (x[i + l] - centre) * (x[i + l] - centre);
	for (int l = 0; i < n; i++, l++)
		lanes[l] += (x[i] - centre) * (x[i] - centre);
	float scale = 1.0f / sqrtf(aqm_fold(lanes) / (float)n + epsilon);

	for (i = 0; i < n; i++)
		y[i] = (x[i] - centre) * scale * weight[i] + bias[i];
	*mean = centre;
	*rstd = scale;
}

void aqm_cpu_layernorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                               struct aqm_mat bias, float epsilon, struct aqm_mat y, struct aqm_mat mean,
                               struct aqm_mat rstd)
{
	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t r = 0; r < x.rows; r++) {
		if (residual.data)
			add_residual(x.cols, aqm_row(residual, r), aqm_row(x, r));
		layernorm_row(x.cols, aqm_row(x, r), weight.data, bias.data, epsilon, aqm_row(y, r), (float *)mean.data + r,
		              (float *)rstd.data + r);
	}
}

/* With h = (x - mean) rstd and g = dy w: dx += rstd (g - mean(g) - h mean(g h)). */
AQM_CLONES static void layernorm_row_backward(int64_t n, const float *restrict dy, const float *restrict x,
                                              const float *restrict weight, float mean, float rstd, float *restrict dx)
{
	float plain[AQM_LANES] = {0}, along[AQM_LANES] = {0};
	int64_t i = 0;

	for (; i + AQM_LANES <= n; i += AQM_LANES)
		for (int l = 0; l < AQM_LANES; l++) {
			plain[l] += dy[i + l] * weight[i + l];
			along[l] += dy[i + l] * weight[i + l] * (x[i + l] - mean);
		}
	for (int l = 0; i < n; i++, l++) {
		plain[l] += dy[i] * weight[i];
		along[l] += dy[i] * weight[i] * (x[i] - mean);
	}
	float mean_plain = aqm_fold(plain) / (float)n;
	float mean_along = aqm_fold(along) * rstd * rstd / (float)n;

	for (i = 0; i < n; i++)
		dx[i] += rstd * (dy[i] * weight[i] - mean_plain - (x[i] - mean) * mean_along);
}

void aqm_cpu_layernorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                                struct aqm_mat mean, struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight,
                                struct aqm_mat dbias)
{
	const float *means = mean.data, *rstds = rstd.data;

	(void)device;
#pragma omp parallel for schedule(static) if (aqm_cpu_large(x))
	for (int64_t r = 0; r < x.rows; r++)
		layernorm_row_backward(x.cols, aqm_row(dy, r), aqm_row(x, r), weight.data, means[r], rstds[r], aqm_row(dx, r));
	if (dweight.data)
		weight_backward(dy, x, means, rstds, dweight.data, dbias.data);
}
