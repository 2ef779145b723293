/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

struct norm {
	bool centred; /* LayerNorm, else RMSNorm */
	int64_t rows, cols;
	double epsilon;
};

/* in: x (rows, cols), weight, bias (cols each; the bias unused by RMSNorm); out: y. */
static void norm_reference(const void *context, const double *in, double *out)
{
	const struct norm *n = context;
	const double *weight = in + n->rows * n->cols, *bias = weight + n->cols;

	for (int64_t r = 0; r < n->rows; r++) {
		const double *x = in + r * n->cols;
		double mean = 0.0, square = 0.0;

		for (int64_t c = 0; n->centred && c < n->cols; c++)
			mean += x[c] / (double)n->cols;
		for (int64_t c = 0; c < n->cols; c++)
			square += (x[c] - mean) * (x[c] - mean) / (double)n->cols;
		for (int64_t c = 0; c < n->cols; c++)
			out[r * n->cols + c] = (x[c] - mean) / sqrt(square + n->epsilon) * weight[c] + (n->centred ? bias[c] : 0.0);
	}
}

static void check_norm(bool centred, int64_t rows, int64_t cols, bool with_residual, bool frozen)
{
	const struct norm n = {centred, rows, cols, 1e-5};
	size_t count = (size_t)(rows * cols), inputs = count + 2 * (size_t)cols;
	struct aqm_mat x = random_mat(rows, cols, 3, 2), residual = random_mat(rows, cols, 1, 1),
				   weight = random_mat(1, cols, 0, 1), bias = random_mat(1, cols, 0, 1),
				   y = poisoned_mat(rows, cols, 2), mean = poisoned_mat(1, rows, 0), rstd = poisoned_mat(1, rows, 0),
				   dy = random_mat(rows, cols, 4, 1), dx = random_mat(rows, cols, 5, 1),
				   dweight = random_mat(1, cols, 0, 1), dbias = random_mat(1, cols, 0, 1), none = aqm_mat_absent();
	double *in = new_doubles(inputs), *out = new_doubles(count), *gradient = new_doubles(inputs),
		   *upstream = doubles(dy);
	double *before[] = {doubles(dx), doubles(dweight), doubles(dbias)};

	if (centred)
		ops->layernorm_forward(device, x, with_residual ? residual : none, weight, bias, (float)n.epsilon, y, mean,
		                       rstd);
	else
		ops->rmsnorm_forward(device, x, with_residual ? residual : none, weight, (float)n.epsilon, y, rstd);
	for (int64_t c = 0; c < cols; c++) {
		in[count + (size_t)c] = (double)*at(weight, 0, c);
		in[count + (size_t)(cols + c)] = (double)*at(bias, 0, c);
	}
	for (int64_t i = 0; i < rows * cols; i++) /* x now holds the sum */
		in[i] = (double)*at(x, i / cols, i % cols);
	norm_reference(&n, in, out);
	check_close(y, out, 1e-5);

	finite_differences(norm_reference, &n, inputs, in, count, upstream, gradient);
	for (size_t i = 0; i < count; i++)
		gradient[i] += before[0][i];
	for (size_t c = 0; c < (size_t)cols; c++) {
		gradient[count + c] += before[1][c];
		gradient[count + (size_t)cols + c] += before[2][c];
	}
	if (centred)
		ops->layernorm_backward(device, dy, x, weight, mean, rstd, dx, frozen ? none : dweight, frozen ? none : dbias);
	else
		ops->rmsnorm_backward(device, dy, x, weight, rstd, dx, frozen ? none : dweight);
	check_close(dx, gradient, 2e-4);
	check_close(dweight, frozen ? before[1] : gradient + count, 1e-4);
	check_close(dbias, frozen || !centred ? before[2] : gradient + count + cols, 1e-4);

	struct aqm_mat all[] = {x, residual, weight, bias, y, mean, rstd, dy, dx, dweight, dbias};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free_mat(all[i]);
	free(in);
	free(out);
	free(gradient);
	free(upstream);
	for (int i = 0; i < 3; i++)
		free(before[i]);
}

static void test_norms(void **state)
{
	static const int64_t shapes[][2] = {{1, 2}, {3, 5}, {2, 33}, {5, 64}, {1, 131}};

	(void)state;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
		for (int flags = 0; flags < 8; flags++)
			check_norm(flags & 1, shapes[s][0], shapes[s][1], flags & 2, flags & 4);
}

/* The residual sum, and more rows and columns than one group, against the reference alone. */
static void test_residual_and_groups(void **state)
{
	const struct norm n = {true, 150, 300, 1e-6};
	struct aqm_mat x = random_mat(n.rows, n.cols, 0, 1), residual = random_mat(n.rows, n.cols, 0, 1),
				   weight = random_mat(1, n.cols, 0, 1), bias = random_mat(1, n.cols, 0, 1),
				   y = poisoned_mat(n.rows, n.cols, 0), mean = poisoned_mat(1, n.rows, 0),
				   rstd = poisoned_mat(1, n.rows, 0), dy = random_mat(n.rows, n.cols, 0, 1),
				   dx = random_mat(n.rows, n.cols, 0, 1), dweight = new_mat(1, n.cols, 0),
				   dbias = new_mat(1, n.cols, 0);
	double *sum = doubles(x), *weights = new_doubles((size_t)n.cols), *biases = new_doubles((size_t)n.cols);

	(void)state;
	ops->zero(device, dweight);
	ops->zero(device, dbias);
	ops->layernorm_forward(device, x, residual, weight, bias, (float)n.epsilon, y, mean, rstd);
	for (int64_t i = 0; i < n.rows * n.cols; i++)
		sum[i] += (double)*at(residual, i / n.cols, i % n.cols);
	check_close(x, sum, 1e-6);
	ops->layernorm_backward(device, dy, x, weight, mean, rstd, dx, dweight, dbias);
	for (int64_t i = 0; i < n.rows * n.cols; i++) {
		int64_t r = i / n.cols, c = i % n.cols;

		weights[c] += (double)*at(dy, r, c) * (sum[i] - (double)*at(mean, 0, r)) * (double)*at(rstd, 0, r);
		biases[c] += (double)*at(dy, r, c);
	}
	check_close(dweight, weights, 1e-5);
	check_close(dbias, biases, 1e-5);

	struct aqm_mat all[] = {x, residual, weight, bias, y, mean, rstd, dy, dx, dweight, dbias};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free_mat(all[i]);
	free(sum);
	free(weights);
	free(biases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_norms),
		cmocka_unit_test(test_residual_and_groups),
	};

	return cmocka_run_group_tests(tests, open_device, close_device);
}
