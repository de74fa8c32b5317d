"""Quantiles of times, and how certain a median is. No distribution is assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
"""The share of measurements whose interval holds the true median."""

FEWEST = 100
"""Calls from which 99 % of them are told from all of them."""


def median_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Between which of the values the median of the distribution lies, in at least `CONFIDENCE` of all samples.

    Each value is below the median with probability 1/2, so that of n values Binomial(n, 1/2) are below it: the k-th
    smallest and the k-th largest are on both sides of it but for 2 P(Binomial(n, 1/2) < k). k is the largest number for
    which that is at most 1 - `CONFIDENCE`. Raises ValueError for fewer than 6 values, of which no two are far enough
    apart.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, k, below = len(ordered), 0, 0
    while 2 * (below + math.comb(n, k)) <= (1 - CONFIDENCE) * 2**n:
        below += math.comb(n, k)
        k += 1
    if not k:
        raise ValueError(f"{n} values have no interval of their median")
    return float(ordered[k - 1]), float(ordered[n - k])


def quantile(values: npt.ArrayLike, share: float) -> float:
    """The smallest of the values that this share of them does not exceed."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[max(math.ceil(share * len(ordered)), 1) - 1])


def break_even(no_slower: Sequence[tuple[int, bool]]) -> int | None:
    """The fewest candidates from which on a model is no slower than another: there, and wherever there are more.

    `no_slower` says for each number of candidates whether it is. None where it is slower with the most candidates.
    """
    found = None
    for batch, holds in sorted(no_slower, reverse=True):
        if not holds:
            break
        found = batch
    return found
