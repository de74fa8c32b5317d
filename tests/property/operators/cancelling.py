"""Sums of which something is subtracted again, wholly or but for a few elements."""

from __future__ import annotations

import numpy as np

from tests.property.graphs import FLOAT, Made, UnfitError, Writer
from tests.property.operators.ranges import broadcast, span

LARGE = 2**20
"""Beside it float32 has eighths, and loses whatever is smaller."""


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


def rounded(w: Writer) -> None:
    """(x + C) - C with C = 1.5 * 2**23, which rounds x to whole numbers; behind a product, its bias or neither."""
    x = _eighths(w, _behind_product(w) if w.chance(50) else w.floats(rough=False))
    c = w.constant(np.array(1.5 * 2**23, np.float32))
    inputs = w.choice([[x, c], [c, x]])
    up = w.write("Add", inputs, x.shape, (2**22, 2**24), exact=False)
    if w.chance(30):
        up = w.write("Identity", [up], x.shape, span(up), exact=False)
    w.write("Sub", [up, c], x.shape, span(x), exact=False)


def standardized(w: Writer) -> None:
    """(x - mean) + shift, where x and the mean are large and the shift is small; both may be computed."""
    x, y = w.floats(rough=False), w.floats(rough=False)
    shape = broadcast(x.shape, y.shape)
    if shape is None:
        raise UnfitError
    large = w.write("Add", [_eighths(w, x), w.constant(np.array(LARGE, np.float32))], x.shape, (0, 2**24), exact=False)
    mean = w.numbers([], LARGE, LARGE + 5)
    if w.chance(50):
        mean = w.write("Add", [mean, y], y.shape, (0, 2**24), exact=False)
    shift = _eighths(w, _eighths(w, w.choice([y, w.numbers([])])))
    left = w.write("Sub", [large, mean], shape, (-(2**12), 2**12), exact=False)
    w.write("Add", [left, shift], shape, (-(2**12), 2**12), exact=False)


def _eighths(w: Writer, x: Made) -> Made:
    if w.half:
        raise UnfitError
    low, high = span(x)
    eighth = w.constant(np.array(0.125, np.float32))
    return w.write("Mul", [x, eighth], x.shape, (min(low, 0), max(high, 0)), exact=False)


def _behind_product(w: Writer) -> Made:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2 and isinstance(m.shape[-1], int))
    width, columns = int(str(x.shape[-1])), w.between(1, 4)
    most = 2 * width * max(abs(x.low), abs(x.high))
    weight = w.numbers([width, columns])
    return w.write("MatMul", [x, weight], [*x.shape[:-1], columns], (-most, most))


def itself(w: Writer) -> None:
    """x - x, which is 0 wherever x is a number."""
    x = w.floats(rough=False)
    w.write("Sub", [x, x], x.shape, (0, 0))
