"""A model by name: what is stored, what is given and who reads what."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.document.read import from_proto
from tests.graphs import parse


def view(text: str, **options: Any) -> Model:
    return Model(from_proto(parse(text, **options)))


def test_shapes() -> None:
    known = helper.make_tensor_value_info("x", 1, ["B", 4, None])
    assert shape_of(known) == ["B", 4, None]
    assert shape_of(helper.make_tensor_value_info("x", 1, [])) == []
    assert shape_of(helper.make_tensor_value_info("x", 1, None)) is None
    assert shape_of(helper.make_tensor_sequence_value_info("x", 1, [4])) is None
    assert shape_of(helper.make_tensor_value_info("x", 1, [-1, 0, 4])) == [None, 0, 4]  # as older exporters write it


def test_names_are_those_of_stored_tensors_inputs_and_results() -> None:
    model = view("g (float[B, 4] x) => (float[B, 4] y) { r = Relu (x) y = Mul (r, w) }", w=np.ones(4, np.float32))
    assert model.names == {"x", "w", "r", "y"}


def test_uses_are_those_of_values_and_not_of_shapes() -> None:
    """`x` is read twice, and for its shape; `n` is needed by no output, and reads nothing of what one needs."""
    model = view(
        "g (float[B, 4] x) => (float[B, 4] y, int64[2] s) { r = Relu (x) y = Mul (r, x) s = Shape (x) n = Neg (y) }"
    )
    assert {name: model.uses[name] for name in "xrysn"} == {"x": 2, "r": 1, "y": 1, "s": 1, "n": 0}


def test_an_initializer_that_is_an_input_is_stored_before_ir_version_4_alone() -> None:
    for ir, stored in ((3, {"w"}), (4, set())):
        text = "g (float[B, 4] x, float[4] w) => (float[B, 4] y) { y = Mul (x, w) }"
        model = view(text, ir=ir, opset=9, w=np.ones(4, np.float32))
        assert set(model.initializers) == stored
        assert [i.name for i in model.inputs] == ["x", *({"w"} - stored)]


def test_symbols_of_inputs_and_outputs() -> None:
    text = "g (float[B, L] x, float[?, 4] z, float[1, K] u) => (float[B, L] y, float[B] r) {"
    model = view(f"{text} y = Relu (x) r = ReduceMax <axes = [1], keepdims = 0> (x) }}")
    assert model.leading_symbols == {"x": "B", "z": "z.0"}
    assert model.input_symbols == {"B", "L", "K"}
    assert model.output_symbols == {"B"}


def test_constants_of_nodes() -> None:
    model = view("""g () => (float[N] y) {
        a = Constant <value_int = 3> () b = Constant <value_floats = [1.0, 2.0]> ()
        c = Constant <value = float[2] {3, 4}> () d = Constant <value_string = "words"> () y = Add (b, c)
    }""")
    a, b, c, d = (model.constant(node) for node in model.graph.node[:4])
    assert a is not None and b is not None and c is not None
    assert [tensor.name for tensor in (a, b, c)] == ["a", "b", "c"]
    arrays = [model.array_of(tensor) for tensor in (a, b, c)]
    assert [array.tolist() for array in arrays] == [3, [1, 2], [3, 4]]
    assert [array.dtype for array in arrays] == [np.int64, np.float32, np.float32]
    assert model.array_of(c) is arrays[2]
    assert d is None


def test_opsets() -> None:
    model = view("g (float[B] x) => (float[B] y) { y = Relu (x) }", domains=', "acme" : 3', opset=15)
    assert (model.opset, model.opsets) == (15, {"": 15, "acme": 3})
    assert model.makers[("y",)] is model.graph.node[0]


def test_the_analysis_reads_the_repaired_model_and_writes_the_nodes_of_the_user_s_own() -> None:
    proto = parse("g (float[B, 4] x) => (float[B, 4] y) { y = Relu (x) }")
    proto.graph.node[0].domain = "ai.onnx"
    model = Model(from_proto(proto))
    assert model.graph.node[0].domain == ""
    assert model.makers[("y",)] is proto.graph.node[0]
