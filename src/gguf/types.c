/* SPDX-License-Identifier: BSD-2-Clause */
#include "gguf/types.h"

#include <string.h>
#include <strings.h>

#include "aqmtrain/gguf.h"
#include "gguf/blocks.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF is read in place, which needs a little-endian machine"
#endif

/* clang-format off */
/* dtype, name, elements a block, bytes a block, quantiser: in the order of enum AQM_TYPE_ROWS. */
#define TYPE_MAP(XX)                                                                   \
	XX(0, AQM_F32, "f32", 1, 4, aqm_quantise_f32)                                     \
	XX(1, AQM_F16, "f16", 1, 2, aqm_quantise_f16)                                     \
	XX(2, AQM_BF16, "bf16", 1, 2, aqm_quantise_bf16)                                  \
	XX(3, AQM_Q8_0, "q8_0", BLOCK, sizeof(struct block_q8_0), aqm_quantise_q8_0)      \
	XX(4, AQM_Q4_0, "q4_0", BLOCK, sizeof(struct block_q4_0), aqm_quantise_q4_0)      \
	XX(5, AQM_Q4_1, "q4_1", BLOCK, sizeof(struct block_q4_1), aqm_quantise_q4_1)      \
	XX(6, AQM_Q5_0, "q5_0", BLOCK, sizeof(struct block_q5_0), aqm_quantise_q5_0)      \
	XX(7, AQM_Q5_1, "q5_1", BLOCK, sizeof(struct block_q5_1), aqm_quantise_q5_1)      \
	XX(8, AQM_Q4_K, "q4_k", SUPER_BLOCK, sizeof(struct block_q4_k), NULL)             \
	XX(9, AQM_Q5_K, "q5_k", SUPER_BLOCK, sizeof(struct block_q5_k), NULL)             \
	XX(10, AQM_Q6_K, "q6_k", SUPER_BLOCK, sizeof(struct block_q6_k), NULL)
/* clang-format on */

/* The expansion made for this processor. */
static const aqm_expand *expansion(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return aqm_expand_avx2;
#endif
	return aqm_expand_any;
}

#define XX(row, dtype, name, block, bytes, quantise)                       \
	static void expand_row_##row(const void *blocks, float *out, size_t n) \
	{                                                                      \
		expansion()[row](blocks, out, n);                                  \
	}
TYPE_MAP(XX)
#undef XX

static const struct aqm_dtype_traits types[AQM_TYPE_ROWS] = {
#define XX(row, dtype, name, block, bytes, quantise) [row] = {dtype, name, block, bytes, expand_row_##row, quantise},
	TYPE_MAP(XX)
#undef XX
};

const struct aqm_dtype_traits *aqm_dtype_traits(enum aqm_dtype dtype)
{
	for (size_t i = 0; i < AQM_TYPE_ROWS; i++)
		if (types[i].dtype == dtype)
			return &types[i];
	return NULL;
}

const struct aqm_dtype_traits *aqm_dtype_find(const char *name)
{
	for (size_t i = 0; i < AQM_TYPE_ROWS; i++)
		if (strcasecmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

/* Name, number, elements a block, bytes a block of every type of ggml. */
/* clang-format off */
static const struct aqm_type_layout layouts[] = {
	{"f32", 0, 1, 4},         {"f16", 1, 1, 2},         {"q4_0", 2, 32, 18},      {"q4_1", 3, 32, 20},
	{"q5_0", 6, 32, 22},      {"q5_1", 7, 32, 24},      {"q8_0", 8, 32, 34},      {"q8_1", 9, 32, 40},
	{"q2_k", 10, 256, 84},    {"q3_k", 11, 256, 110},   {"q4_k", 12, 256, 144},   {"q5_k", 13, 256, 176},
	{"q6_k", 14, 256, 210},   {"q8_k", 15, 256, 292},   {"iq2_xxs", 16, 256, 66}, {"iq2_xs", 17, 256, 74},
	{"iq3_xxs", 18, 256, 98}, {"iq1_s", 19, 256, 50},   {"iq4_nl", 20, 32, 18},   {"iq3_s", 21, 256, 110},
	{"iq2_s", 22, 256, 82},   {"iq4_xs", 23, 256, 136}, {"i8", 24, 1, 1},         {"i16", 25, 1, 2},
	{"i32", 26, 1, 4},        {"i64", 27, 1, 8},        {"f64", 28, 1, 8},        {"iq1_m", 29, 256, 56},
	{"bf16", 30, 1, 2},       {"tq1_0", 34, 256, 54},   {"tq2_0", 35, 256, 66},   {"mxfp4", 39, 32, 17},
	{"nvfp4", 40, 64, 36},    {"q1_0", 41, 128, 18},
};
/* clang-format on */

const struct aqm_type_layout *aqm_type_layout(uint32_t type)
{
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
		if (layouts[i].type == type)
			return &layouts[i];
	return NULL;
}

const char *aqm_dtype_name(enum aqm_dtype dtype)
{
	const struct aqm_type_layout *layout = aqm_type_layout((uint32_t)dtype);

	return layout ? layout->name : "unknown";
}
