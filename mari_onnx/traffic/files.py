"""Parquet files: which there are, what is in them, and their rows in batches.

A file is on this machine, or wherever `fsspec` opens it. Folders such as `date=2026-11-30` are a column of the files in
them. A row group is the unit of work: it is read in batches, so that its size is not that of the memory.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from mari_onnx.errors import UserError
from mari_onnx.traffic.arrow import dataset, fs, pa, parquet

ROWS = 16_384
"""The rows of a batch: some requests, and few megabytes even of long histories."""


@dataclass(frozen=True)
class Place:
    """A row group of a file, which has these values in all rows of its partition columns."""

    path: str
    group: int
    partition: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.path}, row group {self.group}"


@dataclass(frozen=True)
class Piece:
    """Rows of a row group, from `start` to before `stop`."""

    place: Place
    start: int
    stop: int


@dataclass(frozen=True)
class File:
    """A file: the values of its partition columns, the columns' types, and the rows of each row group.

    `bytes` are those of all columns, not compressed.
    """

    path: str
    partition: tuple[tuple[str, Any], ...]
    schema: Any
    rows: tuple[int, ...]
    bytes: int
    state: str
    """What tells whether it is still the same file: its size, its footer, and when it was written, if that is known."""

    @property
    def types(self) -> dict[str, Any]:
        """The type of each column, by name."""
        own = {field.name: field.type for field in self.schema}
        return {**own, **{name: pa.scalar(value).type for name, value in self.partition if name not in own}}

    def place(self, group: int) -> Place:
        """One of its row groups."""
        return Place(self.path, group, self.partition)


def found(patterns: Sequence[str]) -> list[File]:
    """The files that match the patterns, in the order of their names. Raises UserError where none does, and for a file
    that is no Parquet file.
    """
    paths = sorted({path for pattern in patterns for path in _matching(pattern)})
    if not paths:
        for folder in patterns:
            if Path(folder).is_dir():
                raise UserError(f"the folder {folder} has no files that end in .parquet", "Name them: 'logs/*'.")
        raise UserError(f"no file matches {' '.join(patterns)}", "Quote the pattern, such as 'logs/date=*/*.parquet'.")
    system, _ = _opened(paths[0])
    places = [_within(path) for path in paths]
    try:
        partitions = dataset.dataset(
            places, format="parquet", partitioning="hive", filesystem=system, schema=None, exclude_invalid_files=False
        )
        keys = {f.path: dataset.get_partition_keys(f.partition_expression) for f in partitions.get_fragments()}
    except Exception:  # a file that is no Parquet file, of which `_file` says which
        keys = {}
    return [_file(path, tuple(sorted(keys.get(_within(path), {}).items()))) for path in paths]


def _matching(pattern: str) -> list[str]:
    if "://" not in pattern:
        if Path(pattern).is_dir():
            return [str(path) for path in Path(pattern).rglob("*.parquet")]
        if Path(pattern).is_file():  # also one whose name looks like a pattern, such as logs[1].parquet
            return [pattern]
        return [path for path in glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207
    system, within = _fsspec(pattern)
    try:
        if system.isdir(within):
            paths = [path for path in system.find(within) if path.endswith(".parquet")]
        else:
            paths = system.glob(within)
        return [system.unstrip_protocol(path) for path in paths]
    except Exception as error:
        raise UserError(f"{pattern} cannot be listed: {error}", "Check the address and the permissions.") from error


def _fsspec(path: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UserError(f"{path} needs fsspec to be read", "pip install 'mari-onnx[traffic]'") from error
    try:
        system, within = url_to_fs(path)
    except Exception as error:  # an unknown protocol, or one whose package is missing
        raise UserError(f"{path} cannot be opened: {error}", "Install what fsspec needs for that protocol.") from error
    return system, within


def _within(path: str) -> str:
    return _fsspec(path)[1] if "://" in path else path


def _opened(path: str) -> tuple[Any, str]:
    """The file system of a path, and the path within it."""
    if "://" not in path:
        return fs.LocalFileSystem(), path
    system, within = _fsspec(path)
    return fs.PyFileSystem(fs.FSSpecHandler(system)), within


def _file(path: str, partition: tuple[tuple[str, Any], ...]) -> File:
    with reading(path):
        system, within = _opened(path)
        opened = parquet.ParquetFile(within, filesystem=system)
        metadata = opened.metadata
        rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        places = [
            (metadata.row_group(i).column(0).file_offset, metadata.row_group(i).total_byte_size)
            for i in range(metadata.num_row_groups)
            if metadata.num_columns
        ]
        info = system.get_file_info(within)
        content = (info.size, info.mtime_ns, rows, places, str(opened.schema_arrow))
        state = hashlib.sha256(repr(content).encode()).hexdigest()
        found = File(path, partition, opened.schema_arrow, rows, sum(size for _, size in places), state)
        opened.close()
    return found


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Let an error of pyarrow inside be one that names what is read."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # pyarrow's errors have no common base
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{what} cannot be read: {said}", "Check that the file is whole, or write it again.") from error


def column_missing(path: str, name: str, there: Sequence[str], what: str, step: str) -> UserError:
    """The error for a column that a file does not have, with the one that may be meant."""
    near = difflib.get_close_matches(name, there, 1, 0.6)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    return UserError(f"{path} has no column {name!r}{what}", f"{meant}Its columns are: {listed}. {step}".rstrip())


Batch = Mapping[str, Any]
"""Arrays of pyarrow by name, all of one length."""


def batches(piece: Piece, columns: Sequence[str], size: int = ROWS) -> Iterator[tuple[int, Batch]]:
    """The rows of a piece, in batches with the number of their first row in the row group. Raises UserError where the
    row group cannot be read.
    """
    place, at = piece.place, 0
    constant = dict(place.partition)
    with reading(place):
        opened = _parquet(place.path)
        there = set(opened.schema_arrow.names)
        stored = [name for name in columns if name in there]
        stream = opened.iter_batches(
            min(size, max(piece.stop, 1)), row_groups=[place.group], columns=stored, use_threads=False
        )
    while at < piece.stop:
        with reading(place):
            batch = next(stream, None)
        if batch is None:
            raise UserError(f"{place} has {at} rows, and its footer says {piece.stop}", "Write the file again.")
        first, stop = max(piece.start - at, 0), min(piece.stop - at, batch.num_rows)
        if first < stop:
            part = batch.slice(first, stop - first)
            own = {name: part.column(part.schema.get_field_index(name)) for name in stored}
            rest = {name: pa.array(np.full(len(part), constant[name])) for name in columns if name not in own}
            yield at + first, own | rest
        at += batch.num_rows


def _parquet(path: str) -> Any:
    system, within = _opened(path)
    return parquet.ParquetFile(within, filesystem=system, pre_buffer=False, buffer_size=1 << 20)
