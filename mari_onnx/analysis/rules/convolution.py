"""Conv: with a kernel of one place, it is a product with a weight along the channels.

    Conv(x, w)                        lacks the axes of the batch that x lacks
    Conv(x (B k D), w (n k 1), c)     = w (n k) @ x (B k D) + c (n 1), with all the forms of a product with a weight
    Conv([a; b], [Wa Wb])             = Wa @ a + Wb @ b, for channels a of the user and b of the item

Example: the channels of x (B 7 16) are 4 fields of the user, who has one row, and 3 of the item. A kernel of one place
multiplies the channels alone, and the user's are multiplied once.

Holds when the spatial extents are numbers. A product with a weight also needs strides of 1, no padding, a single group
and a stored weight; its spatial extents may be any. Rounding: that of `linear`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.rules.linear import cheapest_turned_back, linear
from mari_onnx.analysis.weight_product import GemmAttributes, WeightProduct
from mari_onnx.ir.arrays import fill, natural, plain, stored_shape
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, dim, extents, flat
from mari_onnx.ir.forms import Array, Value


def conv(op: Op, ctx: Context) -> Derived:
    """Conv of X [batch, channels, ...]: the members of the batch are independent.

    Refused if a spatial extent is not a number, unless the kernel has one place alone.
    """
    x, w = op.data, op.inputs[1]
    if x.dims is None or w is None or w.dims is None:
        return Refused("the rank of an input of Conv is unknown")
    if len(x.dims) != len(w.dims):  # what nobody runs need not be valid: a branch that is taken for other lengths
        return Refused("Conv of an input and a weight of different ranks")
    if _has_one_place(op, w):
        product = _product(op, ctx, x, w)
        if not isinstance(product, Refused):
            return product
    spatial = [d[0].extent if len(d) == 1 else 1 if not d else None for d in x.dims[2:]]
    lengths = [e for e in spatial if isinstance(e, int)]
    kernel = [e for d in w.dims[2:] if isinstance(e := d[0].extent if d else 1, int)]
    if len(lengths) < len(spatial) or len(kernel) < len(w.dims) - 2:
        return Refused("Conv with spatial extents that are not numbers")
    features = tuple(Axis(a.extent, a.name) for a in w.dims[0])
    out = tuple(dim(e) for e in _convolved(op, lengths, kernel))
    return [ctx.result(op, (x.dims[0], features, *out), _as_it_is(op, ctx, x, features, out))]


def _convolved(op: Op, lengths: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """The spatial extents of a Conv's result; with SAME padding they follow from the strides alone."""
    n = len(lengths)
    pads, strides = op.attribute("pads", [0] * 2 * n), op.attribute("strides", [1] * n)
    dilations = op.attribute("dilations", [1] * n)
    if op.attribute("auto_pad", b"NOTSET").startswith(b"SAME"):
        return [-(-s // stride) for s, stride in zip(lengths, strides, strict=True)]
    return [
        (s + pads[i] + pads[n + i] - dilations[i] * (k - 1) - 1) // strides[i] + 1
        for i, (s, k) in enumerate(zip(lengths, kernel, strict=True))
    ]


def _as_it_is(op: Op, ctx: Context, x: Value, features: Dim, spatial: Dims) -> Array:
    """The original node, on the members of the batch that x is stored with; `spatial` are the dims of the result."""
    array = fill(ctx.b, x.array, x.known_dims, flat(x.known_dims[1:]))
    tensor, layout = natural(ctx.b, array, x.known_dims)
    stored = (layout[0], features, *spatial)
    rest = [None if v is None else plain(ctx.b, v) for v in op.inputs[1:]]
    result = ctx.again(op, [tensor, *rest], [stored_shape(stored, array.via)], [x.dtype])[0]
    return Array(result, stored, array.via)


def _has_one_place(op: Op, w: Value) -> bool:
    """Whether each place of the result is a product of the channels at that place by one and the same stored weight."""
    ones = all(e == 1 for e in (*extents(w.known_dims[2:]), *op.attribute("strides", [])))
    return w.constant and ones and op.attribute("group", 1) == 1 and not any(op.attribute("pads", []))


def _product(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """The convolution as W (n k) @ x (B k D), or as (x' @ W')', whichever costs less; D is all places as one dim.

    Refused if the channels of x are not proven as many as those of the weight.
    """
    batch, channels, *spatial = x.known_dims
    since = ctx.b.count

    def whole(op: Op, ctx: Context, product: WeightProduct) -> Array:
        of_channels = product.x.with_dims((batch, product.contracted, *spatial))
        return _as_it_is(op, ctx, of_channels, product.dims[-1], tuple(spatial))

    rows = x.with_dims((batch, tuple(flat(spatial)), channels))
    ways = [
        linear(op, ctx, rows, w.with_dims(w.known_dims[:2]), op.input(2), attributes, whole, since)
        for attributes in (GemmAttributes(transposed=True, left=True), GemmAttributes(transposed=True))
    ]
    derived = cheapest_turned_back(op, ctx, ways, rows, since)
    if isinstance(derived, Refused):
        return derived
    return [value.with_dims((batch, value.known_dims[1], *spatial)) for value in derived]
