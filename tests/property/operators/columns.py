"""Concat, Slice, Split, and Gather by constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from mari_onnx.ir.extents import Poly
from tests.property.graphs import FLOAT, Made, Writer
from tests.property.operators.ranges import hull, span


def concat(w: Writer) -> None:
    first = w.pick(lambda m: m.rank > 0, rough=True)
    axis = w.between(0, first.rank - 1) if w.chance(30) else first.rank - 1

    def fits(m: Made) -> bool:
        return (
            m.rank == first.rank
            and m.dtype == first.dtype
            and all(i == axis or a == b for i, (a, b) in enumerate(zip(m.shape, first.shape, strict=True)))
        )

    tensors = [first, *(w.pick(fits, rough=True) for _ in range(w.between(1, 3)))]
    rest = [e for i, e in enumerate(first.shape) if i != axis]
    if w.chance(15) and first.dtype == FLOAT and all(isinstance(e, int) for e in rest):
        tensors.append(w.numbers([int(str(e)) for e in (*rest[:axis], w.between(1, 2), *rest[axis:])]))
    tensors = tensors[1:] + tensors[:1] if w.chance(50) else tensors
    width = sum((m.shape[axis] for m in tensors), start=0)
    shape = [*first.shape[:axis], width, *first.shape[axis + 1 :]]
    w.write("Concat", tensors, shape, hull(*tensors), axis=axis - first.rank if w.chance(30) else axis)


def numbered(w: Writer, at_least: int) -> tuple[Made, int, int]:
    """A tensor and a dimension of it whose extent is a number."""
    x = w.pick(lambda m: any(isinstance(e, int) and e >= at_least for e in m.shape), rough=True)
    axis = w.choice([i for i, e in enumerate(x.shape) if isinstance(e, int) and e >= at_least])
    extent = x.shape[axis]
    assert isinstance(extent, int)
    return x, axis, extent


def slice_(w: Writer) -> None:
    x, axis, extent = numbered(w, 2)
    start = w.between(0, extent - 1)
    stop = w.between(start + 1, extent)
    said = start - extent if w.chance(40) else start, stop if stop < extent or w.chance(30) else 2**63 - 1
    if w.chance(10):  # backwards, or each second one
        step = w.choice([2, -1])
        first, last = (0, 2**31) if step > 0 else (-1, -(2**31))
        inputs = [w.ints([first]), w.ints([last]), w.ints([axis]), w.ints([step])]
        shape = [*x.shape[:axis], len(range(0, extent, abs(step))), *x.shape[axis + 1 :]]
        w.write("Slice", [x, *inputs], shape, span(x))
        return
    if stop < extent and w.chance(30):
        said = said[0], stop - extent
    axes = [axis - x.rank if w.chance(30) else axis]
    inputs = [w.ints([said[0]]), w.ints([said[1]]), w.ints(axes)]
    if w.chance(20):
        inputs.append(w.ints([1]))
    w.write("Slice", [x, *inputs], [*x.shape[:axis], stop - start, *x.shape[axis + 1 :]], span(x))


def slice_several(w: Writer) -> None:
    """Of several dimensions at once, by the default axes."""
    x = w.pick(lambda m: m.rank > 0 and isinstance(m.shape[0], int) and m.shape[0] > 1, rough=True)
    numbers = 1 if x.rank == 1 or not isinstance(x.shape[1], int) else 2
    cuts = [(w.between(0, int(str(e)) - 1), int(str(e))) for e in x.shape[:numbers]]
    starts, ends = ([c[i] for c in cuts] for i in (0, 1))
    shape = [*(b - a for a, b in cuts), *x.shape[numbers:]]
    w.write("Slice", [x, w.ints(starts), w.ints(ends)], shape, span(x))


def slice_symbolic(w: Writer) -> None:
    x = w.pick(lambda m: m.rank > 0 and isinstance(m.shape[0], Poly), rough=True)
    w.write("Slice", [x, w.ints([0]), w.ints([2**31 - 1]), w.ints([0])], x.shape, span(x))


def split(w: Writer) -> None:
    x, axis, extent = numbered(w, 2)
    widths: list[int] = []
    while sum(widths) < extent:
        widths.append(w.between(1, extent - sum(widths)))
    equal = len(set(widths)) == 1 and w.chance(60)
    inputs: list[Made | None] = [x]
    attributes: dict[str, Any] = {"axis": axis - x.rank if w.chance(30) else axis}
    if not equal and w.opset >= 13:
        inputs.append(w.ints(widths))
    elif not equal:
        attributes["split"] = widths
    elif w.opset >= 18:
        attributes["num_outputs"] = len(widths)
    outputs = [((*x.shape[:axis], width, *x.shape[axis + 1 :]), span(x), x.dtype) for width in widths]
    w.write_all("Split", inputs, outputs, **attributes)


def select(w: Writer) -> None:
    x, axis, extent = numbered(w, 1)
    rest = (x.shape[:axis], x.shape[axis + 1 :])
    if w.chance(30):
        index = w.constant(np.array(w.between(-extent, extent - 1), np.int64))
        shape = [*rest[0], *rest[1]]
    else:
        start = w.between(0, extent - 1)
        picked = list(range(start, extent))
        if w.chance(50):
            picked = [w.between(-extent, extent - 1) for _ in range(w.between(1, 3))]
        index = w.ints(picked)
        shape = [*rest[0], len(picked), *rest[1]]
    w.write("Gather", [x, index], shape, span(x), axis=axis)
