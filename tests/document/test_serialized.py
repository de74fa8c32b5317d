"""The pieces of a model are the bytes that protobuf writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mari_onnx.document.serialized import pieces, size

SAMPLES = sorted((Path(__file__).parents[2] / "sample_models").glob("*.onnx"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_models(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    assert b"".join(pieces(model)) == model.SerializeToString()
    assert size(model) == model.ByteSize()


def test_every_kind_of_field() -> None:
    """Tensors with values in other fields, fields before and after those that are taken apart, and none at all."""
    model = onnx.ModelProto()
    assert b"".join(pieces(model)) == b""
    model.graph.name = "g"
    assert b"".join(pieces(model)) == model.SerializeToString()
    model.ir_version, model.domain, model.doc_string = 8, "here", "said"
    model.metadata_props.add(key="k", value="v")
    model.functions.add(name="f", domain="d")
    for length in (0, 1, 127, 128, 20_000):
        model.graph.initializer.append(numpy_helper.from_array(np.arange(length), f"a{length}"))
    model.graph.initializer.add(name="floats", dims=[2], data_type=1, float_data=[1, 2], doc_string="no raw data")
    model.graph.initializer.add(name="external", raw_data=b"ab", data_location=onnx.TensorProto.EXTERNAL)
    model.graph.sparse_initializer.add(dims=[3])
    model.graph.node.add(op_type="Relu", input=["x"], output=["y"])
    model.graph.output.add(name="y")
    assert b"".join(pieces(model)) == model.SerializeToString()


@pytest.mark.parametrize("where", ["model", "graph", "tensor"])
def test_fields_of_a_later_version_are_kept(where: str) -> None:
    later = bytes([0xF2, 0x3F, 1, 65])
    model = onnx.ModelProto(ir_version=8)
    tensor = model.graph.initializer.add(name="a", raw_data=b"12345678", dims=[1], data_type=7)
    {"model": model, "graph": model.graph, "tensor": tensor}[where].MergeFromString(later)
    assert later in model.SerializeToString()
    assert b"".join(pieces(model)) == model.SerializeToString()


def test_no_piece_is_larger_than_a_tensor() -> None:
    model = onnx.ModelProto()
    for name in "abc":
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(100_000, np.uint8), name))
    assert max(map(len, pieces(model))) == 100_000
