/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Training a student's network with the quantisation in the loop: every pass forward is the integer one, on weights that were rounded
 * for it; the gradient goes to the real ones as if nothing had been rounded (straight through).
 */
#ifndef AQM_DISTILL_NETWORK_H
#define AQM_DISTILL_NETWORK_H

#include "distill/lesson.h"

/* Real parameters, laid out as the student's: encoder (2 values, units), its biases (inputs, units), dense (hidden, inputs units), biases,
 * head (outputs, hidden), biases. */
struct aqm_network_parts {
	size_t encoder, encoder_bias, dense, dense_bias, head, head_bias, count; /* offsets */
};
struct aqm_network_parts aqm_network_parts_of(const aqm_student *student);
/* The scales of every input from the lesson: mean and deviation, rounded. */
int aqm_network_fit_scales(aqm_student *student, const struct aqm_lesson *lesson);
/* Round real parameters into the student's: each layer's shift is the largest that keeps its weights in 8 bits. */
void aqm_network_round(aqm_student *student, const float *parameters);
/* A pass over one row, its numbers: logits (outputs; change of log2 p' in octaves), and with dlogits the gradient of the real
 * parameters += what goes straight through. */
void aqm_network_forward(const aqm_student *student, const int16_t *numbers, float *logits);
void aqm_network_backward(const aqm_student *student, const int16_t *numbers, const float *dlogits, float *gradient);

/* Train from scratch on a lesson; the student has inputs, and units, hidden and leaky are set. AQM_EINTERRUPTED. */
int aqm_network_train(aqm_student *student, const struct aqm_lesson *lesson, const struct aqm_config *config);

#endif
