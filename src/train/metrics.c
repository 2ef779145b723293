/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Classification metrics, by scikit-learn's conventions: a ratio over nothing is 0; macro-F1 is the mean over the
 * classes that occur in the labels or the predictions (f1_score(average="macro")); balanced accuracy is the mean
 * recall of the classes that occur in the labels (balanced_accuracy_score).
 */
#include <math.h>
#include <string.h>

#include "aqmtrain/train.h"

/* The class of the largest logit; the first of equals. */
static uint8_t argmax(const float *logits)
{
	uint8_t best = 0;

	for (uint8_t c = 1; c < AQM_ACTIONS; c++)
		if (logits[c] > logits[best])
			best = c;
	return best;
}

/* -log softmax(logits)[label], in double. */
static double cross_entropy(const float *logits, uint8_t label)
{
	const double largest = (double)logits[argmax(logits)];
	double sum = 0;

	for (int c = 0; c < AQM_ACTIONS; c++)
		sum += exp((double)logits[c] - largest);
	return log(sum) - ((double)logits[label] - largest);
}

static double ratio(size_t part, size_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* Everything but the loss follows from the confusion matrix. */
static void metrics_from_confusion(struct aqm_metrics *m)
{
	size_t hits = 0, seen = 0, labelled = 0;
	double f1_sum = 0, recall_sum = 0;

	for (int c = 0; c < AQM_ACTIONS; c++) {
		size_t hit = m->confusion[c][c], predicted = 0;

		for (int k = 0; k < AQM_ACTIONS; k++) {
			m->support[c] += m->confusion[c][k];
			predicted += m->confusion[k][c];
		}
		m->precision[c] = ratio(hit, predicted);
		m->recall[c] = ratio(hit, m->support[c]);
		m->f1[c] = ratio(2 * hit, m->support[c] + predicted);
		hits += hit;
		if (m->support[c] + predicted > 0) {
			seen++;
			f1_sum += m->f1[c];
		}
		if (m->support[c] > 0) {
			labelled++;
			recall_sum += m->recall[c];
		}
	}
	m->accuracy = ratio(hits, m->rows);
	m->macro_f1 = seen ? f1_sum / (double)seen : 0;
	m->balanced_accuracy = labelled ? recall_sum / (double)labelled : 0;
}

void aqm_metrics_compute(struct aqm_metrics *metrics, size_t rows, const uint8_t *labels, const float *logits,
                         const uint8_t *predictions)
{
	double loss = 0;

	memset(metrics, 0, sizeof *metrics);
	metrics->rows = rows;
	for (size_t i = 0; i < rows; i++) {
		uint8_t predicted = logits ? argmax(logits + i * AQM_ACTIONS) : predictions[i];

		metrics->confusion[labels[i]][predicted]++;
		if (logits)
			loss += cross_entropy(logits + i * AQM_ACTIONS, labels[i]);
	}
	metrics->loss = logits && rows ? loss / (double)rows : (double)NAN;
	metrics_from_confusion(metrics);
}
