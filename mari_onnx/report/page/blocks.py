"""The graphs of a page: the figure in which blocks are drawn, and everything that the page's script tells of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bokeh.embed import json_item
from bokeh.models import (
    ColumnDataSource,
    HoverTool,
    MultiLine,
    PanTool,
    Range1d,
    Rect,
    TapTool,
    Text,
    WheelZoomTool,
)  # fmt: skip

from mari_onnx.report.benchmark import NodeTime, Profile
from mari_onnx.report.graph import Graph
from mari_onnx.report.model import Report
from mari_onnx.report.page.charts import FONT, plot
from mari_onnx.report.page.layers import HEIGHT, WIDTH, Fold, folds

UNNAMED = re.compile(r"^(\w+)_\d+/")
"""The name of a node without one, as benchmarks have it: its operator, its number, and its first result."""


def drawing() -> Any:
    """The figure without blocks, which the page's script puts into its sources.

    `labels` are those of the blocks that are in sight alone: a text takes a browser as long as fifty blocks.
    """
    made = plot(None, x_range=Range1d(0, 1), y_range=Range1d(0, 1), match_aspect=True, name="graph")
    columns = ("x", "y", "fill", "width", "operator", "full", "module")
    blocks = ColumnDataSource({column: [] for column in columns}, name="blocks")
    edges = ColumnDataSource({"xs": [], "ys": []}, name="edges")
    labels = ColumnDataSource({"x": [], "y": [], "operator": [], "name": []}, name="labels")
    made.add_glyph(edges, MultiLine(xs="xs", ys="ys", line_width=1, line_alpha=0.7, tags=["line_color=edge"]))
    boxes = made.add_glyph(
        blocks, _box("ink"), selection_glyph=_box("chosen", 4), nonselection_glyph=_box("ink"), name="boxes"
    )
    said = {"text_align": "center", "text_color": "#111111", "text_baseline": "middle", "text_font": FONT}
    operator = Text(x="x", y="y", text="operator", y_offset=-8, text_font_style="bold", name="operators", **said)
    name = Text(x="x", y="y", text="name", y_offset=8, name="names", **said)
    for glyph in (operator, name):
        made.add_glyph(labels, glyph, name=glyph.name)
    zoom = WheelZoomTool(modifiers="ctrl", zoom_on_axis=False)
    hover = HoverTool(renderers=[boxes], tooltips=[("", "@operator"), ("", "@full"), ("", "@module")])
    made.add_tools(PanTool(), zoom, TapTool(renderers=[boxes]), hover)
    made.toolbar.active_scroll = zoom
    made.axis.visible = False
    made.grid.visible = False
    made.min_border = 0
    return json_item(made)


def _box(line: str, width: float | str = "width") -> Rect:
    """A block whose frame has this colour of the page, and the width in the column `width` or the given one."""
    return Rect(
        x="x", y="y", width=WIDTH, height=HEIGHT, fill_color="fill", line_width=width, border_radius=6,
        tags=[f"line_color={line}"],
    )  # fmt: skip


def graphs(report: Report) -> dict[str, Any]:
    """The graphs with all that is known of their nodes, and the remarks that the nodes refer to by number.

    `nodes` are lists by field, one entry a node. Each fold has its blocks as numbers of nodes.
    """
    number = {remark.tensor: i for i, remark in enumerate(report.remarks) if remark.tensor}
    profile = report.benchmark.profile if report.benchmark else None
    return {
        "remarks": [asdict(remark) for remark in report.remarks],
        "graphs": [_graph(graph, number, _times(graph, profile)) for graph in report.graphs],
    }


def _graph(graph: Graph, number: dict[str, int], times: Sequence[float | None]) -> dict[str, Any]:
    nodes = graph.nodes
    of_tensor = {name: i for i, node in enumerate(nodes) for name in node.outputs}
    return {
        "title": graph.title,
        "outputs": graph.outputs,
        "name": [node.name for node in nodes],
        "operator": [node.op_type for node in nodes],
        "tensors": [node.outputs for node in nodes],
        "reads": [[of_tensor[name] for name in node.inputs] for node in nodes],
        "follows": [node.follows for node in nodes],
        "module": ["/".join(node.scope) for node in nodes],
        "macs": [node.macs for node in nodes],
        "original": ["" if node.original == next(iter(node.outputs), "") else node.original for node in nodes],
        "remark": [number.get(node.original, -1) for node in nodes],
        "time": list(times),
        "folds": [_fold(fold) for fold in folds(graph)],
    }


def _fold(fold: Fold) -> dict[str, Any]:
    return {
        "title": fold.title, "blocks": fold.blocks, "names": fold.names, "x": fold.x, "y": fold.y,
        "xs": [xs for xs, _ in fold.edges], "ys": [ys for _, ys in fold.edges],
    }  # fmt: skip


def _times(graph: Graph, profile: Profile | None) -> list[float | None]:
    """The measured time of each node, in microseconds; None where it was not measured, or where a runtime fused it."""
    measured: dict[str, Sequence[NodeTime]] = {}
    if profile is not None:
        measured = {"before": profile.before, "after": profile.after}
    times = {UNNAMED.sub(r"\1/", each.node): each.time_us for each in measured.get(graph.title, ())}
    return [times.get(node.name or f"{node.op_type}/{next(iter(node.outputs), '')}") for node in graph.nodes]
