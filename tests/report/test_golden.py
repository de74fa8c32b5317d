"""Every view of every kind of report, as files that were looked at.

`python -m tests.report.test_golden` writes them again.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mari_onnx.report import VIEWS, render
from mari_onnx.report.as_github import to_github
from mari_onnx.report.as_junit import to_junit
from mari_onnx.report.as_markdown import LIMIT, to_markdown
from mari_onnx.report.model import Difference, Verification
from tests.report import reports

GOLDEN = Path(__file__).parent / "golden"
SUFFIX = {"text": "txt", "json": "json", "markdown": "md", "junit": "xml", "github": "github"}
SHOWN = ("optimized", "wrong", "unchanged", "verified", "located", "bare")


def path(name: str, view: str) -> Path:
    return GOLDEN / f"{name}.{SUFFIX[view]}"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", SHOWN)
def test_views(name: str, view: str) -> None:
    assert render(reports.EVERY[name], view) == path(name, view).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", reports.EVERY)
def test_junit_is_xml_that_counts_its_cases(name: str) -> None:
    report = reports.EVERY[name]
    (suite,) = ElementTree.fromstring(to_junit(report))
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases) >= 1
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
    if report.verification is not None and report.verification.differences:
        assert len(cases) == len(report.verification.differences)
        assert (int(suite.attrib["failures"]) == 0) == report.verification.passed


def test_what_xml_cannot_say() -> None:
    report = reports.replace(
        reports.SAME,
        verification=Verification(False, 0, 0, 0, (Difference(1, "a\x00<b>", 1, 1, 0, False, "\x1b & c"),)),
    )
    (suite,) = ElementTree.fromstring(to_junit(report))
    assert suite[0].attrib["name"] == "a?<b>: drawn at batch 1"
    assert suite[0][0].attrib["message"] == "? & c"


def test_annotations_stay_on_one_line_and_are_not_cut_by_names() -> None:
    worst = Difference(1, "a:b,c", 1, 1, 0, False, "100 %\nmore")
    report = reports.replace(reports.DIFFERENT, verification=Verification(False, 0, 0, 0, (worst,)))
    first, last = to_github(report).splitlines()
    assert first == "::error file=models/wide_deep.onnx,title=a%3Ab%2Cc%2C drawn at batch 1::100 %25%0Amore"
    assert last.startswith("::error ") and "title=mari-onnx verify::The predictions differ" in last


def test_no_more_annotations_than_are_shown() -> None:
    many = tuple(Difference(i, "y", 1, 1, 0, False, "bad") for i in range(30))
    report = reports.replace(reports.DIFFERENT, verification=Verification(False, 0, 0, 0, many, ("note",) * 20))
    kinds = [line.split(" ")[0] for line in to_github(report).splitlines()]
    assert max(kinds.count(kind) for kind in set(kinds)) <= 10


def test_markdown_is_a_comment_whatever_is_in_it() -> None:
    many = tuple(Difference(i, "y|`z`", 1, 1, 0, False, "*bad* | " + "x" * 3000) for i in range(99))
    report = reports.replace(reports.LOCATED, verification=Verification(False, 0, 0, 0, many))
    text = to_markdown(report)
    assert len(text) <= LIMIT
    table = [line for line in to_markdown(reports.LOCATED).splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert widths == {5, 7, 9}
    assert "`Concat x | y`" in to_markdown(reports.LOCATED)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in SHOWN:
        for view in VIEWS:
            path(name, view).write_text(render(reports.EVERY[name], view), encoding="utf-8")
