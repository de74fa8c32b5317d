"""Logs in any order: sorted, they are the requests that they would have been in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import mari_onnx
from mari_onnx.errors import UserError
from mari_onnx.traffic import sort
from mari_onnx.traffic.columns import Column
from mari_onnx.traffic.files import found
from mari_onnx.traffic.layout import Fed, Layout
from mari_onnx.verification.inputs.draw import Input
from tests.traffic.logs import by_request, days, rows, write

LOGS = rows(60)


WHOLE, TEXT = np.dtype(np.int64), np.dtype(np.str_)


def reading(*names: str) -> Layout:
    """How these columns are read."""
    kinds = {"item_id": (WHOLE, ("B",)), "user_hist": (WHOLE, ("B", 4)), "date": (TEXT, ("B",))}
    return Layout(tuple(Fed(Input(name, *kinds[name]), Column(name), "candidates") for name in names), nested=False)


def shuffled(seed: int) -> list[dict[str, Any]]:
    """The rows of all requests mixed, of which each has its own in the order that they had."""
    ids = np.random.default_rng(seed).permutation([row["request"] for row in LOGS])
    left = {key: iter(own) for key, own in by_request(LOGS).items()}
    return [next(left[key]) for key in ids.tolist()]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1 << 27, 2_000])
@pytest.mark.parametrize("kind", ["numbers", "words", "dictionary"])
def test_rows_of_a_request_are_together_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, size: int, kind: str
) -> None:
    monkeypatch.setattr(sort, "BYTES", size)
    names = {key: key if kind == "numbers" else f"r{key}" for key in range(60)}
    given = [{**row, "request": names[row["request"]]} for row in shuffled(seed)]
    types = {"numbers": pa.int64(), "words": pa.string(), "dictionary": pa.dictionary(pa.int8(), pa.string())}
    days(tmp_path / "logs", given, request=types[kind])
    (tmp_path / "sorted").mkdir()
    made = sort.in_order(found(["logs"]), "request", reading("item_id", "user_hist", "date"), tmp_path / "sorted")
    assert len(made) > 1 if size == 2_000 else len(made) == 1
    got = [row for file in made for row in parquet.read_table(file.path).to_pylist()]
    assert list(got[0]) == ["request", "item_id", "user_hist", "date"]
    seen: dict[Any, list[Any]] = {}
    for row in got:
        assert not seen or row["request"] == next(reversed(seen)) or row["request"] not in seen
        seen.setdefault(row["request"], []).append((row["item_id"], row["user_hist"]))
    expected: dict[Any, list[Any]] = {}
    for row in given:
        expected.setdefault(row["request"], []).append((row["item_id"], row["user_hist"]))
    assert seen == expected
    assert len({row["date"] for row in got}) == 3


def test_a_replay_of_logs_in_any_order(models: tuple[Path, Path], tmp_path: Path) -> None:
    days(tmp_path / "logs", shuffled(0))
    days(tmp_path / "ordered", LOGS)
    given: dict[str, Any] = {"request_id": "request", "user_inputs": "user_*", "workers": 1}
    with pytest.raises(UserError, match="or let --sort do it"):
        mari_onnx.replay(*models, requests="logs", **given)
    report = mari_onnx.replay(*models, requests="logs", sort=True, **given).replay
    expected = mari_onnx.replay(*models, requests="ordered", **given).replay
    assert report is not None and expected is not None
    assert (report.requests, report.rows, report.compared) == (expected.requests, expected.rows, expected.compared)
    assert report.outputs == expected.outputs


def test_an_id_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", [*LOGS[:20], {**LOGS[20], "request": None}])
    with pytest.raises(UserError, match=r"a\.parquet, row group 1, column `request`, row 4: the id of the request is"):
        sort.in_order(found(["logs"]), "request", reading("item_id"), tmp_path)


@pytest.mark.parametrize("wrong", [{"item_id": None}, {"user_hist": [1, None, 3, 4]}, {"user_hist": [1, 2]}])
def test_an_error_names_the_file_that_was_given(models: tuple[Path, Path], tmp_path: Path, wrong: Any) -> None:
    """And not the temporary one that its rows were sorted into."""
    write(tmp_path / "logs" / "a.parquet", LOGS[:30])
    write(tmp_path / "logs" / "b.parquet", [*LOGS[30:60], {**LOGS[60], **wrong}])
    column = next(iter(wrong))
    with pytest.raises(UserError, match=rf"logs/b\.parquet, row group 1, column `{column}`, row 14: "):
        mari_onnx.replay(*models, requests="logs", request_id="request", user_inputs="user_*", sort=True)


def test_values_that_do_not_have_the_first_files_type(tmp_path: Path) -> None:
    """Narrow numbers and wide ones go together as long as values fit."""
    write(tmp_path / "logs" / "a.parquet", LOGS[:30], item_id=pa.int8())
    write(tmp_path / "logs" / "b.parquet", LOGS[30:60])
    (made,) = sort.in_order(found(["logs"]), "request", reading("item_id"), tmp_path)
    assert made.types["item_id"] == pa.int8()
    write(tmp_path / "logs" / "c.parquet", [*LOGS[60:90], {**LOGS[90], "item_id": 300}])
    with pytest.raises(UserError, match=r"c\.parquet, row group 1, column `item_id`: it holds int64, and int8 in the"):
        sort.in_order(found(["logs"]), "request", reading("item_id"), tmp_path)
