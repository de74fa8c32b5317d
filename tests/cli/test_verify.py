"""`mari-onnx verify`: the exit code is the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Engine, Run
from tests.report import reports


@pytest.fixture
def fast(model: Path) -> Path:
    path = model.with_name("fast.onnx")
    path.write_bytes(model.read_bytes())
    return path


def test_the_same(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.SAME
    result = run("verify", model, fast)
    assert result.exit_code == 0
    assert "✓ The same predictions" in result.stdout
    assert engine.calls == [
        {
            "user_inputs": (),
            "batches": None,
            "seed": 0,
            "rtol": None,
            "atol": None,
            "effort": "standard",
            "progress": None,
        }
    ]


def test_different(engine: Engine, run: Run, model: Path, fast: Path, tmp_path: Path) -> None:
    engine.report = reports.DIFFERENT
    report = tmp_path / "report.json"
    result = run("verify", model, fast, "-q", "--report", report)
    assert result.exit_code == 1
    assert result.stdout.startswith("✗ The predictions differ")
    assert json.loads(report.read_text(encoding="utf-8"))["command"] == "verify"


def test_options(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.SAME
    numbers = ("--batch", 3, "--batch", 1000, "--seed", 7, "--rtol", "1e-5", "--atol", 0, "--effort", "quick")
    assert run("verify", model, fast, "-u", "u*", *numbers).exit_code == 0
    assert engine.calls == [
        {
            "user_inputs": ("u*",),
            "batches": (3, 1000),
            "seed": 7,
            "rtol": 1e-5,
            "atol": 0.0,
            "effort": "quick",
            "progress": None,
        }
    ]


@pytest.mark.parametrize("name", ["in.onnx", "fast.onnx"])
def test_report_is_no_model(engine: Engine, run: Run, model: Path, fast: Path, name: str) -> None:
    result = run("verify", model, fast, "--report", model.parent / name)
    assert (result.exit_code, engine.calls) == (2, [])
    assert "is both a model and the report" in result.stderr
