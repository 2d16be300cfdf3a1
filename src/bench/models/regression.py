"""Logistic regression on n-grams, by scikit-learn: deterministic, and a function of the training part alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench.data.batches import Texts
from bench.models.ngrams import NgramClassifier, batches_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_ITERATIONS = 1000  # of L-BFGS; far more than it was seen to need
_TOLERANCE = 1e-5  # largest element of the gradient at which it ends
UNSEEN = -20.0  # logit of a class that no training text has


def feature_matrix(network: NgramClassifier, texts: Texts) -> csr_matrix:
    """(texts, features) float64: the n-grams of all texts, a row a text in the split's order."""
    from scipy.sparse import coo_matrix

    rows, columns, values = [], [], []
    for batch in batches_of(texts):
        found, features, weights = network.features(batch.tokens, batch.lengths)
        rows.append(batch.rows[found].numpy().astype(np.int32))
        columns.append(features.numpy().astype(np.int32))
        values.append(weights.numpy().astype(np.float64))
    places = (np.concatenate(rows), np.concatenate(columns))
    return coo_matrix((np.concatenate(values), places), (len(texts), len(network.keys))).tocsr()


def solutions(matrix: csr_matrix, labels: np.ndarray, classes: int, strengths: Iterable[float]) -> Iterator[Solution]:
    """Weights for one strength of regularisation after the other, each search beginning where the last one ended.

    Minimises ‖w‖² / 2 + C · Σ cross-entropy by L-BFGS; the bias is not regularised.
    labels: (texts,) int64, of two classes or more;  strengths: values of C.
    """
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(solver="lbfgs", max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True)
    for strength in strengths:
        solver.set_params(C=strength).fit(matrix, labels)
        yield _of_all_classes(solver.coef_, solver.intercept_, solver.classes_, classes)


Solution = tuple[np.ndarray, np.ndarray]  # weight (outputs, features) and bias (outputs,), as in `NgramClassifier`


def _of_all_classes(weight: np.ndarray, bias: np.ndarray, seen: np.ndarray, classes: int) -> Solution:
    """The same for all classes of the task. seen: those of the training part; of two, weights are of the second."""
    if classes == 2:
        return weight, bias
    if len(seen) == 2:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.append(0.0, bias)
    whole = np.zeros((classes, weight.shape[1])), np.full(classes, UNSEEN)
    whole[0][seen], whole[1][seen] = weight, bias
    return whole


def take_over(network: NgramClassifier, solution: Solution) -> None:
    """Make these the network's weights."""
    weight, bias = solution
    network.weight.copy_(torch.from_numpy(weight))
    network.bias.copy_(torch.from_numpy(bias))
