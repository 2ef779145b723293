/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the benches of models share: a base to measure, and the time by kind of op.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/progress.h"
#include "base/size.h"
#include "cli/bench_model.h"
#include "model/synth.h"

int aqm_bench_base(struct aqm_bench_base *base, const struct aqm_bench *bench, const char *preset, enum aqm_dtype type)
{
	const char *folder = getenv("TMPDIR");

	*base = (struct aqm_bench_base){.temporary = !bench->model};
	if (bench->model) {
		base->path = aqm_strdup(bench->model);
		return base->path ? AQM_OK : AQM_ERUN;
	}
	base->path = aqm_strprintf("%s/aqmtrain-bench-XXXXXX", folder && *folder ? folder : "/tmp");
	if (!base->path)
		return AQM_ERUN;
	int file = mkstemp(base->path);

	if (file < 0) {
		int code = aqm_error_errno(AQM_ERUN, "cannot create '%s'", base->path);

		free(base->path);
		base->path = NULL;
		return code;
	}
	close(file);
	int code = aqm_model_synth(preset, type, 1, base->path);

	if (code != AQM_OK)
		aqm_bench_base_release(base);
	return code;
}

void aqm_bench_base_release(struct aqm_bench_base *base)
{
	if (base->path && base->temporary)
		unlink(base->path);
	free(base->path);
	base->path = NULL;
}

int aqm_bench_configure(const struct aqm_bench *bench, struct aqm_config *config)
{
	int code = aqm_config_init(config);

	if (code == AQM_OK)
		code = aqm_config_set(config, bench->quick ? "lora.rank=8" : "lora.rank=128");
	if (code == AQM_OK)
		code = aqm_config_set(config, bench->quick ? "train.windows=2" : "train.windows=16");
	for (size_t i = 0; code == AQM_OK && i < bench->setting_count; i++)
		code = aqm_config_set(config, bench->settings[i]);
	return code == AQM_OK ? aqm_config_check(config) : code;
}

void aqm_bench_fit(struct aqm_fit *fit, const struct aqm_config *config)
{
	*fit = (struct aqm_fit){.rewards.width = 1.0, .return_scale = 1.0};
	fit->states.kind = config->policy.normaliser;
	fit->states.count = config->policy.features.count;
	for (size_t i = 0; i < AQM_NORMALISED_MAX; i++)
		fit->states.scale[i] = 1.0;
}

/* ---- time by op ---- */

static const struct aqm_ops *real_ops;

#define KIND_MAP(XX)                 \
	XX(OP_GEMM, "gemm")              \
	XX(OP_FEW, "linear_few")         \
	XX(OP_FEW_INT8, "linear_few_int8") \
	XX(OP_EXPAND, "expand")          \
	XX(OP_ATTENTION, "attention")    \
	XX(OP_NORM, "norm")              \
	XX(OP_ROPE, "rope")              \
	XX(OP_ACTIVATION, "activation")  \
	XX(OP_DROPOUT, "dropout")        \
	XX(OP_BIAS, "bias")              \
	XX(OP_MOVE, "move and add")      \
	XX(OP_LOSS, "loss")              \
	XX(OP_OPTIMIZER, "optimizer")

#define XX(kind, name) kind,
enum op { KIND_MAP(XX) OPS };
#undef XX
#define XX(kind, name) name,
static const char *const op_names[OPS] = {KIND_MAP(XX)};
#undef XX

static double op_seconds[OPS];
static unsigned long op_calls[OPS];

typedef struct aqm_mat mat;
typedef aqm_device *on;

/* A function that times the op of the same name. */
#define TIMED(op, kind, parameters, arguments)           \
	static void timed_##op parameters                    \
	{                                                    \
		double start = aqm_clock_seconds();              \
                                                         \
		real_ops->op arguments;                          \
		op_seconds[kind] += aqm_clock_seconds() - start; \
		op_calls[kind]++;                                \
	}


TIMED(gemm, OP_GEMM, (on d, float alpha, mat a, bool ta, mat b, bool tb, float beta, mat c),
      (d, alpha, a, ta, b, tb, beta, c))
TIMED(linear_few, OP_FEW, (on d, mat x, mat w, float beta, mat y), (d, x, w, beta, y))
TIMED(linear_few_int8, OP_FEW_INT8, (on d, mat x, mat w, float beta, mat y), (d, x, w, beta, y))
TIMED(linears_few, OP_FEW, (on d, mat x, bool int8, int count, const mat *w, const mat *y), (d, x, int8, count, w, y))
TIMED(expand, OP_EXPAND, (on d, mat w, mat y), (d, w, y))
TIMED(zero, OP_MOVE, (on d, mat y), (d, y))
TIMED(copy, OP_MOVE, (on d, mat x, mat y), (d, x, y))
TIMED(axpy, OP_MOVE, (on d, float alpha, mat x, mat y), (d, alpha, x, y))
TIMED(gather, OP_MOVE, (on d, mat table, const int32_t *index, bool add, mat y), (d, table, index, add, y))
TIMED(scatter_add, OP_MOVE, (on d, mat dy, const int32_t *index, mat dtable), (d, dy, index, dtable))
TIMED(bias_forward, OP_BIAS, (on d, mat bias, mat y), (d, bias, y))
TIMED(bias_backward, OP_BIAS, (on d, mat dy, mat dbias), (d, dy, dbias))
TIMED(rmsnorm_forward, OP_NORM, (on d, mat x, mat residual, mat weight, float epsilon, mat y, mat rstd),
      (d, x, residual, weight, epsilon, y, rstd))
TIMED(rmsnorm_backward, OP_NORM, (on d, mat dy, mat x, mat weight, mat rstd, mat dx, mat dweight),
      (d, dy, x, weight, rstd, dx, dweight))
TIMED(layernorm_forward, OP_NORM,
      (on d, mat x, mat residual, mat weight, mat bias, float epsilon, mat y, mat mean, mat rstd),
      (d, x, residual, weight, bias, epsilon, y, mean, rstd))
TIMED(layernorm_backward, OP_NORM,
      (on d, mat dy, mat x, mat weight, mat mean, mat rstd, mat dx, mat dweight, mat dbias),
      (d, dy, x, weight, mean, rstd, dx, dweight, dbias))
TIMED(gemm_bias, OP_GEMM, (on d, float alpha, mat a, bool ta, mat b, bool tb, float beta, mat c, mat bias),
      (d, alpha, a, ta, b, tb, beta, c, bias))
TIMED(rope, OP_ROPE,
      (on d, mat x, int64_t tokens, int64_t head_dim, const struct aqm_place *places, mat frequency,
       enum aqm_rope_pairs pairs, bool backward),
      (d, x, tokens, head_dim, places, frequency, pairs, backward))
TIMED(add_positions, OP_MOVE, (on d, mat table, int64_t tokens, const struct aqm_place *places, mat x),
      (d, table, tokens, places, x))
TIMED(append, OP_MOVE, (on d, mat x, int64_t tokens, const struct aqm_place *places, mat y), (d, x, tokens, places, y))
TIMED(attention_forward, OP_ATTENTION, (on d, struct aqm_attention s, mat q, mat k, mat v, mat o, mat lse),
      (d, s, q, k, v, o, lse))
TIMED(attention_backward, OP_ATTENTION,
      (on d, struct aqm_attention s, mat q, mat k, mat v, mat o, mat lse, mat dout, mat dq, mat dk, mat dv,
       mat dbias),
      (d, s, q, k, v, o, lse, dout, dq, dk, dv, dbias))
TIMED(attention_cached, OP_ATTENTION,
      (on d, struct aqm_attention s, const struct aqm_place *places, mat q, mat k, mat v, mat o),
      (d, s, places, q, k, v, o))
TIMED(glu_forward, OP_ACTIVATION, (on d, enum aqm_glu kind, mat gate, mat up, mat y), (d, kind, gate, up, y))
TIMED(glu_backward, OP_ACTIVATION, (on d, enum aqm_glu kind, mat dy, mat gate, mat up, mat dgate, mat dup),
      (d, kind, dy, gate, up, dgate, dup))
TIMED(activation_forward, OP_ACTIVATION, (on d, enum aqm_activation kind, float slope, mat x, mat y),
      (d, kind, slope, x, y))
TIMED(activation_backward, OP_ACTIVATION,
      (on d, enum aqm_activation kind, float slope, mat dy, mat x, mat dx), (d, kind, slope, dy, x, dx))
TIMED(dropout, OP_DROPOUT, (on d, float p, uint64_t seed, uint32_t step, uint32_t ordinal, int64_t first_row, mat x, mat y),
      (d, p, seed, step, ordinal, first_row, x, y))
TIMED(adamw, OP_OPTIMIZER,
      (on d, size_t n, float *x, const float *g, float *m, float *v, float scale, float lr, float beta1,
       float beta2, float epsilon, float decay, float correction1, float correction2),
      (d, n, x, g, m, v, scale, lr, beta1, beta2, epsilon, decay, correction1, correction2))

static double timed_cross_entropy(aqm_device *d, mat logits, const int32_t *label, const float *weight, mat dlogits)
{
	double start = aqm_clock_seconds(), loss = real_ops->cross_entropy(d, logits, label, weight, dlogits);

	op_seconds[OP_LOSS] += aqm_clock_seconds() - start;
	op_calls[OP_LOSS]++;
	return loss;
}

static double timed_sum_squares(aqm_device *d, const float *x, size_t n)
{
	double start = aqm_clock_seconds(), sum = real_ops->sum_squares(d, x, n);

	op_seconds[OP_OPTIMIZER] += aqm_clock_seconds() - start;
	op_calls[OP_OPTIMIZER]++;
	return sum;
}

void aqm_bench_profile_start(aqm_device *device)
{
	static struct aqm_ops ops;

	real_ops = device->ops;
	ops = *real_ops;
#define USE(op) ops.op = timed_##op
	USE(gemm);
	USE(linear_few);
	USE(linear_few_int8);
	if (ops.linears_few)
		USE(linears_few);
	USE(expand);
	USE(zero);
	USE(copy);
	USE(axpy);
	USE(gather);
	USE(scatter_add);
	USE(bias_forward);
	USE(bias_backward);
	USE(rmsnorm_forward);
	USE(rmsnorm_backward);
	USE(layernorm_forward);
	USE(layernorm_backward);
	USE(gemm_bias);
	USE(rope);
	USE(add_positions);
	USE(append);
	USE(attention_forward);
	USE(attention_backward);
	USE(attention_cached);
	USE(glu_forward);
	USE(glu_backward);
	USE(activation_forward);
	USE(activation_backward);
	USE(dropout);
	USE(cross_entropy);
	USE(sum_squares);
	USE(adamw);
#undef USE
	memset(op_seconds, 0, sizeof op_seconds);
	memset(op_calls, 0, sizeof op_calls);
	device->ops = &ops;
}

void aqm_bench_profile_end(aqm_device *device, double seconds, int runs)
{
	double rest = seconds;

	device->ops = real_ops;
	for (int i = 0; i < OPS; i++) {
		if (op_calls[i] > 0)
			fprintf(stderr, "  %-14s %10.3f ms %6.2f %% %8lu calls\n", op_names[i], op_seconds[i] * 1e3 / runs,
			        op_seconds[i] / seconds * 100, op_calls[i] / (unsigned long)runs);
		rest -= op_seconds[i];
	}
	fprintf(stderr, "  %-14s %10.3f ms %6.2f %%\n", "outside", rest * 1e3 / runs, rest / seconds * 100);
}
