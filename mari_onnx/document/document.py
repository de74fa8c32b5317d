"""The document: a model, and the files that it came from."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import onnx

from mari_onnx.document.external import external_bytes


@dataclass(frozen=True)
class Document:
    """A model, and where it came from.

    `path` is the file, None for a model in memory. `proto` refers to external data and does not contain it. `base_dir`
    is the folder in which external data lies, None for a model without one. `bytes` is the size of the model and of
    every external file that it refers to, together.
    """

    path: Path | None
    proto: onnx.ModelProto
    base_dir: Path | None
    bytes: int

    def with_proto(self, proto: onnx.ModelProto) -> Document:
        """A document of another model that refers to the same external data, such as the optimized one."""
        return replace(self, path=None, proto=proto, bytes=proto.ByteSize() + external_bytes(proto, self.base_dir))


ModelLike: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | Document"
