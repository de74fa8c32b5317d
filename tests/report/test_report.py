"""Every view of every kind of report, as files that were looked at.

`python -m tests.report.test_report` writes them again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mari_onnx.report import render
from tests.report import reports

GOLDEN = Path(__file__).parent / "golden"


# Pages are looked at in a browser: test_as_html.py.
SUFFIX = {"text": "txt", "json": "json", "markdown": "md", "junit": "xml", "github": "github"}


SHOWN = (
    "optimized",
    "wrong",
    "left_out",
    "unchanged",
    "verified",
    "located",
    "bare",
    "timed",
    "slower",
    "surveyed",
    "replayed",
    "broken",
    "precomputed",
)


def path(name: str, view: str) -> Path:
    return GOLDEN / f"{name}.{SUFFIX[view]}"


@pytest.mark.parametrize("view", SUFFIX)
@pytest.mark.parametrize("name", SHOWN)
def test_views(name: str, view: str) -> None:
    assert render(reports.EVERY[name], view) == path(name, view).read_bytes().decode("utf-8")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in SHOWN:
        for view in SUFFIX:
            path(name, view).write_bytes(render(reports.EVERY[name], view).encode("utf-8"))
