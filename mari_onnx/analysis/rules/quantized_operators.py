"""The format QOperator: operators that read integers and give integers, with the scale and zero point of each.

    QLinearConcat(a, b)             = Concat(QLinearConcat(a), QLinearConcat(b)), each quantized again by itself
    QLinearAdd, QLinearSigmoid ..   are elementwise
    QLinearSoftmax                  works along its last axis
    QLinearMatMul(q, k)             = Q(MatMul(D(q), D(k))), where one of the two has a cheaper form
    QLinearMatMul(x, W)             of a weight: see `quantized`

Here D is DequantizeLinear and Q is QuantizeLinear. Example: the queries of all candidates meet the keys of one user,
which are read once.

Holds for one stored scale for each tensor. Rounding: none, but for products of two computed values, which are summed in
floats and not in integers. A sum that stands on the edge between two steps may fall to the other side.
"""

from __future__ import annotations

import onnx

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.pricing import price_whole, priced
from mari_onnx.analysis.rules import concat, product, quantized
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.analysis.rules.elementwise import Elementwise, with_forms
from mari_onnx.analysis.rules.fused import Unfolded, unfolding
from mari_onnx.ir.arrays import lay, natural, plain
from mari_onnx.ir.axes import Refused, Renaming, broadcast, extent_of, extents, flat, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import rename_value


def joined(op: Op, ctx: Context) -> Derived:
    """QLinearConcat: each input is quantized again by the scale of the result, by itself, and then there is a Concat.

    The node stays as it is where it is cheaper, such as for inputs that all have a row for each candidate.
    """
    rest = op.inputs[2:]
    if (refused := _unlike(op, *range(2, len(op.inputs), 3))) is not None:
        return refused
    since = ctx.b.count
    again = [_quantized_again(op, ctx, *(v for v in rest[i : i + 3] if v is not None)) for i in range(0, len(rest), 3)]
    proto = onnx.helper.make_node("Concat", [v.name for v in again], [op.name], op.proto.name, axis=op.axis)
    derived = concat.concat(Op(proto, tuple(again), ctx.opset), ctx)
    if isinstance(derived, Refused):
        return derived
    (value,) = derived
    whole = Array(_as_it_is(op, ctx, value), value.known_dims)
    inherited = price_whole(v for v in rest[::3] if v is not None)
    whole, one = (priced(ctx.cost, array, since, inherited) for array in (whole, value.array))
    return [value.changed(array=min(whole, one, key=lambda array: array.price))]


def _unlike(op: Op, *operands: int) -> Refused | None:
    """Why the inputs beside the operands are no stored scales and zero points of a whole tensor; None if they are."""
    if any(v is not None and v.dims is None for v in op.inputs):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    if not all(_is_one_constant(v) for i, v in enumerate(op.inputs) if i not in operands):
        return Refused(f"{op.op_type} with a scale that the model computes")
    return None


def _is_one_constant(v: Value | None) -> bool:
    """Whether a scale or zero point is one stored number, or is left out."""
    return v is None or (v.constant and v.dims is not None and extent_of(flat(v.dims)) == 1)


def _quantized_again(op: Op, ctx: Context, x: Value, *own: Value) -> Value:
    """An input of QLinearConcat by the scale of the result: the QLinearConcat of it alone."""
    of_result = [plain(ctx.b, v) for v in op.inputs[:2] if v is not None]
    of_x, dims, since = [plain(ctx.b, v) for v in own], x.known_dims, ctx.b.count

    def run(arrays: list[Array], part: Renaming) -> Array:
        tensor, layout = natural(ctx.b, arrays[0], renamed(dims, part))
        made = ctx.again(op, [*of_result, tensor, *of_x], [tensor.shape], [x.dtype])[0]
        return Array(made, layout, arrays[0].via)

    return with_forms(op, ctx, Elementwise([x], dims, x.dtype, run), since)


def elementwise(op: Op, ctx: Context) -> Derived:
    """QLinearAdd and QLinearMul, of two operands, and QLinearSigmoid and QLinearLeakyRelu, of one."""
    places = (0, 3) if op.op_type in ("QLinearAdd", "QLinearMul") else (0,)
    if (refused := _unlike(op, *places)) is not None:
        return refused
    operands = [v for i in places if (v := op.inputs[i]) is not None]
    aligned = broadcast([v.known_dims for v in operands])
    if isinstance(aligned, Refused):
        return aligned
    dims, names = aligned
    ranks, since = [len(v.known_dims) for v in operands], ctx.b.count
    given = [None if v is None or i in places else plain(ctx.b, v) for i, v in enumerate(op.inputs)]
    values = [rename_value(ctx.b, v, n) for v, n in zip(operands, names, strict=True)]

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        inputs = given.copy()
        for i, tensor in zip(places, tensors, strict=True):
            inputs[i] = tensor
        return ctx.again(op, inputs, [shape], [op.data.dtype])[0]

    def run(arrays: list[Array], part: Renaming) -> Array:
        return pointwise(ctx.b, arrays, ranks, renamed(dims, part), write)

    return [with_forms(op, ctx, Elementwise(values, dims, op.data.dtype, run), since)]


def softmax(op: Op, ctx: Context) -> Derived:
    """QLinearSoftmax: along one axis, or before opset 13 along this axis and all later ones."""
    if (refused := _unlike(op, 0)) is not None:
        return refused
    rank = len(op.data.known_dims)
    axis = op.attribute("axis", -1) % max(rank, 1)
    along = [axis] if op.attribute("opset") >= 13 else range(axis, rank)
    return run_along(op, ctx, along, [(op.data.known_dims, op.data.dtype)], op.inputs[1:])


def matmul(op: Op, ctx: Context) -> Derived:
    """QLinearMatMul, of a weight or of two computed values."""
    x, w = op.data, op.inputs[3]
    if w is None or w.constant or x.dims is None or w.dims is None:
        return quantized.product(op, ctx)
    derived = _unlike(op, 0, 3) or _of_computed(op, ctx)
    if not isinstance(derived, Refused):
        (value,) = derived
        whole = Array(_as_it_is(op, ctx, value), value.known_dims)
        if whole.names() == value.array.names():
            ctx.b.also(value.array.tensor, lay(ctx.b, whole, value.array.layout))
    return derived


def _as_it_is(op: Op, ctx: Context, value: Value) -> Tensor:
    inputs = [None if v is None else plain(ctx.b, v) for v in op.inputs]
    return ctx.again(op, inputs, [extents(value.known_dims)], [value.dtype])[0]


@unfolding
def _of_computed(nodes: Unfolded) -> list[Value]:
    """The product in floats, which onnxruntime makes one of integers again where all three are still there."""
    x, *of_x, w, w_scale, w_zero, y_scale, y_zero = (nodes.op.input(i) for i in range(8))
    left = nodes.then(quantized.quantize, "DequantizeLinear", x, *of_x)
    right = nodes.then(quantized.quantize, "DequantizeLinear", w, w_scale, w_zero)
    total = nodes.then(product.matmul, "MatMul", left, right)
    return [nodes.then(quantized.quantize, "QuantizeLinear", total, y_scale, y_zero)]
