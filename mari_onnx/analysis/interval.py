"""Intervals, and arithmetic with them: between which numbers each element of a tensor lies.

    [1 2] + [-inf 3]     [-inf 5]
    [0 0] * [-inf inf]   [0 0]
    [1 2] < [3 4]        true, which is the interval [1 1]; false is [0 0], and [0 1] is either

An interval has one entry for each index of a dimension, or one entry for all of them. NaN is not thought of: 0 * x is
0, and -inf + x is -inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from mari_onnx.analysis.positions import Affine

Numbers: TypeAlias = npt.NDArray[np.float64]

LARGEST = 2**21
"""Entries up to which an interval has one for each index. A mask of 1,400 tokens has so many."""

EXACT_INTEGERS = 2.0**53
"""Integers beyond it are not told apart here."""


UNDERFLOW = 104.0
"""How far below 0 a number has the exponential 0 in float32: exp(-104) is less than half of the smallest number,
1.4e-45. Half precision is computed in float32, or underflows before."""

UNDERFLOW_OF_DOUBLE = 746.0
"""The same in float64: exp(-746) is less than half of 4.9e-324."""


def underflow(dtype: int) -> float:
    """How far below 0 the exponential of a number of this element type is 0."""
    return UNDERFLOW_OF_DOUBLE if dtype == TensorProto.DOUBLE else UNDERFLOW


@dataclass(frozen=True)
class Interval:
    """The least and the largest number that each element may be; both arrays have the same shape.

    `exact` is the integer that each element is, where it is computed from positions (see `position_rules`).
    """

    low: Numbers
    high: Numbers
    exact: Affine | None = field(default=None, kw_only=True)

    @property
    def is_known(self) -> bool:
        """Whether every element is one number."""
        return bool(np.all(self.low == self.high))

    @property
    def is_zero(self) -> bool:
        """Whether every element is 0."""
        return not np.any(self.low) and not np.any(self.high)

    @property
    def magnitude(self) -> Numbers:
        """The largest absolute value of each element."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def over(self, axes: Sequence[int]) -> Interval:
        """The interval of all elements along some axes together, with one entry along each of them."""
        if not self.low.size:
            return Interval(np.zeros([1] * self.low.ndim), np.zeros([1] * self.low.ndim))
        where = tuple(axes)
        return Interval(self.low.min(where, keepdims=True), self.high.max(where, keepdims=True))

    def whole(self, rank: int) -> Interval:
        """The interval of all elements together, of this rank."""
        if not self.low.size:
            return between(0, 0, rank)
        return between(float(self.low.min()), float(self.high.max()), rank)


def between(low: float, high: float, rank: int) -> Interval:
    """The interval of elements of which the least and the largest number is known, with this rank."""
    return Interval(np.full((1,) * rank, low), np.full((1,) * rank, high))


def around(magnitude: Numbers) -> Interval:
    """The interval of elements whose magnitude is known."""
    return Interval(-magnitude, magnitude)


def exactly(array: npt.NDArray[Any]) -> Interval:
    """The interval of known elements; of a large tensor it is that of all elements together."""
    if array.dtype.kind not in "biuf":
        return between(-np.inf, np.inf, array.ndim)
    if array.size > LARGEST:
        return between(float(np.nanmin(array)), float(np.nanmax(array)), array.ndim)
    numbers = np.asarray(array, np.float64)
    unknown = np.isnan(numbers)
    if array.dtype.kind in "iu":
        unknown |= np.abs(numbers) > EXACT_INTEGERS
    return Interval(np.where(unknown, -np.inf, numbers), np.where(unknown, np.inf, numbers))


def add(a: Interval, b: Interval) -> Interval:
    """The sum; -inf + x is -inf, and inf + x is inf."""
    low, high = a.low + b.low, a.high + b.high
    return Interval(np.where(np.isnan(low), np.inf, low), np.where(np.isnan(high), -np.inf, high))


def negative(a: Interval) -> Interval:
    """The interval of -a."""
    return Interval(-a.high, -a.low)


def multiply(a: Interval, b: Interval) -> Interval:
    """The product, element by element; 0 * x is 0."""
    ends = np.stack(np.broadcast_arrays(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high))
    ends = np.nan_to_num(ends, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return Interval(ends.min(0), ends.max(0))


def reciprocal(a: Interval) -> Interval:
    """Of an interval with 0 in it nothing is known."""
    safe = (a.low > 0) | (a.high < 0)
    low, high = 1 / np.where(safe, a.high, 1), 1 / np.where(safe, a.low, 1)
    return Interval(np.where(safe, low, -np.inf), np.where(safe, high, np.inf))


def square(a: Interval) -> Interval:
    """The interval of a * a, where both are the same number."""
    inside = (a.low <= 0) & (a.high >= 0)
    ends = np.minimum(np.abs(a.low), np.abs(a.high))
    return Interval(np.where(inside, 0, ends**2), a.magnitude**2)


def truth(never: npt.NDArray[np.bool_], always: npt.NDArray[np.bool_]) -> Interval:
    """The interval of a boolean that is true never, or always."""
    return Interval(always.astype(np.float64), (~never).astype(np.float64))


def less(a: Interval, b: Interval) -> Interval:
    """Whether a < b."""
    return truth(a.low >= b.high, a.high < b.low)


def less_or_equal(a: Interval, b: Interval) -> Interval:
    """Whether a <= b."""
    return truth(a.low > b.high, a.high <= b.low)


def equal(a: Interval, b: Interval) -> Interval:
    """Whether a and b are one number."""
    same = (a.low == a.high) & (b.low == b.high) & (a.low == b.low)
    return truth((a.high < b.low) | (b.high < a.low), same)


def both(a: Interval, b: Interval) -> Interval:
    """The conjunction of booleans."""
    return Interval(np.minimum(a.low, b.low), np.minimum(a.high, b.high))


def either(a: Interval, b: Interval) -> Interval:
    """The disjunction of booleans."""
    return Interval(np.maximum(a.low, b.low), np.maximum(a.high, b.high))
