"""Calls in the child: what comes back, and what is said where nothing does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from mari_onnx import worker
from mari_onnx.budget import within
from mari_onnx.errors import UserError


def process() -> int:
    return os.getpid()


def refuse(message: str) -> NoReturn:
    raise UserError(message, "Ask for something else.")


def fail() -> NoReturn:
    raise KeyError("nothing of that name")


def count(steps: int) -> int:
    for i in range(steps):
        worker.say("counting", i, steps)
    sys.stdout.write("not a message\n")
    return steps


def die(number: int) -> None:
    worker.say("batch 7", 1, 2)
    worker.doing("ran the reference model")
    os.kill(os.getpid(), number)


def say_often(times: int) -> None:
    for _ in range(times):
        worker.doing("ran the reference model")


def leave() -> None:
    os._exit(7)


def hang() -> None:
    worker.doing("ran the reference model")
    while True:
        time.sleep(1)


def fill(gigabytes: float) -> int:
    worker.doing("ran the optimized model")
    filled = [np.ones(2**20) for _ in range(int(gigabytes * 128))]
    time.sleep(60)
    return len(filled)


def test_a_call_runs_in_another_process_which_is_kept() -> None:
    first = worker.run(process)
    assert first != os.getpid()
    assert worker.run(process) == first


def test_the_child_is_where_its_parent_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths may be relative, and the working directory may change between two calls."""
    assert worker.run(os.getcwd) == str(Path.cwd())
    monkeypatch.chdir(tmp_path)
    assert worker.run(os.getcwd) == str(tmp_path)


def test_exceptions_come_back() -> None:
    with pytest.raises(UserError) as refused:
        worker.run(refuse, "not so")
    assert (refused.value.message, refused.value.next_step) == ("not so", "Ask for something else.")
    with pytest.raises(KeyError) as failed:
        worker.run(fail)
    assert "in fail\n" in failed.value.__notes__[0]


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    assert worker.run(count, 3, progress=lambda *step: told.append(step)) == 3
    assert told == [("counting", i, 3) for i in range(3)]
    worker.say("nobody listens", 1, 1)
    worker.doing("nothing")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "onnxruntime stopped (signal 11) while it ran the reference model (batch 7)"),
        (signal.SIGKILL, "the system killed onnxruntime while it ran the reference model (batch 7)"),
    ],
)
def test_a_crash_is_an_exception(number: int, words: str) -> None:
    with pytest.raises(worker.StoppedError) as stopped:
        worker.run(die, number)
    assert str(stopped.value) == words
    assert worker.run(count, 1) == 1


def test_each_call_says_what_it_does_even_if_the_one_before_did_the_same() -> None:
    """What is said twice in a call is sent once, and forgotten with the call."""
    worker.run(say_often, 3)
    with pytest.raises(worker.StoppedError) as stopped:
        worker.run(die, signal.SIGSEGV)
    assert "ran the reference model" in str(stopped.value)


def test_an_exit_is_one_too() -> None:
    with pytest.raises(worker.StoppedError, match=r"onnxruntime stopped \(exit code 7\) while it started"):
        worker.run(leave)


def test_what_does_not_end_is_ended() -> None:
    before, begun = worker.run(process), time.monotonic()
    with within(timeout=0.5), pytest.raises(worker.StoppedError) as stopped:
        worker.run(hang)
    assert time.monotonic() - begun < 30
    assert str(stopped.value) == "0.5 s were over while onnxruntime ran the reference model"
    assert stopped.value.next_step == "--timeout SECONDS allows more time"
    assert _is_gone(before)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process has")
def test_what_takes_too_much_memory_is_ended() -> None:
    with within(max_memory=0.2), pytest.raises(worker.StoppedError) as stopped:
        worker.run(fill, 0.4)
    assert str(stopped.value).startswith("onnxruntime took more than 0.2 GB of memory (")
    assert str(stopped.value).endswith("while it ran the optimized model")
    assert stopped.value.next_step == "--max-memory GB allows more memory"


def test_an_interrupt_ends_the_child() -> None:
    child = worker.run(process)

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(count, 1, progress=interrupt)
    assert _is_gone(child)


@pytest.mark.parametrize("killed", [False, True])
def test_the_child_ends_with_its_parent(killed: bool) -> None:
    """Whether the parent ends or is killed, and although the child is at work then."""
    code = f"""
import os, threading
from mari_onnx import worker
from tests import test_worker
print(worker.run(test_worker.process), flush=True)
if {killed}:
    threading.Timer(0.5, os._exit, [0]).start()
    worker.run(test_worker.hang)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    child = int(ended.stdout)
    deadline = time.monotonic() + 30
    while not _is_gone(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _is_gone(child)


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").exists() and " Z " in Path(f"/proc/{process}/stat").read_text()


def test_a_child_of_ones_own() -> None:
    kept = worker.run(os.getpid)
    alone = worker.run(os.getpid, alone=True)
    assert alone not in (kept, worker.run(os.getpid, alone=True))
    assert worker.run(os.getpid) == kept
    with pytest.raises(ProcessLookupError):
        os.kill(alone, 0)


def forks() -> int:
    """Leave a process that has the pipe of this one, as OpenVINO does."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return child


def test_a_process_that_a_library_leaves_behind_holds_nobody() -> None:
    start = time.monotonic()
    left = worker.run(forks, alone=True)
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        wait_for_the_end_of(left)


def forks_and_dies() -> None:
    """The same, with the pipe left to the other process."""
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    os._exit(7)


def test_a_child_that_dies_and_leaves_a_process_behind() -> None:
    with pytest.raises(worker.StoppedError, match=r"exit code 7|were over"), within(timeout=2):
        worker.run(forks_and_dies, alone=True)


def wait_for_the_end_of(pid: int) -> None:
    """Raise ProcessLookupError when the process has ended."""
    for _ in range(100):
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split(") ")[-1][0] == "Z":
            raise ProcessLookupError
        time.sleep(0.05)
