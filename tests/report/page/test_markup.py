"""Elements and tables: what is text stays text."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from mari_onnx.report.page.markup import add, add_table, say, written
from mari_onnx.report.tables import Table


def test_text_and_attributes_are_escaped() -> None:
    root = Xml.Element("div")
    add(root, "p", "<b>&", aria_label='"<i>', class_="note")
    assert written(root) == '<div><p aria-label="&quot;<i&gt;" class="note">&lt;b&gt;&amp;</p></div>'


def test_a_table() -> None:
    root = Xml.Element("div")
    add_table(root, Table("Cost", "of a call", ("n", "<what>"), [("1", "<x>")], 1))
    text = written(root)
    assert '<th scope="col" class="number">n</th><th scope="col">&lt;what&gt;</th>' in text
    assert '<td class="number">1</td><td>&lt;x&gt;</td>' in text
    assert 'aria-label="Cost"' in text and "<small>of a call</small>" in text
    assert "<thead>" not in written_of(Table("", "", ("", ""), [], 0))


def written_of(table: Table) -> str:
    root = Xml.Element("div")
    add_table(root, table, "about")
    return written(root)


def test_names_are_code() -> None:
    root = Xml.Element("div")
    say(root, "of `a<b>` and `c`.", class_="note")
    say(root, "an odd ` one")
    assert written(root) == (
        '<div><p class="note">of <code>a&lt;b&gt;</code> and <code>c</code>.</p><p>an odd ` one</p></div>'
    )
