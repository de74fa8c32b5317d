"""Whether a model is valid ONNX, without reading its weights."""

from __future__ import annotations

import onnx
from google.protobuf.message import Message
from onnx import checker, shape_inference

from mari_onnx.document.arrays import external_file
from mari_onnx.document.document import Document
from mari_onnx.document.external import LARGE, external_tensors, is_external, stored_bytes
from mari_onnx.errors import ModelError


def check(document: Document) -> None:
    """Raise `ModelError` unless the model is valid ONNX and its external data is there.

    Operators of unknown domains count as valid. So do wrong shapes that an exporter declared, which runtimes overlook.
    """
    where = document.path or "the model"
    for tensor in external_tensors(document.proto):
        external_file(document, tensor)
    for tensor in document.proto.graph.initializer:
        needed = stored_bytes(tensor)
        if tensor.HasField("raw_data") and (stored := len(tensor.raw_data)) < needed:
            raise ModelError(
                f"tensor {tensor.name!r} of {where} has {stored:,} bytes, and its shape needs {needed:,}",
                "Copy or export the model again.",
            )
    try:
        proto = light(document.proto)
        try:
            checker.check_model(proto, full_check=True)
        except shape_inference.InferenceError:
            # For an Attention whose width onnx does not know, it infers the width 0, and nothing behind that fits.
            if any(node.op_type == "Attention" for node in proto.graph.node):
                return
            shape_inference.infer_shapes(_without_declared_shapes(proto), check_type=True, strict_mode=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:500]
        raise ModelError(
            f"{where} is not a valid ONNX model: {reason}",
            "Export the model again; `onnx.checker.check_model(path, full_check=True)` tells more.",
        ) from error


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
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        elif isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def _without_declared_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model without the shapes that the exporter declared, which may be wrong."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy
