"""Run a model: read it, open it in onnxruntime, and say plainly when that does not work."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from onnx.external_data_helper import uses_external_data
from onnx.reference import ReferenceEvaluator

from mari_onnx.errors import ModelError, UserError

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]
Run = Callable[[Feeds], dict[str, Array]]

_PROTOBUF_LIMIT = 2**31 - 1


class RunError(Exception):
    """A model could not be opened or run on these inputs; the text is the runtime's, made short."""


@dataclass(frozen=True)
class Source:
    """A model as given: `proto` without its external data, which lies in `path`'s folder (None: there is no file)."""

    role: str
    proto: onnx.ModelProto
    path: Path | None = None

    @classmethod
    def read(cls, role: str, model: str | os.PathLike[str] | onnx.ModelProto) -> Source:
        """Take a model, or read one from a file. `role` is what messages call it. Raises ModelError."""
        if isinstance(model, onnx.ModelProto):
            return cls(role, model)
        path = Path(model)
        try:
            if path.stat().st_size > _PROTOBUF_LIMIT:
                raise ModelError(
                    f"The {role} model {path} is larger than 2 GB in one file, which ONNX does not allow.",
                    "Save it with external data.",
                )
            return cls(role, onnx.load(path, load_external_data=False), path)
        except OSError as error:
            raise ModelError(f"The {role} model cannot be read: {error}") from error
        except DecodeError as error:
            raise ModelError(f"The {role} model {path} is not an ONNX model, or is truncated.") from error

    @property
    def size(self) -> int:
        """Bytes of the model with its external data."""
        size: int = self.proto.ByteSize()
        for tensor in self.proto.graph.initializer:
            if uses_external_data(tensor):
                size += sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")
        return size

    def session(self) -> ort.InferenceSession:
        """The model in onnxruntime, as it would be served. Raises UserError."""
        try:
            if self.path is not None:
                return ort.InferenceSession(str(self.path), _options(), providers=["CPUExecutionProvider"])
            return open_session(self.proto, None, optimize=True)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise UserError(
                f"onnxruntime cannot load the {self.role} model: {_brief(error)}",
                None if self.path else "If it has external data, give the path of its file instead.",
            ) from error

    def variant(self, proto: onnx.ModelProto) -> ort.InferenceSession:
        """A changed copy of the model, with the same external data, not optimized. Raises RunError."""
        try:
            return open_session(proto, self.path.parent if self.path else None, optimize=False)
        except Exception as error:
            raise RunError(_brief(error)) from error


def open_session(proto: onnx.ModelProto, folder: Path | None, *, optimize: bool) -> ort.InferenceSession:
    """A session for a model in memory, whose external data lies in `folder`."""
    options = _options()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def runner(session: ort.InferenceSession) -> Run:
    """The session as a function from feeds to outputs by name, which raises RunError."""
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Feeds) -> dict[str, Array]:
        try:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise RunError(_brief(error)) from error

    return run


def interpreter(proto: onnx.ModelProto) -> Run:
    """The model in ONNX's reference interpreter: slow, but it has a float64 kernel for every operator."""
    names = [output.name for output in proto.graph.output]

    def run(feeds: Feeds) -> dict[str, Array]:
        try:
            with np.errstate(all="ignore"):
                values = evaluator.run(names, dict(feeds))
            return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
        except Exception as error:
            raise RunError(_brief(error)) from error

    try:
        evaluator = ReferenceEvaluator(proto)
    except Exception as error:
        raise RunError(_brief(error)) from error
    return run


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # a failure is raised; logging it too would print it twice
    return options


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
    text = re.sub(r"/onnxruntime_src/\S+ .* was false\. ", "", text)
    return text if len(text) <= 300 else text[:297] + "..."
