"""Logs whose rows of a request are not together, put in order in files of their own.

Rows are first dealt out to files by a hash of their request's id, and then each of these is sorted in memory. So rows
of one request are in one file and stay in the order of the logs, and memory is that of one file.

Values that do not fit the model are refused while rows are dealt out: an error then names the file of the user's, which
the sorted files do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mari_onnx.errors import UserError
from mari_onnx.traffic.arrow import compute, pa, parquet
from mari_onnx.traffic.cells import Array
from mari_onnx.traffic.files import Batch, File, Piece, Place, batches, found
from mari_onnx.traffic.layout import Layout
from mari_onnx.traffic.plan import hashed, ids_of

BYTES = 1 << 27
"""The bytes of columns that are sorted at a time, about."""

MOST = 256
"""The most files that are open at a time."""

GROUP = 50_000
"""The rows of a row group that is written."""


def in_order(files: Sequence[File], column: str, layout: Layout, folder: Path) -> list[File]:
    """Files in the folder with the same rows, in which those of a request follow each other.

    Only the id and the columns of the layout are written. Raises UserError for an id that is missing, for values that
    do not fit the layout, and for those that do not have the type that their column has in the first file.
    """
    wanted = list(dict.fromkeys([column, *layout.columns]))
    count = min(MOST, 1 + sum(each.bytes for each in files) // BYTES)
    writers: dict[int, Any] = {}
    for file in files:
        for group, rows in enumerate(file.rows):
            place = file.place(group)
            for at, batch in batches(Piece(place, 0, rows), wanted):
                layout.read(batch, place, at)
                ids = ids_of(batch, column, place, at)
                _deal({**batch, column: ids}, column, place, count, writers, folder)
    for writer in writers.values():
        writer.close()
    for number in sorted(writers):
        dealt = _dealt(folder, number)
        table = parquet.read_table(dealt)
        order = compute.sort_indices(table, [(column, "ascending")])
        parquet.write_table(table.take(order), folder / f"sorted-{number:03}.parquet", row_group_size=GROUP)
        dealt.unlink()
    return found([str(folder / f"sorted-{number:03}.parquet") for number in writers]) if writers else []


def _deal(batch: Batch, column: str, place: Place, count: int, writers: dict[int, Any], folder: Path) -> None:
    distinct = batch[column].dictionary_encode()
    numbers = np.array([hashed(key) % count for key in distinct.dictionary.to_pylist()])
    to: Array = numbers[distinct.indices.to_numpy(zero_copy_only=False)]
    for number in np.unique(to).tolist():
        if number not in writers:
            first = next(iter(writers.values()), None)
            schema = pa.table(dict(batch)).schema if first is None else first.schema
            writers[number] = parquet.ParquetWriter(_dealt(folder, number), schema)
        writers[number].write_table(_alike(batch, writers[number].schema, place).filter(pa.array(to == number)))


def _alike(batch: Batch, schema: Any, place: Place) -> Any:
    """A batch as a table of the schema."""
    columns = []
    for field in schema:
        values = batch[field.name]
        try:
            columns.append(values.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UserError(
                f"{place}, column `{field.name}`: it holds {values.type}, and {field.type} in the first file: "
                f"{' '.join(str(error).split())[:200]}",
                "Write all files with the same types, or replay those of each schema by themselves.",
            ) from error
    return pa.table(columns, schema=schema)


def _dealt(folder: Path, number: int) -> Path:
    return folder / f"dealt-{number:03}.parquet"
