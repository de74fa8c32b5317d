"""A model run over a table: the item model of a split, whose outputs are read when items are ranked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from mari_onnx import pipeline
from mari_onnx.document.check import blaming
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.passport import request_inputs
from mari_onnx.document.read import as_document
from mari_onnx.document.staging import staging
from mari_onnx.errors import UserError
from mari_onnx.measurement.machine import cores
from mari_onnx.pipeline import Progress
from mari_onnx.report.model import Configuration, Report
from mari_onnx.report.precompute import Precomputed
from mari_onnx.report.replay import StoppedGroup
from mari_onnx.traffic import engines
from mari_onnx.traffic.arrow import pa, parquet
from mari_onnx.traffic.cells import Array
from mari_onnx.traffic.columns import read as read_map
from mari_onnx.traffic.engines.engine import Settings, Stopped
from mari_onnx.traffic.files import Piece, Place, batches, column_missing, found
from mari_onnx.traffic.layout import Layout, inputs_of_model, layout
from mari_onnx.traffic.options import Precomputing
from mari_onnx.traffic.store import Model, alone, check, part_name, schema, stored_outputs, table, write_manifest
from mari_onnx.verification.runtimes.answers import answering
from mari_onnx.verification.runtimes.onnxruntime import Run, RunError, Source, Values
from mari_onnx.version import __version__

ROWS = 4_096
"""The rows of a call; of a model that takes one row, or those of one request, they are run one by one."""

APART = 1e-4
"""How far the outputs of a row may be from those that it has alone, as a share of the output's largest magnitude: sums
of another number of rows are rounded otherwise, and rows that depend on each other differ by more."""


@dataclass(frozen=True)
class Part:
    """A task: the rows of a row group, and the file that they are written to."""

    piece: Piece
    path: Path

    def __str__(self) -> str:
        return str(self.piece.place)


@dataclass(frozen=True)
class Precompute:
    """What all tasks share; `key` tells rows apart, and `together` says that a call may have many of them."""

    document: Document
    model: Model
    layout: Layout
    key: str
    threads: int
    together: bool

    def opened(self) -> Callable[[Part], int]:
        """The function that does a task, with the model loaded. Raises UserError where it cannot be loaded."""
        source = Source("reference", self.document)
        run = answering(source.runner(source.session(self.threads)))
        return lambda part: self._written(part, run)

    def _written(self, part: Part, run: Run) -> int:
        """Write a part, whole or not at all; how many rows it has."""
        with staging() as staged:
            staged.add(part.path, lambda file: self._fill(file, part, run))
        return part.piece.stop - part.piece.start

    def _fill(self, file: IO[bytes], part: Part, run: Run) -> None:
        writer = None
        for keys, outputs in self._rows(part, run):
            if writer is None:
                own = schema(self.model, pa.field(self.key, keys.type), outputs)
                writer = parquet.ParquetWriter(file, own)
            writer.write_table(table(writer.schema, keys, outputs), row_group_size=ROWS)
        if writer is not None:
            writer.close()

    def _rows(self, part: Part, run: Run) -> Iterator[tuple[Any, Values]]:
        place, first = part.piece.place, True
        columns = list(dict.fromkeys([self.key, *self.layout.columns]))
        for at, batch in batches(part.piece, columns, ROWS):
            keys = batch[self.key]
            if keys.null_count:
                row = at + int(np.flatnonzero(keys.is_null().to_numpy(zero_copy_only=False))[0])
                raise UserError(
                    f"{place}, column `{self.key}`, row {row + 1}: the key is missing", "Give each row a key."
                )
            feeds, rows = self.layout.feeds([self.layout.read(batch, place, at)], place, at)
            try:
                outputs = _checked(run(feeds) if self.together else self._one_by_one(feeds, rows, run), rows)
                if self.together and first:
                    _check_independent(outputs, feeds, rows, run, place)
                    first = False
                yield keys, outputs
            except RunError as error:
                where = f"{place}, rows {at + 1} to {at + rows}"
                raise UserError(
                    f"{where}: the model does not run on them: {error}", "Look for ids out of range."
                ) from error

    def _one_by_one(self, feeds: Mapping[str, Array], rows: int, run: Run) -> Values:
        alone = ({name: values[row : row + 1] for name, values in feeds.items()} for row in range(rows))
        calls = [run(self.layout.one_row(each)) for each in alone]
        return {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}


def _check_independent(outputs: Values, feeds: Mapping[str, Array], rows: int, run: Run, place: Place) -> None:
    """Raise UserError where some row has other outputs alone: which they are would depend on the rows beside it.

    Example: a ranking model that uses the user's row of the first candidate for all, and does not say so.
    """
    for row in sorted({0, rows // 2, rows - 1}):
        alone = run({name: values[row : row + 1] for name, values in feeds.items()})
        for name, values in outputs.items():
            same = np.array_equal(values[row : row + 1], alone[name], equal_nan=values.dtype.kind == "f")
            if same or _near(values, row, alone[name]):
                continue
            raise UserError(
                f"{place}, row {row + 1}: output `{name}` is another one where the row is run alone",
                "Only a model whose rows do not depend on each other can be run over a table.",
            )


def _near(values: Array, row: int, alone: Array) -> bool:
    if values.dtype.kind != "f" or alone.shape != values[row : row + 1].shape:
        return False
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    return bool(np.allclose(values[row : row + 1], alone, rtol=0, atol=APART * largest, equal_nan=True))


def _checked(outputs: Values, rows: int) -> Values:
    for name, values in outputs.items():
        if values.shape[:1] != (rows,):
            raise UserError(
                f"output `{name}` has shape {list(values.shape)} for {rows} rows",
                "Only a model whose outputs have a row for each row of the table can be run over one.",
            )
        if values.dtype.kind not in "fiub":
            raise UserError(f"output `{name}` holds {values.dtype}", "Only numbers can be stored.")
    return outputs


def precompute(part: ModelLike, options: Precomputing, progress: Progress | None) -> Report:
    """The report of `mari_onnx.precompute`. Raises UserError as that does."""
    say = progress or pipeline.silent
    say("reading the model", 0, 1)
    document = as_document(part)
    with blaming(document):
        return _precomputed(document, options, say)


def _precomputed(document: Document, options: Precomputing, say: Progress) -> Report:
    files = found(options.table)
    given = {} if options.columns is None else read_map(Path(options.columns))
    read = layout(inputs_of_model(document), [], given, files)
    key = options.key or _only_key(read)
    for file in files:
        if key not in file.types:
            raise column_missing(file.path, key, list(file.types), "", "--key names the column that tells rows apart.")
    together = all(each.input.rows is not None for each in read.inputs) and not request_inputs(document.proto)
    job = Precompute(document, Model.of(document), read, key, options.threads, together)
    columns, folder = hashlib.sha256(repr((read, key)).encode()).hexdigest(), Path(options.out)
    parts = {
        part_name(job.model, columns, file.state, group): Piece(file.place(group), 0, rows)
        for file in files
        for group, rows in enumerate(file.rows)
        if rows
    }
    rows = sum(piece.stop for piece in parts.values())
    with alone(folder):
        others = check(folder, parts, overwrite=options.overwrite)
        try:
            stopped, kept = _run(job, parts, folder, options, say)
        finally:
            for left in folder.glob(".part-*.tmp"):  # of processes that were stopped, or killed in an earlier run
                left.unlink(missing_ok=True)
        if not stopped:
            write_manifest(folder, job.model, key, rows, parts)
            for other in others:
                other.unlink(missing_ok=True)
    there = [folder / name for name in parts if (folder / name).exists()]
    made = Precomputed(
        str(folder), key, rows, len(parts), kept, sum(path.stat().st_size for path in there),
        stored_outputs(there[0]) if there else (), job.model.sha256, job.model.fingerprint, tuple(stopped),
    )  # fmt: skip
    shown = {"table": options.table, "key": key, "engine": options.engine, "columns": str(options.columns or "")}
    return Report("precompute", __version__, facts(document), precomputed=made, configuration=Configuration(shown))


def _run(
    job: Precompute, parts: Mapping[str, Piece], folder: Path, options: Precomputing, say: Progress
) -> tuple[list[StoppedGroup], int]:
    """Do what is missing; the row groups that were not done, and how many parts were there."""
    there = {name for name in parts if (folder / name).exists()}
    tasks = [Part(piece, folder.resolve() / name) for name, piece in parts.items() if name not in there]
    total = sum(piece.stop for piece in parts.values())
    done = sum(parts[name].stop for name in there)
    stopped = []
    say("computing rows", done, total)
    for task, result in engines.run(options.engine, job, tasks, Settings(options.workers or cores())):
        done += task.piece.stop
        say("computing rows", done, total)
        if isinstance(result, Stopped):
            stopped.append(StoppedGroup(str(task), f"{result.reason}; {result.next_step}"))
    return sorted(stopped, key=lambda each: each.place), len(there)


def _only_key(read: Layout) -> str:
    """The key where none is given: the only column of whole numbers or strings."""
    ids = [each.how.column for each in read.inputs if each.input.dtype.kind in "iuU" and len(each.input.dims) == 1]
    if len(set(ids)) != 1:
        raise UserError("it is not said which column tells rows apart", "Name it: --key item_id.")
    return ids[0]
