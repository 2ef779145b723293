/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files behind aqm_dtype_traits share.
 */
#ifndef AQM_GGUF_TYPES_H
#define AQM_GGUF_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* Types that we can expand; every table of them has this order: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k. */
enum { AQM_TYPE_ROWS = 11 };

typedef void (*aqm_expand)(const void *blocks, float *out, size_t n);
extern const aqm_expand aqm_expand_any[AQM_TYPE_ROWS];
extern const aqm_expand aqm_expand_avx2[AQM_TYPE_ROWS];

void aqm_quantise_f32(const float *in, void *blocks, size_t n);
void aqm_quantise_f16(const float *in, void *blocks, size_t n);
void aqm_quantise_bf16(const float *in, void *blocks, size_t n);
void aqm_quantise_q8_0(const float *in, void *blocks, size_t n);
void aqm_quantise_q4_0(const float *in, void *blocks, size_t n);
void aqm_quantise_q4_1(const float *in, void *blocks, size_t n);
void aqm_quantise_q5_0(const float *in, void *blocks, size_t n);
void aqm_quantise_q5_1(const float *in, void *blocks, size_t n);

/* Name and block of any type that ggml has had, also of those we cannot expand; NULL when `type` is none of them. */
struct aqm_type_layout {
	const char *name;
	uint32_t type;
	uint16_t block, block_bytes;
};
const struct aqm_type_layout *aqm_type_layout(uint32_t type);

#endif
