"""Nodes are written in the operators of the model's own opset, and in such that runtimes survive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx import optimize
from tests.graphs import Session, assert_equal, integers, parse, ranking, rewrite_and_check


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 17, 21])
@pytest.mark.parametrize("style", ["one", "tiled", "requests"])
def test_only_operators_of_the_models_own_opset(opset: int, style: str) -> None:
    """Slice has attributes before 10, Shape a range from 15, Reshape allowzero from 14."""
    body = (
        "x = Concat <axis = 1> (user, item) r = Relu (x) h = MatMul (r, w) z = Concat <axis = 1> (h, user) y = Relu (z)"
    )
    result = rewrite_and_check(ranking(style, body, opset=opset, w=integers(7, 2)))
    assert {o.version for o in result.model.opset_import} == {opset}
    assert result.model.ir_version == 8


def test_a_rewritten_node_keeps_what_is_said_of_it() -> None:
    """Two Gemm stand for a MatMul: the one that makes its result is called as it was."""
    body = "x = Concat <axis = 1> (user, item) y = MatMul (x, w)"
    proto = ranking("tiled", body, user="float[40]", w=integers(43, 16))
    node = proto.graph.node[-1]
    node.name, node.doc_string = "/fc1/MatMul", "the first layer"
    node.metadata_props.add(key="scope", value="fc1")
    node.device_configurations.add(configuration_id="two")
    (made,) = (n for n in rewrite_and_check(proto).model.graph.node if n.output[0] == "y")
    assert made.op_type == "Gemm"
    assert (made.name, made.doc_string) == (node.name, node.doc_string)
    assert made.metadata_props[0] == node.metadata_props[0]
    assert made.device_configurations == node.device_configurations


def test_a_node_of_our_own_beside_the_original_is_called_otherwise() -> None:
    """The Tanh is done for one row, and an Expand makes its result."""
    proto = ranking("tiled", "z = MatMul (user, w) y = Tanh (z) k = Mul (y, item)", item="float[4]", w=integers(4, 4))
    proto.graph.node[1].name, proto.graph.node[1].doc_string = "/Tanh", "a nonlinearity"
    nodes = rewrite_and_check(proto, rtol=1e-5).model.graph.node
    assert [n.op_type for n in nodes if n.name == "/Tanh"] == ["Tanh"]


def test_a_new_node_on_a_tensor_of_unknown_rank() -> None:
    """The BatchNormalization is in the weights of the Gemm, which reads what is reshaped to any rank."""
    text = """g (float[1, 64] row, int64[N] dims, float[B, 64] item) => (float[B, 64] y, float[A, C] z) {
        k = Reshape (item, dims) h = Gemm <transB = 1> (k, w, b) z = BatchNormalization (h, s, s, s, s)
        sizes = Shape (item) user = Expand (row, sizes) x = Concat <axis = 1> (user, item) y = MatMul (x, v) }"""
    weights: dict[str, Any] = {
        "w": integers(64, 64),
        "b": integers(64),
        "v": integers(128, 64),
        "s": np.ones(64, np.float32),
    }
    model = parse(text, **weights)
    result = optimize(model, verify=False).model
    assert "BatchNormalization" not in [n.op_type for n in result.graph.node]
    sent = {"row": integers(1, 64), "dims": np.array([3, 64]), "item": integers(3, 64)}
    for found, wanted in zip(Session(result).run(sent), Session(model).run(sent), strict=True):
        assert_equal(found, wanted, 1e-4, "y or z")
