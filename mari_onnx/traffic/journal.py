"""The journal of a run: which tasks have ended, and with what.

Each line is a JSON object: the first says what run it is of, under the key `journal`, by which a journal is told from
other files. The others are tasks with their results, in the order in which they ended. A line is written when its task
has ended, and flushed to the disk. A process that is killed while it writes leaves a line without an end, which is cut
off; that task is done again. So each task counts exactly once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mari_onnx.errors import UserError

MARK = b'{"journal": '
"""The beginning of each journal."""


class Journal:
    """A journal that is open for writing; `done` are the results of tasks that have ended, by number.

    `stays` says that it is not removed in the end, because tasks are left to be done again.
    """

    def __init__(self, file: IO[bytes], done: dict[int, Any]) -> None:
        self._file = file
        self.done = done
        self.stays = False

    def add(self, number: int, result: Any) -> None:
        """Write the result of a task, which is something that JSON has."""
        _write(self._file, {"task": number, "result": result})
        self.done[number] = result


@contextmanager
def journal(path: Path, run: Mapping[str, Any], *, resume: bool) -> Iterator[Journal]:
    """The journal of a run. With `resume` the tasks count that it has already.

    It stays where anything is raised inside, and is removed at the end. Raises UserError where it cannot be written,
    for a file that is something else, where it is of another run, with `resume`, and where tasks of an interrupted run
    are in it, without.
    """
    found, done, end = _read(path)
    if resume and found is not None and found != run:
        other = [name for name in {**run, **found} if run.get(name) != found.get(name)]
        raise UserError(
            f"{path} is of another run: {', '.join(sorted(other))} differ{'s' * (len(other) == 1)}",
            "Run it as before to go on with it, or without --resume to begin anew.",
        )
    if not resume and done:
        of_this = found == run
        raise UserError(
            f"{path} is of {'a run of the same kind' if of_this else 'another run'} that was interrupted after "
            f"{len(done)} tasks",
            f"{'Go on with it: --resume' if of_this else 'Name another with --journal'}; or remove the file.",
        )
    going_on = resume and found is not None
    try:
        file = path.open("r+b" if going_on else "wb")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", "Name another with --journal.") from error
    with file:
        if going_on:
            file.truncate(end)
            file.seek(end)
        else:
            _write(file, {"journal": run})
        opened = Journal(file, done if going_on else {})
        yield opened
    if not opened.stays:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any] | None, dict[int, Any], int]:
    """The run, the results, and where the last whole line ends; (None, {}, 0) where there is no journal.

    Raises UserError for a file that is none, which would be overwritten and removed.
    """
    if not path.is_file():
        return None, {}, 0
    whole, run, done, end = path.read_bytes(), None, dict[int, Any](), 0
    if whole[: len(MARK)] != MARK[: len(whole)]:
        raise UserError(f"{path} is there, and is no journal of a replay", "Name another with --journal.")
    for line in whole.splitlines(keepends=True):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            break
        if run is None:
            run = entry["journal"]
        else:
            done.setdefault(entry["task"], entry["result"])
        end += len(line)
    return run, done, end


def _write(file: IO[bytes], entry: Mapping[str, Any]) -> None:
    file.write(json.dumps(entry).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
