"""Models as files: reading, checking and writing them. Nothing else knows about paths and external data.

A document holds the model as it was stored, without the bytes of its external data: a model with tables of many
gigabytes is read, edited and written in the memory that its graph takes.
"""

from __future__ import annotations

import contextlib
import filecmp
import math
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import checker, numpy_helper, shape_inference

from mari_onnx.errors import ModelError, UserError
from mari_onnx.report.model import ModelFacts, TensorFacts

PROTOBUF_LIMIT = 2**31 - 1
"""The most bytes that one protobuf message, and so the inline part of a model, can have."""

LARGE = 2**20
"""The bytes from which on a tensor is not looked into by the check, and goes to a data file where one is needed."""

PAGE = 4096
"""Where tensors start in a data file, so that a runtime can map them."""

_MAPPED: dict[int, type[np.generic]] = {
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
class Document:
    """A model, and where it came from.

    `proto` has no external data in it; `base_dir` is the folder against which external locations resolve, None for a
    model that never was a file. `bytes` counts the model and every external file that it refers to.
    """

    path: Path | None
    proto: onnx.ModelProto
    base_dir: Path | None
    bytes: int

    def with_proto(self, proto: onnx.ModelProto) -> Document:
        """Another model that refers to the same external data: what the optimizer made of this one."""
        return replace(self, path=None, proto=proto, bytes=proto.ByteSize() + _external_bytes(proto, self.base_dir))


ModelLike: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | Document"


@dataclass(frozen=True)
class _Slice:
    """Where an external tensor lies."""

    location: str
    offset: int
    length: int | None


# Reading


def load(path: str | Path) -> Document:
    """Read and check a model; its external data is only looked at. Raises `UserError`, which names the file."""
    path = Path(path)
    proto = _parse(path)
    document = Document(path, proto, path.parent, 0)
    check(document)
    return replace(document, bytes=path.stat().st_size + _external_bytes(proto, path.parent))


def from_proto(proto: onnx.ModelProto, base_dir: str | Path | None = None) -> Document:
    """Check a model that is in memory, and take it for a document."""
    base_dir = Path(base_dir) if base_dir is not None else None
    document = Document(None, proto, base_dir, 0)
    check(document)
    return replace(document, bytes=proto.ByteSize() + _external_bytes(proto, base_dir))


def as_document(model: ModelLike) -> Document:
    """The model of a file, one that is in memory, or a document as it is; checked unless it is one already."""
    if isinstance(model, Document):
        return model
    return from_proto(model) if isinstance(model, onnx.ModelProto) else load(Path(model))


def check(document: Document) -> None:
    """Raise `ModelError` unless the model is valid ONNX and its external data is there.

    Operators of domains that nobody here knows are valid, as are declared shapes that a runtime would overlook.
    """
    where = document.path or "the model"
    for tensor in external_tensors(document.proto):
        _external_file(document, tensor)
    for tensor in document.proto.graph.initializer:
        needed = stored_bytes(tensor)
        if tensor.HasField("raw_data") and (stored := len(tensor.raw_data)) < needed:
            raise ModelError(
                f"tensor {tensor.name!r} of {where} has {stored:,} bytes, and its shape needs {needed:,}",
                "Copy or export the model again.",
            )
    try:
        proto = _light(document.proto)
        try:
            checker.check_model(proto, full_check=True)
        except shape_inference.InferenceError:
            # Of Attention on a width that it does not know onnx infers the width 0, at which nothing after it fits.
            if any(node.op_type == "Attention" for node in proto.graph.node):
                return
            shape_inference.infer_shapes(_without_declared_shapes(proto), check_type=True, strict_mode=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:500]
        raise ModelError(
            f"{where} is not a valid ONNX model: {reason}",
            "Export the model again; `onnx.checker.check_model(path, full_check=True)` tells more.",
        ) from error


def tensor_array(document: Document, tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
    """The values of a stored tensor; of an external one, a read-only map of the file and not a copy."""
    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    path, where = _external_file(document, tensor)
    shape = tuple(tensor.dims)
    dtype = _MAPPED.get(tensor.data_type)
    if dtype is None:  # no numpy type of its own (bfloat16, float8), or more than one value a byte (int4)
        with path.open("rb") as file:
            file.seek(where.offset)
            raw = file.read() if where.length is None else file.read(where.length)
        return numpy_helper.to_array(onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw))
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, np.dtype(dtype).newbyteorder("<"), "r", where.offset, shape)


def facts(document: Document) -> ModelFacts:
    """What a report says about the model itself."""
    proto, graph = document.proto, document.proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    return ModelFacts(
        path=str(document.path) if document.path else None,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        ir_version=proto.ir_version,
        opsets={opset.domain or "ai.onnx": opset.version for opset in proto.opset_import},
        nodes=len(graph.node),
        initializers=len(graph.initializer) + len(graph.sparse_initializer),
        bytes=document.bytes,
        inputs=tuple(_tensor_facts(value) for value in graph.input if value.name not in stored),
        outputs=tuple(_tensor_facts(value) for value in graph.output),
    )


def _tensor_facts(value: onnx.ValueInfoProto) -> TensorFacts:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorFacts(value.name, (kind or "unknown").removesuffix("_type"), ())
    tensor = value.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
    return TensorFacts(value.name, onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), tuple(dims))


def _parse(path: Path) -> onnx.ModelProto:
    if not path.exists():
        raise UserError(f"{path} does not exist", "Give the path of an exported ONNX model.")
    if path.is_dir():
        raise UserError(f"{path} is a folder", "Give the .onnx file in it.")
    size = path.stat().st_size
    if size > PROTOBUF_LIMIT:
        raise ModelError(
            f"{path} has {size / 1e9:.1f} GB in one file, and ONNX allows 2 GB without external data",
            "Export it with external data (`onnx.save_model(..., save_as_external_data=True)`).",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from error
    if not data:
        raise ModelError(f"{path} is empty", "Copy or export the model again.")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        if _is_text(data):
            raise ModelError(f"{path} is a text file and not an ONNX model", _pointer(data)) from error
        raise ModelError(
            f"{path} is cut short, or is not an ONNX model: its {size:,} bytes do not parse",
            "Compare its size with the original's, then copy or export it again.",
        ) from error
    if not proto.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model: there is no graph in it", "Give a file that an exporter wrote.")
    return proto


def _is_text(data: bytes) -> bool:
    head = data[:4096]
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def _pointer(data: bytes) -> str:
    if data.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer: `git lfs pull` fetches the model."
    return "Give the .onnx file that the exporter wrote."


# External data


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


def _slice(tensor: onnx.TensorProto) -> _Slice:
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
    return _Slice(entries.get("location", ""), offset, length)


def _external_file(document: Document, tensor: onnx.TensorProto) -> tuple[Path, _Slice]:
    """Where an external tensor lies, after making sure that it does."""
    where = _slice(tensor)
    if document.base_dir is None:
        raise ModelError(
            f"tensor {tensor.name!r} lies in {where.location!r}, and a model in memory has no folder to look in",
            "Give the path of the model instead, or load it with its external data.",
        )
    path = _inside(document.base_dir, where.location, tensor.name)
    if not path.is_file():
        raise ModelError(
            f"{document.path or 'the model'} needs {path}, which does not exist (data of tensor {tensor.name!r})",
            "Put the model's external data beside it, under the name that it was exported with.",
        )
    needed = stored_bytes(tensor) if where.length is None else where.length
    available = path.stat().st_size - where.offset
    if available < needed or needed < stored_bytes(tensor):
        raise ModelError(
            f"{path} is too short for tensor {tensor.name!r}: {stored_bytes(tensor):,} bytes are needed at offset "
            f"{where.offset:,} and {max(0, min(available, needed)):,} are there",
            "Copy the external data again, or export the model again.",
        )
    return path, where


def _inside(base_dir: Path, location: str, tensor: str) -> Path:
    path = base_dir / location
    if not location or Path(location).is_absolute() or not path.resolve().is_relative_to(base_dir.resolve()):
        raise ModelError(
            f"the external location {location!r} of tensor {tensor!r} is not inside the model's folder {base_dir}",
            "Save the model with its external data in the same folder.",
        )
    return path


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """How many bytes the values take at least: nothing is assumed of types that are narrow, or have no width."""
    dtype = _MAPPED.get(tensor.data_type)
    return math.prod(tensor.dims) * np.dtype(dtype).itemsize if dtype else 0


def _external_bytes(proto: onnx.ModelProto, base_dir: Path | None) -> int:
    locations = {_slice(tensor).location for tensor in external_tensors(proto)}
    return sum((base_dir / location).stat().st_size for location in locations) if base_dir else 0


def _light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with large and external initializers as inputs: to check it, their types are enough.

    The checker copies what it is given several times over, and looks for external data in the current folder.
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
    """Give a new message all fields of another but one."""
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
    """The model without the shapes that an exporter noted: runtimes overlook one that is wrong."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy


# Writing


def check_output(path: str | Path, source: str | Path | Document, *, overwrite: bool = False) -> None:
    """Raise `UserError` unless a result can be written there: the cheap questions, before any work is done."""
    path = Path(path)
    for used in _files(source):
        if path.exists() and used.exists() and path.samefile(used):
            raise UserError(f"{path} is the model that is read, and would be lost", "Give the result another name.")
    check_writable(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists", "Add --overwrite to replace it, or give another name.")


def check_writable(path: Path) -> None:
    """Raise `UserError` unless a file can be made, or replaced, at this path."""
    if path.is_dir():
        raise UserError(f"{path} is a folder", "Give the name of a file.")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file, and would be replaced by one", "Give the name of a file.")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist", f"Make it: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"the folder {path.parent} is not writable", "Check its permissions, or write elsewhere.")


def save(document: Document, proto: onnx.ModelProto, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model that was made from a document, whole or not at all.

    An unchanged model is copied byte for byte. External data that is still referred to is put beside the result,
    where it is not there already. Whatever fails, or interrupts this, files that were there before are left whole.
    """
    save_all(document, {Path(path): proto}, overwrite=overwrite)


def save_all(document: Document, models: Mapping[Path, onnx.ModelProto], *, overwrite: bool = False) -> None:
    """The same for several models that were made from one document: all of them are written, or none is."""
    for path in models:
        check_output(path, document, overwrite=overwrite)
    with _Staged() as staged:
        copies = {
            target: source
            for path, proto in models.items()
            for source, target in _external_copies(document, proto, path, overwrite=overwrite)
        }
        for target, source in copies.items():
            staged.write(target, partial(_copy, source))
        for path, proto in models.items():
            if document.path is not None and proto == document.proto:
                staged.write(path, partial(_copy, document.path))
            else:
                _stage_model(staged, proto, path, overwrite=overwrite)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with _Staged() as staged:
        staged.write(path, lambda file: file.write(data))


class _Staged:
    """Files that are written beside their places, and put there together when all of them are complete."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def __enter__(self) -> _Staged:
        return self

    def write(self, path: Path, fill: Callable[[IO[bytes]], object]) -> None:
        temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
        self._files.append((temporary, path))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(path, error) from error

    def __exit__(self, failure: object, *_: object) -> None:
        try:
            for temporary, path in self._files if failure is None else ():
                try:
                    temporary.replace(path)
                except OSError as error:
                    raise _cannot_write(path, error) from error
        finally:
            for temporary, _path in self._files:
                with contextlib.suppress(OSError):
                    temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be written: {error.strerror}", "Check the disk and the folder's permissions.")


def _stage_model(staged: _Staged, proto: onnx.ModelProto, path: Path, *, overwrite: bool) -> None:
    try:
        if proto.ByteSize() > PROTOBUF_LIMIT:
            proto = _spill(staged, proto, path.with_name(path.name + ".data"), overwrite=overwrite)
        data = proto.SerializeToString()
    except EncodeError as error:
        raise UserError(
            f"the result does not fit into {path}: ONNX allows 2 GB without external data",
            "Export the model with external data, and optimize that.",
        ) from error
    staged.write(path, lambda file: file.write(data))


def _spill(staged: _Staged, proto: onnx.ModelProto, path: Path, *, overwrite: bool) -> onnx.ModelProto:
    """A copy of the model whose large tensors lie in a data file."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists", "Add --overwrite to replace it, or give the result another name.")
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)

    def fill(file: IO[bytes]) -> None:
        for tensor in copy.graph.initializer:
            if len(tensor.raw_data) < LARGE:
                continue
            offset = file.seek(-file.tell() % PAGE, os.SEEK_CUR)
            length = file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", path.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))

    staged.write(path, fill)
    return copy


def _external_copies(
    document: Document, proto: onnx.ModelProto, path: Path, *, overwrite: bool
) -> Iterator[tuple[Path, Path]]:
    """The data files that have to be copied for the result to find its external data, and where to."""
    base_dir = document.base_dir
    locations = sorted({_slice(tensor).location for tensor in external_tensors(proto)})
    if base_dir is None or path.parent.samefile(base_dir):
        return
    for location in locations:
        source, target = base_dir / location, path.parent / location
        if target == path:
            raise UserError(f"{path} is also the name of the model's external data", "Give the result another name.")
        if target.exists():
            if target.samefile(source) or filecmp.cmp(source, target, shallow=False):
                continue
            if not overwrite or any(used.exists() and target.samefile(used) for used in _files(document)):
                raise UserError(
                    f"{target} already exists, and is not the external data of this model",
                    "Write into another folder" + ("." if overwrite else ", or add --overwrite to replace it."),
                )
        yield source, target


def _files(source: str | Path | Document) -> list[Path]:
    """The files that a model consists of, as far as they are known without reading it."""
    if not isinstance(source, Document):
        return [Path(source)]
    base_dir = source.base_dir
    model = [source.path] if source.path else []
    locations = Counter(_slice(tensor).location for tensor in external_tensors(source.proto))
    return model + [base_dir / location for location in locations] if base_dir else model


def _copy(source: Path, target: IO[bytes]) -> None:
    """Copy within the kernel where it can: a table of gigabytes never passes through this process."""
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):  # another file system, or one that cannot
                while os.copy_file_range(file.fileno(), target.fileno(), size):
                    pass
        # copy_file_range moved the positions of both files, so this copies what is left
        file.seek(os.lseek(file.fileno(), 0, os.SEEK_CUR))
        shutil.copyfileobj(file, target, 1 << 20)
