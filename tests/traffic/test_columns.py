"""The column map: what a file says, what is refused, and that what is written is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mari_onnx.errors import UserError
from mari_onnx.traffic.columns import Column, as_toml, read

COLUMNS = {
    "user_id": Column("uid"),
    "hist": Column("clicks", pad=0, side="start", length=50, keep="last", null=-1),
    "scene": Column("scene", value=3),
    "a b.c": Column('quote " and \\ and \n'),
    "word": Column("word", pad="", null="none"),
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    written = as_toml({**COLUMNS, "scene": Column("scene", value=3)}, {"hist": "the column\nis a guess"})
    path.write_text(written.replace('column = "scene", ', ""), encoding="utf-8")
    assert read(path) == COLUMNS
    assert "# the column\n# is a guess\nhist = {" in written
    assert 'user_id = "uid"' in written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id =", "is not TOML"),
        ("[columns]\na = 'b'", "has 'columns'"),
        ("inputs = 3", "has 'inputs'"),
        ("[inputs]\na = 3", "input `a` is 3"),
        ("[inputs]\na = {col = 'b'}", "has the key 'col'"),
        ("[inputs]\na = {side = 'left'}", "side of input `a` is 'left'"),
        ("[inputs]\na = {length = 0}", "length of input `a` is 0"),
        ("[inputs]\na = {length = true}", "length of input `a` is True"),
        ("[inputs]\na = {pad = [0]}", "pad of input `a` is"),
        ("[inputs]\na = {value = 1, pad = 0}", "a value in all rows, and pad besides"),
    ],
)
def test_what_means_nothing(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "map.toml")
