"""What every runtime is given of a model, and what is said where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from mari_onnx.document.read import from_proto, load
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source
from tests.verification import models


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A model without a file, whose external data lies in a folder."""
    path = tmp_path / "model.onnx"
    onnx.save_model(models.tower(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    document = load(path)
    return Source("reference", document.with_proto(document.proto))


def test_the_whole_model_needs_no_files(source: Source) -> None:
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in source.whole().graph.initializer}
    for tensor in models.tower().graph.initializer:
        np.testing.assert_array_equal(found[tensor.name], onnx.numpy_helper.to_array(tensor))
    assert all(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in source.proto.graph.initializer)


def test_a_model_without_external_data_is_copied() -> None:
    source = Source("reference", from_proto(models.tower()))
    assert source.whole() == source.proto
    assert source.whole() is not source.proto


def test_a_failure_is_told_in_one_line(source: Source) -> None:
    with pytest.raises(RunError) as failed:
        source.runner(source.session())({})
    assert "\n" not in str(failed.value)
