"""Recorded inputs: real requests, stored in one of the usual formats.

FILE.npz, a folder of NAME.npy      one call: an array for each input
a folder test_data_set_N            one call, in ONNX's own format: input_0.pb, input_1.pb, ... in the model's order
a folder of such folders            a call for each
FILE.jsonl                          a JSON object of the inputs by name in each line, which is a call or a candidate
FILE.parquet                        a column for each input, a row for each candidate (needs pyarrow)

Lines or rows that hold one candidate each are put together to calls of at most `ROWS` candidates. An input of the model
whose leading extent is 1 then has to have the same value in all rows of a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.draw import Input, batch_symbols
from mari_onnx.verification.runtimes.onnxruntime import Array

ROWS = 1000
"""The most candidates of a call that is put together from rows of one candidate each."""

Row = Mapping[str, Any]


def read(path: Path, inputs: Sequence[Input]) -> Iterator[tuple[str, dict[str, Array]]]:
    """The calls in a file or a folder: a name, such as `requests.jsonl, line 3`, and an array for each input.

    Raises UserError for a file that cannot be read, and for arrays that do not fit the model's inputs.
    """
    if not path.exists():
        raise UserError(
            f"the inputs {path} do not exist",
            "Give a file .npz, .jsonl or .parquet, or a folder with NAME.npy or test_data_set_N.",
        )
    for name, call in _calls(path, inputs):
        yield name, {each.name: _fit(each, call, name) for each in inputs}


def _calls(path: Path, inputs: Sequence[Input]) -> Iterator[tuple[str, Row]]:
    if path.is_dir():
        yield from _folder(path, inputs)
    elif path.suffix == ".npz":
        with _opened(path) as arrays:
            yield path.name, {name: arrays[name] for name in arrays.files}
    elif path.suffix in (".jsonl", ".json", ".ndjson"):
        yield from _lines(path, inputs)
    elif path.suffix in (".parquet", ".pq"):
        yield from _stacked(path.name, _parquet_rows(path, inputs), inputs)
    else:
        raise UserError(
            f"{path} has an ending that is not known",
            "Inputs are read from .npz, .jsonl and .parquet, and from folders with NAME.npy or test_data_set_N.",
        )


def _opened(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}", "Write it with numpy.savez.") from error


def _folder(path: Path, inputs: Sequence[Input]) -> Iterator[tuple[str, Row]]:
    if arrays := sorted(path.glob("*.npy")):
        yield path.name, {array.stem: _opened(array) for array in arrays}
        return
    if sets := sorted((each for each in path.glob("test_data_set_*") if each.is_dir()), key=_number):
        for folder in sets:
            yield from _folder(folder, inputs)
        return
    tensors = sorted(path.glob("input_*.pb"), key=_number)
    if not tensors:
        raise UserError(
            f"there are no inputs in {path}", "The folder has to hold NAME.npy, input_0.pb or test_data_set_0."
        )
    call = {}
    for file, each in zip(tensors, inputs, strict=False):
        try:
            tensor = onnx.TensorProto.FromString(file.read_bytes())
            call[each.name] = numpy_helper.to_array(tensor)
        except Exception as error:  # protobuf's, numpy's and onnx's
            raise UserError(
                f"{file} is not a tensor: {error}", "Write it with onnx.numpy_helper.from_array."
            ) from error
    yield path.name, call


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0


def _lines(path: Path, inputs: Sequence[Input]) -> Iterator[tuple[str, Row]]:
    rows: list[Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{where} is not JSON: {error}", 'Each line has to be like {"user_id": [7], "item_id": [1]}.'
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f"{where} is not a JSON object", 'Each line has to be like {"user_id": [7], "item_id": [1]}.'
            )
        if _is_candidate(row, inputs):
            rows.append(row)
        else:
            yield where, row
    yield from _stacked(path.name, iter(rows), inputs)


def _is_candidate(row: Row, inputs: Sequence[Input]) -> bool:
    """Whether a row is one candidate and not a whole call: every input in it lacks its leading axis."""
    given = [(each, np.ndim(row[each.name])) for each in inputs if each.name in row and each.dims]
    return bool(given) and all(rank == len(each.dims) - 1 for each, rank in given)


def _parquet_rows(path: Path, inputs: Sequence[Input]) -> Iterator[Row]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow to be read", "pip install 'mari-onnx[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's errors have no common base
        raise UserError(f"{path} cannot be read: {error}", "Check that it is a Parquet file.") from error
    columns = [each.name for each in inputs if each.name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=ROWS, columns=columns):
        yield from batch.to_pylist()


def _stacked(name: str, rows: Iterator[Row], inputs: Sequence[Input]) -> Iterator[tuple[str, Row]]:
    """Calls of up to `ROWS` candidates, put together from rows of one candidate each."""
    first = 1
    while some := [row for _, row in zip(range(ROWS), rows, strict=False)]:
        where = f"{name}, rows {first} to {first + len(some) - 1}"
        yield where, {each.name: _column(each, some, where) for each in inputs if each.name in some[0]}
        first += len(some)


def _column(each: Input, rows: Sequence[Row], where: str) -> Any:
    try:
        values = np.array([row[each.name] for row in rows])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{where}: input `{each.name}` is missing in some of them, or has different shapes",
            "Give every input in every row, and pad histories to one length.",
        ) from error
    if each.rows is not None or not each.dims:
        return values
    if (values != values[:1]).any():
        raise UserError(
            f"{where}: the model takes one row of input `{each.name}` for all candidates, and the recorded rows differ",
            "Give the candidates of one request in a file, or a whole call in each line of a .jsonl file.",
        )
    return values[:1]


def _fit(each: Input, call: Row, where: str) -> Array:
    """The array of one input, converted to the input's type. Raises UserError where type or shape do not fit."""
    if each.name not in call:
        has = ", ".join(sorted(call)) or "none"
        raise UserError(
            f"{where} lacks input `{each.name}` of the model", f"Record it, too. The inputs there are: {has}."
        )
    try:
        given = np.asarray(call[each.name])
        numeric = each.dtype.kind in "fiub" and given.dtype.kind in "fiub"
        array = given.astype(each.dtype if each.dtype.kind != "U" else object)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where}: input `{each.name}` cannot be read as {each.dtype}: {error}",
            "Give values of the type that the model takes.",
        ) from error
    if numeric and each.dtype.kind in "iub" and (array != given).any():
        raise UserError(
            f"{where}: input `{each.name}` has values that do not fit into {each.dtype}",
            "Give whole numbers in the range of that type.",
        )
    expected = " ".join(str(dim) for dim in each.dims)
    fits = array.ndim == len(each.dims) and all(
        isinstance(dim, str) or dim == extent for dim, extent in zip(each.dims, array.shape, strict=False)
    )
    if not fits:
        raise UserError(
            f"{where}: input `{each.name}` has shape {list(array.shape)}, and the model takes [{expected}]",
            "Give each array in the shape in which the model is called.",
        )
    return np.asarray(array, order="C")


def candidates(inputs: Sequence[Input], feeds: Mapping[str, Array], requests: frozenset[str]) -> int:
    """How many candidates a call has; `requests` are the symbols of axes that count requests instead."""
    symbols = batch_symbols(inputs, requests)
    extents = [
        extent
        for each in inputs
        for dim, extent in zip(each.dims, feeds[each.name].shape, strict=True)
        if dim in symbols
    ]
    return max(extents, default=1)


def as_lines(calls: Iterable[Mapping[str, Array]]) -> bytes:
    """Calls as a .jsonl file has them, from which `read` has the same numbers again, bit for bit but for a NaN's."""
    lines = (json.dumps({name: np.asarray(array).tolist() for name, array in call.items()}) for call in calls)
    return "".join(f"{line}\n" for line in lines).encode()
