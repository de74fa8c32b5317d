"""One model on its way through the stages, as an SVG: what each stage knows of it is read off the stage."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html import escape

from docs.picture import CARD, INK, LINE, PAPER, QUIET, optimized_ranker, ranker, text
from mari_onnx.ir.axes import Dims, show
from mari_onnx.ir.forms import Value
from mari_onnx.report.numbers import count, microseconds
from tests.graphs import Rewritten, rewrite

WIDTH, MARGIN, ROW, GAP = 760, 24, 84, 26
NAME_WIDTH, LEFT = 150, 196

STYLE = """
  text { font-family: -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
  .mono { font-family: ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }"""

FILL, BORDER, DARK = "#ede7fb", "#7e57c2", "#4527a0"


@cache
def interpreted() -> Rewritten:
    """The small model of the pictures, interpreted and written."""
    return rewrite(ranker())


def forms_of(value: Value) -> str:
    """The forms of a value, each with the axes along which it is stored."""
    if value.content is not None:
        return f"content {' '.join(map(str, value.content.flat))}"
    found = [f"Array {_axes(value.array.layout)}"]
    if value.parts is not None:
        found.append(f"Parts {' ++ '.join(_axes(piece.layout) for _, piece in value.parts.pieces)}")
    if value.terms is not None:
        found.append(f"Terms {' + '.join(_axes(array.layout) for _, array in value.terms.signed)}")
    return ", ".join(found)


def _axes(layout: Dims) -> str:
    return show(layout).replace("[1 ", "[").replace("[", "(").replace("]", ")")


def told() -> list[tuple[str, str, list[str]]]:
    """Each stage: its name, the folder of its code, and what it makes of the model."""
    result = optimized_ranker()
    report, values = result.report, interpreted().program.values
    before, after = report.cost_before, report.cost_after
    verified = report.verification
    assert before is not None and after is not None and verified is not None and verified.passed
    given = report.request_inputs[0]
    product = next(node for node in result.model.graph.node if node.output[0] == "g1")
    return [
        ("load", "document", [
            f"{report.model.nodes} nodes, {report.model.initializers} stored tensors, "
            f"opset {report.model.opsets['ai.onnx']}",
            "the file is the document; everything else is grafted onto it",
        ]),
        ("roles", "analysis", [f"{given.name} is the request's: {given.rows} row", given.reason]),
        ("interpret", "analysis", [f"{name:<2} = {forms_of(values[name])}" for name in ("x", "g1")]),
        ("plan", "planning", [
            f"{microseconds(before.time_us)} as exported, {microseconds(after.time_us)} by the cheapest plan",
            f"{count(before.macs)} multiply-adds, {count(after.macs)} after",
        ]),
        ("emit", "emission", [
            f"{product.output[0]} = {product.op_type}({', '.join(product.input)})",
            f"{before.nodes} nodes that compute, {after.nodes} after",
        ]),
        ("verify", "verification", [
            f"{len(verified.differences)} comparisons: the same function in float64,",
            "and as accurate in the model's own precision",
        ]),
        ("save", "document", ["the whole file or none", "metadata, names, external data as they were"]),
    ]  # fmt: skip


def alternative() -> str:
    """The picture in words."""
    return f"The stages that a model goes through: {', '.join(name for name, *_ in told())}."


def stages() -> str:
    """The SVG."""
    rows = told()
    height = 2 * MARGIN + len(rows) * ROW + (len(rows) - 1) * GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(alternative())}">',
        f"<style>{STYLE}\n</style>",
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto"><path d="M0 0 8 4 0 8 2 4Z" fill="{LINE}"/></marker></defs>',
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="12" fill="{PAPER}" stroke="#d0d7de"/>',
    ]
    for i, row in enumerate(rows):
        lines += stage(MARGIN + i * (ROW + GAP), *row, last=i == len(rows) - 1)
    return "\n".join([*lines, "</svg>", ""])


def stage(y: int, name: str, folder: str, said: list[str], *, last: bool) -> Iterator[str]:
    """A stage, what it says beside it, and the arrow to the next."""
    middle = MARGIN + NAME_WIDTH // 2
    yield (
        f'<rect x="{MARGIN}" y="{y}" width="{NAME_WIDTH}" height="{ROW}" rx="10" fill="{FILL}" stroke="{BORDER}"'
        f' stroke-width="1.5"/>'
    )
    yield text(middle, y + ROW / 2 - 2, name, 18, DARK, "middle", 600)
    yield text(middle, y + ROW / 2 + 20, f"{folder}/", 13, DARK, "middle", mono=True)
    width = WIDTH - LEFT - MARGIN
    yield f'<rect x="{LEFT}" y="{y}" width="{width}" height="{ROW}" rx="10" fill="{CARD}" stroke="#d8dee4"/>'
    for i, line in enumerate(said):
        yield text(LEFT + 18, y + ROW / 2 - 7 + 26 * i, line, 14, INK if i == 0 else QUIET, mono=True)
    if not last:
        yield (
            f'<path d="M{middle} {y + ROW + 2}V{y + ROW + GAP - 3}" fill="none" stroke="{LINE}" stroke-width="1.5"'
            f' marker-end="url(#tip)"/>'
        )
