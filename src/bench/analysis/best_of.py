"""The best of k: what it is expected to be, and how far it may be off, from n values that were drawn independently."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


def expected_best(values: Floats) -> Floats:
    """E[max of k of the n values, drawn without replacement] for k = 1 … n.

    The mean over all subsets in closed form: the unbiased estimator (Tang et al. 2020) of what Dodge et al. (2019),
    Show Your Work, estimate with replacement. The i-th smallest is the largest of k in C(i - 1, k - 1) of the C(n, k)
    subsets.
    """
    n = len(values)
    i, k = np.arange(1, n + 1), np.arange(1, n + 1)[:, None]
    larger = np.maximum(i - k, 0)
    log_share = (
        special.gammaln(i) - special.gammaln(k) - special.gammaln(larger + 1)
        - special.gammaln(n + 1) + special.gammaln(k + 1) + special.gammaln(n - k + 1)
    )  # fmt: skip
    shares: Floats = np.where(i >= k, np.exp(log_share), 0.0)
    return shares @ np.sort(values)


def best_quantile(values: Floats, share: float) -> Floats:
    """That quantile of the max of k of the n values, drawn with replacement, for k = 1 … n (Dodge et al. 2019).

    The max is at most the i-th smallest value with probability (i / n)^k.
    """
    n = len(values)
    rank = np.ceil(n * share ** (1 / np.arange(1, n + 1)) - 1e-9).astype(int)
    found: Floats = np.sort(values)[np.clip(rank, 1, max(n, 1)) - 1]
    return found
