"""The inputs and outputs of a written model are the original's but for what is said."""

from __future__ import annotations

from onnx import GraphProto, TensorProto, helper

from mari_onnx.document.graph_view import shape_of
from mari_onnx.document.signature import AS_IT_WAS, Signature
from tests.graphs import parse


def graph() -> GraphProto:
    return parse("g (float[B, 4] user, float[B, 3] item) => (float[B, 4] y) { y = Relu (user) }").graph


def test_leading_extents_and_what_is_new() -> None:
    index = helper.make_tensor_value_info("index", TensorProto.INT64, ["B"])
    guard = helper.make_tensor_value_info("guard", TensorProto.BOOL, [])
    changed = graph()
    Signature((("user", 1), ("item", "N")), (index,), (guard,)).apply(changed)
    assert {info.name: shape_of(info) for info in changed.input} == {"user": [1, 4], "item": ["N", 3], "index": ["B"]}
    assert [info.name for info in changed.output] == ["y", "guard"]


def test_nothing_said_nothing_changed() -> None:
    changed = graph()
    AS_IT_WAS.apply(changed)
    assert changed == graph()
