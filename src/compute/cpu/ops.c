/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The CPU device: its table, its working memory, its errors.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "compute/cpu/cpu.h"

/* What attention takes for windows of 1024 tokens and heads of 64, or of 512 and 160. */
enum { OPENING_FLOATS = 224 * (1024 + 32) + 64 };

static enum aqm_level highest_level = AQM_LEVEL_V4;

void aqm_cpu_level_limit(enum aqm_level highest)
{
	highest_level = highest;
}

enum aqm_level aqm_cpu_level(void)
{
#if defined(__x86_64__)
	if (highest_level >= AQM_LEVEL_V4 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd"))
		return AQM_LEVEL_V4;
	if (highest_level >= AQM_LEVEL_V3 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	    __builtin_cpu_supports("bmi2"))
		return AQM_LEVEL_V3;
#endif
	return AQM_LEVEL_ANY;
}

static int reserve(aqm_device *device, size_t floats)
{
	struct aqm_cpu *cpu = device->context;
	void *memory;

	if (floats <= cpu->scratch_floats)
		return AQM_OK;
	int code = aqm_cpu_allocate(device, floats * sizeof(float), &memory);

	if (code != AQM_OK)
		return code;
	aqm_cpu_release(device, cpu->scratch);
	cpu->scratch = memory;
	cpu->scratch_floats = floats;
	return AQM_OK;
}

bool aqm_cpu_scratch(aqm_device *device, int threads, int64_t floats, float **base, int64_t *stride)
{
	struct aqm_cpu *cpu = device->context;
	int code;

	*stride = (floats + 15) / 16 * 16;
	code = reserve(device, (size_t)threads * (size_t)*stride);
	if (code != AQM_OK && cpu->failed == AQM_OK) {
		cpu->failed = code;
		snprintf(cpu->message, sizeof cpu->message, "%s", aqm_error_message());
	}
	*base = cpu->scratch;
	return code == AQM_OK;
}

static size_t available(aqm_device *device)
{
	(void)device;
	return aqm_memory_available();
}

static int check(aqm_device *device)
{
	struct aqm_cpu *cpu = device->context;
	int code = cpu->failed;

	cpu->failed = AQM_OK;
	return code == AQM_OK ? AQM_OK : aqm_error_set(code, "%s", cpu->message);
}

static void close_device(aqm_device *device)
{
	struct aqm_cpu *cpu = device->context;

	aqm_cpu_release(device, cpu->scratch);
	free(cpu);
	device->context = NULL;
}

int aqm_cpu_open(aqm_device *device)
{
	struct aqm_cpu *cpu = calloc(1, sizeof *cpu);

	if (!cpu)
		return aqm_error_set(AQM_ERUN, "not enough memory for a device");
	*device = (aqm_device){.ops = &aqm_cpu_ops, .context = cpu};
	int code = reserve(device, (size_t)omp_get_max_threads() * OPENING_FLOATS);

	if (code != AQM_OK)
		close_device(device);
	return code;
}

const struct aqm_ops aqm_cpu_ops = {
	.name = "cpu",
	.allocate = aqm_cpu_allocate,
	.release = aqm_cpu_release,
	.upload = aqm_cpu_upload,
	.download = aqm_cpu_download,
	.zero = aqm_cpu_zero,
	.copy = aqm_cpu_copy,
	.axpy = aqm_cpu_axpy,
	.scale = aqm_cpu_scale,
	.gemm = aqm_cpu_gemm,
	.gemm_bias = aqm_cpu_gemm_bias,
	.linear_few = aqm_cpu_linear_few,
	.linear_few_int8 = aqm_cpu_linear_few_int8,
	.linears_few = aqm_cpu_linears_few,
	.expand = aqm_cpu_expand,
	.bias_forward = aqm_cpu_bias_forward,
	.bias_backward = aqm_cpu_bias_backward,
	.rmsnorm_forward = aqm_cpu_rmsnorm_forward,
	.rmsnorm_backward = aqm_cpu_rmsnorm_backward,
	.layernorm_forward = aqm_cpu_layernorm_forward,
	.layernorm_backward = aqm_cpu_layernorm_backward,
	.rope = aqm_cpu_rope,
	.add_positions = aqm_cpu_add_positions,
	.append = aqm_cpu_append,
	.attention_forward = aqm_cpu_attention_forward,
	.attention_backward = aqm_cpu_attention_backward,
	.attention_cached = aqm_cpu_attention_cached,
	.glu_forward = aqm_cpu_glu_forward,
	.glu_backward = aqm_cpu_glu_backward,
	.activation_forward = aqm_cpu_activation_forward,
	.activation_backward = aqm_cpu_activation_backward,
	.dropout = aqm_cpu_dropout,
	.gather = aqm_cpu_gather,
	.scatter_add = aqm_cpu_scatter_add,
	.cross_entropy = aqm_cpu_cross_entropy,
	.squared_error = aqm_cpu_squared_error,
	.sum_squares = aqm_cpu_sum_squares,
	.adamw = aqm_cpu_adamw,
	.available = available,
	.check = check,
	.close = close_device,
};
