/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a student is told of a batch: losses on its logits and their gradients. All logits are (rows, 3).
 */
#ifndef AQM_DISTILL_LOSS_H
#define AQM_DISTILL_LOSS_H

#include <stddef.h>
#include <stdint.h>

enum { AQM_LOSS_CLASSES = 3 };

/* Kullback-Leibler divergence of the student's from the teacher's softmax at a temperature, times its square (Hinton, Vinyals, Dean
 * 2015), summed over rows with their weights. gradient (may be NULL) += scale times its gradient. Returns scale times the sum. */
double aqm_loss_divergence(size_t rows, const float *student, const float *teacher, const float *weights, double temperature,
                           double scale, float *gradient);
/* Cross-entropy of labels, likewise. */
double aqm_loss_labels(size_t rows, const float *student, const uint8_t *labels, const float *weights, double scale, float *gradient);
/* How alike the rows of a batch are: r_ij is the correlation of the logits of rows i and j over the classes. The loss is the mean over
 * all i, j of the squared difference between the student's and the teacher's; likewise. `room`: rows x 3 x 2 + rows floats. */
double aqm_loss_correlation(size_t rows, const float *student, const float *teacher, double scale, float *gradient, float *room);
/* control: update: squared difference of one number a row, likewise. */
double aqm_loss_square(size_t rows, const float *student, const float *teacher, double scale, float *gradient);

#endif
