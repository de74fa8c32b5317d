"""The graphs of a report: that of the original, and those of what was made of it.

A page alone shows them, and making them takes a tenth of the time of a large model. So they are made when something
first looks at them, of a copy of the nodes: the models themselves may have been changed by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import overload

import onnx

from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.reading import Reading
from mari_onnx.document.graph_facts import graph_facts
from mari_onnx.document.scopes import stored_names
from mari_onnx.report.graph import Graph
from mari_onnx.report.model import Report
from mari_onnx.report.split import Role

PARTS: Mapping[Role, str] = {"user": "user model", "item": "item model", "rank": "ranking model"}
"""What the models of a split are called."""


class Graphs(Sequence[Graph]):
    """Graphs that are made when one of them is first looked at. The first is the original's, which the others refer to.

    Each is made by a function of the original's graph, which is None for the original itself.
    """

    def __init__(self, *making: Callable[[Graph | None], Graph]) -> None:
        self.making = making
        self._made: tuple[Graph, ...] | None = None

    def beside(self, making: Callable[[Graph | None], Graph]) -> Graphs:
        """These graphs and one more."""
        return Graphs(*self.making, making)

    @property
    def made(self) -> tuple[Graph, ...]:
        if self._made is None:
            first = self.making[0](None)
            self._made = first, *(make(first) for make in self.making[1:])
        return self._made

    def __len__(self) -> int:
        return len(self.making)

    @overload
    def __getitem__(self, at: int) -> Graph: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Graph, ...]: ...

    def __getitem__(self, at: int | slice) -> Graph | tuple[Graph, ...]:
        return self.made[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.made == tuple(other)

    __hash__ = None  # type: ignore[assignment]


def graph_as_it_is(title: str, reading: Reading, program: Program) -> Callable[[Graph | None], Graph]:
    """What makes the graph of a model that was read; the remarks on its products have their multiply-adds."""
    macs = {remark.tensor: remark.macs_before for remark in program.context.remarks if remark.macs_before}
    return drawn(title, reading.model.proto, {each.name for each in reading.roles.inputs}, macs)


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
    assert isinstance(report.graphs, Graphs), "a report on a plan has the graph of the original"
    return replace(report, graphs=report.graphs.beside(drawn(title, model, request, macs, products)))


def drawn(
    title: str,
    model: onnx.ModelProto,
    request: set[str],
    macs: Mapping[str, int],
    products: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Graph | None], Graph]:
    """What makes the graph of the model as it is now; see `graph_facts`."""
    return partial(graph_facts, title, without_weights(model), request, macs, products=dict(products))


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of what a graph shows of a model: nodes, metadata, the signature, and of stored tensors the names."""
    copy = onnx.ModelProto()
    copy.metadata_props.extend(model.metadata_props)
    for name in ("input", "output", "node"):
        getattr(copy.graph, name).extend(getattr(model.graph, name))
    for name in stored_names(model.graph):
        copy.graph.initializer.add(name=name)
    return copy
