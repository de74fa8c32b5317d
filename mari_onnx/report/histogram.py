"""A histogram as part of a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bin:
    """How many values are at least `low` and less than `high`, which is twice as much; those that are 0 have (0, 0)."""

    low: float
    high: float
    count: int
