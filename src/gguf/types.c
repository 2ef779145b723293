/* SPDX-License-Identifier: BSD-2-Clause */
#include "gguf/types.h"

#include <string.h>
#include <strings.h>

#include "aqmtrain/gguf.h"
#include "gguf/blocks.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF is read in place, which needs a little-endian machine"
#endif

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

/* The expansion made for this processor. */
static const aqm_expand *expansion(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return aqm_expand_avx2;
#endif
	return aqm_expand_any;
}

#define XX(row, dtype, name, block, bytes, quantise)                          \
	static void expand_row_##row(const void *blocks, float *out, size_t n) \
	{                                                                       \
		expansion()[row](blocks, out, n);                                \
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

/* Types of ggml that we only name and measure. */
static const struct aqm_type_layout layouts[] = {
	{0, "f32", 1, 4},           {1, "f16", 1, 2},           {2, "q4_0", 32, 18},       {3, "q4_1", 32, 20},
	{6, "q5_0", 32, 22},        {7, "q5_1", 32, 24},        {8, "q8_0", 32, 34},       {9, "q8_1", 32, 40},
	{10, "q2_k", 256, 84},      {11, "q3_k", 256, 110},     {12, "q4_k", 256, 144},    {13, "q5_k", 256, 176},
	{14, "q6_k", 256, 210},     {15, "q8_k", 256, 292},     {16, "iq2_xxs", 256, 66},  {17, "iq2_xs", 256, 74},
	{18, "iq3_xxs", 256, 98},   {19, "iq1_s", 256, 50},     {20, "iq4_nl", 32, 18},    {21, "iq3_s", 256, 110},
	{22, "iq2_s", 256, 82},     {23, "iq4_xs", 256, 136},   {24, "i8", 1, 1},          {25, "i16", 1, 2},
	{26, "i32", 1, 4},          {27, "i64", 1, 8},          {28, "f64", 1, 8},         {29, "iq1_m", 256, 56},
	{30, "bf16", 1, 2},         {34, "tq1_0", 256, 54},     {35, "tq2_0", 256, 66},    {39, "mxfp4", 32, 17},
	{40, "nvfp4", 64, 36},      {41, "q1_0", 128, 18},
};

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
