"""The engine of this machine: every task is done once, also where processes die."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mari_onnx.budget import within
from mari_onnx.errors import UserError
from mari_onnx.traffic.engines import local
from mari_onnx.traffic.engines.engine import Settings, Stopped
from tests.traffic.squares import Squares, lives


def run(job: Squares, numbers: list[int], workers: int = 2) -> dict[int, Any]:
    found = list(local.run(job, numbers, Settings(workers)))
    assert sorted(number for number, _ in found) == numbers
    return dict(found)


def test_every_task_is_done_once(tmp_path: Path) -> None:
    assert run(Squares(tmp_path), list(range(20))) == {i: i**2 for i in range(20)}


def test_a_process_that_dies_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lives(tmp_path, 3, 1)
    assert run(Squares(tmp_path, (3,)), list(range(8))) == {i: i**2 for i in range(8)}


def test_a_task_over_which_processes_die_is_told(tmp_path: Path) -> None:
    lives(tmp_path, 3, 9)
    found = run(Squares(tmp_path, (3,)), list(range(8)))
    stopped = found.pop(3)
    assert isinstance(stopped, Stopped)
    assert "the system killed" in stopped.reason
    assert found == {i: i**2 for i in range(8) if i != 3}


def test_what_a_task_raises_ends_the_run(tmp_path: Path) -> None:
    with within(), pytest.raises(UserError, match="3 is no number"):
        list(local.run(Squares(tmp_path, wrong=(3,)), list(range(100)), Settings(2)))
