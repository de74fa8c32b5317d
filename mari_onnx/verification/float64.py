"""The same model in float64, to tell a wrong function from a rounded one."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, numpy_helper
from onnx.external_data_helper import uses_external_data
from onnx.inliner import inline_local_functions

from mari_onnx.verification.runtime import Array, Feeds

_RAISED = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_LARGE = 1 << 26
_RECURRENT = {"GRU", "LSTM", "RNN"}
_TYPE_ATTRIBUTES = {"to", "dtype", "output_dtype"}


def raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in which every float16, bfloat16 and float32 value is a float64.

    Recurrent operators stay in float32, between casts: onnxruntime has them in nothing wider, and ONNX's own
    interpreter leaves the lengths of the sequences out. `has_recurrence` tells.

    External and large constants stay as they are stored and are cast inside the graph, so that the copy is never
    larger than what ONNX can hold. The copy need not be valid: some operators have no float64 form.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(inline_local_functions(model) if model.functions else model)
    _raise_graph(copy.graph)
    return copy


def has_recurrence(model: onnx.ModelProto) -> bool:
    """Whether a raised model still computes a part of itself in float32."""
    return any(node.op_type in _RECURRENT for node in model.graph.node)


def raise_feeds(feeds: Feeds) -> dict[str, Array]:
    """The same inputs for a raised model: exact, because every narrower float is a float64."""
    return {name: a.astype(np.float64) if np.issubdtype(a.dtype, np.floating) else a for name, a in feeds.items()}


def _raise_graph(graph: GraphProto) -> None:
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type not in _RAISED:
            continue
        if uses_external_data(tensor) or tensor.ByteSize() > _LARGE:
            stored = f"{tensor.name}.stored"
            casts.append(onnx.helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.DOUBLE))
            tensor.name = stored
        else:
            _raise_tensor(tensor)
    nodes = list(casts)
    for node in graph.node:
        _raise_node(node)
        nodes += _in_float32(node) if node.op_type in _RECURRENT else [node]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        _raise_type(value.type)


def _in_float32(node: NodeProto) -> list[NodeProto]:
    """A recurrent node between casts; all that it takes but the lengths, its fifth input, is cast."""
    inner = NodeProto()
    inner.CopyFrom(node)
    before, after = [], []
    for i, name in enumerate(node.input):
        if name and i != 4:
            inner.input[i] = f"{node.output[0] or node.output[1]}.narrow{i}"
            before.append(onnx.helper.make_node("Cast", [name], [inner.input[i]], to=TensorProto.FLOAT))
    for i, name in enumerate(node.output):
        if name:
            inner.output[i] = f"{name}.narrow"
            after.append(onnx.helper.make_node("Cast", [inner.output[i]], [name], to=TensorProto.DOUBLE))
    return [*before, inner, *after]


def _raise_node(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            _raise_graph(attribute.g)
        elif attribute.type == AttributeProto.TENSOR:
            _raise_tensor(attribute.t)
        elif attribute.name in _TYPE_ATTRIBUTES and attribute.i in _RAISED:
            attribute.i = TensorProto.DOUBLE
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            tensor = numpy_helper.from_array(np.asarray(values, np.float64))
            attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float64))))


def _raise_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _RAISED:
        values = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _raise_type(type_: TypeProto) -> None:
    kind = type_.WhichOneof("value")
    if kind == "tensor_type" and type_.tensor_type.elem_type in _RAISED:
        type_.tensor_type.elem_type = TensorProto.DOUBLE
    elif kind in ("sequence_type", "optional_type"):
        _raise_type(getattr(type_, kind).elem_type)
