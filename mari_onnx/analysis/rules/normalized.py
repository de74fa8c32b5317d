"""A product with columns that were normalized together: LayerNormalization between a Concat and a Linear.

    LN([u i]) @ W = ((u - m_u) g_u @ W_u + (i - m_i) g_i @ W_i + (m_u - m_i) r) / s + b @ W

    r = (n_i (g_u @ W_u) - n_u (g_i @ W_i)) / n       one row, the same in every call
    s = sqrt((q_u + q_i + (m_u - m_i)^2 n_u n_i / n) / n + epsilon)

Each part is centred by its own mean m, and has its own sum of squares q of its n_p columns of all n; that is how
variances of parts are combined (Chan, Golub and LeVeque, 1979), without the cancellation of E[x^2] - E[x]^2. What
the user has is multiplied once, r is one more row of the item's weight, and the normalized columns are never
written. Products with g and b are left to the runtime, in the precision in which the original has them.

Holds for LayerNormalization along the last dimension, of parts of which some lack axes that others have, with
constant scale and shift, in the precision of the statistics. Rounding: sums over the columns are re-associated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.tensor_facts import Normalized, Scaling, Step
from mari_onnx.ir.axes import Axis, Dims, extent_of, renamed
from mari_onnx.ir.forms import Array, Terms, Value
from mari_onnx.ir.layout import bounds, cut, fill, groups, join, lay, merge, plain, sub_array
from mari_onnx.ir.unbatch import add_up, natural, pointwise

DTYPES = (1, 11)
EXACT = 2**12
"""Columns up to which the numbers of columns of two groups have a product that float32 has exactly."""

Multiply: TypeAlias = Callable[[Array, Dims, Array, Dims], Array]
"""x (..., k) times w (k, n), given the dims of both."""


def remember(op: Op, ctx: Context, y: Value) -> None:
    """Tell products that what they read was normalized."""
    x, scale, shift = op.data, op.inputs[1], op.input(2)
    last = op.axis in (-1, len(x.known_dims) - 1)
    if x.parts is None or not last or x.known_dims[-1] != (x.parts.axis,) or x.dtype not in DTYPES:
        return
    if scale is None or not scale.constant or (shift is not None and not shift.constant):
        return
    rows = [None if v is None else Array(plain(ctx.b, v), ((x.parts.axis,),)) for v in (scale, shift)]
    scaling = Scaling("Div", (Step("Add", op.attribute("epsilon", 1e-5)), Step("Sqrt")))
    ctx.normalized[y.array.tensor] = Normalized(x.parts, scaling, *rows)


def split(
    ctx: Context, y: Value, weight: Array, w_dims: Dims, bias: Array | None, multiply: Multiply, out: Dims
) -> Array | None:
    """Y (..., k) @ w (k, n) + bias with the dims `out`, where y was normalized in two groups of columns.

    None where it was not, or where one group does not lack what the other has.
    """
    known = ctx.normalized.get(y.array.tensor)
    if known is None or y.known_dims[-1] != (known.parts.axis,) or not weight.tensor.stored:
        return None
    axis = known.parts.axis
    by_names = groups([array.names() - {(sub, "stored")} for sub, array in known.parts.pieces])
    if bounds(known.parts) is None or len(by_names) != 2:
        return None
    few, many = sorted(by_names, key=lambda names: sum(s == "stored" for _, s in names))
    if not {a for a, _ in few} <= {a for a, _ in many}:
        return None
    x = _Columns(ctx, known, y.known_dims, weight, w_dims, out)
    once, each = x.group(by_names[few]), x.group(by_names[many])
    n = once.width + each.width
    if n > EXACT:
        return None
    apart = x.apply("Sub", once.mean, each.mean)
    row = x.apply("Sub", x.scaled(once.row, each.width, n), x.scaled(each.row, once.width, n))
    # One more column, and one more row of the weight.
    whole = Axis(each.width + 1, str(each.width + 1))
    columns = join(ctx.b, [(each.sub, each.scaled), (Axis(1), apart)], whole, renamed(x.dims, {axis: (whole,)}))
    rows = join(ctx.b, [(each.sub, each.weight), (Axis(1), row)], whole, renamed(w_dims, {axis: (whole,)}))
    products = [
        multiply(once.scaled, renamed(x.dims, {axis: (once.sub,)}), once.weight, renamed(w_dims, {axis: (once.sub,)})),
        multiply(columns, renamed(x.dims, {axis: (whole,)}), rows, renamed(w_dims, {axis: (whole,)})),
    ]
    within = add_up(ctx.b, Terms(((1, once.squares), (1, each.squares))), out)
    between = x.scaled(x.apply("Mul", apart, apart), once.width * each.width, n)
    squares = add_up(ctx.b, Terms(((1, within), (1, between))), out)
    spread = x.apply("Div", squares, x.number(n))
    for step in known.scaling.steps:
        beside = [] if step.number is None else [x.number(step.number)]
        spread = x.apply(step.op_type, *((*beside, spread) if step.first else (spread, *beside)))
    total = add_up(ctx.b, Terms(tuple((1, p) for p in products)), out)
    scaled = x.apply(known.scaling.op_type, total, spread)
    constants = [] if bias is None else [bias]
    if known.shift is not None:
        constants.append(x.row(known.shift, weight, axis))
    return add_up(ctx.b, Terms(((1, scaled), *((1, c) for c in constants))), out)


@dataclass(frozen=True)
class _Group:
    """Columns that are stored alike: centred and scaled, with their statistics and the weight's rows."""

    sub: Axis
    width: int
    mean: Array
    squares: Array
    scaled: Array
    weight: Array
    row: Array


@dataclass(frozen=True)
class _Columns:
    """What is done to the columns of the normalized value, whose dims these are."""

    ctx: Context
    known: Normalized
    dims: Dims
    weight: Array
    w_dims: Dims
    out: Dims

    def apply(self, op_type: str, *operands: Array, dims: Dims | None = None) -> Array:
        dims = dims or self.out
        ranks = [min(len(dims), len(a.layout)) if a.tensor.constant else len(dims) for a in operands]
        return pointwise(
            self.ctx.b, operands, ranks, dims, lambda tensors, shape: self.ctx.b.make(op_type, tensors, shape)
        )

    @property
    def kind(self) -> np.dtype[Any]:
        return onnx.helper.tensor_dtype_to_np_dtype(self.weight.tensor.dtype)

    def number(self, number: float) -> Array:
        return Array(self.ctx.b.constant(np.asarray(number, self.kind)), ())

    def scaled(self, array: Array, times: int, by: int) -> Array:
        """Array * times / by: whole numbers are exact in any precision, their quotient is not."""
        return self.apply("Div", self.apply("Mul", array, self.number(times)), self.number(by))

    def row(self, scale: Array, weight: Array, axis: Axis) -> Array:
        """Scale (k) @ w (k, n), the same in every call."""
        b, columns = self.ctx.b, self.out[-1]
        tensors = [lay(b, scale, ((), (axis,))), lay(b, weight, ((axis,), columns))]
        return Array(b.make("MatMul", tensors, (1, extent_of(columns))), ((), columns))

    def group(self, members: Sequence[int]) -> _Group:
        b, parts = self.ctx.b, self.known.parts
        edges = bounds(parts)
        assert edges is not None
        sub, array = merge(b, [parts.pieces[k] for k in members], parts.axis, self.dims)
        own = renamed(self.dims, {parts.axis: (sub,)})

        def of(constant: Array, dims: Dims) -> Array:
            """The entries of a constant that belong to the members."""
            spans = [(edges[k], edges[k + 1]) for k in members]
            pieces = [(p := Axis(high - low), cut(b, constant, parts.axis, low, high, p)) for low, high in spans]
            whole, merged = merge(b, pieces, parts.axis, dims)
            return sub_array({whole: sub}, merged)

        array = fill(b, array, own, [sub])
        mean = self._reduced("ReduceMean", array, own)
        centred = self.apply("Sub", array, mean, dims=own)
        weight = of(self.weight, self.w_dims)
        width = sub.extent
        assert isinstance(width, int)
        if self.known.scale is None:
            scale, scaled = Array(b.constant(np.ones(width, self.kind)), ((sub,),)), centred
        else:
            scale = of(self.known.scale, ((parts.axis,),))
            scaled = self.apply("Mul", centred, scale, dims=own)
        squares = self._reduced("ReduceSumSquare", centred, own)
        return _Group(sub, width, mean, squares, scaled, weight, self.row(scale, weight, sub))

    def _reduced(self, op_type: str, array: Array, dims: Dims) -> Array:
        tensor, layout = natural(self.ctx.b, array, dims)
        shape = (*tensor.known_shape[:-1], 1)
        tensor = self.ctx.b.make(op_type, [tensor], shape, axes=(len(shape) - 1,), keepdims=1)
        return Array(tensor, (*layout[:-1], ()), array.via)
