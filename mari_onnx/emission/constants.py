"""Stored tensors: those of the original as they are, the others folded."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.emission.state import Emission
from mari_onnx.ir.expressions import Tensor, fold


def write_constant(emission: Emission, tensor: Tensor, name: str) -> None:
    """A tensor of stored values under this name."""
    stored = tensor.op_type == "<initializer>" and tensor.node.payload.name == name
    initialize(emission, name, tensor.node.payload if stored else tensor)


def initialize(emission: Emission, name: str, constant: Tensor | onnx.TensorProto) -> None:
    """An initializer; before IR version 4 it had to be a graph input as well, and those stay: a Constant, then."""
    if emission.model.proto.ir_version < 4 and name not in emission.model.initializers:
        node = emission.model.makers.get((name,))
        if node is None or node.op_type != "Constant":
            value = folded(emission, constant) if isinstance(constant, Tensor) else constant
            node = helper.make_node("Constant", [], [name], value=value)
        emission.nodes.append(node)
    else:
        emission.initializers.append(constant)


def folded(emission: Emission, tensor: Tensor) -> onnx.TensorProto:
    """A tensor of stored values as it is written: its values are computed here."""
    name = emission.names[tensor]
    if tensor.op_type == "<initializer>":
        return _copy(tensor.node.payload, name)
    array = fold(tensor, emission.model.array_of)
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _copy(proto: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = TensorProto()
    copy.CopyFrom(proto)
    copy.name = name
    return copy
