"""Reports as a page: one file that needs no network, with the graphs as layers of blocks, charts and tables.

Everything that comes from a model is escaped or is data of the page's script, which writes it as text. The page allows
its own two scripts and no others, and loads nothing.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.resources
import json
from collections.abc import Callable
from xml.etree import ElementTree as Xml

from bokeh.resources import Resources

from mari_onnx.report.model import Report
from mari_onnx.report.page import sections
from mari_onnx.report.page.blocks import drawing, graphs
from mari_onnx.report.page.charts import charts, ranked
from mari_onnx.report.page.markup import add, written
from mari_onnx.report.words import judged, model_name

LEGEND = {
    "request": "follows from the request alone",
    "candidates": "from the candidates alone",
    "both": "from both",
    "neither": "from shapes and constants",
}
"""What the colours of blocks say."""

ROBOTS = {"viewport": "width=device-width, initial-scale=1", "color-scheme": "light dark", "robots": "noindex"}


def to_html(report: Report) -> str:
    """The report as a page."""
    drawn = charts(report)
    data = {"drawing": drawing() if report.graphs else None, "charts": drawn, **graphs(report)}
    scripts = ["\n".join(Resources(mode="inline", components=["bokeh"]).js_raw), _file("page.js")]
    page = Xml.Element("html", lang="en")
    _head(page, report, scripts)
    body = add(page, "body")
    button = add(add(body, "div", class_="corner"), "button", "Dark or light", id="theme", type="button")
    button.set("aria-label", "Switch between dark and light")
    main = add(body, "main")
    sections.verdict(add(main, "header"), report)
    if report.graphs:
        _graph(main, report)
    _section(main, "Arithmetic", lambda at: _arithmetic(at, report, "products" in drawn))
    if report.benchmark:
        _section(main, "Time", lambda at: _time(at, report))
    if report.verification:
        _section(main, "Verification", lambda at: _verification(at, report))
    if (replay := report.replay) is not None:
        _section(main, "Recorded requests", lambda at: sections.replayed(at, replay))
    if (made := report.precomputed) is not None:
        _section(main, "Rows of a table", lambda at: sections.computed(at, made))
    _section(main, "Inputs and outputs", lambda at: sections.inputs(at, report))
    if report.configuration or report.versions:
        _section(main, "Settings", lambda at: sections.settings(at, report))
    add(body, "script", _packed(data), type="application/octet-stream", id="data")
    for script in scripts:
        add(body, "script", script)
    return f"<!DOCTYPE html>\n{written(page)}\n"


def _file(name: str) -> str:
    return importlib.resources.files("mari_onnx.report.page").joinpath(name).read_text(encoding="utf-8")


def _head(page: Xml.Element, report: Report, scripts: list[str]) -> None:
    head = add(page, "head")
    add(head, "meta", charset="utf-8")
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; font-src data:"
    add(head, "meta", http_equiv="Content-Security-Policy", content=policy)
    for name, content in ROBOTS.items():
        add(head, "meta", name=name, content=content)
    add(head, "title", f"{judged(report)[0]} {model_name(report.model.path)} · mari-onnx {report.command}")
    add(head, "style", _file("page.css"))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _packed(data: object) -> str:
    """Data for the page's script. It is compressed, since names of nodes repeat, and has no character of HTML."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), mtime=0)).decode()


def _section(main: Xml.Element, title: str, fill: Callable[[Xml.Element], None]) -> None:
    section = add(main, "section")
    add(section, "h2", title)
    fill(section)


def _chart(parent: Xml.Element, name: str, caption: str) -> None:
    figure = add(parent, "figure")
    add(figure, "figcaption", caption)
    add(figure, "div", id=name, class_="chart", role="img", aria_label=caption)


def _arithmetic(section: Xml.Element, report: Report, has_products: bool) -> None:
    sections.costs(section, report)
    if has_products:
        batch = f" at {report.cost_before.batch:,} candidates" if report.cost_before else ""
        _chart(section, "products", f"Multiply-adds of each product before and after{batch}")
    if report.remarks:
        sections.remarks(section, report)


def _time(section: Xml.Element, report: Report) -> None:
    assert report.benchmark is not None
    _chart(section, "latency", "Median time of a call, and up to the time in which 95 % of calls end")
    _chart(section, "speedup", f"Speed-up with its {report.benchmark.confidence:.0%} interval")
    sections.measured(section, report.benchmark)


def _verification(section: Xml.Element, report: Report) -> None:
    assert report.verification is not None
    sections.verified(section, report, report.verification)
    for i, ranking in enumerate(ranked(report)):
        pair = add(section, "div", class_="pair")
        _chart(pair, f"differences-{i}", f"Scores of {ranking.output} by how far they are apart")
        _chart(pair, f"moves-{i}", f"Candidates by the places that they moved by {ranking.output}")


def _graph(main: Xml.Element, report: Report) -> None:
    """The controls of the graph, the place where it is drawn, and that for what is told of a block."""
    section = add(main, "section", class_="graph")
    add(section, "h2", "Graph")
    controls = add(section, "div", class_="controls")
    which = add(controls, "div", role="group", aria_label="Graph", id="which")
    for i, graph in enumerate(report.graphs):
        add(which, "button", graph.title, type="button", aria_pressed=str(i == 0).lower())
    add(add(controls, "label", "Folded "), "select", id="fold")
    search = add(controls, "label", "Search ")
    add(search, "input", id="search", type="search", placeholder="tensor, node or module", autocomplete="off")
    zoom = add(controls, "div", role="group", aria_label="Zoom", id="zoom")
    for label, what in (("+", "Zoom in"), ("−", "Zoom out"), ("Fit", "Show all of it")):  # noqa: RUF001
        add(zoom, "button", label, type="button", aria_label=what, title=what)
    legend = add(section, "ul", class_="legend")
    for follows, words in LEGEND.items():
        entry = add(legend, "li")
        add(entry, "span", class_=f"swatch {follows}", aria_hidden="true")
        add(entry, "span", words)
    add(add(legend, "li"), "span", "A thick frame: rewritten.")
    add(section, "ul", id="found", aria_label="Found", aria_live="polite")
    both = add(section, "div", class_="both")
    label = "The graph. Arrow keys go from block to block, Enter unfolds one, plus and minus zoom."
    add(both, "div", id="graph", tabindex="0", role="application", aria_label=label)
    about = add(both, "aside", id="about", aria_live="polite")
    add(about, "p", "A click on a block tells what was done there. Drag to move, Ctrl and the wheel to zoom.")
