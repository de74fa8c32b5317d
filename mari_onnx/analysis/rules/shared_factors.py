"""Elementwise products of the user's columns with the same columns of the item, times a weight.

    [a*q b*q] @ [Wa; Wb]            =  q @ (a*Wa + b*Wb)
    [a*q b*q a*r b*r] @ [W1; ..4]   =  [q r] @ [a*W1 + b*W2; a*W3 + b*W4]
    (x[I] * x[J]) @ W               the same for the pairs of rows of x that are one of the user's and one of the item's

Here a*W multiplies row e of W by a[e]. Example: FiBiNET and product-based networks multiply each field of the user with
each field of the item, d columns wide, and a Linear follows. With m fields of the user, each field of the item is
multiplied by m weights (d n) for each candidate. The sum of these weights, scaled by the fields of the user, is made
once for a request, and the products of the fields themselves are not needed.

Holds when a and b lack the rows of q, none is stored through an index, and the weight is on the right and is not scaled
by alpha. Rounding: the products are re-associated, and so is the sum over the contracted axis.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.picking import Kind, Places, kinds_of, pick
from mari_onnx.analysis.rules.weight_rows import Columns, products_by_names, rows_of
from mari_onnx.analysis.weight_product import WeightProduct, multiply
from mari_onnx.ir.arrays import cut, fill, lay, one_row, sub_array
from mari_onnx.ir.axes import Axis, Dim, Dims, extent_of, flat, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.forms import Array, Factors, Names, Terms
from mari_onnx.ir.parts import groups, merge

FEWEST = 2
"""Fewer columns with a common factor are one product by a scaled weight (see `scaled_weights`)."""


@dataclass(frozen=True)
class _Scaled:
    """Columns that are x * scale, of which the scale has no rows: it is the same for all candidates."""

    columns: Columns
    x: Array
    scale: Array

    @property
    def rows(self) -> Names:
        """The axes of rows that x is stored along."""
        return self.x.names() - {(self.columns.sub, "stored")}

    @property
    def key(self) -> Hashable:
        """What two columns have in common that are products of the same x."""
        sub = self.columns.sub
        layout = tuple(tuple(None if a is sub else a for a in d if a.extent != 1) for d in self.x.layout)
        return self.x.tensor, layout, self.x.via, sub.extent


Group: TypeAlias = list[_Scaled]
"""Columns that are products of the same x."""


def shared_factor_sums(
    ctx: Context, product: WeightProduct, axis: Axis, columns: list[Columns], price: float
) -> Iterator[Terms]:
    """The product with one weight for all columns that are products of the same x; nothing if there are none.

    `columns` are the pieces of the input along its `axis`, and `price` is their price in nanoseconds.
    """
    attributes = product.attributes
    if attributes.left or attributes.alpha != 1.0 or product.per_token or product.write is not None:
        return
    if (by_pair := _by_pair(ctx, product, axis)) is not None:
        columns, price = by_pair
    scaled = [found for c in columns if (found := _scaled(ctx, product, c)) is not None]
    by_x = groups([each.key for each in scaled]).values()
    together = [[scaled[i] for i in members] for members in by_x if len(members) >= FEWEST]
    if not together:
        return
    used = {id(each.columns) for group in together for each in group}
    rest = [c for c in columns if id(c) not in used]
    products = [_product(ctx, product, axis, members) for members in _of_one_size(together)]
    products += products_by_names(ctx, product, axis, rest) if rest else []
    price -= sum(each.columns.array.price for group in together for each in group)
    price += sum({a.tensor: a.price for group in together for e in group for a in (e.x, e.scale)}.values())
    yield product.plus_bias(tuple((1, p) for p in products), max(price, 0.0))


def _by_pair(ctx: Context, product: WeightProduct, axis: Axis) -> tuple[list[Columns], float] | None:
    """The columns of an input that multiplies picked rows, and their price; None for any other input.

    Each pair of a row of the user and one of the item is known by its factors. All other pairs are multiplied here.
    """
    known = ctx.facts.multiplied.get(product.x.array.tensor)
    source = None if known is None else known.picked.source
    if known is None or source is None or source.parts is None or len(known.pairs) != axis.extent:
        return None
    rows = known.picked.axis
    if {*flat(source.known_dims)} - {rows} != {*flat(product.x.known_dims)} - {axis}:
        return None  # an axis was renamed since
    kinds = kinds_of(ctx, source, rows)
    kind_of = {i: kind for kind in kinds for i in kind.offsets}
    columns: list[Columns] = []
    for n, pair in enumerate(known.pairs):
        if kind_of[pair[0]] is not kind_of[pair[1]]:
            sub = Axis(1, axis.name)
            left, right = (_row(ctx, kind_of[i], i, sub) for i in pair)
            whole = replace(cut(ctx.b, product.x.array, axis, n, n + 1, sub), price=0.0)
            columns.append(Columns(sub, whole, n, n + 1, Factors(left, right)))
    for kind in kinds:
        own = [n for n, pair in enumerate(known.pairs) if kind_of[pair[0]] is kind_of[pair[1]] is kind]
        columns += _multiplied(
            ctx, product, axis, kind, {n: known.pairs[n] for n in own}, renamed(source.known_dims, {rows: (kind.sub,)})
        )
    return sorted(columns, key=lambda c: c.low), source.parts.price


def _row(ctx: Context, kind: Kind, row: int, sub: Axis) -> Array:
    start = kind.offsets[row]
    return replace(cut(ctx.b, kind.array, kind.sub, start, start + 1, sub), price=0.0)


def _multiplied(
    ctx: Context, product: WeightProduct, axis: Axis, kind: Kind, pairs: Mapping[int, tuple[int, int]], dims: Dims
) -> list[Columns]:
    """The products of two rows of one kind: neighbours among the pairs are columns that are cut as one."""
    if not pairs:
        return []
    new = Axis(len(pairs), axis.name)
    position = next(i for i, d in enumerate(dims) if kind.sub in d)
    sides = [
        pick(ctx, kind.array, dims, Places(position, [kind.offsets[pair[side]] for pair in pairs.values()], new))
        for side in range(2)
    ]
    spread = tuple((a,) for a in flat(renamed(product.x.known_dims, {axis: (new,)})))
    whole = pointwise(
        ctx.b, sides, [len(spread)] * 2, spread, lambda ts, shape: ctx.b.make("Mul", ts, shape, product.x.dtype)
    )
    places = [*pairs]
    starts = [k for k, n in enumerate(places) if not k or places[k - 1] != n - 1]
    found = []
    for first, last in pairwise([*starts, len(places)]):
        sub = Axis(last - first, axis.name)
        array = replace(cut(ctx.b, whole, new, first, last, sub), price=0.0)
        found.append(Columns(sub, array, places[first], places[last - 1] + 1))
    return found


def _scaled(ctx: Context, product: WeightProduct, columns: Columns) -> _Scaled | None:
    """The columns as x * scale; None if they are not known so, and if both factors have rows."""
    if columns.factors is None or columns.sign != 1:
        return None
    lead = flat(product.dims[:-1])
    for x, scale in ((columns.factors.left, columns.factors.right), (columns.factors.right, columns.factors.left)):
        rows = [a for a in lead if x.state(a) == "stored"]
        if not rows or x.via or any(scale.state(a) == "stored" for a in lead):
            continue
        scale = one_row(ctx.b, scale, rows)
        if not scale.via and all(scale.state(a) == "absent" for a in lead):
            return _Scaled(columns, x, scale)
    return None


def _of_one_size(together: Sequence[Group]) -> list[list[Group]]:
    """The groups, those with equally many columns of one width together: their weights are made by one product."""
    sizes = groups([(len(group), group[0].columns.width, group[0].rows) for group in together])
    return [[together[i] for i in members] for members in sizes.values()]


def _product(ctx: Context, product: WeightProduct, axis: Axis, members: Sequence[Group]) -> Array:
    """The product of all x side by side, and of their weights one below the other."""
    dims = product.x.known_dims
    pieces = [(group[0].columns.sub, group[0].x) for group in members]
    new = [Axis(sub.extent, sub.name) for sub, _ in pieces]  # an x may be in several pieces
    pieces = [(s, sub_array({sub: s}, x)) for s, (sub, x) in zip(new, pieces, strict=True)]
    whole, x = merge(ctx.b, pieces, axis, dims)
    x = fill(ctx.b, x, renamed(dims, {axis: (whole,)}), [whole])
    weight = Operand(_weights(ctx, product, axis, members, whole), renamed(product.weight.dims, {axis: (whole,)}))
    return multiply(ctx, product, Operand(x, renamed(dims, {axis: (whole,)})), weight)


def _weights(ctx: Context, product: WeightProduct, axis: Axis, members: Sequence[Group], whole: Axis) -> Array:
    """The weights of all x, (whole n): each is the sum of rows of the stored weight that the scales multiply.

    The scales of one column of x are a row of the product scales (x e 1 a) @ rows (x e a n), for columns e of x.
    """
    b, n = ctx.b, product.dims[-1]
    inner = tuple(a for a in product.contracted if a is not axis)
    one = members[0][0]
    count, size = len(members), len(members[0])
    width = extent_of((one.columns.sub, *inner))
    assert isinstance(width, int)
    scales, rows = [], []
    for group in members:
        for each in group:
            own: Dim = (each.columns.sub, *inner)
            scales.append(lay(b, fill(b, each.scale, (own,)), (own,)))
            sub = Axis(each.columns.width)
            rows.append(lay(b, rows_of(ctx, product, axis, each.columns, sub)[1], ((sub, *inner), n)))
    columns = extent_of(n)
    stacked = b.transpose(b.reshape(b.concat(scales, 0), (count, size, width)), (0, 2, 1))
    by_column = b.transpose(b.reshape(b.concat(rows, 0), (count, size, width, columns)), (0, 2, 1, 3))
    shape = (count, width, 1, columns)
    made = b.make("MatMul", [b.reshape(stacked, (count, width, 1, size)), by_column], shape)
    layout = ((whole,), *((a,) for a in inner), n)
    return Array(b.reshape(made, tuple(extent_of(d) for d in layout)), layout)
