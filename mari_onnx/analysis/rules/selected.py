"""Columns at constant places: Gather by a constant.

    Gather([a b c], [2, 0])     is [c a]
    Gather([a b c], 1)          is b, without the dimension
    Gather(x @ x', pairs)       are products of those rows alone (see `pairs`)

Example: x = [user item] has 4 columns of the user and 3 of the item. x[:, [6, 0, 2]] is the last column of the item
beside two of the user. Neighbours are taken as a Slice takes them (see `columns`).

Holds when the extent and the places are numbers, or the place is one token of several parts whose extents are symbols.
Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.facts import Picked
from mari_onnx.analysis.picking import Places, pick
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.rules import pairs
from mari_onnx.analysis.rules.columns import of_parts, take, whole_axis
from mari_onnx.analysis.spans import END, Span
from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, extent_of, renamed, with_dim
from mari_onnx.ir.extents import Extent, Poly
from mari_onnx.ir.forms import Array, Parts, Value
from mari_onnx.ir.parts import bounds, groups, merge


def select(
    op: Op, ctx: Context, value: Value, position: int, indices: Sequence[int], *, scalar: bool = False
) -> list[Value] | None:
    """Gather by constant indices: pieces in another order, or one row.

    With a `scalar` index the result lacks the dimension. None if the value has no form whose pieces could be taken: the
    Gather is then a lookup (see `lookup`).
    """
    extent = extent_of(value.known_dims[position])
    if scalar and isinstance(extent, Poly):
        return place(op, ctx, value, position, indices[0])
    if not isinstance(extent, int) or not extent:  # of nothing, the node does not run
        return None
    indices = [i % extent for i in indices]
    if scalar:
        taken = take(op, ctx, value, Span(position, indices[0], indices[0] + 1))
        dims = taken.known_dims
        return [taken.with_dims(dims[:position] + dims[position + 1 :])]
    if indices == list(range(indices[0], indices[-1] + 1)):
        return [take(op, ctx, value, Span(position, indices[0], indices[-1] + 1))]
    whole = whole_axis(ctx, value, position)
    places = Places(position, indices, Axis(len(indices), str(len(indices))))
    picked = _reordered(op, ctx, whole, places) or _entries_of_pairs(op, ctx, value, whole, places)
    if picked is not None:
        axis = whole.known_dims[position][0]
        ctx.facts.picked[picked[0].array.tensor] = Picked(whole, axis, tuple(indices))
    return picked


def place(op: Op, ctx: Context, value: Value, position: int, index: Extent) -> list[Value] | None:
    """Gather by one index along an axis of unknown extent that is in parts: the last of tokens [length 1]."""
    last = Span(position, index, END if index == -1 else index + 1)
    taken = of_parts(op, ctx, value, last)
    if taken is None or taken.known_dims[position]:
        return None
    dims = taken.known_dims
    return [taken.with_dims(dims[:position] + dims[position + 1 :])]


def _entries_of_pairs(op: Op, ctx: Context, all_pairs: Value, value: Value, places: Places) -> list[Value] | None:
    """Entries of a product of rows with rows (see `pairs`).

    `all_pairs` has the axis of the rows and the axis of the columns in one dimension. In `value` they are one axis.
    """
    since = ctx.b.count
    parts = pairs.entries(ctx, all_pairs, places.position, places.indices, places.new)
    if parts is None:
        return None
    array = pick(ctx, value.array, value.known_dims, places)
    array = priced(ctx.cost, array, since, ctx.facts.pair_products[all_pairs.array.tensor].price)
    dims = with_dim(value.known_dims, places.position, places.dim)
    if len(parts.pieces) == 1:
        ((sub, only),) = parts.pieces
        array = min(array, replace(sub_array({sub: places.new}, only), price=parts.price), key=lambda a: a.price)
        return [ctx.result(op, dims, array)]
    return [ctx.result(op, dims, array, parts=parts)]


def _reordered(op: Op, ctx: Context, value: Value, places: Places) -> list[Value] | None:
    """Columns of parts in any order, also repeated: one Gather for all parts that are stored along the same axes."""
    axis, parts = value.known_dims[places.position][0], value.parts
    edges = None if parts is None or parts.axis is not axis else bounds(parts)
    if parts is None or edges is None:
        return None
    since = ctx.b.count
    pieces: dict[int, tuple[Axis, Array]] = {}
    for members in groups([array.names() - {(sub, "stored")} for sub, array in parts.pieces]).values():
        columns = [c for k in members for c in range(edges[k], edges[k + 1])]
        pieces |= _picked_of(ctx, value, parts, members, columns, places)
    dims = with_dim(value.known_dims, places.position, places.dim)
    ordered = priced(ctx.cost, Parts(places.new, tuple(pieces[j] for j in sorted(pieces))), since, parts.price)
    if len(ordered.pieces) == 1:
        ((whole, array),) = ordered.pieces
        return [ctx.result(op, dims, sub_array({whole: places.new}, array))]
    array = pick(ctx, value.array, value.known_dims, places)
    return [ctx.result(op, dims, priced(ctx.cost, array, since, value.array.price), parts=ordered)]


def _picked_of(
    ctx: Context, value: Value, parts: Parts, members: list[int], columns: list[int], places: Places
) -> dict[int, tuple[Axis, Array]]:
    """The pieces of the result that come from some parts, each under the position in the result where it begins.

    `members` are the positions of the parts, and `columns` are the columns of the value that they hold. Example: parts
    hold the columns [0, 1, 2], and the places are [5, 0, 1, 7, 2]. Their pieces are 1: [0, 1] and 4: [2].
    """
    offset = {c: n for n, c in enumerate(columns)}
    mine = [j for j, i in enumerate(places.indices) if i in offset]
    if not mine:
        return {}
    sub, array = merge(ctx.b, [parts.pieces[k] for k in members], parts.axis, value.known_dims)
    chosen = Axis(len(mine), places.new.name)
    merged_dims = renamed(value.known_dims, {parts.axis: (sub,)})
    picked = pick(ctx, array, merged_dims, Places(places.position, [offset[places.indices[j]] for j in mine], chosen))
    pieces: dict[int, tuple[Axis, Array]] = {}
    start = 0
    for n in range(1, len(mine) + 1):
        if n == len(mine) or mine[n] != mine[n - 1] + 1:
            run = Axis(n - start, places.new.name)
            pieces[mine[start]] = (run, cut(ctx.b, picked, chosen, start, n, run))
            start = n
    return pieces
