"""The document: a model, and the files that it came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from mari_onnx.document.external import external_bytes, external_files
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

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file, as `sha256sum` prints it, or of the bytes of a model in memory."""
        if self.path is not None:
            return file_sha256(self.path)
        digest = hashlib.sha256()
        for piece in pieces(self.proto):
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def data_sha256(self) -> Mapping[str, str]:
        """Those of the external files that the model refers to, by location."""
        files = external_files(self.proto, self.base_dir)
        return {location: file_sha256(file) for location, file in files.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled: the path of a file, which may take gigabytes, or the bytes of a model in memory."""
        stored = [] if self.path is not None else list(pieces(self.proto))
        return _again, (self.path, stored, self.base_dir, self.linked)

    def with_proto(self, proto: onnx.ModelProto) -> Document:
        """A document of another model that refers to the same external data, such as the optimized one."""
        return Document(None, proto, self.base_dir, self.linked)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _again(path: Path | None, stored: Sequence[bytes], base_dir: Path | None, linked: Path | None) -> Document:
    """A document that was pickled. It was checked before."""
    proto = onnx.ModelProto()
    proto.ParseFromString(path.read_bytes() if path is not None else b"".join(stored))
    return Document(path, proto, base_dir, linked)


ModelLike: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | Document"
