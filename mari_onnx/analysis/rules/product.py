"""Products: MatMul of anything, and of two computed values in particular.

    q (B k) @ w (k n)       is stored on the axes that either side has
    q (B h 1 d), k (h d L)  are one product (h B d) @ (h d L): what only one side has become rows
    q (B L (h d))           is had as (h B L d), see `attention_heads`: the product is stored in that order
    q (B k) @ v (k)         is q @ (k 1), and the result without its column

B are the candidates, L the steps of a sequence, h the heads of an attention and d the width of each. Example: the
queries of B candidates meet the keys of one user. The model has B products of one row each; here it is one product of B
rows, which reads the keys once.

Holds when the contracted extents are proven equal. Rounding: none, but for the order in which a runtime adds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.facts import PairProducts
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules.linear import explained, linear
from mari_onnx.analysis.weight_product import GemmAttributes, swapped
from mari_onnx.ir.attention_heads import Heads
from mari_onnx.ir.axes import Axis, Dims, Refused, broadcast, extent_of, flat, refine
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.layout import fill, fresh, lay, rename_value
from mari_onnx.ir.unbatch import Write, agree, natural, one_row, result_via, stored_shape


def matmul(op: Op, ctx: Context) -> Derived:
    """A product with a weight, or of two computed values."""
    x, w = op.data, op.inputs[1]
    assert w is not None
    if x.dims is None or w.dims is None:
        return Refused("the rank of an input of MatMul is unknown")
    if len(x.dims) == 1 or len(w.dims) == 1:
        return _of_vectors(op, ctx, x, w)
    since = ctx.b.count
    if len(x.dims) == 2 and x.constant and not w.constant:
        return _weight_on_the_left(op, ctx, x, w)
    if len(w.dims) == 2:
        return explained(op, ctx, linear(op, ctx, x, w), x, since)
    return _batched(op, ctx, x, w)


def _of_vectors(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """A vector on the left is one row, on the right one column, and the product has neither.

    It is never written with a vector: of Transpose and such a product onnxruntime 1.32 makes another one (extended).
    """
    row, column = len(x.known_dims) == 1, len(w.known_dims) == 1
    x = replace(x, dims=((), *x.known_dims), content=None) if row else x
    w = replace(w, dims=(*w.known_dims, ()), content=None) if column else w
    derived = matmul(replace(op, inputs=(x, w)), ctx)
    if isinstance(derived, Refused):
        return derived

    def without(dims: Dims) -> Dims:
        return (*dims[:-2], *(() if row else dims[-2:-1]), *(() if column else dims[-1:]))

    return [replace(value, dims=without(value.known_dims)) for value in derived]


def _weight_on_the_left(op: Op, ctx: Context, weight: Value, x: Value) -> Derived:
    """W @ x, as the model has it or as the transposed x @ W, whichever costs less.

    Example: W (n k) @ x (B k 1) is a batch of B products. The rows of x (B 1 k) are one product with W (k n).
    """
    since = ctx.b.count
    seen = replace(x, dims=swapped(x.known_dims), content=None, written=None)
    turned = replace(weight, dims=swapped(weight.known_dims))
    ways = [
        linear(op, ctx, seen, weight, attributes=GemmAttributes(transposed=True, left=True)),
        linear(op, ctx, seen, turned),
    ]
    found = [replace(v, dims=swapped(v.known_dims)) for v in ways if not isinstance(v, Refused)]
    if len(found) < len(ways):
        return next(why for why in ways if isinstance(why, Refused))
    value = min(found, key=lambda v: _price(ctx, v.array, v.known_dims, since))
    return explained(op, ctx, value, seen, since)


def _batched(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """A product of two computed values: leading dimensions broadcast, each side on the axes that it has."""
    since = ctx.b.count
    same = x.array.tensor is w.array.tensor and x.array.layout == w.array.layout
    symmetric = same and x.known_dims == swapped(w.known_dims)
    sides = _aligned(ctx, x, w)
    if isinstance(sides, Refused):
        return sides
    x, w = sides
    product = _matrix_product(op, ctx, x, w)
    array = multiply(ctx, product)
    value = ctx.result(op, product.dims, replace(array, price=0.0))
    explain_product(op, ctx, value, x, extent_of(product.left.dims[-1]), array.tensor.node.serial - 1)
    inherited = x.array.price + (0.0 if symmetric else w.array.price)
    price = priced(ctx.cost, value.array, since, inherited).price
    pair = PairProducts(x, w, price, symmetric)
    equal_ranks = len(x.known_dims) == len(w.known_dims)
    if ctx.read_counts.get(value.name) == 1 and equal_ranks and pair.in_parts:
        ctx.facts.pair_products[value.array.tensor] = pair
    return [value]


def _aligned(ctx: Context, x: Value, w: Value) -> tuple[Value, Value] | Refused:
    """The sides with common axes in the leading dimensions and in the contracted one."""
    w = fresh(ctx.b, w)
    lead = broadcast([x.known_dims[:-2], w.known_dims[:-2]])
    if isinstance(lead, Refused):
        return lead
    _, (of_x, of_w) = lead
    w = rename_value(ctx.b, w, of_w)
    x = rename_value(ctx.b, x, of_x)
    refined = refine(x.known_dims[-1], w.known_dims[-2])
    if refined is None:
        return Refused("the widths of the two sides of MatMul are not proven equal")
    _, split_x, split_w = refined
    return rename_value(ctx.b, x, split_x), rename_value(ctx.b, w, split_w)


@dataclass(frozen=True)
class MatrixProduct:
    """left (..., m, k) @ right (..., k, n) = (..., m, n), where the dims of both sides and of the result are aligned.

    `dims` are the result's. `ranks` are the logical ranks of the sides, which may be less than the length of their
    dims; `write` makes a product of two tensors of these ranks, given the shape of its result.
    """

    left: Operand
    right: Operand
    dims: Dims
    ranks: tuple[int, int]
    write: Write

    @property
    def arrays(self) -> tuple[Array, Array]:
        return self.left.array, self.right.array

    @property
    def lead(self) -> list[Axis]:
        """The axes of the leading dimensions, by which there are many products."""
        return flat(self.dims[:-2])

    @property
    def turned(self) -> MatrixProduct:
        """The transposed product: right' @ left'."""
        left, right = (Operand(side.array, swapped(side.dims)) for side in (self.right, self.left))
        return replace(self, left=left, right=right, dims=swapped(self.dims))

    def of(self, left: Array, right: Array) -> MatrixProduct:
        """The same product of other arrays that hold the same."""
        return replace(self, left=Operand(left, self.left.dims), right=Operand(right, self.right.dims))


def _matrix_product(op: Op, ctx: Context, x: Value, w: Value) -> MatrixProduct:
    """The product of two values that are aligned, which differ in rank perhaps."""

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        return ctx.again(op, tensors, [shape], [op.data.dtype])[0]

    rank = max(len(x.known_dims), len(w.known_dims))
    left, right = (Operand(v.array, ((),) * (rank - len(v.known_dims)) + v.known_dims) for v in (x, w))
    lead = tuple(a or b for a, b in zip(left.dims[:-2], right.dims[:-2], strict=True))
    dims = (*lead, left.dims[-2], right.dims[-1])
    return MatrixProduct(left, right, dims, (len(x.known_dims), len(w.known_dims)), write)


def multiply(ctx: Context, product: MatrixProduct) -> Array:
    """The cheapest way to have the product: with each side on its own axes, or with what one side lacks as rows."""
    since = ctx.b.count
    left = fill(ctx.b, product.left.array, product.left.dims, product.left.dims[-1])
    right = fill(ctx.b, product.right.array, product.right.dims, product.right.dims[-2])
    left, right = agree(ctx.b, [left, right], product.dims[:-2], [product.left.dims, product.right.dims])
    product = product.of(left, right)
    heads = Heads(ctx.b, ctx.read_counts, since, ctx.cost.thrifty)
    by_heads = product.of(heads.outermost(left, product.lead), heads.outermost(right, product.lead))
    since = heads.since
    array = _on_own_axes(ctx, product)
    as_rows: list[Array | None] = []
    for way in (product, by_heads):
        other = _in_stored_order(ctx, way)
        array = other if ctx.cost.price([other.tensor], since) < ctx.cost.price([array.tensor], since) else array
        as_rows.append(_as_rows(ctx, way))
        as_rows.append(_as_rows(ctx, way.turned))
    for rows in as_rows:
        if rows is not None and _price(ctx, rows, product.dims, since) < _price(ctx, array, product.dims, since):
            array = rows
    return array


def _price(ctx: Context, array: Array, dims: Dims, since: int) -> float:
    """The price of the array in the order of `dims`, in which most of what reads it will want it."""
    return ctx.cost.price([natural(ctx.b, array, dims)[0]], since)


def _in_stored_order(ctx: Context, product: MatrixProduct) -> Array:
    """On the leading axes in the order in which the left side is stored: (h B) is as good for what follows as (B h)."""
    at = {a: i for i, a in enumerate(flat(product.left.array.layout))}
    order = tuple((a,) for a in sorted(product.lead, key=lambda a: at.get(a, -1)))
    (left, of_left), (right, of_right) = (
        natural(ctx.b, side.array, (*order, *side.dims[-2:])) for side in (product.left, product.right)
    )
    lead = tuple(a or b for a, b in zip(of_left[:-2], of_right[:-2], strict=True))
    layout, via = (*lead, of_left[-2], of_right[-1]), result_via(product.arrays, flat(product.dims))
    return Array(product.write([left, right], stored_shape(layout, via)), layout, via)


def _on_own_axes(ctx: Context, product: MatrixProduct) -> Array:
    """As the model has it, on the axes that each side has: what one of them lacks broadcasts."""
    product = _with_like_batches(ctx, product)
    tensors, layouts = [], []
    for side, rank in zip((product.left, product.right), product.ranks, strict=True):
        missing = len(side.dims) - rank
        tensor, layout = natural(ctx.b, side.array, side.dims[missing:])
        tensors.append(tensor)
        layouts.append(((),) * missing + layout)
    of_left, of_right = layouts
    lead = tuple(a if len(a) >= len(b) else b for a, b in zip(of_left[:-2], of_right[:-2], strict=True))
    layout = (*lead, of_left[-2], of_right[-1])
    via = result_via(product.arrays, flat(product.dims))
    return Array(product.write(tensors, stored_shape(layout, via)), layout, via)


def _with_like_batches(ctx: Context, product: MatrixProduct) -> MatrixProduct:
    """With leading dimensions of several axes, (B h), stored alike on both sides that have any of them."""
    for d in product.dims[:-2]:
        states = {tuple(array.state(a) for a in d) for array in product.arrays} - {("absent",) * len(d)}
        if len(d) > 1 and len(states) > 1:
            left, right = (fill(ctx.b, side.array, side.dims, d) for side in (product.left, product.right))
            product = product.of(left, right)
    return product


def _as_rows(ctx: Context, product: MatrixProduct) -> Array | None:
    """What only the left side has become rows: q (B h 1 d) and k (h d L) are one product (h B d) @ (h d L).

    With the sides exchanged and turned: weight (r d) and x (B d 1) are one product (B d) @ (d r).
    """
    lead, x = product.lead, product.left.array
    w = one_row(ctx.b, product.right.array, [a for a in lead if x.state(a) == "stored"])
    only_left = [a for a in lead if x.state(a) == "stored" and w.state(a) == "absent"]
    shared = [a for a in lead if a not in only_left and (x.state(a) != "absent" or w.state(a) != "absent")]
    if not only_left or any(x.state(a) != w.state(a) for a in shared):
        return None
    *_, m, k = product.left.dims
    n = product.dims[-1]
    batch = tuple((a,) for a in shared)
    stored_m = tuple(a for a in m if x.state(a) != "absent")
    stored_n = tuple(a for a in n if w.state(a) != "absent")
    rows = lay(ctx.b, x, (*batch, (*only_left, *stored_m), k))
    columns = lay(ctx.b, w, (*batch, k, stored_n))
    layout = (*batch, (*only_left, *stored_m), stored_n)
    via = result_via([x, w], flat(product.dims))
    return Array(ctx.b.make("MatMul", [rows, columns], stored_shape(layout, via)), layout, via)
