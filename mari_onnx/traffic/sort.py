"""Logs whose rows of a request are not together, put in order in files of their own.

Rows are first dealt out to files by a hash of their request's id, and then each of these is sorted in memory. So rows
of one request are in one file and stay in the order of the logs, and memory is that of one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mari_onnx.traffic.arrow import compute, pa, parquet
from mari_onnx.traffic.cells import Array
from mari_onnx.traffic.files import File, Piece, batches, found, reading
from mari_onnx.traffic.plan import hashed, ids_of

BYTES = 1 << 27
"""The bytes of columns that are sorted at a time, about."""

MOST = 256
"""The most files that are open at a time."""

GROUP = 50_000
"""The rows of a row group that is written."""


def in_order(files: Sequence[File], column: str, columns: Sequence[str], folder: Path) -> list[File]:
    """Files in the folder with the same rows, in which those of a request follow each other.

    Only the id and these columns are written. Raises UserError for an id that is missing, and for columns whose types
    differ from file to file.
    """
    wanted = list(dict.fromkeys([column, *columns]))
    count = min(MOST, 1 + sum(each.bytes for each in files) // BYTES)
    writers: dict[int, Any] = {}
    for file in files:
        for group, rows in enumerate(file.rows):
            for at, batch in batches(Piece(file.place(group), 0, rows), wanted):
                ids = ids_of(batch, column, file.place(group), at)
                _deal(pa.table({**batch, column: ids}), column, count, writers, folder)
    for writer in writers.values():
        writer.close()
    for number in sorted(writers):
        dealt = _dealt(folder, number)
        table = parquet.read_table(dealt)
        order = compute.sort_indices(table, [(column, "ascending")])
        parquet.write_table(table.take(order), folder / f"sorted-{number:03}.parquet", row_group_size=GROUP)
        dealt.unlink()
    return found([str(folder / "sorted-*.parquet")]) if writers else []


def _deal(table: Any, column: str, count: int, writers: dict[int, Any], folder: Path) -> None:
    distinct = table.column(column).combine_chunks().dictionary_encode()
    numbers = np.array([hashed(key) % count for key in distinct.dictionary.to_pylist()])
    to: Array = numbers[distinct.indices.to_numpy(zero_copy_only=False)]
    for number in np.unique(to).tolist():
        if number not in writers:
            writers[number] = parquet.ParquetWriter(_dealt(folder, number), table.schema)
        with reading("columns whose types differ from file to file"):
            writers[number].write_table(table.filter(pa.array(to == number)).cast(writers[number].schema))


def _dealt(folder: Path, number: int) -> Path:
    return folder / f"dealt-{number:03}.parquet"
