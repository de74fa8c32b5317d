"""Reports in a notebook: the verdict, the gain and the largest products, in HTML without scripts."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from mari_onnx.report.model import Report
from mari_onnx.report.numbers import count
from mari_onnx.report.page.markup import add, add_table, written
from mari_onnx.report.page.sections import costs, gains
from mari_onnx.report.tables import Table
from mari_onnx.report.words import MARKS, judged

SHOWN = 8
"""How many products are shown; the page has all of them."""


def to_notebook(report: Report) -> str:
    """The report in short, for `_repr_html_`."""
    mark, _, words = judged(report)
    root = Xml.Element("div", style="max-width: 60rem")
    add(add(root, "p"), "strong", f"{mark} {words}")
    said = add(root, "ul")
    for number, label in gains(report):
        line = add(said, "li")
        add(line, "strong", f"{number} ")
        add(line, "span", label)
    costs(root, report)
    products = sorted((r for r in report.remarks if r.macs_before), key=lambda r: -r.macs_before)
    if products:
        rows = [
            (count(r.macs_before), count(r.macs_after), MARKS[r.status][0], f"{r.op_type} {r.tensor}", r.forms)
            for r in products[:SHOWN]
        ]
        more = f"{len(rows)}, and {len(products) - len(rows)} more" if len(products) > len(rows) else ""
        add_table(root, Table("Products", more, ("before", "after", "", "", ""), rows, 2))
    return written(root) + "\n"
