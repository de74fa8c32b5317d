"""Charts: which there are, and that they have the numbers of the report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mari_onnx.report.histogram import Bin
from tests.report import reports

pytest.importorskip("bokeh")

from mari_onnx.report.page.charts import LONGEST, charts, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [("optimized", {"products"}), ("timed", {"products", "latency", "speedup"}), ("bare", set()),
     ("slower", {"latency", "speedup"})],
)  # fmt: skip
def test_a_chart_for_what_is_known(name: str, expected: set[str]) -> None:
    assert set(charts(reports.EVERY[name])) >= expected
    assert name != "bare" or not charts(reports.BARE)


def test_products_have_their_numbers() -> None:
    text = json.dumps(charts(reports.OPTIMIZED)["products"], ensure_ascii=False)
    assert "12.3 M → 4.1 M  Gemm tower/fc1" in text
    for remark in reports.REMARKS[:4]:
        assert str(remark.macs_before) in text and str(remark.macs_after) in text
    assert "secret/out" not in text  # it has no multiply-adds


def test_times_have_their_intervals() -> None:
    found = charts(reports.TIMED)
    assert all(str(number) in json.dumps(found["speedup"]) for number in (0.951, 0.97, 2.01, 2.093))
    assert all(str(number) in json.dumps(found["latency"]) for number in (75.3, 84.2, 7_120.0, 8_100.0))
    assert "after, 2 threads, 4 at once" in json.dumps(found["latency"])


def test_long_names_end_as_they_do() -> None:
    assert shown("short") == "short"
    assert shown(reports.LONG) == f"…{reports.LONG[1 - LONGEST :]}"
    assert len(shown(reports.LONG)) == LONGEST


def test_histograms_of_what_was_compared() -> None:
    found = charts(reports.VERIFIED)
    assert {"differences-0", "moves-0"} <= set(found) and "differences-1" not in found
    assert all(f"{number}" in json.dumps(found["differences-0"]) for number in ('"0"', '"7.5e-09"', "40"))
    assert all(f"{number}" in json.dumps(found["moves-0"]) for number in ('"1"', '"2"', "61"))


def test_nothing_differs() -> None:
    equal = replace(reports.RANKINGS[1], differences=(Bin(0.0, 0.0, 64),), moves=(Bin(0.0, 0.0, 64),))
    assert reports.VERIFIED.verification
    verification = replace(reports.VERIFIED.verification, rankings=(equal,))
    assert "differences-0" in charts(replace(reports.VERIFIED, verification=verification))
