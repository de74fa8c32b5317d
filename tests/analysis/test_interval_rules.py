"""The interval of each operator's result contains what onnxruntime computes, for operands of known intervals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mari_onnx.analysis import interval_moves
from mari_onnx.analysis.interval_rules import RULES
from mari_onnx.analysis.intervals import Intervals
from mari_onnx.ir.builder import Builder
from tests.graphs import evaluate, parse

NUMBERS = {"Neg", "Reciprocal", "Abs", "Sqrt", "Relu", "Identity", "Sigmoid", "Softmax", "HardSigmoid", "Tanh", "Erf",
           "Sin", "Cos", "Gelu", "Mish", "HardSwish", "IsNaN", "Exp"}  # fmt: skip
PAIRS = {"Add", "Sub", "Mul", "Div", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal", "Max", "Min", "Sum"}
LOGIC = {"And", "Or", "Xor"}
ELSEWHERE = {"Not", "Where", "Pow", "Clip", "Cast", "MatMul", "Gemm", "Einsum", "LayerNormalization",
             "RMSNormalization", "SimplifiedLayerNormalization", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum",
             "Swish", "QuickGelu", "QuantizeLinear", "DequantizeLinear",
             "DynamicQuantizeLinear", "MatMulInteger", *interval_moves.RULES}  # fmt: skip
"""Tested with graphs in `test_intervals`, or the same rule as another one."""


def test_each_rule_is_tested() -> None:
    assert set(RULES) == NUMBERS | PAIRS | LOGIC | ELSEWHERE


@pytest.mark.parametrize("op_type", sorted(NUMBERS | PAIRS | LOGIC))
def test_a_result_lies_in_its_interval(op_type: str) -> None:
    count = 1 if op_type in NUMBERS else 2
    rng = np.random.default_rng(0)
    dtype = np.bool_ if op_type in LOGIC else np.float32
    tables = [rng.normal(size=(5, 3)) * 4 for _ in range(count)]
    tables = [(table > 0 if op_type in LOGIC else table).astype(dtype) for table in tables]
    b = Builder()
    ids = b.input("ids", (1,), onnx.TensorProto.INT64)
    rows = [b.take(b.initializer(numpy_helper.from_array(t, f"t{i}")), ids) for i, t in enumerate(tables)]
    node = helper.make_node(op_type, [f"r{i}" for i in range(count)], ["y"])
    (out,) = b.again(node, rows, [((1, 3), rows[0].dtype)])
    found = Intervals(numpy_helper.to_array, 20).of(out)
    infos = [helper.make_tensor_value_info(f"r{i}", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [5, 3])
             for i in range(count)]  # fmt: skip
    graph = helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    for shift in range(5):  # each row of one table beside each row of the other
        (result,) = evaluate(model, {f"r{i}": np.roll(t, i * shift, 0) for i, t in enumerate(tables)})
        values = (result[np.isfinite(result)] if op_type == "Sqrt" else result).astype(np.float64)
        assert np.all(found.low.min() <= values + 1e-6 * np.abs(values))
        assert np.all(values <= found.high.max() + 1e-6 * np.abs(values))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("scale", [0.05, 0.3, 7.0])
def test_what_is_quantized_lies_in_its_interval(dtype: str, scale: float) -> None:
    """Also what lies between two steps, and beyond the last; 0 stays 0."""
    steps = np.arange(-80, 80).reshape(-1, 1) / 2  # every second one is a half
    rows = [*(steps * np.float32(scale)), [np.inf], [-np.inf], [1e9], [0.0]]
    zero = np.array(3, dtype)
    text = "g (float[N, 1] x) => (float[N, 1] y) { q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }"
    model = parse(text, opset=21, s=np.float32(scale), z=zero)
    (computed,) = evaluate(model, {"x": np.array(rows, np.float32)})
    for row, value in zip(rows, computed, strict=True):
        b = Builder()
        x = b.constant(np.array([row], np.float32))
        s, z = b.constant(np.array(scale, np.float32)), b.constant(zero)
        q = b.make("QuantizeLinear", [x, s, z], (1, 1), helper.np_dtype_to_tensor_dtype(zero.dtype))
        found = Intervals(numpy_helper.to_array, 21).of(b.make("DequantizeLinear", [q, s, z], (1, 1), x.dtype))
        slack = 1e-6 * np.abs(value)
        assert found.low - slack <= value <= found.high + slack
        assert (row[0] == 0) == found.is_zero
        assert found.is_known or abs(row[0]) < 1e9
