"""The values of stored tensors. Files of external data are mapped and never copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from mari_onnx.document.document import Document
from mari_onnx.document.external import NUMPY_TYPES, Slice, inside, is_external, slice_of, stored_bytes
from mari_onnx.errors import ModelError


def tensor_array(document: Document, tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
    """The values of a stored tensor. An external tensor is a read-only map of its file and not a copy.

    Raises ModelError where external data is missing, too short or outside the model's folder, and for a type of
    elements that ONNX does not have.
    """
    if not is_external(tensor):
        try:
            return numpy_helper.to_array(tensor)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"tensor {tensor.name!r} cannot be read: its type is {tensor.data_type}, and it has the shape "
                f"{list(tensor.dims)} ({error})",
                "Copy or export the model again.",
            ) from error
    path, where = external_file(document, tensor)
    shape = tuple(tensor.dims)
    dtype = NUMPY_TYPES.get(tensor.data_type)
    if dtype is None:  # numpy has no such type (bfloat16, float8), or a byte holds several values (int4)
        with path.open("rb") as file:
            file.seek(where.offset)
            raw = file.read() if where.length is None else file.read(where.length)
        return numpy_helper.to_array(onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw))
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, np.dtype(dtype).newbyteorder("<"), "r", where.offset, shape)


def external_file(document: Document, tensor: onnx.TensorProto) -> tuple[Path, Slice]:
    """The file of an external tensor and its place in it. Raises ModelError unless all of its bytes are there."""
    where = slice_of(tensor)
    if document.base_dir is None:
        raise ModelError(
            f"tensor {tensor.name!r} lies in {where.location!r}, and a model in memory has no folder to look in",
            "Give the path of the model instead, or load the model with its external data.",
        )
    path = inside(document.base_dir, where.location, tensor.name, document.linked)
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
