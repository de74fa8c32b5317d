"""Run a model: read it, open it in onnxruntime, and say plainly when that does not work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.document import Document
from mari_onnx.document.runtime import open_document, open_session
from mari_onnx.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]
Values = dict[str, Array]
Run = Callable[[Feeds], Values]


class RunError(Exception):
    """A model could not be opened or run on these inputs; the text is the runtime's, made short."""


@dataclass(frozen=True)
class Source:
    """A model to run. `role` is what messages call it."""

    role: str
    document: Document

    @property
    def proto(self) -> onnx.ModelProto:
        """The model as onnxruntime reads it, without its external data."""
        return self.document.repaired

    def array_of(self, tensor: onnx.TensorProto) -> Array:
        """The values of a stored tensor."""
        return tensor_array(self.document, tensor)

    def session(self) -> ort.InferenceSession:
        """The model in onnxruntime, as it would be served. Raises UserError."""
        try:
            return open_document(self.document, optimize=True)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise UserError(
                f"onnxruntime cannot load the {self.role} model: {_brief(error)}",
                None if self.document.base_dir else "If it has external data, give the path of its file instead.",
            ) from error

    def variant(self, proto: onnx.ModelProto) -> ort.InferenceSession:
        """A changed copy of the model, with the same external data, not optimized. Raises RunError."""
        try:
            return open_session(proto, self.document.base_dir, optimize=False)
        except Exception as error:
            raise RunError(_brief(error)) from error


def runner(session: ort.InferenceSession) -> Run:
    """The session as a function from feeds to outputs by name, which raises RunError."""
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Feeds) -> dict[str, Array]:
        try:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise RunError(_brief(error)) from error

    return run


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
    text = re.sub(r"/onnxruntime_src/\S+ .* was false\. ", "", text)
    return text if len(text) <= 300 else text[:297] + "..."
