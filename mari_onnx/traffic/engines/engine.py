"""What engines and jobs have to do with each other (see `engines`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

ATTEMPTS = 2
"""How often a task is tried whose process dies."""


class Job(Protocol):
    """What all tasks share."""

    def opened(self) -> Callable[[Any], Any]:
        """The function that does a task. Raises UserError where a model cannot be loaded."""


@dataclass(frozen=True)
class Stopped:
    """Why a task has no result: its process died, or took too long."""

    reason: str
    next_step: str


@dataclass(frozen=True)
class Settings:
    """How many processes there are."""

    workers: int
