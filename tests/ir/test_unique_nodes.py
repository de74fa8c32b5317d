"""Equal expressions are one object; what may differ from call to call, or from node to node, is not."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.policy import POLICY

B = symbol("B")


def test_equal_expressions_are_one(b: Builder) -> None:
    x = b.input("x", (B, 2), 1)
    assert b.input("x", (B, 2), 1) is x
    assert b.make("Relu", [x], (B, 2)) is b.make("Relu", [x], (B, 2))
    assert b.make("Gemm", [x, x], (B, 2), transB=1) is not b.make("Gemm", [x, x], (B, 2))
    assert b.constant(np.array([1])) is b.constant(np.array([1]))
    assert b.constant(np.array([1])) is not b.constant(np.array([1.0]))


def test_an_original_node_is_the_same_as_ours(b: Builder) -> None:
    x = b.input("x", (B, 2), 1)
    (again,) = b.again(helper.make_node("Relu", ["x"], ["y"]), [x], [((B, 2), 1)])
    assert b.make("Relu", [x], (B, 2)) is again


@pytest.mark.parametrize(("op_type", "domain"), [("RandomNormalLike", ""), ("Relu", "com.example")])
def test_random_numbers_and_unknown_operators_are_each_their_own(b: Builder, op_type: str, domain: str) -> None:
    x = b.input("x", (B, 2), 1)
    nodes = [helper.make_node(op_type, ["x"], [output], domain=domain) for output in "yz"]
    first, second = (b.again(node, [x], [((B, 2), 1)])[0] for node in nodes)
    assert first is not second
    assert b.again(nodes[0], [x], [((B, 2), 1)])[0] is first


def test_a_shape_is_what_any_of_two_equal_nodes_knows(b: Builder) -> None:
    x, proto = b.input("x", (B, 2), 1), helper.make_node("Relu", ["x"], ["y"])
    (t,) = b.again(proto, [x], [(None, 1)])
    assert b.again(proto, [x], [((B, 2), 1)]) == [t]
    assert t.shape == (B, 2)


def test_constants_are_what_needs_nothing_of_the_call(b: Builder) -> None:
    c = b.constant(np.ones((2, 2), np.float32))
    assert (c.stored, b.transpose(c, (1, 0)).stored) == (True, True)
    computed = b.make("Relu", [c], (2, 2))
    assert (computed.constant, computed.stored) == (True, False)
    assert not b.make("MatMul", [b.input("x", (B, 2), 1), c], (B, 2)).constant


def test_constants_are_stored_up_to_a_bound(b: Builder) -> None:
    """A large one may be cut and turned, because it does not grow; beyond the bound, what makes it grow is a node."""
    one, long = b.constant(np.ones(1, np.float32)), POLICY.largest_growth // 4
    large = b.expand(one, (long + 1,))
    assert b.expand(one, (long,)).stored
    assert (large.constant, large.stored) == (True, False)
    assert not b.slice(large, 0, 0, 2).stored
    table = b.initializer(TensorProto(name="w", dims=[long, 2], data_type=TensorProto.FLOAT))
    assert b.transpose(table, (1, 0)).stored
    assert b.slice(table, 0, 0, long - 1).stored
    assert not b.concat([table, b.reshape(b.transpose(table, (1, 0)), (long, 2))], 0).stored


def test_extents_are_a_constant_where_they_are_numbers(b: Builder) -> None:
    assert b.extents(np.array([2, 3], object), 7).stored
    assert b.extents(np.array([B, 3], object), 7).op_type == "<extents>"
