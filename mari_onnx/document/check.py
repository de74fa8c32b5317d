"""Whether a model is valid ONNX, without reading its weights."""

from __future__ import annotations

import onnx
from google.protobuf.message import Message
from onnx import checker, shape_inference

from mari_onnx import worker
from mari_onnx.document.arrays import external_file
from mari_onnx.document.document import Document
from mari_onnx.document.external import LARGE, external_tensors, is_external, stored_bytes
from mari_onnx.document.serialized import copy_field
from mari_onnx.document.words import check_words
from mari_onnx.errors import ModelError


def check(document: Document) -> None:
    """Raise `ModelError` unless the model is valid ONNX, or onnxruntime loads it, and its external data is there.

    Operators of unknown domains count as valid. So do wrong shapes that an exporter declared, which runtimes overlook.
    """
    where = str(document.path or "the model")
    check_words(document.proto, where)
    for tensor in external_tensors(document.proto):
        external_file(document, tensor)
    _check_stored(document.proto, where)
    try:
        _check_light(light(document.repaired))
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        if _loads(document):
            return
        reason = " ".join(str(error).split())[:500]
        raise ModelError(
            f"{where} is not a valid ONNX model: {reason}",
            "Export the model again; `onnx.checker.check_model(path, full_check=True)` tells more.",
        ) from error


def _loads(document: Document) -> bool:
    """Whether onnxruntime loads the model; no if it crashes over it, or does not end."""
    from mari_onnx.document.runtime import loads  # onnxruntime takes its time to import

    try:
        return worker.run(loads, document)
    except worker.StoppedError:
        return False


def _check_stored(proto: onnx.ModelProto, where: str) -> None:
    """Raise `ModelError` for a tensor that lacks bytes, and for two of one name: a runtime may take either."""
    seen: set[str] = set()
    for tensor in proto.graph.initializer:
        if tensor.name in seen:
            raise ModelError(f"{where} stores the tensor {tensor.name!r} twice", "Export the model again.")
        seen.add(tensor.name)
        needed = stored_bytes(tensor)
        if tensor.HasField("raw_data") and (stored := len(tensor.raw_data)) < needed:
            raise ModelError(
                f"tensor {tensor.name!r} of {where} has {stored:,} bytes, and its shape needs {needed:,}",
                "Copy or export the model again.",
            )


def _check_light(proto: onnx.ModelProto) -> None:
    """Raise an error of onnx's own unless the model is valid."""
    described = _with_types(proto)
    try:
        checker.check_model(described, full_check=described is proto)
        if described is not proto:
            shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    except shape_inference.InferenceError:
        # For an Attention whose width onnx does not know, it infers the width 0, and nothing behind that fits.
        if any(node.op_type == "Attention" for node in proto.graph.node):
            return
        shape_inference.infer_shapes(_without_declared_shapes(proto), check_type=True, strict_mode=True)


def _with_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every input and output of the graph has a shape, and every output a type.

    onnx's checker asks for both and does not look at what they say. The same object where nothing is missing.
    """
    graph = proto.graph
    if all(_has_shape(info) for info in (*graph.input, *graph.output)):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for info in (*copy.graph.input, *copy.graph.output):
        if not _has_shape(info):
            info.type.tensor_type.shape.SetInParent()
    for info in copy.graph.output:
        if not info.type.tensor_type.elem_type and info.type.HasField("tensor_type"):
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy


def _has_shape(info: onnx.ValueInfoProto) -> bool:
    kind = info.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or info.type.tensor_type.HasField("shape"))


def light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with large and external initializers as inputs, because the check needs only their types.

    The checker of onnx copies its model several times, and looks for external data in the working directory.
    """
    light = onnx.ModelProto()
    copy_fields(proto, light, but="graph")
    copy_fields(proto.graph, light.graph, but="initializer")
    graph = light.graph
    declared = {value.name for value in graph.input}
    for tensor in proto.graph.initializer:
        if not is_external(tensor) and stored_bytes(tensor) < LARGE:
            graph.initializer.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for sparse in graph.sparse_initializer:  # shape inference does not know them
        graph.input.append(onnx.helper.make_tensor_value_info(sparse.values.name, sparse.values.data_type, sparse.dims))
    del graph.sparse_initializer[:]
    for tensor in external_tensors(light):
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = bytes(stored_bytes(tensor))
    return light


def copy_fields(source: Message, target: Message, *, but: str) -> None:
    """Copy all fields of a protobuf message into an empty one, except for the field `but`."""
    for field, content in source.ListFields():
        if field.name != but:
            copy_field(field.name, content, target)


def _without_declared_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model without the shapes that the exporter declared, which may be wrong."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy
