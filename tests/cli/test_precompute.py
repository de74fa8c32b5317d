"""`mari-onnx precompute`: what it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import LIMITS, Engine, Run
from tests.report import reports


def test_what_is_asked_for(engine: Engine, run: Run, model: Path) -> None:
    engine.report = reports.PRECOMPUTED
    result = run("precompute", model, "--table", "items/*.parquet", "--out", "store", "--key", "item_id")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "✓ 2 M rows in 40 files, of which 38 were there, 512 MB: store"
    assert engine.calls == [
        {
            "table": ("items/*.parquet",), "out": Path("store"), "key": "item_id", "columns": None, "engine": "local",
            "workers": None, "threads": 1, "overwrite": False, "progress": None, **LIMITS,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [[], ["--table", "items"], ["--out", "store"], ["--table", "a", "--out", "b", "x"]])
def test_usage(engine: Engine, run: Run, model: Path, wrong: list[str]) -> None:
    assert run("precompute", model, *wrong).exit_code == 2
    assert engine.calls == []
