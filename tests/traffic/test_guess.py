"""Column maps that are written for the user: what is guessed of names and values, and that a replay runs with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mari_onnx
from mari_onnx.errors import UserError
from mari_onnx.traffic.columns import Column, read
from mari_onnx.traffic.guess import write_map
from mari_onnx.verification.inputs.draw import Input
from tests.traffic.logs import rows, write
from tests.traffic.test_requests import inputs


def test_names_lengths_and_missing_values(models: tuple[Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = [{**row, "userId": row["user_id"], "ITEM_ID": row["item_id"]} for row in rows(30)]
    for row in given:
        row["user_history"] = [1] * (row["request"] % 6)
        row["price"] = None if rng.random() < 0.1 else row["price"]
    kinds = {"user_id": None, "item_id": None, "user_hist": None, "userId": pa.int64(), "ITEM_ID": pa.int32()}
    path = write(tmp_path / "logs" / "a.parquet", given, user_history=pa.list_(pa.int64()), **kinds, group=1000)
    write_map(Path("map.toml"), inputs(), path)
    assert read(Path("map.toml")) == {
        "user_id": Column("userId"),
        "user_x": Column("user_x"),
        "user_hist": Column("user_history", pad=0, keep="last"),
        "item_id": Column("ITEM_ID"),
        "price": Column("price", null=0),
    }
    text = Path("map.toml").read_text(encoding="utf-8")
    assert "# guessed: lists have 0 to 5 values, and are filled up with 0\n" in text
    assert "# guessed: the model takes 4 values, and of 5 the last are kept\n" in text
    assert "# guessed: values are missing, and 0 takes their place\n" in text
    assert text.count("# guessed: the column whose name is the most alike") == 3
    report = mari_onnx.replay(
        *models, requests="logs", request_id="request", user_inputs="user_*", columns="map.toml", workers=1
    )  # fmt: skip
    assert report.passed
    with pytest.raises(UserError, match="already exists"):
        write_map(Path("map.toml"), inputs(), path)


def test_an_input_that_nothing_looks_like(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", rows(3), price=None)
    write_map(Path("map.toml"), inputs(), path)
    assert '# not found: fill in the column; not taken are request\nprice = "price"\n' in Path("map.toml").read_text(
        encoding="utf-8"
    )


def test_with_the_report_of_the_inputs(models: tuple[Path, Path], tmp_path: Path) -> None:
    path = write(tmp_path / "logs" / "a.parquet", rows(9))
    report = mari_onnx.inputs(models[0], requests=path, write_map="map.toml")
    assert report.survey is not None and report.survey.recorded is None
    assert read(Path("map.toml"))["user_id"] == Column("user_id")
    report = mari_onnx.inputs(models[0], requests=path, request_id="request", write_map="other.toml")
    assert report.survey is not None and report.survey.recorded is not None
    with pytest.raises(UserError, match="a column map is of a file"):
        mari_onnx.inputs(models[0], write_map="third.toml")


def test_lists_of_candidates_are_not_filled_up(tmp_path: Path) -> None:
    item = Input("item_id", np.dtype("int64"), ("R", "N"), listed="N")
    given = [{**row, "item_id": [1] * n} for row, n in zip(rows(3)[:2], (2, 5), strict=True)]
    path = write(tmp_path / "a.parquet", given, item_id=pa.list_(pa.int64()))
    write_map(Path("map.toml"), [item], path)
    assert read(Path("map.toml")) == {"item_id": Column("item_id")}
