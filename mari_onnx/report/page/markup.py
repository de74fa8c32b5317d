"""Elements of HTML. Text and attributes are escaped where they are written out, whatever a model calls its tensors."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from mari_onnx.report.tables import Table


def add(parent: Xml.Element, tag: str, text: str = "", **attributes: str) -> Xml.Element:
    """A new last child of an element; `class_` and `aria_label` are the attributes `class` and `aria-label`."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    child = Xml.SubElement(parent, tag, names)
    child.text = text
    return child


def say(parent: Xml.Element, sentence: str, **attributes: str) -> None:
    """A paragraph, in which names between backticks are code."""
    words = sentence.split("`")
    if not len(words) % 2:  # a name that has a backtick itself
        words = [sentence]
    paragraph = add(parent, "p", words[0], **attributes)
    for name, after in zip(words[1::2], words[2::2], strict=True):
        add(paragraph, "code", name).tail = after


def add_table(parent: Xml.Element, table: Table, caption: str = "") -> None:
    """A table that scrolls within its own frame where it is wider than the page."""
    frame = add(parent, "div", class_="scroll", tabindex="0", role="region", aria_label=caption or table.title)
    body = add(frame, "table")
    if table.title:
        add(add(body, "caption", f"{table.title}  "), "small", table.note)
    if any(table.columns):
        head = add(add(body, "thead"), "tr")
        for i, name in enumerate(table.columns):
            add(head, "th", name, scope="col", **_aligned(table, i))
    rows = add(body, "tbody")
    for row in table.rows:
        line = add(rows, "tr")
        for i, cell in enumerate(row):
            add(line, "td", cell, **_aligned(table, i))


def _aligned(table: Table, column: int) -> dict[str, str]:
    return {"class_": "number"} if column < table.words else {}


def written(element: Xml.Element) -> str:
    """The element as HTML."""
    return Xml.tostring(element, encoding="unicode", method="html")
