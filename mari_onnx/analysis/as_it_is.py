"""Nodes that stay as they are: the original node on its original inputs, each of which is written out in full.

y = Det (x)          without a rule: a node that reads the array of x, and y has an array as its only form
y [B, K]             K is read off y from here on, where no tensor before has it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.equal_extents import single
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Dims, extents, new_dims
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.operators import traits_of


def as_it_is(
    op: Op, ctx: Context, captured: Mapping[str, Value], types: Sequence[tuple[Dims | None, int]]
) -> list[Value]:
    """The outputs of the original node. `captured` are the values that its bodies read, `types` those it has."""
    inputs = [None if v is None else _operand(op, ctx, i, v) for i, v in enumerate(op.inputs)]
    read = [(name, plain(ctx.b, value)) for name, value in captured.items()]
    shapes = [None if dims is None else extents(dims) for dims, _ in types]
    tensors = ctx.b.again(
        op.proto, inputs, [(shape, dtype) for shape, (_, dtype) in zip(shapes, types, strict=True)], read
    )
    for tensor, shape in zip(tensors, shapes, strict=True):
        _provide_new_extents(op, ctx, tensor, shape or ())
    values = []
    for name, t, shape, (dims, dtype) in zip(op.proto.output, tensors, shapes, types, strict=True):
        # An equal node may have been made before, with other symbols for the same extents. Those are kept.
        dims_of_t = dims if dims is None or t.shape in (None, shape) else new_dims(t.shape)
        values.append(Value(name, dims_of_t, dtype, Array(t, dims_of_t or ())))
    return values


def _provide_new_extents(op: Op, ctx: Context, tensor: Tensor, shape: Sequence[Extent]) -> None:
    """Note that symbols which no input has can be read from the shape of an output."""
    for position, extent in enumerate(shape):
        if not isinstance(extent, int) and (name := single(extent)):
            ctx.providers.setdefault(name, (tensor, position))
            if op.op_type == "NonZero":  # it finds at most as many places as its input has elements
                ctx.cost.assume(name, extents(op.data.dims or ()))


def _operand(op: Op, ctx: Context, i: int, value: Value) -> Tensor:
    """What the node reads: a number as a scalar where onnx wants one, which the branch of an If need not give."""
    tensor, traits = plain(ctx.b, value), traits_of(op.op_type, op.proto.domain)
    one = value.dims is not None and all(e == 1 for e in extents(value.dims))
    return ctx.b.reshape(tensor, ()) if one and traits and i in traits.scalars else tensor
