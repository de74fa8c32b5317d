"""Putting columns together: Concat.

    Concat(a, b)                  is the parts [a b]: nothing is copied unless a reader needs one array
    Concat(x, x, x)               is x with one more axis of extent 3, along which x repeats
    Concat([a; b], [c; d])        is [Concat(a, c); Concat(b, d)], for parts along another dimension
    Concat(scores, sink)          along the columns of blocks, is a matrix of more blocks
    Concat(h1 (B L d), ...)       along B, is stacked: the number of inputs is one more axis, outside B

Example: user (1 4) is expanded to B rows and joined with item (B 3). The result is kept as the two parts, and a product
with a weight multiplies the four columns of the user once (see `weight_rows`).

Holds when the widths are numbers, or are all one symbol, and the other extents are proven equal. Rounding: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.pricing import price_in_blocks, price_in_parts, price_whole, priced
from mari_onnx.analysis.rules.blocks import blocks_of
from mari_onnx.analysis.tiled_inputs import Pieces, concat_as_sent
from mari_onnx.ir.arrays import lay, sub_array
from mari_onnx.ir.axes import (
    Axis,
    Dim,
    Dims,
    Refused,
    Renaming,
    dim,
    extent_of,
    extents,
    flat,
    refine,
    renamed,
    show,
    with_dim,
)
from mari_onnx.ir.blocks import beside
from mari_onnx.ir.extents import Poly, total
from mari_onnx.ir.forms import Array, Factors, Parts, Terms, Value
from mari_onnx.ir.part_by_part import part_by_part
from mari_onnx.ir.parts import join
from mari_onnx.ir.renaming import fresh, fuse, rename_value


def concat(op: Op, ctx: Context) -> Derived:
    """The inputs as parts, in order; one more axis if all inputs are one value, or have the same unknown extent."""
    values = [v for v in op.inputs if v is not None]
    ranks = {None if v.dims is None else len(v.dims) for v in values}
    rank = ranks.pop()
    if not rank or ranks:  # of several ranks, or of numbers, the node does not run
        return Refused("the rank of an input of Concat is unknown")
    position = op.axis % rank
    if all(_same(v, values[0]) for v in values):
        return [_repeated(op, values[0], position, len(values))]
    values = _distinct(ctx, values)
    lengths = {extent_of(v.known_dims[position]) for v in values}
    if len(lengths) == 1 and isinstance(lengths.pop(), Poly):
        return _stack(op, ctx, values, position)
    since = ctx.b.count
    values = [v.changed(blocks=blocks_of(ctx, v)) for v in values]
    aligned = _align(ctx, [fuse(ctx.b, v, position) for v in values], position)
    if isinstance(aligned, Refused):
        return aligned
    return [_side_by_side(op, ctx, _Joined(aligned, position), since)]


@dataclass(frozen=True)
class _Joined:
    """Values to be joined along dimension `position`; in all other dimensions they have the same axes."""

    values: list[Value]
    position: int

    @cached_property
    def subs(self) -> list[Axis]:
        """The axis of each value in the joined dimension; a new axis where the extent is 1 and there is none."""
        here = [v.known_dims[self.position] for v in self.values]
        return [d[0] if d else Axis(1) for d in here]

    def around(self, axis: Axis) -> Dims:
        """The dims of the result, with `axis` in the joined dimension."""
        return with_dim(self.values[0].known_dims, self.position, (axis,))


def _side_by_side(op: Op, ctx: Context, joined: _Joined, since: int) -> Value:
    """The values as parts, and as one array.

    The array is written out piece by piece, value by value, or from the inputs as the caller sends them, whichever
    costs least. `since` is the builder's count before the rule.
    """
    subs = joined.subs
    width = total(sub.extent for sub in subs)
    axis = Axis(width, str(width))
    around = joined.around(axis)
    pieces, counts, apart = _pieces(joined.values, subs)
    array = priced(ctx.cost, join(ctx.b, pieces, axis, around), since, price_in_parts(joined.values))
    given = [(sub, v.array) for sub, v in zip(subs, joined.values, strict=True)]
    if len(pieces) > len(given):  # a value in many pieces may be cheaper as a whole
        whole = priced(ctx.cost, join(ctx.b, given, axis, around), since, price_whole(joined.values))
        array = min(array, whole, key=lambda a: a.price)
    written = concat_as_sent(ctx, joined.values, subs, Pieces(pieces, axis, around), counts)
    if written is not None and written.names() == array.names():
        written = priced(ctx.cost, written, since, sum((v.written or v.array).price for v in joined.values))
        array, other = sorted((array, written), key=lambda a: a.price)
        ctx.b.also(array.tensor, lay(ctx.b, other, array.layout))
    parts = None
    if len(pieces) > 1 and width != 1:  # of one column beside none, the result has no axis for parts
        parts = Parts(axis, tuple(pieces), price_in_parts(joined.values), tuple(apart))
    if len({a.names() - {(s, "stored")} for s, a in pieces}) == 1:
        parts = _across(ctx, joined, axis, since) or parts
    dims = with_dim(around, joined.position, (axis,) if width != 1 else ())
    blocks = beside(ctx.b, joined.values, subs, axis)
    blocks = blocks and priced(ctx.cost, blocks, since, price_in_blocks(joined.values))
    return ctx.result(op, dims, array, parts=parts, blocks=blocks).changed(written=written)


def _pieces(
    values: list[Value], subs: list[Axis]
) -> tuple[list[tuple[Axis, Array]], list[int], list[Terms | Factors | None]]:
    """The pieces of all values in order, the number of pieces of each value, and the terms or factors of each piece.

    A value that is in parts along the joined axis gives the pieces of its parts. Each piece gets a new axis, as one
    value may be joined twice.
    """
    pieces: list[tuple[Axis, Array]] = []
    apart: list[Terms | Factors | None] = []
    counts: list[int] = []
    for value, sub in zip(values, subs, strict=True):
        if value.parts is not None and value.parts.axis is sub:
            pieces.extend(value.parts.pieces)
            apart.extend(value.parts.apart or (None,) * len(value.parts.pieces))
            counts.append(len(value.parts.pieces))
        else:
            pieces.append((sub, value.array))
            apart.append(value.terms or value.factors)
            counts.append(1)
    new_axes = [{s: Axis(s.extent, s.name)} for s, _ in pieces]
    pieces = [(names[s], sub_array(names, a)) for (s, a), names in zip(pieces, new_axes, strict=True)]
    apart = [form and form.each(partial(sub_array, names)) for form, names in zip(apart, new_axes, strict=True)]
    return pieces, counts, apart


def _across(ctx: Context, joined: _Joined, axis: Axis, since: int) -> Parts | None:
    """Concat([a; b], [c; d]) = [Concat(a, c); Concat(b, d)].

    Example: the ids of a history and of the candidates are looked up together in two tables, and both results are
    joined. The result stays in parts: the history and the candidates.
    """
    dims = joined.around(axis)

    def run(arrays: list[Array], part: Renaming) -> Array:
        return join(ctx.b, list(zip(joined.subs, arrays, strict=True)), axis, renamed(dims, part))

    parts = part_by_part(ctx.b, joined.values, dims, run)
    return None if parts is None else priced(ctx.cost, parts, since, price_in_parts(joined.values))


def _repeated(op: Op, value: Value, position: int, times: int) -> Value:
    """Concat(x, x, x) as a Tile: x with one more axis, along which x repeats."""
    dims = value.known_dims
    dims = with_dim(dims, position, (*dim(times, str(times)), *dims[position]))
    return value.with_dims(dims).named(op.name)


def _same(value: Value, other: Value) -> bool:
    """Whether two values have the same array, but for the identity of their axes."""
    names = dict(zip(flat(value.known_dims), flat(other.known_dims), strict=False))
    if renamed(value.known_dims, {a: (new,) for a, new in names.items()}) != other.known_dims:
        return False
    array = sub_array(names, value.array)
    return extents(value.known_dims) == extents(other.known_dims) and (
        (array.tensor, array.layout, set(array.via)) == (other.array.tensor, other.array.layout, set(other.array.via))
    )


def _stack(op: Op, ctx: Context, values: list[Value], position: int) -> Derived:
    """Values that all have one symbol as their extent, as parts along a new axis that counts the values.

    Example: tf2onnx joins the heads of an attention along the batch, as [(head batch) length width].
    """
    since = ctx.b.count
    aligned = _align(ctx, values, None)
    if isinstance(aligned, Refused):
        return aligned
    heads = Axis(len(values), str(len(values)))
    pieces = [(Axis(1), v.array) for v in aligned]
    dims = aligned[0].known_dims
    dims = with_dim(dims, position, (heads, *dims[position]))
    array = priced(ctx.cost, join(ctx.b, pieces, heads, dims), since, price_whole(aligned))
    return [ctx.result(op, dims, array, parts=Parts(heads, tuple(pieces), price_whole(aligned)))]


def _distinct(ctx: Context, values: list[Value]) -> list[Value]:
    """The values, with new axes for a value that has an axis of an earlier value in another dimension."""
    out: list[Value] = []
    dimension_of: dict[Axis, int] = {}
    for value in values:
        if any(dimension_of.get(a, i) != i for i, d in enumerate(value.known_dims) for a in d):
            value = fresh(ctx.b, value)
        dimension_of.update((a, i) for i, d in enumerate(value.known_dims) for a in d)
        out.append(value)
    return out


def _align(ctx: Context, values: list[Value], position: int | None) -> list[Value] | Refused:
    """The values with the axes of the first value, in every dimension but `position`.

    Refused if the extents of a dimension are not proven equal.
    """
    first = extents(values[0].known_dims)
    pairs = [pair for v in values[1:] for pair in enumerate(zip(first, extents(v.known_dims), strict=True))]
    if unequal := [pair for i, pair in pairs if i != position and pair[0] != pair[1]]:
        # Concat itself proves that they are equal: on inputs where they differ, the original fails.
        ctx.proven_equal += unequal
        return Refused("extents {} and {} are not known to be equal".format(*unequal[0]))
    out = [values[0]]
    for value in values[1:]:
        names: dict[Axis, Dim] = {}
        for i, right in enumerate(value.known_dims):
            left = out[0].known_dims[i]
            if i == position:
                continue
            refined = refine(left, right)
            if refined is None:
                return Refused(f"the axes of {show((left,))} and {show((right,))} are not known to be equal")
            names.update(refined[2])
            if refined[1]:
                out = [rename_value(ctx.b, v, refined[1]) for v in out]
        out.append(rename_value(ctx.b, value, names))
    return out
