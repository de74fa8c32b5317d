"""Products: MatMul of anything, and of two computed values in particular.

    q (B k) @ k (k n)       is stored on the axes that either side has
    q (B h 1 d), k (h d L)  are one product (h B d) @ (h d L): what only one side has become rows
    q (B L (h d))           is had as (h B L d), see `heads`: the product is stored in that order
    q (B k) @ v (k)         is q @ (k 1), and the result without its column

Holds when the contracted extents are proven equal. Rounding: none, but for the order in which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules.linear import explained, linear, swapped
from mari_onnx.analysis.tensor_facts import PairProducts
from mari_onnx.ir.arrays import fill, lay, natural, one_row, stored_shape
from mari_onnx.ir.attention_heads import Heads
from mari_onnx.ir.axes import Dims, Refused, broadcast, extent_of, flat, refine
from mari_onnx.ir.broadcasting import Write, agree, result_via
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import fresh, rename_value


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
        return explained(op, ctx, linear(op, ctx, x, w, None, False, 1.0, 1.0), x, since)
    return _batched(op, ctx, x, w)


def _of_vectors(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """A vector on the left is one row, on the right one column, and the product has neither.

    It is never written with a vector: of Transpose and such a product onnxruntime 1.32 makes another one (extended).
    """
    row, column = len(x.known_dims) == 1, len(w.known_dims) == 1
    x = x.with_dims(((), *x.known_dims)) if row else x
    w = w.with_dims((*w.known_dims, ())) if column else w
    derived = matmul(replace(op, inputs=(x, w)), ctx)
    if isinstance(derived, Refused):
        return derived

    def without(dims: Dims) -> Dims:
        return (*dims[:-2], *(() if row else dims[-2:-1]), *(() if column else dims[-1:]))

    return [value.with_dims(without(value.known_dims)) for value in derived]


def _weight_on_the_left(op: Op, ctx: Context, weight: Value, x: Value) -> Derived:
    """W @ x is x @ W seen transposed; or that is what is computed: (B 1) rows of k are one product, (B k 1) many."""
    since = ctx.b.count
    seen = x.with_dims(swapped(x.known_dims))
    turned = weight.with_dims(swapped(weight.known_dims))
    ways = [
        linear(op, ctx, seen, weight, None, True, 1.0, 1.0, left=True),
        linear(op, ctx, seen, turned, None, False, 1.0, 1.0),
    ]
    found = [v.with_dims(swapped(v.known_dims)) for v in ways if not isinstance(v, Refused)]
    if len(found) < len(ways):
        return next(why for why in ways if isinstance(why, Refused))
    value = min(found, key=lambda v: _price(ctx, v.array, v.known_dims, since))
    return explained(op, ctx, value, seen, since)


def _batched(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """A product of two computed values: leading dimensions broadcast, each side on the axes that it has."""
    since = ctx.b.count
    same = x.array.tensor is w.array.tensor and x.array.layout == w.array.layout
    symmetric = same and x.known_dims == swapped(w.known_dims)
    w = fresh(ctx.b, w)
    lead = broadcast([x.known_dims[:-2], w.known_dims[:-2]])
    if isinstance(lead, Refused):
        return lead
    w = rename_value(ctx.b, w, lead[1][1])
    x = rename_value(ctx.b, x, lead[1][0])
    refined = refine(x.known_dims[-1], w.known_dims[-2])
    if refined is None:
        return Refused("the widths of the two sides of MatMul are not proven equal")
    x, w = rename_value(ctx.b, x, refined[1]), rename_value(ctx.b, w, refined[2])
    rank = max(len(x.known_dims), len(w.known_dims))
    x_dims, w_dims = (((),) * (rank - len(v.known_dims)) + v.known_dims for v in (x, w))
    dims = (*lead[0], x_dims[-2], w_dims[-1])

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        return ctx.again(op, tensors, [shape], [op.data.dtype])[0]

    ranks = (len(x.known_dims), len(w.known_dims))
    array = multiply(ctx, (x.array, w.array), (x_dims, w_dims), dims, ranks, write)
    value = ctx.result(op, dims, replace(array, price=0.0))
    explain_product(op, ctx, value, x, extent_of(x_dims[-1]), array.tensor.node.serial - 1)
    inherited = x.array.price + (0.0 if symmetric else w.array.price)
    pair = PairProducts(x, w, inherited + ctx.price([value.array.tensor], since), symmetric)
    if ctx.uses.get(value.name) == 1 and len(x_dims) == len(w_dims) == len(dims) and pair.in_parts:
        ctx.pair_products[value.array.tensor] = pair
    return [value]


def multiply(
    ctx: Context,
    sides: tuple[Array, Array],
    own: tuple[Dims, Dims],
    dims: Dims,
    ranks: tuple[int, int],
    write: Write,
) -> Array:
    """The product of arrays with dims `own` of equal length, on their own axes or with what one lacks as rows.

    `dims` are the result's, `ranks` the logical ranks of the sides; `write` makes a product of their own ranks.
    """
    since = ctx.b.count
    x_dims, w_dims = own
    left = fill(ctx.b, sides[0], x_dims, x_dims[-1])
    right = fill(ctx.b, sides[1], w_dims, w_dims[-2])
    left, right = agree(ctx.b, [left, right], dims[:-2], own)
    turned = [(*d[:-2], d[-1], d[-2]) for d in (w_dims, x_dims, dims)]
    heads = Heads(ctx.b, ctx.uses, since, ctx.cost.thrifty)
    lead = flat(dims[:-2])
    ways = [(left, right), (heads.outermost(left, lead), heads.outermost(right, lead))]
    since = heads.since
    array = _on_own_axes(ctx, ways[0], own, dims, ranks, write)
    as_rows: list[Array | None] = []
    for way in ways:
        array = _cheaper(ctx, array, _in_stored_order(ctx, way, own, dims, write), since)
        as_rows.append(_as_rows(ctx, *way, own, dims))
        as_rows.append(_as_rows(ctx, *way[::-1], turned[:2], turned[2]))
    for rows in as_rows:
        if rows is not None and _price(ctx, rows, dims, since) < _price(ctx, array, dims, since):
            array = rows
    return array


def _price(ctx: Context, array: Array, dims: Dims, since: int) -> float:
    """What the array takes in the order of `dims`, in which most of what reads it will want it."""
    return ctx.price([natural(ctx.b, array, dims)[0]], since)


def _cheaper(ctx: Context, array: Array, other: Array, since: int) -> Array:
    return other if ctx.price([other.tensor], since) < ctx.price([array.tensor], since) else array


def _in_stored_order(
    ctx: Context, sides: tuple[Array, Array], dims: tuple[Dims, Dims], out: Dims, write: Write
) -> Array:
    """On the leading axes in the order in which the left side is stored: (h B) is as good for what follows as (B h)."""
    at = {a: i for i, a in enumerate(flat(sides[0].layout))}
    order = tuple((a,) for a in sorted(flat(out[:-2]), key=lambda a: at.get(a, -1)))
    (left, of_left), (right, of_right) = (
        natural(ctx.b, side, (*order, *own[-2:])) for side, own in zip(sides, dims, strict=True)
    )
    lead = tuple(a or b for a, b in zip(of_left[:-2], of_right[:-2], strict=True))
    layout, via = (*lead, of_left[-2], of_right[-1]), result_via(sides, flat(out))
    return Array(write([left, right], stored_shape(layout, via)), layout, via)


def _on_own_axes(
    ctx: Context, sides: tuple[Array, Array], dims: tuple[Dims, Dims], out: Dims, ranks: Sequence[int], write: Write
) -> Array:
    for d in out[:-2]:
        states = {tuple(s.state(a) for a in d) for s in sides} - {("absent",) * len(d)}
        if len(d) > 1 and len(states) > 1:
            sides = (fill(ctx.b, sides[0], dims[0], d), fill(ctx.b, sides[1], dims[1], d))
    tensors, layouts = [], []
    for array, own, rank in zip(sides, dims, ranks, strict=True):
        tensor, layout = natural(ctx.b, array, own[len(own) - rank :])
        tensors.append(tensor)
        layouts.append(((),) * (len(own) - rank) + layout)
    lead = tuple(a if len(a) >= len(b) else b for a, b in zip(layouts[0][:-2], layouts[1][:-2], strict=True))
    layout = (*lead, layouts[0][-2], layouts[1][-1])
    via = result_via(sides, flat(out))
    return Array(write(tensors, stored_shape(layout, via)), layout, via)


def _as_rows(ctx: Context, x: Array, w: Array, dims: Sequence[Dims], out: Dims) -> Array | None:
    """What only the left side has become rows: q (B h 1 d) and k (h d L) are one product (h B d) @ (h d L).

    With the sides exchanged and turned: weight (r d) and x (B d 1) are one product (B d) @ (d r).
    """
    lead = flat(out[:-2])
    w = one_row(ctx.b, w, [a for a in lead if x.state(a) == "stored"])
    only_left = [a for a in lead if x.state(a) == "stored" and w.state(a) == "absent"]
    shared = [a for a in lead if a not in only_left and (x.state(a) != "absent" or w.state(a) != "absent")]
    if not only_left or any(x.state(a) != w.state(a) for a in shared):
        return None
    k, m, n = dims[0][-1], dims[0][-2], out[-1]
    batch = tuple((a,) for a in shared)
    stored_m = tuple(a for a in m if x.state(a) != "absent")
    stored_n = tuple(a for a in n if w.state(a) != "absent")
    rows = lay(ctx.b, x, (*batch, (*only_left, *stored_m), k))
    columns = lay(ctx.b, w, (*batch, k, stored_n))
    layout = (*batch, (*only_left, *stored_m), stored_n)
    via = result_via([x, w], flat(out))
    return Array(ctx.b.make("MatMul", [rows, columns], stored_shape(layout, via)), layout, via)
