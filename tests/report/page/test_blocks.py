"""What the page's script is given of a graph."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mari_onnx.report.benchmark import NodeTime, Profile
from mari_onnx.report.graph import Graph, GraphNode
from tests.report import reports

pytest.importorskip("bokeh")
pytest.importorskip("igraph")

from mari_onnx.report.page.blocks import graphs

BEFORE = Graph(
    "before",
    (
        GraphNode("", "", (), ("user",), "request", original="user"),
        GraphNode("fc", "Gemm", ("user",), ("tower/fc1",), "both", ("tower",), 12, "tower/fc1"),
        GraphNode("", "Relu", ("tower/fc1",), ("y",), "both", (), None, "y"),
    ),
    ("y",),
)
AFTER = Graph(
    "after", (BEFORE.nodes[0], GraphNode("fc.user", "Gemm", ("user",), ("u",), "request", (), 3, "tower/fc1")), ()
)


def test_nodes_with_their_remarks() -> None:
    found = graphs(replace(reports.OPTIMIZED, graphs=(BEFORE, AFTER)))
    before, after = found["graphs"]
    assert before["remark"] == [-1, 0, -1] and after["remark"] == [-1, 0]
    assert found["remarks"][0]["forms"] == reports.REMARKS[0].forms
    assert before["original"] == ["", "", ""] and after["original"] == ["", "tower/fc1"]
    assert before["reads"] == [[], [0], [1]] and before["macs"] == [None, 12, None]
    assert before["time"] == [None, None, None]
    assert [fold["title"] for fold in before["folds"]] == ["all 3 nodes"]


def test_times_of_nodes_with_and_without_names() -> None:
    profile = Profile(
        7, (NodeTime("fc", "Gemm", "candidates", 5.0), NodeTime("Relu_12/y", "Relu", "candidates", 2.0)), ()
    )
    timed = replace(reports.TIMED, benchmark=replace(reports.BENCHMARK, profile=profile), graphs=(BEFORE, AFTER))
    assert [graph["time"] for graph in graphs(timed)["graphs"]] == [[None, 5.0, 2.0], [None, None]]
