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
    graph = proto.graph
    for what, message in _messages(proto):
        for text in _texts(message):
            if isinstance(text, bytes):  # what protobuf gives for text that it cannot decode
                raise ModelError(
                    f"{what} of {where} has text that is not UTF-8: {text[:80]!r}",
                    "Copy or export the model again.",
                )
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
    """The messages of a model with text in them, and what each is."""
    graph = proto.graph
    yield "the model", proto
    yield "the graph", graph
    for i, tensor in enumerate(graph.initializer):
        yield f"stored tensor {i}", tensor
        yield from ((f"the external data of stored tensor {i}", entry) for entry in tensor.external_data)
    for kind, infos in (("input", graph.input), ("output", graph.output), ("declared shape", graph.value_info)):
        for i, info in enumerate(infos):
            yield f"{kind} {i}", info
            yield from ((f"a dimension of {kind} {i}", dim) for dim in info.type.tensor_type.shape.dim)
    for i, node in enumerate(all_nodes(graph)):
        yield f"node {i}", node
        yield from ((f"an attribute of node {i}", attribute) for attribute in node.attribute)
    yield from (("an imported domain", imported) for imported in proto.opset_import)
    yield from (("a metadata entry", entry) for entry in (*proto.metadata_props, *graph.metadata_props))
    for function in proto.functions:
        yield "a function", function
        yield from (("a node of a function", node) for node in function.node)


def _texts(message: Message) -> Iterator[str | bytes]:
    """The text in a message itself. What a tensor holds is not read: it may be much."""
    if isinstance(message, onnx.TensorProto):
        for name in ("name", "doc_string"):
            try:
                yield getattr(message, name)
            except UnicodeDecodeError as error:
                yield bytes(error.object)
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from [value] if isinstance(value, str | bytes) else value
