"""A model before and after, as an SVG: what is drawn is read off the two graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import prod

import numpy as np
import onnx
from onnx import numpy_helper, parser, shape_inference

from mari_onnx import Optimized, optimize
from mari_onnx.report.text import count, ratio

BATCH = 500
USER, ITEM, HIDDEN = 160, 96, 256

RANKER = f"""<ir_version: 9, opset_import: ["" : 18]>
ranker (float[1, {USER}] user, float[batch, {ITEM}] item) => (float[batch, 1] score) {{
    rows = Shape <start = 0, end = 1> (item)
    width = Constant <value = int64[1] {{{USER}}}> ()
    shape = Concat <axis = 0> (rows, width)
    users = Expand (user, shape)
    x = Concat <axis = 1> (users, item)
    g1 = Gemm (x, W1, b1)
    h1 = Relu (g1)
    g2 = Gemm (h1, W2, b2)
    score = Sigmoid (g2)
}}"""

WIDTH, MARGIN, PANEL = 1000, 24, 464
TOP, PITCH, BOX, PRODUCT, BOX_WIDTH = 136, 72, 34, 52, 150
LANES = {"user": 116, "item": 332}
ARROW = 7

INK, QUIET, LINE, PAPER, CARD = "#1f2328", "#59636e", "#8c959f", "#f6f8fa", "#ffffff"
FILL = {"user": ("#fff1d6", "#bf8700", "#7d4e00"), "item": ("#e3f1ff", "#2f81d6", "#0a4a8f")}
"""Background, border and text of what is computed once for the request, and of what for each candidate."""

STYLE = f"""
  text {{ font-family: -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: {INK}; }}
  .mono {{ font-family: ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }}
  .edge {{ fill: none; stroke: {LINE}; stroke-width: 1.5; }}"""


def ranker() -> onnx.ModelProto:
    """A small ranking model as an exporter writes it: the user's row is expanded to meet the items in a Concat."""
    model = parser.parse_model(RANKER)
    rng = np.random.default_rng(0)
    for name, shape in {"W1": (USER + ITEM, HIDDEN), "b1": (HIDDEN,), "W2": (HIDDEN, 1), "b2": (1,)}.items():
        array = rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


@dataclass(frozen=True)
class Box:
    """A node, a graph input or a graph output: who its result belongs to and in which lane it stands.

    `inputs` are the names of what arrows come from, `name` is that of the result.
    """

    name: str
    title: str
    weight: str
    inputs: tuple[str, ...]
    shape: tuple[int | str, ...]
    side: str
    lane: str
    macs: int = 0
    terminal: bool = False

    @property
    def height(self) -> int:
        return PRODUCT if self.macs else BOX

    @property
    def shown_shape(self) -> str:
        return f"[{' '.join(map(str, self.shape))}]"


def boxes(model: onnx.ModelProto) -> list[Box]:
    """The graph without constants and without its shape arithmetic."""
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    infos = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {name: tuple(d.dim_param or d.dim_value for d in t.shape.dim) for name, t in infos.items()}
    drawn = {name for name, t in infos.items() if t.elem_type == onnx.TensorProto.FLOAT}
    out: dict[str, Box] = {}

    def add(name: str, title: str, weight: str, inputs: tuple[str, ...], macs: int = 0, terminal: bool = False) -> None:
        side = "item" if "batch" in shapes[name[:-4] if terminal and inputs else name] else "user"
        lane = "item" if any(out[i].lane == "item" for i in inputs) or (not inputs and side == "item") else "user"
        shape = shapes.get(name, ())
        out[name] = Box(name, title, weight, inputs, shape, side, lane, macs, terminal)

    for given in graph.input:
        add(given.name, given.name, "", (), terminal=True)
    for node in graph.node:
        if node.output[0] in drawn:
            inputs = tuple(i for i in node.input if i in drawn)
            product = node.op_type == "Gemm"
            weight = node.input[1] if product else ""
            macs = _elements(shapes[node.output[0]]) * _elements(shapes[node.input[0]][1:]) if product else 0
            add(node.output[0], node.op_type, weight, inputs, macs)
    for result in graph.output:
        add(f"{result.name}.out", result.name, "", (result.name,), terminal=True)
    return list(out.values())


def _elements(shape: Sequence[int | str]) -> int:
    return prod(BATCH if isinstance(d, str) else d for d in shape)


def rows_of(drawn: Sequence[Box], known: dict[str, int]) -> dict[str, int]:
    """In which row each box stands: that which it has in the other picture, else just before what reads it."""
    rows: dict[str, int] = {}
    for box in drawn:
        rows[box.name] = known.get(box.name, 1 + max((rows[i] for i in box.inputs), default=-1))
    for box in reversed(drawn):
        readers = [rows[other.name] for other in drawn if box.name in other.inputs]
        if box.name not in known and readers and not box.terminal:
            rows[box.name] = min(readers) - 1
    return rows


def before_after() -> str:
    """The SVG."""
    model = ranker()
    result = optimize(model, batch=BATCH)
    left, right = boxes(model), boxes(result.model)
    rows = rows_of(left, {})
    height = TOP + PITCH * (max(rows.values()) + 1) + 78
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(described(result))}">',
        f"<style>{STYLE}\n</style>",
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="{ARROW}" markerHeight="{ARROW}"'
        f' orient="auto"><path d="M0 0 8 4 0 8 2 4Z" fill="{LINE}"/></marker></defs>',
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="12" fill="{PAPER}" stroke="#d0d7de"/>',
        *legend(),
    ]
    before, after = totals(result)
    gain = f"{count(after)} multiply-adds, {ratio(before, after)}"
    for at, title, drawn, note in (
        (MARGIN, "as exported", left, f"{count(before)} multiply-adds"),
        (WIDTH - MARGIN - PANEL, "optimized", right, gain),
    ):
        lines += [f'<g transform="translate({at} 56)">', *panel(title, drawn, rows_of(drawn, rows), note, height - 80)]
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])


def totals(result: Optimized) -> tuple[int, int]:
    """Multiply-adds before and after."""
    before, after = result.report.cost_before, result.report.cost_after
    assert before is not None and after is not None
    return before.macs, after.macs


def described(result: Optimized) -> str:
    """The picture in words."""
    before, after = totals(result)
    return (
        f"As exported, the user's row is expanded to {BATCH} rows and multiplied with each candidate: {count(before)} "
        f"multiply-adds. Optimized, the user's product is computed once and added to that of the items: {count(after)}."
    )


def legend() -> Iterator[str]:
    for x, side, text in ((MARGIN, "user", "once for the request"), (MARGIN + 190, "item", "for each candidate")):
        fill, line, _ = FILL[side]
        yield f'<rect x="{x}" y="20" width="22" height="16" rx="5" fill="{fill}" stroke="{line}" stroke-width="1.5"/>'
        yield _text(x + 30, 33, text, 14)
    yield _text(WIDTH - MARGIN, 33, f"one request with {BATCH} candidates", 14, QUIET, "end")


def panel(title: str, drawn: Sequence[Box], rows: dict[str, int], note: str, height: int) -> Iterator[str]:
    yield f'<rect width="{PANEL}" height="{height}" rx="10" fill="{CARD}" stroke="#d8dee4"/>'
    yield _text(24, 33, title, 17, weight=600)
    y = {name: TOP - 56 + PITCH * row for name, row in rows.items()}
    by_name = {box.name: box for box in drawn}
    for box in drawn:
        for name in box.inputs:
            yield from edge(by_name[name], y[name], box, y[box.name])
    largest = max(box.macs for box in drawn)
    for box in drawn:
        yield from shape(box, y[box.name], largest)
    yield f'<path d="M24 {height - 52}H{PANEL - 24}" stroke="#d8dee4"/>'
    yield _text(24, height - 20, note, 17, weight=600)


def edge(source: Box, y: int, target: Box, to: int) -> Iterator[str]:
    """Straight down within a lane; down and to the side from one to the other."""
    x, start = LANES[source.lane], y + source.height / 2
    side = LANES[target.lane]
    if x == side:
        end = to - target.height / 2 - 1
        yield f'<path class="edge" d="M{x} {start:g}V{end:g}" marker-end="url(#tip)"/>'
        middle = (start + min(end, start + PITCH - BOX)) / 2 + 4
        if not target.terminal:
            yield _text(x + 10, middle, source.shown_shape, 12.5, FILL[source.side][2], mono=True)
    else:
        end = side - BOX_WIDTH / 2 - 1
        yield f'<path class="edge" d="M{x} {start:g}V{to - 10}Q{x} {to} {x + 10} {to}H{end:g}" marker-end="url(#tip)"/>'
        yield _text(x + 18, to - 9, source.shown_shape, 12.5, FILL[source.side][2], mono=True)


def shape(box: Box, y: int, largest: int) -> Iterator[str]:
    """A rounded box, of a product with its multiply-adds and a bar for their share."""
    x, h = LANES[box.lane], box.height
    fill, line, ink = FILL[box.side]
    width, corner = (110, h / 2) if box.terminal else (BOX_WIDTH, 8)
    yield (
        f'<rect x="{x - width / 2:g}" y="{y - h / 2:g}" width="{width}" height="{h}" rx="{corner:g}"'
        f' fill="{fill}" stroke="{line}" stroke-width="1.5"/>'
    )
    if not box.macs:
        yield _text(x, y + 5, box.title, 15, ink, "middle", 600)
        return
    yield _text(x, y - 5, f"{box.title}  {box.weight}", 15, ink, "middle", 600)
    yield _text(x, y + 14, count(box.macs), 13, ink, "middle")


def _text(
    x: float, y: float, text: str, size: float, fill: str = INK, anchor: str = "start", weight: int = 400,
    *, mono: bool = False,
) -> str:  # fmt: skip
    kind = ' class="mono"' if mono else ""
    return (
        f'<text x="{x:g}" y="{y:g}"{kind} font-size="{size:g}" style="fill:{fill}" text-anchor="{anchor}"'
        f' font-weight="{weight}">{escape(text, quote=False)}</text>'
    )
