"""Reading and checking of models, from files and from memory."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from mari_onnx.document.check import check
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.external import PROTOBUF_LIMIT
from mari_onnx.errors import ModelError, UserError

AS_A_FILE = "Save the model to a file, and give the path of that."


def load(path: str | Path) -> Document:
    """Read a model and check that it is valid. External data has to be there, and is not read.

    Raises UserError for a path that cannot be read, and ModelError for a file that is not a valid model; both name it.
    """
    path = Path(path)
    document = Document(path, _parse(path), path.parent, path.resolve().parent if path.is_symlink() else None)
    check(document)
    return document


def from_proto(proto: onnx.ModelProto, base_dir: str | Path | None = None) -> Document:
    """The document of a model in memory, whose external data lies in `base_dir`. Raises ModelError if it is invalid."""
    document = Document(None, proto, Path(base_dir) if base_dir is not None else None)
    check(document)
    return document


def as_document(model: ModelLike) -> Document:
    """The document of a path or of a model in memory; a document is returned as it is.

    Raises UserError and ModelError as `load` does.
    """
    if isinstance(model, Document):
        return model
    return from_proto(model) if isinstance(model, onnx.ModelProto) else load(Path(model))


def _parse(path: Path) -> onnx.ModelProto:
    if str(path) == "-":
        raise UserError("- is not the name of a file, and models are not read from the standard input", AS_A_FILE)
    if not path.exists():
        raise UserError(f"{path} does not exist", "Give the path of an exported ONNX model.")
    if path.is_dir():
        raise UserError(f"{path} is a folder", "Give the .onnx file in it.")
    if not path.is_file():
        raise UserError(f"{path} is not a regular file, and a model is read more than once", AS_A_FILE)
    size = path.stat().st_size
    if size > PROTOBUF_LIMIT:
        raise ModelError(
            f"{path} has {size / 1e9:.1f} GB in one file, and ONNX allows 2 GB without external data",
            "Export it with external data (`onnx.save_model(..., save_as_external_data=True)`).",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from error
    if not data:
        raise ModelError(f"{path} is empty", "Copy or export the model again.")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        if _is_text(data):
            raise ModelError(f"{path} is a text file and not an ONNX model", _pointer(data)) from error
        raise ModelError(
            f"{path} is cut short, or is not an ONNX model: its {size:,} bytes do not parse",
            "Compare its size with the original's, then copy or export it again.",
        ) from error
    if not proto.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model: there is no graph in it", "Give a file that an exporter wrote.")
    return proto


def _is_text(data: bytes) -> bool:
    head = data[:4096]
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def _pointer(data: bytes) -> str:
    if data.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer: `git lfs pull` fetches the model."
    return "Give the .onnx file that the exporter wrote."
