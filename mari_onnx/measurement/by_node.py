"""The time of each node, by the profiler of onnxruntime, on the request's side or on that of the candidates.

A node is on the request's side where none of its elements follow from the candidates' inputs (see
`document.dependence`).

The graph is the one that onnxruntime runs, with the nodes that it fused and without those that it folded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from mari_onnx.document.dependence import dependences
from mari_onnx.document.runtime import open_session, session_options
from mari_onnx.report.benchmark import NodeTime, Side
from mari_onnx.serving.two_graphs import optimized_alone
from mari_onnx.verification.runtimes.onnxruntime import Feeds, Source

RUNS = 20
"""Calls under the profiler, of which the median counts for each node."""

_KERNEL = "_kernel_time"


def profiled(source: Source, feeds: Feeds, request: Collection[str], threads: int) -> tuple[NodeTime, ...]:
    """The nodes that onnxruntime runs, the slowest first. Nodes of bodies count as the node that has the bodies.

    The profiler adds to the time of each node, about a microsecond. Of a model of two graphs, the optimized one is run.
    """
    model = onnx.ModelProto()
    model.CopyFrom(optimized_alone(source.proto))
    _name(model.graph.node)
    with TemporaryDirectory(prefix="mari-onnx-") as folder:
        options = session_options(optimize=True, threads=threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        prefix = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{prefix}_file_name", "weights.data")
        options.add_session_config_entry(f"{prefix}_min_size_in_bytes", "1024")
        session = open_session(source.document, model, options)
        for _ in range(1 + RUNS):  # the first one allocates
            session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        graph = onnx.load(folder + "/optimized.onnx", load_external_data=False).graph
    return _times(graph, events, request)


def _name(nodes: Iterable[onnx.NodeProto]) -> None:
    """Give a name to each node without one: the profiler and the graph know nodes by them."""
    for i, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{i}/{next(filter(None, node.output), '')}"


def _times(
    graph: onnx.GraphProto, events: Iterable[Mapping[str, Any]], request: Collection[str]
) -> tuple[NodeTime, ...]:
    """The times in the events of the profiler, those of the first call left out."""
    taken: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            taken[event["name"].removesuffix(_KERNEL)].append(float(event["dur"]))
    of_side = sides(graph, request)
    found = [
        NodeTime(node.name, node.op_type, of_side[node.name], median(taken[node.name][1:]))
        for node in graph.node
        if len(taken[node.name]) > 1
    ]
    return tuple(sorted(found, key=lambda one: -one.time_us))


def sides(graph: onnx.GraphProto, request: Collection[str]) -> dict[str, Side]:
    """The side of each node, by its name. `request` are the inputs of the request."""
    on_candidates = ("candidates", "both")
    found: dict[str, Side] = {}
    for node, follows in dependences(graph, request):
        found[node.name] = "candidates" if follows in on_candidates else "request"
    return found
