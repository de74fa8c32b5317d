"""The table of engines: each ends all tasks, and one that is not installed says how it would be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic import engines
from mari_onnx.traffic.engines import local
from mari_onnx.traffic.engines.engine import Settings
from tests.traffic.squares import Squares


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_an_engine_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"is not installed\npip install 'mari-onnx\[{engine}\]'"):
        list(engines.run(engine, Squares(tmp_path), [1], Settings(1)))


def test_a_task_that_is_lost_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "run", lambda *_: iter([(1, 1)]))
    with pytest.raises(RuntimeError, match="ended 1 of 2 tasks"):
        list(engines.run("local", Squares(tmp_path), [1, 2], Settings(1)))
