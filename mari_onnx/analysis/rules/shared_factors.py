"""Elementwise products of the user's columns with the same columns of the item, times a weight.

    [a*q b*q] @ [Wa; Wb]            =  q @ (a*Wa + b*Wb)
    [a*q b*q a*r b*r] @ [W1; ..4]   =  [q r] @ [a*W1 + b*W2; a*W3 + b*W4]

Here a*W multiplies row e of W by a[e]. Example: FiBiNET and product-based networks multiply each field of the user with
each field of the item, d columns wide, and a Linear follows. With m fields of the user, each field of the item is
multiplied by m weights (d n) for each candidate. The sum of these weights, scaled by the fields of the user, is made
once for a request, and the products of the fields themselves are not needed.

Holds when a and b lack the rows of q, none is stored through an index, and the weight is on the right and is not scaled
by alpha. Rounding: the products are re-associated, and so is the sum over the contracted axis.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.rules.weight_rows import Columns, products_by_names, rows_of
from mari_onnx.analysis.weight_product import WeightProduct, multiply
from mari_onnx.ir.arrays import fill, lay, one_row, sub_array
from mari_onnx.ir.axes import Axis, Dim, extent_of, flat, renamed
from mari_onnx.ir.forms import Array, Names, Terms
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
