"""`mari-onnx inspect`: for people, or for programs."""

from __future__ import annotations

import json
from pathlib import Path

from mari_onnx.report.as_json import to_json
from tests.cli.conftest import AS_EXPORTED, Engine, Run
from tests.report import reports


def test_text(engine: Engine, run: Run, model: Path) -> None:
    engine.report = reports.INSPECTED
    result = run("inspect", model, "-u", "user_*", "--batch", 50)
    assert result.exit_code == 0
    assert "To be gained: 3.0 times less arithmetic" in result.stdout
    assert engine.calls == [{"user_inputs": ("user_*",), "batch": (50,), **AS_EXPORTED}]


def test_json_is_all_that_is_printed(engine: Engine, run: Run, model: Path) -> None:
    engine.report = reports.INSPECTED
    result = run("inspect", model, "--format", "json")
    assert result.exit_code == 0
    assert result.stdout == to_json(reports.INSPECTED)
    assert json.loads(result.stdout)["command"] == "inspect"


def test_several_reports(engine: Engine, run: Run, model: Path, tmp_path: Path) -> None:
    engine.report = reports.INSPECTED
    written = [tmp_path / name for name in ("a.json", "a.md", "a.xml")]
    result = run("inspect", model, "--format", "github", *(f"--report={file}" for file in written))
    assert result.exit_code == 0
    assert result.stdout.startswith("::notice")
    assert written[0].read_text() == to_json(reports.INSPECTED)
    assert all(file.read_text() for file in written)
    assert run("inspect", model, "--report", model).exit_code == 2
