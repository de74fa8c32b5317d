"""An operator applied to parts: one node for each set of axes along which parts are stored.

    f([u1 (D1), i (B D2), u2 (D3)])  =  [f(u1 u2) (D1), f(i) (B D2), f(u1 u2) (D3)]

Parts that are stored along the same axes are concatenated before the operator runs, and its result is cut apart again.
One node for each part would be as exact and slower: 40 features, some of the user and some of the item, take two nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, Dims, Renaming
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import Extent, sorted_extents, total
from mari_onnx.ir.forms import Array, Names, Parts, Value
from mari_onnx.ir.parts import Piece, edges, groups, merge, pieces_between

Run = Callable[[list[Array], Renaming], Array]
"""The operation, given one array for each operand, and a renaming of the operands' axes to those of the arrays.

The renaming is {D: (D')} where the arrays hold columns D' out of all columns D of the operands."""

Interval: TypeAlias = tuple[Extent, Extent]
"""Indices [start, stop) along the parts' axis inside which no operand has a boundary between two parts."""

Column: TypeAlias = list[list[Piece]]
"""The pieces of one operand in each of the intervals."""


def part_by_part(b: Builder, operands: Sequence[Value], dims: Dims, run: Run) -> Parts | None:
    """The operation's result in parts, with one node for each set of axes along which parts are stored.

    `dims` are those of the result. Holds when the operation treats each index of the parts' axis independently, and
    the result has that axis. None where no operand is in parts, and where all parts of the result would be stored along
    the same axes, so that parts save nothing.
    """
    axis = next((v.parts.axis for v in operands if v.parts is not None), None)
    if axis is None or not any(axis in d for d in dims):
        return None
    intervals = _intervals(b, operands, axis)
    if intervals is None:
        return None
    columns = [_column(b, value, axis, intervals) for value in operands]
    names = [_names([column[i] for column in columns]) for i in range(len(intervals))]
    by_names = groups([(n, _of_candidates(b, n, span)) for n, span in zip(names, intervals, strict=True)])
    if len(by_names) < 2:
        return None
    pieces: dict[int, Piece] = {}
    for members in by_names.values():
        whole = Axis(total(intervals[i][1] - intervals[i][0] for i in members), axis.name)
        gathered = [_gathered(b, v, c, members, axis, whole) for v, c in zip(operands, columns, strict=True)]
        result = run(gathered, {axis: (whole,)})
        pieces.update(_apart(b, (whole, result), intervals, members, axis))
    return Parts(axis, tuple(pieces[i] for i in sorted(pieces)))


def _intervals(b: Builder, operands: Sequence[Value], axis: Axis) -> list[Interval] | None:
    """The intervals that all operands' parts cut the axis into: [0 1), [1 2), [2 5) of parts [2 3] and [1 4].

    None where their order depends on symbols, or where the opset of the model has no Slice at a symbol.
    """
    found: list[Extent] = []
    for value in operands:
        if value.parts is not None and value.parts.axis is axis:
            here = edges(value.parts)
            if here[-1] != axis.extent:
                return None
            found += here
    in_order = sorted_extents(found)
    return list(pairwise(in_order)) if in_order is not None and b.cuts_at(*in_order) else None


def _column(b: Builder, value: Value, axis: Axis, intervals: Sequence[Interval]) -> Column:
    """The operand's pieces in each interval. An operand that is not in parts along the axis is cut."""
    if value.parts is not None and value.parts.axis is axis:
        found = (pieces_between(b, value.parts, low, high) for low, high in intervals)
        column = [pieces for pieces in found if pieces is not None]
        assert len(column) == len(intervals), "the intervals have the edges of all parts"
        return column
    subs = [Axis(high - low, axis.name) for low, high in intervals]
    return [[(s, cut(b, value.array, axis, lo, hi, s))] for s, (lo, hi) in zip(subs, intervals, strict=True)]


def _names(operands: Sequence[Sequence[Piece]]) -> Names:
    """The axes along which the result is stored in one interval: "stored", if an operand has it so, else mapped."""
    names = {(a, s) for pieces in operands for sub, array in pieces for a, s in array.names() if a is not sub}
    stored = {a for a, s in names if s == "stored"}
    return frozenset((a, s) for a, s in names if s == "stored" or a not in stored)


def _of_candidates(b: Builder, names: Names, interval: Interval) -> bool:
    """Whether the result in an interval depends on the candidates, or holds one row for each: [history; candidates]."""
    start, stop = interval
    return any(b.counts_candidates(extent) for extent in (stop - start, *(a.extent for a, _ in names)))


def _gathered(b: Builder, value: Value, column: Column, members: Sequence[int], axis: Axis, whole: Axis) -> Array:
    """The operand's pieces in the intervals `members`, concatenated along the axis `whole`."""
    if value.array.state(axis) == "absent":
        return value.array
    sub, array = merge(b, [piece for i in members for piece in column[i]], axis, value.known_dims)
    return sub_array({sub: whole}, array)


def _apart(
    b: Builder, gathered: Piece, intervals: Sequence[Interval], members: Sequence[int], axis: Axis
) -> dict[int, Piece]:
    """The result for the intervals `members`, cut into one piece for each run of neighbouring intervals.

    Each piece stands under the number of its first interval. Neighbours stay in one piece, because a consumer would
    have to concatenate them again. Example: members 0, 1 and 3 give pieces {0: .., 3: ..}.
    """
    whole, result = gathered
    pieces: dict[int, Piece] = {}
    offset: Extent = 0
    for neighbours in _consecutive(members):
        if len(neighbours) == len(members):
            return {neighbours[0]: gathered}
        width = intervals[neighbours[-1]][1] - intervals[neighbours[0]][0]
        sub = Axis(width, axis.name)
        pieces[neighbours[0]] = (sub, cut(b, result, whole, offset, offset + width, sub))
        offset = offset + width
    return pieces


def _consecutive(positions: Sequence[int]) -> list[list[int]]:
    """Ascending positions as runs without gaps: [[0 1] [3]] of 0, 1, 3."""
    runs: list[list[int]] = []
    for p in positions:
        if runs and runs[-1][-1] + 1 == p:
            runs[-1].append(p)
        else:
            runs.append([p])
    return runs
