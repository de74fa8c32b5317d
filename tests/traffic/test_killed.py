"""A replay whose processes are killed: what is found is what an undisturbed one finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import mari_onnx
from mari_onnx.report.model import Report
from tests.traffic.logs import days, rows

JOURNAL, WORST = Path("journal"), Path("worst.jsonl")

WORKER = {"local": "worker.serve", "dask": "spawn_main", "ray": "ray::_Worker"}
"""What stands in the command line of a process of each engine that does tasks."""

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="children are found in /proc")


def started(models: tuple[Path, Path], engine: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([
        sys.executable, "-m", "mari_onnx", "replay", *map(str, models), "-u", "user_*", "--requests", "logs",
        "--request-id", "request", "--journal", str(JOURNAL), "--worst", str(WORST), "--no-config", "-q",
        "--engine", engine,
    ])  # fmt: skip


def replayed(models: tuple[Path, Path], engine: str, *, resume: bool) -> Report:
    return mari_onnx.replay(
        *models, requests="logs", request_id="request", user_inputs="user_*", worst=WORST, journal=JOURNAL,
        resume=resume, engine=engine, workers=1,
    )  # fmt: skip


def when_done(process: subprocess.Popen[bytes], tasks: int) -> None:
    """Wait until so many tasks are in the journal."""
    until = time.monotonic() + 120
    while not JOURNAL.exists() or JOURNAL.read_bytes().count(b"\n") <= tasks:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that these have."""
    with suppress(OSError):  # it has ended meanwhile
        lists = [(task / "children").read_text(encoding="ascii") for task in Path(f"/proc/{pid}/task").iterdir()]
        for child in [int(child) for each in lists for child in each.split()]:
            yield child
            yield from descendants(child)


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    return ""


def killed(process: subprocess.Popen[bytes]) -> None:
    """Kill the driver. What it has started ends by itself, or is ended for the tests that follow."""
    left = {child: command(child) for child in descendants(process.pid)}
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while left and time.monotonic() < until:
        left = {child: words for child, words in left.items() if words and command(child) == words}
        time.sleep(0.05)
    for child in left:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("engine", WORKER)
def test_a_worker_and_the_driver_are_killed(models: tuple[Path, Path], tmp_path: Path, engine: str) -> None:
    if engine != "local":
        pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    days(tmp_path / "logs", rows(200))
    process = started(models, engine)
    when_done(process, 2)
    os.kill(next(pid for pid in descendants(process.pid) if WORKER[engine] in command(pid)), signal.SIGKILL)
    when_done(process, 9)
    killed(process)
    lines = JOURNAL.read_bytes().count(b"\n")
    report = replayed(models, engine, resume=True)
    assert report.replay is not None and 10 <= lines < report.replay.groups
    undisturbed = replayed(models, "local", resume=False)
    assert undisturbed.replay is not None
    assert replace(report.replay, latency=()) == replace(undisturbed.replay, latency=())
    assert report.verification == undisturbed.verification
    assert report.passed
