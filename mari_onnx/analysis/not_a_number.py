"""Whether a tensor could hold a NaN.

Example: embeddings hold none, as ids select them from a stored table of numbers. Neither does a Linear of them. A
feature that the caller sends may be NaN, and so may the logarithm of anything.

Sums and products that leave the range of float32 are not thought of.
"""

from __future__ import annotations

import numpy as np
import onnx

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.expressions import Node, Tensor, fold
from mari_onnx.ir.operators import named

KEEPS_NUMBERS = named(lambda t: t.view or t.foldable) | {
    "Abs", "Add", "Cast", "Clip", "Cos", "DequantizeLinear", "Einsum", "Elu", "Erf", "Gelu", "Gemm", "HardSigmoid",
    "HardSwish", "LeakyRelu", "MatMul", "Max", "Min", "Mul", "Neg", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
    "Relu", "Sigmoid", "Sin", "Softmax", "Split", "Sub", "Tanh", "Where",
}  # fmt: skip
"""Operators that give numbers where they are given numbers."""

NORMALIZATIONS = frozenset(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"))
"""Operators that do so where something is added to what they divide by."""


def may_be_nan(ctx: Context, tensor: Tensor) -> bool:
    """Whether an element of the tensor could be NaN, for some inputs."""
    return not all(_gives_numbers(ctx, node) for node in reachable([tensor]))


def _gives_numbers(ctx: Context, node: Node) -> bool:
    """Whether a node gives numbers where it is given numbers: integers of any kind, and floats of a wide range."""
    t = node.outputs[0]
    if t.dtype not in (FLOAT, DOUBLE):  # 0 for a sequence, whose tensors nothing is known of
        return t.dtype != 0 and onnx.helper.tensor_dtype_to_np_dtype(t.dtype).kind in "iub"
    if t.stored:  # the sum of a table needs no copy of it
        return bool(np.isfinite(np.sum(fold(t, ctx.array_of), dtype=np.float64)))
    if node.op_type in NORMALIZATIONS:
        return bool(dict(node.attributes).get("epsilon", 1.0) > 0)
    if node.op_type in ("Div", "Pow", "Reciprocal", "Sqrt"):
        return _is_defined(ctx, node)
    return not node.is_source and node.op_type in KEEPS_NUMBERS


def _is_defined(ctx: Context, node: Node) -> bool:
    """Whether a quotient, a root or a power is proven to be one of a number: nothing is divided by 0, for example."""
    last = node.inputs[-1]
    assert last is not None
    if node.op_type == "Pow":
        exponents = fold(last, ctx.array_of) if last.stored else None
        return exponents is not None and bool(np.all((exponents >= 0) & (exponents == np.floor(exponents))))
    low = ctx.intervals.of(last).low.min(initial=np.inf)
    return bool(low >= 0 if node.op_type == "Sqrt" else low > 0)
