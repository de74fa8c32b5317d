"""Models in onnxruntime: opening them, and whether it loads one at all."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from mari_onnx.document.document import Document
from mari_onnx.document.external import reachable


def open_document(document: Document, *, optimize: bool) -> ort.InferenceSession:
    """A session for a document: of its file, if there is one. Raises what onnxruntime raises."""
    if document.path is not None:
        return _open(str(document.path), _options(optimize=optimize))
    return open_session(document.proto, document.base_dir, optimize=optimize)


def open_session(proto: onnx.ModelProto, folder: Path | None, *, optimize: bool) -> ort.InferenceSession:
    """A session for a model in memory, whose external data lies in `folder`. Raises what onnxruntime raises."""
    options = _options(optimize=optimize)
    if folder is not None:
        proto, folder = reachable(proto, folder)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return _open(proto.SerializeToString(), options)


def loads(document: Document) -> bool:
    """Whether onnxruntime loads the model as it is; its weights are read for that, and nothing is run."""
    try:
        open_document(document, optimize=False)
    except Exception:  # onnxruntime's exceptions have no common base
        return False
    return True


def _open(model: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options(*, optimize: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # a failure is raised; logging it too would print it twice
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options
