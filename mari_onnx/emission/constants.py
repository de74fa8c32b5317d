"""Stored tensors of the written model: the original's as they are, new ones computed from these.

Example: W_user is Slice(W, rows 0 to 4). Its elements are computed here, and are written as one initializer.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.document.external import is_external
from mari_onnx.emission.names import unique
from mari_onnx.emission.state import Emission
from mari_onnx.ir.expressions import Tensor, fold

CONSTANT_OF_ANY_TYPE = 9
"""The opset from which a Constant is of any type."""

PARAMETERS = 64
"""Integers up to which a tensor may be a parameter, such as the axes of a Slice. One number of any type may be one."""

INTEGERS = (TensorProto.INT64, TensorProto.INT32)

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def write_constant(emission: Emission, tensor: Tensor, name: str, *, inline: bool = False) -> None:
    """Write a stored tensor under this name; an initializer of the original that keeps its name is not copied.

    With `inline`, external data becomes part of the model.
    """
    if inline:
        initialize(emission, name, numpy_helper.from_array(emission.model.array_of(tensor.node.payload), name))
        return
    is_original = tensor.op_type == "<initializer>" and tensor.node.payload.name == name
    initialize(emission, name, tensor.node.payload if is_original else tensor)


def write_copy(emission: Emission, tensor: Tensor) -> str:
    """Write a stored tensor once more, under the name that is returned."""
    copies = (t.name for t in emission.initializers if isinstance(t, TensorProto))
    used = {*emission.names.values(), *emission.extents.values(), *copies}
    name = unique(emission, f"{emission.names[tensor]}.copy", used)
    initialize(emission, name, _copy(folded(emission, tensor), name))
    return name


def read_at_load(emission: Emission) -> set[Tensor]:
    """The external parameters of nodes of which a parameter has become a constant.

    Where all parameters of a node are stored, such as those of a Range, onnxruntime computes its shape when it loads
    the model, and fails over one whose data is external.
    """
    found: set[Tensor] = set()
    stored = emission.model.initializers
    for node in emission.lowered.nodes:
        names = node.proto.input if node.proto is not None else ()
        pairs = zip(names, node.inputs, strict=False)
        if any(t is not None and t.stored and name not in stored for name, t in pairs):
            found.update(t for t in node.inputs if t is not None and _is_external_parameter(t))
    return found


def _is_external_parameter(t: Tensor) -> bool:
    if t.op_type != "<initializer>" or not is_external(t.node.payload):
        return False
    return bool(math.prod(t.node.payload.dims) <= (PARAMETERS if t.dtype in INTEGERS else 1))


def initialize(emission: Emission, name: str, constant: Tensor | onnx.TensorProto) -> None:
    """Write a constant as an initializer, or before IR version 4 as a Constant node.

    Before IR version 4, every initializer has to be a graph input as well, and the graph's inputs must not change.
    """
    if emission.model.proto.ir_version < 4 and name not in emission.model.initializers:
        node = emission.model.makers.get((name,))
        if node is None or node.op_type != "Constant":
            value = folded(emission, constant) if isinstance(constant, Tensor) else constant
            emission.nodes.extend(_constant_nodes(emission, name, value))
        else:
            emission.nodes.append(node)
    else:
        emission.initializers.append(constant)


def _constant_nodes(emission: Emission, name: str, value: onnx.TensorProto) -> list[onnx.NodeProto]:
    """A Constant; before opset 9 it holds floats alone, and integers are cast from the double that is as large."""
    if emission.model.opset >= CONSTANT_OF_ANY_TYPE or value.data_type in FLOATS:
        return [helper.make_node("Constant", [], [name], value=value)]
    array = emission.model.array_of(value)
    double = unique(emission, f"{name}.double", {*emission.names.values(), *emission.extents.values()})
    stored = numpy_helper.from_array(array.astype(np.float64), double)
    return [
        helper.make_node("Constant", [], [double], value=stored),
        helper.make_node("Cast", [double], [name], to=value.data_type),
    ]


def folded(emission: Emission, tensor: Tensor) -> onnx.TensorProto:
    """The message of a stored tensor, whose elements are computed here if they are not the original's."""
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
