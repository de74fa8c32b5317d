"""The engine on Ray: what it finds is what the local one finds, also where processes die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic import engines
from mari_onnx.traffic.engines import ray as engine
from mari_onnx.traffic.engines.engine import Settings, Stopped
from tests.traffic.logs import days
from tests.traffic.squares import Squares, lives
from tests.traffic.test_replay import LOGS, replayed, timeless

ray = pytest.importorskip("ray")


@pytest.fixture(autouse=True, scope="module")
def _started() -> Iterator[None]:
    """Ray is started once: it takes seconds."""
    engine._start(ray, Settings(2))
    yield
    ray.shutdown()


def test_tasks_are_done_once_wherever_processes_die(tmp_path: Path) -> None:
    lives(tmp_path, 3, 1)
    lives(tmp_path, 5, 9)
    found = list(engines.run("ray", Squares(tmp_path, (3, 5)), list(range(9)), Settings(2)))
    assert sorted(number for number, _ in found) == list(range(9))
    results = dict(found)
    stopped = results.pop(5)
    assert isinstance(stopped, Stopped)
    assert "died on Ray" in stopped.reason
    assert results == {i: i**2 for i in range(9) if i != 5}


def test_a_replay_finds_the_same(models: tuple[Path, Path], tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    assert timeless(replayed(models, engine="ray", workers=2)) == timeless(replayed(models))


def test_an_error_of_the_users_arrives_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^3 is no number$"):
        list(engines.run("ray", Squares(tmp_path, wrong=(3,)), list(range(9)), Settings(2)))
