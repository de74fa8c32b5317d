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
from tests.graphs import evaluate

NUMBERS = {"Neg", "Reciprocal", "Abs", "Sqrt", "Relu", "Identity", "Sigmoid", "Softmax", "HardSigmoid", "Tanh", "Erf",
           "Sin", "Cos", "Gelu", "Mish", "HardSwish", "IsNaN", "Exp"}  # fmt: skip
PAIRS = {"Add", "Sub", "Mul", "Div", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal", "Max", "Min", "Sum"}
LOGIC = {"And", "Or", "Xor"}
ELSEWHERE = {"Not", "Where", "Pow", "Clip", "Cast", "MatMul", "Gemm", "Einsum", "LayerNormalization",
             "RMSNormalization", "SimplifiedLayerNormalization", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum",
             "Swish", "QuickGelu", *interval_moves.RULES}  # fmt: skip
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
