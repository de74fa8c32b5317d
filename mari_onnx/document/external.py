"""External data: which tensors have it, and in which file and at which offset it lies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mari_onnx.errors import ModelError

PROTOBUF_LIMIT = 2**31 - 1
"""The most bytes of one protobuf message, and so of a model without its external data."""


LARGE = 2**20
"""The bytes from which a tensor is large: the check leaves it out, and it goes to a data file where one is needed."""


NUMPY_TYPES: dict[int, type[np.generic]] = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.INT8: np.int8,
    onnx.TensorProto.INT16: np.int16,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.UINT8: np.uint8,
    onnx.TensorProto.UINT16: np.uint16,
    onnx.TensorProto.UINT32: np.uint32,
    onnx.TensorProto.UINT64: np.uint64,
    onnx.TensorProto.BOOL: np.bool_,
}


@dataclass(frozen=True)
class Slice:
    """The place of an external tensor: a file, relative to the model's folder, and bytes in it; None: to the end."""

    location: str
    offset: int
    length: int | None


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's bytes lie in a file of their own."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that lies in another file: of the graph, of the bodies of its nodes and of its functions."""
    tensors = [*_graph_tensors(proto.graph), *_node_tensors(node for f in proto.functions for node in f.node)]
    return (tensor for tensor in tensors if is_external(tensor))


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)


def slice_of(tensor: onnx.TensorProto) -> Slice:
    """The place that an external tensor declares. Raises `ModelError` for an offset or length that is no number."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else None
        if offset < 0 or (length or 0) < 0:
            raise ValueError("negative")
    except ValueError as error:
        raise ModelError(
            f"tensor {tensor.name!r} has an external offset or length that is not a number of bytes",
            "Export the model again.",
        ) from error
    return Slice(entries.get("location", ""), offset, length)


def inside(base_dir: Path, location: str, tensor: str) -> Path:
    """The path of the external location of `tensor`. Raises `ModelError` for one outside the model's folder."""
    path = base_dir / location
    if not location or Path(location).is_absolute() or not path.resolve().is_relative_to(base_dir.resolve()):
        raise ModelError(
            f"the external location {location!r} of tensor {tensor!r} is not inside the model's folder {base_dir}",
            "Save the model with its external data in the same folder.",
        )
    return path


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """The bytes of the values, from type and shape; 0 for types that numpy does not have, such as int4 and strings."""
    dtype = NUMPY_TYPES.get(tensor.data_type)
    return math.prod(tensor.dims) * np.dtype(dtype).itemsize if dtype else 0


def external_bytes(proto: onnx.ModelProto, base_dir: Path | None) -> int:
    """The size of all external files that a model refers to, together; 0 without a folder."""
    locations = {slice_of(tensor).location for tensor in external_tensors(proto)}
    return sum((base_dir / location).stat().st_size for location in locations) if base_dir else 0
