"""Tasks: each request is in exactly one of them, wherever row groups and files end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic.files import found
from mari_onnx.traffic.plan import check_ids, plan
from tests.traffic.logs import Row, rows, write


def planned(folder: Path) -> list[list[tuple[str, int, int, int]]]:
    """The pieces of each task: file, row group, from where, to where."""
    made = plan(found([str(folder)]), "request")
    return [[(Path(p.place.path).name, p.place.group, p.start, p.stop) for p in task.pieces] for task in made.tasks]


def of(ids: list[Any]) -> list[Row]:
    return [{**rows(1)[0], "request": key} for key in ids]


def test_a_request_over_several_row_groups_and_files(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", of([1, 1, 2, 2, 2, 3]), group=2)
    write(tmp_path / "b.parquet", of([3, 3, 3, 4]), group=2)
    assert planned(tmp_path) == [
        [("a.parquet", 0, 0, 2)],
        [("a.parquet", 1, 0, 2), ("a.parquet", 2, 0, 1)],
        [("a.parquet", 2, 1, 2), ("b.parquet", 0, 0, 2), ("b.parquet", 1, 0, 1)],
        [("b.parquet", 1, 1, 2)],
    ]


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("kind", ["numbers", "rising", "words"])
def test_every_row_is_in_one_task_with_its_request(tmp_path: Path, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.permutation(8) if kind == "numbers" else np.arange(8)
    ids = np.repeat(keys, rng.integers(1, 7, 8)).tolist()
    words = [f"r{key}" for key in ids] if kind == "words" else ids
    cut = int(rng.integers(1, len(ids)))
    kinds = {"request": pa.dictionary(pa.int8(), pa.string()) if seed % 2 else pa.string()} if kind == "words" else {}
    for name, part in (("a", words[:cut]), ("b", words[cut:])):
        write(tmp_path / f"{name}.parquet", of(part), group=int(rng.integers(1, 6)), **kinds)
    files = found([str(tmp_path)])
    sizes = {(f.path, i): n for f in files for i, n in enumerate(f.rows)}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1].tolist(), strict=True))
    made = plan(files, "request")
    taken = []
    for task in made.tasks:
        own = [
            i
            for p in task.pieces
            for i in range(*(starts[p.place.path, p.place.group] + at for at in (p.start, p.stop)))
        ]
        assert own == list(range(own[0], own[-1] + 1))
        assert all(words[own[0] - 1] != words[own[0]] for _ in own[:1] if own[0])
        taken += own
    assert taken == list(range(len(ids)))
    assert (made.requests, made.rows) == (8, len(ids))


@pytest.mark.parametrize("ids", [[1, 2, 1], [2, 1, 2], ["b", "a", "b"], ["a", "b", "a"]])
@pytest.mark.parametrize("group", [1, 2, 3])
def test_rows_that_are_not_together(tmp_path: Path, ids: list[Any], group: int) -> None:
    write(tmp_path / "a.parquet", of(ids), group=group, request=pa.array(ids).type)
    with pytest.raises(UserError, match=r"begins one in .*a\.parquet, row group 0, and goes on with it in .*row group"):
        planned(tmp_path)


def test_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [])
    assert planned(tmp_path) == []


@pytest.mark.parametrize("kind", [pa.float64(), pa.timestamp("us"), pa.list_(pa.int64()), pa.bool_()])
def test_what_is_no_id(tmp_path: Path, kind: Any) -> None:
    write(tmp_path / "a.parquet", [], request=kind)
    files = found([str(tmp_path)])
    with pytest.raises(UserError, match="which are no ids of requests"):
        check_ids(files, "request")
