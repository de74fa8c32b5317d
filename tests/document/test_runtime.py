"""What onnx's checker refuses is taken where onnxruntime loads it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from mari_onnx.document.read import from_proto, load
from mari_onnx.document.runtime import loads, open_document, open_session
from mari_onnx.errors import ModelError
from tests.document.files import TABLE, external
from tests.document.spoiled import normalization_of_a_later_opset, ranker


def test_an_operator_of_a_later_opset_that_onnxruntime_has() -> None:
    model = ranker()
    normalization_of_a_later_opset(model)
    with pytest.raises(onnx.checker.ValidationError, match="No Op registered for LayerNormalization"):
        onnx.checker.check_model(model)
    assert loads(from_proto(model))


def test_one_that_it_has_not() -> None:
    with pytest.raises(ModelError, match="No Op registered for Gelu"):
        from_proto(ranker("y = Gelu (n)", opset=13))


def test_external_data_is_there_when_it_is_asked(with_data: Path) -> None:
    model = onnx.load(with_data, load_external_data=False)
    node = model.graph.node[0]
    node.output[0] = "z"
    for name in "sb":
        model.graph.initializer.append(numpy_helper.from_array(TABLE[0], name))
    model.graph.node.append(onnx.helper.make_node("LayerNormalization", ["z", "s", "b"], ["y"]))
    model.opset_import[0].version = 13
    with_data.write_bytes(model.SerializeToString())
    document = load(with_data)
    assert open_document(document, optimize=False).get_outputs()[0].name == "y"
    assert open_session(model, document.base_dir, optimize=True).get_outputs()[0].name == "y"
    model.graph.initializer[0].CopyFrom(external("w", "nowhere.data", TABLE))
    with pytest.raises(ModelError, match=r"needs .*nowhere\.data, which does not exist"):
        from_proto(model, with_data.parent)
