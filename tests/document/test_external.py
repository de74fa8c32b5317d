"""Where external data may lie."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from mari_onnx.document.read import load
from mari_onnx.errors import ModelError
from tests.document.files import TABLE, external, write


@pytest.mark.parametrize(
    ("location", "offset", "message"),
    [
        ("../elsewhere.data", 0, "not inside the model's folder"),
        ("/etc/hostname", 0, "not inside the model's folder"),
        ("outside.data", 0, "not inside the model's folder"),
        ("model.data", -1, "not a number of bytes"),
        ("model.data", "eight", "not a number of bytes"),
    ],
)
def test_external_data_that_cannot_be_there(with_data: Path, location: str, offset: int | str, message: str) -> None:
    outside = with_data.parent.parent / "elsewhere.data"
    outside.write_bytes(TABLE.tobytes())
    (with_data.parent / "outside.data").symlink_to(outside)
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].CopyFrom(external("w", location, TABLE, offset))
    with pytest.raises(ModelError, match=message):
        load(write(with_data, proto))
