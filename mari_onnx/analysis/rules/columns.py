"""Taking columns apart: Slice and Split.

    Slice, Split of [a b c]             are pieces of a, b and c
    Slice, Split of a + b               are sums of the slices of a and b
    Slice of (F D) at multiples of D    is a slice of F
    Slice of blocks                     are the blocks within, if it begins and ends at their edges

Example: x = [user item] has 4 columns of the user and 3 of the item. x[:, 2:5] is in two parts, the last two columns
of the user and the first of the item. x[:, 4:] is the item, and neither Concat nor Slice is written.

Holds when widths and positions are numbers, or symbols that are in order whatever they are: x[:, length:] of
[B length + 1] is the last column. A Slice with a step works along its axes (see `along`), and so does a Slice of an
axis of unknown extent that is not in parts. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.analysis.shape_values import bounded
from mari_onnx.analysis.spans import Span
from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, Dim, Refused, dim, extent_of, extents, renamed, with_dim
from mari_onnx.ir.blocks import within
from mari_onnx.ir.extents import Extent, Poly, at_most, divide, symbol, total
from mari_onnx.ir.forms import Array, Factors, IndexMap, Parts, Value
from mari_onnx.ir.parts import edges, join, pieces_between
from mari_onnx.ir.renaming import fuse


def take(op: Op, ctx: Context, value: Value, span: Span, output: int = 0) -> Value:
    """The value's entries in a span of one dimension.

    Of a dimension (F D), the outermost axis F is cut if the span begins and ends at multiples of D. Otherwise the
    dimension becomes one axis, which is cut.
    """
    inner = extent_of(value.known_dims[span.position][1:])
    first, last = divide(span.start, inner), divide(span.stop, inner)
    if first is None or last is None or not value.known_dims[span.position]:
        return _cut(op, ctx, whole_axis(ctx, value, span.position), span, output)
    return _cut(op, ctx, value, Span(span.position, first, last), output)


def _cut(op: Op, ctx: Context, value: Value, span: Span, output: int) -> Value:
    """The value's entries in a span of the outermost axis of a dimension, with its parts, terms and blocks."""
    position, start, stop = span.position, span.start, span.stop
    axis, *inner = value.known_dims[position]
    width = stop - start
    new = Axis(width, str(width))
    rest = (new, *inner) if width != 1 else tuple(inner)
    dims = with_dim(value.known_dims, position, rest)
    around = with_dim(value.known_dims, position, (new, *inner))
    array = cut(ctx.b, value.array, axis, start, stop, new)
    parts = None
    if value.parts is not None and value.parts.axis is axis:
        if (alone := _piece(value.parts, start, stop, new)) is not None:
            return ctx.result(op, dims, alone[0], factors=alone[1], output=output)
        pieces = pieces_between(ctx.b, value.parts, start, stop) or []
        array = replace(join(ctx.b, pieces, new, around), price=0.0) if pieces else array
        parts = Parts(new, tuple(pieces)) if len(pieces) > 1 else None
    elif value.parts is not None:
        sub_pieces = [(s, cut(ctx.b, a, axis, start, stop, new)) for s, a in value.parts.pieces]
        parts = replace(value.parts, pieces=tuple(sub_pieces), apart=())
    terms = value.terms and value.terms.each(lambda a: cut(ctx.b, a, axis, start, stop, new))
    blocks = value.blocks and within(ctx.b, value.blocks, axis, start, stop, new)
    return ctx.result(op, dims, array, parts=parts, terms=terms, blocks=blocks, output=output)


def _piece(parts: Parts, start: Extent, stop: Extent, new: Axis) -> tuple[Array, Factors] | None:
    """The piece [start, stop) of parts with its factors, along the axis `new`; None where it is no piece with such."""
    for (sub, array), limits, form in zip(parts.pieces, pairwise(edges(parts)), parts.apart, strict=False):
        if limits == (start, stop):
            names = {sub: new}
            return (
                (sub_array(names, array), form.each(partial(sub_array, names))) if isinstance(form, Factors) else None
            )
    return None


def whole_axis(ctx: Context, value: Value, position: int) -> Value:
    """The value with one axis in this dimension; the value may repeat along the axis."""
    if not value.known_dims[position]:
        return value.with_dims(with_dim(value.known_dims, position, (Axis(1),)))
    return fuse(ctx.b, value, position)


def slice_(op: Op, ctx: Context) -> Derived:
    """Slice: the pieces in [start, end), in each dimension that is cut."""
    value = op.data
    if value.dims is None:
        return Refused("the rank of the input is unknown")
    starts, ends = op.extents(1, "starts"), op.extents(2, "ends")
    axes, steps = op.integers(3, "axes"), op.integers(4, "steps")
    for given in (starts, ends, axes, steps):
        if isinstance(given, Refused):
            return given
    assert isinstance(starts, list) and isinstance(ends, list)
    named = axes if isinstance(axes, list) else range(len(starts))
    positions = [a % len(value.dims) for a in named]
    if isinstance(steps, list) and any(s != 1 for s in steps):
        return _stepped(op, ctx, starts, ends, positions, steps)
    spans = [Span(*limits) for limits in zip(positions, starts, ends, strict=True)]
    if (cut_short := _cut_short(op, ctx, spans)) is not None:
        return cut_short
    for span in spans:
        position = span.position
        if (piece := of_parts(op, ctx, value, span)) is not None:
            value = piece
            continue
        if len(positions) == 1 and (left := span.left_over(extent_of(value.known_dims[position]))) is not None:
            return _of_length(op, ctx, position, left)
        if len(positions) == 1 and _drops_steps(ctx, value, span):
            return _of_some_length(op, ctx, span)
        taken = _sliced(op, ctx, value, span)
        if isinstance(taken, Refused):
            return taken
        value = taken
    return [value.named(op.name)]


def of_parts(op: Op, ctx: Context, value: Value, span: Span) -> Value | None:
    """The span of a dimension of unknown extent whose outermost axis is cut: the last of tokens [length 1].

    None for all other spans, and where the entries of the span depend on the symbols.
    """
    here = value.known_dims[span.position]
    if not here or isinstance(extent_of(here), int) or not _is_cut_along(value, here[0]):
        return None
    limits = span.within(extent_of(here))
    if limits is None or not ctx.b.cuts_at(limits.start, limits.stop):
        return None
    return value if limits.is_everything(extent_of(here)) else take(op, ctx, value, limits)


def _is_cut_along(value: Value, axis: Axis) -> bool:
    of_parts = value.parts is not None and value.parts.axis is axis
    return of_parts or (value.blocks is not None and axis in (value.blocks.row, value.blocks.column))


def _cut_short(op: Op, ctx: Context, spans: Sequence[Span]) -> Derived | None:
    """The original node, if a span may end at a symbol or at the end of its axis, and it is not known that both agree.

    Example: table[:T] of 1,024 rows. The extent of the result is a new symbol, min(T, 1024). It is T if another node
    needs as many rows (see `elementwise`), and then this is no such span any more.
    """
    dims, shape = list(op.data.known_dims), extents(op.data.known_dims)
    names = {s.position: _length(op, s) for s in spans if s.may_be_cut_short(shape[s.position])}
    others = [s for s in spans if s.position not in names]
    if set(names.values()) <= ctx.long_enough or not all(s.is_everything(shape[s.position]) for s in others):
        return None
    for position, name in names.items():
        dims[position] = dim(symbol(name), name)
    ctx.cut_short.update({names[s.position]: s.stop - s.start for s in spans if s.position in names})
    derived = run_along(op, ctx, list(names), [(tuple(dims), op.data.dtype)], op.inputs[1:])
    if isinstance(derived, Refused):
        return derived
    tensor = derived[0].array.tensor
    for name in names.values():
        ctx.providers.setdefault(name, (tensor, tensor.known_shape.index(symbol(name))))
    return derived


def _length(op: Op, span: Span) -> str:
    """The name of the symbol for an extent of the result."""
    return f"{op.name}.{span.position}"


def _drops_steps(ctx: Context, value: Value, span: Span) -> bool:
    """Whether the span cuts an axis of unknown extent that does not count candidates: x[:, -1:], the last step."""
    here = value.known_dims[span.position]
    if span.is_everything(extent_of(here)) or (span.is_first and _row_0(value, span.position) is not None):
        return False
    return isinstance(extent_of(here), Poly) and not any(map(ctx.is_candidate, here))


def _sliced(op: Op, ctx: Context, value: Value, span: Span) -> Value | Refused:
    """The entries in a span as Slice defines it."""
    extent = extent_of(value.known_dims[span.position])
    if span.is_everything(extent):
        return value
    if isinstance(extent, Poly):
        row = _row_0(value, span.position) if span.is_first else None
        return row or Refused(f"Slice of an axis of extent {extent}, which is not a number")
    if _length(op, span) in ctx.long_enough and ctx.b.cuts_at(span.stop):
        return take(op, ctx, value, span)
    if not isinstance(span.stop, int) or not isinstance(span.start, int):
        return Refused(f"Slice up to {span.stop}, which is not a number")
    first, last, _ = slice(span.start, span.stop).indices(extent)
    if (first, last) == (0, extent):
        return value
    return take(op, ctx, value, Span(span.position, first, last)) if first < last else Refused("Slice of nothing")


def _row_0(value: Value, position: int) -> Value | None:
    """Row 0 of a tiled input, of which row 0 alone is stored, as [1, ...]; None if the axis is stored in another way.

    In a call without candidates there is no row 0, and the result has no row.
    """
    (axis, *inner) = value.known_dims[position]
    rows = value.array.state(axis)
    if inner or not isinstance(rows, IndexMap) or rows.index is not None:
        return None
    row = Axis(rows.rows, str(rows.rows))
    via = tuple((a, m) for a, m in value.array.via if a is not axis)
    array = Array(value.array.tensor, renamed(value.array.layout, {axis: (row,)}), via)
    dims = renamed(value.known_dims, {axis: (row,)})
    return value.stored_as(array, dims)


def _of_some_length(op: Op, ctx: Context, span: Span) -> Derived:
    """The original node, along an axis of unknown extent: the extent of the result is a new symbol."""
    left = symbol(name := _length(op, span))
    derived = _of_length(op, ctx, span.position, left)
    if not isinstance(derived, Refused):
        tensor = derived[0].array.tensor
        ctx.providers.setdefault(name, (tensor, tensor.known_shape.index(left)))
    return derived


def _of_length(op: Op, ctx: Context, position: int, length: Extent) -> Derived:
    """The original node, along an axis of which it leaves so much."""
    dims = list(op.data.known_dims)
    dims[position] = dim(length, str(length))
    return run_along(op, ctx, [position], [(tuple(dims), op.data.dtype)], op.inputs[1:])


def _stepped(
    op: Op, ctx: Context, starts: list[Extent], ends: list[Extent], axes: list[int], steps: list[int]
) -> Derived:
    """A Slice with steps, such as -1 or 2: the original node, along the axes that it cuts."""
    dims = list(op.data.known_dims)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = extent_of(dims[axis])
        if isinstance(extent, Poly) or isinstance(start, Poly) or isinstance(end, Poly):
            return Refused(f"Slice with a step of an axis of extent {extent}, which is not a number")
        dims[axis] = dim(len(range(*bounded(start, end, step, extent).indices(extent))))
    return run_along(op, ctx, axes, [(tuple(dims), op.data.dtype)], op.inputs[1:])


def split(op: Op, ctx: Context) -> Derived:
    """Split: the pieces in each output."""
    value = op.data
    if value.dims is None:
        return Refused("the rank of the input is unknown")
    position = op.axis % len(value.dims)
    extent = extent_of(value.dims[position])
    widths = [w for w in _widths(op, extent) if w is not None]
    known = len(widths) == len(op.proto.output) and all(at_most(0, w) for w in widths)
    if not known or total(widths) != extent or not _cuts(ctx, value.dims[position], widths):
        return Refused(f"Split of an axis of extent {extent} into widths that are not known")
    if any(w == 0 for w in widths):
        return Refused("Split into nothing")
    out: list[Value] = []
    start: Extent = 0
    for i, width in enumerate(widths):
        out.append(take(op, ctx, value, Span(position, start, start + width), i))
        start = start + width
    return out


def _cuts(ctx: Context, here: Dim, widths: Sequence[Extent]) -> bool:
    """Whether a dimension can be cut into these widths; of (F L) with a symbol L the axis F is cut."""
    lengths = [divide(w, extent_of(here[1:])) for w in widths]
    return ctx.b.cuts_at(*(w if n is None else n for w, n in zip(widths, lengths, strict=True)))


def _widths(op: Op, extent: Extent) -> list[Extent | None]:
    """The width of each output, by the input or the attribute; else equal widths, of which the last may be smaller.

    None stands for a width that the model computes.
    """
    count, given, attribute = len(op.proto.output), op.input(1), op.attribute("split")
    if given is not None:
        return [None] * count if given.content is None else list(given.content.flat)
    if attribute is not None:
        return list(attribute)
    if isinstance(extent, int):
        size = -(-extent // count)
        return [min(size, extent - size * i) for i in range(count)]
    return [divide(extent, count)] * count
