"""Two reports in JSON are compared: what is another in the second, and what of it is for the worse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mari_onnx.errors import UserError
from mari_onnx.report.as_json import to_json
from mari_onnx.report.benchmark import Policy
from mari_onnx.report.changes import Changed, changes, read_report
from mari_onnx.report.model import Report
from mari_onnx.report.note import Note
from tests.report import reports

BASE = replace(reports.OPTIMIZED, policies=(Policy("require-gain", None, True, "x"),))


def compared(before: Report, after: Report) -> list[Changed]:
    return changes(json.loads(to_json(before)), json.loads(to_json(after)))


@pytest.mark.parametrize("name", ["optimized", "verified", "timed", "surveyed", "bare", "unchanged", "replayed"])
def test_the_same_report_has_no_changes(name: str) -> None:
    assert compared(reports.EVERY[name], reports.EVERY[name]) == []


def test_gain_and_costs() -> None:
    assert BASE.cost_after is not None
    less = replace(BASE, cost_after=replace(BASE.cost_after, macs=2 * BASE.cost_after.macs))
    assert compared(BASE, less) == [
        Changed("gain", "times less arithmetic", "3.01", "1.51", True),
        Changed("gain", "multiply-adds after", "8 M", "16 M"),
    ]
    assert [each.worse for each in compared(less, BASE)] == [False, False]
    nothing = replace(BASE, changed=False, cost_after=None, optimized=None)
    assert compared(BASE, nothing)[0] == Changed("gain", "times less arithmetic", "3.01", "1", True)


def test_inputs_and_roles() -> None:
    lost = replace(BASE, request_inputs=BASE.request_inputs[1:])
    assert compared(BASE, lost) == [Changed("roles", "input user_id", "tiled", "", True)]
    gone = replace(lost, model=replace(BASE.model, inputs=BASE.model.inputs[1:], nodes=150))
    assert compared(BASE, gone) == [
        Changed("model", "nodes", "142", "150"),
        Changed("model", "input user_id", "int64 [batch]", ""),
        Changed("roles", "input user_id", "tiled", ""),
    ]


def test_verdict_notes_and_policies() -> None:
    assert BASE.verification is not None
    worse = replace(
        BASE,
        verification=replace(BASE.verification, passed=False, notes=(Note("case-skipped", "x"),)),
        policies=(Policy("require-gain", None, False, "x"),),
    )
    assert compared(replace(BASE, verification=replace(BASE.verification, notes=())), worse) == [
        Changed("verdict", "verification", "passed", "failed", True),
        Changed("verdict", "policy require-gain", "met", "not met", True),
        Changed("verdict", "note case-skipped", "", "noted", True),
    ]


def test_remarks() -> None:
    refused = next(r for r in BASE.remarks if r.status == "refused")
    before = replace(BASE, remarks=tuple(r for r in BASE.remarks if r is not refused))
    assert compared(before, BASE) == [Changed("remarks", refused.tensor, "", refused.reason, True)]
    assert compared(BASE, before) == [Changed("remarks", refused.tensor, refused.reason, "")]


def test_measured_times() -> None:
    timed = reports.EVERY["timed"]
    assert timed.benchmark is not None
    first = timed.benchmark.timings[0]
    slower = replace(first, speedup=first.speedup / 2, low=first.low / 2, high=first.low / 2 + 1e-6)
    other = replace(timed, benchmark=replace(timed.benchmark, timings=(slower, *timed.benchmark.timings[1:])))
    (found,) = compared(timed, other)
    assert found.what == f"speed-up at {first.batch} candidates on {first.threads} threads"
    assert found.worse
    assert not compared(other, timed)[0].worse


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no report of mari-onnx"),
        ('{"schema_version": 1}', "is of schema_version 1"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_report(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_report(tmp_path / "nowhere.json")


def test_two_commands() -> None:
    fields: list[Any] = [json.loads(to_json(reports.EVERY[name])) for name in ("optimized", "timed")]
    with pytest.raises(UserError, match="one report is of optimize and the other of bench"):
        changes(*fields)
