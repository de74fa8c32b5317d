"""The shape and the range of a result, from those of its operands."""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.ir.extents import Extent, evaluate, product
from tests.property.graphs import LARGEST, Made


def times(*spans: tuple[int, int]) -> tuple[int, int]:
    low, high = 1, 1
    for a, b in spans:
        ends = (low * a, low * b, high * a, high * b)
        low, high = min(ends), max(ends)
    return low, high


def count(extents: Sequence[Extent]) -> int:
    return evaluate(product(extents), LARGEST, 7)


def span(made: Made) -> tuple[int, int]:
    return made.low, made.high


def hull(*tensors: Made) -> tuple[int, int]:
    return min(m.low for m in tensors), max(m.high for m in tensors)


def broadcast(*shapes: Sequence[Extent]) -> tuple[Extent, ...] | None:
    rank = max(map(len, shapes))
    out: list[Extent] = []
    for here in zip(*((1,) * (rank - len(s)) + tuple(s) for s in shapes), strict=True):
        wide = {e for e in here if e != 1}
        if len(wide) > 1:
            return None
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def product_range(x: Made, y: Made, extent: Extent) -> tuple[int, int]:
    bound = x.size * y.size * count([extent])
    return -bound, bound
