"""Which columns have no weight in a Softmax over blocks of logits, whatever the inputs are.

    logits of -inf                      have the weight 0
    -1e9 beside a logit of at least -8  has the weight 0: exp of the difference is
    -90 beside 0                        has 8e-40, which float32 holds

Of a block of candidates with candidates all but the diagonal may have none.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import helper

from mari_onnx.analysis.interval import Interval, Numbers, underflow
from mari_onnx.analysis.intervals import Intervals
from mari_onnx.analysis.positions import BEYOND, Index, Stretch, whole
from mari_onnx.ir.axes import Axis
from mari_onnx.ir.extents import at_most, positive
from mari_onnx.ir.forms import Array, Blocks, Place

TINY = float(np.finfo(np.float64).tiny)
"""More than nothing: how far below another number one lies that is less."""

Rows: TypeAlias = npt.NDArray[np.bool_]

ROUNDING: dict[int, float] = {
    helper.np_dtype_to_tensor_dtype(np.dtype(t)): 16 * float(np.finfo(t).eps) for t in ("f2", "f4", "f8")
}
"""How much larger, in proportion, a computed bound may be than the exact one."""


def own_alone(known: Intervals, blocks: Blocks, r: int, c: int) -> Array | None:
    """The diagonal of a block of logits, if in each row all others there have the weight 0; None for other blocks."""
    own = dict(blocks.diagonals).get((r, c))
    if own is None:
        return None
    largest = row_has(known, blocks, r).min(keepdims=True)
    sides = [side.high.max(keepdims=True) for side in _off_diagonal(known, blocks, r, c)]
    return own if sides and all(_has_no_weight(high, largest, own.tensor.dtype) for high in sides) else None


def _off_diagonal(known: Intervals, blocks: Blocks, r: int, c: int) -> list[Interval]:
    """The intervals of a square block on both sides of its diagonal; none where its rows and columns are merged."""
    array, row, column = blocks.grid[r][c], blocks.rows[r], blocks.columns[c]
    at = [[i for i, d in enumerate(array.layout) if d == (axis,)] for axis in (row, column)]
    if any(len(found) != 1 for found in at):
        return []
    (rows,), (columns,) = at
    window = list(whole(array.tensor.known_shape))
    here = window[rows]
    beyond = Stretch(1, here.index, Index(here.index.extent - 1, BEYOND))
    sides = []
    for first, second in ((here, beyond), (beyond, here)):
        window[rows], window[columns] = first, second
        sides.append(known.of(array.tensor, tuple(window)))
    return sides


def masked_blocks(known: Intervals, blocks: Blocks, r: int) -> list[int]:
    """The blocks of a row whose weights in a Softmax are exactly 0, whatever the inputs are.

    In each row a column is left, as a Softmax of nothing is no number.
    """
    return _below(known, blocks, r, underflow(blocks.grid[r][0].tensor.dtype))


def never_largest(known: Intervals, blocks: Blocks, r: int) -> list[int]:
    """The blocks of a row each of whose elements is less than one that its row has elsewhere, or is -inf.

    In each row a column is left, as nothing is the largest of nothing.
    """
    return _below(known, blocks, r, TINY)


def rows_without_weight(known: Intervals, blocks: Blocks, r: int, c: int) -> Rows:
    """For each row of a block, or for all of them together, whether its weights in a Softmax are exactly 0."""
    return _rows_far_below(known, blocks, (r, c), underflow(blocks.grid[r][c].tensor.dtype))


def rows_never_largest(known: Intervals, blocks: Blocks, r: int, c: int) -> Rows:
    """The same of whether each element is less than one that its row has elsewhere, or is -inf."""
    return _rows_far_below(known, blocks, (r, c), TINY)


def _rows_far_below(known: Intervals, blocks: Blocks, place: Place, distance: float) -> Rows:
    r, c = place
    array = blocks.grid[r][c]
    high = _by_row(known.of(array.tensor), array, blocks.rows[r], blocks.columns[c], low=False)
    return _rows_below(high, row_has(known, blocks, r), array.tensor.dtype, distance)


def rows_of_zeros(known: Intervals, blocks: Blocks, r: int, c: int) -> Rows:
    """For each row of a block, or for all of them together, whether every element is 0."""
    array, row = blocks.grid[r][c], blocks.rows[r]
    magnitude = known.of(array.tensor).magnitude
    others = tuple(i for i, d in enumerate(array.layout) if row is None or d != (row,))
    return np.asarray(np.asarray(magnitude.max(others)).reshape(-1) == 0)


def _below(known: Intervals, blocks: Blocks, r: int, distance: float) -> list[int]:
    """The blocks of a row that lie so far below an element of it, or are -inf; none where a row may have no other."""
    line, row, columns = blocks.grid[r], blocks.rows[r], blocks.columns
    if len(line) < 2:
        return []
    dtype = line[0].tensor.dtype
    largest = row_has(known, blocks, r)
    highs = [_by_row(known.of(a.tensor), a, row, s, low=False) for a, s in zip(line, columns, strict=True)]
    below = [c for c, high in enumerate(highs) if _is_below(high, largest, dtype, distance)]
    return below if any(_has_columns(row, columns[c]) for c in range(len(line)) if c not in below) else []


def row_has(known: Intervals, blocks: Blocks, r: int) -> Numbers:
    """For each row a logit that it has at least."""
    found = np.full(1, -np.inf)
    for array, column in zip(blocks.grid[r], blocks.columns, strict=True):
        for low in live(known, array, blocks.rows[r], column):
            found = np.maximum(found, low)
    return found


def _has_no_weight(high: Numbers, largest: Numbers, dtype: int) -> bool:
    """Whether logits of at most `high` have the weight 0 in each row, which has one of at least `largest`."""
    return _is_below(high, largest, dtype, underflow(dtype))


def _is_below(high: Numbers, largest: Numbers, dtype: int, distance: float) -> bool:
    """Whether numbers of at most `high` lie that far below one of at least `largest` in each row, or are -inf."""
    return bool(np.all(_rows_below(high, largest, dtype, distance)))


def _rows_below(high: Numbers, largest: Numbers, dtype: int, distance: float) -> Rows:
    with np.errstate(invalid="ignore"):
        apart = largest - high >= distance + ROUNDING.get(dtype, 1.0) * (np.abs(largest) + np.abs(high))
    return np.asarray((high == -np.inf) | (apart & np.isfinite(high)))


def _has_columns(row: Axis | None, column: Axis) -> bool:
    """Whether there is a column, if there is a row."""
    return positive(column.extent) or (row is not None and at_most(row.extent, column.extent))


def live(known: Intervals, array: Array, row: Axis | None, column: Axis) -> list[Numbers]:
    """For each row of a matrix, numbers of which it has one as large; none where it may have no column.

    Where the extents are symbols, the first column is looked at alone, and so is the diagonal: the column of the row's
    own token.
    """
    if not _has_columns(row, column):
        return []
    found = [_by_row(known.of(array.tensor), array, row, column, low=True)]
    at = [i for i, d in enumerate(array.layout) if d == (column,)]
    if isinstance(column.extent, int) or len(at) != 1:
        return found
    window = list(whole(array.tensor.known_shape))
    own = [i for i, d in enumerate(array.layout) if row is not None and d == (row,)]
    stretches = [Stretch(0, Index(1, at[0] - len(window)))]
    if row is not None and own and row.extent == column.extent:
        stretches.append(window[own[0]])
    for stretch in stretches:
        window[at[0]] = stretch
        found.append(_by_row(known.of(array.tensor, tuple(window)), array, row, column, low=True))
    return found


def _by_row(interval: Interval, array: Array, row: Axis | None, column: Axis, *, low: bool) -> Numbers:
    """For each row of a block, the largest logit that it may have, or with `low` one that it has at least.

    Where rows are not told apart there is one entry for all of them.
    """
    alone = [i for i, d in enumerate(array.layout) if row is not None and d == (row,)]
    columns = tuple(i for i, d in enumerate(array.layout) if d == (column,))
    numbers = interval.low if low else interval.high
    numbers = numbers.max(columns, keepdims=True) if columns else numbers
    others = tuple(i for i in range(numbers.ndim) if i not in alone)
    reduced = numbers.min(others) if low else numbers.max(others)
    return np.asarray(reduced).reshape(-1)


def is_diagonal(known: Intervals, blocks: Blocks, r: int, c: int) -> bool:
    """Whether a square block is 0 on both sides of its diagonal."""
    sides = _off_diagonal(known, blocks, r, c)
    return bool(sides) and all(side.is_zero for side in sides)
