"""What the caller tiles, taken as it comes.

Of an input whose rows the caller repeats, row 0 is enough, and to take it is a Slice for each input. Where all the
rows are wanted anyway, or where a node counts for more than some rows that are looked up in vain (a call with a
single candidate), the original's own columns serve: as they are, and by one Slice of all of them for row 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from mari_onnx.analysis.context import Context
from mari_onnx.ir.arrays import cut, lay, sub_array
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.extents import ROW, symbol, total
from mari_onnx.ir.forms import Array, IndexMap, Parts, Value
from mari_onnx.ir.parts import bounds, groups, join, merge

Piece = tuple[Axis, Array]


def concat_as_given(
    ctx: Context,
    values: Sequence[Value],
    subs: Sequence[Axis],
    pieces: Sequence[Piece],
    counts: Sequence[int],
    axis: Axis,
    dims: Dims,
) -> Array | None:
    """The Concat of values along `axis` as the original has it; None where no caller repeats any of them.

    `subs` are the values' own axes there, and the pieces of value i are the next `counts[i]`. What the pieces are
    merged to gets alternatives, in which those that the caller repeats are columns of one row: the first of the whole
    Concat, which may be there anyway, or of the user's columns alone.
    """
    if all(v.written is None for v in values):
        return None
    given = [(sub, v.written or v.array) for sub, v in zip(subs, values, strict=True)]
    starts = list(accumulate(counts, initial=0))
    own = [range(start, start + count) for start, count in zip(starts, counts, strict=False)]
    tiled = [i for i, v in enumerate(values) if v.written is not None]
    users = [i for i in tiled if _is_row(values[i].array, dims)]
    rows = {k for i in tiled for k in own[i] if _is_row(pieces[k][1], dims)}
    for columns in dict.fromkeys((tuple(users), tuple(range(len(values))))):
        if len(rows.intersection(k for i in columns for k in own[i])) < 2:
            continue
        there = [k for i in columns for k in own[i]]
        edges = bounds(Parts(axis, tuple(pieces[k] for k in there)))
        if edges is None:
            break
        width, row = _first_row(ctx, [given[i] for i in columns], axis, dims)
        others = list(pieces)
        for k, (low, high) in zip(there, pairwise(edges), strict=True):
            if k in rows:
                others[k] = (pieces[k][0], cut(ctx.b, row, width, low, high, pieces[k][0]))
        _remember(ctx, pieces, others, axis, dims)
    return join(ctx.b, given, axis, dims)


def lookup_as_given(ctx: Context, whole: Array, parts: Parts, dims: Dims) -> None:
    """What was looked up in parts may be columns of the whole, of all its rows and of its first, if that is there."""
    edges = bounds(parts)
    if edges is None or len(dims[0]) != 1:
        return
    row = _row_of(ctx, whole, dims)
    others = [
        (sub, cut(ctx.b, row if _is_row(array, dims) else whole, parts.axis, low, high, sub))
        for (sub, array), (low, high) in zip(parts.pieces, pairwise(edges), strict=True)
    ]
    _remember(ctx, parts.pieces, others, parts.axis, dims)


def _is_row(array: Array, dims: Dims) -> bool:
    """Whether row 0 along the first dimension is all that there is of the array."""
    state = array.state(dims[0][0]) if len(dims[0]) == 1 else None
    return isinstance(state, IndexMap) and state.index is None


def _first_row(ctx: Context, given: Sequence[Piece], axis: Axis, dims: Dims) -> Piece:
    """Row 0 of some columns side by side."""
    width = Axis(total(sub.extent for sub, _ in given), axis.name)
    around = renamed(dims, {axis: (width,)})
    return width, _row_of(ctx, join(ctx.b, given, width, around), around)


def _row_of(ctx: Context, whole: Array, dims: Dims) -> Array:
    """Row 0 of the first dimension."""
    lead = dims[0][0]
    layout = tuple((a,) for a in (lead, *(a for a in flat(dims) if a is not lead and whole.state(a) != "absent")))
    row = ctx.b.first_row(lay(ctx.b, whole, layout), symbol(ROW))
    return Array(row, layout, ((lead, IndexMap(None, symbol(ROW))),))


def _remember(ctx: Context, pieces: Sequence[Piece], others: Sequence[Piece], axis: Axis, dims: Dims) -> None:
    """What consumers merge of the pieces is what they would merge of the others."""
    for members in groups([array.names() - {(sub, "stored")} for sub, array in pieces]).values():
        if any(others[i] is not pieces[i] for i in members):
            sub, merged = merge(ctx.b, [pieces[i] for i in members], axis, dims)
            other, columns = merge(ctx.b, [others[i] for i in members], axis, dims)
            instead = sub_array({other: sub}, columns)
            if instead.names() == merged.names():
                ctx.b.also(merged.tensor, lay(ctx.b, instead, merged.layout))
