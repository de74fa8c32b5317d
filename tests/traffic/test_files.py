"""Files: which there are, and their rows in batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic.files import Piece, batches, found
from tests.traffic.logs import days, rows, write


def test_a_pattern_a_folder_and_an_address(tmp_path: Path) -> None:
    made = [str(path) for path in days(tmp_path / "logs", rows(9))]
    for pattern in ("logs", "logs/date=*/*.parquet", f"{tmp_path}/logs", f"file://{tmp_path}/logs/date=*/*.parquet",
                    f"file://{tmp_path}/logs"):  # fmt: skip
        assert [Path(file.path.removeprefix("file://")).resolve() for file in found([pattern])] == [*map(Path, made)]
    assert len(found(["logs", "logs/date=2026-11-01/*.parquet"])) == 3
    with pytest.raises(UserError, match="no file matches"):
        found(["logs/*.parquet"])
    with pytest.raises(UserError, match="cannot be opened"):
        found(["nowhere://logs/*.parquet"])


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "logs[1].parquet", rows(3))
    assert [file.path for file in found([str(path)])] == [str(path)]


def test_partitions_are_columns(tmp_path: Path) -> None:
    days(tmp_path / "logs", rows(9))
    file = found(["logs"])[1]
    assert dict(file.partition) == {"date": "2026-11-02"}
    (_, batch), *_ = batches(Piece(file.place(0), 0, 5), ["date", "item_id"])
    assert batch["date"].to_pylist() == ["2026-11-02"] * 5


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_rows_of_a_piece(tmp_path: Path, size: int) -> None:
    given = rows(9)
    write(tmp_path / "a.parquet", given, group=20)
    (file,) = found([str(tmp_path)])
    for start, stop in ((0, 20), (5, 13), (19, 20)):
        got = list(batches(Piece(file.place(1), start, stop), ["item_id"], size))
        assert [at for at, _ in got] == [at for at in range(0, 20, size) if at < stop and at + size > start] or got
        values = [value for _, batch in got for value in batch["item_id"].to_pylist()]
        assert values == [row["item_id"] for row in given[20 + start : 20 + stop]]


def test_the_state_of_a_file_changes_with_it(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows(9))
    (before,) = found([str(tmp_path)])
    assert found([str(tmp_path)])[0].state == before.state
    write(tmp_path / "a.parquet", rows(10))
    assert found([str(tmp_path)])[0].state != before.state


def test_a_row_group_that_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", rows(60), group=1000)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    (file,) = found([str(path)])
    with pytest.raises(UserError, match=r"a\.parquet, row group 0 cannot be read"):
        list(batches(Piece(file.place(0), 0, file.rows[0]), ["request", "user_id", "user_x"]))
