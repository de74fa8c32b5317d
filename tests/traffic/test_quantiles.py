"""Quantiles in bins: as large as they say, and the same in whatever order numbers are counted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mari_onnx.traffic.quantiles import WIDTH, Numbers, Spread


def spread(numbers: Numbers) -> Spread:
    found = Spread()
    found.add(numbers)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_quantile_is_an_upper_bound_that_is_hardly_too_large(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.abs(rng.standard_normal(5_000)) * 10.0 ** rng.integers(-12, 6, 5_000)
    found = spread(numbers)
    for share in (0.001, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = float(np.quantile(numbers, share, method="inverted_cdf"))
        assert exact <= found.quantile(share) <= exact * (1 + WIDTH)
    assert found.quantile(1) == found.largest == numbers.max()


def test_zeros_are_zero() -> None:
    found = spread(np.array([0.0] * 99 + [0.25]))
    assert (found.quantile(0.5), found.quantile(0.99), found.quantile(1)) == (0.0, 0.0, 0.25)
    assert spread(np.zeros(3)).quantile(1) == 0.0
    assert (Spread().quantile(0.5), Spread().count) == (0.0, 0)


def test_the_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.exponential(1e-6, int(rng.integers(0, 100))) for _ in range(30)]
    whole = spread(np.concatenate(parts))
    for _ in range(3):
        total = Spread()
        for i in rng.permutation(len(parts)):
            total.merge(spread(parts[i]))
        assert total == whole
    one_by_one = Spread()
    for number in np.concatenate(parts):
        one_by_one.add_one(number)
    assert one_by_one == whole
    assert Spread.of_json(json.loads(json.dumps(whole.as_json()))) == whole
