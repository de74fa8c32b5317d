"""Names of external data by its content, and what is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mari_onnx.document.data_files import OURS, Digest, content_name, named_by, remove_unused
from tests.document.files import TABLE, external, model, write


def _model(path: Path, location: str) -> Path:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(external("w", location, TABLE))
    return write(path, proto)


def _data(folder: Path, content: bytes = b"data") -> Path:
    digest = Digest()
    digest.add(content)
    path = folder / digest.name("model.data")
    path.write_bytes(content)
    return path


def test_a_name_is_that_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "weights.bin"
    file.parent.mkdir()
    file.write_bytes(b"data")
    looked: list[int] = []
    name = content_name(file, "folder/weights.bin", lambda: looked.append(1))
    assert name == "weights.bin.mari-3a6eb0790f39ac87.data"
    assert OURS.search(name)
    assert looked
    file.write_bytes(b"date")
    other = content_name(file, name, lambda: None)  # of a copy: what such a name had added is left out
    assert other != name
    assert other.startswith("weights.bin.mari-")
    assert other.count("mari") == 1


@pytest.mark.parametrize("base", ["w" * 300, "w" * 250 + "€uro", "€" * 90])
def test_a_name_is_no_longer_than_names_may_be(tmp_path: Path, base: str) -> None:
    name = Digest().name(base)
    assert OURS.search(name)
    (tmp_path / name).write_bytes(b"")


def test_data_that_a_model_names(tmp_path: Path) -> None:
    data = _data(tmp_path)
    (tmp_path / "other.data").write_bytes(b"data")
    assert named_by(tmp_path / "nowhere.onnx") == []
    assert named_by(_model(tmp_path / "a.onnx", data.name)) == [data]
    assert named_by(_model(tmp_path / "b.onnx", "other.data")) == []  # not a name of its content
    assert named_by(_model(tmp_path / "c.onnx", f"x{data.name}")) == []  # another name, with this one within
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert named_by(tmp_path / "empty.onnx") == []


def test_a_link_is_not_data(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    data = _data(tmp_path / "folder")
    (tmp_path / data.name).symlink_to(data)
    assert named_by(_model(tmp_path / "a.onnx", data.name)) == []


def test_data_that_nothing_names_is_removed(tmp_path: Path) -> None:
    data = _data(tmp_path)
    _model(tmp_path / "a.onnx", "model.data")
    (tmp_path / "empty").write_bytes(b"")
    remove_unused([data, data.with_name("gone")], [])
    assert not data.exists()


@pytest.mark.parametrize("other", ["b.onnx", "no ending", ".b.onnx.01234567.tmp"])
def test_data_that_something_names_is_kept(tmp_path: Path, other: str) -> None:
    data = _data(tmp_path)
    _model(tmp_path / other, data.name)
    remove_unused([data], [])
    assert data.exists()


def test_data_of_the_model_that_is_read_is_kept(tmp_path: Path) -> None:
    data = _data(tmp_path)
    remove_unused([data], [tmp_path / "." / data.name, tmp_path / "nowhere"])
    assert data.exists()
