"""The view for GitHub: few annotations, each on one line."""

from __future__ import annotations

from dataclasses import replace

from mari_onnx.report.as_github import to_github
from mari_onnx.report.model import Difference, Verification
from mari_onnx.report.note import Note
from tests.report import reports


def test_annotations_stay_on_one_line_and_are_not_cut_by_names() -> None:
    worst = Difference(1, "a:b,c", 1, 1, 0, False, "100 %\nmore")
    report = replace(reports.DIFFERENT, verification=Verification(False, 0, 0, 0, (worst,)))
    first, last = to_github(report).splitlines()
    assert first == "::error file=models/wide_deep.onnx,title=a%3Ab%2Cc%2C drawn at batch 1::100 %25%0Amore"
    assert last.startswith("::error ") and "title=mari-onnx verify::The predictions differ" in last


def test_no_more_annotations_than_are_shown() -> None:
    many = tuple(Difference(i, "y", 1, 1, 0, False, "bad") for i in range(30))
    report = replace(
        reports.DIFFERENT, verification=Verification(False, 0, 0, 0, many, (Note("case-skipped", "note"),) * 20)
    )
    kinds = [line.split(" ")[0] for line in to_github(report).splitlines()]
    assert max(kinds.count(kind) for kind in set(kinds)) <= 10
