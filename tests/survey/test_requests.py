"""Recorded requests: what is the same within each of them, and files that do not say."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mari_onnx.errors import UserError
from mari_onnx.report.survey import Recorded, Within
from mari_onnx.survey.requests import constancy

COLUMNS: dict[str, Any] = {
    "request": [7, 3, 7, 3, 5],
    "user": [1, 2, 1, 2, 9],
    "history": [[1, 2], [3, 4], [1, 2], [3, 4], [0, 0]],
    "price": [0.5, 1.5, 0.5, 1.25, 2.0],
    "word": ["a", "b", "a", "b", "c"],
    "more": [0, 0, 0, 0, 0],
}
FOUND = {
    "user": Within(True),
    "history": Within(True),
    "price": Within(False, "request 3: 1.5 in row 2, 1.25 in row 4"),
    "word": Within(True),
}
NAMES = ["user", "history", "price", "word", "unrecorded"]


def written(folder: Path, ending: str, columns: dict[str, Any]) -> Path:
    path = folder / f"rows{ending}"
    if ending == ".npz":
        arrays: dict[str, Any] = {name: np.array(values) for name, values in columns.items()}
        np.savez(path, **arrays)
    elif ending == ".jsonl":
        n = len(next(iter(columns.values())))
        rows = [{name: values[i] for name, values in columns.items()} for i in range(n)]
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".parquet"])
def test_what_is_the_same_within_a_request(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending, COLUMNS)
    recorded, found = constancy(path, "request", NAMES)
    assert recorded == Recorded(str(path), "request", 3, 2, 5)
    assert found == FOUND


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_histories_of_several_lengths_and_what_is_missing(tmp_path: Path, ending: str) -> None:
    columns = {
        "request": ["x", "x", "y", "y"],
        "history": [[1], [1], [], [2, 3]],
        "maybe": [None, None, 1, 1],
        "tags": [["a"], ["a"], ["b", "c"], ["b", "c"]],
    }
    _, found = constancy(written(tmp_path, ending, columns), "request", list(columns))
    assert found["history"] == Within(False, "request y: [] in row 3, [2, 3] in row 4")
    assert found["maybe"] == found["tags"] == Within(True)


def test_a_nan_is_the_same_as_a_nan(tmp_path: Path) -> None:
    columns = {"request": [1, 1], "x": [np.nan, np.nan], "y": [[0, np.nan], [0, 1]]}
    _, found = constancy(written(tmp_path, ".npz", columns), "request", ["x", "y"])
    assert found["x"].same
    assert found["y"].example.startswith("request 1: [ 0. nan] in row 1, [0. 1.] in row 2")


def test_long_values_are_cut(tmp_path: Path) -> None:
    columns = {"request": [1, 1], "x": [list(range(100)), list(range(1, 101))]}
    _, found = constancy(written(tmp_path, ".npz", columns), "request", ["x"])
    assert found["x"].example == "request 1: [ 0 1 2 3 4 5 6 7 8 9... in row 1, [ 1 2 3 4 5 6 7 8 9 1... in row 2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "requst"}, r"has no column 'requst'\nDid you mean 'request'\? Its columns are: request, user"),
        ({"names": ["other"]}, "has none of the model's inputs\nIts columns are: .* The inputs are: other"),
        ({"column": "history"}, r"the ids of requests in .* have shape \[5, 2\]"),
        ({"columns": {**COLUMNS, "user": [1, 2]}}, "input `user` in .* has 2 rows, and there are 5 ids"),
        ({"columns": {**COLUMNS, "user": 1}}, "input `user` in .* has 1 rows, and there are 5 ids"),
    ],
)
def test_files_that_do_not_say(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = written(tmp_path, ".npz", change.get("columns", COLUMNS))
    with pytest.raises(UserError, match=message) as caught:
        constancy(path, change.get("column", "request"), change.get("names", NAMES))
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.npz", None, "do not exist"),
        ("rows.csv", b"a,b", "has an ending that is not known"),
        ("rows.npz", b"no zip", "cannot be read"),
        ("rows.jsonl", b'{"a": 1}\n{"a": ', "line 2 is not JSON"),
        ("rows.jsonl", b"[1]\n", "line 1 is not a JSON object"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        constancy(tmp_path / name, "a", ["b"])
    assert caught.value.next_step


def test_one_array_is_no_table(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(3))
    (tmp_path / "rows.npy").rename(tmp_path / "rows.npz")
    with pytest.raises(UserError, match="cannot be read"):
        constancy(tmp_path / "rows.npz", "a", ["b"])


def test_pyarrow_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *given: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"needs pyarrow to be read") as caught:
        constancy(tmp_path / "rows.parquet", "a", ["b"])
    assert caught.value.next_step == "pip install 'mari-onnx[parquet]'"


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "rows.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        constancy(tmp_path / "rows.parquet", "a", ["b"])
