"""The view for a comment: short enough for one, whatever is in it."""

from __future__ import annotations

import re
from dataclasses import replace

from mari_onnx.report.as_markdown import LIMIT, to_markdown
from mari_onnx.report.model import Difference, Verification
from tests.report import reports


def test_markdown_is_a_comment_whatever_is_in_it() -> None:
    many = tuple(Difference(i, "y|`z`", 1, 1, 0, False, "*bad* | " + "x" * 3000) for i in range(99))
    report = replace(reports.LOCATED, verification=Verification(False, 0, 0, 0, many))
    text = to_markdown(report)
    assert len(text) <= LIMIT
    table = [line for line in to_markdown(reports.LOCATED).splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert widths == {5, 7, 9}
    assert "`Concat x | y`" in to_markdown(reports.LOCATED)
