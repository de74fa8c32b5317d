"""The nodes that stand for a call: their names do not meet those of another call, and attributes are filled in."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from mari_onnx.document.functions import functions_of, key_of, nodes_of_call

IMPORTS = [helper.make_opsetid("", 17)]


def function(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("r",)) -> onnx.FunctionProto:
    return helper.make_function("acme", "F", ["a", "b"], list(outputs), list(nodes), IMPORTS, ["k", "axis"])


def call(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("F", ["x"], ["y"], domain="acme", **attributes)


def lines(nodes: list[onnx.NodeProto]) -> list[str]:
    return [f"{', '.join(n.output)} = {n.op_type} ({', '.join(n.input)})" for n in nodes]


def test_names() -> None:
    f = function(helper.make_node("Neg", ["a"], ["h"]), helper.make_node("Clip", ["h", "b"], ["r"]))
    assert lines(nodes_of_call(call(), f, set())) == ["y/h = Neg (x)", "y = Clip (y/h, )"]
    assert lines(nodes_of_call(call(), f, {"y/h"}))[0] == "y/h_ = Neg (x)"


def test_an_input_that_is_passed_through() -> None:
    f = function(helper.make_node("Neg", ["a"], ["h"]), outputs=("a", "h"))
    two = helper.make_node("F", ["x"], ["y", "z"], domain="acme")
    assert lines(nodes_of_call(two, f, set())) == ["z = Neg (x)", "y = Identity (x)"]


def test_attributes() -> None:
    node = helper.make_node("Softmax", ["a"], ["r"])
    node.attribute.add(name="axis", ref_attr_name="axis", type=onnx.AttributeProto.INT)
    (given,) = nodes_of_call(call(axis=1), function(node), set())
    assert helper.get_node_attr_value(given, "axis") == 1
    (without,) = nodes_of_call(call(), function(node), set())
    assert not without.attribute
    default = function(node)
    default.attribute_proto.add(name="axis", i=2, type=onnx.AttributeProto.INT)
    (by_default,) = nodes_of_call(call(), default, set())
    assert helper.get_node_attr_value(by_default, "axis") == 2


def test_bodies() -> None:
    inner = helper.make_node("LeakyRelu", ["a"], ["p"])
    inner.attribute.add(name="alpha", ref_attr_name="k", type=onnx.AttributeProto.FLOAT)
    body = helper.make_graph([inner], "body", [], [helper.make_tensor_value_info("p", 1, None)])
    node = helper.make_node("If", ["b"], ["r"], then_branch=body, else_branch=body)
    (copy,) = nodes_of_call(helper.make_node("F", ["x", "c"], ["y"], domain="acme", k=0.5), function(node), set())
    then = helper.get_node_attr_value(copy, "then_branch")
    assert lines(list(then.node)) == ["y/p = LeakyRelu (x)"]
    assert then.output[0].name == "y/p"
    assert helper.get_node_attr_value(then.node[0], "alpha") == 0.5


def test_by_what_a_function_is_found() -> None:
    model = onnx.ModelProto(functions=[function()])
    assert functions_of(model) == {key_of(call()): model.functions[0]}
