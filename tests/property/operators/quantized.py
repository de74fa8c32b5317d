"""Products with quantized weights, and values that are quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from mari_onnx.ir.operators import ONNXRUNTIME
from tests.property.graphs import FLOAT, UnfitError, Writer
from tests.property.operators.ranges import product_range, span

QUANTIZED_UNTIL = 27
"""The newest opset for which onnxruntime quantizes."""


def quantized_weight(w: Writer) -> None:
    """A product with a weight that is stored in 8 bits; its scales are for the tensor or for one of its axes."""
    if w.opset > QUANTIZED_UNTIL:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int))
    shape, n = x.shape, w.between(1, 3)
    width = int(str(shape[-1]))
    axis = w.between(0, 1) if w.opset >= 13 and w.chance(60) else None
    extents = [] if axis is None else [(width, n)[axis]]
    dtype = w.choice([np.int8, np.uint8])
    stored = np.array([w.between(0, 3) for _ in range(width * n)]).astype(dtype).reshape(width, n)
    scale = np.array([w.between(1, 2) for _ in range(int(np.prod(extents)))], np.float32).reshape(extents)
    zero = np.array([w.between(0, 2) for _ in range(scale.size)]).astype(dtype).reshape(extents)
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis - 2 if w.chance(30) else axis}
    inputs = [w.constant(a) for a in (stored, scale, zero)]
    weight = w.write("DequantizeLinear", inputs, [width, n], (-4, 6), FLOAT, **attributes)
    w.write("MatMul", [x, weight], [*shape[:-1], n], product_range(x, weight, width))


def quantize(w: Writer) -> None:
    """To 8 bits and back, or to a product of integers: once, as onnxruntime makes two of them into another one."""
    if w.opset > QUANTIZED_UNTIL or any(node.op_type == "QuantizeLinear" for node in w.nodes):
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int))
    width = int(str(x.shape[-1]))
    axis = x.rank - 1 if w.opset >= 13 and w.chance(40) else None
    scale = np.array([w.choice([1, 2]) for _ in range(1 if axis is None else width)], np.float32)
    zero = np.array([w.between(0, 2) for _ in range(scale.size)]).astype(np.int8)
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    inputs = [w.constant(scale), w.constant(zero)]
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    q = w.write("QuantizeLinear", [x, *inputs], x.shape, (-128, 127), TensorProto.INT8, **attributes)
    if w.chance(60):
        w.write("DequantizeLinear", [q, *inputs], x.shape, (-260, 254), FLOAT, **attributes)
        return
    if not width:  # onnxruntime 1.32 leaves the sum of nothing unwritten
        raise UnfitError
    n = w.between(1, 3)
    weight = w.constant(np.array([w.between(-2, 2) for _ in range(width * n)]).astype(np.int8).reshape(width, n))
    point = [w.constant(np.array(w.between(0, 2)).astype(np.int8))] if w.chance(60) else []
    if axis is None and x.rank == 2 and w.chance(20):
        scales = [*inputs, weight, *inputs, w.constant(np.zeros(n, np.int32)), *inputs]
        made = w.write("QGemm", [q, *scales], [x.shape[0], n], (-128, 127), TensorProto.INT8, exact=False,
                       domain=ONNXRUNTIME)  # fmt: skip
        w.write("DequantizeLinear", [made, *inputs], made.shape, (-260, 254), FLOAT, exact=False)
        return
    if axis is None and w.chance(30):
        scales = [*inputs, weight, *inputs, *inputs]
        made = w.write("QLinearMatMul", [q, *scales], [*x.shape[:-1], n], (-128, 127), TensorProto.INT8, exact=False)
        w.write("DequantizeLinear", [made, *inputs], made.shape, (-260, 254), FLOAT, exact=False)
        return
    bound = 130 * 2 * width
    made = w.write("MatMulInteger", [q, weight, *point], [*x.shape[:-1], n], (-bound, bound), TensorProto.INT32)
    w.write("Cast", [made], made.shape, span(made), FLOAT, to=FLOAT)


def quantize_dynamically(w: Writer) -> None:
    if w.opset > QUANTIZED_UNTIL:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
    outputs = [(x.shape, (0, 255), TensorProto.UINT8), ((), (0, 99), FLOAT), ((), (0, 255), TensorProto.UINT8)]
    q, scale, zero = w.write_all("DynamicQuantizeLinear", [x], outputs)
    w.inexact.add(scale.name)
    w.made.remove(scale)  # not an integer
    if x.rank >= 2 and isinstance(x.shape[-1], int) and x.shape[-1] and w.chance(50):
        n, width = w.between(1, 3), int(x.shape[-1])
        weight = w.constant(np.array([w.between(-2, 2) for _ in range(width * n)]).astype(np.int8).reshape(width, n))
        shape, bound = [*x.shape[:-1], n], 255 * 2 * width
        if w.chance(40):  # as onnxruntime fuses them
            one = w.constant(np.ones(1, np.float32))
            op, inputs = w.choice(
                [("MatMulIntegerToFloat", [q, weight, scale, one, zero]), ("DynamicQuantizeMatMul", [x, weight, one])]
            )
            w.write(op, inputs, shape, (-bound, bound), FLOAT, exact=False, domain="com.microsoft")
            return
        made = w.write("MatMulInteger", [q, weight, zero], shape, (-bound, bound), TensorProto.INT32, exact=False)
        w.write("Cast", [made], shape, (-bound, bound), FLOAT, exact=False, to=FLOAT)
        return
    w.write("DequantizeLinear", [q, scale, zero], x.shape, span(x), FLOAT, exact=False)
