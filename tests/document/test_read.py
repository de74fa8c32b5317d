"""Reading: what a file is instead of a model is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import numpy_helper

from mari_onnx.document.read import load
from mari_onnx.errors import ModelError, UserError
from tests.document.files import TABLE, model


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no model\n", "is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a text file"),
        (bytes(range(1, 200)), "is cut short, or is not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n0000", "there is no graph in it"),
    ],
)
def test_what_is_no_model(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert str(path) in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, kept: float) -> None:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(numpy_helper.from_array(TABLE, "w"))
    data = proto.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelError, match=r"cut short|no graph|not a valid"):
        load(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nowhere.onnx")
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)


def test_over_two_gigabytes_is_said_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: takes no space
    with pytest.raises(ModelError, match=r"3\.2 GB in one file.*2 GB without external data"):
        load(path)
