"""Whether the names and element types of a model mean anything: a damaged file has others."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import Message

from mari_onnx.document.scopes import all_nodes
from mari_onnx.errors import ModelError

ELEMENT_TYPES = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}


def check_words(proto: onnx.ModelProto, where: str) -> None:
    """Raise `ModelError`, which names the file and the place, for text that is not UTF-8 and for an unknown type."""
    for what, message in _messages(proto):
        try:
            message.ListFields()
        except UnicodeDecodeError as error:
            text = error.object.decode("utf-8", "backslashreplace")
            raise ModelError(
                f"{what} of {where} has text that is not UTF-8: {text[:80]!r}", "Copy or export the model again."
            ) from error
    graph = proto.graph
    for tensor in graph.initializer:
        _check_type(tensor.name, tensor.data_type, where)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.HasField("tensor_type"):
            _check_type(info.name, info.type.tensor_type.elem_type, where)


def _check_type(name: str, element_type: int, where: str) -> None:
    if element_type not in ELEMENT_TYPES:
        raise ModelError(
            f"tensor {name!r} of {where} has the element type {element_type}, which this version of onnx does not know",
            "Export the model again; if its exporter is new, `pip install -U onnx onnxruntime` first.",
        )


def _messages(proto: onnx.ModelProto) -> Iterator[tuple[str, Message]]:
    """The messages with text in them, and what they are. Stored tensors are left out, for their bytes are copied."""
    graph = proto.graph
    yield "the model", proto
    yield "the graph", graph
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield "an input, an output or a shape", info
        for dim in info.type.tensor_type.shape.dim:
            yield "a shape", dim
    for i, node in enumerate(all_nodes(graph)):
        yield f"node {i}", node
    for each in (*proto.opset_import, *proto.metadata_props, *proto.functions):
        yield "an entry", each
    for function in proto.functions:
        for node in function.node:
            yield f"a node of function {function.name!r}", node
