"""The options of a replay, and of a model that is run over a table.

Nothing here imports pyarrow or a runtime, because the command line reads its choices.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mari_onnx.arguments import number
from mari_onnx.errors import UserError
from mari_onnx.traffic.engines import ENGINES, LOCAL

Place = str | os.PathLike[str]


def check_engine(engine: str, workers: int | None, threads: int) -> None:
    """Raise UserError for an engine that does not exist, and for numbers of processes and threads below 1."""
    if engine not in ENGINES:
        raise UserError(f"there is no engine {engine!r}", f"Choose one of {', '.join(ENGINES)}.")
    if workers is not None:
        number("workers", workers, 1)
    number("threads", threads, 1)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which requests are replayed, and how.

    requests     patterns over Parquet files, or folders of them; on this machine, or addresses that fsspec opens
    request_id   the column of the ids of requests
    columns      a column map, in place of the columns of the inputs' names
    sort         whether rows of a request need not follow each other, so that the logs are sorted first
    sample       the share of requests that are replayed, drawn by their ids
    engine       one of `ENGINES`
    workers      processes; as many as there are cores, where it is None
    threads      threads of each session
    rtol, atol   as for a verification
    worst        where the worst requests are written, as .jsonl
    journal      where finished row groups are written down, until the end; with `resume` those are not done again
    """

    requests: Sequence[str]
    request_id: str
    columns: Place | None = None
    sort: bool = False
    sample: float = 1.0
    engine: str = LOCAL
    workers: int | None = None
    threads: int = 1
    rtol: float | None = None
    atol: float | None = None
    worst: Place | None = None
    journal: Place | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        check_engine(self.engine, self.workers, self.threads)
        if not 0 < self.sample <= 1:
            raise UserError(f"sample is {self.sample!r}", "Give a share of the requests above 0, up to 1.")
        if self.resume and self.journal is None:
            raise UserError("a run can only go on with a journal", "Give both: journal and resume.")
        if self.worst is not None and Path(self.worst).suffix != ".jsonl":
            raise UserError(f"the worst requests cannot be written to {self.worst}", "Give a name that ends in .jsonl.")
        if self.journal is not None and self.worst is not None and Path(self.journal) == Path(self.worst):
            raise UserError(f"{self.worst} cannot be both the journal and the worst requests", "Give two names.")


class OptionFields(TypedDict, total=False):
    """The fields of `Options` that may be left out, as keywords of `mari_onnx.replay`."""

    columns: Place | None
    sort: bool
    sample: float
    engine: str
    workers: int | None
    threads: int
    rtol: float | None
    atol: float | None
    worst: Place | None
    journal: Place | None
    resume: bool


@dataclass(frozen=True, kw_only=True)
class Precomputing:
    """Over which rows a model is run, and where its outputs go.

    table        patterns over Parquet files, or folders of them; on this machine, or addresses that fsspec opens
    out          the folder of the store, on this machine
    key          the column that tells rows apart; where it is None, the only column of ids that the model takes
    columns      a column map, in place of the columns of the inputs' names
    engine       one of `ENGINES`
    workers      processes; as many as there are cores, where it is None
    threads      threads of each session
    overwrite    whether parts of another model or table are removed
    """

    table: Sequence[str]
    out: Place
    key: str | None = None
    columns: Place | None = None
    engine: str = LOCAL
    workers: int | None = None
    threads: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_engine(self.engine, self.workers, self.threads)


class PrecomputingFields(TypedDict, total=False):
    """The fields of `Precomputing` that may be left out, as keywords of `mari_onnx.precompute`."""

    key: str | None
    columns: Place | None
    engine: str
    workers: int | None
    threads: int
    overwrite: bool
