"""Order statistics, against their definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mari_onnx.measurement.statistics import CONFIDENCE, break_even, median_interval, quantile


def coverage(n: int, k: int) -> float:
    """In which share of all ways for n values to lie around a median it is from the k-th to the k-th last of them."""
    ways = list(itertools.product([0, 1], repeat=n))
    return sum(k <= sum(way) <= n - k for way in ways) / len(ways)


@pytest.mark.parametrize("n", range(6, 16))
def test_the_interval_is_the_narrowest_that_holds(n: int) -> None:
    low, high = median_interval(np.random.default_rng(n).permutation(n))
    k = int(low) + 1
    assert high == n - k
    assert coverage(n, k) >= CONFIDENCE > coverage(n, k + 1)


def test_tables_of_the_interval() -> None:
    """The ranks of the usual tables, such as those of Conover."""
    for n, ranks in {6: (1, 6), 15: (4, 12), 50: (18, 33), 100: (40, 61)}.items():
        assert median_interval(range(1, n + 1)) == ranks


def test_it_holds_the_median_as_often_as_it_says() -> None:
    """Of a distribution that is not symmetric, and whose mean is infinite."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        low, high = median_interval(rng.pareto(1, 31))
        held += low <= 1 <= high
    assert 940 <= held <= 985


def test_too_few_values() -> None:
    with pytest.raises(ValueError, match="5 values"):
        median_interval(range(5))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.9, 90), (0.99, 99), (0.995, 100), (1.0, 100), (0.001, 1), (0.5, 50)]
)
def test_quantiles_are_values(share: float, expected: float) -> None:
    assert quantile(np.random.default_rng(1).permutation(100) + 1, share) == expected


@pytest.mark.parametrize(
    ("no_slower", "expected"),
    [
        ([(1, True), (10, True)], 1),
        ([(1, False), (10, True), (50, True)], 10),
        ([(50, True), (1, True), (10, False)], 50),
        ([(1, True), (10, False)], None),
    ],
)
def test_break_even(no_slower: list[tuple[int, bool]], expected: int | None) -> None:
    assert break_even(no_slower) == expected
