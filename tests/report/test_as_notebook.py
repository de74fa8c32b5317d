"""What notebooks show of reports and results."""

from __future__ import annotations

from dataclasses import replace

import pytest

import mari_onnx
from mari_onnx.report import render
from mari_onnx.report.as_json import to_json
from mari_onnx.report.as_notebook import SHOWN, to_notebook
from mari_onnx.report.words import judged
from tests.graphs import integers, ranking
from tests.report import reports


@pytest.mark.parametrize("name", reports.EVERY)
def test_short_and_without_scripts(name: str) -> None:
    text = to_notebook(reports.EVERY[name])
    assert len(text) < 20_000
    assert "<script" not in text and "<style" not in text
    assert judged(reports.EVERY[name])[2].split("`")[0].replace("&", "&amp;") in text


def test_names_are_no_html() -> None:
    remark = replace(reports.REMARKS[0], tensor="<img src=x>", forms="<b>")
    text = to_notebook(replace(reports.OPTIMIZED, remarks=(remark,), written="<script>alert(1)</script>"))
    assert "<img" not in text and "<script" not in text and "<b>" not in text
    assert "&lt;img src=x&gt;" in text


def test_most_products_are_counted() -> None:
    many = tuple(replace(reports.REMARKS[0], tensor=f"fc{i}") for i in range(SHOWN + 3))
    assert f"{SHOWN}, and 3 more" in to_notebook(replace(reports.OPTIMIZED, remarks=many))


def test_forms_of_a_report_and_of_a_result() -> None:
    model = ranking("one", "x = Concat <axis = 1> (user, item) y = MatMul (x, w)", user="float[64]", w=integers(67, 32))
    made = mari_onnx.optimize(model)
    report = made.report
    assert made._repr_html_() == report._repr_html_() == to_notebook(report)
    assert report.to_text() == render(report, "text")
    assert report.to_markdown() == render(report, "markdown")
    assert report.to_json() == to_json(report)


def test_a_report_as_a_page() -> None:
    pytest.importorskip("bokeh")
    pytest.importorskip("igraph")
    assert reports.OPTIMIZED.to_html().startswith("<!DOCTYPE html>")
