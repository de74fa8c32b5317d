"""What a report says of a model as a file."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper

from mari_onnx.document.facts import facts
from mari_onnx.document.read import from_proto, load
from tests.document.files import TABLE, model


def test_loads_and_describes(plain: Path) -> None:
    loaded = load(plain)
    found = facts(loaded)
    assert (found.path, found.nodes, found.opsets) == (str(plain), 1, {"ai.onnx": 17})
    assert found.bytes == loaded.bytes == plain.stat().st_size
    assert (found.inputs[0].name, found.inputs[0].dtype, found.inputs[0].shape) == ("x", "float", ("N", 4))


def test_stored_tensors_are_not_inputs(tmp_path: Path) -> None:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(numpy_helper.from_array(TABLE, "w"))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 6]))
    assert [value.name for value in facts(from_proto(proto)).inputs] == ["x"]


def test_extents_of_minus_one_are_not_known() -> None:
    proto = model()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = facts(from_proto(proto))
    assert (found.inputs[0].shape, found.outputs[0].shape) == ((None, 4), ())
