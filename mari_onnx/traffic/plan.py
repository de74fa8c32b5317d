"""The tasks of a replay: one for each row group in which a request begins.

A request is the rows with the same id that follow each other, also over the end of a row group or of a file. It belongs
to the task in whose row group it begins: that task leaves out the rows that an earlier one has begun, and reads on
where its own last request goes on. So each request is in exactly one task, and a task needs no other.

    row group 0   a a b b        task 0   a a b b b
    row group 1   b c c d        task 1           c c d
    row group 2   d d            (nothing begins here, and task 1 has d d)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mari_onnx.errors import UserError
from mari_onnx.traffic.arrow import compute, pa, types
from mari_onnx.traffic.cells import Array, is_text
from mari_onnx.traffic.files import Batch, File, Piece, Place, batches, column_missing

IDS = 1 << 18
"""The ids of a batch, which are read without any other column."""


@dataclass(frozen=True)
class Task:
    """The requests that begin in one row group; the first of `pieces` is in it, the others go on with its last."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """The rows that are read."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    def __str__(self) -> str:
        return str(self.pieces[0].place)


@dataclass(frozen=True)
class Plan:
    """All tasks, and how many requests and rows they have together."""

    tasks: tuple[Task, ...]
    requests: int
    rows: int


def check_ids(files: Sequence[File], column: str) -> None:
    """Raise UserError unless every file has the column, and it holds ids."""
    for file in files:
        if column not in file.types:
            raise column_missing(file.path, column, list(file.types), "", "--request-id names the column of ids.")
        kind = file.types[column]
        inner = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_integer(inner) or is_text(inner)):
            raise UserError(
                f"column `{column}` of {file.path} holds {kind}, which are no ids of requests",
                "Write the ids as integers or strings.",
            )


def plan(files: Sequence[File], column: str) -> Plan:
    """The tasks for these files. Only the column of ids is read.

    Raises UserError for an id that is missing, and where rows of a request are not together. Ids that rise from row to
    row show that by themselves; of others, eight bytes of each request are kept to see it.
    """
    found = _planned(files, column, seen=None)
    return found or _planned(files, column, seen=[]) or Plan((), 0, 0)


def _planned(files: Sequence[File], column: str, seen: list[Array] | None) -> Plan | None:
    """The plan; without `seen`, None where ids do not rise. Numbers that stand for ids are gathered in `seen`."""
    begun: list[list[Piece]] = []
    starts: list[tuple[Place, int]] = []
    last: Any = None
    requests = rows = 0
    for file in files:
        for group, size in enumerate(file.rows):
            place, first, at = file.place(group), None, 0
            rows += size
            for at, ids in _ids(Piece(place, 0, size), column):
                new = _begins(ids, last)
                if len(new):
                    first = at + int(new[0]) if first is None else first
                    keys = ids.take(pa.array(new))
                    if seen is None and not _rises(keys, last):
                        return None
                    if seen is not None:
                        seen.append(_numbers(keys))
                    requests += len(new)
                last = ids[len(ids) - 1]
            if begun and (first or (first is None and size)):
                begun[-1].append(Piece(place, 0, size if first is None else first))
            if first is not None:
                begun.append([Piece(place, first, size)])
                starts.append((place, requests))
    if seen:
        _check_together(seen, starts, column)
    return Plan(tuple(Task(i, tuple(pieces)) for i, pieces in enumerate(begun)), requests, rows)


def _ids(piece: Piece, column: str) -> Iterator[tuple[int, Any]]:
    for at, batch in batches(piece, [column], IDS):
        yield at, ids_of(batch, column, piece.place, at)


def ids_of(batch: Batch, column: str, place: Place, row: int) -> Any:
    """The ids of requests in a batch, whose first row has this number. Raises UserError for one that is missing."""
    ids = batch[column]
    if types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if ids.null_count:
        row += int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0])
        raise UserError(
            f"{place}, column `{column}`, row {row + 1}: the id of the request is missing",
            "Leave such rows out, or give them an id.",
        )
    return ids


def _begins(ids: Any, last: Any) -> Array:
    """Where in a batch of ids another one begins; `last` is the id before the batch, None if there is none."""
    other = compute.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    new = last is None or ids[0].as_py() != last.as_py()
    return np.flatnonzero(np.concatenate([[new], other]))


def _rises(keys: Any, last: Any) -> bool:
    if last is not None and not (type(keys[0].as_py()) is type(last.as_py()) and keys[0].as_py() > last.as_py()):
        return False
    return bool(compute.all(compute.greater(keys[1:], keys[:-1])).as_py() is not False)


def _numbers(keys: Any) -> Array:
    """Eight bytes for each id: the id itself where it is a number."""
    if types.is_integer(keys.type):
        return np.asarray(keys.to_numpy(zero_copy_only=False)).astype(np.int64)
    return np.array([hashed(key) for key in keys.to_pylist()], np.uint64).view(np.int64)


def hashed(key: object) -> int:
    """64 bits of an id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(str(key).encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _check_together(seen: Sequence[Array], starts: Sequence[tuple[Place, int]], column: str) -> None:
    """Raise UserError where a number is there twice; `starts` are the row groups, each with the requests up to its
    end.
    """
    numbers = np.concatenate(seen)
    order = np.argsort(numbers, kind="stable")
    twice = np.flatnonzero(numbers[order[1:]] == numbers[order[:-1]])
    if not twice.size:
        return
    one, two = (next(place for place, end in starts if end > int(order[i])) for i in (twice[0], twice[0] + 1))
    raise UserError(
        f"the rows of a request are not together: `{column}` begins one in {one}, and goes on with it in {two}",
        "Sort the logs by that column, or let --sort do it.",
    )
