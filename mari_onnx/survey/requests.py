"""Recorded requests: which inputs are the same in all rows of a request.

FILE.npz        an array for each input, with a row for each candidate, and one of the ids of requests
FILE.parquet    a column for each input and one of the ids, a row for each candidate (needs pyarrow)
FILE.jsonl      a JSON object for each candidate

A file may have more columns, and may lack inputs.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mari_onnx.errors import UserError
from mari_onnx.report.survey import Recorded, Within

Column = npt.NDArray[Any]
"""The values of one column, a row for each candidate; of objects where the rows are not alike."""


def constancy(path: Path, request_id: str, names: Sequence[str]) -> tuple[Recorded, dict[str, Within]]:
    """The requests in a file, and for each of the names that it has, whether it is the same within every request.

    One column is read at a time. Raises UserError for a file that cannot be read, that lacks the ids or has none of the
    names, and whose columns have different numbers of rows.
    """
    columns, read = _opened(path)
    if request_id not in columns:
        near = difflib.get_close_matches(request_id, columns, 1, 0.6)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{path} has no column {request_id!r}", f"{meant}Its columns are: {', '.join(columns)}.")
    known = [name for name in names if name in columns]
    if not known:
        raise UserError(
            f"{path} has none of the model's inputs",
            f"Its columns are: {', '.join(columns)}. The inputs are: {', '.join(names)}.",
        )
    ids = read(request_id)
    if ids.ndim != 1:
        raise UserError(f"the ids of requests in {path} have shape {list(ids.shape)}", "Give one id for each row.")
    _, first, request, count = np.unique(
        ids.astype(str) if ids.dtype == object else ids, return_index=True, return_inverse=True, return_counts=True
    )
    found = {}
    for name in known:
        column = read(name)
        if column.shape[:1] != ids.shape:
            raise UserError(
                f"input `{name}` in {path} has {len(column) if column.ndim else 1} rows, and there are {len(ids)} ids",
                "Give a row for each candidate in every column.",
            )
        found[name] = _within(column, ids, first[request])
    return Recorded(str(path), request_id, len(first), int((count > 1).sum()), len(ids)), found


def _within(column: Column, ids: Column, first: npt.NDArray[np.intp]) -> Within:
    """Whether each row is that of the first row of its request; `first` has the number of that row."""
    other = column[first]
    if column.dtype == object:
        differs = np.array([a != b for a, b in zip(column, other, strict=True)], bool)
    else:
        unequal = column != other
        if column.dtype.kind == "f":
            unequal &= ~(np.isnan(column) & np.isnan(other))
        differs = unequal.reshape(len(column), -1).any(axis=1)
    if not differs.any():
        rows = column[np.unique(first)]
        varies = len({str(row) for row in rows}) > 1 if column.dtype == object else bool((rows != rows[:1]).any())
        return Within(True, varies=varies)
    row = int(np.flatnonzero(differs)[0])
    one, two = _shown(other[row]), _shown(column[row])
    return Within(False, f"request {ids[row]}: {one} in row {first[row] + 1}, {two} in row {row + 1}")


def _shown(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 24 else f"{text[:21]}..."


def _opened(path: Path) -> tuple[Collection[str], Callable[[str], Column]]:
    """The columns of a file, and how one is read."""
    if not path.exists():
        raise UserError(f"the requests {path} do not exist", "Give a file .npz, .parquet or .jsonl.")
    match path.suffix:
        case ".npz":
            return _npz(path)
        case ".parquet" | ".pq":
            return _parquet(path)
        case ".jsonl" | ".json" | ".ndjson":
            return _lines(path)
    raise UserError(f"{path} has an ending that is not known", "Requests are read from .npz, .parquet and .jsonl.")


def _npz(path: Path) -> tuple[Collection[str], Callable[[str], Column]]:
    try:
        arrays = np.load(path, allow_pickle=False)
        return list(arrays.files), lambda name: arrays[name]
    except (ValueError, OSError, AttributeError) as error:  # a file of one array has no names
        raise UserError(f"{path} cannot be read: {error}", "Write it with numpy.savez.") from error


def _parquet(path: Path) -> tuple[Collection[str], Callable[[str], Column]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow to be read", "pip install 'mari-onnx[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's errors have no common base
        raise UserError(f"{path} cannot be read: {error}", "Check that it is a Parquet file.") from error
    return file.schema_arrow.names, lambda name: _column(file.read(columns=[name]).column(name).to_pylist())


def _lines(path: Path) -> tuple[Collection[str], Callable[[str], Column]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number} is not JSON: {error}", 'Each line has to be like {"user_id": 7, "item_id": 1}.'
            ) from error
        if isinstance(row, dict):
            rows.append(row)
        elif row is not None:
            raise UserError(
                f"{path}, line {number} is not a JSON object", 'Each line has to be like {"user_id": 7, "item_id": 1}.'
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, lambda name: _column([row.get(name) for row in rows])


def _column(values: list[Any]) -> Column:
    """An array of numbers where the rows are alike, else one of the values as they are."""
    try:
        array = np.array(values)
    except ValueError:  # histories of several lengths
        array = np.empty(0, object)
    if array.dtype.kind in "iufb":
        return array
    out = np.empty(len(values), object)
    out[:] = values
    return out
