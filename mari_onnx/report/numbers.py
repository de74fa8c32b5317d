"""Numbers as all views of a report write them."""

from __future__ import annotations

import math


def counted(candidates: int) -> str:
    """1 candidate, 2 candidates"""
    return f"{candidates:,} candidate{'s' * (candidates != 1)}"


def count(number: float) -> str:
    """12345678 -> 12.3 M"""
    for unit, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.3g}{suffix}" if number < 999.5 * unit else f"{number / unit:,.0f}{suffix}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """1636722 -> 1.64 MB"""
    return f"{count(number)}B" if number >= 999.5 else f"{number:.0f} B"


def microseconds(number: float) -> str:
    """1234.5 -> 1.23 ms"""
    return f"{number / 1000:.3g} ms" if number >= 999.5 else f"{number:.3g} µs"


def small(number: float) -> str:
    """0.00000012345 -> 1.2e-07"""
    return "0" if number == 0 else f"{number:.1e}" if math.isfinite(number) else str(number)


def known(number: float | None) -> str:
    """The number as `small` writes it; a dash for None."""
    return "-" if number is None else small(number)


def ratio(before: float, after: float) -> str:
    """How a quantity changed: `3.0 times less`, `12% more`, `the same`."""
    if before == after or abs(after - before) < 0.005 * before:
        return "the same"
    if after == 0:
        return "none is left"
    if before == 0:
        return ""
    if after <= before:
        return f"{before / after:.1f} times less" if before / after >= 1.25 else f"{1 - after / before:.0%} less"
    return f"{after / before:.1f} times more" if after / before >= 1.25 else f"{after / before - 1:.0%} more"
