"""The interval of elements that are moved, or of which some are set to 0 (see `intervals`).

Slice, Concat, Gather, Reshape, Transpose      the intervals move with the elements
Trilu [T T], rows 0 to L and column L          [0 0], whatever L is: no column of these rows is that far left
the same window of a stored triangle           the number that it has on that side of the diagonal
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mari_onnx.analysis.interval import LARGEST, Interval, Numbers, between, exactly
from mari_onnx.analysis.position_rules import exactly as number_of
from mari_onnx.analysis.positions import Affine, Window, along, constant, is_whole, never_negative
from mari_onnx.analysis.windows import Use, common, is_cut_by_numbers
from mari_onnx.ir.axes import units_moved
from mari_onnx.ir.operators import named

Rule: TypeAlias = Callable[[Use], "Interval | None"]

KEEPS_ELEMENTS = named(lambda t: t.view or t.foldable) | {"Tile", "Split", "GatherElements", "GatherND"}
"""Operators of which each element is one of the first input."""


def _reshaped(use: Use) -> Interval:
    """The dimensions in front that are not cut alike become one entry each; those at the end keep theirs."""
    x, (source, target) = use.inputs[0], (use.input(0).known_shape, use.tensor.known_shape)
    if all(e == 1 for e in x.low.shape) or math.prod(e for e in target if isinstance(e, int)) > LARGEST:
        return x.whole(use.rank)
    moved = units_moved(source, target)
    if moved is not None:
        entries = [1 if i is None else x.low.shape[i] for i in moved]
        return Interval(x.low.reshape(entries), x.high.reshape(entries))
    if all(isinstance(e, int) for e in (*source, *target)):
        shape = [int(str(e)) for e in target]
        full = [int(str(e)) for e in source]
        return Interval(np.broadcast_to(x.low, full).reshape(shape), np.broadcast_to(x.high, full).reshape(shape))
    end = common(source[::-1], target[::-1])
    kept = x.over(range(len(source) - end))
    shape_of_kept = (*(1,) * (len(target) - end), *kept.low.shape[len(source) - end :])
    return Interval(kept.low.reshape(shape_of_kept), kept.high.reshape(shape_of_kept))


def _transposed(use: Use) -> Interval:
    perm, x = use.attribute("perm"), use.inputs[0]
    return Interval(x.low.transpose(perm), x.high.transpose(perm))


def _expanded(use: Use) -> Interval:
    return use.inputs[0]


def _sliced(use: Use) -> Interval:
    axis, x = use.attribute("axis"), use.inputs[0]
    if x.low.shape[axis] == 1 or not is_cut_by_numbers(use.tensor, use.window):
        return x.over([axis])
    index = [slice(None)] * use.rank
    index[axis] = slice(use.attribute("start"), use.attribute("stop"))
    return Interval(x.low[tuple(index)], x.high[tuple(index)])


def _joined(use: Use) -> Interval:
    """The entries side by side, where the extents along the axis are numbers; else all of them together."""
    axis = use.attribute("axis") % use.rank
    if len(use.inputs) == 1:
        return use.inputs[0]
    extents = [e for i in range(len(use.inputs)) if isinstance(e := use.input(i).known_shape[axis], int)]
    shape = np.broadcast_shapes(*(_without(x.low.shape, axis) for x in use.inputs))
    if len(extents) < len(use.inputs) or math.prod(shape) * sum(extents) > LARGEST:
        together = [x.over([axis]) for x in use.inputs]
        return Interval(reduce(np.minimum, (x.low for x in together)), reduce(np.maximum, (x.high for x in together)))

    def joined(ends: Sequence[Numbers]) -> Numbers:
        widths = zip(ends, extents, strict=True)
        return np.concatenate([np.broadcast_to(a, (*shape[:axis], e, *shape[axis + 1 :])) for a, e in widths], axis)

    return Interval(joined([x.low for x in use.inputs]), joined([x.high for x in use.inputs]))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _gathered(use: Use) -> Interval:
    """Known places along an axis; else all elements along it together."""
    axis, (x, places), table = use.attribute("axis", 0) % len(use.input(0).known_shape), use.inputs, use.input(0)
    extent, rank_of_places = table.known_shape[axis], len(use.input(1).known_shape)
    known = places.is_known and isinstance(extent, int) and places.low.shape == use.input(1).known_shape
    if known and x.low.shape[axis] != 1:
        at = places.low.astype(np.int64)
        return Interval(x.low.take(at, axis, mode="wrap"), x.high.take(at, axis, mode="wrap"))
    every = x.over([axis])
    shape = (*every.low.shape[:axis], *(1,) * rank_of_places, *every.low.shape[axis + 1 :])
    return Interval(every.low.reshape(shape), every.high.reshape(shape))


# Triangles


def _triangle(use: Use) -> Interval | None:
    """Trilu keeps what is on one side of a diagonal: element by element, or in a window that lies on one side."""
    x, upper, shape = use.inputs[0], bool(use.attribute("upper", 1)), use.tensor.known_shape[-2:]
    k = number_of(use.input(1), use.inputs[1]) if len(use.inputs) > 1 else constant(0)
    if k is None or k.steps:
        return None
    numbers = [e for e in (*shape, k.constant) if isinstance(e, int)]
    if len(numbers) == 3 and numbers[0] * numbers[1] <= LARGEST and all(map(is_whole, use.window[-2:], shape)):
        rows, columns, diagonal = numbers
        kept = ~np.tri(rows, columns, diagonal - 1, np.bool_) if upper else np.tri(rows, columns, diagonal, np.bool_)
        return Interval(*(np.where(kept, end, 0.0) for end in (x.low, x.high)))
    side = _beyond(use.window, k if upper else k + constant(1))
    if side is None:
        return Interval(np.minimum(x.low, 0), np.maximum(x.high, 0))
    return x if side == upper else between(0, 0, use.rank)


def _beyond(window: Window, k: Affine) -> bool | None:
    """Whether the column is at least k to the right of the row, everywhere in a window; None where that differs."""
    rows, columns = window[-2:]
    right = along(columns) - along(rows) - k
    if never_negative(right, window):
        return True
    return False if never_negative(right.times(-1) - constant(1), window) else None


def of_stored(array: npt.NDArray[Any], window: Window) -> Interval:
    """The interval of a stored tensor in a window: one entry for each index of a dimension that is asked for whole."""
    within = [i for i, stretch in enumerate(window) if not is_whole(stretch, array.shape[i])]
    found = exactly(array)
    if not within:
        return found
    if len(within) == 2 and array.size <= LARGEST and array.dtype.kind in "biuf":
        sides = _sides(np.moveaxis(array, within, (-2, -1)))
        if sides is not None:
            k, upper, lower = sides
            beyond = _beyond((window[within[0]], window[within[1]]), constant(k))
            if beyond is not None:
                return exactly(np.asarray(upper if beyond else lower)).whole(array.ndim)
    return found.over(within)


def _sides(matrices: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any], npt.NDArray[Any]] | None:
    """The diagonal k behind which matrices have one number, with that number of each, and all their other elements.

    None where the places of that number, which is the one in the upper right corner, have another shape.
    """
    rows, columns = matrices.shape[-2:]
    corner = matrices[..., :1, -1:]
    hidden = (matrices == corner).reshape(-1, rows, columns)
    k = 0 if hidden[0, 0].all() else columns - int(np.argmin(hidden[0, 0, ::-1]))
    behind = ~np.tri(rows, columns, k - 1, np.bool_)
    if not np.array_equal(hidden, np.broadcast_to(behind, hidden.shape)):
        return None
    return k, corner, matrices[..., ~behind]


RULES: Mapping[str, Rule] = {
    "Reshape": _reshaped,
    "Transpose": _transposed,
    "Expand": _expanded,
    "Slice": _sliced,
    "Concat": _joined,
    "Gather": _gathered,
    "Trilu": _triangle,
}
"""By operator: the interval of the result from those of the inputs, None where nothing is known."""
