"""Columns of inputs that the caller repeats, read as the caller sends them.

The caller sends B identical rows of each input of the user, and the optimized model takes row 0 of each by a Slice.
Two alternatives may be cheaper. They are recorded here (see `Builder.also`), and the plan chooses:

    all rows are needed anyway    the original's Concat or lookup of B rows, without a Slice
    many inputs, little work      the original's Concat of B rows, and one Slice of row 0 of all its columns

Example: eight ids of the user are looked up. Row 0 of each takes eight Slices; one Slice of the eight columns side by
side takes less, and at a single candidate the lookup of all rows takes no Slice at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

from mari_onnx.analysis.context import Context
from mari_onnx.ir.arrays import cut, lay, sub_array
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.extents import ROW, symbol, total
from mari_onnx.ir.forms import Array, IndexMap, Parts, Value
from mari_onnx.ir.parts import bounds, groups, join, merge

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

    `subs` are the values' own axes in the dimension in which they are joined. `pieces` are those of value 0, then of
    value 1 and so on, `counts[i]` of value i. Each merged run of pieces gets alternatives, in which the pieces that the
    caller repeats are columns of one row: row 0 of the whole Concat, which may be written anyway, or row 0 of the
    Concat of the user's columns alone.
    """
    if all(v.written is None for v in values):
        return None
    sent = [(sub, v.written or v.array) for sub, v in zip(subs, values, strict=True)]
    starts = list(accumulate(counts, initial=0))
    places = [range(start, start + count) for start, count in zip(starts, counts, strict=False)]
    tiled = [i for i, v in enumerate(values) if v.written is not None]
    users = tuple(i for i in tiled if _is_row(values[i].array, pieces.dims))
    rows = {k for i in tiled for k in places[i] if _is_row(pieces.of[k][1], pieces.dims)}
    for columns in dict.fromkeys((users, tuple(range(len(values))))):
        here = [k for i in columns for k in places[i]]
        if len(rows.intersection(here)) < 2:
            continue
        others = _columns_of_one_row(ctx, [sent[i] for i in columns], pieces, here, rows)
        if others is None:
            break
        _remember(ctx, pieces, others)
    return join(ctx.b, sent, pieces.axis, pieces.dims)


def _columns_of_one_row(
    ctx: Context, sent: Sequence[Piece], pieces: Pieces, here: Sequence[int], rows: set[int]
) -> list[Piece] | None:
    """All pieces, with those at positions `rows` replaced by columns of row 0 of the Concat of `sent`.

    `sent` holds the pieces at positions `here`. None where the width of a piece is no number.
    """
    edges = bounds(Parts(pieces.axis, tuple(pieces.of[k] for k in here)))
    if edges is None:
        return None
    width, row = _first_row(ctx, sent, pieces)
    others = list(pieces.of)
    for k, (low, high) in zip(here, pairwise(edges), strict=True):
        if k in rows:
            sub = pieces.of[k][0]
            others[k] = (sub, cut(ctx.b, row, width, low, high, sub))
    return others


def remember_lookup_as_sent(ctx: Context, whole: Array, parts: Parts, dims: Dims) -> None:
    """Record an alternative to a lookup that is done part by part: columns of the `whole` lookup, of all B rows.

    The parts of the user are columns of row 0 of the whole lookup, the other parts are columns of all its rows. This is
    cheaper if the whole lookup is written anyway.
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
    """Whether the array stores row 0 alone along the first dimension."""
    state = array.state(dims[0][0]) if len(dims[0]) == 1 else None
    return isinstance(state, IndexMap) and state.index is None


def _first_row(ctx: Context, sent: Sequence[Piece], pieces: Pieces) -> Piece:
    """Row 0 of the Concat of `sent`, and the axis that they are joined along."""
    width = Axis(total(sub.extent for sub, _ in sent), pieces.axis.name)
    dims = renamed(pieces.dims, {pieces.axis: (width,)})
    return width, _row_of(ctx, join(ctx.b, sent, width, dims), dims)


def _row_of(ctx: Context, whole: Array, dims: Dims) -> Array:
    """The array of row 0 of `whole` along the first dimension."""
    lead = dims[0][0]
    layout = tuple((a,) for a in (lead, *(a for a in flat(dims) if a is not lead and whole.state(a) != "absent")))
    row = ctx.b.first_row(lay(ctx.b, whole, layout), symbol(ROW))
    return Array(row, layout, ((lead, IndexMap(None, symbol(ROW))),))


def _remember(ctx: Context, pieces: Pieces, others: Sequence[Piece]) -> None:
    """Record, for each set of pieces that `part_by_part` merges, that the same merge of `others` is an alternative."""
    for members in groups([array.names() - {(sub, "stored")} for sub, array in pieces.of]).values():
        if any(others[i] is not pieces.of[i] for i in members):
            sub, merged = merge(ctx.b, [pieces.of[i] for i in members], pieces.axis, pieces.dims)
            other, columns = merge(ctx.b, [others[i] for i in members], pieces.axis, pieces.dims)
            alternative = sub_array({other: sub}, columns)
            if alternative.names() == merged.names():
                ctx.b.also(merged.tensor, lay(ctx.b, alternative, merged.layout))
