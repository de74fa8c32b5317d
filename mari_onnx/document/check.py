"""Whether a model is valid ONNX, without reading its weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import checker, shape_inference

from mari_onnx import worker
from mari_onnx.document.arrays import external_file
from mari_onnx.document.document import Document
from mari_onnx.document.external import (
    LARGE,
    NUMPY_TYPES,
    all_tensors,
    external_tensors,
    is_external,
    stored_bytes,
)
from mari_onnx.document.repair import VERSIONS
from mari_onnx.document.scopes import all_nodes
from mari_onnx.document.serialized import copy_field
from mari_onnx.document.unsafe_nodes import is_unsafe, unsafe_nodes
from mari_onnx.document.words import check_words
from mari_onnx.errors import ModelError, UserError

BITS = {
    **{kind: 8 * np.dtype(dtype).itemsize for kind, dtype in NUMPY_TYPES.items()},
    **{value: 8 for name, value in onnx.TensorProto.DataType.items() if name.startswith("FLOAT8")},
    **{value: 4 for name, value in onnx.TensorProto.DataType.items() if name in ("INT4", "UINT4", "FLOAT4E2M1")},
    onnx.TensorProto.BFLOAT16: 16,
}
"""The bits of an element, by its type; other types than these are not checked."""


MOST_ELEMENTS = 2**59
"""The elements that an array can have, also where one more extent is 0 and it has none: its bytes are counted."""


def check(document: Document) -> None:
    """Raise `ModelError` unless the model is valid ONNX, or onnxruntime loads it, and its external data is there.

    Operators of unknown domains count as valid. So do wrong shapes that an exporter declared, which runtimes overlook.
    """
    where = str(document.path or "the model")
    check_words(document.proto, where)
    if not document.proto.graph.output:
        raise ModelError(f"{where} has no outputs", "Export the model with what it computes as outputs.")
    for tensor in external_tensors(document.proto):
        external_file(document, tensor)
    _check_stored(document.proto, where)
    for node in unsafe_nodes(document.repaired):
        if not (reason := why_not_loaded(document)):
            return
        if not is_unsafe(node):
            raise ModelError(
                f"{where} cannot be loaded by onnxruntime: {reason}",
                "Run the model in onnxruntime by itself; it has to load there.",
            )
        name = f"`{next(filter(None, node.output), node.name)}`"
        raise ModelError(
            f"{where} is not a valid ONNX model: an attribute of {node.op_type} {name} is out of range ({reason})",
            "Correct the attribute, or export the model again.",
        )
    try:
        _check_light(light(document.repaired))
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        if not why_not_loaded(document):
            return
        reason = " ".join(str(error).split())[:500]
        raise ModelError(
            f"{where} is not a valid ONNX model: {reason}",
            "Export the model again; `onnx.checker.check_model(path, full_check=True)` tells more.",
        ) from error


def why_not_loaded(document: Document, *, optimize: bool = False) -> str | None:
    """Why onnxruntime does not load the model, also where it crashes over it, or does not end; None where it does.

    It is loaded as it is, or with the optimizations of onnxruntime.
    """
    from mari_onnx.document import runtime  # onnxruntime takes its time to import

    try:
        return worker.run(runtime.why_not_loaded, document, optimize)
    except worker.StoppedError as stopped:
        return str(stopped)


@contextlib.contextmanager
def blaming(*documents: Document) -> Iterator[None]:
    """Let an error inside that is not the user's be a `ModelError`, if onnxruntime refuses one of the models."""
    try:
        yield
    except UserError:
        raise
    except Exception:
        blame(*documents)
        raise


def blame(*documents: Document) -> None:
    """Raise `ModelError` if onnxruntime refuses one of the models, of which something could not be understood.

    onnx's checker looks at few rules: it takes a Concat of integers and booleans. A model with operators that are
    nowhere defined is not to blame: they may be in a library of the user's.
    """
    for document in documents:
        known = {*VERSIONS, *(function.domain for function in document.proto.functions)}
        if any(node.domain not in known for node in all_nodes(document.repaired.graph)):
            continue
        if reason := why_not_loaded(document):
            raise ModelError(
                f"{document.path or 'the model'} cannot be loaded by onnxruntime: {reason}",
                "Run the model in onnxruntime by itself; it has to load there.",
            )


def _check_stored(proto: onnx.ModelProto, where: str) -> None:
    """Raise `ModelError` for a tensor of other than its bytes, and for two of one name: a runtime may take either."""
    seen: set[str] = set()
    for tensor in proto.graph.initializer:
        if tensor.name in seen:
            raise ModelError(f"{where} stores the tensor {tensor.name!r} twice", "Export the model again.")
        seen.add(tensor.name)
    for tensor in all_tensors(proto):
        if any(extent < 0 for extent in tensor.dims) or math.prod(filter(None, tensor.dims)) > MOST_ELEMENTS:
            raise ModelError(
                f"tensor {tensor.name!r} of {where} has the shape {list(tensor.dims)}",
                "Copy or export the model again.",
            )
        stored, needed, unit = _stored(tensor)
        if stored != needed:
            raise ModelError(
                f"tensor {tensor.name!r} of {where} has {stored:,} {unit}, and its shape needs {needed:,}",
                "Copy or export the model again.",
            )


def _stored(tensor: onnx.TensorProto) -> tuple[int, int, str]:
    """How much a tensor stores, how much its shape needs, and in which unit. External data is checked with its file."""
    kind, elements = tensor.data_type, math.prod(tensor.dims)
    if is_external(tensor) or kind not in (*BITS, onnx.TensorProto.STRING):
        return 0, 0, ""
    if tensor.HasField("raw_data") and kind in BITS:
        return len(tensor.raw_data), -(-elements * BITS[kind] // 8), "bytes"
    packed = 2 if BITS.get(kind) == 4 else 1
    return len(getattr(tensor, onnx.helper.tensor_dtype_to_field(kind))), -(-elements // packed), "elements"


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
