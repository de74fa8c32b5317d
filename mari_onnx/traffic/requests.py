"""The requests of a task, one after the other, in the memory of one batch and of the longest request."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mari_onnx.traffic.arrow import compute, types
from mari_onnx.traffic.cells import Array, Cells
from mari_onnx.traffic.files import batches
from mari_onnx.traffic.layout import COUNTS, Layout
from mari_onnx.traffic.plan import Task, hashed


@dataclass(frozen=True)
class Request:
    """A request: its number within the task, its id, the inputs with a row for each candidate, and the candidates."""

    number: int
    id: Any
    feeds: dict[str, Array]
    candidates: int


@dataclass(frozen=True)
class Chosen:
    """Which requests are read: a share of all, drawn by their ids, or those with these numbers in their task."""

    share: float = 1.0
    numbers: Collection[int] | None = None

    def takes(self, number: int, key: object) -> bool:
        """Whether a request is read. The same id is drawn in every run."""
        if self.numbers is not None:
            return number in self.numbers
        return self.share >= 1 or hashed(key) < self.share * 2.0**64


ALL = Chosen()


def requests(task: Task, layout: Layout, column: str, chosen: Chosen = ALL) -> Iterator[Request]:
    """The chosen requests of a task, in the order of the logs. Raises UserError for values that do not fit."""
    number, key, pieces = -1, object(), list[Mapping[str, Cells]]()
    columns = [column, *(each for each in layout.columns if each != column)]
    for piece in task.pieces:
        for at, batch in batches(piece, columns):
            ids = batch[column]
            ids = ids.dictionary_decode() if types.is_dictionary(ids.type) else ids
            rows = layout.read(batch, piece.place, at)
            for start, stop, own in _runs(ids):
                if own != key:
                    if pieces:
                        yield Request(number, key, *layout.feeds(pieces, f"request {key}", 0))
                    number, key, pieces = number + 1, own, []
                if chosen.takes(number, own):
                    pieces.append(_rows(rows, start, stop))
        if chosen.numbers is not None and number > max(chosen.numbers, default=-1):
            break
    if pieces:
        yield Request(number, key, *layout.feeds(pieces, f"request {key}", 0))


def _runs(ids: Any) -> Iterator[tuple[int, int, Any]]:
    """The runs of equal ids in a batch: from where, to where, and the id."""
    other = np.flatnonzero(compute.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1
    bounds = [0, *other.tolist(), len(ids)]
    for start, stop in pairwise(bounds):
        yield start, stop, ids[start].as_py()


def _rows(rows: Mapping[str, Cells], start: int, stop: int) -> dict[str, Cells]:
    """The rows of some rows of the logs, of which each has one or, with nested candidates, a list."""
    if COUNTS in rows:
        counts = rows[COUNTS].values
        start, stop = int(counts[:start].sum()), int(counts[:stop].sum())
    return {name: each.rows(start, stop) for name, each in rows.items() if name != COUNTS}
