"""A product, element by element, that is multiplied by a weight: one of its factors scales the weight instead.

    (a*b) @ W                =  a @ (b*W)
    [q k q*k] @ [W1; W2; W3] =  q @ W1  +  k @ (W2 + q*W3)      what multiplies k alone is added to the scaled weight

Example: q (B d) is the candidate and k (L d) the user's history, so q*k is (B L d). On the left it is computed, written
and multiplied for each pair of both. On the right there is one weight for each candidate, and k is only read.

Holds when one factor lacks the rows of the other, neither is stored through an index, and the weight is on the right
and has no scale. Rounding: the products are re-associated, and so is the sum over the contracted axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.rules.weight_rows import Columns, products_by_names, rows_of
from mari_onnx.analysis.weight_product import WeightProduct, multiply
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.forms import Array, Terms
from mari_onnx.ir.layout import fill, lay, sub_array
from mari_onnx.ir.unbatch import one_row, pointwise, stored_shape


def scaled_sums(
    ctx: Context, product: WeightProduct, axis: Axis, columns: list[Columns], price: float
) -> Iterator[Terms]:
    """The sums in which either factor of the first piece that is a product scales the weight.

    `price` is that of having the columns, which are pieces of the input's `axis`.
    """
    piece = next((c for c in columns if c.factors is not None), None)
    if piece is None or piece.factors is None or len(product.contracted) > 1:
        return
    if product.attributes.left or product.attributes.alpha != 1.0:
        return
    left, right = piece.factors.left, piece.factors.right
    price += piece.factors.price - piece.array.price
    for x, scale in ((left, right), (right, left)):
        scaled = _scaled(ctx, product, axis, piece, x, scale)
        if scaled is None:
            continue
        rest = scaled.take_over([c for c in columns if c is not piece])
        others = products_by_names(ctx, product, axis, rest) if rest else ()
        yield product.plus_bias(((1, scaled.multiplied()), *((1, p) for p in others)), price)


def _scaled(
    ctx: Context, product: WeightProduct, axis: Axis, piece: Columns, x: Array, scale: Array
) -> _ScaledWeight | None:
    """The weight of a piece x * scale, scaled; None where x and the scale are stored along the same rows."""
    lead = flat(product.dims[:-1])
    scale = one_row(ctx.b, scale, [a for a in lead if x.state(a) == "stored"])
    rows, others = ([a for a in lead if array.state(a) != "absent"] for array in (x, scale))
    if set(rows) & set(others) or any(x.state(a) != "stored" for a in rows) or x.via or scale.via:
        return None
    scaled = _ScaledWeight(ctx, product, axis, piece.sub, x, scale, rows, others)
    scaled.combine("Mul", piece)
    return scaled


@dataclass
class _ScaledWeight:
    """x times a weight that has, for each of the axes `others` of the scale, rows of its own.

    `weight` is the scale at first; rows of the stored weight are multiplied with it and added to it. `rows` are the
    axes that x is stored along, `axis` is the input's, and `sub` that of the columns which x is a factor of.
    """

    ctx: Context
    product: WeightProduct
    axis: Axis
    sub: Axis
    x: Array
    weight: Array
    rows: list[Axis]
    others: list[Axis]

    @property
    def dims(self) -> Dims:
        """Those of the stored weight with the columns' own axis."""
        return renamed(self.product.weight.dims, {self.axis: (self.sub,)})

    def combine(self, op_type: str, columns: Columns) -> None:
        """Multiply the weight by the rows of the stored weight that belong to these columns, or add them to it."""
        # However the weight comes to be stored, its axes are those by which it is scaled, and its own.
        dims, b = (*((a,) for a in self.others), *self.dims), self.ctx.b
        _, rows = rows_of(self.ctx, self.product, self.axis, columns, self.sub)
        self.weight = pointwise(
            b, [self.weight, rows], [len(dims), 2], dims, lambda ts, shape: b.make(op_type, ts, shape)
        )

    def take_over(self, columns: list[Columns]) -> list[Columns]:
        """Add the rows of columns that are x itself to the weight: k @ W2 + k @ (q*W3) = k @ (W2 + q*W3).

        Returns the columns that are something else.
        """
        rest: list[Columns] = []
        for c in columns:
            same = sub_array({c.sub: self.sub}, c.array)
            is_x = (same.tensor, same.layout, same.via) == (self.x.tensor, self.x.layout, self.x.via)
            # One number that is repeated is the same array however often it is repeated.
            if is_x and c.sub.extent == self.sub.extent:
                self.combine("Add" if c.sign == 1 else "Sub", c)
            else:
                rest.append(c)
        return rest

    def multiplied(self) -> Array:
        """The product: of matrices if the scale has a single row, else of the rows of x by a weight for each other."""
        product, b = self.product, self.ctx.b
        dims = renamed(product.x.known_dims, {self.axis: (self.sub,)})
        x = fill(b, self.x, dims, [self.sub])
        if not self.others:
            return multiply(self.ctx, product, Operand(x, dims), Operand(self.weight, self.dims))
        batch, n = tuple((a,) for a in self.others), product.dims[-1]
        tensors = [lay(b, x, (tuple(self.rows), (self.sub,))), lay(b, self.weight, (*batch, (self.sub,), n))]
        layout = (*batch, tuple(self.rows), n)
        return Array(b.make("MatMul", tensors, stored_shape(layout, ())), layout)
