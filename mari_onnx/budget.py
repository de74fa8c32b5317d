"""The time and the memory that a command may take, so that every run ends and says why.

A graph may run for ever (a Loop of very many trips) or ask for more memory than there is. The functions of `api` open a
budget; what may take long asks it at each step, and the child process that runs models is stopped by it (`worker`).
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypedDict

from mari_onnx.errors import UserError

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]

TIMEOUT, MAX_MEMORY = 300.0, 8.0
"""Seconds, and gigabytes of memory of one process, where nothing else is asked for."""


class Limits(TypedDict, total=False):
    """The arguments of `within` as keywords, for functions such as `mari_onnx.optimize`."""

    timeout: float
    max_memory: float


def _largest_memory() -> float:
    """The most memory that this process ever had, in gigabytes; 0 on a system that does not tell."""
    if resource is None:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


OFTEN = 0.02
"""Seconds between two looks at the memory of the process, each of which may take a millisecond where threads run."""


@dataclass
class Budget:
    """What a command may take: `timeout` seconds, and `max_memory` gigabytes in each of its processes.

    `start` and `memory` are the time and the memory of this process, in seconds and gigabytes, when it began, and
    `looked` is when its memory was last looked at. `begun` is when the command began, also where the time of its steps
    is counted anew.
    """

    timeout: float = TIMEOUT
    max_memory: float = MAX_MEMORY
    start: float = field(default_factory=time.monotonic)
    memory: float = field(default_factory=_largest_memory)
    looked: float = field(default=0.0, init=False)
    begun: float = field(default_factory=time.monotonic, init=False)

    @property
    def left(self) -> float:
        """The seconds that are left; less than 0 where they are over."""
        return self.start + self.timeout - time.monotonic()

    @property
    def spent(self) -> float:
        """The seconds since the command began, to the millisecond."""
        return round(time.monotonic() - self.begun, 3)

    def renew(self) -> None:
        """Count the seconds from now on: what ends some day has ended a step."""
        self.start = time.monotonic()

    def end(self) -> None:
        """Let the time be over, so that whatever runs within it is stopped."""
        self.timeout = -math.inf

    def check(self, doing: Callable[[], str]) -> None:
        """Raise UserError where this process took more; `doing` says in words what it was about to do."""
        if self.left < 0:
            raise UserError(f"{self.timeout:g} s were over before {doing()}", LONGER)
        if (now := time.monotonic()) - self.looked < OFTEN:
            return
        self.looked = now
        if _largest_memory() - self.memory > self.max_memory:
            raise UserError(f"more than {self.max_memory:g} GB of memory were taken before {doing()}", LARGER)


OBJECTS = 50_000
"""How many more objects there are before garbage is looked for; Python's own number is 700."""

LONGER = "--timeout SECONDS allows more time"
LARGER = "--max-memory GB allows more memory"

_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current() -> Budget:
    """The budget of the command that is running; a new one of the usual size outside of any."""
    return _CURRENT.get() or Budget()


@contextmanager
def within(timeout: float = TIMEOUT, max_memory: float = MAX_MEMORY) -> Iterator[None]:
    """Give what is done inside a budget of seconds and gigabytes. Raises UserError for one that is not positive.

    Garbage is collected less often inside: what a walk over a graph makes lives until its end, and looking through it
    for garbage took 6 % of the time.
    """
    for name, value in {"timeout": timeout, "max_memory": max_memory}.items():
        if not value > 0:
            raise UserError(f"{name} is {value:g}, and nothing can be done in that", "Give a number larger than 0.")
    token, before = _CURRENT.set(Budget(timeout, max_memory)), gc.get_threshold()
    gc.set_threshold(max(before[0], OBJECTS) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        _CURRENT.reset(token)
