/* SPDX-License-Identifier: BSD-2-Clause
 *
 * LoRA factors as exports need them: one pair (A, B) a base tensor. The model adapts the parts of gpt2's fused q, k,
 * v one by one; outside there is one matrix, so with n adapted parts
 *
 *     A (n r, in) = [A_1; ..; A_n]        B (out, n r) = B_i in the rows of part i and the columns of A_i, else 0
 *
 * and scale * B A is what the model adds to the tensor.
 */
#ifndef AQM_EXPORT_FACTORS_H
#define AQM_EXPORT_FACTORS_H

#include "policy/policy.h"

struct aqm_factors {
	const struct aqm_adapter *parts[AQM_PARTS_MAX];
	size_t count;
	int64_t in, out, rank; /* of the whole: rank = count * r */
	double scale;
};

/* Every adapted base tensor of the policy, in the model's order; owned by the caller (free). AQM_EUSAGE when it has
 * no adapters (full fine-tuning), in which `what` names the export that was asked for. */
int aqm_factors_collect(aqm_policy *policy, const char *what, struct aqm_factors **out, size_t *count);
/* The numbers: a (rank, in), b (out, rank), dense. */
void aqm_factors_read_a(aqm_policy *policy, const struct aqm_factors *factors, float *a);
int aqm_factors_read_b(aqm_policy *policy, const struct aqm_factors *factors, float *b);
/* Numbers of the largest A or B, for one buffer that fits them all. */
size_t aqm_factors_largest(const struct aqm_factors *factors, size_t count);

#endif
