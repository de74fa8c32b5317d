"""Synthetic logs of a ranking service, as Parquet: `python -m examples.synthetic_logs MODEL.onnx logs --requests 1000`.

A row is a candidate. Each row has the id of its request, `request_id`, the columns of the user, which are repeated, and
those of the item, named after the model's inputs. With `--nested` a row is a request, and the items are in lists. The
same seed gives the same logs, of any size in the memory of one row group.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from pyarrow import parquet

from mari_onnx.document.read import as_document
from mari_onnx.verification.inputs.draw import Bounds, Input, draw, inputs_of
from mari_onnx.verification.inputs.ranges import traced_or_noted
from mari_onnx.verification.runtimes.onnxruntime import Source

ROWS = 50_000
"""The rows of a row group, about; a request may go on in the next one."""

LENGTH = 5
"""The extent of inner axes that may have any."""


@dataclass(frozen=True)
class Model:
    """The inputs of a model, the values that they may have, and which of them are the user's."""

    inputs: Sequence[Input]
    bounds: Mapping[str, Bounds]
    user: frozenset[str]

    @classmethod
    def read(cls, path: Path | onnx.ModelProto, user: Sequence[str]) -> Model:
        """The inputs of a model; ids are traced to the tables that they index."""
        source = Source("reference", as_document(path))
        inputs = inputs_of(source.session())
        traced, _ = traced_or_noted(source, inputs, {})
        declared = {each.name for each in inputs if any(fnmatch(each.name, glob) for glob in user)}
        once = {each.name for each in inputs if each.rows is None}
        return cls(inputs, traced.bounds, frozenset(declared | once))

    def request(self, rng: np.random.Generator, candidates: int) -> dict[str, Any]:
        """The inputs of one request: of the user's one row, and of the items' a row for each candidate."""
        found = {}
        for each in self.inputs:
            rows = 1 if each.name in self.user else candidates
            sizes = {dim: LENGTH for dim in each.dims if isinstance(dim, str)}
            if each.rows is not None:
                sizes[each.rows] = rows
            found.update(draw([each], self.bounds, sizes, rng))
        return found


def table(requests: Sequence[tuple[int, Mapping[str, Any], int]], user: frozenset[str], *, nested: bool) -> pa.Table:
    """Requests (id, inputs, number of candidates) as rows."""
    counts = np.array([candidates for *_, candidates in requests])
    ids = np.array([key for key, *_ in requests])
    columns: dict[str, Any] = {"request_id": pa.array(ids if nested else np.repeat(ids, counts))}
    for name in requests[0][1]:
        values = np.concatenate([inputs[name] for _, inputs, _ in requests])
        if name not in user:
            column = _lists(values)
            offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
            columns[name] = pa.ListArray.from_arrays(pa.array(offsets), column) if nested else column
        else:
            columns[name] = _lists(values if nested else np.repeat(values, counts, axis=0))
    return pa.table(columns)


def _lists(values: Any) -> Any:
    """An array of rows as a column: numbers, or lists of them."""
    if values.ndim == 1 or values[:1].size == 1:
        return pa.array(values.reshape(-1))
    inner = _lists(values.reshape(-1, *values.shape[2:]))
    return pa.FixedSizeListArray.from_arrays(inner, values.shape[1]).cast(pa.list_(inner.type))


def write(
    model: Model, folder: Path, *, requests: int, candidates: int = 500, files: int = 4, seed: int = 0,
    nested: bool = False,
) -> list[Path]:  # fmt: skip
    """Write logs of so many requests, each of about so many candidates, into files of `date=.../part.parquet`."""
    made, first = [], 0
    for day in range(files):
        path = folder / f"date=2026-11-{day + 1:02}" / "part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        last = requests * (day + 1) // files
        writer, waiting, rows = None, [], 0
        for key in range(first, last):
            rng = np.random.default_rng([seed, key])
            own = int(rng.integers(candidates // 2, candidates * 3 // 2 + 1))
            waiting.append((key, model.request(rng, own), own))
            rows += own
            if rows >= ROWS or key == last - 1:
                batch = table(waiting, model.user, nested=nested)
                writer = writer or parquet.ParquetWriter(path, batch.schema)
                # Row groups end wherever they are full, and not where a request does.
                writer.write_table(batch, row_group_size=max(len(batch) - len(batch) // 50, 1))
                waiting, rows = [], 0
        if writer is not None:
            writer.close()
            made.append(path)
        first = last
    return made


def main() -> None:
    """Write logs, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-u", "--user-input", action="append", default=[], help="of the user, by name or pattern")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=500, help="of a request, on average")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nested", action="store_true", help="a row for each request")
    given = parser.parse_args()
    made = write(
        Model.read(given.model, given.user_input), given.folder, requests=given.requests, candidates=given.candidates,
        files=given.files, seed=given.seed, nested=given.nested,
    )  # fmt: skip
    print(f"{given.requests} requests in {len(made)} files: {given.folder}/date=*/part.parquet")


if __name__ == "__main__":
    main()
