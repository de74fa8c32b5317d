"""A model before and after, as an SVG: what is drawn is read off the two graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from math import prod

import numpy as np
import onnx
from onnx import numpy_helper, parser, shape_inference

from mari_onnx import Optimized, optimize
from mari_onnx.report.numbers import count, ratio

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
TOP, GAP, BOX, PRODUCT, BOX_WIDTH = 60, 33, 34, 62, 176
LANES = {"user": 118, "item": 338}

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


@cache
def optimized_ranker() -> Optimized:
    """The same model, optimized."""
    return optimize(ranker(), batch=BATCH)


@dataclass(frozen=True)
class Box:
    """A node, a graph input or a graph output: who its result belongs to and in which lane it stands.

    `inputs` are the names of the boxes that arrows come from, `shape` is that of the result.
    """

    name: str
    title: str
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
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    infos = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {
        name: tuple(d.dim_param or d.dim_value for d in info.shape.dim)
        for name, info in infos.items()
        if info.elem_type == onnx.TensorProto.FLOAT
    }
    out: dict[str, Box] = {}
    for given in graph.input:
        side = _side(shapes[given.name])
        out[given.name] = Box(given.name, given.name, (), shapes[given.name], side, lane=side, terminal=True)
    for node in graph.node:
        name = node.output[0]
        if name not in shapes:
            continue
        inputs = tuple(i for i in node.input if i in shapes)
        lane = "item" if any(out[i].lane == "item" for i in inputs) else "user"
        title, macs = node.op_type, 0
        if title == "Gemm":
            title, macs = f"{title} {node.input[1]}", _elements((*shapes[name], *shapes[inputs[0]][1:]))
        out[name] = Box(name, title, inputs, shapes[name], _side(shapes[name]), lane, macs)
    results = [
        Box(f"{o.name} out", o.name, (o.name,), (), out[o.name].side, "item", terminal=True) for o in graph.output
    ]
    return [*out.values(), *results]


def _side(shape: Sequence[int | str]) -> str:
    return "item" if "batch" in shape else "user"


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
    result = optimized_ranker()
    model = result.document.proto
    left, right = boxes(model), boxes(result.model)
    rows = rows_of(left, {})
    placed = [(left, rows), (right, rows_of(right, rows))]
    middles, bottom = heights(placed)
    largest = max(box.macs for box in left)
    before, after = totals(result)
    assert (before, after) == tuple(sum(box.macs for box in drawn) for drawn, _ in placed)
    notes = (f"{count(before)} multiply-adds", f"{count(after)} multiply-adds, {ratio(before, after)}")
    height = bottom + 152
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(described(result))}">',
        f"<style>{STYLE}\n</style>",
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto"><path d="M0 0 8 4 0 8 2 4Z" fill="{LINE}"/></marker></defs>',
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="12" fill="{PAPER}" stroke="#d0d7de"/>',
        *legend(),
    ]
    for at, title, (drawn, its_rows), note in zip(
        (MARGIN, WIDTH - MARGIN - PANEL),
        (("before", "as exported"), ("after", "optimized")),
        placed,
        notes,
        strict=True,
    ):
        y = {name: middles[row] for name, row in its_rows.items()}
        lines += [f'<g transform="translate({at} 56)">', *panel(title, drawn, y, largest, note, bottom + 72), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def heights(placed: Sequence[tuple[Sequence[Box], dict[str, int]]]) -> tuple[list[int], int]:
    """The middle of each row, which both pictures share, and where the last one ends.

    The items' lane is the full one, and what has room in the other does not push its boxes apart.
    """
    tallest = dict.fromkeys(range(max(max(rows.values()) for _, rows in placed) + 1), BOX)
    for drawn, rows in placed:
        for box in drawn:
            if box.lane == "item":
                tallest[rows[box.name]] = max(tallest[rows[box.name]], box.height)
    middles, y = [], TOP
    for row in range(len(tallest)):
        middles.append(y + tallest[row] // 2)
        y += tallest[row] + GAP
    return middles, y - GAP


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
    """What the colours mean."""
    for x, side, words in ((MARGIN, "user", "once for the request"), (MARGIN + 190, "item", "for each candidate")):
        fill, line, _ = FILL[side]
        yield f'<rect x="{x}" y="20" width="22" height="16" rx="5" fill="{fill}" stroke="{line}" stroke-width="1.5"/>'
        yield text(x + 30, 33, words, 14)
    yield text(WIDTH - MARGIN, 33, f"one request with {BATCH} candidates", 14, QUIET, "end")


def panel(
    title: tuple[str, str], drawn: Sequence[Box], y: dict[str, int], largest: int, note: str, height: int
) -> Iterator[str]:
    """One of the two pictures, with its total; `largest` are the multiply-adds that fill a bar."""
    yield f'<rect width="{PANEL}" height="{height}" rx="10" fill="{CARD}" stroke="#d8dee4"/>'
    yield (
        f'<text x="24" y="34"><tspan font-size="17" font-weight="600">{title[0]}</tspan>'
        f'<tspan dx="10" font-size="14" style="fill:{QUIET}">{title[1]}</tspan></text>'
    )
    by_name = {box.name: box for box in drawn}
    for box in drawn:
        for name in box.inputs:
            yield from edge(by_name[name], y[name], box, y[box.name])
    for box in drawn:
        yield from shape(box, y[box.name], largest)
    yield f'<path d="M24 {height - 52}H{PANEL - 24}" stroke="#d8dee4"/>'
    yield text(24, height - 20, note, 17, weight=600)


def edge(source: Box, y: int, target: Box, to: int) -> Iterator[str]:
    """Straight down within a lane; down and to the side from one to the other."""
    x, start = LANES[source.lane], y + source.height / 2
    side = LANES[target.lane]
    if x == side:
        end = to - target.height / 2 - 1
        yield f'<path class="edge" d="M{x} {start:g}V{end:g}" marker-end="url(#tip)"/>'
        yield text(x + 10, start + GAP / 2 + 3, source.shown_shape, 12.5, FILL[source.side][2], mono=True)
    else:
        end = side - BOX_WIDTH / 2 - 1
        yield f'<path class="edge" d="M{x} {start:g}V{to - 10}Q{x} {to} {x + 10} {to}H{end:g}" marker-end="url(#tip)"/>'
        yield text(x + 18, to - 9, source.shown_shape, 12.5, FILL[source.side][2], mono=True)


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
        yield text(x, y + 5, box.title, 15, ink, "middle", 600)
        return
    yield text(x, y - 9, box.title, 15, ink, "middle", 600)
    yield text(x, y + 9, f"{count(box.macs)} multiply-adds", 12.5, ink, "middle")
    left, full = x - width / 2 + 14, width - 28
    share = max(full * box.macs / largest, 2)
    yield f'<rect x="{left:g}" y="{y + 18}" width="{full}" height="5" rx="2.5" fill="{line}" fill-opacity="0.18"/>'
    yield f'<rect x="{left:g}" y="{y + 18}" width="{share:.1f}" height="5" rx="{min(share / 2, 2.5):g}" fill="{line}"/>'


def text(
    x: float, y: float, words: str, size: float, fill: str = INK, anchor: str = "start", weight: int = 400,
    *, mono: bool = False,
) -> str:  # fmt: skip
    """Words at a place."""
    kind = ' class="mono"' if mono else ""
    return (
        f'<text x="{x:g}" y="{y:g}"{kind} font-size="{size:g}" style="fill:{fill}" text-anchor="{anchor}"'
        f' font-weight="{weight}">{escape(words, quote=False)}</text>'
    )
