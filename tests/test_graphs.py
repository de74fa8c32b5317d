"""The graphs of reports: which there are, and that they are those of the costs."""

from __future__ import annotations

import pickle
from typing import Any

import onnx
import pytest

import mari_onnx
from mari_onnx.document.graph_facts import graph_facts
from mari_onnx.report.graph import Graph
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


@pytest.fixture
def model() -> onnx.ModelProto:
    body = "x = Concat <axis = 1> (user, item) h = MatMul (x, w) y = Relu (h)"
    return ranking("one", body, user="float[64]", w=integers(67, 32))


def test_no_graph_is_made_before_it_is_looked_at(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(title: str, *given: Any, **more: Any) -> Graph:
        made.append(title)
        return graph_facts(title, *given, **more)

    monkeypatch.setattr("mari_onnx.graphs.graph_facts", counted)
    result = mari_onnx.optimize(model, verify=False)
    report = mari_onnx.verify(model, result)
    result.report.to_json(), result.report.to_text(), report.to_markdown()
    assert bool(report.graphs) and (len(result.report.graphs), len(report.graphs)) == (2, 2)
    assert made == []
    assert report.graphs[-1].title == "after"
    assert made == ["before", "after"]
    assert [graph.title for graph in report.graphs[:1]] == ["before"]
    assert made == ["before", "after"]  # once


def test_a_graph_is_that_of_the_model_when_it_was_reported(model: onnx.ModelProto) -> None:
    result, again = (mari_onnx.optimize(model, verify=False, metadata=metadata) for metadata in (True, False))
    nodes = {node.original for node in again.report.graphs[1].nodes}
    del result.model.graph.node[:]
    before, after = result.report.graphs
    assert {node.original for node in after.nodes} == nodes == {"user_row", "item", "h", "y"}
    assert {"h", "x", "y"} <= {node.original for node in before.nodes}


def test_graphs_are_a_sequence(model: onnx.ModelProto) -> None:
    first, second = (mari_onnx.inspect(model).graphs for _ in range(2))
    assert first == second == tuple(first)
    assert first != () and first != tuple(mari_onnx.optimize(model, verify=False).report.graphs)
    assert pickle.loads(pickle.dumps(first)) == first
