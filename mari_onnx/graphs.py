"""The graphs of a report: that of the original, and those of what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import onnx

from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.reading import Reading
from mari_onnx.document.graph_facts import graph_facts
from mari_onnx.report.graph import Graph
from mari_onnx.report.model import Report
from mari_onnx.report.split import Role

PARTS: Mapping[Role, str] = {"user": "user model", "item": "item model", "rank": "ranking model"}
"""What the models of a split are called."""


def graph_as_it_is(title: str, reading: Reading, program: Program, original: Graph | None = None) -> Graph:
    """The graph of a model that was read, for a report; the remarks on its products have their multiply-adds."""
    macs = {remark.tensor: remark.macs_before for remark in program.context.remarks if remark.macs_before}
    request = {each.name for each in reading.roles.inputs}
    return graph_facts(title, reading.model.proto, request, macs, original)


def with_graph(
    report: Report,
    title: str,
    model: onnx.ModelProto,
    macs: Mapping[str, int],
    products: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """The report with the graph of a written model, or of one of the models of a split, besides the original's."""
    sent = {one.name for one in report.split.crossings if one.role == "user"} if report.split else set()
    request = {each.name for each in report.request_inputs} | sent
    graph = graph_facts(title, model, request, macs, report.graphs[0], products)
    return replace(report, graphs=(*report.graphs, graph))
