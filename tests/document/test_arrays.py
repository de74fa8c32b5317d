"""The values of stored tensors: mapped where they lie in a file, which has to be there and to be long enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.read import from_proto, load
from mari_onnx.errors import ModelError
from tests.document.files import TABLE, external, model, write


def test_external_data_is_mapped(with_data: Path) -> None:
    loaded = load(with_data)
    assert loaded.bytes == with_data.stat().st_size + 8 + TABLE.nbytes
    array = tensor_array(loaded, loaded.proto.graph.initializer[0])
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, TABLE)
    assert not loaded.proto.graph.initializer[0].raw_data


def test_inline_and_narrow_types(tmp_path: Path) -> None:
    inline = numpy_helper.from_array(TABLE, "w")
    np.testing.assert_array_equal(tensor_array(from_proto(model()), inline), TABLE)
    values = onnx.helper.make_tensor("v", TensorProto.BFLOAT16, [3], [1.0, -2.0, 0.5])
    raw = numpy_helper.to_array(values).tobytes()
    (tmp_path / "v.bin").write_bytes(b"__" + raw)
    stored = TensorProto(name="v", data_type=TensorProto.BFLOAT16, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "v.bin", "offset": "2", "length": str(len(raw))}.items():
        stored.external_data.add(key=key, value=value)
    array = tensor_array(from_proto(model(), tmp_path), stored)
    np.testing.assert_array_equal(array.astype(np.float32), [1.0, -2.0, 0.5])


@pytest.mark.parametrize("kind", [TensorProto.UNDEFINED, 99])
def test_elements_of_no_type(kind: int) -> None:
    stored = TensorProto(name="v", data_type=kind, dims=[2], raw_data=bytes(8))
    with pytest.raises(ModelError, match=rf"tensor 'v' cannot be read: its type is {kind}, and it has the shape \[2\]"):
        tensor_array(from_proto(model()), stored)


def test_no_elements(tmp_path: Path) -> None:
    (tmp_path / "e.bin").touch()
    empty = external("e", "e.bin", np.empty((0, 3), np.float32))
    assert tensor_array(from_proto(model(), tmp_path), empty).shape == (0, 3)


@pytest.mark.parametrize(
    ("location", "offset", "message"),
    [
        ("gone.data", 0, r"gone\.data, which does not exist"),
        ("model.data", 16, "too short for tensor 'w': 96 bytes are needed at offset 16 and 88 are there"),
    ],
)
def test_external_data_that_is_not_there(with_data: Path, location: str, offset: int, message: str) -> None:
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].CopyFrom(external("w", location, TABLE, offset))
    with pytest.raises(ModelError, match=message):
        load(write(with_data, proto))


def test_length_is_checked(with_data: Path) -> None:
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].CopyFrom(external("w", "model.data", TABLE, length="16"))
    with pytest.raises(ModelError, match="too short"):
        load(write(with_data, proto))


def test_in_memory_there_is_nowhere_to_look(with_data: Path) -> None:
    proto = onnx.load(with_data, load_external_data=False)
    with pytest.raises(ModelError, match="no folder to look in"):
        from_proto(proto)
    assert from_proto(proto, with_data.parent).bytes > TABLE.nbytes
