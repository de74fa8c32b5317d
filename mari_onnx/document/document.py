"""The document: a model, and the files that it came from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from mari_onnx.document.external import external_bytes
from mari_onnx.document.repair import repaired
from mari_onnx.document.serialized import pieces, size


@dataclass(frozen=True)
class Document:
    """A model, and where it came from.

    `path` is the file, None for a model in memory. `proto` refers to external data and does not contain it. `base_dir`
    is the folder in which external data lies, None for a model without one.

    `linked` is the folder of the file that `path` leads to if that is a symbolic link. Links to external data may lead
    there as well: hubs keep `snapshot/model.onnx -> ../blobs/3f2a` beside `snapshot/model.data -> ../blobs/9c41`.
    """

    path: Path | None
    proto: onnx.ModelProto
    base_dir: Path | None
    linked: Path | None = None

    @cached_property
    def repaired(self) -> onnx.ModelProto:
        """The model as onnxruntime reads it, for the check and the analysis; `proto` where nothing is filled in."""
        return repaired(self.proto)

    @cached_property
    def bytes(self) -> int:
        """The size of the model and of every external file that it refers to, together."""
        own = size(self.proto) if self.path is None else self.path.stat().st_size
        return own + external_bytes(self.proto, self.base_dir)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled: the path of a file, which may take gigabytes, or the bytes of a model in memory."""
        stored = [] if self.path is not None else list(pieces(self.proto))
        return _again, (self.path, stored, self.base_dir, self.linked)

    def with_proto(self, proto: onnx.ModelProto) -> Document:
        """A document of another model that refers to the same external data, such as the optimized one."""
        return Document(None, proto, self.base_dir, self.linked)


def _again(path: Path | None, stored: Sequence[bytes], base_dir: Path | None, linked: Path | None) -> Document:
    """A document that was pickled. It was checked before."""
    proto = onnx.ModelProto()
    proto.ParseFromString(path.read_bytes() if path is not None else b"".join(stored))
    return Document(path, proto, base_dir, linked)


ModelLike: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | Document"
