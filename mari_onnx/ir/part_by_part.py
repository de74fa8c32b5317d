"""An operator on parts: once for each set of axes along which parts are stored, and no more often.

    f([u1 (D1), i (B D2), u2 (D3)])  =  [f(u1 u2) (D1), f(i) (B D2), f(u1 u2) (D3)]

Parts that differ along the same axes are gathered before the operator runs, and its result is cut apart again. One
node for each part would be exact too, and slower: 40 features of two kinds are two nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, Dims, Renaming
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.forms import Array, Names, Parts, Value
from mari_onnx.ir.parts import Piece, bounds, groups, merge, pieces_between

Run = Callable[[list[Array], Renaming], Array]
"""One operation on arrays that hold the operands' values, but for axes that the renaming gives other names."""

Interval: TypeAlias = tuple[int, int]
"""Places [start, stop) along the parts' axis, which no operand cuts any further."""

Column: TypeAlias = list[list[Piece]]
"""What one operand has in each of the intervals."""


def part_by_part(b: Builder, operands: Sequence[Value], dims: Dims, run: Run) -> Parts | None:
    """One node for each set of stored axes: pieces that differ along the same axes are gathered first.

    Holds when the operation treats the parts' axis, which its result with `dims` must have, independently. None where
    no operand is in parts, or where every part of the result differs along the same axes.
    """
    axis = next((v.parts.axis for v in operands if v.parts is not None), None)
    if axis is None or not any(axis in d for d in dims):
        return None
    intervals = _intervals(operands, axis)
    if intervals is None:
        return None
    columns = [_column(b, value, axis, intervals) for value in operands]
    by_names = groups([_names([column[i] for column in columns]) for i in range(len(intervals))])
    if len(by_names) < 2:
        return None
    pieces: dict[int, Piece] = {}
    for members in by_names.values():
        whole = Axis(sum(intervals[i][1] - intervals[i][0] for i in members), axis.name)
        gathered = [_gathered(b, v, c, members, axis, whole) for v, c in zip(operands, columns, strict=True)]
        result = run(gathered, {axis: (whole,)})
        pieces.update(_apart(b, (whole, result), intervals, members, axis))
    return Parts(axis, tuple(pieces[i] for i in sorted(pieces)))


def _intervals(operands: Sequence[Value], axis: Axis) -> list[Interval] | None:
    """[2 3] and [1 4] cut their axis at 0, 1, 2 and 5. None where the widths of parts are not numbers."""
    edges: set[int] = set()
    for value in operands:
        if value.parts is not None and value.parts.axis is axis:
            here = bounds(value.parts)
            if here is None or here[-1] != axis.extent:
                return None
            edges.update(here)
    return list(pairwise(sorted(edges)))


def _column(b: Builder, value: Value, axis: Axis, intervals: Sequence[Interval]) -> Column:
    """The operand's pieces in each interval; one that is in no parts along the axis is cut."""
    if value.parts is not None and value.parts.axis is axis:
        return [pieces_between(b, value.parts, low, high) for low, high in intervals]
    subs = [Axis(high - low, axis.name) for low, high in intervals]
    return [[(s, cut(b, value.array, axis, lo, hi, s))] for s, (lo, hi) in zip(subs, intervals, strict=True)]


def _names(operands: Sequence[Sequence[Piece]]) -> Names:
    """Along which axes the result differs in one interval: an axis that any operand stores by itself is stored so."""
    names = {(a, s) for pieces in operands for sub, array in pieces for a, s in array.names() if a is not sub}
    stored = {a for a, s in names if s == "stored"}
    return frozenset((a, s) for a, s in names if s == "stored" or a not in stored)


def _gathered(b: Builder, value: Value, column: Column, members: Sequence[int], axis: Axis, whole: Axis) -> Array:
    """What the operand has in some intervals, side by side along the axis `whole`."""
    if value.array.state(axis) == "absent":
        return value.array
    sub, array = merge(b, [piece for i in members for piece in column[i]], axis, value.known_dims)
    return sub_array({sub: whole}, array)


def _apart(
    b: Builder, gathered: Piece, intervals: Sequence[Interval], members: Sequence[int], axis: Axis
) -> dict[int, Piece]:
    """The result for some intervals as one piece for each run of neighbours, by the first of them.

    What is cut apart here somebody puts together again.
    """
    whole, result = gathered
    pieces: dict[int, Piece] = {}
    offset = 0
    for neighbours in _consecutive(members):
        if len(neighbours) == len(members):
            return {neighbours[0]: gathered}
        width = intervals[neighbours[-1]][1] - intervals[neighbours[0]][0]
        sub = Axis(width, axis.name)
        pieces[neighbours[0]] = (sub, cut(b, result, whole, offset, offset + width, sub))
        offset += width
    return pieces


def _consecutive(positions: Sequence[int]) -> list[list[int]]:
    """Ascending positions as runs without gaps."""
    runs: list[list[int]] = []
    for p in positions:
        if runs and runs[-1][-1] + 1 == p:
            runs[-1].append(p)
        else:
            runs.append([p])
    return runs
