"""Arithmetic with intervals contains what the numbers in them may become."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mari_onnx.analysis.interval import (
    LARGEST,
    Interval,
    add,
    around,
    between,
    both,
    either,
    equal,
    exactly,
    less,
    less_or_equal,
    multiply,
    negative,
    reciprocal,
    square,
)

ENDS = [(-np.inf, np.inf), (-3.0, -1.0), (-2.0, 5.0), (0.0, 0.0), (1.0, 4.0), (0.0, np.inf), (-np.inf, -2.0)]


def inside(low: float, high: float) -> list[float]:
    """Numbers of an interval: its ends, where they are finite, and some between."""
    low, high = max(low, -50.0), min(high, 50.0)
    return [low, high, *np.linspace(low, high, 7)]


@pytest.mark.parametrize(
    ("of_intervals", "of_numbers"),
    [
        (add, lambda a, b: a + b),
        (multiply, lambda a, b: a * b),
        (less, lambda a, b: float(a < b)),
        (less_or_equal, lambda a, b: float(a <= b)),
        (equal, lambda a, b: float(a == b)),
    ],
)
@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_two_numbers(
    of_intervals: Callable[[Interval, Interval], Interval],
    of_numbers: Callable[[float, float], float],
    first: tuple[float, float],
    second: tuple[float, float],
) -> None:
    with np.errstate(invalid="ignore"):
        found = of_intervals(between(*first, 0), between(*second, 0))
    assert all(found.low <= of_numbers(a, b) <= found.high for a in inside(*first) for b in inside(*second))


@pytest.mark.parametrize("ends", ENDS)
def test_one_number(ends: tuple[float, float]) -> None:
    with np.errstate(all="ignore"):
        minus, inverse, squared = (f(between(*ends, 0)) for f in (negative, reciprocal, square))
    for a in inside(*ends):
        assert minus.low <= -a <= minus.high
        assert squared.low <= a * a <= squared.high
        assert a == 0 or inverse.low <= 1 / a <= inverse.high


def test_zero_times_anything_is_zero() -> None:
    with np.errstate(invalid="ignore"):
        assert multiply(between(0, 0, 0), between(-np.inf, np.inf, 0)).is_zero


def test_a_masked_logit_is_masked_whatever_the_score() -> None:
    with np.errstate(invalid="ignore"):
        found = add(between(-np.inf, np.inf, 0), between(-np.inf, -np.inf, 0))
    assert found.high == -np.inf


def test_logic() -> None:
    no, yes, any_ = between(0, 0, 0), between(1, 1, 0), between(0, 1, 0)
    assert both(no, any_).is_zero
    assert either(yes, any_).is_known
    assert not both(yes, any_).is_known


def test_elements_that_are_no_numbers_are_unknown() -> None:
    found = exactly(np.array([1.0, np.nan]))
    assert (found.low[0], found.high[0]) == (1, 1)
    assert (found.low[1], found.high[1]) == (-np.inf, np.inf)
    assert not exactly(np.array(["a"])).is_known
    assert not exactly(np.array([2**60])).is_known


def test_a_large_tensor_has_one_interval() -> None:
    numbers = np.arange(LARGEST + 1, dtype=np.float32)
    found = exactly(numbers)
    assert (found.low.shape, float(found.low[0]), float(found.high[0])) == ((1,), 0, LARGEST)


def test_elements_together() -> None:
    found = Interval(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 2.0], [3.0, 9.0]]))
    assert found.over([0]).high.tolist() == [[3, 9]]
    assert (float(found.whole(1).low[0]), float(found.whole(1).high[0])) == (0, 9)
    assert around(np.array(2.0)).magnitude == 2
