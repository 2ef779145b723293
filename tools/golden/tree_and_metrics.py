#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Golden values of the metrics and of the decision tree, from scikit-learn.

    tree_and_metrics.py tests/golden

writes metrics.txt and tree.txt there. Needs numpy and scikit-learn."""
import sys
import warnings

import numpy as np
from sklearn import metrics
from sklearn.tree import DecisionTreeClassifier

CLASSES = [0, 1, 2]


def write_case(out, labels, logits):
    """rows; label and three logits a row; then loss, accuracy, macro-F1, balanced accuracy; then precision, recall, F1, support a class."""
    predicted = logits.argmax(axis=1)
    # float32 logits are what the program sees; the loss is computed from them in double.
    wide = logits.astype(np.float64)
    probability = np.exp(wide - wide.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(probability[np.arange(len(labels)), labels]))
    if (probability > 1e-12).all():
        assert abs(loss - metrics.log_loss(labels, probability, labels=CLASSES)) < 1e-9
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted, labels=CLASSES, zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted but never occur
        balanced = metrics.balanced_accuracy_score(labels, predicted)
    print(len(labels), file=out)
    for label, row in zip(labels, logits):
        print(label, *(float(x).hex() for x in row), file=out)
    print(*(float(x).hex() for x in (loss, metrics.accuracy_score(labels, predicted),
                                     metrics.f1_score(labels, predicted, average="macro", zero_division=0), balanced)), file=out)
    for c in CLASSES:
        print(float(precision[c]).hex(), float(recall[c]).hex(), float(f1[c]).hex(), int(support[c]), file=out)


def write_metrics(path):
    rng = np.random.default_rng(7)

    def logits(n):
        return rng.normal(0, 2, (n, 3)).astype(np.float32)

    biased = logits(40)
    biased[:, 0] += 20
    two = logits(30)
    two[:, 2] -= 50
    cases = [
        (rng.integers(0, 3, 60), logits(60)),                      # all classes
        (rng.choice(3, 40, p=[0.9, 0.07, 0.03]), biased),          # only the majority predicted
        (rng.integers(0, 2, 30), two),                             # marks neither occur nor are predicted
        (rng.integers(0, 2, 30), logits(30)),                      # marks are predicted but never occur
        (np.full(10, 1), logits(10)),                              # one label
    ]
    with open(path, "w", encoding="ascii") as out:
        print(len(cases), file=out)
        for case in cases:
            write_case(out, *case)


def tree_data(seed, rows):
    rng = np.random.default_rng(seed)
    x = np.stack([rng.normal(size=rows), rng.integers(0, 50, rows) * 1.0, rng.exponential(1e5, rows), rng.normal(size=rows)], 1)
    score = x[:, 0] + 0.05 * x[:, 1] * (x[:, 2] > 8e4) + 0.3 * x[:, 3] + 0.3 * rng.normal(size=rows)
    x = x.astype(np.float32).astype(np.float64)  # scikit-learn compares in float32
    return x, np.digitize(score, [1.2, 2.4])


def write_tree(path, depth=5, rows=300, fresh=200):
    """Of equally good splits scikit-learn takes a random one, so use data on which no choice changes a prediction."""
    for seed in range(1000):
        x, y = tree_data(seed, rows + fresh)
        trees = [DecisionTreeClassifier(max_depth=depth, random_state=s).fit(x[:rows], y[:rows]) for s in range(20)]
        predicted = [t.predict(x) for t in trees]
        if all((p == predicted[0]).all() for p in predicted) and len({t.tree_.node_count for t in trees}) == 1:
            break
    else:
        raise SystemExit("no data without ties")
    with open(path, "w", encoding="ascii") as out:
        print(rows, fresh, x.shape[1], depth, trees[0].tree_.node_count, file=out)
        for row, label, guess in zip(x, y, predicted[0]):
            print(*(float(v).hex() for v in row), label, guess, file=out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write_metrics(sys.argv[1] + "/metrics.txt")
    write_tree(sys.argv[1] + "/tree.txt")
