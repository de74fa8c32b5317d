"""Operations on matrices that are cut into blocks along their rows and columns.

of_rows      parts [a b] along the columns, as blocks of one row
grid_of      the rows 0 to 31 and the column 31 of a mask (32 32), and so on, as the blocks of scores are cut
cut_at       blocks of the rows (15 1) as blocks of (14 1 1), where the last of the user's tokens is told apart
beside       scores (B h 32 32) and a sink (h 1) as blocks with one more column
within       the columns 0 to 32 of these
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, renamed, units_moved
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor, is_reshape
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Blocks, Parts, Place, Value
from mari_onnx.ir.operators import MANY, named
from mari_onnx.ir.parts import merge, pieces_between


def of_rows(parts: Parts) -> Blocks:
    """Parts along the columns as blocks of one row."""
    columns = tuple(Axis(sub.extent, sub.name) for sub, _ in parts.pieces)
    line = tuple(sub_array({sub: new}, a) for (sub, a), new in zip(parts.pieces, columns, strict=True))
    return Blocks(None, parts.axis, (None,), columns, (line,), parts.price)


ELEMENTWISE = named(lambda t: t.elementwise and t.operands == MANY)
"""Operators of which each element is computed from the elements in the same place."""


@dataclass(frozen=True)
class _Span:
    """The indices [low, high) of an axis, which are those of the axis `sub`."""

    axis: Axis
    low: Extent
    high: Extent
    sub: Axis


def _spans(axis: Axis | None, pieces: Sequence[Axis | None]) -> list[list[_Span]] | None:
    """The span of each piece of an axis, in a list of one; an empty list where the axis is not cut.

    None where the pieces are not known to be all of the axis.
    """
    if axis is None:
        return [[]]
    at = edges_of(pieces)
    if at[-1] != axis.extent:
        return None
    return [[_Span(axis, low, high, sub)] for sub, (low, high) in zip(pieces, pairwise(at), strict=True) if sub]


def grid_of(b: Builder, value: Value, like: Blocks) -> list[list[Array]] | None:
    """The value's blocks with the rows and columns of `like`; None where its own parts may be cut elsewhere."""
    if value.blocks is not None and value.blocks.alone:
        return None
    own = value.blocks and cut_at(b, value.blocks, edges_of(like.rows), edges_of(like.columns))
    if own is not None and (names := _alike(own, like)) is not None:
        return [[sub_array(names, array) for array in line] for line in own.grid]
    rows, columns = _spans(like.row, like.rows), _spans(like.column, like.columns)
    if rows is None or columns is None:
        return None
    grid = [[_block(b, value, [*row, *column]) for column in columns] for row in rows]
    found = [[block for block in line if block is not None] for line in grid]
    return found if all(len(line) == len(columns) for line in found) else None


def edges_of(pieces: Sequence[Axis | None]) -> list[Extent]:
    """Where each of the rows or columns begins, and the end of the last: [0 31 32] of widths 31 and 1."""
    return list(accumulate((piece.extent if piece else 0 for piece in pieces), initial=0))


def cut_at(b: Builder, blocks: Blocks, rows: Sequence[Extent], columns: Sequence[Extent]) -> Blocks | None:
    """The same blocks, cut at more places of the rows and columns, of which they have some.

    None where they have others, where their order depends on symbols, or where a block has nothing but its diagonal.
    """
    own_rows, own_columns = edges_of(blocks.rows), edges_of(blocks.columns)
    rows = own_rows if blocks.row is None else rows
    if (own_rows, own_columns) == (list(rows), list(columns)):
        return blocks
    if not set(own_rows) <= set(rows) or not set(own_columns) <= set(columns) or blocks.alone:
        return None
    in_rows, in_columns = _stretches(own_rows, rows), _stretches(own_columns, columns)
    new_rows = [blocks.rows[r] if size is None else Axis(size) for r, _, size in in_rows]
    new_columns = [blocks.columns[c] if size is None else Axis(size) for c, _, size in in_columns]

    def block(i: int, j: int) -> Array:
        (r, first, height), (c, left, width) = in_rows[i], in_columns[j]
        array, row, of_row = blocks.grid[r][c], blocks.rows[r], new_rows[i]
        if height is not None and row is not None and of_row is not None:
            array = cut(b, array, row, first, first + height, of_row)
        return array if width is None else cut(b, array, blocks.columns[c], left, left + width, new_columns[j])

    kept = {
        (r, c): (i, j)
        for i, (r, _, h) in enumerate(in_rows)
        for j, (c, _, w) in enumerate(in_columns)
        if h is w is None
    }
    diagonals = tuple((kept[place], array) for place, array in blocks.diagonals if place in kept)
    grid = tuple(tuple(block(i, j) for j in range(len(new_columns))) for i in range(len(new_rows)))
    return replace(blocks, rows=tuple(new_rows), columns=tuple(new_columns), grid=grid, diagonals=diagonals)


def _stretches(own: Sequence[Extent], all_edges: Sequence[Extent]) -> list[tuple[int, Extent, Extent | None]]:
    """For each stretch between edges: which own one has it, where in that it begins, and its extent; None for all."""
    found: list[tuple[int, Extent, Extent | None]] = []
    for i, (low, high) in enumerate(pairwise(own)):
        inside = list(pairwise(all_edges[all_edges.index(low) : all_edges.index(high) + 1]))
        if len(inside) < 2:
            found.append((i, 0, None))
        else:
            found += [(i, start - low, stop - start) for start, stop in inside]
    return found


def beside(b: Builder, values: Sequence[Value], subs: Sequence[Axis], column: Axis) -> Blocks | None:
    """Matrices side by side: `subs` are the axes of their columns, and `column` is that of all columns.

    None where no matrix has blocks, or where the rows of another one may be cut elsewhere.
    """
    cut_along = [v.blocks for v, sub in zip(values, subs, strict=True) if v.blocks and v.blocks.column is sub]
    like = next(iter(cut_along), None)
    if like is None:
        return None
    columns: list[Axis] = []
    lines: list[list[Array]] = [[] for _ in like.rows]
    diagonals: list[tuple[Place, Array]] = []
    for value, sub in zip(values, subs, strict=True):
        own = value.blocks if value.blocks in cut_along else None
        new = [Axis(a.extent, a.name) for a in (own.columns if own is not None else (sub,))]
        grid = grid_of(b, value, Blocks(like.row, sub, like.rows, tuple(new), ()))
        if grid is None:
            return None
        if own is like:
            diagonals += [((r, c + len(columns)), array) for (r, c), array in like.diagonals]
        for line, found in zip(lines, grid, strict=True):
            line += found
        columns += new
    return Blocks(like.row, column, like.rows, tuple(columns), tuple(map(tuple, lines)), like.price, tuple(diagonals))


def within(b: Builder, blocks: Blocks, axis: Axis, start: Extent, stop: Extent, new: Axis) -> Blocks | None:
    """The blocks with the indices [start, stop) of an axis alone, which `new` is the axis of.

    None where these rows or columns begin or end within a block, or are one.
    """
    if axis not in (blocks.row, blocks.column):
        taken = {place: cut(b, array, axis, start, stop, new) for place, array in blocks.diagonals}
        some = blocks.each(lambda array, _r, _c: cut(b, array, axis, start, stop, new))
        return replace(some, diagonals=tuple(taken.items()))
    of_rows = axis is blocks.row
    edges = edges_of(blocks.rows if of_rows else blocks.columns)
    places = [[i for i, edge in enumerate(edges) if edge == limit] for limit in (start, stop)]
    if new.extent == 1 or not all(places) or places[0][0] >= places[1][-1]:
        return None
    kept = range(places[0][0], places[1][-1])
    first = (kept.start, 0) if of_rows else (0, kept.start)

    def moved(place: Place) -> Place | None:
        return (place[0] - first[0], place[1] - first[1]) if place[not of_rows] in kept else None

    rows, columns, grid = blocks.rows, blocks.columns, blocks.grid
    if of_rows:
        rows, grid = rows[kept.start : kept.stop], grid[kept.start : kept.stop]
    else:
        columns, grid = columns[kept.start : kept.stop], tuple(line[kept.start : kept.stop] for line in grid)
    return replace(
        blocks,
        row=new if of_rows else blocks.row,
        column=blocks.column if of_rows else new,
        rows=rows,
        columns=columns,
        grid=grid,
        diagonals=tuple((at, array) for place, array in blocks.diagonals if (at := moved(place)) is not None),
        alone=frozenset(at for place in blocks.alone if (at := moved(place)) is not None),
    )


def _alike(own: Blocks, like: Blocks) -> dict[Axis, Axis] | None:
    """The axes of blocks as those of others with the same rows and columns; None where theirs are cut elsewhere."""
    if (own.row, own.column, len(own.rows), len(own.columns)) != (
        like.row, like.column, len(like.rows), len(like.columns),
    ):  # fmt: skip
        return None
    pairs = list(zip((*own.rows, *own.columns), (*like.rows, *like.columns), strict=True))
    if any((a and a.extent) != (n and n.extent) for a, n in pairs):
        return None
    return {a: n for a, n in pairs if a is not None and n is not None}


def _block(b: Builder, value: Value, spans: Sequence[_Span]) -> Array | None:
    """The value within some spans. Where it is in parts along one of them, the parts are taken."""
    array, rest, parts = value.array, list(spans), value.parts
    for span in spans:
        if parts is not None and parts.axis is span.axis:
            pieces = pieces_between(b, parts, span.low, span.high)
            if not pieces:
                return None
            own, array = merge(b, pieces, span.axis, value.known_dims)
            array = sub_array({own: span.sub}, array)
            rest.remove(span)
    for span in rest:
        array = _cut(b, array, span)
    return array


def _cut(b: Builder, array: Array, span: _Span) -> Array:
    """An array within a span; a mask of all candidates with all candidates is not computed for a part of it."""
    if (span.axis,) not in array.layout or not b.counts_candidates(span.axis.extent):
        return cut(b, array, span.axis, span.low, span.high, span.sub)
    t = _computed_within(b, array.tensor, array.layout.index((span.axis,)), span)
    return replace(array, tensor=t, layout=renamed(array.layout, {span.axis: (span.sub,)}))


def _computed_within(b: Builder, t: Tensor, at: int, span: _Span) -> Tensor:
    """Dimension `at` of a tensor within a span: (x < y)[a:b] is x[a:b] < y[a:b]."""
    shape = (*t.known_shape[:at], span.sub.extent, *t.known_shape[at + 1 :])
    inputs = [i for i in t.node.inputs if i is not None and i.shape is not None]
    if len(inputs) < len(t.node.inputs):
        return b.slice(t, at, span.low, span.high)
    if is_reshape(t) and (moved := units_moved(inputs[0].known_shape, t.known_shape)) is not None:
        source = moved[at]
        if source is not None:
            return b.reshape(_computed_within(b, inputs[0], source, span), shape)
    places = [at - len(t.known_shape) + len(i.known_shape) for i in inputs]
    here = [i.known_shape[p] if p >= 0 else 1 for i, p in zip(inputs, places, strict=True)]
    if t.node.proto is None or t.op_type not in ELEMENTWISE or not set(here) <= {1, t.known_shape[at]}:
        return b.slice(t, at, span.low, span.high)
    cut_inputs = [
        i if extent == 1 else _computed_within(b, i, p, span) for i, p, extent in zip(inputs, places, here, strict=True)
    ]
    return b.again(t.node.proto, cut_inputs, [(shape, t.dtype)])[0]
