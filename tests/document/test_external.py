"""Where external data may lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.external import external_tensors, leads_outside, reachable, slice_of
from mari_onnx.document.read import load
from mari_onnx.document.runtime import open_document, session_options
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


@pytest.fixture
def hub(with_data: Path) -> Path:
    """A model cache: the folder has symbolic links with names, and the files lie elsewhere under their digests."""
    blobs, snapshot = with_data.parent.parent / "blobs", with_data.parent.parent / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    with_data.rename(blobs / "3f2a")
    (with_data.parent / "model.data").rename(blobs / "9c41")
    (snapshot / "model.onnx").symlink_to("../blobs/3f2a")
    (snapshot / "model.data").symlink_to("../blobs/9c41")
    return snapshot / "model.onnx"


def test_links_of_a_model_and_its_data_lead_to_one_folder(hub: Path) -> None:
    document = load(hub)
    tensor = document.proto.graph.initializer[0]
    assert tensor_array(document, tensor).tolist() == TABLE.tolist()
    assert document.with_proto(document.proto).linked == hub.parent.parent / "blobs"
    assert document.base_dir is not None
    assert leads_outside(document.proto, document.base_dir) == [hub.with_name("model.data")]
    for session in (
        open_document(document, session_options(optimize=True)),
        open_document(document.with_proto(document.proto), session_options(optimize=True)),
    ):
        (got,) = session.run(None, {"x": np.ones((1, 4), np.float32)})
        assert got.tolist() == [TABLE.sum(0).tolist()]


def test_reachable_data_is_called_as_the_file_is(hub: Path, with_data: Path) -> None:
    proto = onnx.load(hub, load_external_data=False)
    copy, folder = reachable(proto, hub.parent)
    assert folder == hub.parent.parent / "blobs"
    assert [slice_of(tensor).location for tensor in external_tensors(copy)] == ["9c41"]
    (hub.parent / "model.data").unlink()
    (hub.parent / "model.data").write_bytes(b"\0" * 8 + TABLE.tobytes())
    assert reachable(proto, hub.parent) == (proto, hub.parent)


def test_a_link_to_another_folder_is_not_followed(hub: Path) -> None:
    elsewhere = hub.parent.parent / "elsewhere"
    elsewhere.write_bytes(b"\0" * 8 + TABLE.tobytes())
    hub.with_name("model.data").unlink()
    hub.with_name("model.data").symlink_to(elsewhere)
    with pytest.raises(ModelError, match=r"'model\.data' of tensor 'w' .* a symbolic link to .*elsewhere") as caught:
        load(hub)
    assert caught.value.next_step == "Copy the file into the model's folder, in place of the link."


def test_links_from_a_file_that_is_none_are_not_followed(hub: Path) -> None:
    data = hub.read_bytes()
    hub.unlink()
    hub.write_bytes(data)
    with pytest.raises(ModelError, match="a symbolic link to"):
        load(hub)


def test_a_way_up_and_down_again_stays_in_the_folder(with_data: Path) -> None:
    (with_data.parent / "inner").mkdir()
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].CopyFrom(external("w", "inner/../model.data", TABLE, 8))
    load(write(with_data, proto))
