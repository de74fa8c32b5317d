"""The graphs of reports: which there are, and that they are those of the costs."""

from __future__ import annotations

import mari_onnx
from tests.graphs import integers, ranking


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
