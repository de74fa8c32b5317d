"""A product of columns that were normalized together: LayerNormalization between a Concat and a Linear.

    LN([u i]) @ W = ((u - m_u) g_u @ W_u + (i - m_i) g_i @ W_i + (m_u - m_i) r) / s + b @ W

    r = (n_i (g_u @ W_u) - n_u (g_i @ W_i)) / n       one row, the same in every call
    s = sqrt((q_u + q_i + (m_u - m_i)^2 n_u n_i / n) / n + epsilon)

Here u are the columns of the user and i those of the item, n_u and n_i are their numbers, and n is the sum of both;
g is the scale of the normalization and b its shift. Each part p is centred by its own mean m_p, and q_p is the sum of
squares of its centred columns: that is how variances of parts are combined (Chan, Golub and LeVeque, 1979), without the
cancellation of E[x^2] - E[x]^2.

The user's columns are multiplied once. The row r is one more row of the item's weight, and m_u - m_i is one more column
of the item. The normalized columns are never written. The runtime multiplies by g and b, in the precision of the
original.

Holds for LayerNormalization along the last dimension with constant scale and shift. The columns are in two groups of
parts, of which one lacks axes that the other has: the user's and the item's. The model computes the statistics in the
element type of x. Rounding: sums over the columns are re-associated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.facts import Normalized, Scaling, Step
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.weight_product import WeightProduct, multiply
from mari_onnx.ir.arrays import cut, fill, lay, natural, plain, sub_array
from mari_onnx.ir.axes import Axis, Dims, extent_of, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.forms import Array, Terms, Value
from mari_onnx.ir.parts import bounds, groups, join, merge
from mari_onnx.ir.sums import add_up

DTYPES = (1, 11)
"""Element types whose statistics are computed in their own precision: float32 and float64."""

EXACT = 2**12
"""The most columns that are split. Up to here, float32 has the product n_u n_i exactly."""


def remember(op: Op, ctx: Context, y: Value) -> None:
    """Note what a LayerNormalization normalizes, for a product that reads its result y."""
    x, scale, shift = op.data, op.inputs[1], op.input(2)
    last = op.axis in (-1, len(x.known_dims) - 1)
    if x.parts is None or not last or x.known_dims[-1] != (x.parts.axis,) or x.dtype not in DTYPES:
        return
    if scale is None or not scale.constant or (shift is not None and not shift.constant):
        return
    rows = [None if v is None else Array(plain(ctx.b, v), ((x.parts.axis,),)) for v in (scale, shift)]
    scaling = Scaling("Div", (Step("Add", op.attribute("epsilon", 1e-5)), Step("Sqrt")))
    ctx.facts.normalized[y.array.tensor] = Normalized(x.parts, scaling, *rows)


def split(ctx: Context, product: WeightProduct) -> Array | None:
    """The product by the formula above.

    None if the rows of x are not normalized, or if the columns are not in two groups, of which one lacks axes of the
    other.
    """
    known = ctx.facts.normalized.get(product.x.array.tensor)
    if known is None or product.contracted != (known.parts.axis,) or not product.weight.array.tensor.stored:
        return None
    members = _two_groups(known)
    if members is None:
        return None
    columns = _Columns(ctx, known, product)
    once, each = (columns.group(m) for m in members)
    return None if once.width + each.width > EXACT else _combined(columns, once, each)


def _two_groups(known: Normalized) -> tuple[list[int], list[int]] | None:
    """The positions of the user's parts, which lack axes, and of the item's parts, which have these axes."""
    by_names = groups([array.names() - {(sub, "stored")} for sub, array in known.parts.pieces])
    if bounds(known.parts) is None or len(by_names) != 2:
        return None
    few, many = sorted(by_names, key=lambda names: sum(s == "stored" for _, s in names))
    return (by_names[few], by_names[many]) if {a for a, _ in few} <= {a for a, _ in many} else None


def _combined(x: _Columns, once: _Group, each: _Group) -> Array:
    """The formula above; `once` has the columns of the user, and `each` has the columns of the item."""
    b, out, known, bias = x.ctx.b, x.product.dims, x.known, x.product.bias
    n = once.width + each.width
    difference = x.apply("Sub", once.mean, each.mean)
    row = x.apply("Sub", x.scaled(once.row, each.width, n), x.scaled(each.row, once.width, n))
    products = x.products(once, each, difference, row)
    within = add_up(b, Terms(((1, once.squares), (1, each.squares))), out)
    between = x.scaled(x.apply("Mul", difference, difference), once.width * each.width, n)
    squares = add_up(b, Terms(((1, within), (1, between))), out)
    spread = x.apply("Div", squares, x.number(n))
    for step in known.scaling.steps:
        beside = [] if step.number is None else [x.number(step.number)]
        spread = x.apply(step.op_type, *((*beside, spread) if step.first else (spread, *beside)))
    total = add_up(b, Terms(tuple((1, p) for p in products)), out)
    scaled = x.apply(known.scaling.op_type, total, spread)
    constants = [] if bias is None else [bias]
    if known.shift is not None:
        constants.append(x.row(known.shift, x.product.weight.array, known.parts.axis))
    return add_up(b, Terms(((1, scaled), *((1, c) for c in constants))), out)


@dataclass(frozen=True)
class _Group:
    """One of the two groups of columns: in the formula above, the terms with the index u or those with the index i.

    `sub` is the axis of the columns p and `width` their number. `mean` is m_p and `squares` is q_p. `scaled` is
    (p - m_p) g_p, `weight` is W_p, and `row` is g_p @ W_p.
    """

    sub: Axis
    width: int
    mean: Array
    squares: Array
    scaled: Array
    weight: Array
    row: Array


@dataclass(frozen=True)
class _Columns:
    """The columns of a normalized value, and the product that reads them."""

    ctx: Context
    known: Normalized
    product: WeightProduct

    @property
    def dims(self) -> Dims:
        """The dims of the normalized value."""
        return self.product.x.known_dims

    def products(self, once: _Group, each: _Group, difference: Array, row: Array) -> list[Array]:
        """The user's product, and the item's with one more column and one more row: [each difference] @ [W_i; row]."""
        axis, w_dims, b = self.known.parts.axis, self.product.weight.dims, self.ctx.b
        whole = Axis(each.width + 1, str(each.width + 1))
        alone, extended = {axis: (once.sub,)}, {axis: (whole,)}
        columns = join(b, [(each.sub, each.scaled), (Axis(1), difference)], whole, renamed(self.dims, extended))
        rows = join(b, [(each.sub, each.weight), (Axis(1), row)], whole, renamed(w_dims, extended))
        return [
            multiply(self.ctx, self.product, Operand(x, renamed(self.dims, names)), Operand(w, renamed(w_dims, names)))
            for x, w, names in ((once.scaled, once.weight, alone), (columns, rows, extended))
        ]

    def apply(self, op_type: str, *operands: Array, dims: Dims | None = None) -> Array:
        """An elementwise operator on arrays; `dims` are the dims of the result, by default those of the product."""
        dims = dims or self.product.dims
        ranks = [min(len(dims), len(a.layout)) if a.tensor.constant else len(dims) for a in operands]
        return pointwise(
            self.ctx.b, operands, ranks, dims, lambda tensors, shape: self.ctx.b.make(op_type, tensors, shape)
        )

    @property
    def _kind(self) -> np.dtype[Any]:
        return onnx.helper.tensor_dtype_to_np_dtype(self.product.weight.array.tensor.dtype)

    def number(self, number: float) -> Array:
        return Array(self.ctx.b.constant(np.asarray(number, self._kind)), ())

    def scaled(self, array: Array, times: int, by: int) -> Array:
        """Array * times / by, in two steps: the whole numbers are exact in any precision, but their quotient is not."""
        return self.apply("Div", self.apply("Mul", array, self.number(times)), self.number(by))

    def row(self, scale: Array, weight: Array, axis: Axis) -> Array:
        """Scale (k) @ weight (k, n), which is the same in every call."""
        b, columns = self.ctx.b, self.product.dims[-1]
        tensors = [lay(b, scale, ((), (axis,))), lay(b, weight, ((axis,), columns))]
        return Array(b.make("MatMul", tensors, (1, extent_of(columns))), ((), columns))

    def group(self, members: Sequence[int]) -> _Group:
        """The parts at these positions as one group, with their statistics and their rows of the weight."""
        b, axis = self.ctx.b, self.known.parts.axis
        sub, array = merge(b, [self.known.parts.pieces[k] for k in members], axis, self.dims)
        width, dims = sub.extent, renamed(self.dims, {axis: (sub,)})
        assert isinstance(width, int)
        array = fill(b, array, dims, [sub])
        mean = self._reduced("ReduceMean", array, dims)
        centred = self.apply("Sub", array, mean, dims=dims)
        weight = self._entries(self.product.weight, members, sub)
        if self.known.scale is None:
            scale, scaled = Array(b.constant(np.ones(width, self._kind)), ((sub,),)), centred
        else:
            scale = self._entries(Operand(self.known.scale, ((axis,),)), members, sub)
            scaled = self.apply("Mul", centred, scale, dims=dims)
        squares = self._reduced("ReduceSumSquare", centred, dims)
        return _Group(sub, width, mean, squares, scaled, weight, self.row(scale, weight, sub))

    def _entries(self, constant: Operand, members: Sequence[int], sub: Axis) -> Array:
        """The entries of a constant that belong to the parts at these positions, along the axis `sub`."""
        b, parts = self.ctx.b, self.known.parts
        edges = bounds(parts)
        assert edges is not None
        spans = [(edges[k], edges[k + 1]) for k in members]
        pieces = [(p := Axis(high - low), cut(b, constant.array, parts.axis, low, high, p)) for low, high in spans]
        whole, merged = merge(b, pieces, parts.axis, constant.dims)
        return sub_array({whole: sub}, merged)

    def _reduced(self, op_type: str, array: Array, dims: Dims) -> Array:
        tensor, layout = natural(self.ctx.b, array, dims)
        shape = (*tensor.known_shape[:-1], 1)
        tensor = self.ctx.b.make(op_type, [tensor], shape, axes=(len(shape) - 1,), keepdims=1)
        return Array(tensor, (*layout[:-1], ()), array.via)
