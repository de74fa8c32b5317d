"""`mari-onnx inputs`"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LIMITS, Engine, Run
from tests.report import reports


def test_inputs(engine: Engine, run: Run, model: Path) -> None:
    engine.report = reports.SURVEYED
    result = run("inputs", model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "If they were the user's" in result.stdout
    nothing = {
        "user_inputs": (),
        "batch": (500,),
        "requests": None,
        "request_id": None,
        "progress": None,
        "write_map": None,
    }
    assert engine.calls == [{**nothing, **LIMITS}]


def test_options(engine: Engine, run: Run, model: Path, tmp_path: Path) -> None:
    engine.report = reports.SURVEYED
    recorded = ("--requests", tmp_path / "rows.npz", "--request-id", "request")
    assert run("inputs", model, "-u", "u*", "--batch", 7, *recorded, "--report", tmp_path / "r.json").exit_code == 0
    (given,) = engine.calls
    assert (given["user_inputs"], given["batch"]) == (("u*",), (7,))
    assert (given["requests"], given["request_id"]) == (tmp_path / "rows.npz", "request")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["survey"]["left"] == 2


@pytest.mark.parametrize("form", reports.HERE)
def test_forms(engine: Engine, run: Run, model: Path, form: str) -> None:
    engine.report = reports.SURVEYED
    assert run("inputs", model, "--format", form).exit_code == 0


def test_a_report_does_not_replace_the_requests(engine: Engine, run: Run, model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("{}", encoding="utf-8")
    result = run("inputs", model, "--requests", rows, "--request-id", "request", "--report", rows)
    assert (result.exit_code, engine.calls) == (2, [])
    assert rows.read_text(encoding="utf-8") == "{}"
