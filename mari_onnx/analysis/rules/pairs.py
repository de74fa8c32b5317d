"""Inner products of pairs of rows: DLRM's interaction, inner product networks, factorization machines pair by pair.

    entries of [u; i] @ [u; i]'    are entries of u@u', of i@u' and of i@i', each block on the axes that it needs
    sum_k x[p, k] x[q, k]          is entry (p, q) of x @ x'
    (x @ x')[p, q]                 = (x @ x')[q, p], so only one of u@i' and i@u' is computed

Here u are rows of the user, one for each field (age, city, ...), i are rows of the item, and ' is the transpose.
Example: DLRM multiplies 20 fields with each other and takes the 190 entries below the diagonal. The entries of two user
fields are computed once for the request.

Holds when the positions of the entries are constants, and the rows of a side are in parts. Rounding: none, but for the
order in which a runtime adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context, Op
from mari_onnx.analysis.facts import MultipliedRows, PairProducts, Picked
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.picking import Kind, kinds_of
from mari_onnx.analysis.pricing import price_in_parts, priced
from mari_onnx.analysis.rules.product import MatrixProduct, multiply
from mari_onnx.ir.arrays import cut, fill, lay, sub_array
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.forms import Array, Parts, Value
from mari_onnx.ir.parts import groups
from mari_onnx.ir.renaming import rename_value

Pair = tuple[int, int]
"""The position of a row, and the position of a column."""


@dataclass(frozen=True)
class _Block:
    """Entries that come from one product, along `axis`; `offsets` maps a pair to the position of its entry."""

    axis: Axis
    array: Array
    offsets: dict[Pair, int]


def entries(ctx: Context, value: Value, position: int, places: Sequence[int], new: Axis) -> Parts | None:
    """Places in a dimension that holds all pairs (row, column) of a product, as parts along the axis `new`.

    None if the dimension is no such dimension, or if all rows and columns are stored along the same axes.
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
    """Note that a Mul multiplies rows that were picked from one value: a sum of their products may follow."""
    left, right = (_picked(ctx, v) for v in op.inputs if v is not None)
    if left is None or right is None or left[1] != right[1] or product.dtype not in (FLOAT, DOUBLE):
        return
    (first, _), (second, _) = left, right
    same = first.source.array.tensor is second.source.array.tensor and first.source.dims == second.source.dims
    if same and first.axis is second.axis and len(first.places) == len(second.places):
        pairs = tuple(zip(first.places, second.places, strict=True))
        ctx.facts.multiplied[product.array.tensor] = MultipliedRows(first, pairs)


def _picked(ctx: Context, value: Value) -> tuple[Picked, list[list[Axis | None]]] | None:
    """The value that the rows were picked from, and for each dimension its axes; None stands for the picked axis.

    Two such operands are multiplied row by row only if their axes are in the same dimensions. A counterexample is
    x * x' of a square x: it multiplies element (p, q) by element (q, p).
    """
    picked = ctx.facts.picked.get(value.array.tensor)
    if picked is None or value.dims is None:
        return None
    others = set(flat(picked.source.known_dims)) - {picked.axis}
    places = [[a if a in others else None for a in d] for d in value.dims]
    if Counter(a for d in places for a in d) != Counter([None, *others]):
        return None
    return picked, places


def summed(op: Op, ctx: Context, whole: Value, axes: Sequence[int]) -> Value:
    """ReduceSum of noted products over the width k, as entries of x @ x'; `whole` if the input is no such product."""
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
    rows = picked.source.with_dims((*lead, (picked.axis,), width))
    columns = rename_value(
        ctx.b, rows.with_dims((*lead, width, (picked.axis,))), {picked.axis: (Axis(picked.axis.extent),)}
    )
    parts = _in_blocks(ctx, PairProducts(rows, columns, 0.0, symmetric=True), known.pairs, new[0])
    if parts is None or (whole.parts is not None and whole.parts.price <= parts.price):
        return whole
    return whole.changed(parts=parts)


def _in_blocks(ctx: Context, found: PairProducts, pairs: Sequence[Pair], new: Axis) -> Parts | None:
    """The entries of the pairs, as parts along `new`: one product for each kind of rows and of columns with an entry.

    None if there is one kind of rows and one kind of columns, as nothing is gained then.
    """
    since = ctx.b.count
    rows = kinds_of(ctx, found.x, found.row)
    columns = [_as_columns(kind) for kind in rows] if found.symmetric else kinds_of(ctx, found.w, found.column)
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
    """The wanted entries in order, each from its block; neighbours that are neighbours in a block are one piece."""
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


def _as_columns(rows: Kind) -> Kind:
    """Rows as the columns of the transposed side, under an axis of its own."""
    sub = Axis(rows.sub.extent, rows.sub.name)
    return replace(rows, sub=sub, array=sub_array({rows.sub: sub}, rows.array))


def _block(ctx: Context, found: PairProducts, rows: Kind, columns: Kind, wanted: set[Pair]) -> _Block:
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


def _product(ctx: Context, found: PairProducts, rows: Kind, columns: Kind) -> tuple[Array, Dims]:
    """The product of one kind of rows with one kind of columns, written out along both, and its leading dims."""
    left = Operand(rows.array, renamed(found.x.known_dims, {found.row: (rows.sub,)}))
    right = Operand(columns.array, renamed(found.w.known_dims, {found.column: (columns.sub,)}))
    lead = tuple(a or c for a, c in zip(left.dims[:-2], right.dims[:-2], strict=True))
    dims = (*lead, (rows.sub,), (columns.sub,))
    product = MatrixProduct(left, right, dims, (len(dims), len(dims)), partial(ctx.b.make, "MatMul"))
    return fill(ctx.b, multiply(ctx, product), dims, (rows.sub, columns.sub)), lead
