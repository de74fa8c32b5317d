"""Graphs as reports show them: what is in them, in which modules, and of what."""

from __future__ import annotations

import onnx
import pytest

from mari_onnx.document.graph_facts import NAME_SCOPES, graph_facts, scope_of
from tests.graphs import integers, parse

MODEL = parse(
    """g (int64[1] user_id, float[B, 4] item) => (float[B, 8] y) {
        w = Transpose (table)
        v = Transpose (w)
        k = Constant <value = int64[1] {0}> ()
        e = Gather (v, user_id)
        s = Shape (item)
        u = Expand (e, s)
        x = Concat <axis = 1> (u, item)
        y = Gemm (x, fc, e)
    }""",
    table=integers(5, 4),
    fc=integers(8, 8),
)


def test_weights_and_what_is_computed_of_them_are_left_out() -> None:
    graph = graph_facts("before", MODEL, {"user_id"}, {"y": 512})
    assert [(n.op_type, n.outputs, n.inputs, n.follows, n.macs) for n in graph.nodes] == [
        ("", ("user_id",), (), "request", None),
        ("", ("item",), (), "candidates", None),
        ("Gather", ("e",), ("user_id",), "request", None),
        ("Shape", ("s",), ("item",), "neither", None),
        ("Expand", ("u",), ("e", "s"), "request", None),
        ("Concat", ("x",), ("u", "item"), "both", None),
        ("Gemm", ("y",), ("x", "e"), "both", 512),
    ]
    assert graph.outputs == ("y",)


@pytest.mark.parametrize(
    ("name", "scopes", "expected"),
    [
        ("/tower/fc1/MatMul", "", ("tower", "fc1")),
        ("MatMul", "", ()),
        ("node_linear", "['', 'tower', 'tower.layers.0', 'linear']", ("tower", "layers", "0")),
        ("node_linear", "['', 'linear']", ()),
        ("/tower/MatMul", "['linear']", ("tower",)),
        ("/tower/MatMul", "no list", ("tower",)),
        ("/tower/MatMul", "[1, 2]", ("tower",)),
        ("/tower/MatMul", "__import__('os')", ("tower",)),
    ],
)
def test_modules(name: str, scopes: str, expected: tuple[str, ...]) -> None:
    node = onnx.helper.make_node("MatMul", ["a", "b"], ["c"], name=name)
    if scopes:
        node.metadata_props.add(key=NAME_SCOPES, value=scopes)
    assert scope_of(node) == expected
