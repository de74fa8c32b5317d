"""Nodes around a model: what they make of its inputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from mari_onnx.serving.call_graph import CallGraph, fed_inputs, leading_extent
from tests.graphs import integers, parse


def test_inputs_with_a_stored_value_need_not_be_fed() -> None:
    model = parse("g (float[B, 4] x, float[4] w) => (float[B, 4] y) { y = Add (x, w) }", w=integers(4))
    assert list(fed_inputs(model)) == ["x"]


@pytest.mark.parametrize(("shape", "extent"), [([1, 4], 1), (["B"], "B"), ([None, 4], None), ([], None), (None, None)])
def test_leading_extent(shape: list[int | str | None] | None, extent: int | str | None) -> None:
    assert leading_extent(onnx.helper.make_tensor_value_info("x", 1, shape)) == extent


@pytest.mark.parametrize("opset", [7, 10, 11, 17])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_rows(rows: int, opset: int) -> None:
    call = CallGraph({"x": onnx.helper.make_tensor_value_info("x", 1, ["B", 2])}, opset)
    made = [call.slice("x", 1, 3, "middle"), call.row_count("x", "all"), call.row_numbers("x", "numbers")]
    assert call.has("numbers")
    assert not call.has("x")
    kinds = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64)
    outputs = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in zip(made, kinds, strict=True)]
    graph = onnx.helper.make_graph(
        call.nodes, "rows", list(call.inputs.values()), outputs, list(call.initializers.values())
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", opset)])
    x = integers(rows, 2)
    found = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    for one, wanted in zip(found, (x[1:3], [rows], np.arange(rows)), strict=True):
        np.testing.assert_array_equal(one, wanted)
