"""Columns of inputs that the caller repeats, read as the caller sends them.

The caller sends B rows of an input of the user, all alike, and the optimized model takes row 0 of it by a Slice: one
Slice for each such input. Two alternatives may be cheaper, and are recorded here (see `Builder.also`) for the plan to
choose from:

    all rows are wanted anyway    the original's Concat or lookup of B rows is as good as it was, with no Slice
    many inputs, little to do     the original's Concat of B rows, and one Slice of row 0 of all its columns

Example: eight ids of the user are looked up. Row 0 of each takes eight Slices; one Slice of the eight columns side by
side takes less, and at a single candidate the lookup of all rows takes no Slice at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

from mari_onnx.analysis.context import Context
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.extents import ROW, symbol, total
from mari_onnx.ir.forms import Array, IndexMap, Parts, Value
from mari_onnx.ir.layout import bounds, cut, groups, join, lay, merge, sub_array

Piece: TypeAlias = tuple[Axis, Array]
"""An array, and its axis along which it is joined with others."""


@dataclass(frozen=True)
class Pieces:
    """Pieces along `axis` of a value with these dims."""

    of: Sequence[Piece]
    axis: Axis
    dims: Dims


def concat_as_sent(
    ctx: Context, values: Sequence[Value], subs: Sequence[Axis], pieces: Pieces, counts: Sequence[int]
) -> Array | None:
    """The Concat of values as the original has it, of B rows; None where the caller repeats none of them.

    `subs` are the values' own axes in the dimension in which they are joined, and the pieces of value i are the next
    `counts[i]`. What consumers merge of the pieces gets alternatives, in which the pieces that the caller repeats are
    columns of one row: of the first row of the whole Concat, which may be there anyway, or of the user's columns alone.
    """
    if all(v.written is None for v in values):
        return None
    given = [(sub, v.written or v.array) for sub, v in zip(subs, values, strict=True)]
    starts = list(accumulate(counts, initial=0))
    own = [range(start, start + count) for start, count in zip(starts, counts, strict=False)]
    tiled = [i for i, v in enumerate(values) if v.written is not None]
    users = tuple(i for i in tiled if _is_row(values[i].array, pieces.dims))
    rows = {k for i in tiled for k in own[i] if _is_row(pieces.of[k][1], pieces.dims)}
    for columns in dict.fromkeys((users, tuple(range(len(values))))):
        here = [k for i in columns for k in own[i]]
        if len(rows.intersection(here)) < 2:
            continue
        others = _columns_of_one_row(ctx, [given[i] for i in columns], pieces, here, rows)
        if others is None:
            break
        _remember(ctx, pieces, others)
    return join(ctx.b, given, pieces.axis, pieces.dims)


def _columns_of_one_row(
    ctx: Context, given: Sequence[Piece], pieces: Pieces, here: Sequence[int], rows: set[int]
) -> list[Piece] | None:
    """The pieces, with those at positions `rows` as columns of row 0 of what is `given`, which holds those `here`.

    None where some width is not a number.
    """
    edges = bounds(Parts(pieces.axis, tuple(pieces.of[k] for k in here)))
    if edges is None:
        return None
    width, row = _first_row(ctx, given, pieces)
    others = list(pieces.of)
    for k, (low, high) in zip(here, pairwise(edges), strict=True):
        if k in rows:
            sub = pieces.of[k][0]
            others[k] = (sub, cut(ctx.b, row, width, low, high, sub))
    return others


def remember_lookup_as_sent(ctx: Context, whole: Array, parts: Parts, dims: Dims) -> None:
    """Record that rows which were looked up part by part are columns of the `whole` lookup, which may be there anyway.

    The parts of the user are columns of its row 0, the others of all its B rows.
    """
    edges = bounds(parts)
    if edges is None or len(dims[0]) != 1:
        return
    row = _row_of(ctx, whole, dims)
    others = [
        (sub, cut(ctx.b, row if _is_row(array, dims) else whole, parts.axis, low, high, sub))
        for (sub, array), (low, high) in zip(parts.pieces, pairwise(edges), strict=True)
    ]
    _remember(ctx, Pieces(parts.pieces, parts.axis, dims), others)


def _is_row(array: Array, dims: Dims) -> bool:
    """Whether row 0 along the first dimension is all that there is of the array."""
    state = array.state(dims[0][0]) if len(dims[0]) == 1 else None
    return isinstance(state, IndexMap) and state.index is None


def _first_row(ctx: Context, given: Sequence[Piece], pieces: Pieces) -> Piece:
    """Row 0 of what is given, side by side."""
    width = Axis(total(sub.extent for sub, _ in given), pieces.axis.name)
    dims = renamed(pieces.dims, {pieces.axis: (width,)})
    return width, _row_of(ctx, join(ctx.b, given, width, dims), dims)


def _row_of(ctx: Context, whole: Array, dims: Dims) -> Array:
    """Row 0 of the first dimension."""
    lead = dims[0][0]
    layout = tuple((a,) for a in (lead, *(a for a in flat(dims) if a is not lead and whole.state(a) != "absent")))
    row = ctx.b.first_row(lay(ctx.b, whole, layout), symbol(ROW))
    return Array(row, layout, ((lead, IndexMap(None, symbol(ROW))),))


def _remember(ctx: Context, pieces: Pieces, others: Sequence[Piece]) -> None:
    """Record that what consumers merge of the pieces holds the same as what they would merge of the others."""
    for members in groups([array.names() - {(sub, "stored")} for sub, array in pieces.of]).values():
        if any(others[i] is not pieces.of[i] for i in members):
            sub, merged = merge(ctx.b, [pieces.of[i] for i in members], pieces.axis, pieces.dims)
            other, columns = merge(ctx.b, [others[i] for i in members], pieces.axis, pieces.dims)
            instead = sub_array({other: sub}, columns)
            if instead.names() == merged.names():
                ctx.b.also(merged.tensor, lay(ctx.b, instead, merged.layout))
