"""Graphs as reports show them: what is in them, in which modules, and of what."""

from __future__ import annotations

import onnx
import pytest

import mari_onnx
from mari_onnx.document.graph_facts import NAME_SCOPES, graph_facts, scope_of
from tests.graphs import integers, parse, ranking

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


def test_written_nodes_are_of_the_original_s_tensors_and_modules() -> None:
    model = ranking(
        "one", "x = Concat <axis = 1> (user, item) h = MatMul (x, w) y = Relu (h)", user="float[64]",
        w=integers(67, 32),
    )  # fmt: skip
    for node in model.graph.node:
        node.name = f"/tower/{node.output[0]}"
    before, after = mari_onnx.optimize(model, verify=False).report.graphs
    assert (before.title, after.title) == ("before", "after")
    products = [node for node in after.nodes if node.op_type in ("MatMul", "Gemm")]
    assert {(node.original, node.scope, node.follows) for node in products} == {
        ("h", ("tower",), "request"), ("h", ("tower",), "both"),
    }  # fmt: skip


def test_graphs_of_each_command() -> None:
    """Their multiply-adds are those of the costs."""
    body = "x = Concat <axis = 1> (user, item) h = MatMul (x, w) y = Relu (h)"
    model = ranking("one", body, user="float[64]", w=integers(67, 32))
    made = mari_onnx.optimize(model, verify=False)
    for report in (made.report, mari_onnx.verify(model, made)):
        macs = [sum(node.macs or 0 for node in graph.nodes) for graph in report.graphs]
        assert report.cost_before and report.cost_after
        assert macs == [report.cost_before.macs, report.cost_after.macs]
    assert [graph.title for graph in mari_onnx.inspect(model).graphs] == ["before"]
    parts = mari_onnx.split(model, verify=False).report
    assert [graph.title for graph in parts.graphs] == ["before", "user model", "ranking model"]
    assert {node.follows for node in parts.graphs[1].nodes} <= {"request", "neither"}
    assert "both" in {node.follows for node in parts.graphs[2].nodes}
