"""External data: which tensors have it, and in which file and at which offset it lies."""

from __future__ import annotations

import math
import os
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
    return (tensor for tensor in all_tensors(proto) if is_external(tensor))


def has_external_data(proto: onnx.ModelProto) -> bool:
    """Whether any tensor of the model lies in another file."""
    return next(external_tensors(proto), None) is not None


def all_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every stored tensor: of the graph, of the bodies of its nodes and of its functions."""
    return [*_graph_tensors(proto.graph), *_node_tensors(node for f in proto.functions for node in f.node)]


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            match attribute.type:
                case onnx.AttributeProto.TENSOR:
                    yield attribute.t
                case onnx.AttributeProto.TENSORS:
                    yield from attribute.tensors
                case onnx.AttributeProto.GRAPH:
                    yield from _graph_tensors(attribute.g)
                case onnx.AttributeProto.GRAPHS:
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


def inside(base_dir: Path, location: str, tensor: str, linked: Path | None = None) -> Path:
    """The path of the external location of `tensor`. Raises `ModelError` for one that onnxruntime does not read.

    The location is in the model's folder. It may be a symbolic link within that folder, or into the folder `linked`,
    which has the file to which a link to the model leads.
    """
    path = base_dir / location
    named = location and "\0" not in location and not Path(location).is_absolute()
    if not named or not _is_below(Path(os.path.normpath(path)), base_dir):
        raise ModelError(
            f"the external location {location!r} of tensor {tensor!r} is not inside the model's folder {base_dir}",
            "Save the model with its external data in the same folder.",
        )
    target = path.resolve()
    if not any(target.is_relative_to(folder.resolve()) for folder in (base_dir, linked) if folder is not None):
        raise ModelError(
            f"the external location {location!r} of tensor {tensor!r} is not inside the model's folder {base_dir}: "
            f"it is a symbolic link to {target}, where onnxruntime does not follow it",
            "Copy the file into the model's folder, in place of the link.",
        )
    return path


def _is_below(path: Path, folder: Path) -> bool:
    return path.is_relative_to(os.path.normpath(folder))


def leads_outside(proto: onnx.ModelProto, base_dir: Path) -> list[Path]:
    """The external files of a model that are symbolic links to files outside its folder."""
    locations = sorted({slice_of(tensor).location for tensor in external_tensors(proto)})
    folder = base_dir.resolve()
    return [path for location in locations if not (path := base_dir / location).resolve().is_relative_to(folder)]


def reachable(proto: onnx.ModelProto, base_dir: Path) -> tuple[onnx.ModelProto, Path]:
    """The model and the folder of its external data as onnxruntime takes them for a model in memory.

    It follows no link out of the folder then. For `model.onnx.data -> ../blobs/9c41` the model is a copy that says
    `blobs/9c41`, in the folder above; otherwise both are as they were.
    """
    if not leads_outside(proto, base_dir):
        return proto, base_dir
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    entries = [entry for tensor in external_tensors(copy) for entry in tensor.external_data if entry.key == "location"]
    files = {entry.value: (base_dir / entry.value).resolve() for entry in entries}
    folder = Path(os.path.commonpath([file.parent for file in files.values()]))
    for entry in entries:
        entry.value = files[entry.value].relative_to(folder).as_posix()
    return copy, folder


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """The bytes of the values, from type and shape; 0 for types that numpy does not have, such as int4 and strings."""
    dtype = NUMPY_TYPES.get(tensor.data_type)
    return math.prod(tensor.dims) * np.dtype(dtype).itemsize if dtype else 0


def external_files(proto: onnx.ModelProto, base_dir: Path | None) -> dict[str, Path]:
    """The external files that a model refers to, by location in the order of these; none without a folder."""
    locations = sorted({slice_of(tensor).location for tensor in external_tensors(proto)}) if base_dir else ()
    return {location: base_dir / location for location in locations if base_dir}


def external_bytes(proto: onnx.ModelProto, base_dir: Path | None) -> int:
    """The size of all external files that a model refers to, together; 0 without a folder."""
    return sum(file.stat().st_size for file in external_files(proto, base_dir).values())
