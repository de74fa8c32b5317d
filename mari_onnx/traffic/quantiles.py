"""Quantiles of millions of numbers in a fixed table of bins.

A bin has the numbers that agree in their exponent and in the first five binary places after it, so that it is at most
1/32 of its numbers wide. Which bin a number is in depends on the number alone. A table is therefore the same in
whatever order, and from however many workers, numbers are counted; adding two tables is adding integers. Sketches that
choose their bins by what they have seen, such as KLL and t-digest, would differ from run to run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

PLACES = 5
_SHIFT = 52 - PLACES

WIDTH = 2.0**-PLACES
"""The width of a bin as a share of its numbers: by so much a quantile is too large at most."""

Numbers = npt.NDArray[np.float64]


@dataclass
class Spread:
    """How numbers from 0 on are spread: how many are in each bin, and the largest of them, exactly."""

    bins: dict[int, int] = field(default_factory=dict)
    largest: float = 0.0

    def add(self, numbers: Numbers) -> None:
        """Count numbers, none of which is negative or NaN."""
        if not numbers.size:
            return
        which, counts = np.unique(numbers.ravel().view(np.int64) >> _SHIFT, return_counts=True)
        for one, count in zip(which.tolist(), counts.tolist(), strict=True):
            self.bins[one] = self.bins.get(one, 0) + count
        self.largest = max(self.largest, float(numbers.max()))

    def add_one(self, number: float) -> None:
        """Count one number."""
        one = int(np.float64(number).view(np.int64)) >> _SHIFT
        self.bins[one] = self.bins.get(one, 0) + 1
        self.largest = max(self.largest, float(number))

    def merge(self, other: Spread) -> None:
        """Count what another has counted."""
        for one, count in other.bins.items():
            self.bins[one] = self.bins.get(one, 0) + count
        self.largest = max(self.largest, other.largest)

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return sum(self.bins.values())

    def quantile(self, share: float) -> float:
        """A number that this share of the numbers does not exceed, and at most `WIDTH` of it too large.

        The largest is exact, and so is 0; 0 where nothing was counted.
        """
        left = math.ceil(share * self.count)
        for one in sorted(self.bins):
            left -= self.bins[one]
            if left <= 0:
                return 0.0 if one == 0 else min(_upper(one), self.largest)
        return self.largest

    def as_json(self) -> dict[str, Any]:
        """The table as JSON has it."""
        return {"bins": {str(one): self.bins[one] for one in sorted(self.bins)}, "largest": self.largest}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Spread:
        """The table that `as_json` gave."""
        return cls({int(one): count for one, count in stored["bins"].items()}, float(stored["largest"]))


def _upper(one: int) -> float:
    """The least number above a bin."""
    return float(np.array([(one + 1) << _SHIFT], np.int64).view(np.float64)[0])
