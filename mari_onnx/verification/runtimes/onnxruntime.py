"""Models in onnxruntime: sessions, and the errors of onnxruntime in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.document import Document
from mari_onnx.document.external import reachable
from mari_onnx.document.runtime import Session, brief, open_document, open_session, session_options
from mari_onnx.errors import UnloadableError, UserError
from mari_onnx.worker import doing

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]
Values = dict[str, Array]
Run = Callable[[Feeds], Values]


class RunError(Exception):
    """A model could not be opened, or not be run on some inputs; the text is the runtime's message, shortened."""


@dataclass(frozen=True)
class Source:
    """A model to run. `role` is its name in messages: "reference" or "optimized"."""

    role: str
    document: Document

    @property
    def proto(self) -> onnx.ModelProto:
        """The model as onnxruntime reads it, without its external data."""
        return self.document.repaired

    def array_of(self, tensor: onnx.TensorProto) -> Array:
        """The values of a stored tensor."""
        return tensor_array(self.document, tensor)

    def whole(self) -> onnx.ModelProto:
        """A copy of the model that contains its external data, for a runtime that cannot be told where that lies."""
        copy = onnx.ModelProto()
        if self.document.base_dir is None:
            copy.CopyFrom(self.proto)
        else:
            proto, folder = reachable(self.proto, self.document.base_dir)
            copy.CopyFrom(proto)
            onnx.load_external_data_for_model(copy, str(folder))
        return copy

    def session(self, threads: int = 1, provider: str | None = None) -> Session:
        """The model in onnxruntime, optimized as it would be served.

        Raises UserError where it cannot be loaded, and for the optimized model UnloadableError, which is one.

        `provider` is that of onnxruntime, in place of the CPU's.
        """
        doing(f"loaded the {self.role} model")
        try:
            return open_document(self.document, session_options(optimize=True, threads=threads), provider)
        except Exception as error:  # onnxruntime's exceptions have no common base
            path = f" {self.document.path}" if self.document.path else ""
            kind = UnloadableError if self.role == "optimized" else UserError
            raise kind(
                f"onnxruntime cannot load the {self.role} model{path}: {brief(error)}",
                "Run the model in onnxruntime by itself; it has to load there."
                if self.document.base_dir
                else "If the model has external data, give the path of its file instead of the object.",
            ) from error

    def variant(self, proto: onnx.ModelProto) -> Session:
        """A session of `proto`, a changed copy of the model with the same external data, without optimizations.

        Raises RunError where onnxruntime cannot load it.
        """
        doing(f"loaded the {self.role} model, as it is run to look into it")
        try:
            return open_session(self.document, proto, session_options(optimize=False))
        except Exception as error:
            raise RunError(brief(error)) from error

    def runner(self, session: Session) -> Run:
        """A session as a function from inputs to outputs, both by name. The function raises RunError where it fails."""
        names = [output.name for output in session.get_outputs()]

        def run(feeds: Feeds) -> dict[str, Array]:
            doing(f"ran the {self.role} model")
            try:
                return dict(zip(names, session.run(names, dict(feeds)), strict=True))
            except Exception as error:
                raise RunError(brief(error)) from error

        return run
