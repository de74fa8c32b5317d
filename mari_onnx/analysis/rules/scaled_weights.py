"""Elementwise products times a weight: one factor of the product scales the weight instead.

    (a*b) @ W                =  a @ (b*W)
    [q k q*k] @ [W1; W2; W3] =  q @ W1  +  k @ (W2 + q*W3)      the weight of k alone is added to the scaled weight

Example: q (B d) are the candidates and k (L d) is the user's history, so q*k is (B L d). The left side computes q*k for
each pair of a candidate and a step, writes it, and multiplies it by W3. The right side has one weight W2 + q*W3 for
each candidate, and only reads k.

Holds when each factor lacks the rows of the other, neither is stored through an index, and the weight is on the right
and is not scaled by alpha. Rounding: the products are re-associated, and so is the sum over the contracted axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.rules.weight_rows import Columns, products_by_names, rows_of
from mari_onnx.analysis.weight_product import WeightProduct, multiply
from mari_onnx.ir.arrays import fill, lay, one_row, stored_shape, sub_array
from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.forms import Array, Terms


def scaled_sums(
    ctx: Context, product: WeightProduct, axis: Axis, columns: list[Columns], price: float
) -> Iterator[Terms]:
    """The product as sums in which a factor scales the weight: at most two, one for each factor.

    `columns` are the pieces of the input along its `axis`, and `price` is their price in nanoseconds. The factors are
    those of the first piece that is an elementwise product.
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
    """The scaled weight for a piece x * scale; None if x and the scale are stored along a common axis of rows."""
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
    """A product of x by a scaled weight: there is one weight for each position along the axes `others` of the scale.

    `weight` is the scale at first. `combine` multiplies it by rows of the stored weight, or adds such rows to it.
    `rows` are the axes of rows that x is stored along. `axis` is the contracted axis of the input, and `sub` is that of
    the columns of x.
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
        """The dims of one weight, (sub n): those of the stored weight, with `sub` instead of `axis`."""
        return renamed(self.product.weight.dims, {self.axis: (self.sub,)})

    def combine(self, op_type: str, columns: Columns) -> None:
        """Multiply the weight by the rows of the stored weight that belong to these columns, or add them to it."""
        # The dims of all weights are those of the scale and of one weight, in whatever order they are stored.
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
            # The array of one repeated number is the same for any extent, so the extents are compared too.
            if is_x and c.sub.extent == self.sub.extent:
                self.combine("Add" if c.sign == 1 else "Sub", c)
            else:
                rest.append(c)
        return rest

    def multiplied(self) -> Array:
        """The product of x by the weight: one matrix product for each position along `others`, or one in all."""
        product, b = self.product, self.ctx.b
        dims = renamed(product.x.known_dims, {self.axis: (self.sub,)})
        x = fill(b, self.x, dims, [self.sub])
        if not self.others:
            return multiply(self.ctx, product, Operand(x, dims), Operand(self.weight, self.dims))
        batch, n = tuple((a,) for a in self.others), product.dims[-1]
        tensors = [lay(b, x, (tuple(self.rows), (self.sub,))), lay(b, self.weight, (*batch, (self.sub,), n))]
        layout = (*batch, tuple(self.rows), n)
        return Array(b.make("MatMul", tensors, stored_shape(layout, ())), layout)
