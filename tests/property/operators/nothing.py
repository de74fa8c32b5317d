"""Tensors without elements: extents that are declared as 0, or that come to 0."""

from __future__ import annotations

import numpy as np

from mari_onnx.ir.extents import Extent
from tests.property.graphs import FLOAT, B, Made, UnfitError, Writer
from tests.property.operators.columns import numbered
from tests.property.operators.ranges import span


def input_of_nothing(w: Writer) -> None:
    """[B, 0] of an item, or of a user whose rows the caller repeats; [1, 0] of a user."""
    name = f"nothing{len(w.sources)}"
    kind = w.between(0, 2)
    w.input(name, (1 if kind == 0 else B, 0), FLOAT, 0, 0, tiled=kind == 1)


def slice_of_nothing(w: Writer) -> None:
    x, axis, extent = numbered(w, 0)
    start = w.between(0, extent)
    shape = [*x.shape[:axis], 0, *x.shape[axis + 1 :]]
    w.write("Slice", [x, w.ints([start]), w.ints([start]), w.ints([axis])], shape, span(x))


def concat_with_nothing(w: Writer) -> None:
    """One of the pieces has no columns: it is stored, or there already."""
    x, axis, _ = numbered(w, 0)
    shape: list[Extent] = [*x.shape[:axis], 0, *x.shape[axis + 1 :]]
    there = [m for m in w.made if list(m.shape) == shape and m.dtype == x.dtype]
    if there and w.chance(60):
        nothing = w.choice(there)
    elif all(isinstance(e, int) for e in shape) and x.dtype == FLOAT:
        nothing = w.numbers([int(str(e)) for e in shape])
    else:
        raise UnfitError
    pieces = [x, nothing] if w.chance(50) else [nothing, x]
    w.write("Concat", pieces, x.shape, span(x), axis=axis)


def _empty(w: Writer) -> Made:
    return w.pick(lambda m: m.dtype == FLOAT and 0 in m.shape)


def reshape_nothing(w: Writer) -> None:
    x = _empty(w)
    if w.opset < 14 or x.rank > 3:
        raise UnfitError
    shape: list[Extent] = [*x.shape, w.between(1, 3)] if w.chance(50) else [*x.shape][::-1]
    w.write("Reshape", [x, w.shape_chain(shape)], shape, span(x), allowzero=1)


def product_over_nothing(w: Writer) -> None:
    """A product that sums up nothing is 0 everywhere."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and m.shape[-1] == 0)
    n = w.between(1, 3)
    w.write("MatMul", [x, w.numbers([0, n])], [*x.shape[:-1], n], (0, 0))


def sum_of_nothing(w: Writer) -> None:
    x = _empty(w)
    axis = x.shape.index(0)
    inputs, attributes = w.axes_form("ReduceSum", [axis])
    w.write("ReduceSum", [x, *inputs], [*x.shape[:axis], 1, *x.shape[axis + 1 :]], (0, 0), keepdims=1, **attributes)


def activated_nothing(w: Writer) -> None:
    x = _empty(w)
    w.write(w.choice(["Relu", "Neg", "Abs"]), [x], x.shape, (-x.size, x.size))


def split_off_nothing(w: Writer) -> None:
    x, axis, extent = numbered(w, 1)
    widths = w.choice([[extent, 0], [0, extent]])
    inputs, attributes = ([w.ints(widths)], {}) if w.opset >= 13 else ([], {"split": widths})
    outputs = [((*x.shape[:axis], width, *x.shape[axis + 1 :]), span(x), x.dtype) for width in widths]
    w.write_all("Split", [x, *inputs], outputs, axis=axis, **attributes)


def rows_of_nothing(w: Writer) -> None:
    """A lookup of no ids."""
    x, axis, _ = numbered(w, 1)
    w.write(
        "Gather", [x, w.constant(np.zeros(0, np.int64))], [*x.shape[:axis], 0, *x.shape[axis + 1 :]], span(x), axis=axis
    )
