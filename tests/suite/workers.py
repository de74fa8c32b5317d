"""Work in child processes that may hang, run out of memory or die: each piece of it ends all the same.

A child says that it is ready, reads a job, a line of JSON, and answers with lines of JSON: the phases that begin, then
the result.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import Timer
from typing import Any, TextIO

START = 600.0
"""How many seconds a child may take until it is ready; it imports the libraries and reads all models."""

MEMORY = 12 << 30
"""The address space of a child in bytes; onnxruntime reserves more than it uses."""


Say = Callable[[str], None]
"""Called with the name of a phase that begins."""


class EndedError(Exception):
    """The child died in this phase, or was ended because the job took too long."""

    def __init__(self, phase: str, *, too_slow: bool) -> None:
        super().__init__(f"took too long ({phase})" if too_slow else f"died ({phase})")
        self.phase, self.too_slow = phase, too_slow


class _Child:
    """A child process that does one job after another; it is started for the first, and again after it ended."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[str] | None = None

    def do(self, job: Any, seconds: float) -> Any:
        """The result of a job. Raises EndedError."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self._answer("ready", START)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        return self._answer("result", seconds)

    def _answer(self, wanted: str, seconds: float) -> Any:
        """The answer with this key. Raises EndedError if the child ends before, or takes longer and is ended."""
        assert self.process is not None
        assert self.process.stdout is not None
        phase = "start"
        timer = Timer(seconds, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            answer = json.loads(line)
            if wanted in answer:
                timer.cancel()
                return answer[wanted]
            phase = answer["phase"]
        too_slow = timer.finished.is_set()
        timer.cancel()
        self.end()
        raise EndedError(phase, too_slow=too_slow)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def run(command: Sequence[str], jobs: Sequence[Any], workers: int, seconds: float) -> Iterator[Any | EndedError]:
    """The result of each job, or how it ended without one, in order. `command` starts a child."""
    children = [_Child(command) for _ in range(workers)]
    idle: SimpleQueue[_Child] = SimpleQueue()
    for child in children:
        idle.put(child)

    def done(job: Any) -> Any | EndedError:
        child = idle.get()
        try:
            return child.do(job, seconds)
        except EndedError as ended:
            return ended
        finally:
            idle.put(child)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(done, jobs)
    finally:
        pool.shutdown(cancel_futures=True)
        for child in children:
            child.end()


def serve(do: Callable[[Any, Say], Any]) -> None:
    """Do jobs in this process until there are no more. `do` says which phase begins, and returns the result."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    _answer(answers, ready=True)
    for line in sys.stdin:
        result = do(json.loads(line), lambda phase: _answer(answers, phase=phase))
        _answer(answers, result=result)


def _answer(answers: TextIO, **content: Any) -> None:
    answers.write(json.dumps(content) + "\n")
