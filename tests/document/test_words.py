"""Damaged files: text that is not UTF-8, and element types that are not known, are the file's fault."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from mari_onnx.document.read import from_proto, load
from mari_onnx.errors import ModelError
from tests.document.spoiled import ranker


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"a comment", "the model"),
        (b"of the graph", "the graph"),
        (b"user", "input 0"),
        (b"MatMul", "node 1"),
        (b"first node", "node 0"),
        (b"axis", "an attribute of node 0"),
        (b"stored", "stored tensor 0"),
        (b"metadata", "a metadata entry"),
        (b"acme", "an imported domain"),
    ],
)
def test_text_that_is_not_utf_8(tmp_path: Path, text: bytes, what: str) -> None:
    model = ranker()
    model.doc_string, model.graph.doc_string = "a comment", "of the graph"
    model.graph.node[0].doc_string, model.graph.initializer[0].doc_string = "first node", "stored"
    model.metadata_props.add(key="metadata", value="x")
    model.opset_import.add(domain="acme", version=1)
    data = model.SerializeToString()
    assert text in data
    path = tmp_path / "model.onnx"
    path.write_bytes(data.replace(text, text[:-1] + b"\xff"))
    with pytest.raises(ModelError, match=f"^{what} of {path} has text that is not UTF-8: b'") as caught:
        load(path)
    assert caught.value.next_step


@pytest.mark.parametrize("where", ["input", "output", "value_info", "initializer"])
def test_element_types_that_are_not_known(where: str) -> None:
    model = ranker()
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("z", 1, ["B", 32]))
    first = getattr(model.graph, where)[0]
    if where == "initializer":
        first.data_type = 77
    else:
        first.type.tensor_type.elem_type = 77
    with pytest.raises(ModelError, match=f"tensor '{first.name}' of the model has the element type 77"):
        from_proto(model)


def test_an_empty_declaration_says_nothing() -> None:
    model = ranker()
    model.graph.value_info.add().name = "z"
    from_proto(model)
