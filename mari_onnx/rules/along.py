"""Operators that work along some dimensions and treat the others independently.

    Softmax, LayerNormalization, CumSum, ArgMax, TopK, Reduce*, ...

    f(x) lacks the axes that x lacks, in every dimension that f does not work along

Holds when the dimensions that it works along are known. Those are written out first. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.axes import Dim, Dims, Refused, dim
from mari_onnx.forms import Array, Value, fill, plain
from mari_onnx.lift import natural, stored_shape
from mari_onnx.op import INT64, Context, Derived, Op


def run_along(
    op: Op, ctx: Context, own: Sequence[int], outputs: Sequence[tuple[Dims, int]], rest: Sequence[Value | None] = ()
) -> Derived:
    """The original node on its first input with dimensions `own` written out; `rest` are its other inputs."""
    x = op.data
    x_dims = x.known_dims
    array = fill(ctx.b, x.array, x_dims, [a for i in own for a in x_dims[i]])
    tensor, _ = natural(ctx.b, array, x_dims)
    missing = {a for d in x_dims for a in d if array.state(a) == "absent"}
    layouts = [tuple(tuple(a for a in d if a not in missing) for d in dims) for dims, _ in outputs]
    shapes = [stored_shape(layout, array.via) for layout in layouts]
    tensors = [tensor, *(None if v is None else plain(ctx.b, v) for v in rest)]
    results = ctx.again(op, tensors, shapes, [dtype for _, dtype in outputs])
    return [
        ctx.result(op, dims, Array(t, layout, array.via), dtype=dtype, output=i)
        for i, (t, layout, (dims, dtype)) in enumerate(zip(results, layouts, outputs, strict=True))
    ]


def softmax(op: Op, ctx: Context) -> Derived:
    """Along one axis; before opset 13 along that one and all after it."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    rank = len(op.data.dims)
    axis = op.attribute("axis", -1 if op.opset >= 13 else 1) % max(rank, 1)
    own = [axis] if op.opset >= 13 else range(axis, rank)
    return run_along(op, ctx, own, [(op.data.dims, op.data.dtype)])


def cumsum(op: Op, ctx: Context) -> Derived:
    """Along one axis, which may be a tensor of rank 0."""
    axis = op.integers(1, "axis")
    if op.data.dims is None or not isinstance(axis, list):
        return axis if isinstance(axis, Refused) else Refused("the rank of the input is unknown")
    return run_along(op, ctx, [axis[0] % len(op.data.dims)], [(op.data.dims, op.data.dtype)], op.inputs[1:])


def layer_normalization(op: Op, ctx: Context) -> Derived:
    """Along the last dimensions, from `axis` on; RMSNormalization too."""
    if op.data.dims is None or len(op.proto.output) > 1:
        return Refused("the rank of the input is unknown, or its mean is used")
    rank = len(op.data.dims)
    own = range(op.attribute("axis", -1) % rank, rank)
    return run_along(op, ctx, own, [(op.data.dims, op.data.dtype)], op.inputs[1:])


def lp_normalization(op: Op, ctx: Context) -> Derived:
    """Along one axis."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    return run_along(op, ctx, [op.attribute("axis", -1) % len(op.data.dims)], [(op.data.dims, op.data.dtype)])


def arg_extreme(op: Op, ctx: Context) -> Derived:
    """The position of the largest or smallest along one axis."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    axis = op.attribute("axis", 0) % len(op.data.dims)
    return run_along(op, ctx, [axis], [(_reduced(op.data.dims, [axis], bool(op.attribute("keepdims", 1))), INT64)])


def top_k(op: Op, ctx: Context) -> Derived:
    """The k largest along one axis, and where they are."""
    k = op.integers(1, "k")
    if op.data.dims is None or not isinstance(k, list):
        return k if isinstance(k, Refused) else Refused("the rank of the input is unknown")
    axis = op.attribute("axis", -1) % len(op.data.dims)
    dims = (*op.data.dims[:axis], dim(k[0]), *op.data.dims[axis + 1 :])
    return run_along(op, ctx, [axis], [(dims, op.data.dtype), (dims, INT64)], op.inputs[1:])


def reduce(op: Op, ctx: Context) -> Derived:
    """Axes are an attribute in older operator versions and an input in newer ones."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    axes = op.integers(1, "axes")
    if isinstance(axes, Refused):
        return axes
    rank = len(op.data.dims)
    if not axes:
        axes = [] if op.attribute("noop_with_empty_axes", 0) else list(range(rank))
    axes = [a % rank for a in axes]
    dims = _reduced(op.data.dims, axes, bool(op.attribute("keepdims", 1)))
    return run_along(op, ctx, axes, [(dims, op.data.dtype)], op.inputs[1:])


def _reduced(dims: Dims, axes: Sequence[int], keep: bool) -> Dims:
    out: list[Dim] = []
    for i, d in enumerate(dims):
        if i not in axes:
            out.append(d)
        elif keep:
            out.append(())
    return tuple(out)


def gather_elements(op: Op, ctx: Context) -> Derived:
    """Both inputs written out alike where either of them differs."""
    x, indices = op.data, op.inputs[1]
    assert indices is not None
    if x.dims is None or indices.dims is None:
        return Refused("the rank of an input is unknown")
    tensor = ctx.again(
        op,
        [plain(ctx.b, x), plain(ctx.b, indices)],
        [stored_shape(indices.dims, ())],
        [x.dtype],
    )[0]
    return [ctx.result(op, indices.dims, Array(tensor, indices.dims))]
