"""A replay whose processes are killed: what is found is what an undisturbed one finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import mari_onnx
from mari_onnx.report.model import Report
from tests.traffic.logs import days, rows

JOURNAL, WORST = Path("journal"), Path("worst.jsonl")

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="children are found in /proc")


def started(models: tuple[Path, Path]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([
        sys.executable, "-m", "mari_onnx", "replay", *map(str, models), "-u", "user_*", "--requests", "logs",
        "--request-id", "request", "--journal", str(JOURNAL), "--worst", str(WORST), "--no-config", "-q",
    ])  # fmt: skip


def replayed(models: tuple[Path, Path], *, resume: bool) -> Report:
    return mari_onnx.replay(
        *models, requests="logs", request_id="request", user_inputs="user_*", worst=WORST, journal=JOURNAL,
        resume=resume, workers=1,
    )  # fmt: skip


def when_done(process: subprocess.Popen[bytes], tasks: int) -> None:
    """Wait until so many tasks are in the journal."""
    until = time.monotonic() + 60
    while not JOURNAL.exists() or JOURNAL.read_bytes().count(b"\n") <= tasks:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    lists = [(task / "children").read_text(encoding="ascii") for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for each in lists for child in each.split()]


def test_a_worker_and_the_driver_are_killed(models: tuple[Path, Path], tmp_path: Path) -> None:
    days(tmp_path / "logs", rows(200))
    process = started(models)
    when_done(process, 2)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    when_done(process, 9)
    process.kill()
    process.wait()
    lines = JOURNAL.read_bytes().count(b"\n")
    report = replayed(models, resume=True)
    assert report.replay is not None and 10 <= lines < report.replay.groups
    undisturbed = replayed(models, resume=False)
    assert undisturbed.replay is not None
    assert replace(report.replay, latency=()) == replace(undisturbed.replay, latency=())
    assert report.verification == undisturbed.verification
    assert report.passed
