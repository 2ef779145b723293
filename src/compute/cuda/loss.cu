/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Losses. Rows are few and classes fewer: one block, in double, and the sum comes back.
 */
#include "compute/cuda/kernel.cuh"

static __global__ void __launch_bounds__(AQM_THREADS)
	cross_entropy_kernel(int64_t rows, int64_t classes, struct view logits, const int32_t *label, const float *weight,
                         struct view dlogits, double *loss)
{
	__shared__ double room[AQM_WARPS];
	double total = 0.0, sum = 0.0;

	for (int64_t r = threadIdx.x; r < rows; r += AQM_THREADS)
		total += label[r] >= 0 ? (double)weight[label[r]] : 0.0;
	total = block_sum(total, room);
	for (int64_t r = threadIdx.x; r < rows; r += AQM_THREADS) {
		bool counted = label[r] >= 0 && total > 0.0;
		double share = counted ? (double)weight[label[r]] / total : 0.0, lse = 0.0, powers = 0.0;
		float highest = load_one(logits, r, 0);

		for (int64_t c = 1; counted && c < classes; c++) {
			float x = load_one(logits, r, c);

			highest = x > highest ? x : highest;
		}
		for (int64_t c = 0; counted && c < classes; c++)
			powers += exp((double)load_one(logits, r, c) - (double)highest);
		if (counted) {
			lse = (double)highest + log(powers);
			sum += share * (lse - (double)load_one(logits, r, label[r]));
		}
		for (int64_t c = 0; dlogits.data && c < classes; c++)
			store_one(dlogits, r, c,
			          counted
			              ? (float)(share * (exp((double)load_one(logits, r, c) - lse) - (c == label[r] ? 1.0 : 0.0)))
			              : 0.0f);
	}
	sum = block_sum(sum, room);
	if (threadIdx.x == 0)
		*loss = sum;
}

/* One double that a kernel leaves, in borrowed memory. */
static double fetch(aqm_device *device, const double *from)
{
	double value = 0.0;

	aqm_cuda_download(device, &value, from, sizeof value);
	return value;
}

double aqm_cuda_cross_entropy(aqm_device *device, struct aqm_mat logits, const int32_t *label, const float *weight,
                              struct aqm_mat dlogits)
{
	size_t label_bytes = (size_t)logits.rows * sizeof *label;
	double *loss = (double *)aqm_cuda_scratch(device, AQM_SCRATCH_SUMS, sizeof *loss);

	if (logits.rows == 0 || !loss)
		return 0.0;
	const char *staged =
		(const char *)aqm_cuda_stage(device, label, label_bytes, weight, (size_t)logits.cols * sizeof *weight);

	if (!staged)
		return 0.0;
	launch(device, "cross_entropy", dim3(1), AQM_THREADS, 0, cross_entropy_kernel, logits.rows, logits.cols,
	       view_of(logits), (const int32_t *)staged,
	       (const float *)(staged + aqm_pieces((int64_t)label_bytes, 16) * 16), view_of(dlogits), loss);
	return fetch(device, loss);
}

static __global__ void __launch_bounds__(AQM_THREADS)
	squared_error_kernel(int64_t rows, struct view outputs, const int32_t *counts, const float *target,
                         struct view doutputs, double *loss)
{
	__shared__ double room[AQM_WARPS];
	double counted = 0.0, sum = 0.0;

	for (int64_t r = threadIdx.x; r < rows; r += AQM_THREADS)
		counted += counts[r] >= 0 ? 1.0 : 0.0;
	counted = block_sum(counted, room);
	for (int64_t r = threadIdx.x; r < rows; r += AQM_THREADS) {
		double difference = counts[r] >= 0 ? (double)load_one(outputs, r, 0) - (double)target[r] : 0.0;

		sum += difference * difference;
		if (doutputs.data)
			store_one(doutputs, r, 0, counts[r] >= 0 ? (float)(2.0 * difference / counted) : 0.0f);
	}
	sum = block_sum(sum, room);
	if (threadIdx.x == 0)
		*loss = counted > 0.0 ? sum / counted : 0.0;
}

double aqm_cuda_squared_error(aqm_device *device, struct aqm_mat outputs, const int32_t *counts, const float *target,
                              struct aqm_mat doutputs)
{
	size_t count_bytes = (size_t)outputs.rows * sizeof *counts;
	double *loss = (double *)aqm_cuda_scratch(device, AQM_SCRATCH_SUMS, sizeof *loss);

	if (outputs.rows == 0 || !loss)
		return 0.0;
	const char *staged =
		(const char *)aqm_cuda_stage(device, counts, count_bytes, target, (size_t)outputs.rows * sizeof *target);

	if (!staged)
		return 0.0;
	launch(device, "squared_error", dim3(1), AQM_THREADS, 0, squared_error_kernel, outputs.rows, view_of(outputs),
	       (const int32_t *)staged, (const float *)(staged + aqm_pieces((int64_t)count_bytes, 16) * 16),
	       view_of(doutputs), loss);
	return fetch(device, loss);
}
