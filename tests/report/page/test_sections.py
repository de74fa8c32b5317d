"""The words of a page are those of the other forms: nothing that a report says is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest

from mari_onnx.report.model import Configuration, Report
from mari_onnx.report.page import sections
from mari_onnx.report.replay_words import problems
from mari_onnx.report.words import judged
from tests.report import reports


def text(fill: Callable[..., None], *given: object) -> str:
    root = Xml.Element("section")
    fill(root, *given)
    return " | ".join(root.itertext())


@pytest.mark.parametrize("name", reports.EVERY)
def test_the_verdict_comes_first(name: str) -> None:
    report = reports.EVERY[name]
    assert judged(report)[2] in text(sections.verdict, report)


def gained(report: Report) -> list[str]:
    return [number for number, _ in sections.gains(report)]


def test_the_gain_in_large() -> None:
    assert gained(reports.OPTIMIZED) == ["3.0 times less", "142 → 139", "the same", "4 of 4"]
    assert gained(reports.TIMED)[:2] == ["2.1 times less", "4% more"]
    assert gained(reports.UNCHANGED) == ["24.1 M"]
    assert gained(reports.BARE) == []
    assert gained(reports.WRONG)[-1] == "3 of 5"


def test_what_failed_is_said() -> None:
    assert reports.LOCATED.verification
    said = text(sections.verified, reports.LOCATED, reports.LOCATED.verification)
    assert "score at batch 7 (largest ids): not the same function" in said
    assert "tower/fc1, the first that differs: by 6.9e-04 in float64" in said
    assert "mari-onnx verify wide_deep.onnx" in said
    assert "Please report it" in text(sections.verdict, reports.LEFT_OUT)


def test_inputs_with_roles() -> None:
    said = text(sections.inputs, reports.OPTIMIZED)
    assert "user_id | int64 [batch] | request | tiled | matches 'user_*'" in said
    assert "item_id | float [? 4] | candidates | a row a candidate" in said
    assert "differs (request a|b" in text(sections.inputs, reports.SURVEYED)


def test_policies_notes_and_remarks() -> None:
    assert "✗ min-speedup 1.5" in text(sections.verdict, reports.SLOWER)
    assert reports.SLOWER.benchmark and reports.TIMED.benchmark
    assert "4 threads share 2 cores" in text(sections.measured, reports.TIMED.benchmark)
    assert "export with dynamic axes" in text(sections.remarks, reports.OPTIMIZED)


def test_recorded_requests() -> None:
    for report in (reports.REPLAYED, reports.BROKEN):
        assert report.replay
        said = text(sections.replayed, report.replay)
        assert all(part in said for sentence in problems(report.replay) for part in sentence.split("`"))
        assert "Latency" in said


def test_settings_as_they_are_given() -> None:
    options = {"user_inputs": ("user_*", "hour"), "guard": None, "verify": True, "request_key": ()}
    report = replace(reports.OPTIMIZED, configuration=Configuration(options, "mari-onnx.toml"))
    report = replace(report, versions={"onnx": "1.20.0", "onnxruntime": "1.28.0"}, seconds=3.14159)
    said = text(sections.settings, report)
    assert "Made by onnx 1.20.0, onnxruntime 1.28.0, 3.14 s." in said
    assert "from mari-onnx.toml" in said
    assert all(words in said for words in ("user_* hour", "guard | -", "verify | yes", "request_key | -"))
