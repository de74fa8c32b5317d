"""What onnx's checker refuses is taken where onnxruntime loads it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mari_onnx.document.external import LARGE
from mari_onnx.document.read import from_proto, load
from mari_onnx.document.runtime import brief, open_document, open_session, session_options, why_not_loaded
from mari_onnx.errors import ModelError
from tests.document.files import TABLE, external
from tests.document.spoiled import normalization_of_a_later_opset, ranker


def test_an_operator_of_a_later_opset_that_onnxruntime_has() -> None:
    model = ranker()
    normalization_of_a_later_opset(model)
    with pytest.raises(onnx.checker.ValidationError, match="No Op registered for LayerNormalization"):
        onnx.checker.check_model(model)
    assert why_not_loaded(from_proto(model)) is None


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
    assert open_document(document, session_options(optimize=False)).get_outputs()[0].name == "y"
    assert open_session(document, model, session_options(optimize=True)).get_outputs()[0].name == "y"
    model.graph.initializer[0].CopyFrom(external("w", "nowhere.data", TABLE))
    with pytest.raises(ModelError, match=r"needs .*nowhere\.data, which does not exist"):
        from_proto(model, with_data.parent)


def test_tables_are_mapped_once_for_all_sessions(tmp_path: Path) -> None:
    """A table that only lookups read; what is multiplied by, onnxruntime reads itself, as where the model is served."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (int64[B] ids, float[B, 4] x) => (float[B, 8] y) {
        e = Gather (table, ids) p = MatMul (x, weight) y = Add (e, p) }"""
    model = onnx.parser.parse_model(text)
    arrays = {"table": np.arange(8.0 * LARGE, dtype=np.float32).reshape(-1, 8), "weight": np.ones((4, 8), np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    document = load(tmp_path / "m.onnx")
    feeds = {"ids": np.array([3, LARGE - 1]), "x": np.ones((2, 4), np.float32)}
    expected = arrays["table"][feeds["ids"]] + 4
    sessions = [
        open_document(document, session_options(optimize=True)),
        open_session(document, document.proto, session_options(optimize=False)),
    ]
    for session in sessions:
        np.testing.assert_array_equal(session.run(None, feeds)[0], expected)
    assert [list(session.tables) for session in sessions] == [["table"]] * 2
    assert len({session.tables["table"].data_ptr() for session in sessions}) == 1


def test_a_path_that_is_not_utf8(with_data: Path) -> None:
    """onnxruntime takes no such path, and the model all the same."""
    path = with_data.with_name(os.fsdecode(b"model\xff.onnx"))
    with_data.rename(path)
    assert open_document(load(path), session_options(optimize=True)).get_outputs()[0].name == "y"


def test_a_failure_is_told_in_a_few_words() -> None:
    assert brief(ValueError("[ONNXRuntimeError] : 1 : FAIL : no\n such  file")) == "no such file"
    assert len(brief(ValueError("long " * 100))) == 300
