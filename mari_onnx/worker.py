"""A child process in which models run, because a model may run for ever, take all memory, or crash what runs it.

    run(function, *arguments)    function(*arguments), called in the child

The child is stopped when the budget is over, and its death is an exception and not the end of this process. A function
is found by its name, and arguments, result and exceptions are pickled. The child waits for the next call, since
importing onnxruntime takes longer than most calls, and ends with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from mari_onnx import budget
from mari_onnx.errors import UserError

T = TypeVar("T")
Progress = Callable[[str, int, int], None]

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments. The working directory is sent before it, from which relative paths lead."""

STEP = 0.05
"""Seconds between two looks at the time and at the memory of the child."""

KILLED = -9
"""How a process ended that the system killed, which does so where memory runs out."""

LEFT = 1.0
"""Seconds that are waited for the end of what a child has written."""

_OWN_GROUP: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
"""A child and those that it starts are a group, which can be stopped together."""

KEPT = 1.0
"""Gigabytes up to which an idle child is kept for the next call."""


class StoppedError(Exception):
    """The child ended before it answered: it took too long or too much memory, or it crashed.

    The text says which, and what it was doing: `onnxruntime stopped (signal 11) while it ran the reference model`.
    `next_step` says what to do about it.
    """

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.next_step = next_step


def run(function: Callable[..., T], *arguments: Any, progress: Progress | None = None, alone: bool = False) -> T:
    """The result of a call in the child, within the current budget. `progress` is called with what `say` gets there.

    With `alone` the child is a new one, and no other call follows in it. Raises what the function raises, and
    StoppedError where the child ended before that.
    """
    worker = _Worker() if alone else _take()
    try:
        answer = worker.call(function, arguments, progress)
    except BaseException:  # also an interrupt: what the child does is not wanted any more
        worker.end()
        raise
    if not alone and worker.memory() < KEPT:
        _IDLE.append(worker)
    else:
        worker.end()
    if isinstance(answer, _Failure):
        raise answer.error
    result: T = answer
    return result


class _Failure:
    """An exception in the child."""

    def __init__(self, error: BaseException) -> None:
        if not isinstance(error, UserError):
            error.add_note("".join(traceback.format_exception(error)))  # a traceback is not pickled
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError("".join(traceback.format_exception(error)))
        self.error = error


class _Worker:
    """The child, as this process sees it. `doing` and `where` are what it said that it does, in words, and where."""

    def __init__(self) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from mari_onnx import worker; worker.serve()"
        command = [sys.executable, "-c", code]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, **pipes, **_OWN_GROUP)
        self.pid = os.getpid()
        self.messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.doing, self.where = "started", ""
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        """Put every message of the child into the queue, and at its end one that says so.

        What it does next is only kept. It says so before each run of a model, and who waits need not wake up for that.
        """
        assert self.process.stdout is not None
        with contextlib.suppress(Exception):  # the end of the file, or of a message in its middle
            while True:
                kind, content = pickle.load(self.process.stdout)
                if kind == "doing":
                    self.doing = content
                else:
                    self.messages.put((kind, content))
        self.messages.put(("ended", None))

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], progress: Progress | None) -> Any:
        """What the function returns, or a `_Failure`. Raises StoppedError where the child ends before that."""
        self.doing, self.where = "started", ""
        limits = budget.current()
        folder = str(Path.cwd())
        with contextlib.suppress(BrokenPipeError):  # the child has ended, which is seen below
            send(folder, self.process.stdin)
            send((function, arguments), self.process.stdin)
        while True:
            kind, content = self._message()
            match kind:
                case "answer":
                    return content
                case "say":
                    self.where = content[0]
                    if progress is not None:
                        progress(*content)
                case "ended":
                    raise self._died()
            if limits.left < 0:
                raise StoppedError(f"{limits.timeout:g} s were over while onnxruntime {self._doing}", budget.LONGER)
            if (taken := self.memory()) > limits.max_memory:
                raise StoppedError(
                    f"onnxruntime took more than {limits.max_memory:g} GB of memory ({taken:.1f} GB) while it "
                    f"{self._doing}",
                    budget.LARGER,
                )

    def _message(self) -> tuple[str, Any]:
        try:
            return self.messages.get(timeout=STEP)
        except queue.Empty:
            return "nothing", None

    @property
    def _doing(self) -> str:
        return f"{self.doing} ({self.where})" if self.where else self.doing

    def _died(self) -> StoppedError:
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it closed its output, but goes on
            self.process.kill()
            code = self.process.wait()
        if code == KILLED:
            return StoppedError(
                f"the system killed onnxruntime while it {self._doing}", "free some memory, which may have run out"
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return StoppedError(
            f"onnxruntime stopped ({how}) while it {self._doing}",
            "run the model in onnxruntime by itself, on such a call or in another version",
        )

    def memory(self) -> float:
        """Gigabytes of memory that the child has, without the files that it maps; 0 on a system that does not tell."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0.0
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1e6

    def end(self) -> None:
        """Stop the child, with the processes that a library has started in it.

        OpenVINO starts one that sends what it was used for. It has the pipe, which has no end while it lives.
        """
        if self.process.poll() is None:
            self.process.kill()
            if _OWN_GROUP:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # there may be the child alone
                    os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.listener.join(LEFT)
        streams = [self.process.stdin, *([] if self.listener.is_alive() else [self.process.stdout])]
        for stream in streams:
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


_IDLE: list[_Worker] = []
"""The children that wait for a call. A second thread that calls meanwhile gets another child."""


def _take() -> _Worker:
    while _IDLE:
        worker = _IDLE.pop()
        if worker.pid == os.getpid() and worker.process.poll() is None:
            return worker
    return _Worker()


@atexit.register
def _end_idle() -> None:
    while _IDLE:
        worker = _IDLE.pop()
        if worker.pid == os.getpid():
            worker.end()


# In the child

_OUT: IO[bytes] | None = None
"""Where the child writes; None in any other process."""

_SAID = ""
"""What the child has said last that it does in this call; a model may be run thousands of times in one."""


def send(message: Any, stream: IO[bytes] | None) -> None:
    """Write a message to the other process; nothing without a stream."""
    if stream is not None:
        pickle.dump(message, stream)
        stream.flush()


def say(what: str, done: int, total: int) -> None:
    """Tell the caller of `run` about the progress; nothing outside of the child."""
    send(("say", (what, done, total)), _OUT)


def doing(what: str) -> None:
    """Say what is done next, in case that it never ends: `ran the reference model`; nothing outside of the child."""
    global _SAID
    if what != _SAID:
        _SAID = what
        send(("doing", what), _OUT)


def serve() -> None:
    """Answer calls, one after the other, until the parent ends."""
    global _OUT, _SAID
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, which then ends this process
    _OUT = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(calls,), daemon=True).start()
    while True:
        function, arguments = calls.get()
        _SAID = ""
        try:
            answer = function(*arguments)
        except BaseException as error:
            answer = _Failure(error)
        send(("answer", answer), _OUT)
        del function, arguments, answer


def _read(calls: queue.SimpleQueue[Call]) -> None:
    """Read calls, and end this process with its parent, even while a model runs."""
    try:
        while True:
            os.chdir(pickle.load(sys.stdin.buffer))  # paths are relative to that of the parent, which may have changed
            calls.put(pickle.load(sys.stdin.buffer))
    except BaseException:
        if not isinstance(sys.exc_info()[1], EOFError):
            traceback.print_exc()
        os._exit(1)
