"""A document: the user's own model, how onnxruntime reads it, and other models with the same external data."""

from __future__ import annotations

from pathlib import Path

import pytest

from mari_onnx.document.document import Document
from mari_onnx.document.read import load
from tests.document.files import changed
from tests.document.spoiled import domain_spelled_out, ranker


def test_a_model_is_repaired_once_and_stays_the_user_s_own() -> None:
    model = ranker()
    assert Document(None, model, None).repaired is model
    domain_spelled_out(model)
    document = Document(None, model, None)
    assert document.repaired is document.repaired
    assert document.repaired.graph.node[1].domain == ""
    assert document.proto.graph.node[1].domain == "ai.onnx"


@pytest.mark.parametrize("linked", [False, True])
def test_another_model_refers_to_the_same_data(with_data: Path, tmp_path: Path, linked: bool) -> None:
    path = with_data
    if linked:
        path = tmp_path / "model.onnx"
        path.symlink_to(with_data)
        (tmp_path / "model.data").symlink_to(with_data.parent / "model.data")
    document = load(path)
    other = document.with_proto(changed(document.proto))
    assert (other.path, other.base_dir, other.linked) == (None, path.parent, with_data.parent if linked else None)
    assert other.bytes == other.proto.ByteSize() + (with_data.parent / "model.data").stat().st_size
