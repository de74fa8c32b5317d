"""A job of any engine: its processes die over some of its tasks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mari_onnx.errors import UserError


@dataclass(frozen=True)
class Squares:
    """Squares numbers. The process dies over those in `deadly`, as often as there are files left in the folder."""

    folder: Path
    deadly: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()

    def opened(self) -> Callable[[int], int]:
        return self.square

    def square(self, number: int) -> int:
        if number in self.wrong:
            raise UserError(f"{number} is no number")
        lives = sorted(self.folder.glob(f"{number}.*"))
        if number in self.deadly and lives:
            lives[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2


def lives(folder: Path, number: int, n: int) -> None:
    for i in range(n):
        (folder / f"{number}.{i}").touch()
