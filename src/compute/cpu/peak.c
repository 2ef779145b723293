/* SPDX-License-Identifier: BSD-2-Clause */
#include "compute/cpu/peak.h"

#include <math.h>
#include <omp.h>

#include "base/progress.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/vector.h"

enum { SUMS = 16 /* more than multiplications are under way at once */, ROUNDS = 100000, REPEATS = 8 };

typedef void loop(void);

/* ROUNDS times SUMS multiplications in registers, none of which waits for another. */
#if defined(__x86_64__)
#include <immintrin.h>

#define LOOP(name, level, type, zero, instruction)                                                                 \
	__attribute__((target(level))) static void name(void)                                                          \
	{                                                                                                              \
		type sums[SUMS], factor = zero;                                                                            \
                                                                                                                   \
		_Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) sums[i] = zero;                                    \
		for (int64_t round = 0; round < ROUNDS; round++)                                                           \
			_Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++) __asm__ volatile(instruction " %1, %1, %0" :   \
			                                                                         "+v"(sums[i]) : "v"(factor)); \
	}
LOOP(float32_v4, "arch=x86-64-v4", __m512, _mm512_setzero_ps(), "vfmadd231ps")
LOOP(bfloat16_v4, "arch=x86-64-v4", __m512, _mm512_setzero_ps(), "vdpbf16ps")
LOOP(int8_v4, "arch=x86-64-v4", __m512i, _mm512_setzero_si512(), "vpdpbusd")
/* Half as many sums at a time, for there are only sixteen registers. */
__attribute__((target("arch=x86-64-v3"))) static void float32_v3(void)
{
	__m256 sums[SUMS / 2], factor = _mm256_setzero_ps();

#pragma GCC unroll 8
	for (int i = 0; i < SUMS / 2; i++)
		sums[i] = factor;
	for (int64_t round = 0; round < 2 * ROUNDS; round++)
#pragma GCC unroll 8
		for (int i = 0; i < SUMS / 2; i++)
			__asm__ volatile("vfmadd231ps %1, %1, %0" : "+x"(sums[i]) : "x"(factor));
}
#endif

static void float32_any(void)
{
	volatile float given = 0.0f, kept;
	aqm_v4 sums[SUMS / 2] = {{0}}, factor = {given, given, given, given};

	for (int64_t round = 0; round < 2 * ROUNDS; round++)
#pragma GCC unroll 8
		for (int i = 0; i < SUMS / 2; i++)
			sums[i] = sums[i] * factor + factor;
	for (int i = 0; i < SUMS / 2; i++)
		kept = sums[i][0];
	(void)kept;
}

/* The loop, and operations of one of its multiplications. */
static loop *loop_of(enum aqm_cpu_arithmetic arithmetic, double *operations, const char **what)
{
	*what = "multiplying float32";
#if defined(__x86_64__)
	if (aqm_cpu_level() == AQM_LEVEL_V4 && arithmetic == AQM_CPU_BFLOAT16 && __builtin_cpu_supports("avx512bf16")) {
		*what = "multiplying bfloat16";
		*operations = 64;
		return bfloat16_v4;
	}
	if (aqm_cpu_level() == AQM_LEVEL_V4 && arithmetic == AQM_CPU_INT8 && __builtin_cpu_supports("avx512vnni")) {
		*what = "multiplying int8";
		*operations = 128;
		return int8_v4;
	}
	*operations = aqm_cpu_level() == AQM_LEVEL_V4 ? 32 : 16;
	if (aqm_cpu_level() != AQM_LEVEL_ANY)
		return aqm_cpu_level() == AQM_LEVEL_V4 ? float32_v4 : float32_v3;
#endif
	(void)arithmetic;
	*operations = 8;
	return float32_any;
}

double aqm_cpu_peak(enum aqm_cpu_arithmetic arithmetic, const char **what)
{
	double operations, shortest = INFINITY;
	loop *multiply = loop_of(arithmetic, &operations, what);

	for (int i = 0; i < REPEATS; i++) {
		double start = aqm_clock_seconds();

#pragma omp parallel
		multiply();
		shortest = fmin(shortest, aqm_clock_seconds() - start);
	}
	return operations * SUMS * ROUNDS * omp_get_max_threads() / shortest;
}
