"""What a quantized product makes of its sum of integers: the sum times the scales in one number, quantized again.

    QLinearMatMul      round(sum * (sx * sw / sy)) + zy
    QGemm              round((sum + C) * (alpha * sx * sw / sy)) + zy, or without sy the product alone, in float32
    MatMulInteger      the sum

Runtimes multiply by one number, so that the same is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from mari_onnx.analysis.context import Context, Op
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Dims, extent_of, flat
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Value

FLOAT, UINT8, INT8, INT32 = (onnx.TensorProto.DataType.Value(name) for name in ("FLOAT", "UINT8", "INT8", "INT32"))

OF_RESULT = {"QLinearMatMul": (6, 7), "QGemm": (7, 8)}
"""The positions of the scale and of the zero point of the result."""

BIAS = {"QGemm": 6}
"""The position of the integers that are added to the sum."""


def bias_of(op: Op) -> Value | None:
    """The integers that are added to the sum; None where there are none."""
    return op.input(BIAS.get(op.op_type, len(op.inputs)))


def added_to_sum(op: Op, ctx: Context, dims: Dims) -> list[Array]:
    """The integers that are added to the sum, one or one for each column, as arrays of a result of these dims."""
    bias = bias_of(op)
    if bias is None:
        return []
    width = extent_of(flat(bias.known_dims))
    tensor = ctx.b.reshape(plain(ctx.b, bias), () if width == 1 else (width,))
    return [Array(tensor, () if width == 1 else (dims[-1],))]


def of_result(op: Op) -> tuple[Value | None, Value | None]:
    """The scale and the zero point of the result; None where it is not quantized."""
    scale, zero_point = OF_RESULT.get(op.op_type, (len(op.inputs), len(op.inputs)))
    return op.input(scale), op.input(zero_point)


def last_step(op: Op, ctx: Context, dims: Dims) -> Callable[[Array], Array] | None:
    """What makes the node's output of the sum of integers, of these dims.

    None if a scale is computed by the model, and if the result is no number of 8 bits and not float32.
    """
    if op.op_type == "MatMulInteger":
        return lambda array: array
    of_y, zero_point = of_result(op)
    scales = [v.array.tensor for v in (op.inputs[1], op.inputs[4], of_y) if v is not None]
    if not all(t.stored and t.dtype == FLOAT for t in scales) or (of_y is None) != (zero_point is None):
        return None
    if zero_point is not None and zero_point.dtype not in (UINT8, INT8):
        return None
    factor = _factor(op, ctx, scales)
    scale = Array(ctx.b.constant(factor), (dims[-1],) if factor.size > 1 else ())

    def each(operator: str, arrays: Sequence[Array], *more: Tensor, dtype: int | None = None, **given: int) -> Array:
        def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
            return ctx.b.make(operator, [*tensors, *more], shape, dtype, **given)

        return pointwise(ctx.b, arrays, [len(dims), *(len(a.layout) for a in arrays[1:])], dims, write)

    def quantized(array: Array) -> Array:
        array = each("Mul", [each("Cast", [array], dtype=FLOAT, to=FLOAT), scale])
        if zero_point is None:
            return array
        one, zero = ctx.b.constant(np.ones((), np.float32)), ctx.b.reshape(plain(ctx.b, zero_point), ())
        return each("QuantizeLinear", [array], one, zero, dtype=zero_point.dtype)

    return quantized


def _factor(op: Op, ctx: Context, scales: Sequence[Tensor]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The number, or the number of each column, by which the sum is multiplied."""
    x_scale, w_scale, *of_y = (fold(t, ctx.array_of) for t in scales)
    alpha = np.float32(op.attribute("alpha", 1.0))
    factor = alpha * x_scale.reshape(()) * w_scale.reshape(() if w_scale.size == 1 else -1)
    for scale in of_y:
        factor = factor / scale.reshape(())
    return np.asarray(factor, np.float32)
