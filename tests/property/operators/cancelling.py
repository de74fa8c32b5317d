"""Sums of which something is subtracted again, wholly or but for a few elements."""

from __future__ import annotations

from tests.property.graphs import FLOAT, UnfitError, Writer
from tests.property.operators.ranges import broadcast, span


def added_and_subtracted(w: Writer) -> None:
    """(x + y) - y, or (x + y) - x: what is left is smaller than what was added."""
    x = w.floats(rough=False)
    y = w.pick(lambda m: m.dtype == FLOAT and broadcast(m.shape, x.shape) is not None)
    shape = broadcast(x.shape, y.shape)
    assert shape is not None
    low, high = x.low + y.low, x.high + y.high
    total = w.write("Add", [x, y], shape, (low, high))
    back = w.choice([x, y])
    w.write("Sub", [total, back], shape, (low - back.high, high - back.low))


def large_and_back(w: Writer) -> None:
    """(x + c) - c with a constant that is far larger than x."""
    x = w.floats(rough=False)
    if w.half:
        raise UnfitError
    c = w.numbers([], 1000, 3000)
    up = w.write("Add", [x, c], x.shape, (x.low + c.low, x.high + c.high))
    w.write("Sub", [up, c], x.shape, span(x))


def itself(w: Writer) -> None:
    """x - x, which is 0 wherever x is a number."""
    x = w.floats(rough=False)
    w.write("Sub", [x, x], x.shape, (0, 0))
