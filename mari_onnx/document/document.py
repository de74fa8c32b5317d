"""A model, and the files that it came from."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import onnx

from mari_onnx.document.external import external_bytes
from mari_onnx.document.repair import repaired


@dataclass(frozen=True)
class Document:
    """A model, and where it came from.

    `proto` has no external data in it; `base_dir` is the folder against which external locations resolve, None for a
    model that never was a file. `bytes` counts the model and every external file that it refers to.

    `linked` is the folder of the file that a symbolic link to a model leads to, where external data may lie as well:
    hubs keep `snapshot/model.onnx -> ../blobs/3f2a` beside `snapshot/model.onnx.data -> ../blobs/9c41`.
    """

    path: Path | None
    proto: onnx.ModelProto
    base_dir: Path | None
    bytes: int
    linked: Path | None = None

    @cached_property
    def repaired(self) -> onnx.ModelProto:
        """The model as onnxruntime reads it, for the check and the analysis; `proto` where nothing is filled in."""
        return repaired(self.proto)

    def with_proto(self, proto: onnx.ModelProto) -> Document:
        """Another model that refers to the same external data: what the optimizer made of this one."""
        return replace(self, path=None, proto=proto, bytes=proto.ByteSize() + external_bytes(proto, self.base_dir))


ModelLike: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | Document"
