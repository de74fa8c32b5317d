"""`mari-onnx replay`: what it asks for, and what is left when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import LIMITS, Engine, Run
from tests.report import reports

LOGS = ("--requests", "logs/*.parquet", "--request-id", "id")


@pytest.fixture
def fast(model: Path) -> Path:
    path = model.with_name("fast.onnx")
    path.write_bytes(model.read_bytes())
    return path


def test_what_is_asked_for(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.REPLAYED
    result = run("replay", model, fast, *LOGS)
    assert result.exit_code == 0
    assert "20,000 requests" in result.stdout or "19,996 requests" in result.stdout
    assert engine.calls == [
        {
            "user_inputs": (), "request_index": None, "request_key": (), "user_model": None, "item_model": None,
            "requests": ("logs/*.parquet",), "request_id": "id",
            "columns": None, "sort": False, "sample": 1.0, "engine": "local", "workers": None, "threads": 1,
            "rtol": None, "atol": None, "worst": Path("fast.worst.jsonl"), "journal": Path("fast.replay.jsonl"),
            "resume": False, "progress": None, **LIMITS,
        }
    ]  # fmt: skip


def test_a_broken_promise(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.BROKEN
    result = run("replay", model, fast, *LOGS, "-q")
    assert result.exit_code == 1
    assert result.stdout.startswith("✗ A promise is broken: ")


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--requests", "logs"],
        [*LOGS, "--engine", "spark"],
        [*LOGS, "--sample", "0"],
        [*LOGS, "--sample", "1.5"],
        [*LOGS, "--workers", "0"],
    ],
)
def test_usage(engine: Engine, run: Run, model: Path, fast: Path, wrong: list[str]) -> None:
    assert run("replay", model, fast, *wrong).exit_code == 2
    assert engine.calls == []


def test_where_nothing_can_be_written(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    result = run("replay", model, fast, *LOGS, "--worst", "nowhere/worst.jsonl")
    assert result.exit_code == 2
    assert "the folder nowhere does not exist" in result.stderr
    assert engine.calls == []
