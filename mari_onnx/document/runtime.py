"""Models in onnxruntime: opening them, and whether it loads one at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import onnx
import onnxruntime as ort

from mari_onnx.document.arrays import external_file, tensor_array
from mari_onnx.document.document import Document
from mari_onnx.document.external import LARGE, NUMPY_TYPES, is_external, reachable, stored_bytes
from mari_onnx.document.scopes import captures

CPU = "CPUExecutionProvider"
"""The provider of onnxruntime that every build of it has, and that runs every operator."""

LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
"""Operators that take some elements of their first operand as they are."""

_MAPS: WeakValueDictionary[tuple[Any, ...], np.memmap[Any, Any]] = WeakValueDictionary()
"""The tables that sessions have mapped, by file and place, for as long as one of these sessions exists."""


class Session(ort.InferenceSession):  # type: ignore[misc]
    """A session of onnxruntime that reads tables in external data from the same memory as other sessions.

    onnxruntime maps a file once for each session, and the reference, the optimized model and both in float64 would have
    the table four times.
    """

    def __init__(
        self, model: str | bytes, options: ort.SessionOptions, tables: Mapping[str, ort.OrtValue], provider: str | None
    ) -> None:
        for name, table in tables.items():
            options.add_initializer(name, table)
        self.tables = tables  # onnxruntime keeps a pointer to their memory
        if provider is not None:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        super().__init__(model, options, providers=list(dict.fromkeys((provider or CPU, CPU))))


def open_document(document: Document, options: ort.SessionOptions, provider: str | None = None) -> Session:
    """A session for a document: of its file, if there is one. Raises what onnxruntime raises.

    It takes no path that is not UTF-8. With a `provider` the session knows which provider runs which node.
    """
    if document.path is not None and document.path.as_posix().isprintable():
        return Session(str(document.path), options, _tables(document, document.proto), provider)
    return open_session(document, document.proto, options, provider)


def open_session(
    document: Document, proto: onnx.ModelProto, options: ort.SessionOptions, provider: str | None = None
) -> Session:
    """A session for a model in memory that refers to a document's external data. Raises what onnxruntime raises."""
    tables = _tables(document, proto)
    if document.base_dir is not None:
        proto, folder = reachable(proto, document.base_dir)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return Session(proto.SerializeToString(), options, tables, provider)


def why_not_loaded(document: Document, optimize: bool = False) -> str | None:
    """What onnxruntime says instead of loading the model, as it is or with its own optimizations; None where it does.

    Its weights are read for that, and nothing is run.
    """
    try:
        open_document(document, session_options(optimize=optimize))
    except Exception as error:  # onnxruntime's exceptions have no common base
        return brief(error)
    return None


def brief(error: Exception) -> str:
    """What a runtime says about a failure, in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    text = text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
    text = re.sub(r"/onnxruntime_src/\S+ .* was false\. ", "", text)
    return text if len(text) <= 300 else text[:297] + "..."


def _tables(document: Document, proto: onnx.ModelProto) -> dict[str, ort.OrtValue]:
    """The large tables in external data that nothing but lookups read, by name, each as one map of its file.

    What other operators read, onnxruntime may fold or move when it optimizes; it leaves alone what it is given.
    """
    tensors = {t.name: t for t in proto.graph.initializer if _is_table(t)} if document.base_dir else {}
    for node in proto.graph.node if tensors else ():
        looks_up = node.op_type in LOOKUPS and node.domain in ("", "ai.onnx")
        for name in (*node.input[looks_up:], *captures(node)):
            tensors.pop(name, None)
    for info in (*proto.graph.input, *proto.graph.output) if tensors else ():
        tensors.pop(info.name, None)
    return {name: ort.OrtValue.ortvalue_from_numpy(_mapped(document, tensor)) for name, tensor in tensors.items()}


def _is_table(tensor: onnx.TensorProto) -> bool:
    return is_external(tensor) and tensor.data_type in NUMPY_TYPES and stored_bytes(tensor) >= LARGE


def _mapped(document: Document, tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
    path, where = external_file(document, tensor)
    state = path.stat()
    file = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    key = (*file, where.offset, tensor.data_type, *tensor.dims)
    found = _MAPS.get(key)
    if found is None:
        array = tensor_array(document, tensor)
        assert isinstance(array, np.memmap)
        found = _MAPS[key] = array
    return np.asarray(found)


def session_options(*, optimize: bool, threads: int = 1) -> ort.SessionOptions:
    """The options of a session; `optimize` says whether onnxruntime may optimize the model, as it does by default.

    Threads wait for work within a call, and not after it, where another session may run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # a failure is raised; logging it too would print it twice
    if threads > 1:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options
