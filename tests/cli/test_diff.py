"""`mari-onnx diff`: what is printed, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mari_onnx.report.as_json import to_json
from tests.cli.conftest import Run
from tests.report import reports


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    before.write_text(to_json(reports.OPTIMIZED))
    lost = replace(reports.OPTIMIZED, request_inputs=reports.OPTIMIZED.request_inputs[1:])
    after.write_text(to_json(lost))
    return before, after


def test_for_the_worse(run: Run, files: tuple[Path, Path]) -> None:
    result = run("diff", *files)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "✗  roles  input user_id  tiled", "1 of 1 changes are for the worse",
    ]  # fmt: skip
    result = run("diff", *reversed(files))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 changes, none for the worse"


def test_forms(run: Run, files: tuple[Path, Path]) -> None:
    (found,) = json.loads(run("diff", *files, "--format", "json").stdout)
    assert found == {"about": "roles", "what": "input user_id", "before": "tiled", "after": "", "worse": True}
    assert "| ✗ | roles | input user_id | tiled |  |" in run("diff", *files, "--format", "markdown").stdout


def test_what_is_no_report(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("diff", files[0], tmp_path / "nowhere.json")
    assert result.exit_code == 2
    assert "nowhere.json cannot be read" in result.stderr
