"""Inner products of pairs of rows: DLRM's interaction, inner product networks, FM pair by pair.

    entries of [u; i] @ [u i]    are entries of u@u, of i@u and of i@i, each on its own axes
    sum_k x[p, k] x[q, k]        are entries (p, q) of x @ x'
    (x @ x')[p, q]               is (x @ x')[q, p]: of u@i' and i@u' one is enough

Here u are rows of the user, one for each field (age, city, ...), and i rows of the item. Example: DLRM multiplies 20
fields with each other and takes the 190 entries below the diagonal. Those of two user fields are computed once.

Holds when the entries are constants, and the rows of a side are in parts. Rounding: none, but for the order in which
a runtime adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context, Op
from mari_onnx.analysis.facts import MultipliedRows, PairProducts, Picked
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.pricing import price_in_parts, priced
from mari_onnx.analysis.rules.product import MatrixProduct, multiply
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.forms import Array, Parts, Value
from mari_onnx.ir.layout import bounds, cut, fill, groups, lay, merge, rename_value, sub_array

Pair = tuple[int, int]


@dataclass(frozen=True)
class _Kind:
    """Rows of one side that differ along the same axes, as one array: those of the user, or those of the item.

    `offsets` say which row of the array is the row at a position on that side.
    """

    sub: Axis
    array: Array
    offsets: dict[int, int]


@dataclass(frozen=True)
class _Block:
    """Entries that are computed together, along `axis`; `offsets` say where the entry of a pair of rows is."""

    axis: Axis
    array: Array
    offsets: dict[Pair, int]


def entries(ctx: Context, value: Value, position: int, places: Sequence[int], new: Axis) -> Parts | None:
    """Places in a dimension that holds all pairs of rows and columns of a product, as parts along `new`.

    None where the dimension does not hold that, or where nothing is gained by parts.
    """
    found = ctx.facts.pair_products.get(value.array.tensor)
    group = value.known_dims[position]
    if found is None or len(group) != 2 or set(group) != {found.row, found.column}:
        return None
    others = set(flat(value.known_dims)) - set(group)
    if others != set(flat(found.x.known_dims[:-2])) | set(flat(found.w.known_dims[:-2])):
        return None
    pairs = [divmod(place, int(str(group[1].extent))) for place in places]
    return _in_blocks(ctx, found, pairs if group[0] is found.row else [(i, j) for j, i in pairs], new)


def remember(ctx: Context, op: Op, product: Value) -> None:
    """Note of a product, element by element, that it is one of rows picked from one value: a sum may follow."""
    left, right = (_picked(ctx, v) for v in op.inputs if v is not None)
    if left is None or right is None or left[1] != right[1] or product.dtype not in (FLOAT, DOUBLE):
        return
    (first, _), (second, _) = left, right
    same = first.source.array.tensor is second.source.array.tensor and first.source.dims == second.source.dims
    if same and first.axis is second.axis and len(first.places) == len(second.places):
        pairs = tuple(zip(first.places, second.places, strict=True))
        ctx.facts.multiplied[product.array.tensor] = MultipliedRows(first, pairs)


def _picked(ctx: Context, value: Value) -> tuple[Picked, list[list[Axis | None]]] | None:
    """What the rows were picked from, and in which dimension each of its axes is by now; the picked axis is None there.

    Two such operands are multiplied row by row only if their axes are in the same places: x * x' of a square x
    multiplies other elements.
    """
    picked = ctx.facts.picked.get(value.array.tensor)
    if picked is None or value.dims is None:
        return None
    others = set(flat(picked.source.known_dims)) - {picked.axis}
    there = [[a if a in others else None for a in d] for d in value.dims]
    if Counter(a for d in there for a in d) != Counter([None, *others]):
        return None
    return picked, there


def summed(op: Op, ctx: Context, whole: Value, axes: Sequence[int]) -> Value:
    """The sum over the width of such products, as entries of the product of all rows with themselves."""
    x = op.data
    known = ctx.facts.multiplied.get(x.array.tensor)
    if known is None or op.op_type != "ReduceSum" or len(axes) != 1:
        return whole
    picked = known.picked
    width, others = x.known_dims[axes[0]], [a for a in flat(picked.source.known_dims) if a is not picked.axis]
    new = [a for a in flat(x.known_dims) if a not in others]
    if len(new) != 1 or len(flat(x.known_dims)) != len(others) + 1 or len(width) != 1 or width[0] is new[0]:
        return whole
    lead = tuple((a,) for a in others if a is not width[0])
    rows = replace(picked.source, dims=(*lead, (picked.axis,), width))
    columns = rename_value(
        ctx.b, replace(rows, dims=(*lead, width, (picked.axis,))), {picked.axis: (Axis(picked.axis.extent),)}
    )
    parts = _in_blocks(ctx, PairProducts(rows, columns, 0.0, symmetric=True), known.pairs, new[0])
    if parts is None or (whole.parts is not None and whole.parts.price <= parts.price):
        return whole
    return replace(whole, parts=parts)


def _in_blocks(ctx: Context, found: PairProducts, pairs: Sequence[Pair], new: Axis) -> Parts | None:
    """One product for each kind of rows with each kind of columns of which an entry is wanted."""
    since = ctx.b.count
    rows = _kinds(ctx, found.x, found.row)
    columns = [_turned(kind) for kind in rows] if found.symmetric else _kinds(ctx, found.w, found.column)
    if len(rows) == len(columns) == 1:
        return None
    row_of = {i: n for n, kind in enumerate(rows) for i in kind.offsets}
    column_of = {j: n for n, kind in enumerate(columns) for j in kind.offsets}
    order = {i: (ctx.cost.elements(rows[n].array.tensor.shape), n) for i, n in row_of.items()}
    wanted = [(j, i) if found.symmetric and order[i] < order[j] else (i, j) for i, j in pairs]
    kinds = [(row_of[i], column_of[j]) for i, j in wanted]
    blocks = {
        key: _block(ctx, found, rows[key[0]], columns[key[1]], {wanted[n] for n in members})
        for key, members in groups(kinds).items()
    }
    pieces = _runs(ctx, wanted, [blocks[kind] for kind in kinds], new)
    sides = [found.x] if found.symmetric else [found.x, found.w]
    return priced(ctx.cost, Parts(new, tuple(pieces)), since, price_in_parts(sides))


def _runs(ctx: Context, wanted: Sequence[Pair], blocks: Sequence[_Block], new: Axis) -> list[tuple[Axis, Array]]:
    """The wanted entries in order, each from its block; neighbours that are neighbours in their block are one piece."""
    pieces: list[tuple[Axis, Array]] = []
    start = 0
    for n in range(1, len(wanted) + 1):
        block = blocks[start]
        first = block.offsets[wanted[start]]
        if n == len(wanted) or blocks[n] is not block or block.offsets[wanted[n]] != first + n - start:
            sub = Axis(n - start, new.name)
            pieces.append((sub, cut(ctx.b, block.array, block.axis, first, first + n - start, sub)))
            start = n
    return pieces


def _kinds(ctx: Context, value: Value, axis: Axis) -> list[_Kind]:
    """The rows, or columns, of a side by the axes along which they differ; all of them where it is not in parts."""
    edges = bounds(value.parts) if value.parts is not None and value.parts.axis is axis else None
    if value.parts is None or edges is None:
        return [_Kind(axis, value.array, {i: i for i in range(int(str(axis.extent)))})]
    pieces = value.parts.pieces
    kinds = []
    for members in groups([array.names() - {(sub, "stored")} for sub, array in pieces]).values():
        positions = [i for k in members for i in range(edges[k], edges[k + 1])]
        sub, array = merge(ctx.b, [pieces[k] for k in members], axis, value.known_dims)
        kinds.append(_Kind(sub, array, {i: n for n, i in enumerate(positions)}))
    return kinds


def _turned(rows: _Kind) -> _Kind:
    """Rows as columns."""
    sub = Axis(rows.sub.extent, rows.sub.name)
    return replace(rows, sub=sub, array=sub_array({rows.sub: sub}, rows.array))


def _block(ctx: Context, found: PairProducts, rows: _Kind, columns: _Kind, wanted: set[Pair]) -> _Block:
    """The wanted entries of one product, in the order in which they are stored."""
    array, lead = _product(ctx, found, rows, columns)
    order = [a for a in flat(array.layout) if a in (rows.sub, columns.sub)]
    by_column = order == [columns.sub, rows.sub]
    stored = tuple(tuple(a for a in d if array.state(a) != "absent") for d in lead)
    tensor = lay(ctx.b, array, (*stored, (columns.sub, rows.sub) if by_column else (rows.sub, columns.sub)))
    heights, widths = len(rows.offsets), len(columns.offsets)

    def place(pair: Pair) -> int:
        i, j = rows.offsets[pair[0]], columns.offsets[pair[1]]
        return j * heights + i if by_column else i * widths + j

    places = {pair: place(pair) for pair in wanted}
    kept = sorted(set(places.values()))
    if len(kept) < heights * widths:
        tensor = ctx.take_columns(tensor, kept, len(stored))
    axis = Axis(len(kept), str(len(kept)))
    at = {p: n for n, p in enumerate(kept)}
    return _Block(axis, Array(tensor, (*stored, (axis,)), array.via), {pair: at[p] for pair, p in places.items()})


def _product(ctx: Context, found: PairProducts, rows: _Kind, columns: _Kind) -> tuple[Array, Dims]:
    """The product of rows and columns of one kind each, with both their axes written out, and its leading dims."""
    left = Operand(rows.array, renamed(found.x.known_dims, {found.row: (rows.sub,)}))
    right = Operand(columns.array, renamed(found.w.known_dims, {found.column: (columns.sub,)}))
    lead = tuple(a or c for a, c in zip(left.dims[:-2], right.dims[:-2], strict=True))
    dims = (*lead, (rows.sub,), (columns.sub,))
    product = MatrixProduct(left, right, dims, (len(dims), len(dims)), partial(ctx.b.make, "MatMul"))
    return fill(ctx.b, multiply(ctx, product), dims, (rows.sub, columns.sub)), lead
