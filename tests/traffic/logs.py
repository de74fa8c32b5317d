"""A ranking model and requests of it, which tests write as logs in many ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.graphs import parse

Array = npt.NDArray[Any]
Row = dict[str, Any]

ITEMS, USERS, LENGTH = 50, 20, 4
_RNG = np.random.default_rng(0)


def _weights(*shape: int) -> Array:
    return (_RNG.standard_normal(shape) / 8).astype(np.float32)


MODEL = parse(
    """ranker (int64[B] user_id, float[B, 3] user_x, int64[B, 4] user_hist, int64[B] item_id, float[B, 1] price)
        => (float[B, 1] score) {
        u = Gather (users, user_id)
        h = Gather (items, user_hist)
        axis = Constant <value_ints = [1]> ()
        m = ReduceSum <keepdims = 0> (h, axis)
        i = Gather (items, item_id)
        x = Concat <axis = 1> (u, user_x, m, i, price)
        a = Gemm (x, w1, b1)
        r = Relu (a)
        b = Gemm (r, w2)
        score = Sigmoid (b)
    }""",
    users=_weights(USERS, 64), items=_weights(ITEMS, 8), w1=_weights(84, 32), b1=_weights(32), w2=_weights(32, 1),
)  # fmt: skip


def request(key: int, candidates: int | None = None) -> list[Row]:
    """The rows of one request, whose id is `key`, as the logs have them by default."""
    rng = np.random.default_rng([1, key])
    n = int(rng.integers(1, 12)) if candidates is None else candidates
    user = {
        "user_id": int(rng.integers(USERS)), "user_x": rng.standard_normal(3).astype(np.float32).tolist(),
        "user_hist": rng.integers(0, ITEMS, LENGTH).tolist(),
    }  # fmt: skip
    return [
        {"request": key, **user, "item_id": int(rng.integers(ITEMS)), "price": float(np.float32(rng.random()))}
        for _ in range(n)
    ]


def rows(requests: int) -> list[Row]:
    """The rows of some requests, one after the other."""
    return list(chain.from_iterable(request(key) for key in range(requests)))


def types() -> dict[str, Any]:
    """The types of the columns."""
    import pyarrow as pa

    return {
        "request": pa.int64(), "user_id": pa.int32(), "user_x": pa.list_(pa.float32()),
        "user_hist": pa.list_(pa.int64()), "item_id": pa.int64(), "price": pa.float64(),
    }  # fmt: skip


def write(path: Path, given: Sequence[Row], *, group: int = 17, **kinds: Any) -> Path:
    """A Parquet file of these rows, in row groups of so many; `kinds` are other types of columns than those of `types`.

    A column of the type None is left out.
    """
    import pyarrow as pa
    from pyarrow import parquet

    own = {name: kind for name, kind in {**types(), **kinds}.items() if kind is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{name: row.get(name) for name in own} for row in given], schema=pa.schema(own))
    parquet.write_table(table, path, row_group_size=group)
    return path


def feeds(given: Sequence[Row]) -> dict[str, Array]:
    """The inputs of one request, as the model takes them."""
    kinds = {info.name: np.int64 if info.type.tensor_type.elem_type == 7 else np.float32 for info in MODEL.graph.input}
    return {name: np.array([row[name] for row in given], kind).reshape(len(given), -1) if name == "price" else
            np.array([row[name] for row in given], kind) for name, kind in kinds.items()}  # fmt: skip


Change = Callable[[Row], object]


def changed(given: Sequence[Row], which: Callable[[int, Row], bool], **values: Any) -> list[Row]:
    """The rows, some of them with other values."""
    return [{**row, **values} if which(i, row) else row for i, row in enumerate(given)]


def days(folder: Path, given: Sequence[Row], files: int = 3, **options: Any) -> list[Path]:
    """The rows in several files, one for each day, without regard to where requests end."""
    size = -(-len(given) // files)
    parts = [given[i : i + size] for i in range(0, len(given), size)]
    return [
        write(folder / f"date=2026-11-{day:02}" / "part.parquet", part, **options) for day, part in enumerate(parts, 1)
    ]


def by_request(given: Sequence[Row]) -> Mapping[Any, list[Row]]:
    """The rows by id."""
    found: dict[Any, list[Row]] = {}
    for row in given:
        found.setdefault(row["request"], []).append(row)
    return found
