"""Large models without external data, as models with it: their weights are written to a file, which sessions map.

A model of nearly 2 GB would otherwise be sent to the process that runs it, and be held there once in Python and several
times in each session that it is run in: 16 GB for two models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from mari_onnx.document.check import copy_fields
from mari_onnx.document.document import Document
from mari_onnx.document.external import LARGE, has_external_data, stored_bytes
from mari_onnx.errors import UserError

LARGE_MODEL = 2**28
"""Bytes of large weights from which a model is treated so."""

_PAGE = 4096
_FILE = "weights.data"


def mapped(documents: Sequence[Document], folder: Path) -> list[Document]:
    """The documents; those of large models with their weights in a file in `folder`, each weight once for all of them.

    Raises UserError where the file cannot be written.
    """
    places: dict[str, list[tuple[onnx.TensorProto, onnx.TensorProto]]] = {}
    return [_mapped(each, folder, places) if _is_large(each) else each for each in documents]


def _is_large(document: Document) -> bool:
    """Whether the weights of a model are large; one that has external data already is left as it is."""
    large = sum(map(stored_bytes, filter(_is_large_tensor, document.proto.graph.initializer)))
    return large >= LARGE_MODEL and not has_external_data(document.proto)


def _is_large_tensor(tensor: onnx.TensorProto) -> bool:
    return tensor.HasField("raw_data") and stored_bytes(tensor) >= LARGE


def _mapped(
    document: Document, folder: Path, places: dict[str, list[tuple[onnx.TensorProto, onnx.TensorProto]]]
) -> Document:
    """`places` are the weights that are in the file, by name: as they were, and as references to the file."""
    model = onnx.ModelProto()
    copy_fields(document.proto, model, but="graph")
    copy_fields(document.proto.graph, model.graph, but="initializer")
    for tensor in document.proto.graph.initializer:
        if not _is_large_tensor(tensor):
            model.graph.initializer.append(tensor)
            continue
        known = places.setdefault(tensor.name, [])
        there = next((place for original, place in known if original == tensor), None)
        if there is None:
            there = _written(tensor, folder / _FILE)
            known.append((tensor, there))
        model.graph.initializer.append(there)
    return replace(document, path=None, proto=model, base_dir=folder, linked=None)


def _written(tensor: onnx.TensorProto, path: Path) -> onnx.TensorProto:
    """A tensor that refers to the file, at the end of which its values are written."""
    place = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    place.data_location = onnx.TensorProto.EXTERNAL
    try:
        with path.open("ab") as file:
            file.write(bytes(-file.tell() % _PAGE))
            entries = {"location": path.name, "offset": file.tell(), "length": file.write(tensor.raw_data)}
    except OSError as error:
        raise UserError(
            f"the weights of the model cannot be written to {path}, to be mapped from there: {error.strerror}",
            "Set TMPDIR to a folder with more space, or leave out the verification.",
        ) from error
    for key, value in entries.items():
        place.external_data.add(key=key, value=str(value))
    return place
